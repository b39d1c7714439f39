//! From the configuration as written to what the crates take: secrets read, defaults that depend
//! on other keys filled in, and what cannot be run refused before anything is started.

mod bounds;
mod credential;
mod endpoints;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use openmic_auth::{ApiKey, ApiKeys};
use openmic_edge::{CallerLimits, SurfaceConfig};
use openmic_engine::Owner;
use openmic_graph::Credential;
use openmic_graph::relay::RelayConfig;
use openmic_hub::HubConfig;
use openmic_journal::{Durability, JournalConfig, Keeping};
use openmic_local::{ALL_ROLES, App, DEV_SECRET, FaultError, FaultPlan, LocalConfig};
use reqwest::Certificate;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::config::settings::{
    ApiKeyEntry, AppEntry, Auth, Journal, Listen, Local, Settings, Upstream,
};
use crate::config::values::{self, UpstreamKind};
use crate::tls::{self, TlsPlan};

use credential::{graph_credential, own_credential, secret};
pub(crate) use endpoints::Endpoints;

/// What a verdict may be given; outside it the engine would bend the value.
const COMMAND_DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);

/// Why a configuration that can be read cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("{key}: {problem}")]
    Key { key: &'static str, problem: String },
    #[error("listen.tls_cert_file, listen.tls_key_file")]
    Tls(#[source] openmic_listen::TlsError),
    #[error("{key}_file: cannot read {}", path.display())]
    SecretFile {
        key: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

pub(crate) fn invalid(key: &'static str, problem: impl Into<String>) -> Invalid {
    Invalid::Key {
        key,
        problem: problem.into(),
    }
}

/// What `openmic serve` builds.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) listen: openmic_listen::Limits,
    pub(crate) tls: TlsPlan,
    /// Whom our own requests trust besides the system's authorities.
    pub(crate) authorities: Vec<Certificate>,
    pub(crate) surface: SurfaceConfig,
    pub(crate) place: Place,
    pub(crate) credential: Credential,
    pub(crate) scope: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    /// What the service reaches us by; `None`: the public listener's address.
    pub(crate) public_url: Option<Url>,
    pub(crate) notification_issuers: Vec<String>,
    pub(crate) auth: Auth,
    pub(crate) calls: Calls,
    /// `None`: notifications end here.
    pub(crate) relay: Option<RelayConfig>,
    pub(crate) hub: HubConfig,
    pub(crate) records: Records,
    /// Bytes of the flight recorder.
    pub(crate) recorder: usize,
    /// The published secret is in use.
    pub(crate) dev: bool,
}

/// How the engine treats calls.
#[expect(clippy::struct_field_names, reason = "the names of the keys")]
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    pub(crate) command_deadline: Duration,
    pub(crate) max_calls: usize,
    pub(crate) retention: Duration,
    pub(crate) drain_deadline: Duration,
    /// Calls outlive the process.
    pub(crate) leave: bool,
    pub(crate) ring_deadline: Duration,
    pub(crate) incoming_callback_uri: Option<Url>,
    /// `None`: a new one.
    pub(crate) incoming_key: Option<SecretString>,
}

/// Where the calls live.
#[derive(Debug)]
pub(crate) enum Place {
    /// In this process.
    Local(Box<LocalConfig>),
    /// Elsewhere.
    Graph(Box<Endpoints>),
}

/// Where the journal is.
#[derive(Debug)]
pub(crate) enum Records {
    /// In a folder that stays.
    Kept(JournalConfig),
    /// In one that goes when the process ends.
    Temporary,
}

impl Plan {
    /// The bot that the engine speaks for.
    pub(crate) fn owner(&self) -> Owner {
        let Credential { app, tenant, .. } = &self.credential;
        Owner {
            app: app.clone(),
            tenant: tenant.clone(),
        }
    }

    /// In one line for people.
    pub(crate) fn summary(&self) -> String {
        let place = match &self.place {
            Place::Local(config) => format!("the local calling service on {}", config.bind),
            Place::Graph(endpoints) => endpoints.base_url.to_string(),
        };
        let dev = if self.dev { ", dev credentials" } else { "" };
        format!(
            "engine on {} ({}), operators on {}, calls on {place}, app {}{dev}",
            self.public,
            self.tls.scheme(),
            self.admin,
            self.credential.app
        )
    }
}

/// Turns the configuration of `openmic serve` into a plan.
///
/// # Errors
/// [`Invalid`] names the key and what to do.
pub(crate) fn serve(settings: Settings) -> Result<Plan, Invalid> {
    let Settings {
        listen,
        upstream,
        local,
        calls,
        relay,
        journal,
        hub,
        recorder,
        callers,
        mut auth,
        ..
    } = settings;
    let deadline = calls.command_deadline.0;
    if !COMMAND_DEADLINE.contains(&deadline) {
        return Err(invalid("calls.command_deadline", "must be from 1s to 5min"));
    }
    if calls.at_end == values::AtEnd::Leave && journal.durability == values::Durability::None {
        return Err(invalid(
            "calls.at_end",
            "\"leave\" needs a journal that can be relied on, and journal.durability is \"none\": \
             make that \"process-crash\" or \"power-loss\", or this \"hang-up\"",
        ));
    }
    let (place, credential) = match upstream.kind {
        UpstreamKind::Local => {
            only_for_graph(&upstream)?;
            let config = local_service(&local, limits(&listen)?)?;
            let credential = own_credential(&upstream, &config)?;
            (Place::Local(Box::new(config)), credential)
        }
        UpstreamKind::Graph => {
            let credential = graph_credential(&upstream)?;
            let endpoints = Endpoints::graph(&upstream, &auth, &credential)?;
            (Place::Graph(Box::new(endpoints)), credential)
        }
    };
    bounds::addresses(&listen, &place)?;
    bounds::recorder(&recorder)?;
    bounds::journal(&journal)?;
    bounds::callers(&auth)?;
    let incoming_key = secret(
        "calls.incoming_key",
        calls.incoming_key.as_ref(),
        calls.incoming_key_file.as_deref(),
    )?;
    bounds::incoming_key(incoming_key.as_ref())?;
    let dev = credential.secret.expose_secret() == DEV_SECRET;
    if dev && !listen.public.ip().is_loopback() {
        return Err(invalid(
            "listen.public",
            format!(
                "{} is open to the network and the dev credentials are public: anybody could use \
                 your bots; listen on 127.0.0.1, or give `local.apps` an entry with a secret of \
                 your own",
                listen.public
            ),
        ));
    }
    let urls = [
        ("upstream.public_url", &upstream.public_url),
        ("listen.public_url", &listen.public_url),
    ];
    for (key, url) in urls {
        if let Some(url) = url {
            reachable(key, url)?;
        }
    }
    let beside = match &place {
        Place::Local(config) => config.dev && listen.public.ip().is_loopback(),
        Place::Graph(_) => false,
    };
    let relay = relay.enabled.then(|| RelayConfig {
        dev: relay.loopback.unwrap_or(beside),
        ports: relay.ports,
        timeout: relay.timeout.0,
        retries: relay.retries.iter().map(|wait| wait.0).collect(),
        queue: relay.queue,
        bytes: relay.queue_bytes,
        drain: relay.drain.0,
        ..RelayConfig::default()
    });
    if let Some(url) = &calls.incoming_callback_uri
        && (!matches!(url.scheme(), "http" | "https") || !url.has_host())
    {
        return Err(invalid(
            "calls.incoming_callback_uri",
            format!("{url} is no http or https address; give that of the bot's webhook"),
        ));
    }
    Ok(Plan {
        tls: TlsPlan::new(&listen, &local, &upstream)?,
        authorities: tls::authorities(&upstream)?,
        public: listen.public,
        admin: listen.admin,
        listen: limits(&listen)?,
        surface: SurfaceConfig {
            join_muted: calls.join_muted,
            loopback_origins: listen.public.ip().is_loopback(),
            public_url: listen.public_url,
            origins: listen.origins,
            api_keys: api_keys(std::mem::take(&mut auth.api_keys))?,
            limits: CallerLimits {
                websockets: callers.max_websockets,
                requests_per_second: callers.max_requests_per_second,
            },
        },
        place,
        credential,
        scope: upstream.scope,
        connect_timeout: upstream.connect_timeout.0,
        request_timeout: upstream.request_timeout.0,
        public_url: upstream.public_url,
        notification_issuers: upstream.notification_issuers,
        auth,
        calls: Calls {
            command_deadline: deadline,
            max_calls: calls.max_calls,
            retention: calls.retention.0,
            drain_deadline: calls.drain_deadline.0,
            leave: calls.at_end == values::AtEnd::Leave,
            ring_deadline: calls.ring_deadline.0,
            incoming_callback_uri: calls.incoming_callback_uri,
            incoming_key,
        },
        relay,
        records: Records::Kept(records(journal)),
        recorder: recorder.bytes,
        hub: HubConfig {
            shards: if hub.threads == 0 {
                HubConfig::default().shards
            } else {
                hub.threads
            },
            max_subscribers: hub.max_subscribers,
            max_subscribers_per_call: hub.max_subscribers_per_call,
            ping_interval: hub.ping_interval.0,
            slow_after: hub.slow_after.0,
            close_timeout: hub.close_timeout.0,
            ..HubConfig::default()
        },
        dev,
    })
}

fn records(journal: Journal) -> JournalConfig {
    JournalConfig {
        folder: journal.folder,
        durability: match journal.durability {
            values::Durability::PowerLoss => Durability::PowerLoss,
            values::Durability::ProcessCrash => Durability::ProcessCrash,
            values::Durability::None => Durability::None,
        },
        keeping: Keeping {
            min_free: journal.min_free.0,
            retention: journal.retention.0,
            ..Keeping::default()
        },
    }
}

/// The keys that callers may have in the place of a token.
fn api_keys(entries: Vec<ApiKeyEntry>) -> Result<ApiKeys, Invalid> {
    let keys = entries.into_iter().map(|entry| ApiKey {
        name: entry.name,
        sha256: entry.sha256.0,
        app: entry.app,
        tenant: entry.tenant,
        roles: entry.roles,
    });
    ApiKeys::new(keys.collect()).map_err(|error| invalid("auth.api_keys", error.to_string()))
}

/// What both HTTP servers take on.
///
/// # Errors
/// [`Invalid`] when it is nothing.
pub(crate) fn limits(listen: &Listen) -> Result<openmic_listen::Limits, Invalid> {
    bounds::listeners(listen)?;
    Ok(openmic_listen::Limits {
        header_timeout: listen.header_timeout.0,
        keep_alive: listen.keep_alive.0,
        body_timeout: listen.body_timeout.0,
        min_body_rate: listen.min_body_rate,
        stuck_after: listen.stuck_after.0,
        max_header_bytes: listen.max_header_bytes,
        max_connections: listen.max_connections,
        max_connections_per_address: listen.max_connections_per_address,
    })
}

/// The local calling service as configured.
///
/// # Errors
/// [`Invalid`] names the key and what to do.
pub(crate) fn local_service(
    local: &Local,
    listen: openmic_listen::Limits,
) -> Result<LocalConfig, Invalid> {
    let apps: Vec<App> = if local.apps.is_empty() {
        vec![App::dev()]
    } else {
        local.apps.iter().map(app).collect::<Result<_, _>>()?
    };
    for (at, app) in apps.iter().enumerate() {
        if apps[..at].iter().any(|other| other.id == app.id) {
            return Err(invalid("local.apps", format!("{} is there twice", app.id)));
        }
    }
    if !local.bind.ip().is_loopback() {
        let open = format!("{} is open to the network", local.bind);
        if local.dev {
            return Err(invalid(
                "local.bind",
                format!("{open} and local.dev is on; bind 127.0.0.1, or set local.dev = false"),
            ));
        }
        if apps.iter().any(|app| app.secret == DEV_SECRET) {
            return Err(invalid(
                "local.bind",
                format!(
                    "{open} and the dev credentials are public; bind 127.0.0.1, or give \
                     `local.apps` an entry with a secret of your own"
                ),
            ));
        }
    }
    if let Some(url) = &local.public_url {
        reachable("local.public_url", url)?;
        if url.path() != "/" {
            return Err(invalid(
                "local.public_url",
                format!("{url} has a path; leave it out"),
            ));
        }
    }
    if local.rtp_bind.is_unspecified() {
        return Err(invalid(
            "local.rtp_bind",
            format!(
                "{} is also what participants would be told to send to; give the address of this \
                 machine that they reach",
                local.rtp_bind
            ),
        ));
    }
    let mut config = LocalConfig {
        bind: local.bind,
        listen,
        public_url: local.public_url.clone(),
        apps,
        rtp_ip: local.rtp_bind,
        rtp_ports: local.rtp_ports.0,
        silence_tail: local.silence_tail,
        mute_keepalive: local.mute_keepalive,
        dev: local.dev,
        callback_ports: local.callback_ports.clone(),
        faults: faults(local)?,
        truth_log: local.truth_log.clone(),
        ..LocalConfig::default()
    };
    config.timing.establish = local.establish.0;
    config.timing.ring = local.ring.0;
    config.timing.keep_alive = local.keep_alive_expiry.0;
    config.rules.announce_unchanged = local.announce_unchanged;
    config.rules.end_when_alone = local.end_when_alone;
    config.rules.pascal_case = local.pascal_case;
    config.limits.calls = local.max_calls;
    config.limits.meetings = local.max_meetings;
    config.limits.participants = local.max_participants;
    Ok(config)
}

fn faults(local: &Local) -> Result<Option<FaultPlan>, Invalid> {
    if local.faults.is_empty() {
        return Ok(None);
    }
    if !local.bind.ip().is_loopback() || !local.dev {
        return Err(invalid("local.faults", FaultError::NotHere.to_string()));
    }
    let plan = FaultPlan::of(&local.faults);
    let mut plan = plan.map_err(|error| invalid("local.faults", error.to_string()))?;
    plan.seed = local.fault_seed;
    Ok(Some(plan))
}

fn app(entry: &AppEntry) -> Result<App, Invalid> {
    let secret = secret(
        "local.apps",
        entry.secret.as_ref(),
        entry.secret_file.as_deref(),
    )?;
    let secret = secret.ok_or_else(|| {
        invalid(
            "local.apps",
            format!("{} has no secret; add secret_file or secret", entry.id),
        )
    })?;
    Ok(App {
        id: entry.id.clone(),
        secret: secret.expose_secret().to_owned(),
        tenant: entry.tenant.clone(),
        roles: entry
            .roles
            .clone()
            .unwrap_or_else(|| ALL_ROLES.map(str::to_owned).to_vec()),
        display_name: entry.display_name.clone(),
    })
}

/// The keys that mean nothing while the service is our own.
fn only_for_graph(upstream: &Upstream) -> Result<(), Invalid> {
    let set = [
        ("upstream.base_url", upstream.base_url.is_some()),
        ("upstream.authority", upstream.authority.is_some()),
        (
            "upstream.openid_configuration_url",
            upstream.openid_configuration_url.is_some(),
        ),
        ("upstream.secret", upstream.secret.is_some()),
        ("upstream.secret_file", upstream.secret_file.is_some()),
    ];
    match set.into_iter().find(|(_, set)| *set) {
        Some((key, _)) => Err(invalid(
            key,
            "has no effect while upstream.kind is \"local\"; leave it out, or set upstream.kind = \
             \"graph\"",
        )),
        None => Ok(()),
    }
}

/// Whether a URL can be one that others reach us by.
fn reachable(key: &'static str, url: &Url) -> Result<(), Invalid> {
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "has a user name or a password in it, which everybody would be told; leave \
                       them out";
        return Err(invalid(key, problem));
    }
    let plain = url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
        return Err(invalid(
            key,
            format!("{url} is no http or https address to be reached by"),
        ));
    }
    Ok(())
}
