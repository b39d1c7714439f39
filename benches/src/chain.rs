use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::routing::post;
use openmic_listen::{Limits, Listener, Running};
use reqwest::Client;
use tokio::sync::Notify;
use url::Url;

use crate::audience::Audience;
use crate::disk::Disk;
use crate::timed::{Timed, together};

// Lengths in bytes of what an unmute sends on the local service, as traced by `strace`.
const COMMAND: usize = 51;
const COMMAND_TOKEN: usize = 1085;
const OPERATION: usize = 260;
const NOTIFICATION: usize = 1049;
const NOTIFICATION_TOKEN: usize = 674;
/// What a subscriber is sent of it.
const DELTA: usize = 350;

/// The hops of an unmute and nothing else: a POST, which the server answers while it POSTs a
/// webhook back, on the HTTP libraries and with the message sizes of the real thing. No state, no
/// JSON, no signature. Where somebody watches, the webhook is written to every subscriber besides.
#[derive(Debug)]
pub struct Chain {
    caller: Arc<Caller>,
    service: Running,
    webhook: Running,
}

#[derive(Debug)]
struct Caller {
    http: Client,
    service: Url,
    bearer: String,
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
}

struct Service {
    http: Client,
    webhook: Url,
    bearer: String,
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
        let (webhook, url) = serve(
            Router::new()
                .route("/{number}", post(take_notification))
                .with_state(Arc::new(Watched {
                    notified: Arc::clone(&notified),
                    subscribers,
                    frame: delta(),
                })),
        )?;
        let service = Service {
            http: client()?,
            webhook: url,
            bearer: bearer(NOTIFICATION_TOKEN),
        };
        let (service, url) = serve(
            Router::new()
                .route("/{number}", post(take_command))
                .with_state(Arc::new(service)),
        )?;
        let caller = Arc::new(Caller {
            http: client()?,
            service: url,
            bearer: bearer(COMMAND_TOKEN),
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
    /// until the last subscriber had it.
    ///
    /// # Errors
    /// When an exchange fails.
    pub async fn timed(&self, times: usize) -> anyhow::Result<Timed> {
        let caller = Arc::clone(&self.caller);
        let cycles = tokio::spawn(async move {
            let (mut each, mut processor) = (Vec::new(), Duration::ZERO);
            for _ in 0..times {
                let width = caller.notified.len();
                let all = (0..width).map(|number| exchange(Arc::clone(&caller), number));
                processor += together(all, &mut each).await?;
            }
            Ok(Timed::of(each, processor))
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
    let answer = send(
        &caller.http,
        &caller.service,
        number,
        &caller.bearer,
        COMMAND,
    );
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
) -> Vec<u8> {
    tokio::spawn(async move {
        let sent = send(
            &service.http,
            &service.webhook,
            number,
            &service.bearer,
            NOTIFICATION,
        );
        if let Err(error) = sent.await {
            eprintln!("the chain's webhook failed: {error:#}");
        }
    });
    vec![b' '; OPERATION]
}

async fn take_notification(
    State(watched): State<Arc<Watched>>,
    Path(number): Path<usize>,
    _notification: Bytes,
) -> StatusCode {
    for mut subscriber in &watched.subscribers {
        if let Err(error) = subscriber.write_all(&watched.frame) {
            eprintln!("a write of the chain failed: {error:#}");
        }
    }
    match watched.notified.get(number) {
        Some(exchange) => {
            exchange.notify_one();
            StatusCode::ACCEPTED
        }
        None => StatusCode::NOT_FOUND,
    }
}

/// One POST of `length` bytes, its answer read to the end.
async fn send(
    http: &Client,
    to: &Url,
    number: usize,
    bearer: &str,
    length: usize,
) -> anyhow::Result<()> {
    let request = http
        .post(to.join(&number.to_string())?)
        .header(AUTHORIZATION, bearer)
        .header(CONTENT_TYPE, "application/json")
        .body(vec![b' '; length]);
    let answer = request.send().await?;
    ensure!(answer.status().is_success(), "answered {}", answer.status());
    answer.bytes().await?;
    Ok(())
}

fn serve(router: Router) -> anyhow::Result<(Running, Url)> {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
    let url = format!("http://{}/", listener.local_addr()).parse()?;
    Ok((listener.serve(router, Limits::default()), url))
}

fn client() -> reqwest::Result<Client> {
    let patience = Duration::from_secs(30);
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(patience)
        .build()
}

/// A text frame as long as a roster delta, and known for one.
fn delta() -> Vec<u8> {
    let text = format!("{:<DELTA$}", r#"{"type":"delta","isMuted":false}"#);
    let length = u16::try_from(DELTA).expect("it is short").to_be_bytes();
    let mut frame = vec![0x81, 126, length[0], length[1]];
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn bearer(length: usize) -> String {
    format!("Bearer {}", "x".repeat(length))
}
