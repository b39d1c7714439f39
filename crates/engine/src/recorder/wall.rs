use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openmic_model::WallTime;

/// What the wall clock shows at a moment of the engine's own clock. It is looked at once a second and
/// not for every line, so that a clock that is set shows in the lines of the next second at the latest.
pub(super) struct Wall {
    /// What it showed at the engine's origin, in milliseconds, as of the last look.
    origin: AtomicU64,
    /// When that was, in nanoseconds since the origin.
    looked: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

impl Wall {
    /// `now` is how long ago the origin was.
    pub(super) fn new(now: Duration) -> Self {
        let wall = Self {
            origin: AtomicU64::default(),
            looked: AtomicU64::default(),
        };
        wall.look(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), shown());
        wall
    }

    /// So many nanoseconds after the origin, which is about now.
    pub(super) fn at(&self, at: u64) -> WallTime {
        if at.abs_diff(self.looked.load(Ordering::Relaxed)) >= SECOND {
            self.look(at, shown());
        }
        self.follow(at)
    }

    fn look(&self, at: u64, shown: u64) {
        self.origin
            .store(shown.saturating_sub(at / MILLI), Ordering::Relaxed);
        self.looked.store(at, Ordering::Relaxed);
    }

    fn follow(&self, at: u64) -> WallTime {
        let origin = self.origin.load(Ordering::Relaxed);
        WallTime(origin.saturating_add(at / MILLI))
    }
}

/// What it shows now, in milliseconds since 1970.
fn shown() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_the_engine_s_clock_and_is_looked_at_every_second() {
        let wall = Wall::new(Duration::from_secs(5));
        let near = |shown_by: WallTime, wanted: u64| shown_by.0.abs_diff(wanted) < 60_000;
        assert!(near(wall.at(5 * SECOND), shown()));
        // Somebody sets the clock, and sets it back.
        wall.look(5 * SECOND, 1_000_000);
        assert_eq!(wall.at(5 * SECOND), WallTime(1_000_000));
        assert_eq!(wall.at(5 * SECOND + 999 * MILLI), WallTime(1_000_999));
        assert_eq!(wall.at(4 * SECOND + MILLI), WallTime(999_001));
        assert!(near(wall.at(6 * SECOND), shown()));
        assert!(near(wall.at(60 * SECOND), shown()));
    }

    #[test]
    fn a_clock_before_the_origin_is_no_fault() {
        let wall = Wall::new(Duration::ZERO);
        wall.look(50 * SECOND, 7);
        assert_eq!(wall.at(50 * SECOND), WallTime(50_000));
    }
}
