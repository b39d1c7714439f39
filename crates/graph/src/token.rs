//! Tokens by client credentials (RFC 6749 section 4.4): kept, renewed early, asked for once at a
//! time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openmic_model::AppId;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use crate::metrics::{Endpoint, Metrics};
use crate::transport::read_body;

/// Longest answer of a token endpoint that is read, in bytes.
const LIMIT: usize = 64 * 1024;

/// Longest part of a token endpoint's error text that is kept, in characters.
const MAX_TEXT: usize = 200;

/// How long to leave the token endpoint alone after it failed.
const PAUSE: Duration = Duration::from_secs(1);
/// And after it failed so often in a row. One is under way at a time, so each is a probe.
const LONG_ROW: u32 = 10;
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// Why there is no token. It never holds the secret or a token.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No answer.
    #[error("the token endpoint does not answer; check the authority URL and the network")]
    Unreachable(#[source] Arc<reqwest::Error>),
    /// A definite no.
    #[error(
        "the token endpoint answered {status} {error}: {description}; check tenant, app and secret"
    )]
    Refused {
        /// HTTP status.
        status: u16,
        /// RFC 6749 section 5.2 `error`.
        error: String,
        /// `error_description`, shortened.
        description: String,
    },
    /// An answer without a token.
    #[error("the token endpoint answered {0} with no token that can be used")]
    Unreadable(u16),
    /// The task that asked for it ended early.
    #[error("the request for a token was given up")]
    Abandoned,
}

/// A bearer token, ready to send. Its header prints as `Sensitive`.
#[derive(Debug)]
pub(crate) struct Token {
    /// `Bearer ...`, marked sensitive.
    pub(crate) header: HeaderValue,
    /// When to renew it.
    renew_at: Instant,
    /// When it is over.
    pub(crate) ends_at: Instant,
}

impl Token {
    /// What stands behind `Bearer `.
    pub(crate) fn bearer(&self) -> &[u8] {
        let header = self.header.as_bytes();
        header.strip_prefix(b"Bearer ").unwrap_or(header)
    }

    /// Whether half of the time is over in which it should have been renewed.
    fn is_waning(&self, now: Instant) -> bool {
        let window = self.ends_at.saturating_duration_since(self.renew_at);
        now >= self.renew_at + window / 2
    }
}

/// Whether a text of the token endpoint's holds the secret, as it is or as a form has it.
pub fn repeats_secret(text: &str, secret: &SecretString) -> bool {
    let secret = secret.expose_secret();
    text.contains(secret)
        || form_urlencoded::parse(text.as_bytes())
            .any(|(name, value)| name.contains(secret) || value.contains(secret))
}

pub(crate) type Flight = Result<Arc<Token>, TokenError>;

/// Where tokens come from. Clones share them.
#[derive(Clone)]
pub(crate) struct TokenSource {
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    url: Url,
    app: AppId,
    secret: SecretString,
    scope: String,
    timeout: Duration,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// The request under way, for everybody who needs its result.
    flight: Option<watch::Receiver<Option<Flight>>>,
    failed: Option<Failed>,
}

/// The latest request for a token failed.
struct Failed {
    at: Instant,
    error: TokenError,
    /// So many did in a row.
    row: u32,
}

impl Failed {
    const fn pause(&self) -> Duration {
        if self.row < LONG_ROW {
            PAUSE
        } else {
            LONG_PAUSE
        }
    }
}

/// What to do for somebody who needs a token.
enum Plan {
    Use(Arc<Token>),
    /// Use the old one; a new one should be asked for.
    Renew(Arc<Token>),
    Fail(TokenError),
    Ask,
}

impl State {
    fn plan(&self, now: Instant, rejected: Option<&Arc<Token>>) -> Plan {
        let resting = self
            .failed
            .as_ref()
            .filter(|failed| now.saturating_duration_since(failed.at) < failed.pause());
        let usable = self.token.as_ref().filter(|token| {
            now < token.ends_at && !rejected.is_some_and(|rejected| Arc::ptr_eq(rejected, token))
        });
        match (usable, resting) {
            (Some(token), None) if now >= token.renew_at => Plan::Renew(Arc::clone(token)),
            (Some(token), _) => Plan::Use(Arc::clone(token)),
            (None, Some(failed)) if self.flight.is_none() => Plan::Fail(failed.error.clone()),
            (None, _) => Plan::Ask,
        }
    }
}

