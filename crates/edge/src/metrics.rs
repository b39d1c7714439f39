use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    exponential_buckets,
};

use crate::webhook::CALLBACK;

/// What the surface counts. Clones count into the same series.
#[derive(Debug, Clone)]
pub struct EdgeMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    /// Of both, webhooks that were taken: most requests are, so it is looked up once, when the
    /// first comes.
    taken: OnceLock<(IntCounter, Histogram)>,
    pub(crate) webhook_ack: Histogram,
    webhooks_rejected: IntCounterVec,
    unqueued: [IntCounter; Unqueued::ALL.len()],
    requests_rejected: IntCounterVec,
    turned_away: [IntCounter; Rejected::ALL.len()],
    replays: IntCounterVec,
    replayed: [IntCounter; Replay::ALL.len()],
    replay_records: IntGauge,
    upgrades: IntCounterVec,
    upgraded: [IntCounter; Upgrade::ALL.len()],
}

/// The label of `openmic_webhooks_rejected_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unqueued {
    NoToken,
    BadToken,
    KeysUnavailable,
    UnknownKey,
    Busy,
    TooLarge,
    Broken,
    Unreadable,
    OldFormat,
}

impl Unqueued {
    /// In the order of the variants.
    const ALL: [Self; 9] = [
        Self::NoToken,
        Self::BadToken,
        Self::KeysUnavailable,
        Self::UnknownKey,
        Self::Busy,
        Self::TooLarge,
        Self::Broken,
        Self::Unreadable,
        Self::OldFormat,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UnknownKey => "unknown_key",
            Self::Busy => "busy",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::Unreadable => "unreadable",
            Self::OldFormat => "old_format",
        }
    }
}

/// The label of `openmic_requests_rejected_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// No token, a bad one, or one of the wrong kind.
    Unauthenticated,
    /// A ticket that is good for nothing.
    Ticket,
    /// Its caller asks too often.
    Rate,
    /// Too many callers.
    Callers,
    /// Its caller watches too many rosters.
    WebSockets,
    /// Too many tickets wait.
    Tickets,
    /// Too many calls are up.
    Calls,
}

impl Rejected {
    /// In the order of the variants.
    const ALL: [Self; 7] = [
        Self::Unauthenticated,
        Self::Ticket,
        Self::Rate,
        Self::Callers,
        Self::WebSockets,
        Self::Tickets,
        Self::Calls,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Ticket => "ticket",
            Self::Rate => "rate",
            Self::Callers => "callers",
            Self::WebSockets => "websockets",
            Self::Tickets => "tickets",
            Self::Calls => "calls",
        }
    }
}

/// The label of `openmic_named_requests_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// It ran.
    First,
    /// It got the answer of the first one.
    Replayed,
    /// It waited for the first one's answer.
    Joined,
    /// Its key was another request's.
    Mismatch,
    /// As many ran as can be remembered.
    Full,
}

impl Replay {
    /// In the order of the variants.
    const ALL: [Self; 5] = [
        Self::First,
        Self::Replayed,
        Self::Joined,
        Self::Mismatch,
        Self::Full,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Replayed => "replayed",
            Self::Joined => "joined",
            Self::Mismatch => "mismatch",
            Self::Full => "full",
        }
    }
}

/// The label of `openmic_websocket_upgrades_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    Attached,
    BadRequest,
    Origin,
    NoRoster,
    Full,
    Failed,
}

