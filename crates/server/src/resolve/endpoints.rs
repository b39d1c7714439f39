//! Addresses of the service and who signs what.

use openmic_auth::Discovery;
use openmic_graph::Credential;
use openmic_local::LocalService;
use reqwest::Certificate;
use url::{Host, Url};

use super::{Invalid, Plan, invalid};
use crate::config::settings::{Auth, Upstream};

/// Audience of Graph's access tokens, the local service's included.
const GRAPH_AUDIENCE: &str = "https://graph.microsoft.com";

const GRAPH: &str = "https://graph.microsoft.com/v1.0";
const LOGIN: &str = "https://login.microsoftonline.com";
/// Source: Graph, "Authenticate the callback".
const NOTIFICATION_KEYS: &str = "https://api.aps.skype.com/v1/.well-known/OpenIdConfiguration";

/// The service and the two kinds of token it makes.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    /// Root with version.
    pub(crate) base_url: Url,
    /// Root of the token endpoint.
    pub(crate) authority: Url,
    /// Where the keys of notifications' tokens are.
    pub(crate) notification_keys: Discovery,
    /// Who may call us.
    pub(crate) callers: Trust,
}

/// Whose tokens are taken.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    pub(crate) issuers: Vec<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) keys: Discovery,
}

impl Endpoints {
    /// Microsoft's, where the configuration names no others.
    ///
    /// # Errors
    /// [`Invalid`] when callbacks cannot arrive.
    pub(super) fn graph(
        upstream: &Upstream,
        auth: &Auth,
        credential: &Credential,
    ) -> Result<Self, Invalid> {
        let base_url = upstream.base_url.clone().unwrap_or_else(|| literal(GRAPH));
        let authority = upstream.authority.clone().unwrap_or_else(|| literal(LOGIN));
        let problem = match &upstream.public_url {
            _ if is_loopback(&base_url) => None,
            None => Some("is missing; Graph must reach this engine by https from the internet"),
            Some(url) if url.scheme() != "https" => Some("must be https, or Graph sends nothing"),
            Some(url) if is_loopback(url) => Some("is this machine's own; Graph cannot reach it"),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return Err(invalid("upstream.public_url", problem));
        }
        let keys = upstream.openid_configuration_url.clone();
        let keys = keys.unwrap_or_else(|| literal(NOTIFICATION_KEYS));
        let Credential { tenant, app, .. } = credential;
        let root = authority.as_str().trim_end_matches('/');
        let document = format!("{root}/{tenant}/v2.0/.well-known/openid-configuration");
        let document = Url::parse(&document)
            .map_err(|error| invalid("upstream.authority", format!("{authority}: {error}")))?;
        let callers = Trust {
            // Entra's access tokens of version 2 and of version 1.
            issuers: vec![
                format!("{root}/{tenant}/v2.0"),
                format!("https://sts.windows.net/{tenant}/"),
            ],
            audiences: vec![app.to_string(), format!("api://{app}")],
            keys: discovery(document, &[]),
        };
        Ok(Self {
            notification_keys: discovery(keys, &upstream.key_hosts),
            callers: callers.overridden(auth),
            base_url,
            authority,
        })
    }

    /// The same with authorities of their own for the keys' https.
    pub(crate) fn trusting(mut self, authorities: &[Certificate]) -> Self {
        for keys in [&mut self.notification_keys, &mut self.callers.keys] {
            keys.authorities = authorities.to_vec();
        }
        self
    }

    /// The service that runs in this process.
    pub(crate) fn local(service: &LocalService, plan: &Plan) -> Self {
        let document = service.openid_configuration_url();
        let callers = Trust {
            issuers: vec![service.issuer(&plan.credential.tenant)],
            audiences: vec![GRAPH_AUDIENCE.to_owned()],
            keys: discovery(document.clone(), &[]),
        };
        Self {
            base_url: literal(&service.graph_url()),
            authority: literal(service.authority()),
            notification_keys: discovery(document, &[]),
            callers: callers.overridden(&plan.auth),
        }
    }
}

impl Trust {
    /// As configured where something is configured.
    fn overridden(mut self, auth: &Auth) -> Self {
        if let Some(issuers) = &auth.issuers {
            self.issuers.clone_from(issuers);
        }
        if let Some(audiences) = &auth.audiences {
            self.audiences.clone_from(audiences);
        }
        if let Some(url) = &auth.openid_configuration_url {
            self.keys = discovery(url.clone(), &auth.key_hosts);
        }
        self
    }
}

fn discovery(configuration: Url, key_hosts: &[String]) -> Discovery {
    let mut discovery = Discovery::new(configuration);
    // Nobody can sit between us and ourselves.
    discovery.allow_loopback_http = is_loopback(&discovery.configuration);
    discovery.key_hosts = key_hosts.to_vec();
    discovery
}

fn literal(url: &str) -> Url {
    Url::parse(url).expect("a constant, or made by the local service of its socket address")
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