impl TokenSource {
    pub(crate) fn new(
        http: reqwest::Client,
        config: &crate::GraphConfig,
        url: Url,
        metrics: Metrics,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                http,
                url,
                app: config.credential.app.clone(),
                secret: config.credential.secret.clone(),
                scope: config.scope.clone(),
                timeout: config.request_timeout,
                metrics,
                state: Mutex::default(),
            }),
        }
    }

    /// A token that is good now, and not the `rejected` one.
    ///
    /// At 80 % of a token's life a new one is asked for in the background; the old one serves
    /// until it ends, also when that fails. Whoever needs a token while one is being asked for
    /// waits for that one.
    pub(crate) async fn token(&self, rejected: Option<&Arc<Token>>) -> Flight {
        let mut flight = {
            let mut state = self.shared.lock();
            match state.plan(Instant::now(), rejected) {
                Plan::Use(token) => return Ok(token),
                Plan::Renew(token) => {
                    self.join(&mut state);
                    return Ok(token);
                }
                Plan::Fail(error) => return Err(error),
                Plan::Ask => self.join(&mut state),
            }
        };
        let result = flight.wait_for(Option::is_some).await;
        result.map_or(Err(TokenError::Abandoned), |result| {
            result.clone().unwrap_or(Err(TokenError::Abandoned))
        })
    }

    /// The request under way, begun if there is none. It runs on its own, so that whoever gives
    /// up waiting does not take it away from the others.
    fn join(&self, state: &mut State) -> watch::Receiver<Option<Flight>> {
        // a sender that is gone without a result belongs to a task that was aborted
        let running = state
            .flight
            .as_ref()
            .filter(|flight| flight.has_changed().is_ok());
        if let Some(flight) = running {
            return flight.clone();
        }
        let (sender, receiver) = watch::channel(None);
        state.flight = Some(receiver.clone());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let result = shared.ask().await;
            let now = Instant::now();
            let life = result
                .as_ref()
                .ok()
                .map(|token| token.ends_at.saturating_duration_since(now));
            shared.metrics.token(life);
            {
                let mut state = shared.lock();
                state.flight = None;
                match &result {
                    Ok(token) => {
                        state.token = Some(Arc::clone(token));
                        state.failed = None;
                    }
                    Err(error) => {
                        let left = state.token.as_ref().filter(|token| token.is_waning(now));
                        if let Some(token) = left {
                            let left = token.ends_at.saturating_duration_since(now).as_secs();
                            tracing::error!(%error, left, "no new token, and the one in use ends");
                        } else {
                            tracing::warn!(%error, "no new token");
                        }
                        let row = state.failed.as_ref().map_or(0, |failed| failed.row);
                        state.failed = Some(Failed {
                            at: now,
                            error: error.clone(),
                            row: row.saturating_add(1),
                        });
                    }
                }
            }
            sender.send_replace(Some(result));
        });
        receiver
    }
}

#[derive(Serialize)]
struct Form<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    scope: &'a str,
    grant_type: &'static str,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// `expires_in`; some endpoints send it as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

#[derive(Default, Deserialize)]
struct Denied {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // nothing under the lock leaves the state half changed
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Flight {
        let begun = Instant::now();
        let (status, result) = self.request(begun).await;
        self.metrics
            .request(Endpoint::Token, status, begun.elapsed());
        result
    }

    async fn request(&self, begun: Instant) -> (Option<u16>, Flight) {
        let unreachable =
            |error: reqwest::Error| TokenError::Unreachable(error.without_url().into());
        let form = Form {
            client_id: self.app.as_str(),
            client_secret: self.secret.expose_secret(),
            scope: &self.scope,
            grant_type: "client_credentials",
        };
        let request = self.http.post(self.url.clone()).timeout(self.timeout);
        let response = match request.form(&form).send().await {
            Ok(response) => response,
            Err(error) => return (None, Err(unreachable(error))),
        };
        let status = response.status().as_u16();
        let body = read_body(response, LIMIT).await;
        let result = match body {
            Some(body) if status == 200 => granted(&body, begun, status),
            Some(body) => Err(self.denied(&body, status)),
            None => Err(TokenError::Unreadable(status)),
        };
        (Some(status), result)
    }

    fn denied(&self, body: &[u8], status: u16) -> TokenError {
        let denied: Denied = serde_json::from_slice(body).unwrap_or_default();
        // an endpoint that echoes the form must not get the secret into a log
        let clean = |text: String| {
            if repeats_secret(&text, &self.secret) {
                return "(withheld, it repeats the secret)".to_owned();
            }
            text.chars()
                .take(MAX_TEXT)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect()
        };
        TokenError::Refused {
            status,
            error: clean(denied.error),
            description: clean(denied.error_description),
        }
    }
}

/// Reads a grant. Its life is counted from before the request, so that we end it early, not late.
pub(crate) fn granted(body: &[u8], begun: Instant, status: u16) -> Flight {
    let unreadable = TokenError::Unreadable(status);
    let Ok(grant) = serde_json::from_slice::<Granted>(body) else {
        return Err(unreadable);
    };
    let life = match grant.expires_in {
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => text.trim().parse().ok(),
        None => None,
    };
    // RFC 6749 only recommends expires_in; five minutes is the shortest life seen in practice
    let life = Duration::from_secs(life.unwrap_or(300).min(7 * 24 * 3600));
    let Ok(mut header) = HeaderValue::try_from(format!("Bearer {}", grant.access_token)) else {
        return Err(unreadable);
    };
    header.set_sensitive(true);
    Ok(Arc::new(Token {
        header,
        renew_at: begun + life.mul_f64(0.8),
        ends_at: begun + life,
    }))
}

#[cfg(test)]
mod tests;
