use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Request};
use url::Url;

use crate::lookup::{Guarded, Lookup};
use crate::rules::{Reach, Refused, reach};

/// Most bytes of an answer's body that are read.
pub const MAX_ANSWER: usize = 64 * 1024;

/// What may be reached, and how.
#[derive(Debug, Clone)]
pub struct OutboundConfig {
    /// Lets http and every port through, to loopback only. Default off.
    pub dev: bool,
    /// Ports allowed for https besides 443. Default none.
    pub ports: Vec<u16>,
    /// One POST: look-up, connection, answer and its body. Default 5 s.
    pub timeout: Duration,
    /// Certificates trusted besides the system's. Default none.
    pub roots: Vec<Certificate>,
    /// `User-Agent` of every request.
    pub user_agent: String,
    /// How names are looked up. Default: as the system does it.
    pub lookup: Lookup,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            dev: false,
            ports: Vec::new(),
            timeout: Duration::from_secs(5),
            roots: Vec::new(),
            user_agent: concat!("openmic/", env!("CARGO_PKG_VERSION")).to_owned(),
            lookup: Lookup::system(),
        }
    }
}

/// A client for addresses that somebody else chose. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Outbound {
    public: Client,
    loopback: Client,
    dev: bool,
    ports: Arc<[u16]>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status. A redirect is an answer as any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// As much of its body as came in time, at most [`MAX_ANSWER`] bytes.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// The guard did not let it out: nothing was sent.
    #[error("the address may not be used")]
    Refused(#[source] Refused),
    /// No answer within the time limit.
    #[error("no answer in time")]
    Timeout,
    /// No connection: nothing was sent.
    #[error("no connection could be made")]
    Connect(#[source] reqwest::Error),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Broken(#[source] reqwest::Error),
}

impl Outbound {
    /// Makes the clients; nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up; look at the machine's root certificates.
    pub fn new(config: OutboundConfig) -> Result<Self, reqwest::Error> {
        let client = |reach| {
            let lookup = config.lookup.clone();
            let mut client = Client::builder()
                .redirect(Policy::none())
                // A proxy would connect in our place, to an address nobody checked.
                .no_proxy()
                .dns_resolver(Arc::new(Guarded { lookup, reach }))
                .timeout(config.timeout)
                .tcp_nodelay(true)
                .referer(false)
                // Bots often share a host; fewer kept connections mean a new one for each POST.
                .pool_max_idle_per_host(256)
                .user_agent(&config.user_agent);
            if !config.roots.is_empty() {
                client = client.tls_certs_merge(config.roots.iter().cloned());
            }
            client.build()
        };
        Ok(Self {
            public: client(if config.dev {
                Reach::PublicAndLoopback
            } else {
                Reach::Public
            })?,
            loopback: client(Reach::Loopback)?,
            dev: config.dev,
            ports: config.ports.into(),
        })
    }

    /// Whether `url` may be used, as far as that can be told without looking its host up.
    ///
    /// # Errors
    /// [`Refused`] names the first rule it breaks.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        self.client(url).map(drop)
    }

    /// Sends one POST and reads the answer. An answer whose body does not end in time is an answer
    /// all the same.
    ///
    /// # Errors
    /// [`PostError`]; what the peer answered, a refusal or a redirect too, is an [`Answer`].
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, PostError> {
        let client = self.client(url).map_err(PostError::Refused)?;
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        // The client's own time limit is one for all of it, the look-up and the body included.
        let mut response = client.execute(request).await?;
        let mut answer = Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: Bytes::new(),
        };
        let mut body = Vec::new();
        // Read to its end where it has one near, so that the connection can be used again.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_ANSWER - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                break;
            }
        }
        answer.body = body.into();
        Ok(answer)
    }

    fn client(&self, url: &Url) -> Result<&Client, Refused> {
        Ok(match reach(url, self.dev, &self.ports)? {
            Reach::Loopback => &self.loopback,
            Reach::Public | Reach::PublicAndLoopback => &self.public,
        })
    }
}

impl From<reqwest::Error> for PostError {
    fn from(error: reqwest::Error) -> Self {
        if let Some(reason) = refusal(&error) {
            return Self::Refused(reason);
        }
        // The address may carry what authenticates the bot's webhook.
        let error = error.without_url();
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Broken(error)
        }
    }
}

/// The guard's word, wherever in the chain of causes the HTTP client put it.
fn refusal(error: &reqwest::Error) -> Option<Refused> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<Refused>() {
            return Some(*reason);
        }
        cause = error.source();
    }
    None
}
