use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What became of a notification on its way to a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The bot answered 2xx.
    Delivered,
    /// The guard did not let it out.
    Refused,
    /// The bot answered something that a retry cannot help.
    Rejected,
    /// Every attempt failed.
    Failed,
    /// Too many rosters waited: joined with the next one.
    Conflated,
    /// Too much else waited: the oldest was dropped.
    Overflow,
    /// The call was gone or the process stopped first.
    Abandoned,
    /// The bot was told that there is no such call, or it is about another one.
    Unwanted,
    /// About an operation of the engine's own that the bot knows nothing of.
    Internal,
}

impl Fate {
    const ALL: [Self; 9] = [
        Self::Delivered,
        Self::Refused,
        Self::Rejected,
        Self::Failed,
        Self::Conflated,
        Self::Overflow,
        Self::Abandoned,
        Self::Unwanted,
        Self::Internal,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Conflated => "conflated",
            Self::Overflow => "overflow",
            Self::Abandoned => "abandoned",
            Self::Unwanted => "unwanted",
            Self::Internal => "internal",
        }
    }
}

/// What a [`crate::relay::Relay`] counts. Clones count together.
#[derive(Debug, Clone)]
pub struct RelayMetrics {
    notifications: IntCounterVec,
    fates: [IntCounter; Fate::ALL.len()],
    repairs: IntCounterVec,
    repaired: IntCounter,
    unrepaired: IntCounter,
    pub(super) retries: IntCounter,
    pub(super) waiting: IntGauge,
    pub(super) lanes: IntGauge,
    pub(super) attempt_seconds: Histogram,
}

impl Default for RelayMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl RelayMetrics {
    /// All at zero.
    pub fn new() -> Self {
        let valid = "the names and labels are constants that satisfy prometheus";
        let notifications = IntCounterVec::new(
            Opts::new(
                "openmic_relay_notifications_total",
                "Notifications for bots' own callbacks, by what became of them",
            ),
            &["result"],
        )
        .expect(valid);
        let repairs = IntCounterVec::new(
            Opts::new(
                "openmic_relay_repairs_total",
                "Rosters read because a delta of a relayed call was missing",
            ),
            &["result"],
        )
        .expect(valid);
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect(valid);
        Self {
            fates: Fate::ALL.map(|fate| notifications.with_label_values(&[fate.as_str()])),
            notifications,
            repaired: repairs.with_label_values(&["ok"]),
            unrepaired: repairs.with_label_values(&["failed"]),
            repairs,
            retries: IntCounter::new(
                "openmic_relay_retries_total",
                "Further attempts to relay a POST to a bot's callback",
            )
            .expect(valid),
            waiting: gauge(
                "openmic_relay_waiting",
                "Notifications that wait for, or are on, their way to a bot's callback",
            ),
            lanes: gauge(
                "openmic_relay_lanes",
                "Calls whose notifications are relayed",
            ),
            attempt_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "openmic_relay_attempt_seconds",
                    "Seconds one attempt to relay a POST took",
                )
                .buckets(vec![
                    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
                    5.0,
                ]),
            )
            .expect(valid),
        }
    }

    /// Adds everything to `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.notifications.clone()))?;
        registry.register(Box::new(self.repairs.clone()))?;
        registry.register(Box::new(self.retries.clone()))?;
        registry.register(Box::new(self.waiting.clone()))?;
        registry.register(Box::new(self.lanes.clone()))?;
        registry.register(Box::new(self.attempt_seconds.clone()))
    }

    pub(super) fn ended(&self, fate: Fate, notifications: usize) {
        self.fates[fate as usize].inc_by(u64::try_from(notifications).unwrap_or(u64::MAX));
    }

    pub(super) fn repair(&self, worked: bool) {
        if worked {
            self.repaired.inc();
        } else {
            self.unrepaired.inc();
        }
    }

    /// Notes notifications about operations of the engine's own, which no bot is told of.
    pub fn internal(&self, notifications: usize) {
        self.ended(Fate::Internal, notifications);
    }
}
