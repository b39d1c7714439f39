//! Relay of notifications to the callback that a bot named.
//!
//! ```text
//!  webhook ─▶ Lane::push ─▶ queue of the call ─▶ its task ─▶ guard ─▶ the bot's webhook
//! ```
//!
//! Each call has one [`Lane`]: its notifications leave one POST after the other, in the order in
//! which they came. Pushing never waits, so neither a call's actor nor the webhook's 202 ever
//! depends on the bot's server. What arrived as one POST leaves as one, under the same message id
//! also when it is tried again.
//!
//! | what waits in a lane | bound | when full |
//! |---|---|---|
//! | roster entries | [`RelayConfig::queue`] | the latest waiting one is joined with the new one, in the new one's place |
//! | all other entries | [`RelayConfig::queue`] | the oldest is dropped |
//! | bytes of all | [`RelayConfig::bytes`] | both of the above; at least one entry of each kind stays |
//!
//! A POST that times out, finds no connection or is answered 408, 429 or 5xx is tried again after
//! each wait of [`RelayConfig::retries`], a longer `Retry-After` counting instead, and then given
//! up; any other refusal is final. Whatever does not reach the bot is counted by reason.
//!
//! A lane holds back until its call is known to be ([`Lane::open`]): a bot is told nothing of a
//! call that it was told does not exist. Upstream is asked for rosters as deltas whatever the bot
//! asked for; a bot that did not ask for them gets the whole roster, kept here.

mod metrics;
mod parcel;
mod queue;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use openmic_model::CallId;
use openmic_outbound::{Certificate, Outbound, OutboundConfig};
use openmic_wire::raw::Named;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::client::GraphClient;
use queue::Queue;
use sender::Sender;

pub use metrics::RelayMetrics;
pub use parcel::Parcel;

/// How notifications are relayed.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Lets http and every port through, to loopback only. Default off.
    pub dev: bool,
    /// Ports of https callbacks besides 443. Default none.
    pub ports: Vec<u16>,
    /// Certificates trusted besides the system's. Default none.
    pub roots: Vec<Certificate>,
    /// One POST, answer included. Default 5 s.
    pub timeout: Duration,
    /// The waits before the second and each further POST. Default 0.25, 0.5, 1, 2, 4 s.
    pub retries: Vec<Duration>,
    /// Roster entries, and apart from them all others, that wait in one lane. Default 256.
    pub queue: usize,
    /// Bytes that wait in one lane. Default 4 MiB.
    pub bytes: usize,
    /// How long a lane still sends once its call is gone. Default 15 s.
    pub drain: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            dev: false,
            ports: Vec::new(),
            roots: Vec::new(),
            timeout: Duration::from_secs(5),
            retries: [250, 500, 1000, 2000, 4000]
                .map(Duration::from_millis)
                .to_vec(),
            queue: 256,
            bytes: 4 * 1024 * 1024,
            drain: Duration::from_secs(15),
        }
    }
}

/// Relays notifications, one lane per call. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Relay {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    outbound: Outbound,
    graph: GraphClient,
    config: RelayConfig,
    metrics: RelayMetrics,
    lanes: TaskTracker,
    kill: CancellationToken,
}

impl Relay {
    /// A relay that repairs rosters through `graph`; nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up; look at the machine's root certificates.
    pub fn new(
        config: RelayConfig,
        graph: GraphClient,
        metrics: &RelayMetrics,
    ) -> Result<Self, reqwest::Error> {
        let outbound = Outbound::new(OutboundConfig {
            dev: config.dev,
            ports: config.ports.clone(),
            timeout: config.timeout,
            roots: config.roots.clone(),
            ..OutboundConfig::default()
        })?;
        let lanes = TaskTracker::new();
        // It only counts them; lanes may still be opened.
        lanes.close();
        Ok(Self {
            inner: Arc::new(Inner {
                outbound,
                graph,
                config,
                metrics: metrics.clone(),
                lanes,
                kill: CancellationToken::new(),
            }),
        })
    }

    /// A lane for a call whose notifications come in at `ours` and are for the bot that `named`
    /// its own address. It holds back what it gets until [`Lane::open`].
    ///
    /// Needs a tokio runtime.
    pub fn lane(&self, ours: &str, named: Named) -> Lane {
        let config = &self.inner.config;
        let queue = Arc::new(Queue::new(
            config.queue,
            config.bytes,
            self.inner.metrics.clone(),
        ));
        let sender = Sender {
            relay: Arc::clone(&self.inner),
            queue: Arc::clone(&queue),
            callback: Url::parse(&named.callback_uri).ok(),
            ours: ours.to_owned(),
            named,
        };
        self.inner.lanes.spawn(sender.run());
        Lane { queue }
    }

    /// What it counts.
    pub fn metrics(&self) -> &RelayMetrics {
        &self.inner.metrics
    }

    /// Waits until every lane has ended, at most `within`; what is still on its way then is
    /// abandoned. Close the lanes first.
    pub async fn flush(&self, within: Duration) {
        let all = self.inner.lanes.wait();
        if tokio::time::timeout(within, all).await.is_err() {
            self.inner.kill.cancel();
            self.inner.lanes.wait().await;
        }
    }
}

/// The way of one call's notifications to its bot. Dropping it closes it.
#[derive(Debug)]
pub struct Lane {
    queue: Arc<Queue>,
}

impl Lane {
    /// Takes what came in one POST; never waits. After the end it does nothing.
    pub fn push(&self, parcel: Parcel) {
        self.queue.push(parcel);
    }

    /// The call is known to be, and to be `call`: lets go what waits of it and whatever follows.
    /// `None` lets everything go, as where a lane serves an app and not one call.
    pub fn open(&self, call: Option<&CallId>) {
        self.queue.open(call);
    }

    /// There is no such call as far as its bot knows: forgets everything.
    pub fn discard(&self) {
        self.queue.discard();
    }

    /// Nothing more will come. What waits is still sent, as long as [`RelayConfig::drain`] allows.
    pub fn close(&self) {
        self.queue.close();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