impl Upgrade {
    /// In the order of the variants.
    const ALL: [Self; 6] = [
        Self::Attached,
        Self::BadRequest,
        Self::Origin,
        Self::NoRoster,
        Self::Full,
        Self::Failed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::BadRequest => "bad_request",
            Self::Origin => "origin",
            Self::NoRoster => "no_roster",
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

impl EdgeMetrics {
    /// All at zero:
    ///
    /// - `openmic_http_requests_total{route,method,status_class}`, `route` as in the table of
    ///   routes, `unmatched` for the rest
    /// - `openmic_http_request_seconds{route}`, to the head of the answer
    /// - `openmic_webhook_ack_seconds`, from a webhook's head to its 202, with what its call does
    ///   about it at once
    /// - `openmic_webhooks_rejected_total{reason}`
    /// - `openmic_requests_rejected_total{reason}`: who was turned away at the door
    /// - `openmic_named_requests_total{result}`: POSTs with an `Idempotency-Key` or a
    ///   `client-request-id`, `first` or a repeat
    /// - `openmic_named_requests_kept`, running ones included
    /// - `openmic_websocket_upgrades_total{result}`
    pub fn new() -> Self {
        let valid = "names and labels are constants that prometheus accepts";
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect(valid)
        };
        // 0.5 ms to 32 s: an unmute waits for its verdict up to its deadline.
        let buckets = exponential_buckets(0.0005, 2.0, 17).expect(valid);
        let seconds = HistogramOpts::new(
            "openmic_http_request_seconds",
            "From the head of a request to the head of its answer",
        );
        let ack = HistogramOpts::new(
            "openmic_webhook_ack_seconds",
            "From the head of a webhook to its 202",
        );
        let webhooks_rejected = counters(
            "openmic_webhooks_rejected_total",
            "Webhooks that were not queued",
            &["reason"],
        );
        let requests_rejected = counters(
            "openmic_requests_rejected_total",
            "Requests turned away for who sent them or for how much there is already",
            &["reason"],
        );
        let replays = counters(
            "openmic_named_requests_total",
            "POSTs that can be known again, by whether they had come before",
            &["result"],
        );
        let upgrades = counters(
            "openmic_websocket_upgrades_total",
            "Requests for a roster WebSocket, by how they ended",
            &["result"],
        );
        Self {
            requests: counters(
                "openmic_http_requests_total",
                "Requests answered",
                &["route", "method", "status_class"],
            ),
            seconds: HistogramVec::new(seconds.buckets(buckets), &["route"]).expect(valid),
            taken: OnceLock::new(),
            webhook_ack: Histogram::with_opts(
                ack.buckets(exponential_buckets(0.0001, 2.0, 15).expect(valid)),
            )
            .expect(valid),
            unqueued: Unqueued::ALL
                .map(|reason| webhooks_rejected.with_label_values(&[reason.as_str()])),
            webhooks_rejected,
            turned_away: Rejected::ALL
                .map(|reason| requests_rejected.with_label_values(&[reason.as_str()])),
            requests_rejected,
            replayed: Replay::ALL.map(|result| replays.with_label_values(&[result.as_str()])),
            replays,
            replay_records: IntGauge::new(
                "openmic_named_requests_kept",
                "POSTs that a repeat would be known of, running ones included",
            )
            .expect(valid),
            upgraded: Upgrade::ALL.map(|result| upgrades.with_label_values(&[result.as_str()])),
            upgrades,
        }
    }

    /// Makes all of them visible in `registry`.
    ///
    /// # Errors
    /// When one of the names is taken there.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 8] = [
            Box::new(self.requests.clone()),
            Box::new(self.seconds.clone()),
            Box::new(self.webhook_ack.clone()),
            Box::new(self.webhooks_rejected.clone()),
            Box::new(self.requests_rejected.clone()),
            Box::new(self.replays.clone()),
            Box::new(self.replay_records.clone()),
            Box::new(self.upgrades.clone()),
        ];
        for collector in all {
            registry.register(collector)?;
        }
        Ok(())
    }

    pub(crate) fn rejected(&self, reason: Unqueued) {
        self.unqueued[reason as usize].inc();
    }

    pub(crate) fn turned_away(&self, reason: Rejected) {
        self.turned_away[reason as usize].inc();
    }

    pub(crate) fn replayed(&self, result: Replay) {
        self.replayed[result as usize].inc();
    }

    pub(crate) fn replay_records(&self, count: usize) {
        self.replay_records
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn upgraded(&self, result: Upgrade) {
        self.upgraded[result as usize].inc();
    }

    pub(crate) fn answered(&self, route: &str, method: &str, status: StatusCode, took: Duration) {
        let class = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let look_up = || {
            let count = self.requests.with_label_values(&[route, method, class]);
            (count, self.seconds.with_label_values(&[route]))
        };
        let found;
        let (count, seconds) = if (route, method, class) == (CALLBACK, "POST", "2xx") {
            self.taken.get_or_init(look_up)
        } else {
            found = look_up();
            &found
        };
        count.inc();
        seconds.observe(took.as_secs_f64());
    }
}

impl Default for EdgeMetrics {
    fn default() -> Self {
        Self::new()
    }
}
