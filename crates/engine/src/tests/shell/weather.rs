//! How bad things are.

use std::time::Duration;

/// Numbers of one seed.
#[derive(Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub(super) fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// How bad this seed is, in so many of a thousand. Half of the seeds have none of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather {
    pub(super) not_sent: u64,
    pub(super) throttled: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    pub(super) late: u64,
    pub(super) cut: u64,
    pub(super) refused: u64,
    pub(super) running: u64,
    pub(super) operation_failed: u64,
    pub(super) unnamed: u64,
    pub(super) notice_lost: u64,
    pub(super) notice_twice: u64,
    /// Milliseconds.
    pub(super) notice_slow: u64,
    pub(super) slow: u64,
    pub(super) disk: u64,
    pub(super) storms: u64,
    pub(super) host: u64,
    pub(super) ended: u64,
}

impl Weather {
    pub(super) fn of(rng: &mut Rng) -> Self {
        let mut some = |most: u64| {
            let bad = rng.chance(500);
            let much = 1 + rng.below(most);
            if bad { much } else { 0 }
        };
        Self {
            not_sent: some(100),
            throttled: some(100),
            failed: some(100),
            lost: some(80),
            late: some(80),
            cut: some(100),
            refused: some(50),
            running: some(600),
            operation_failed: some(60),
            unnamed: some(200),
            notice_lost: some(400),
            notice_twice: some(300),
            notice_slow: some(4_000),
            slow: 5 + some(2_000),
            disk: 2 + some(1_500),
            storms: some(200),
            host: some(150),
            ended: some(30),
        }
    }
}
