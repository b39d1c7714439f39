use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use openmic_model::WallTime;
use tokio::time::Instant;

/// What the wall clock shows at a moment of the engine's own clock. It is looked at once a second and
/// not for every line, so that a clock that is set shows in the lines of the next second at the latest.
pub(super) struct Wall {
    origin: Instant,
    /// What it showed then, in nanoseconds since 1970, as of the last look.
    shown: AtomicU64,
    /// When that was, in nanoseconds since the origin.
    looked: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

impl Wall {
    /// `origin` is of the engine's clock, and has been.
    pub(super) fn new(origin: Instant) -> Self {
        let wall = Self {
            origin,
            shown: AtomicU64::default(),
            looked: AtomicU64::default(),
        };
        wall.look(shown_now());
        wall
    }

    /// So many nanoseconds after the origin, which is about now.
    pub(super) fn at(&self, at: u64) -> WallTime {
        if at.abs_diff(self.looked.load(Ordering::Relaxed)) >= SECOND {
            self.look(shown_now());
        }
        let shown = self.shown.load(Ordering::Relaxed);
        WallTime(shown.saturating_add(at) / MILLI)
    }

    /// Both clocks now, whenever that was which is asked for.
    fn look(&self, shown: u64) {
        let now = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let at_origin = shown.saturating_sub(now);
        self.shown.store(at_origin, Ordering::Relaxed);
        self.looked.store(now, Ordering::Relaxed);
    }
}

/// In nanoseconds since 1970, to the year 2554.
fn shown_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    /// Less than a test takes, and more than a clock is wrong.
    const NEAR: u64 = 60_000;

    fn is_right(wall: WallTime) -> bool {
        wall.0.abs_diff(shown_now() / MILLI) < NEAR
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_with_the_engine_s_clock_and_is_looked_at_every_second() {
        let origin = Instant::now();
        advance(Duration::from_secs(5)).await;
        let wall = Wall::new(origin);
        assert!(is_right(wall.at(5 * SECOND)));
        // Somebody sets the clock back.
        wall.look(1_000 * SECOND);
        assert_eq!(wall.at(5 * SECOND), WallTime(1_000_000));
        assert_eq!(wall.at(5 * SECOND + 999 * MILLI), WallTime(1_000_999));
        assert_eq!(wall.at(4 * SECOND + MILLI), WallTime(999_001));
        advance(Duration::from_secs(1)).await;
        assert!(is_right(wall.at(6 * SECOND)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_does_not_put_it_ahead() {
        let origin = Instant::now();
        let wall = Wall::new(origin);
        advance(Duration::from_hours(1)).await;
        // The first look for an hour, by a line from its beginning.
        let late = wall.at(SECOND);
        assert!(is_right(wall.at(3600 * SECOND)));
        assert!(is_right(WallTime(late.0 + 3_599_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_before_the_origin_is_no_fault() {
        let origin = Instant::now();
        advance(Duration::from_secs(50)).await;
        let wall = Wall::new(origin);
        wall.look(7);
        assert_eq!(wall.at(50 * SECOND), WallTime(50_000));
    }
}
