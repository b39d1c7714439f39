//! Every interleaving of what shares memory without waiting for a lock, with loom's atomics under
//! it: the gate between a muted participant and the others, as it stands in `crates/media`, and the
//! baton of whoever runs a call, as it stands in `crates/engine`.
//!
//! A package of its own and no `--cfg loom`: that would be set for every crate in the tree, and
//! takes tokio's sockets away from those that need them.

#![cfg(not(test))] // the gate's own tests run where it lives, with the atomics of std

use std::ops::ControlFlow;
use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool as Flag, AtomicUsize, Ordering as Order};
use loom::thread;

/// What both are made of here.
mod sync {
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use std::sync::PoisonError;
}

#[expect(
    dead_code,
    reason = "the file is the media crate's; not all of it is for here"
)]
#[path = "../../../crates/media/src/gate.rs"]
mod gate;

#[path = "../../../crates/engine/src/baton.rs"]
mod baton;

use baton::{Baton, Ran};
use gate::Gate;
#[doc(hidden)]
pub use gate::{Counters, Evidence};

fn gate(open: bool) -> Arc<Gate> {
    Arc::new(Gate::new(open, Duration::ZERO))
}

/// A mute that was answered is kept: the media thread, which passed the fence that the close sent,
/// hands over no packet that it reads the gate for after it, and what it decided before the close
/// is known to be overtaken.
pub fn a_fenced_close_lets_nothing_through() {
    loom::model(|| {
        let gate = gate(true);
        // The queue between the two, as far as it orders what happens.
        let (fence, answer) = (Arc::new(Flag::new(false)), Arc::new(Flag::new(false)));
        let media = {
            let (gate, fence, answer) =
                (Arc::clone(&gate), Arc::clone(&fence), Arc::clone(&answer));
            thread::spawn(move || {
                let mut passed = false;
                for _ in 0..2 {
                    let decided = gate.read();
                    if !passed && fence.load(Order::Acquire) {
                        gate.fenced(1);
                        answer.store(true, Order::Release);
                        passed = true;
                        assert_eq!(gate.overtook(decided), decided.epoch() < 1);
                        assert!(!gate.read().is_open(), "a packet of muted time");
                    } else if passed {
                        assert!(!decided.is_open(), "a packet of muted time");
                    }
                }
            })
        };
        assert_eq!(gate.close(), 1);
        fence.store(true, Order::Release);
        if answer.load(Order::Acquire) {
            assert!(!gate.read().is_open());
        }
        media.join().expect("the media thread ends");
    });
}

/// An unmute that began before a mute does not open what that closed, whichever comes first.
pub fn an_overtaken_open_never_opens() {
    loom::model(|| {
        let gate = gate(false);
        let seen = gate.read();
        let opener = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.open_from(seen, Duration::from_nanos(7)))
        };
        let closed = gate.close();
        let opened = opener.join().expect("the opener ends");
        let word = gate.read();
        assert!(!word.is_open());
        match opened {
            Ok(epoch) => assert_eq!((epoch, closed, word.epoch()), (1, 2, 2)),
            Err(held) => assert_eq!((held.epoch(), closed, word.epoch()), (1, 1, 1)),
        }
    });
}

/// Every change has an epoch of its own, and the last one is what the gate says.
pub fn every_change_has_its_own_epoch() {
    loom::model(|| {
        let gate = gate(true);
        let closer = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.close())
        };
        let opener = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                let seen = gate.read();
                gate.open_from(seen, Duration::from_nanos(7)).ok()
            })
        };
        let first = gate.close();
        let second = closer.join().expect("the closer ends");
        let opened = opener.join().expect("the opener ends");
        assert_ne!(first, second);
        let word = gate.read();
        let last = first.max(second);
        match opened {
            Some(epoch) => {
                assert!(epoch != first && epoch != second);
                assert_eq!(word.epoch(), last.max(epoch));
                assert_eq!(word.is_open(), epoch > last);
            }
            None => assert_eq!((word.epoch(), word.is_open()), (last, false)),
        }
    });
}

/// Whoever sees the gate open sees when it was opened.
pub fn an_open_gate_tells_its_moment() {
    loom::model(|| {
        let gate = gate(false);
        let moment = Duration::from_nanos(7);
        let media = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                if gate.read().is_open() {
                    assert_eq!(gate.opened_at(), moment);
                }
            })
        };
        let seen = gate.read();
        assert_eq!(gate.open_from(seen, moment), Ok(1));
        media.join().expect("the media thread ends");
    });
}

/// Whatever was there before somebody came is seen, by them or by whoever ran it just then or has
/// it run after; nobody waits, and one runs at a time. Of three, three times taken off at any point.
pub fn whoever_leaves_word_is_heard() {
    for rounds in [1, 2] {
        loom::model(move || letters_are_read(2, rounds));
        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(move || letters_are_read(3, rounds));
    }
}

/// Each of `threads` brings one and has all read.
fn letters_are_read(threads: usize, rounds: usize) {
    let letters = Arc::new(AtomicUsize::new(0));
    let baton = Arc::new(Baton::new(0));
    let bring = move |letters: &AtomicUsize, baton: &Baton<usize>| {
        letters.fetch_add(1, Order::Relaxed);
        let mut ran = Ran::<()>::Due;
        while ran == Ran::Due {
            ran = baton.run(rounds, |read| {
                *read = letters.load(Order::Relaxed);
                ControlFlow::Continue(())
            });
        }
        assert_eq!(ran, Ran::Seen);
    };
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let (letters, baton) = (Arc::clone(&letters), Arc::clone(&baton));
            thread::spawn(move || bring(&letters, &baton))
        })
        .collect();
    bring(&letters, &baton);
    for other in others {
        other.join().expect("whoever brings a letter goes on");
    }
    let read = baton.run(1, |read| ControlFlow::Break(*read));
    assert_eq!(read, Ran::Broke(threads), "of so many letters");
}
