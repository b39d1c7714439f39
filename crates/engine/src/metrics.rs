//! What an operator can see of calls and commands.

use std::sync::OnceLock;
use std::time::Duration;

use openmic_machine::{Ack, EndCause, Phase};
use openmic_model::{Action, Evidence, Verdict};
use openmic_wire::notification::{Item, Notification};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

const COMMANDS: [Action; 2] = [Action::Mute, Action::Unmute];
const VERDICTS: [&str; 7] = [
    "confirmed",
    "already",
    "refused",
    "unconfirmed",
    "expired",
    "superseded",
    "call_ended",
];
const EVIDENCE: [Evidence; 4] = [
    Evidence::Http,
    Evidence::Operation,
    Evidence::Roster,
    Evidence::Poll,
];
const RESOURCES: [&str; 4] = ["call", "participants", "operation", "other"];
const RESULTS: [&str; 5] = [
    "queued",
    "unknown_call",
    "wrong_tenant",
    "busy",
    "duplicate",
];
const PHASES: usize = Phase::ALL.len();
const KEEP_ALIVE: [&str; 3] = ["done", "gone", "failed"];

/// What an operator can see of the calls. Registered by whoever embeds the engine.
#[derive(Debug, Clone)]
pub struct EngineMetrics {
    pub(crate) calls: IntGaugeVec,
    pub(crate) transitions: IntCounterVec,
    /// Of `transitions`, by two of [`Phase::ALL`], as soon as there is one: a series comes with
    /// the first.
    entered: [[OnceLock<IntCounter>; PHASES]; PHASES],
    /// Of `calls`, by [`Phase::ALL`]; none of those that are over.
    live: [Option<IntGauge>; PHASES],
    pub(crate) ended: IntCounterVec,
    pub(crate) panicked: IntCounter,
    pub(crate) setup: Histogram,
    pub(crate) commands: IntCounterVec,
    pub(crate) command_seconds: HistogramVec,
    pub(crate) evidence_seconds: HistogramVec,
    /// Of `commands` and `command_seconds`, by [`COMMANDS`] and [`VERDICTS`]: looked up once, and
    /// not for every command, as are the others.
    settled: [[(IntCounter, Histogram); VERDICTS.len()]; COMMANDS.len()],
    /// Of `evidence_seconds`, by [`COMMANDS`] and [`EVIDENCE`].
    proved: [[Histogram; EVIDENCE.len()]; COMMANDS.len()],
    pub(crate) in_flight: IntGauge,
    pub(crate) late_evidence: IntCounter,
    pub(crate) unexpected: IntCounterVec,
    pub(crate) notifications: IntCounterVec,
    /// Of `notifications`, by [`RESOURCES`] and [`RESULTS`].
    notified: [[IntCounter; RESULTS.len()]; RESOURCES.len()],
    pub(crate) incoming: IntCounterVec,
    pub(crate) ringing: IntGauge,
    pub(crate) resyncs: IntCounter,
    pub(crate) keep_alive: IntCounterVec,
    pub(crate) busy: IntCounter,
    pub(crate) draining: IntGauge,
}

/// From the 0.4 ms of the local service to the 26 s before the default deadline.
fn command_buckets() -> Vec<f64> {
    (0..17)
        .map(|step| 0.0004 * f64::from(1_u32 << step))
        .collect()
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("a name and labels without fault")
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("a name without fault")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("a name without fault")
}

fn histograms(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(command_buckets());
    HistogramVec::new(options, labels).expect("a name and labels without fault")
}

impl EngineMetrics {
    /// All metrics at zero, every label value present from the start.
    pub fn new() -> Self {
        let phases = &["state"];
        let commands = counters(
            "openmic_commands_total",
            "Mute and unmute commands, by how they ended.",
            &["command", "verdict"],
        );
        let command_seconds = histograms(
            "openmic_command_seconds",
            "From acceptance of a command to its verdict.",
            &["command", "verdict"],
        );
        let settled = COMMANDS.map(|command| {
            VERDICTS.map(|verdict| {
                let labels = [command.as_str(), verdict];
                let count = commands.with_label_values(&labels);
                (count, command_seconds.with_label_values(&labels))
            })
        });
        let calls = IntGaugeVec::new(
            Opts::new("openmic_calls", "Calls that are not over, by state."),
            phases,
        )
        .expect("a name and labels without fault");
        let evidence_seconds = histograms(
            "openmic_command_evidence_seconds",
            "From acceptance of a confirmed command to the evidence that came last.",
            &["command", "evidence"],
        );
        let notifications = counters(
            "openmic_notifications_total",
            "Entries of webhooks with a valid token, by what became of them.",
            &["resource", "result"],
        );
        let metrics = Self {
            entered: Default::default(),
            live: Phase::ALL.map(|phase| {
                let is_live = phase != Phase::Terminated;
                is_live.then(|| calls.with_label_values(&[phase.as_str()]))
            }),
            notified: RESOURCES.map(|resource| {
                RESULTS.map(|result| notifications.with_label_values(&[resource, result]))
            }),
            proved: COMMANDS.map(|command| {
                EVIDENCE.map(|evidence| {
                    evidence_seconds.with_label_values(&[command.as_str(), evidence.as_str()])
                })
            }),
            calls,
            transitions: counters(
                "openmic_call_transitions_total",
                "Changes of a call's state.",
                &["from", "to"],
            ),
            ended: counters(
                "openmic_call_ended_total",
                "Calls that ended, by reason.",
                &["reason"],
            ),
            panicked: counter(
                "openmic_calls_panicked_total",
                "Calls ended by a fault of openmic itself; each is a bug.",
            ),
            setup: Histogram::with_opts(
                HistogramOpts::new(
                    "openmic_call_setup_seconds",
                    "From the create POST to an established call with its own roster entry seen.",
                )
                .buckets(command_buckets()),
            )
            .expect("a name without fault"),
            commands,
            command_seconds,
            settled,
            evidence_seconds,
            in_flight: gauge("openmic_commands_in_flight", "Commands without a verdict."),
            late_evidence: counter(
                "openmic_command_late_evidence_total",
                "Facts about a command that came after its verdict.",
            ),
            unexpected: counters(
                "openmic_call_unexpected_events_total",
                "Events that the call's state had no use for.",
                &["state"],
            ),
            notifications,
            incoming: counters(
                "openmic_incoming_calls_total",
                "Calls that rang, by how they stopped; refused: there was no room for them.",
                &["result"],
            ),
            ringing: gauge("openmic_incoming_ringing", "Calls that ring."),
            resyncs: counter(
                "openmic_roster_resyncs_total",
                "Rosters read by GET because a notification was missing or doubtful.",
            ),
            keep_alive: counters(
                "openmic_keepalive_total",
                "keepAlive requests.",
                &["result"],
            ),
            busy: counter(
                "openmic_commands_rejected_total",
                "Commands not accepted because the call's mailbox was full.",
            ),
            draining: gauge(
                "openmic_draining",
                "1 while the engine takes no new calls or commands.",
            ),
        };
        metrics.fill();
        metrics
    }

