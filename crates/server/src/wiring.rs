//! Puts the parts together: service, client, fan-out, engine, surface, in one process.
//!
//! `openmic serve` runs a [`Stack`] until a signal; the demo runs one on free ports and looks
//! inside.

#[cfg(test)]
mod tests;

use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use openmic_auth::{Discovery, KeySource, Validator, ValidatorConfig};
use openmic_edge::{EdgeMetrics, Readiness, Surface, admin_routes, routes};
use openmic_engine::Engine;
use openmic_graph::relay::{Relay, RelayConfig, RelayMetrics};
use openmic_graph::{GraphClient, GraphConfig};
use openmic_hub::Hub;
use openmic_journal::Journal;
use openmic_listen::{ListenMetrics, Listener, Running};
use openmic_local::{LocalConfig, LocalService};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};
use url::Url;

use crate::banner::Addresses;
use crate::records::{self, Opened};
use crate::resolve::{Endpoints, Place, Plan, Records};
use crate::tls::TlsPlan;
use crate::{config, resolve, telemetry};

/// What is left for each step of an end whose deadline has passed.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// How long the first read of signing keys may hold up the start.
const FIRST_KEYS: Duration = Duration::from_secs(2);

/// Between two tries to read signing keys that could not be read at start.
const KEYS_AGAIN: Duration = Duration::from_secs(5);

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Stack {
    engine: Engine,
    journal: Journal,
    /// The journal's folder, when it goes with the process.
    temporary: Option<TempDir>,
    local: Option<LocalService>,
    readiness: Readiness,
    /// Of the public listener.
    scheme: &'static str,
    ca_file: Option<PathBuf>,
    public: Running,
    admin: Running,
    /// Ends with the stack.
    background: JoinSet<()>,
    /// The webhook of incoming calls has an address that nobody knows yet.
    new_key: bool,
    drain_deadline: Duration,
    /// Calls outlive the process.
    leave: bool,
    close_timeout: Duration,
}

/// What a graceful end could not end gracefully.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Calls that were still up.
    pub(crate) calls_left: usize,
    /// Requests that were cut.
    pub(crate) connections_cut: usize,
}

