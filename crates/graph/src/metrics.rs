use std::sync::Arc;
use std::time::{Duration, SystemTime};

use openmic_wire::errand::Errand;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry,
};

/// What is asked of whom. The closed set of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Token,
    CreateCall,
    GetCall,
    DeleteCall,
    Answer,
    Reject,
    KeepAlive,
    Mute,
    Unmute,
    Participants,
    Participant,
    Operation,
    Errand(Errand),
}

impl Endpoint {
    /// Those that are no errands.
    const OWN: [Self; 12] = [
        Self::Token,
        Self::CreateCall,
        Self::GetCall,
        Self::DeleteCall,
        Self::Answer,
        Self::Reject,
        Self::KeepAlive,
        Self::Mute,
        Self::Unmute,
        Self::Participants,
        Self::Participant,
        Self::Operation,
    ];

    /// Method and route, as labels.
    pub(crate) const fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Token => ("POST", "token"),
            Self::CreateCall => ("POST", "calls"),
            Self::GetCall => ("GET", "call"),
            Self::DeleteCall => ("DELETE", "call"),
            Self::Answer => ("POST", "answer"),
            Self::Reject => ("POST", "reject"),
            Self::KeepAlive => ("POST", "keep_alive"),
            Self::Mute => ("POST", "mute"),
            Self::Unmute => ("POST", "unmute"),
            Self::Participants => ("GET", "participants"),
            Self::Participant => ("GET", "participant"),
            Self::Operation => ("GET", "operation"),
            Self::Errand(errand) => errand.labels(),
        }
    }

    /// Whether it makes a call, or takes one that rings.
    pub(crate) const fn begins_a_call(self) -> bool {
        matches!(self, Self::CreateCall | Self::Answer)
    }

    fn all() -> impl Iterator<Item = Self> {
        let errands = Errand::ALL.into_iter().map(Self::Errand);
        Self::OWN.into_iter().chain(errands)
    }
}

/// Why a request did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Graph asked for a pause.
    Throttled,
    /// The circuit is open.
    Circuit,
    /// Too much was repeated already.
    Budget,
}

/// Why the circuit opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// No answers.
    Transport,
    /// Two tokens in a row were turned down.
    Unauthorized,
}

/// Classes of answers; the last one is none at all.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// What a [`crate::GraphClient`] counts. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    throttled: IntCounter,
    retry_after: Histogram,
    token_refresh: IntCounterVec,
    token_expires: Gauge,
    held_back: IntCounterVec,
    held: [IntCounter; 3],
    circuit_opened: IntCounterVec,
    opened: [IntCounter; 2],
    circuit_open: IntGauge,
    routes: Arc<[(Endpoint, Route)]>,
    token_ok: IntCounter,
    token_failed: IntCounter,
}

