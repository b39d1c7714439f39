//! Calls in which nothing happens have no task: they lie in their mailboxes until a letter comes,
//! or until they have something to do.
//!
//! Most calls wait most of the time, and a task with its timer takes more memory than all that such
//! a call knows. What a sleeping call has to do, like its next keepAlive, one task watches for all
//! of them: it wakes each in the second before, and to the point the call itself is.

use std::collections::BTreeSet;
use std::future::Future as _;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use openmic_machine::Time;
use openmic_model::CallKey;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task;
use tokio::time::{Instant, sleep_until};

use crate::awake::Awake;
use crate::call::Shared;
use crate::engine::Inner;
use crate::mailbox::Sleeper;
use crate::supervise::{Body, broke_off, supervise};

/// Calls that are woken before others get a turn.
const AT_ONCE: usize = 64;

/// A call without a task.
pub(crate) struct Asleep(pub(crate) Box<Body>);

impl Sleeper for Asleep {
    type Task = Awake;

    /// Most letters are dealt with at once, so the call gets a task only if it has something to wait
    /// for: until then it runs in whoever sent the letter.
    fn wake(self) {
        let Some(actor) = &self.0.actor else {
            debug_assert!(false, "what sleeps goes on");
            return;
        };
        if actor.engine.alarms.is_over() {
            return;
        }
        let Some(runtime) = actor.engine.runtime.get().cloned() else {
            debug_assert!(false, "whoever sleeps has told its runtime");
            return;
        };
        let call = Arc::clone(&actor.call);
        let mut supervised = Box::pin(supervise(self.0));
        let inside = runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        // What is wrong with the call is no fault of whoever sent the letter.
        let polled = AssertUnwindSafe(|| supervised.as_mut().poll(&mut context));
        let polled = catch_unwind(polled);
        drop(inside);
        match polled {
            Ok(Poll::Ready(())) => {}
            // Polled there anew, it hears of what it waits for.
            Ok(Poll::Pending) => Awake::go_on(supervised, call, &runtime),
            Err(_) => broke_off(&call),
        }
    }

    /// Reads a word here and there; nobody needs to know which, and the rest of each line comes along.
    fn fetch(&self) {
        let Body { actor, lanes } = &*self.0;
        black_box((lanes.jobs.is_empty(), lanes.replies.is_empty()));
        if let Some(actor) = actor {
            let machine = &actor.machine;
            black_box((
                actor.begun,
                machine.version(),
                machine.kind(),
                machine.phase(),
                actor.carried.watched,
            ));
        }
    }
}

/// Lays a call aside that has nothing to do before `due`.
///
/// # Errors
/// It is given back when a letter came in between.
pub(crate) fn lie_down(
    body: Box<Body>,
    (engine, call): (&Arc<Inner>, &Shared),
    due: Time,
) -> Result<(), Asleep> {
    engine.runtime.get_or_init(Handle::current);
    let second = second_of(due);
    // Before it lies: once it does, somebody else may run it and set another one.
    if engine.alarms.set(call, second) {
        let engine = Arc::clone(engine);
        tokio::spawn(watch(Watch {
            engine,
            is_done: false,
        }));
    }
    call.mail.lay(Asleep(body))?;
    if engine.alarms.is_over() {
        drop(call.mail.evict());
    } else if call.alarm.load(Ordering::Acquire) != second {
        // It went off meanwhile, and nobody lay there. Or it was woken, and is once more for nothing.
        call.mail.rouse();
    }
    Ok(())
}

/// The second of the engine that `time` is in.
fn second_of(time: Time) -> u32 {
    u32::try_from(time.since_origin().as_secs()).unwrap_or(u32::MAX)
}

/// When sleeping calls are to be woken: each at most once.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    set: Mutex<Set>,
    /// The runtime is gone, and with it whoever could wake a call or run it.
    over: AtomicBool,
    /// Told of an alarm before all others.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Set {
    alarms: BTreeSet<Alarm>,
    /// A task watches them.
    watched: bool,
}

