//! The switch between one participant's audio and the others.
//!
//! One atomic word: bit 0 is open, the bits above count the changes (the *epoch*). The control
//! plane writes it, the media thread reads it once per arriving packet, and nobody waits.

use std::time::Duration;

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// What the gate's word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) const fn new(epoch: u64, open: bool) -> Self {
        Self((epoch << 1) | open as u64)
    }

    pub(crate) const fn is_open(self) -> bool {
        self.0 & 1 == 1
    }

    pub(crate) const fn epoch(self) -> u64 {
        self.0 >> 1
    }
}

/// Shared by the control plane and the one media thread of the meeting.
///
/// Aligned to its own cache line, so that a busy neighbour does not slow the read per packet.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Gate {
    word: AtomicU64,
    /// The epoch of the last close that was fenced.
    fenced: AtomicU64,
    /// When it was last opened, nanoseconds since the media started.
    opened_at: AtomicU64,
    abandoned: AtomicBool,
}

impl Gate {
    pub(crate) fn new(open: bool, at: Duration) -> Self {
        Self {
            word: AtomicU64::new(Word::new(0, open).0),
            fenced: AtomicU64::new(0),
            opened_at: AtomicU64::new(nanos(at)),
            abandoned: AtomicBool::new(false),
        }
    }

    pub(crate) fn read(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Closes it. Every close is an epoch of its own, also of a gate that is closed: that is how an
    /// open which began earlier learns that it has been overtaken.
    pub(crate) fn close(&self) -> u64 {
        let before = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                Some(Word::new(Word(word).epoch() + 1, false).0)
            })
            .expect("the update is never refused");
        Word(before).epoch() + 1
    }

    /// Opens it, unless the word is no longer `seen`.
    pub(crate) fn open_from(&self, seen: Word, at: Duration) -> Result<u64, Word> {
        // before the word, so that whoever sees the gate open sees this moment too
        self.opened_at.store(nanos(at), Ordering::Release);
        let next = Word::new(seen.epoch() + 1, true);
        self.word
            .compare_exchange(seen.0, next.0, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| next.epoch())
            .map_err(Word)
    }

    pub(crate) fn opened_at(&self) -> Duration {
        Duration::from_nanos(self.opened_at.load(Ordering::Acquire))
    }

    /// The media thread has passed the close of `epoch`.
    pub(crate) fn fenced(&self, epoch: u64) {
        self.fenced.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Whether something decided at `word` must no longer be handed over: a later close has been
    /// fenced, so somebody was told that it would not be.
    pub(crate) fn overtook(&self, word: Word) -> bool {
        self.fenced.load(Ordering::Acquire) > word.epoch()
    }

    /// Its owner went away and the queue was full.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

/// What became of one participant's packets. Kept by the media thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Arrived while the gate was open, and were forwarded to whoever listens.
    pub forwarded: u64,
    /// Arrived while it was closed, and were dropped or replaced by silence.
    pub gated: u64,
    /// Silence frames that stood in for dropped packets, counted once per receiver.
    pub tail: u64,
    /// Came twice, or too late to be put in order, or belong to the muted time.
    pub late: u64,
    /// No RTP, over 1472 or under 12 bytes, from a wrong address, or of a wrong payload type or SSRC.
    pub bad: u64,
    /// Above the rate limit.
    pub dropped: u64,
    /// RTCP packets taken.
    pub rtcp: u64,
    /// Audio packets of others handed to the kernel for this participant.
    pub sent: u64,
    /// Packets of others that the kernel refused to take for this participant.
    pub unsent: u64,
    /// Gated packets that were loud (over -35 dBov): somebody talks while muted.
    pub loud_gated: u64,
}

/// The first packet that was forwarded after an open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Which open; as returned by `Leg::open`.
    pub epoch: u64,
    /// From the open until the packet was handed to the kernel for the last receiver.
    pub after_open: Duration,
    /// Its number as it came.
    pub in_sequence: u16,
    /// Its number as the first receiver got it.
    pub out_sequence: u16,
    /// How many receivers it was handed to.
    pub receivers: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_always_a_new_epoch() {
        let gate = Gate::new(false, Duration::ZERO);
        assert_eq!(gate.close(), 1);
        assert_eq!(gate.close(), 2);
        assert!(!gate.read().is_open());
    }

    #[test]
    fn an_open_that_was_overtaken_by_a_close_does_not_open() {
        let gate = Gate::new(false, Duration::ZERO);
        let seen = gate.read();
        let closed = gate.close();
        let word = gate.open_from(seen, Duration::ZERO).unwrap_err();
        assert_eq!((word.epoch(), word.is_open()), (closed, false));
        assert!(!gate.read().is_open());
        assert_eq!(gate.open_from(word, Duration::from_secs(1)), Ok(closed + 1));
        assert!(gate.read().is_open());
        assert_eq!(gate.opened_at(), Duration::from_secs(1));
    }

    #[test]
    fn a_fence_overtakes_only_what_was_decided_before_its_close() {
        let gate = Gate::new(true, Duration::ZERO);
        let decided = gate.read();
        assert!(!gate.overtook(decided));
        let closed = gate.close();
        assert!(
            !gate.overtook(decided),
            "a close without a fence promises nothing"
        );
        gate.fenced(closed);
        assert!(gate.overtook(decided));
        let seen = gate.read();
        gate.open_from(seen, Duration::ZERO).unwrap();
        assert!(!gate.overtook(gate.read()));
    }

    #[test]
    fn two_threads_never_leave_a_gate_open_after_the_last_close() {
        for _ in 0..200 {
            let gate = Gate::new(false, Duration::ZERO);
            let seen = gate.read();
            std::thread::scope(|scope| {
                scope.spawn(|| gate.open_from(seen, Duration::ZERO));
                scope.spawn(|| gate.close());
            });
            assert!(!gate.read().is_open());
        }
    }
}
