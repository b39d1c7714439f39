//! What may break, and how often.

use crate::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Everything that may break, with its number in the failure model of the design.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word of it in reports.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

faults! {
    /// F-G1: the answer is lost, and the POST took effect or will.
    LostAnswer = "post_lost_and_acted",
    /// F-G2, F-G4: nobody knows, and nothing came of it.
    LostPost = "post_lost",
    /// F-G3.
    Throttled = "throttled",
    /// F-G5.
    NotSent = "not_sent",
    /// F-G6, F-G8.
    Refused = "refused",
    /// F-G11: the answer says running, the end is told later.
    Running = "running_first",
    /// F-G11: an answer without an operation.
    NullOperation = "null_operation",
    /// Running, and then it fails.
    Fails = "operation_fails",
    /// F-G12, and a Graph that says done and does nothing.
    Lies = "completed_without_effect",
    /// F-G13: it acts, and is running for ever.
    NeverEnds = "never_completes",
    /// It acts late, though before the client's limit.
    ActsLate = "acts_late",
    /// F-G15.
    OperationUnread = "operation_unreadable",
    /// F-G12: the roster cannot be read.
    RosterUnread = "roster_unreadable",
    /// GET of the call fails.
    CallUnread = "call_unreadable",
    /// Requests and answers take seconds.
    Slow = "slow_network",
    /// F-W1.
    HookLost = "hook_lost",
    /// F-W2.
    HookTwice = "hook_twice",
    /// F-W3, F-W4, F-W5: seconds late, after what came later.
    HookLate = "hook_late",
    /// F-W3: many minutes late.
    HookVeryLate = "hook_very_late",
    /// F-G19: a notification about an operation without its id.
    HookWithoutId = "hook_without_id",
    /// F-W5: a notification about an operation without its context.
    HookWithoutContext = "hook_without_context",
    /// F-W8: notifications about operations that are none of ours.
    HookFlood = "hook_flood",
    /// F-W13, T-3: a real notification of an end, replayed for a call that is up.
    ForgedEnd = "forged_end",
    /// F-G12: an array that leaves somebody out.
    PartialRoster = "partial_roster",
    /// keepAlive fails.
    KeepAliveFails = "keep_alive_fails",
    /// F-D5.
    SlowDisk = "slow_sync",
    /// F-D2.
    DiskError = "sync_error",
    /// F-S1: a subscriber takes its time.
    SlowReader = "slow_subscriber",
}

/// Rates are in ten thousandths.
const WHOLE: u64 = 10_000;

/// How often each fault happens in one life, and how often it did.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    rates: [u16; Fault::ALL.len()],
    pub(crate) hits: [u32; Fault::ALL.len()],
}

impl Rates {
    /// A swarm: some faults not at all, most now and then (0.1 to 5 %), some all the time. Lives
    /// with few kinds of faults come into corners that lives with all of them never reach.
    pub(crate) fn swarm(random: &mut Random) -> Self {
        let mut rates = [0; Fault::ALL.len()];
        let quiet = random.between(10, 95);
        for rate in &mut rates {
            let drawn = if random.percent(quiet) {
                0
            } else if random.percent(75) {
                random.between(10, 500)
            } else {
                random.between(1000, 4000)
            };
            *rate = u16::try_from(drawn).unwrap_or(0);
        }
        let mut rates = Self {
            rates,
            hits: [0; Fault::ALL.len()],
        };
        // Each kills the process, and lives should not be nothing but that.
        rates.cap(Fault::DiskError, 50);
        rates.cap(Fault::HookFlood, 200);
        rates.cap(Fault::ForgedEnd, 5000);
        rates
    }

    fn cap(&mut self, fault: Fault, most: u16) {
        let rate = &mut self.rates[fault as usize];
        *rate = (*rate).min(most);
    }

    /// From here on nothing breaks.
    pub(crate) fn calm(&mut self) {
        self.rates = [0; Fault::ALL.len()];
    }

    /// Whether it happens now.
    #[inline]
    pub(crate) fn strikes(&mut self, fault: Fault, random: &mut Random) -> bool {
        let rate = self.rates[fault as usize];
        let strikes = rate > 0 && random.below(WHOLE) < u64::from(rate);
        self.hits[fault as usize] += u32::from(strikes);
        strikes
    }
}
