use openmic_model::{OperationKind, OperationStatus};
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use crate::meeting::Record;

/// What became of a notification, or of one roster change on its way into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The bot answered 2xx.
    Delivered,
    /// The guard did not let it out.
    Refused,
    /// The bot answered something that a retry cannot help.
    Rejected,
    /// Every attempt failed.
    Failed,
    /// Too many waited: merged into the one before.
    Conflated,
    /// The service stopped first.
    Abandoned,
    /// A fault kept it back.
    Dropped,
}

impl Delivery {
    const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Refused,
        Self::Rejected,
        Self::Failed,
        Self::Conflated,
        Self::Abandoned,
        Self::Dropped,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Conflated => "conflated",
            Self::Abandoned => "abandoned",
            Self::Dropped => "dropped",
        }
    }
}

const ACTIONS: [OperationKind; 4] = [
    OperationKind::MuteParticipant,
    OperationKind::UnmuteParticipant,
    OperationKind::InviteParticipants,
    OperationKind::MuteParticipants,
];

const fn action_word(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::MuteParticipant => "mute",
        OperationKind::UnmuteParticipant => "unmute",
        OperationKind::InviteParticipants => "invite",
        OperationKind::MuteParticipants => "mute_all",
    }
}

/// The local service's metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) calls: IntGauge,
    pub(crate) meetings: IntGauge,
    pub(crate) bots: IntGauge,
    pub(crate) humans: IntGauge,
    pub(crate) retries: IntCounter,
    pub(crate) attempt_seconds: Histogram,
    participants: IntGaugeVec,
    notifications: IntCounterVec,
    by_result: [IntCounter; 7],
    operations: IntCounterVec,
    /// Of `operations`, by [`ACTIONS`] and whether it was completed.
    by_end: [[IntCounter; 2]; ACTIONS.len()],
    faults: IntCounterVec,
    pub(crate) tokens: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let valid = "the names and labels are constants that satisfy prometheus";
        let participants = IntGaugeVec::new(
            Opts::new(
                "openmic_local_participants",
                "Participants in meetings of the local service, by kind",
            ),
            &["kind"],
        )
        .expect(valid);
        let notifications = IntCounterVec::new(
            Opts::new(
                "openmic_local_notifications_total",
                "Notifications of the local service, by what became of them",
            ),
            &["result"],
        )
        .expect(valid);
        let operations = IntCounterVec::new(
            Opts::new(
                "openmic_local_operations_total",
                "Operations of the local service, by how they ended",
            ),
            &["action", "status"],
        )
        .expect(valid);
        let by_end = ACTIONS.map(|kind| {
            ["completed", "failed"]
                .map(|status| operations.with_label_values(&[action_word(kind), status]))
        });
        let faults = IntCounterVec::new(
            Opts::new(
                "openmic_local_faults_total",
                "Faults of the local service that came to pass, by their names",
            ),
            &["fault"],
        )
        .expect(valid);
        let counter = |name: &str, help: &str| IntCounter::new(name, help).expect(valid);
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect(valid);
        Self {
            calls: gauge("openmic_local_calls", "Calls of the local service"),
            meetings: gauge("openmic_local_meetings", "Meetings of the local service"),
            bots: participants.with_label_values(&["bot"]),
            humans: participants.with_label_values(&["human"]),
            participants,
            by_result: Delivery::ALL
                .map(|result| notifications.with_label_values(&[result.as_str()])),
            notifications,
            retries: counter(
                "openmic_local_notification_retries_total",
                "Further attempts to deliver a notification",
            ),
            attempt_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "openmic_local_notification_attempt_seconds",
                    "Seconds one attempt to deliver a notification took",
                )
                .buckets(vec![
                    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
                    5.0,
                ]),
            )
            .expect(valid),
            operations,
            by_end,
            faults,
            tokens: counter(
                "openmic_local_tokens_total",
                "Access tokens issued by the local service",
            ),
        }
    }

    pub(crate) fn notification(&self, result: Delivery) -> &IntCounter {
        &self.by_result[result as usize]
    }

    /// `name` is one of the table's.
    pub(crate) fn fault(&self, name: &'static str) -> IntCounter {
        self.faults.with_label_values(&[name])
    }

    /// Counts an operation that has ended.
    pub(crate) fn ended(&self, record: &Record) {
        let end = match record.operation.status {
            OperationStatus::Completed => 0,
            OperationStatus::Failed => 1,
            // It has not.
            OperationStatus::NotStarted | OperationStatus::Running => return,
        };
        if let Some(action) = ACTIONS.iter().position(|kind| *kind == record.kind) {
            self.by_end[action][end].inc();
        }
    }

    pub(crate) fn register(
        &self,
        registry: &prometheus::Registry,
    ) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 9] = [
            Box::new(self.calls.clone()),
            Box::new(self.meetings.clone()),
            Box::new(self.participants.clone()),
            Box::new(self.notifications.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.attempt_seconds.clone()),
            Box::new(self.operations.clone()),
            Box::new(self.faults.clone()),
            Box::new(self.tokens.clone()),
        ];
        all.into_iter().try_for_each(|each| registry.register(each))
    }
}
