//! Deliberate defects, for testing the tests. They exist in builds with the feature
//! `seeded-bugs` only; in any other [`is`] is a constant `false` and the hooks compile to nothing.
//!
//! In a build that has them one is chosen at run time, by `plant` or by the environment variable
//! `OPENMIC_SEEDED_BUG`. The tests demand that each is found, and that nothing is found without.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One deliberate defect.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its word, as in `OPENMIC_SEEDED_BUG`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

bugs! {
    /// Machine: a second POST of an attempt has the client context of the first.
    ReuseContext = "reuse-context",
    /// Machine: after a lost answer the POST is sent again without looking.
    BlindRepeat = "blind-repeat",
    /// Machine: Graph's `Retry-After` is ignored.
    IgnoreRetryAfter = "ignore-retry-after",
    /// Machine: who left leaves no tombstone.
    DropTombstones = "drop-tombstones",
    /// Machine: a command that has its verdict gets another.
    SecondVerdict = "second-verdict",
    /// Machine: a command equal to the one under way sends a POST of its own.
    EqualOpensSecond = "equal-opens-second",
    /// Machine: of commands that end together only one is told.
    VerdictConflated = "verdict-conflated",
    /// Machine: a verdict is told without being written down.
    VerdictUnwritten = "verdict-unwritten",
    /// Machine: the roster's numbers begin again within an epoch.
    SeqReset = "seq-reset",
    /// Machine: notifications that wait for their POST's answer are kept without bound.
    UnboundedPark = "unbounded-park",
    /// Machine: a POST that may still act is forgotten.
    ForgetDoubt = "forget-doubt",
    /// Machine: after a crash what was under way is posted again without looking.
    BlindRecovery = "blind-recovery",
    /// Machine: after a crash a lapsed time to speak in is forgotten.
    ForgetWindow = "forget-window",
    /// Machine: a timer that was stopped goes off all the same.
    StaleTimer = "stale-timer",
    /// Model: the next epoch is the wall clock's, whatever came before.
    LowerEpoch = "lower-epoch",
    /// Engine: effects do not wait for the records that they rest on.
    EffectBeforeRecord = "effect-before-record",
    /// Engine: what rests on no record of its own overtakes what waits.
    Overtake = "overtake",
    /// Auth: the algorithm is taken from the token's header.
    AlgFromHeader = "alg-from-header",
    /// Hub: a subscriber that fell behind goes on with the latest delta.
    SkipDelta = "skip-delta",
}

#[cfg(feature = "seeded-bugs")]
mod planted {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    const NONE: u8 = u8::MAX;

    fn planted() -> &'static AtomicU8 {
        static PLANTED: OnceLock<AtomicU8> = OnceLock::new();
        PLANTED.get_or_init(|| {
            let named = std::env::var("OPENMIC_SEEDED_BUG").ok();
            let bug = Bug::ALL
                .iter()
                .find(|bug| Some(bug.as_str()) == named.as_deref());
            assert!(
                bug.is_some() || named.is_none(),
                "OPENMIC_SEEDED_BUG names no bug there is"
            );
            AtomicU8::new(bug.map_or(NONE, |bug| *bug as u8))
        })
    }

    /// Plants `bug` in this process, or none.
    pub fn plant(bug: Option<Bug>) {
        planted().store(bug.map_or(NONE, |bug| bug as u8), Ordering::Relaxed);
    }

    /// Whether `bug` is planted.
    pub fn is(bug: Bug) -> bool {
        planted().load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(feature = "seeded-bugs")]
pub use planted::{is, plant};

/// Whether `bug` is planted: never, in a build without them.
#[cfg(not(feature = "seeded-bugs"))]
#[inline]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
