use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use openmic::local::{DEV_APP, DEV_TENANT};
use openmic_graph::relay::{Lane, Parcel, Relay, RelayConfig, RelayMetrics};
use openmic_graph::{Credential, GraphClient, GraphConfig};
use openmic_listen::{Limits, Listener, Running};
use openmic_model::{AppId, CallId, TenantId};
use openmic_wire::notification;
use openmic_wire::raw::Named;
use tokio::task::JoinHandle;
use url::Url;

/// Calls whose notifications are relayed.
const CALLS: usize = 100;
/// Between two notifications: 2,000 of them come in a second.
const PACE: Duration = Duration::from_millis(10);
const AT_ONCE: usize = 20;

/// Notifications that keep coming for a hundred calls, relayed to a webhook that takes connections
/// and never answers, or read and thrown away.
#[derive(Debug)]
pub struct Stalled {
    relay: Option<Relay>,
    receiver: Running,
    pushing: JoinHandle<()>,
    asked: Arc<AtomicUsize>,
}

impl Stalled {
    /// Starts both ends; `relayed` or else thrown away once read, which costs the same up to there.
    ///
    /// # Errors
    /// When a port or a client is not to be had.
    pub fn start(relayed: bool) -> anyhow::Result<Self> {
        let asked = Arc::new(AtomicUsize::new(0));
        let router = Router::new()
            .route("/", post(never))
            .with_state(Arc::clone(&asked));
        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let url: Url = format!("http://{}/", listener.local_addr()).parse()?;
        let receiver = listener.serve(router, Limits::default());
        let relay = if relayed { Some(relay(&url)?) } else { None };
        let lanes: Vec<_> = relay.iter().flat_map(|relay| lanes(relay, &url)).collect();
        let pushing = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(PACE);
            for number in 0.. {
                if number % AT_ONCE == 0 {
                    ticks.tick().await;
                }
                let call = number % CALLS;
                let parcel = parcel(call, number / CALLS + 1);
                if let Some(lane) = lanes.get(call) {
                    lane.push(parcel);
                }
            }
        });
        Ok(Self {
            relay,
            receiver,
            pushing,
            asked,
        })
    }

    /// POSTs that the webhook has left without an answer so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Stops pushing, gives up what waits.
    pub async fn stop(self) {
        self.pushing.abort();
        // Its lanes close when it is dropped, which it is once it has ended.
        drop(self.pushing.await);
        if let Some(relay) = self.relay {
            relay.flush(Duration::ZERO).await;
        }
        self.receiver.stop(Duration::ZERO).await;
    }
}

async fn never(State(asked): State<Arc<AtomicUsize>>) -> StatusCode {
    asked.fetch_add(1, Ordering::Relaxed);
    std::future::pending().await
}

fn relay(url: &Url) -> anyhow::Result<Relay> {
    let credential = Credential {
        tenant: TenantId::parse(DEV_TENANT)?,
        app: AppId::parse(DEV_APP)?,
        secret: "none".into(),
    };
    let graph = GraphConfig::new(url.clone(), url.clone(), credential);
    let graph = GraphClient::new(&graph, &openmic_graph::Metrics::new())?;
    let config = RelayConfig {
        dev: true,
        ..RelayConfig::default()
    };
    Ok(Relay::new(config, graph, &RelayMetrics::new())?)
}

fn lanes(relay: &Relay, url: &Url) -> Vec<Lane> {
    let lane = |_| {
        let named = Named {
            callback_uri: url.to_string(),
            call_options: None,
        };
        let lane = relay.lane("https://engine.example/callbacks/key", named);
        lane.open(None::<&CallId>);
        lane
    };
    (0..CALLS).map(lane).collect()
}

/// A roster notification as the webhook reads it.
fn parcel(call: usize, number: usize) -> Parcel {
    let body = format!(
        "{{\"value\":[{{\"changeType\":\"updated\",\
         \"resourceUrl\":\"/communications/calls/relayed-{call}/participants\",\
         \"resourceData\":[{{\"@odata.type\":\"#microsoft.graph.deltaParticipants\",\
         \"sequenceNumber\":{number},\"participants\":[{{\"id\":\"me\",\"isMuted\":false,\
         \"isInLobby\":false,\"info\":{{}},\"rosterSequenceNumber\":{number}}}]}}]}}]}}"
    );
    let batch = notification::decode(body.as_bytes());
    let raw = batch.map(|batch| batch.raw.entries(|_| true));
    let raw = raw.unwrap_or_default();
    Parcel::new(&HeaderMap::new(), raw, body.len())
}
