use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::AlgorithmParameters;
use openmic_auth::{KeySource, PublicKey, Validator, ValidatorConfig};
use openmic_listen::{BindError, ListenMetrics, Listener, Running};
use openmic_media::{Media, MediaConfig};
use openmic_model::TenantId;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::{ConfigError, LocalConfig};
use crate::deliver::Courier;
use crate::faults::{Defaults, FaultError, FaultPlan, Scope};
use crate::http;
use crate::keys::{GRAPH_AUDIENCE, KeyError, SigningKey};
use crate::metrics::Metrics;
use crate::truth::Truth;
use crate::world::{Registry, World};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be run.
    #[error("the local service's configuration cannot be run")]
    Config(#[source] ConfigError),
    /// The HTTP address is not to be had.
    #[error("the local service's HTTP address cannot be bound")]
    Bind(#[source] BindError),
    /// The media threads do not start.
    #[error("the media of the local service cannot be started")]
    Media(#[source] std::io::Error),
    /// No signing key.
    #[error("the local service has no signing key")]
    Key(#[source] KeyError),
    /// No HTTP client for notifications.
    #[error(
        "no HTTP client for notifications can be set up; check this machine's root certificates"
    )]
    Client(#[source] reqwest::Error),
    /// A metric's name is taken, as by a second service in the same registry.
    #[error("the local service's metrics cannot be registered; give each service a registry")]
    Metrics(#[source] prometheus::Error),
    /// The truth log's file is not to be had.
    #[error("the truth log {} cannot be appended to; name a file in a folder that is there", .0.display())]
    Truth(PathBuf, #[source] std::io::Error),
    /// The thread that makes the key did not finish.
    #[error("the runtime is going down")]
    Runtime(#[source] tokio::task::JoinError),
}

/// A running local calling service. Dropping it stops it at once; [`LocalService::stop`] lets what
/// is under way end.
#[derive(Debug)]
pub struct LocalService {
    pub(crate) world: Arc<World>,
    running: Running,
    _kill: DropGuard,
}

impl LocalService {
    /// Binds HTTP, makes a signing key, starts the media threads and serves.
    ///
    /// Its metrics and the media's go into `registry`. Takes a few hundred milliseconds, for the key.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(
        config: LocalConfig,
        registry: &prometheus::Registry,
    ) -> Result<Self, StartError> {
        config.check().map_err(StartError::Config)?;
        let listener = Listener::bind(config.bind).map_err(StartError::Bind)?;
        let given = config.signing_key.clone();
        let make = move || match given {
            Some(key) => SigningKey::of_pem(&key.0),
            None => SigningKey::generate(),
        };
        let keys = tokio::task::spawn_blocking(make)
            .await
            .map_err(StartError::Runtime)?
            .map_err(StartError::Key)?;
        let keys = Arc::new(keys);
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let base_url = match &config.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("{scheme}://{}", listener.local_addr()),
        };
        let truth = config.truth_log.as_deref();
        let truth = Truth::begin(config.limits.truth, truth, &base_url).map_err(|error| {
            StartError::Truth(config.truth_log.clone().unwrap_or_default(), error)
        })?;
        let truth = Arc::new(truth);
        let metrics = Metrics::new();
        let courier = Courier::new(
            Arc::clone(&keys),
            &config,
            metrics.clone(),
            Arc::clone(&truth),
        )
        .map_err(StartError::Client)?;
        let faults = Defaults::new(&truth, &metrics);
        if let Some(plan) = &config.faults {
            let shown = faults.set(plan.clone(), Scope::default());
            tracing::warn!(
                seed = shown.seed,
                "calls will fare badly: faults are configured"
            );
        }
        let media = Media::start(MediaConfig {
            bind: config.rtp_ip,
            ports: config.rtp_ports.map(|(first, last)| first..=last),
            rate_limit: config.rtp_rate,
            silence_tail: config.silence_tail,
            mute_keepalive: config.mute_keepalive,
            ..MediaConfig::default()
        })
        .map_err(StartError::Media)?;
        metrics.register(registry).map_err(StartError::Metrics)?;
        media
            .metrics()
            .register(registry)
            .map_err(StartError::Metrics)?;
        let listen_metrics = ListenMetrics::new("local");
        listen_metrics
            .register(registry)
            .map_err(StartError::Metrics)?;
        let listener = listener.tls(config.tls.clone()).metrics(listen_metrics);
        let limits = config.listen.clone();
        let kill = CancellationToken::new();
        let world = Arc::new(World {
            validator: validator(&config, &base_url, &keys),
            base_url,
            keys,
            media,
            faults,
            metrics,
            truth,
            courier: Arc::new(courier),
            registry: Mutex::new(Registry::default()),
            tasks: TaskTracker::new(),
            ends: kill.child_token(),
            kill: kill.clone(),
            config,
        });
        let running = listener.serve(http::router(Arc::clone(&world)), limits);
        tracing::info!(base_url = world.base_url, "the local calling service is up");
        Ok(Self {
            world,
            running,
            _kill: kill.drop_guard(),
        })
    }

    /// `http://host:port`, https with TLS, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.world.base_url
    }

    /// The base of the Graph surface: `http://host:port/v1.0`.
    pub fn graph_url(&self) -> String {
        format!("{}/v1.0", self.world.base_url)
    }

    /// The authority: a tenant's token endpoint is `<authority>/<tenant>/oauth2/v2.0/token`.
    pub fn authority(&self) -> &str {
        &self.world.base_url
    }

    /// The document that notifications' tokens are checked by; its keys sign access tokens as well.
    pub fn openid_configuration_url(&self) -> Url {
        let text = format!("{}/v1/.well-known/OpenIdConfiguration", self.world.base_url);
        Url::parse(&text).expect("the base was made of a socket address or of a URL")
    }

    /// `iss` of the access tokens of a tenant; their `aud` is `https://graph.microsoft.com`.
    pub fn issuer(&self, tenant: &TenantId) -> String {
        self.world.issuer(tenant)
    }

    /// Where HTTP is served.
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.running.local_addr()
    }

    /// The audio path.
    pub fn media(&self) -> &Media {
        &self.world.media
    }

    /// Lets things go wrong in calls that begin from now on; gives the seed of the dice. As
    /// `PUT /lab/v1/faults`.
    ///
    /// # Errors
    /// [`FaultError::NotHere`] unless the service is bound to loopback in the dev profile.
    pub fn set_faults(&self, plan: FaultPlan) -> Result<u64, FaultError> {
        if !self.world.config.is_for_this_machine() {
            return Err(FaultError::NotHere);
        }
        Ok(self.world.faults.set(plan, Scope::default()).seed)
    }

    /// Nothing goes wrong in calls that begin from now on.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// The lines of the truth log with a number above `since`, as `GET /lab/v1/truth` gives them:
    /// what reached the service, what really took effect, what was answered and told. A first
    /// number above `since + 1` says that the lines between have gone from memory.
    ///
    /// Each line is a JSON object with `n` (its number, from 1), `at` (wall clock), `us`
    /// (microseconds since the start, by a clock that never jumps) and `what`: `started`, `asked`
    /// (a POST or DELETE came), `effect` (a mute or unmute took place, or a call got on in its
    /// life), `answered`, `told` (a notification was dealt with), or `fault`. `/openapi.json` lists the members, at
    /// `GET /lab/v1/truth`.
    pub fn truth(&self, since: u64) -> String {
        self.world.truth.since(since)
    }

    /// Stops: no new requests, those under way and waiting notifications have the drain time of
    /// the configuration, then everything is dropped. Calls are not told.
    pub async fn stop(self) {
        let drain = self.world.config.timing.drain;
        let cut = self.running.stop(drain).await;
        if cut > 0 {
            tracing::warn!(cut, "connections were cut while stopping");
        }
        self.world.ends.cancel();
        self.world.tasks.close();
        let quiet = self.world.tasks.wait();
        if tokio::time::timeout(drain, quiet).await.is_err() {
            self.world.kill.cancel();
            self.world.tasks.wait().await;
        }
        let media = self.world.media.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || media.shutdown()).await {
            tracing::error!(%error, "the media threads did not stop");
        }
    }
}

/// Checks callers' tokens against our own key.
fn validator(config: &LocalConfig, base_url: &str, keys: &SigningKey) -> Validator {
    let mut issuers: Vec<String> = config
        .apps
        .iter()
        .map(|app| format!("{base_url}/{}/v2.0", app.tenant))
        .collect();
    issuers.sort();
    issuers.dedup();
    let public = keys.public().keys.iter().filter_map(|jwk| {
        let AlgorithmParameters::RSA(rsa) = &jwk.algorithm else {
            return None;
        };
        let part = |text| URL_SAFE_NO_PAD.decode(text).ok();
        PublicKey::rsa(
            jwk.common.key_id.as_deref()?,
            &part(&rsa.n)?,
            &part(&rsa.e)?,
        )
        .ok()
    });
    Validator::new(
        ValidatorConfig::callers(issuers, vec![GRAPH_AUDIENCE.to_owned()]),
        KeySource::fixed(public),
        openmic_auth::Metrics::new(),
    )
    .expect("a checked configuration has an app and so an issuer; the audience is a constant")
}