impl Stack {
    /// Binds the addresses, then starts the parts in the order in which they need each other.
    /// Requests are taken when it returns.
    ///
    /// # Errors
    /// Names the part that does not start; nothing runs then.
    pub(crate) async fn start(mut plan: Plan) -> anyhow::Result<Self> {
        // First: a taken port is the most likely trouble and the cheapest to find.
        let public =
            Listener::bind(plan.public).context("the engine's HTTP surface [listen.public]")?;
        let admin = Listener::bind(plan.admin).context("metrics and probes [listen.admin]")?;
        let records = mem::replace(&mut plan.records, Records::Temporary);
        let Opened {
            journal,
            found,
            temporary,
        } = records::open(records).await?;
        let registry = telemetry::registry().context("the process's metrics")?;
        let scheme = plan.tls.scheme();
        let served = mem::replace(&mut plan.tls, TlsPlan::Off).start()?;
        let mut authorities = mem::take(&mut plan.authorities);
        authorities.extend(served.authority);

        let (local, endpoints) = match &plan.place {
            Place::Local(config) => {
                let config = LocalConfig {
                    tls: served.tls.clone(),
                    callback_roots: authorities.clone(),
                    ..(**config).clone()
                };
                let service = LocalService::start(config, &registry).await?;
                let endpoints = Endpoints::local(&service, &plan);
                (Some(service), endpoints)
            }
            Place::Graph(endpoints) => (None, (**endpoints).clone()),
        };

        let endpoints = endpoints.trusting(&authorities);

        let graph_metrics = openmic_graph::Metrics::new();
        graph_metrics.register(&registry)?;
        let graph = GraphConfig {
            scope: plan.scope.clone(),
            connect_timeout: plan.connect_timeout,
            request_timeout: plan.request_timeout,
            authorities: authorities.clone(),
            ..GraphConfig::new(
                endpoints.base_url,
                endpoints.authority,
                plan.credential.clone(),
            )
        };
        let graph = GraphClient::new(&graph, &graph_metrics).context("the client of Graph")?;

        let hub = Hub::start(plan.hub.clone()).context("the roster fan-out")?;
        hub.metrics().register(&registry)?;

        let callback = match &plan.public_url {
            Some(url) => url.clone(),
            None => address_url(scheme, public.local_addr()),
        };
        journal.metrics().register(&registry)?;
        let mut engine = Engine::builder(graph.clone(), plan.owner(), callback)
            .hub(hub)
            .journal(journal.clone(), found)
            .command_deadline(plan.calls.command_deadline)
            .post_limit(plan.request_timeout)
            .max_calls(plan.calls.max_calls)
            .ring_deadline(plan.calls.ring_deadline)
            .recorder(plan.recorder)
            .retention(plan.calls.retention);
        if let Some(key) = &plan.calls.incoming_key {
            engine = engine.incoming_key(key.expose_secret());
        }
        if let Some(callback) = &plan.calls.incoming_callback_uri {
            engine = engine.relay_incoming(callback.as_str());
        }
        if let Some(config) = plan.relay.take() {
            let config = RelayConfig {
                roots: authorities,
                ..config
            };
            let metrics = RelayMetrics::new();
            metrics.register(&registry)?;
            let relay = Relay::new(config, graph, &metrics).context("the relay [relay]")?;
            engine = engine.relay(relay);
        }
        let engine = engine.build().context("calls.incoming_key")?;
        engine.metrics().register(&registry)?;

        let auth_metrics = openmic_auth::Metrics::new();
        auth_metrics.register(&registry)?;
        let callers = endpoints.callers;
        let source = |discovery: Discovery, key| {
            KeySource::discover(discovery, auth_metrics.clone()).context(key)
        };
        let notifier_keys = source(
            endpoints.notification_keys.clone(),
            "upstream.openid_configuration_url",
        )?;
        // Two sources of one address would fetch twice and limit themselves apart.
        let caller_keys = if callers.keys.configuration == endpoints.notification_keys.configuration
        {
            notifier_keys.clone()
        } else {
            source(callers.keys, "auth.openid_configuration_url")?
        };
        let audience = vec![plan.credential.app.to_string()];
        let notifiers = Validator::new(
            ValidatorConfig::notifications(plan.notification_issuers.clone(), audience),
            notifier_keys.clone(),
            auth_metrics.clone(),
        )
        .context("upstream.notification_issuers")?;
        let callers = Validator::new(
            ValidatorConfig::callers(callers.issuers, callers.audiences),
            caller_keys.clone(),
            auth_metrics.clone(),
        )
        .context("auth.issuers, auth.audiences")?;

        let edge_metrics = EdgeMetrics::new();
        edge_metrics.register(&registry)?;
        let readiness = Readiness::new();
        let surface = Surface {
            engine: engine.clone(),
            callers: Arc::new(callers),
            notifiers: Arc::new(notifiers),
            config: plan.surface.clone(),
            metrics: edge_metrics.clone(),
        };
        let public_metrics = ListenMetrics::new("public");
        public_metrics.register(&registry)?;
        let public = public.tls(served.tls).metrics(public_metrics);
        let admin_metrics = ListenMetrics::new("admin");
        admin_metrics.register(&registry)?;
        let admin = admin.metrics(admin_metrics);
        let mut background = JoinSet::new();
        for (part, keys) in [
            ("notification_keys", notifier_keys),
            ("caller_keys", caller_keys),
        ] {
            if let Some(again) = first_keys(part, keys, readiness.clone()).await {
                background.spawn(again);
            }
        }
        background.spawn(records::watch_room(journal.room(), readiness.clone()));
        // Before the webhook listens: from now on it knows the calls of before.
        background.spawn(records::take_up(engine.recover(), readiness.clone()));
        let admin_routes = admin_routes(registry, readiness.clone(), &edge_metrics);
        Ok(Self {
            engine,
            journal,
            temporary,
            local,
            readiness,
            scheme,
            ca_file: served.ca_file,
            public: public.serve(routes(surface), plan.listen.clone()),
            admin: admin.serve(admin_routes, plan.listen),
            background,
            new_key: plan.calls.incoming_key.is_none(),
            drain_deadline: plan.calls.drain_deadline,
            leave: plan.calls.leave,
            close_timeout: plan.hub.close_timeout,
        })
    }

    /// Where everything is.
    pub(crate) fn addresses(&self) -> Addresses {
        let text = |scheme, addr| {
            let url = address_url(scheme, addr);
            url.as_str().trim_end_matches('/').to_owned()
        };
        Addresses {
            public: Some(text(self.scheme, self.public.local_addr())),
            admin: Some(text("http", self.admin.local_addr())),
            ca_file: self.ca_file.clone(),
            local: self
                .local
                .as_ref()
                .map(|service| service.base_url().to_owned()),
        }
    }