    /// Creates the other series, so that a dashboard shows zero rather than nothing.
    fn fill(&self) {
        for phase in Phase::ALL {
            self.unexpected.with_label_values(&[phase.as_str()]);
        }
        for cause in EndCause::ALL {
            self.ended.with_label_values(&[cause.as_str()]);
        }
        self.ended.with_label_values(&["panicked"]);
        for result in crate::incoming::RESULTS {
            self.incoming.with_label_values(&[result]);
        }
        for result in KEEP_ALIVE {
            self.keep_alive.with_label_values(&[result]);
        }
    }

    /// Makes the metrics visible to `registry`.
    ///
    /// # Errors
    /// When the registry holds one of the names already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.calls.clone()))?;
        registry.register(Box::new(self.transitions.clone()))?;
        registry.register(Box::new(self.ended.clone()))?;
        registry.register(Box::new(self.panicked.clone()))?;
        registry.register(Box::new(self.setup.clone()))?;
        registry.register(Box::new(self.commands.clone()))?;
        registry.register(Box::new(self.command_seconds.clone()))?;
        registry.register(Box::new(self.evidence_seconds.clone()))?;
        registry.register(Box::new(self.in_flight.clone()))?;
        registry.register(Box::new(self.late_evidence.clone()))?;
        registry.register(Box::new(self.unexpected.clone()))?;
        registry.register(Box::new(self.notifications.clone()))?;
        registry.register(Box::new(self.incoming.clone()))?;
        registry.register(Box::new(self.ringing.clone()))?;
        registry.register(Box::new(self.resyncs.clone()))?;
        registry.register(Box::new(self.keep_alive.clone()))?;
        registry.register(Box::new(self.busy.clone()))?;
        registry.register(Box::new(self.draining.clone()))
    }

    pub(crate) fn entered(&self, from: Phase, to: Phase) {
        let labels = [from.as_str(), to.as_str()];
        self.entered[from as usize][to as usize]
            .get_or_init(|| self.transitions.with_label_values(&labels))
            .inc();
        if let Some(live) = &self.live[from as usize] {
            live.dec();
        }
        if let Some(live) = &self.live[to as usize] {
            live.inc();
        }
    }

    /// A call begins.
    pub(crate) fn begun(&self) {
        let establishing = Phase::Establishing.as_str();
        self.calls.with_label_values(&[establishing]).inc();
    }

    /// Entries of a webhook, and what became of them.
    pub(crate) fn notified(&self, notifications: &[Notification], result: &'static str) {
        let result = RESULTS.iter().position(|known| *known == result);
        for notification in notifications {
            let resource = match &notification.item {
                Item::Call(_) | Item::Incoming(_) => "call",
                Item::Roster(_) => "participants",
                Item::Operation(_) => "operation",
                Item::Other => "other",
            };
            let resource = RESOURCES.iter().position(|known| *known == resource);
            if let (Some(resource), Some(result)) = (resource, result) {
                self.notified[resource][result].inc();
            }
        }
    }

    /// A call rings no more, or never did for want of room.
    pub(crate) fn rang(&self, result: &'static str) {
        self.incoming.with_label_values(&[result]).inc();
    }

    pub(crate) fn kept_alive(&self, ack: Ack) {
        let word = match ack {
            Ack::Done => "done",
            Ack::Gone => "gone",
            Ack::Failed => "failed",
        };
        self.keep_alive.with_label_values(&[word]).inc();
    }

    /// A command of the bot's has its verdict.
    pub(crate) fn closed(&self, action: Action, verdict: &Verdict, took: Duration) {
        self.in_flight.dec();
        self.settled(action, verdict, took);
    }

    pub(crate) fn settled(&self, action: Action, verdict: &Verdict, took: Duration) {
        let Some(command) = COMMANDS.iter().position(|command| *command == action) else {
            return;
        };
        let seconds = took.as_secs_f64();
        let word = verdict.as_str();
        if let Some(verdict) = VERDICTS.iter().position(|verdict| *verdict == word) {
            let (count, histogram) = &self.settled[command][verdict];
            count.inc();
            histogram.observe(seconds);
        }
        if let Verdict::Confirmed { evidence, .. } = verdict
            && let Some(evidence) = EVIDENCE.iter().position(|known| known == evidence)
        {
            self.proved[command][evidence].observe(seconds);
        }
    }
}

impl Default for EngineMetrics {
    fn default() -> Self {
        Self::new()
    }
}