/// In order of time. The key is kept as bytes, which have no gap before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alarm {
    second: u32,
    key: [u8; 16],
}

impl Alarm {
    const fn of(call: &Shared, second: u32) -> Self {
        let key = call.flight.key().0.to_ne_bytes();
        Self { second, key }
    }
}

impl Alarms {
    /// Sets the alarm of a call in the place of the one it had. True when nobody watches.
    #[must_use]
    fn set(&self, call: &Shared, second: u32) -> bool {
        if call.alarm.load(Ordering::Acquire) == second {
            return false;
        }
        let mut set = self.set.lock();
        let before = call.alarm.swap(second, Ordering::AcqRel);
        set.alarms.remove(&Alarm::of(call, before));
        let alarm = Alarm::of(call, second);
        set.alarms.insert(alarm);
        let first = set.alarms.first() == Some(&alarm);
        let unwatched = !std::mem::replace(&mut set.watched, true);
        drop(set);
        if first {
            self.earlier.notify_one();
        }
        unwatched
    }

    /// The call is over.
    pub(crate) fn clear(&self, call: &Shared) {
        let mut set = self.set.lock();
        let before = call.alarm.swap(0, Ordering::AcqRel);
        set.alarms.remove(&Alarm::of(call, before));
    }

    /// Takes out what is due by `second`, some of it; else the second to wait for. `None` when
    /// nothing is left to be watched, and then nobody does.
    fn next(&self, second: u32) -> Option<Result<Vec<Alarm>, u32>> {
        let mut set = self.set.lock();
        let mut due = Vec::new();
        while due.len() < AT_ONCE
            && let Some(alarm) = set.alarms.first().copied()
            && alarm.second <= second
        {
            set.alarms.remove(&alarm);
            due.push(alarm);
        }
        if !due.is_empty() {
            return Some(Ok(due));
        }
        let next = set.alarms.first().map(|alarm| alarm.second);
        set.watched = next.is_some();
        next.map(Err)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.set.lock().alarms.len()
    }
}

/// Wakes calls in time, for as long as any sleep.
async fn watch(mut watch: Watch) {
    let engine = Arc::clone(&watch.engine);
    while let Some(next) = engine.alarms.next(second_of(engine.time(Instant::now()))) {
        match next {
            Ok(due) => {
                for alarm in due {
                    let key = CallKey(u128::from_ne_bytes(alarm.key));
                    if let Some(call) = engine.registry.by_call_key(&key) {
                        // Unless it set another one meanwhile.
                        let ours = (Ordering::AcqRel, Ordering::Relaxed);
                        let fired = call.alarm.compare_exchange(alarm.second, 0, ours.0, ours.1);
                        if fired.is_ok() {
                            call.mail.rouse();
                        }
                    }
                }
                task::yield_now().await;
            }
            Err(second) => {
                let at = Time::from_origin(std::time::Duration::from_secs(second.into()));
                tokio::select! {
                    () = sleep_until(engine.instant(at)) => {}
                    () = engine.alarms.earlier.notified() => {}
                }
            }
        }
    }
    // Whoever sets an alarm now has it watched by another one.
    watch.is_done = true;
}

/// Dropped before its end, with the runtime, it takes the calls along that sleep: a mailbox holds
/// its call, and the call its mailbox.
struct Watch {
    engine: Arc<Inner>,
    is_done: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let left = {
            let mut set = self.engine.alarms.set.lock();
            set.watched = false;
            self.engine.alarms.over.store(true, Ordering::Release);
            std::mem::take(&mut set.alarms)
        };
        for alarm in left {
            let key = CallKey(u128::from_ne_bytes(alarm.key));
            if let Some(call) = self.engine.registry.by_call_key(&key) {
                call.alarm.store(0, Ordering::Release);
                drop(call.mail.evict());
            }
        }
    }
}