/// The pre-resolved children of one endpoint.
#[derive(Debug, Clone)]
struct Route {
    classes: [IntCounter; CLASSES.len()],
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero, registered nowhere.
    pub fn new() -> Self {
        let requests = IntCounterVec::new(
            Opts::new("openmic_graph_requests_total", "Requests to Graph."),
            &["method", "route", "status_class"],
        )
        .expect("the literals are valid names");
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "openmic_graph_request_seconds",
                "Time from a request to Graph to the end of its answer.",
            )
            .buckets(vec![
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            &["route"],
        )
        .expect("the literals are valid names");
        let throttled = IntCounter::new(
            "openmic_graph_throttled_total",
            "Answers 429 and 503 of Graph.",
        )
        .expect("the literals are valid names");
        let retry_after = Histogram::with_opts(
            HistogramOpts::new(
                "openmic_graph_retry_after_seconds",
                "Pauses that Graph asked for with Retry-After.",
            )
            .buckets(vec![0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]),
        )
        .expect("the literals are valid names");
        let token_refresh = IntCounterVec::new(
            Opts::new("openmic_token_refresh_total", "Tokens asked for."),
            &["result"],
        )
        .expect("the literals are valid names");
        let token_expires = Gauge::new(
            "openmic_token_expires_timestamp_seconds",
            "When the newest token ends, in seconds since 1970.",
        )
        .expect("the literals are valid names");
        let held_back = IntCounterVec::new(
            Opts::new(
                "openmic_graph_held_back_total",
                "Requests and repeats that were not sent: throttled, circuit, budget.",
            ),
            &["reason"],
        )
        .expect("the literals are valid names");
        let circuit_opened = IntCounterVec::new(
            Opts::new(
                "openmic_graph_circuit_opened_total",
                "How often Graph was left alone for 5 s: transport, unauthorized.",
            ),
            &["reason"],
        )
        .expect("the literals are valid names");
        let circuit_open =
            IntGauge::new("openmic_graph_circuit_open", "1 while Graph is left alone.")
                .expect("the literals are valid names");
        let routes = Endpoint::all().map(|endpoint| {
            let (method, route) = endpoint.labels();
            let route = Route {
                classes: CLASSES.map(|class| requests.with_label_values(&[method, route, class])),
                seconds: seconds.with_label_values(&[route]),
            };
            (endpoint, route)
        });
        Self {
            routes: routes.collect(),
            token_ok: token_refresh.with_label_values(&["ok"]),
            token_failed: token_refresh.with_label_values(&["failed"]),
            held: ["throttled", "circuit", "budget"]
                .map(|reason| held_back.with_label_values(&[reason])),
            opened: ["transport", "unauthorized"]
                .map(|reason| circuit_opened.with_label_values(&[reason])),
            requests,
            seconds,
            throttled,
            retry_after,
            token_refresh,
            token_expires,
            held_back,
            circuit_opened,
            circuit_open,
        }
    }

    /// Makes them visible in `registry`.
    ///
    /// # Errors
    /// [`prometheus::Error`] when one of the names is taken there.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.requests.clone()))?;
        registry.register(Box::new(self.seconds.clone()))?;
        registry.register(Box::new(self.throttled.clone()))?;
        registry.register(Box::new(self.retry_after.clone()))?;
        registry.register(Box::new(self.token_refresh.clone()))?;
        registry.register(Box::new(self.token_expires.clone()))?;
        registry.register(Box::new(self.held_back.clone()))?;
        registry.register(Box::new(self.circuit_opened.clone()))?;
        registry.register(Box::new(self.circuit_open.clone()))
    }

    /// One request ended; `status` is `None` when no answer came.
    pub(crate) fn request(&self, endpoint: Endpoint, status: Option<u16>, took: Duration) {
        let found = self.routes.iter().find(|(known, _)| *known == endpoint);
        let (_, route) = found.expect("every endpoint has its counters");
        let class = match status {
            Some(status @ 100..=599) => usize::from(status / 100) - 1,
            _ => CLASSES.len() - 1,
        };
        route.classes[class].inc();
        route.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn throttled(&self, retry_after: Option<Duration>) {
        self.throttled.inc();
        if let Some(pause) = retry_after {
            self.retry_after.observe(pause.as_secs_f64());
        }
    }

    /// A token was asked for; `life` is how long the one that came is good.
    pub(crate) fn token(&self, life: Option<Duration>) {
        let Some(life) = life else {
            self.token_failed.inc();
            return;
        };
        self.token_ok.inc();
        let ends = SystemTime::now() + life;
        let ends = ends.duration_since(SystemTime::UNIX_EPOCH);
        self.token_expires
            .set(ends.map_or(0.0, |ends| ends.as_secs_f64()));
    }

    pub(crate) fn held(&self, why: Held) {
        self.held[why as usize].inc();
    }

    /// The circuit opened for a reason, or closed.
    pub(crate) fn circuit(&self, why: Option<Opened>) {
        self.circuit_open.set(i64::from(why.is_some()));
        if let Some(why) = why {
            self.opened[why as usize].inc();
        }
    }
}
