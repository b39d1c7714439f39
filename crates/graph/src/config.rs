use std::time::Duration;

use openmic_model::{AppId, TenantId};
use secrecy::SecretString;
use url::Url;

/// Who the bot is: one application in one tenant.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The application's tenant by its directory id: notifications name it so, not by a domain.
    pub tenant: TenantId,
    /// The application (client) id.
    pub app: AppId,
    /// A client secret of the application.
    pub secret: SecretString,
}

/// Where Graph is and how to speak to it.
#[derive(Debug, Clone)]
pub struct GraphConfig {
    /// Root with version: `https://graph.microsoft.com/v1.0`, or a local service's.
    pub base_url: Url,
    /// Root of the token endpoint: `https://login.microsoftonline.com`; `/{tenant}/oauth2/v2.0/token`
    /// is added.
    pub authority: Url,
    /// Whose tokens to get.
    pub credential: Credential,
    /// What to ask a token for: `https://graph.microsoft.com/.default`.
    pub scope: String,
    /// How long a connection may take to be made, TLS included. Default 2 s.
    pub connect_timeout: Duration,
    /// How long one request may take, answer's body included. Default 10 s.
    pub request_timeout: Duration,
    /// Authorities whose certificates are good besides those that the system trusts. Default none.
    pub authorities: Vec<reqwest::Certificate>,
    /// `User-Agent` of every request.
    pub user_agent: String,
}

impl GraphConfig {
    /// Microsoft's public cloud with the default timeouts.
    pub fn public_cloud(credential: Credential) -> Self {
        let url = |raw| Url::parse(raw).expect("the literal is a URL");
        Self::new(
            url("https://graph.microsoft.com/v1.0"),
            url("https://login.microsoftonline.com"),
            credential,
        )
    }

    /// Another Graph with the default timeouts and the public cloud's scope.
    pub fn new(base_url: Url, authority: Url, credential: Credential) -> Self {
        Self {
            base_url,
            authority,
            credential,
            scope: "https://graph.microsoft.com/.default".to_owned(),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            authorities: Vec::new(),
            user_agent: concat!("openmic/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Not a root to speak to.
    #[error("{0} must be an http or https URL with a host and no user, query or fragment")]
    Url(&'static str),
    /// TLS or the user agent.
    #[error("the HTTP client could not be made; check the system's root certificates")]
    Client(#[source] reqwest::Error),
}
