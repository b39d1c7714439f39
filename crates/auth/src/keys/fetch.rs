use reqwest::{Client, StatusCode};
use url::{Host, Url};

use super::source::{Discovery, KeySourceError};
use super::{KeySet, document};

/// Longest document read, in bytes; the largest known key set has about 20,000.
const MAX_DOCUMENT: usize = 256 * 1024;

/// Why the keys of an issuer could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No answer: name, connection, TLS or time.
    #[error("{url} does not answer")]
    Unreachable {
        /// What was asked for.
        url: Url,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// An answer other than 200. Redirects are not followed.
    #[error("{url} answered {status} instead of 200")]
    Status {
        /// What was asked for.
        url: Url,
        /// What came.
        status: StatusCode,
    },
    /// Larger than any honest one.
    #[error("the document at {url} is larger than {MAX_DOCUMENT} bytes")]
    TooLarge {
        /// What was asked for.
        url: Url,
    },
    /// No JSON, or not of the expected shape.
    #[error("the document at {url} cannot be read")]
    Unreadable {
        /// What was asked for.
        url: Url,
        /// What went wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration states no issuer.
    #[error("the OpenID configuration at {url} names no issuer")]
    NoIssuer {
        /// What was asked for.
        url: Url,
    },
    /// The configuration points to keys elsewhere.
    #[error("the jwks_uri of the OpenID configuration at {url} is refused")]
    KeyAddress {
        /// Where the configuration is.
        url: Url,
        /// Why.
        #[source]
        source: KeySourceError,
    },
    /// Nothing in the set can check RS256.
    #[error("the key set at {url} holds no RSA key for RS256 with a kid")]
    NoKeys {
        /// Where the set is.
        url: Url,
    },
    /// The task that reads the keys ended early, as when the runtime shuts down.
    #[error("reading the keys was interrupted")]
    Interrupted,
}

impl FetchError {
    pub(crate) fn result(&self) -> Fetch {
        match self {
            Self::Unreachable { .. } | Self::Interrupted => Fetch::Unreachable,
            Self::Status { .. } => Fetch::Status,
            Self::TooLarge { .. } => Fetch::TooLarge,
            Self::Unreadable { .. } | Self::NoIssuer { .. } => Fetch::Unreadable,
            Self::KeyAddress { .. } => Fetch::KeyAddress,
            Self::NoKeys { .. } => Fetch::NoKeys,
        }
    }
}

/// How a try to read an issuer's keys ended, as the metric tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    Ok,
    Unreachable,
    Status,
    TooLarge,
    Unreadable,
    KeyAddress,
    NoKeys,
}

impl Fetch {
    /// In the order of the variants, so that `self as usize` finds its place.
    pub(crate) const ALL: [Self; 7] = [
        Self::Ok,
        Self::Unreachable,
        Self::Status,
        Self::TooLarge,
        Self::Unreadable,
        Self::KeyAddress,
        Self::NoKeys,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::KeyAddress => "key_address",
            Self::NoKeys => "no_keys",
        }
    }
}

/// Reads the configuration, then the keys it points to.
pub(crate) async fn key_set(http: &Client, discovery: &Discovery) -> Result<KeySet, FetchError> {
    let url = &discovery.configuration;
    let json = get(http, url).await?;
    let unreadable = |url: &Url| {
        let url = url.clone();
        move |source| FetchError::Unreadable { url, source }
    };
    let configuration: document::Configuration =
        serde_json::from_slice(&json).map_err(unreadable(url))?;
    if configuration.issuer.is_empty() {
        return Err(FetchError::NoIssuer { url: url.clone() });
    }
    let keys_url = key_address(&configuration.jwks_uri, discovery).map_err(|source| {
        FetchError::KeyAddress {
            url: url.clone(),
            source,
        }
    })?;
    let json = get(http, &keys_url).await?;
    let keys = document::key_set(&json).map_err(unreadable(&keys_url))?;
    if keys.is_empty() {
        return Err(FetchError::NoKeys { url: keys_url });
    }
    Ok(keys)
}

/// `raw` as an address the keys may come from: the configuration's own host or a pinned one.
fn key_address(raw: &str, discovery: &Discovery) -> Result<Url, KeySourceError> {
    let url = Url::parse(raw).map_err(|_| KeySourceError::NotAnAddress)?;
    check_address(&url, discovery.allow_loopback_http)?;
    let host = url.host_str();
    let same = host == discovery.configuration.host_str();
    let pinned = host.is_some_and(|host| {
        discovery
            .key_hosts
            .iter()
            .any(|pinned| pinned.eq_ignore_ascii_case(host))
    });
    if same || pinned {
        Ok(url)
    } else {
        Err(KeySourceError::OtherHost)
    }
}

/// https, or http on loopback where that is allowed; no credentials in the address.
pub(crate) fn check_address(url: &Url, allow_loopback_http: bool) -> Result<(), KeySourceError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(KeySourceError::Credentials);
    }
    match url.scheme() {
        "https" if url.host().is_some() => Ok(()),
        "http" if allow_loopback_http && is_loopback(url) => Ok(()),
        _ => Err(KeySourceError::NotHttps),
    }
}

/// True for 127.0.0.0/8, `::1` and `localhost`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

async fn get(http: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let unreachable = |source: reqwest::Error| FetchError::Unreachable {
        url: url.clone(),
        // The address is in the message once.
        source: source.without_url(),
    };
    let mut answer = http.get(url.clone()).send().await.map_err(unreachable)?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status {
            url: url.clone(),
            status: answer.status(),
        });
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLarge { url: url.clone() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
