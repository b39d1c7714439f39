use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use reqwest::Client;
use url::Url;

use super::fetch::{self, Fetch, FetchError};
use super::{KeySet, PublicKey};
use crate::{Metrics, TokenError};

/// Why an address of an OpenID configuration or of its keys is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// Keys that travel in clear can be exchanged on the way.
    #[error("not an https address: use https, or http on loopback in the dev profile")]
    NotHttps,
    /// The address holds a user or a password.
    #[error("the address holds a user name or password: take it out")]
    Credentials,
    /// No URL.
    #[error("not an absolute address")]
    NotAnAddress,
    /// The keys are on a host that nobody named.
    #[error(
        "on another host than its OpenID configuration: name that host in `key_hosts` if it is the issuer's"
    )]
    OtherHost,
    /// The HTTP client cannot be made, mostly for want of root certificates.
    #[error("cannot set up an HTTPS client: check this machine's root certificates")]
    Client(#[source] reqwest::Error),
}

/// Where an issuer's keys are found and how long they count.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The OpenID configuration's address, such as
    /// `https://api.aps.skype.com/v1/.well-known/OpenIdConfiguration`.
    pub configuration: Url,
    /// Take `http` addresses on loopback: dev profile only.
    pub allow_loopback_http: bool,
    /// Hosts, besides the configuration's own, that its `jwks_uri` may name.
    pub key_hosts: Vec<String>,
    /// Authorities whose certificates are good besides those that the system trusts.
    pub authorities: Vec<reqwest::Certificate>,
    /// Age at which keys are read again while they go on counting.
    pub refresh_after: Duration,
    /// Age at which keys that could not be read again stop counting.
    pub keep_for: Duration,
    /// Shortest time between two reads, whatever tokens come.
    pub interval: Duration,
    /// The same while there are no keys at all, as when the issuer starts after us.
    pub interval_without_keys: Duration,
    /// For one document, from the connection to its last byte.
    pub timeout: Duration,
}

impl Discovery {
    /// Refreshed after 2 h, as Graph's sample has it; kept for 24 h; read at most once in 60 s, in
    /// 5 s while there are none; 10 s per document; https and one host only.
    pub fn new(configuration: Url) -> Self {
        Self {
            configuration,
            allow_loopback_http: false,
            key_hosts: Vec::new(),
            authorities: Vec::new(),
            refresh_after: Duration::from_hours(2),
            keep_for: Duration::from_hours(24),
            interval: Duration::from_mins(1),
            interval_without_keys: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Where a validator gets its keys. Clones share keys and limits: make one per issuer and process.
#[derive(Clone)]
pub struct KeySource {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Fixed(Arc<KeySet>),
    Discovered(Arc<Discovered>),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Fixed(keys) => f.debug_tuple("Fixed").field(keys).finish(),
            Kind::Discovered(source) => f
                .debug_tuple("Discovered")
                .field(&source.discovery)
                .finish(),
        }
    }
}

impl KeySource {
    /// These keys and no others: for a service that validates what it signed itself.
    pub fn fixed(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self {
            kind: Kind::Fixed(Arc::new(KeySet::new(keys))),
        }
    }

    /// Keys found through an OpenID configuration. Nothing is read before the first token, or
    /// [`KeySource::prefetch`].
    ///
    /// # Errors
    /// [`KeySourceError`] when the address is not allowed or TLS cannot be set up.
    pub fn discover(discovery: Discovery, metrics: Metrics) -> Result<Self, KeySourceError> {
        fetch::check_address(&discovery.configuration, discovery.allow_loopback_http)?;
        let mut http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(discovery.timeout)
            .timeout(discovery.timeout)
            .pool_max_idle_per_host(0)
            .tls_certs_merge(discovery.authorities.iter().cloned());
        if fetch::is_loopback(&discovery.configuration) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(KeySourceError::Client)?;
        Ok(Self {
            kind: Kind::Discovered(Arc::new(Discovered {
                discovery,
                http,
                metrics,
                state: Mutex::default(),
                fetching: Arc::default(),
            })),
        })
    }

    /// Reads the keys now, so that the first token does not wait and a wrong address shows at
    /// start. Nothing to do where keys are held or fixed.
    ///
    /// # Errors
    /// [`FetchError`]; tokens that come later make further tries.
    pub async fn prefetch(&self, now: SystemTime) -> Result<(), Arc<FetchError>> {
        match &self.kind {
            Kind::Fixed(_) => Ok(()),
            Kind::Discovered(source) => source.prefetch(now).await,
        }
    }

