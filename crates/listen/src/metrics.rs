use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Why a connection was refused or closed by us, before its client was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// One address had as many as it may have.
    PeerLimit,
    /// No TLS came of it, and what came was no plain HTTP either.
    Handshake,
    /// The TLS handshake took too long.
    SlowHandshake,
    /// Plain HTTP on a port that speaks TLS.
    PlainHttp,
    /// A request's header took too long, or the next request did not come.
    SlowHeader,
    /// What came is no HTTP/1 request, or its header is too large.
    BadHeader,
    /// A body came too slowly.
    SlowBody,
    /// The client took no byte of its answer for too long.
    StuckAnswer,
}

impl Closed {
    /// In the order of the variants, so that `self as usize` finds its place.
    const ALL: [Self; 8] = [
        Self::PeerLimit,
        Self::Handshake,
        Self::SlowHandshake,
        Self::PlainHttp,
        Self::SlowHeader,
        Self::BadHeader,
        Self::SlowBody,
        Self::StuckAnswer,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::PeerLimit => "peer_limit",
            Self::Handshake => "handshake",
            Self::SlowHandshake => "slow_handshake",
            Self::PlainHttp => "plain_http",
            Self::SlowHeader => "slow_header",
            Self::BadHeader => "bad_header",
            Self::SlowBody => "slow_body",
            Self::StuckAnswer => "stuck_answer",
        }
    }
}

/// What a listener counts. Clones count into the same series.
#[derive(Debug, Clone)]
pub struct ListenMetrics {
    connections: IntGauge,
    closed: IntCounterVec,
    by_reason: [IntCounter; Closed::ALL.len()],
    accept_failures: IntCounter,
}

impl ListenMetrics {
    /// All at zero, with the label `listener`, by which listeners of one registry differ:
    ///
    /// - `openmic_listen_connections`: HTTP connections open now, upgraded ones not counted
    /// - `openmic_listen_closed_total{reason}`: connections that were refused or closed before
    ///   their client was done
    /// - `openmic_listen_accept_failures_total`: rising: raise the limit of open files
    pub fn new(listener: &str) -> Self {
        let valid = "names and labels are constants that prometheus accepts";
        let opts = |name: &str, help: &str| Opts::new(name, help).const_label("listener", listener);
        let closed = IntCounterVec::new(
            opts(
                "openmic_listen_closed_total",
                "Connections refused or closed before their client was done",
            ),
            &["reason"],
        )
        .expect(valid);
        Self {
            connections: IntGauge::with_opts(opts(
                "openmic_listen_connections",
                "HTTP connections open now, WebSockets not counted",
            ))
            .expect(valid),
            by_reason: Closed::ALL.map(|reason| closed.with_label_values(&[reason.label()])),
            closed,
            accept_failures: IntCounter::with_opts(opts(
                "openmic_listen_accept_failures_total",
                "Connections that could not be accepted, mostly for want of file descriptors",
            ))
            .expect(valid),
        }
    }

    /// Makes all of them visible in `registry`.
    ///
    /// # Errors
    /// When they are there already for a listener of that name.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 3] = [
            Box::new(self.connections.clone()),
            Box::new(self.closed.clone()),
            Box::new(self.accept_failures.clone()),
        ];
        all.into_iter().try_for_each(|each| registry.register(each))
    }

    pub(crate) fn closed(&self, reason: Closed) {
        self.by_reason[reason as usize].inc();
    }

    pub(crate) fn opened(&self) {
        self.connections.inc();
    }

    pub(crate) fn ended(&self) {
        self.connections.dec();
    }

    pub(crate) fn accept_failed(&self) {
        self.accept_failures.inc();
    }
}

impl Default for ListenMetrics {
    /// Of the listener `http`.
    fn default() -> Self {
        Self::new("http")
    }
}
