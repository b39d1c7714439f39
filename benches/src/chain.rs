use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use openmic_listen::{Limits, Listener, Running};
use reqwest::Client;
use tokio::sync::Notify;
use url::Url;

use crate::audience::Audience;
use crate::disk::Disk;
use crate::timed::{Rounds, Timed};

// What an unmute sends on the local service, as traced by `strace`: its headers, and how long its
// tokens and bodies are in bytes. `Host`, `Content-Length` and `Date` come from the HTTP libraries.
const COMMAND: Sent = Sent {
    agent: "openmic/0.1.0",
    token: 1085,
    headers: &[
        ("client-request-id", GUID),
        ("content-type", "application/json"),
    ],
    body: 51,
};
const OPERATION: Answered = Answered {
    status: StatusCode::OK,
    headers: &[
        ("content-type", "application/json"),
        (
            "location",
            "http://127.0.0.1:10000/v1.0/communications/calls/00000000-0000-4000-8000-000000000000\
             /operations/00000000-0000-4000-8000-000000000000",
        ),
        ("client-request-id", GUID),
        ("request-id", GUID),
        ("odata-version", "4.0"),
    ],
    body: 260,
};
const NOTIFICATION: Sent = Sent {
    agent: "Microsoft-Skype/3.0,(Calling/1.0)",
    token: 674,
    headers: &[
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("scenario-id", GUID),
        ("x-microsoft-skype-chain-id", GUID),
        ("x-microsoft-skype-message-id", GUID),
    ],
    body: 1049,
};
const TAKEN: Answered = Answered {
    status: StatusCode::ACCEPTED,
    headers: &[("request-id", GUID), ("client-request-id", GUID)],
    body: 0,
};
const GUID: &str = "00000000-0000-4000-8000-000000000000";
/// What a subscriber is sent of it.
const DELTA: usize = 350;

/// The hops of an unmute and nothing else: a POST, which the server answers while it POSTs a
/// webhook back, on the HTTP libraries of the real thing and with its messages, header for header
/// and byte for byte as long. No state, no JSON, no signature. Where somebody watches, the webhook is
/// written to every subscriber besides.
#[derive(Debug)]
pub struct Chain {
    caller: Arc<Caller>,
    service: Running,
    webhook: Running,
}

/// A request as it is sent.
struct Sent {
    agent: &'static str,
    token: usize,
    headers: &'static [(&'static str, &'static str)],
    body: usize,
}

/// An answer as it is given.
struct Answered {
    status: StatusCode,
    headers: &'static [(&'static str, &'static str)],
    body: usize,
}

/// One end of a hop.
#[derive(Debug)]
struct Hop {
    http: Client,
    to: Url,
    headers: HeaderMap,
    body: usize,
}

#[derive(Debug)]
struct Caller {
    hop: Hop,
    /// One for each exchange that may be under way.
    notified: Arc<[Notify]>,
    /// Whoever watches, and what they are waited for.
    audience: Option<Audience>,
    /// What each exchange waits for before its POST and before its end.
    disk: Option<Disk>,
}

/// Whom the webhook tells.
#[derive(Debug)]
struct Watched {
    notified: Arc<[Notify]>,
    subscribers: Vec<TcpStream>,
    frame: Vec<u8>,
    headers: HeaderMap,
}

struct Service {
    hop: Hop,
    headers: HeaderMap,
}

impl Chain {
    /// Starts both servers, for `width` exchanges at once, of which each is told to so many
    /// subscribers.
    ///
    /// # Errors
    /// When a port or a client is not to be had.
    pub fn start(width: usize, subscribers: usize) -> anyhow::Result<Self> {
        Self::start_with(width, subscribers, None)
    }

    /// As [`Chain::start`], and each exchange waits for a write to the disk before its POST, and
    /// for another one before it ends, as a durable command must.
    ///
    /// # Errors
    /// As [`Chain::start`], or when no file is to be had.
    pub fn start_durable(width: usize, subscribers: usize) -> anyhow::Result<Self> {
        Self::start_with(width, subscribers, Some(Disk::open()?))
    }

    fn start_with(width: usize, subscribers: usize, disk: Option<Disk>) -> anyhow::Result<Self> {
        let notified: Arc<[Notify]> = (0..width).map(|_| Notify::new()).collect();
        let (audience, subscribers) = if subscribers == 0 {
            (None, Vec::new())
        } else {
            let (audience, sockets) = Audience::seat(subscribers)?;
            (Some(audience), sockets)
        };
        for socket in &subscribers {
            socket.set_nonblocking(true)?;
        }
        let watched = Watched {
            notified: Arc::clone(&notified),
            subscribers,
            frame: delta(),
            headers: headers(TAKEN.headers),
        };
        let (webhook, url) = serve(
            Router::new()
                .route("/callbacks/{number}", post(take_notification))
                .with_state(Arc::new(watched)),
        )?;
        let service = Service {
            hop: Hop::new(&NOTIFICATION, url)?,
            headers: headers(OPERATION.headers),
        };
        let (service, url) = serve(
            Router::new()
                .route(
                    "/v1.0/communications/calls/{number}/unmute",
                    post(take_command),
                )
                .with_state(Arc::new(service)),
        )?;
        let caller = Arc::new(Caller {
            hop: Hop::new(&COMMAND, url)?,
            notified,
            audience,
            disk,
        });
        Ok(Self {
            caller,
            service,
            webhook,
        })
    }