    /// The key that tokens call `kid`.
    pub(crate) async fn find(
        &self,
        kid: &str,
        now: SystemTime,
    ) -> Result<Arc<PublicKey>, TokenError> {
        match &self.kind {
            Kind::Fixed(keys) => keys.get(kid).ok_or(TokenError::UnknownKey),
            Kind::Discovered(source) => source.find(kid, now).await,
        }
    }
}

struct Discovered {
    discovery: Discovery,
    http: Client,
    metrics: Metrics,
    state: Mutex<State>,
    /// Held by the one read under way; who waits for its keys waits here.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// When the last read began.
    tried: Option<SystemTime>,
    failure: Option<Arc<FetchError>>,
}

#[derive(Clone)]
struct Held {
    keys: Arc<KeySet>,
    since: SystemTime,
}

impl Discovered {
    async fn find(
        self: &Arc<Self>,
        kid: &str,
        now: SystemTime,
    ) -> Result<Arc<PublicKey>, TokenError> {
        if let Some(held) = self.held(now)
            && let Some(key) = held.keys.get(kid)
        {
            if age(held.since, now) >= self.discovery.refresh_after {
                self.refresh_behind(now);
            }
            return Ok(key);
        }
        self.fetch_once(now).await;
        match self.held(now) {
            Some(held) => held.keys.get(kid).ok_or(TokenError::UnknownKey),
            None => Err(TokenError::KeysUnavailable(self.failure())),
        }
    }

    async fn prefetch(self: &Arc<Self>, now: SystemTime) -> Result<(), Arc<FetchError>> {
        if self.held(now).is_none() {
            self.fetch_once(now).await;
        }
        match self.held(now) {
            Some(_) => Ok(()),
            None => Err(self.failure()),
        }
    }

    /// The keys that count at `now`.
    fn held(&self, now: SystemTime) -> Option<Held> {
        let held = self.state.lock().held.clone()?;
        (age(held.since, now) < self.discovery.keep_for).then_some(held)
    }

    fn failure(&self) -> Arc<FetchError> {
        let failure = self.state.lock().failure.clone();
        failure.unwrap_or_else(|| Arc::new(FetchError::Interrupted))
    }

    /// Whether the last read is long enough ago for another one.
    fn may_try(&self, now: SystemTime) -> bool {
        let tried = self.state.lock().tried;
        let interval = if self.held(now).is_some() {
            self.discovery.interval
        } else {
            self.discovery.interval_without_keys
        };
        tried.is_none_or(|tried| {
            // Either way round: callers' `now` may be a little older than the try, and a clock
            // that was set back must not stop all tries.
            let apart = age(tried, now).max(age(now, tried));
            apart >= interval
        })
    }

    /// Reads the keys unless that was done lately; waits for a read that is under way.
    async fn fetch_once(self: &Arc<Self>, now: SystemTime) {
        let turn = Arc::clone(&self.fetching).lock_owned().await;
        self.fetch_in_turn(turn, now).await;
    }

    /// Starts a read without waiting for it, unless one is under way.
    fn refresh_behind(self: &Arc<Self>, now: SystemTime) {
        if let Ok(turn) = Arc::clone(&self.fetching).try_lock_owned() {
            drop(self.start(turn, now));
        }
    }

    async fn fetch_in_turn(
        self: &Arc<Self>,
        turn: tokio::sync::OwnedMutexGuard<()>,
        now: SystemTime,
    ) {
        if let Some(reading) = self.start(turn, now)
            && reading.await.is_err()
        {
            self.state.lock().failure = Some(Arc::new(FetchError::Interrupted));
        }
    }

    /// The read runs on a task of its own: a caller that hangs up does not cut it short, which
    /// would spend the one try of the interval.
    fn start(
        self: &Arc<Self>,
        turn: tokio::sync::OwnedMutexGuard<()>,
        now: SystemTime,
    ) -> Option<tokio::task::JoinHandle<()>> {
        if !self.may_try(now) {
            return None;
        }
        self.state.lock().tried = Some(now);
        let this = Arc::clone(self);
        Some(tokio::spawn(async move {
            this.fetch(now).await;
            drop(turn);
        }))
    }

    async fn fetch(&self, now: SystemTime) {
        match fetch::key_set(&self.http, &self.discovery).await {
            Ok(keys) => {
                self.metrics.fetched(Fetch::Ok);
                let mut state = self.state.lock();
                state.held = Some(Held {
                    keys: Arc::new(keys),
                    since: now,
                });
                state.failure = None;
            }
            Err(error) => {
                self.metrics.fetched(error.result());
                let error = Arc::new(error);
                tracing::warn!(
                    error = %Chain(&error),
                    "cannot read an issuer's signing keys; the last good ones count until they are a day old"
                );
                self.state.lock().failure = Some(error);
            }
        }
    }
}

/// From `earlier` to `later`, nothing when the clock was set back.
fn age(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

/// An error with its causes on one line.
struct Chain<'a>(&'a FetchError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