    /// Where incoming calls are to be sent, when nobody can know it yet.
    pub(crate) fn new_incoming_callback(&self) -> Option<Url> {
        self.new_key.then(|| self.engine.incoming_callback())
    }

    /// Resolves once the journal failed, with what its disk said. The process is to end then, without
    /// hanging anything up: what it goes on from is what is durable.
    pub(crate) fn journal_failed(&self) -> impl Future<Output = String> + use<> {
        let journal = self.journal.clone();
        async move { journal.failed().await }
    }

    /// Ends gracefully, within the configured deadline: unready, no new calls and commands, every
    /// call hung up or left to the next process, subscribers told to come back later (1012), requests answered. The admin
    /// listener goes last, so that probes see it.
    pub(crate) async fn drain(mut self) -> Drained {
        let until = Instant::now() + self.drain_deadline;
        let left = || {
            until
                .saturating_duration_since(Instant::now())
                .max(LAST_MOMENT)
        };
        self.readiness
            .block("drain", "the process is going down; use another one");
        let calls_left = if self.leave {
            self.engine.leave(self.drain_deadline).await
        } else {
            self.engine.drain(self.drain_deadline).await
        };
        let hub = self.engine.hub().clone();
        let within = self.close_timeout.min(left());
        let closing = tokio::task::spawn_blocking(move || hub.shutdown(within));
        if let Err(error) = closing.await {
            tracing::error!(%error, "the roster fan-out did not stop");
        }
        let mut connections_cut = self.public.stop(left()).await;
        if let Some(service) = self.local.take()
            && time::timeout(left(), service.stop()).await.is_err()
        {
            tracing::warn!("the local calling service was cut short");
        }
        self.background.shutdown().await;
        if time::timeout(left(), self.journal.close()).await.is_err() {
            tracing::warn!("the journal was not closed in time; nothing of it is lost");
        }
        if let Some(folder) = self.temporary.take()
            && let Err(error) = folder.close()
        {
            tracing::warn!(%error, "the journal's temporary folder stays");
        }
        connections_cut += self.admin.stop(left().min(Duration::from_secs(1))).await;
        Drained {
            calls_left,
            connections_cut,
        }
    }
}

/// The default configuration on ports that are free, its journal in a temporary folder: several of it run side by side.
///
/// # Errors
/// When the default configuration cannot be run, which a test excludes.
pub(crate) fn on_free_ports() -> anyhow::Result<Plan> {
    let free = [
        ("listen.public", "127.0.0.1:0"),
        ("listen.admin", "127.0.0.1:0"),
        ("local.bind", "127.0.0.1:0"),
        ("local.rtp_ports", "any"),
    ];
    let flags = free.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut plan = resolve::serve(config::load(None, [], &flags)?.settings)?;
    plan.records = Records::Temporary;
    Ok(plan)
}

/// What the demo and the tests look at.
impl Stack {
    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The service in this process.
    #[cfg(test)]
    fn local(&self) -> Option<&LocalService> {
        self.local.as_ref()
    }
}

/// Reads keys before the first token needs them. While they cannot be read the process is not
/// ready, and the returned future tries again until they can.
async fn first_keys(
    part: &'static str,
    keys: KeySource,
    readiness: Readiness,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let first = time::timeout(FIRST_KEYS, keys.prefetch(SystemTime::now())).await;
    let error = match first {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
        Err(_) => "no answer yet".to_owned(),
    };
    tracing::warn!(part, error, "signing keys cannot be read; trying again");
    readiness.block(part, "signing keys cannot be read; the log says why");
    Some(async move {
        loop {
            time::sleep(KEYS_AGAIN).await;
            if keys.prefetch(SystemTime::now()).await.is_ok() {
                readiness.clear(part);
                tracing::info!(part, "signing keys were read");
                return;
            }
        }
    })
}

/// `http://` or `https://` and an address that can be connected to.
pub(crate) fn address_url(scheme: &str, mut addr: SocketAddr) -> Url {
    if addr.ip().is_unspecified() {
        addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Url::parse(&format!("{scheme}://{addr}/")).expect("a socket address is an authority")
}
