//! How old what is kept is, whatever is done to the wall clock.

use std::time::{Duration, Instant};

use openmic_model::WallTime;

/// The wall clock for ages: it goes forward no faster than time passes, so that a clock that is set
/// to tomorrow makes nothing old. Set back, it follows, and what is kept is kept for longer.
#[derive(Debug)]
pub(crate) struct AgeClock {
    reads: WallTime,
    at: Instant,
}

impl AgeClock {
    pub(crate) fn new(wall: WallTime) -> Self {
        let at = Instant::now();
        Self { reads: wall, at }
    }

    /// What it reads while the wall clock says `wall`.
    pub(crate) fn read(&mut self, wall: WallTime) -> WallTime {
        let now = Instant::now();
        let passed = now.duration_since(self.at);
        self.at = now;
        self.follow(wall, passed)
    }

    fn follow(&mut self, wall: WallTime, passed: Duration) -> WallTime {
        // Rounded up: the clock may lose nothing to the milliseconds it is read in.
        let passed = u64::try_from(passed.as_millis()).map_or(u64::MAX, |passed| passed + 1);
        self.reads = wall.min(WallTime(self.reads.0.saturating_add(passed)));
        self.reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_is_set_forward_makes_nothing_old() {
        let mut clock = AgeClock::new(WallTime(5 * DAY));
        let read = clock.follow(WallTime(6 * DAY), SECOND);
        assert_eq!(read, WallTime(5 * DAY + 1_001));
        assert!(clock.follow(WallTime(7 * DAY), SECOND) < WallTime(5 * DAY + 3_000));
    }

    #[test]
    fn one_that_is_set_back_is_followed() {
        let mut clock = AgeClock::new(WallTime(5 * DAY));
        assert_eq!(clock.follow(WallTime(4 * DAY), SECOND), WallTime(4 * DAY));
        let read = clock.follow(WallTime(4 * DAY + 1_000), SECOND);
        assert_eq!(read, WallTime(4 * DAY + 1_000));
    }
}