    /// All exchanges at once, `times` times: each until its answer and its webhook were there, or
    /// until the last subscriber had it. `pause` is before each. What is begun within `run_in` comes first and is
    /// not counted.
    ///
    /// # Errors
    /// When an exchange fails.
    pub async fn timed(
        &self,
        times: usize,
        run_in: Duration,
        pause: Option<Duration>,
    ) -> anyhow::Result<Timed> {
        let caller = Arc::clone(&self.caller);
        let cycles = tokio::spawn(async move {
            let mut rounds = Rounds::new(times, run_in);
            while !rounds.are_over() {
                let width = caller.notified.len();
                let all = (0..width).map(|number| exchange(Arc::clone(&caller), number));
                rounds.run(all, pause).await?;
            }
            Ok(rounds.timed())
        });
        cycles.await?
    }

    /// Stops both servers.
    pub async fn stop(self) {
        drop(self.caller);
        self.service.stop(Duration::from_secs(1)).await;
        self.webhook.stop(Duration::from_secs(1)).await;
    }
}

async fn exchange(caller: Arc<Caller>, number: usize) -> anyhow::Result<Instant> {
    if let Some(disk) = &caller.disk {
        disk.durable().await?;
    }
    // As long as a GUID.
    let path = format!("/v1.0/communications/calls/{number:036}/unmute");
    let answer = caller.hop.send(&path);
    let (answer, ()) = tokio::join!(answer, caller.notified[number].notified());
    answer.context("the chain's first hop failed")?;
    if let Some(disk) = &caller.disk {
        disk.durable().await?;
    }
    match &caller.audience {
        None => Ok(Instant::now()),
        Some(audience) => audience.hear().await,
    }
}

async fn take_command(
    State(service): State<Arc<Service>>,
    Path(number): Path<usize>,
    _command: Bytes,
) -> impl IntoResponse {
    let headers = service.headers.clone();
    tokio::spawn(async move {
        // As long as a call's key.
        let path = format!("/callbacks/{number:032}");
        if let Err(error) = service.hop.send(&path).await {
            eprintln!("the chain's webhook failed: {error:#}");
        }
    });
    (OPERATION.status, headers, vec![b' '; OPERATION.body])
}

async fn take_notification(
    State(watched): State<Arc<Watched>>,
    Path(number): Path<usize>,
    _notification: Bytes,
) -> impl IntoResponse {
    for mut subscriber in &watched.subscribers {
        if let Err(error) = subscriber.write_all(&watched.frame) {
            eprintln!("a write of the chain failed: {error:#}");
        }
    }
    watched.notified[number].notify_one();
    (TAKEN.status, watched.headers.clone())
}

impl Hop {
    fn new(sent: &Sent, to: Url) -> anyhow::Result<Self> {
        let patience = Duration::from_secs(30);
        let http = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(patience)
            .user_agent(sent.agent)
            .build()?;
        let mut headers = headers(sent.headers);
        let bearer = format!("Bearer {}", "x".repeat(sent.token));
        headers.insert(AUTHORIZATION, bearer.try_into()?);
        Ok(Self {
            http,
            to,
            headers,
            body: sent.body,
        })
    }

    /// One POST, its answer read to the end.
    async fn send(&self, path: &str) -> anyhow::Result<()> {
        let mut to = self.to.clone();
        to.set_path(path);
        let request = self.http.post(to).headers(self.headers.clone());
        let answer = request.body(vec![b' '; self.body]).send().await?;
        ensure!(answer.status().is_success(), "answered {}", answer.status());
        answer.bytes().await?;
        Ok(())
    }
}

fn serve(router: Router) -> anyhow::Result<(Running, Url)> {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
    let url = format!("http://{}/", listener.local_addr()).parse()?;
    Ok((listener.serve(router, Limits::default()), url))
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|&(name, value)| {
        let (name, value) = (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        (name, value)
    });
    pairs.collect()
}

/// A text frame as long as a roster delta, and known for one.
fn delta() -> Vec<u8> {
    let text = format!("{:<DELTA$}", r#"{"type":"delta","isMuted":false}"#);
    let length = u16::try_from(DELTA).expect("it is short").to_be_bytes();
    let mut frame = vec![0x81, 126, length[0], length[1]];
    frame.extend_from_slice(text.as_bytes());
    frame
}
