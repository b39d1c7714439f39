use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A token bucket: lets so many through a second, for work that would otherwise come all at
/// once, as that after a restart. Whoever comes first goes first.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// How far behind the pace one may fall and catch up at once.
    slack: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many a second; up to `burst` of them at once after a quiet time.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        Self {
            interval,
            slack: interval * (burst.get() - 1),
            next: Mutex::new(None),
        }
    }

    /// Takes the next turn: how long after `now` it is.
    pub fn reserve(&self, now: Instant) -> Duration {
        let mut next = self.next.lock();
        let earliest = now.checked_sub(self.slack).unwrap_or(now);
        let turn = next.map_or(earliest, |next| next.max(earliest));
        *next = Some(turn + self.interval);
        turn.saturating_duration_since(now)
    }

    /// Waits for the next turn. Whoever gives up waiting leaves it unused.
    pub async fn turn(&self) {
        let wait = self.reserve(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(per_second: u32, burst: u32) -> Pace {
        let some = |number| NonZeroU32::new(number).unwrap();
        Pace::new(some(per_second), some(burst))
    }

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_the_pace() {
        let pace = pace(500, 3);
        let now = Instant::now();
        let waits: Vec<_> = (0..6).map(|_| pace.reserve(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 2, 4, 6]);
        let later = now + Duration::from_mins(1);
        let waits: Vec<_> = (0..4).map(|_| pace.reserve(later).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 2], "a quiet time saves up one burst");
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_take_twenty_seconds_at_five_hundred_a_second() {
        let pace = pace(500, 1);
        let begun = Instant::now();
        for _ in 0..=10_000 {
            pace.turn().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_its_share(
            per_second in 1_u32..1_000,
            burst in 1_u32..50,
            gaps in prop::collection::vec(0_u64..50, 1..400),
        ) {
            let pace = pace(per_second, burst);
            let mut now = Instant::now();
            let mut turns = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                turns.push(now + pace.reserve(now));
            }
            prop_assert!(turns.is_sorted());
            for (from, first) in turns.iter().enumerate() {
                let within = turns[from..].iter().take_while(|turn| **turn < *first + Duration::from_secs(1));
                prop_assert!(within.count() <= (per_second + burst) as usize);
            }
        }
    }
}
