//! Time as the shell tells it, and one table of every timer a call may have.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment, counted from an origin that the shell chose and keeps. It never goes backwards, and
/// ends 584 years after the origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Duration", into = "Duration")]
pub struct Time(
    /// Nanoseconds and one: a call holds many moments that may be none.
    NonZeroU64,
);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// A moment `after` the origin.
    pub const fn from_origin(after: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(after)))
    }

    /// A moment so many milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_origin(Duration::from_millis(millis))
    }

    /// How long after the origin.
    pub const fn since_origin(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    /// How long after `earlier`; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// So much earlier, at most back to the origin.
    #[must_use]
    pub(crate) const fn back(self, by: Duration) -> Self {
        Self::from_origin(self.since_origin().saturating_sub(by))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Time").field(&self.since_origin()).finish()
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(nanos(after)))
    }
}

impl From<Duration> for Time {
    fn from(after: Duration) -> Self {
        Self::from_origin(after)
    }
}

impl From<Time> for Duration {
    fn from(at: Time) -> Self {
        at.since_origin()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it was compared")]
const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        nanos as u64
    }
}

/// What a call may be waiting for the clock to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// Look again for what establishing lacks, or give the create up.
    Patience,
    /// The operation's notification is overdue: ask for it.
    Operation,
    /// The own roster entry is overdue: ask for it.
    Roster,
    /// Throttled or not sent: post now.
    Backoff,
    /// A while before the earliest deadline ([`Config::last_look`](crate::Config::last_look)): look
    /// a last time.
    LastLook,
    /// The earliest deadline of an open command.
    Command,
    /// Tell Graph that the bot is alive.
    KeepAlive,
    /// A hole in the numbers of the delta roster did not fill, or the roster is in doubt otherwise.
    Gap,
    /// The time to speak in is over: mute.
    Window,
    /// Somebody watches: look whether a notification was lost.
    Audit,
    /// Whether the call is over was asked in vain: ask again.
    Verify,
    /// The hang-up is unanswered, or its notification is overdue.
    Parting,
}

impl Timer {
    /// All of them, in the order in which they go off at one moment.
    pub const ALL: [Self; 12] = [
        Self::Patience,
        Self::Operation,
        Self::Roster,
        Self::Backoff,
        Self::LastLook,
        Self::Command,
        Self::KeepAlive,
        Self::Gap,
        Self::Window,
        Self::Audit,
        Self::Verify,
        Self::Parting,
    ];

    const fn index(self) -> usize {
        self as usize
    }
}

/// When each timer goes off. A timer that was cleared cannot go off late.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timers {
    /// All that most calls have, most of the time.
    keep_alive: Option<Time>,
    /// The others; takes no memory before one is set.
    others: Option<Box<[Option<Time>; Timer::ALL.len()]>>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        self.put(timer, Some(at));
    }

    /// Sets `timer`, or brings it forward when it was to go off later.
    pub(crate) fn hasten(&mut self, timer: Timer, at: Time) {
        let set = self.at(timer);
        self.set(timer, set.map_or(at, |set| set.min(at)));
    }

    pub(crate) fn put(&mut self, timer: Timer, at: Option<Time>) {
        if timer == Timer::KeepAlive {
            self.keep_alive = at;
        } else if at.is_some() || self.others.is_some() {
            self.others.get_or_insert_default()[timer.index()] = at;
        }
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.put(timer, None);
    }

    pub(crate) fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// Gives the memory of timers back that are not set.
    pub(crate) fn tidy(&mut self) {
        self.others
            .take_if(|others| others.iter().all(Option::is_none));
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.at(timer).is_some()
    }

    pub(crate) fn at(&self, timer: Timer) -> Option<Time> {
        if timer == Timer::KeepAlive {
            return self.keep_alive;
        }
        self.others.as_ref()?[timer.index()]
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Timer, Time)> {
        let may_be_set = match &self.others {
            Some(_) => &Timer::ALL[..],
            None => &[Timer::KeepAlive],
        };
        let timers = may_be_set.iter().copied();
        timers.filter_map(|timer| Some((timer, self.at(timer)?)))
    }

    pub(crate) fn next(&self) -> Option<Time> {
        let others = self.others.iter().flat_map(|others| others.iter());
        others.flatten().copied().chain(self.keep_alive).min()
    }

    /// The timer that goes off first.
    pub(crate) fn first(&self) -> Option<Timer> {
        let (timer, _) = self.all().min_by_key(|(_, at)| *at)?;
        Some(timer)
    }

    /// Takes out the timer that has been due for longest.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let due = self.first().filter(|first| self.at(*first) <= Some(now))?;
        self.clear(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_set_are_told_in_their_order_whichever_they_are() {
        for sets in 0..1_u32 << Timer::ALL.len() {
            let is_set = |timer: &Timer| sets >> timer.index() & 1 == 1;
            let wanted: Vec<_> = Timer::ALL.into_iter().filter(is_set).collect();
            let mut timers = Timers::default();
            for timer in wanted.iter().rev() {
                timers.set(*timer, Time::from_millis(7));
            }
            let all: Vec<_> = timers.all().map(|(timer, _)| timer).collect();
            assert_eq!(all, wanted);
            assert_eq!(timers.first(), wanted.first().copied());
        }
    }
}
