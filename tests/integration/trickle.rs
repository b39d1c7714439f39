//! Thousands of clients that send a byte now and then, against the real binary: all are closed, and
//! who behaves does not notice. It takes five minutes and most of a machine, so it is run by name, best with nothing beside it:
//!
//! `cargo test --release -p openmic-tests --test integration -- --ignored --nocapture trickl`

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};
use reqwest::{Certificate, Client};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use openmic_tests::Server;

const SOCKETS: usize = 5000;
const ATTACK: Duration = Duration::from_mins(1);
/// Longest time from the end of the attack until the last socket is closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(40);
/// Between two bytes of one socket.
const DRIP: Duration = Duration::from_secs(1);

/// One server under attack.
struct Target {
    name: &'static str,
    address: String,
    /// Its path that takes a body from whoever has `token`, and one that answers 200.
    takes: String,
    gives: String,
    token: String,
    tls: Option<TlsConnector>,
}

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    opened: AtomicU64,
    closed: AtomicU64,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes; the module says how to run it"]
async fn five_thousand_trickling_sockets_are_closed_plain() {
    both_servers(false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes; the module says how to run it"]
async fn five_thousand_trickling_sockets_are_closed_over_tls() {
    both_servers(true).await;
}

async fn both_servers(tls: bool) {
    let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(hard, hard).unwrap();
    assert!(hard > 3 * SOCKETS as u64, "raise the limit of open files");
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let set = format!("listen.tls_ca_file={}", ca_file.display());
    let arguments = ["serve", "--tls", "dev", "--set", &set];
    let server = Server::start(if tls { &arguments } else { &arguments[..1] });
    let (pem, connector) = if tls {
        trusting(&ca_file)
    } else {
        (None, None)
    };
    let client = |kept| {
        let client = Client::builder().tls_certs_only(pem.clone());
        client.pool_max_idle_per_host(kept).build().unwrap()
    };
    let good = Good {
        fresh: client(0),
        kept: client(1),
    };
    let scheme = if tls { "https" } else { "http" };
    let token = token(&good.fresh, scheme, server.local()).await;
    let targets = [
        Target {
            name: "engine",
            address: server.public().to_owned(),
            takes: "/v1.0/communications/calls".to_owned(),
            gives: format!("{scheme}://{}/v1/calls", server.public()),
            token: token.clone(),
            tls: connector.clone(),
        },
        Target {
            name: "local service",
            address: server.local().to_owned(),
            takes: format!("/{DEV_TENANT}/oauth2/v2.0/token"),
            gives: format!("{scheme}://{}/v1/keys", server.local()),
            token,
            tls: connector,
        },
    ];
    for target in targets {
        attack(Arc::new(target), &good, scheme).await;
    }
    assert_eq!(server.stops(Duration::from_secs(90)), Some(0));
}

/// A client that behaves, in two ways.
struct Good {
    /// With a connection for each request.
    fresh: Client,
    /// With one for all.
    kept: Client,
}

impl Good {
    async fn asks(&self, target: &Target, time: Duration) -> String {
        let (fresh, kept) = tokio::join!(
            latencies(target, &self.fresh, time),
            latencies(target, &self.kept, time)
        );
        format!("kept connection {kept}, new connection each {fresh}")
    }
}

async fn attack(target: Arc<Target>, good: &Good, scheme: &str) {
    let before = good.asks(&target, Duration::from_secs(10)).await;
    let tally = Arc::new(Tally::default());
    let mut crowd = JoinSet::new();
    for number in 0..SOCKETS {
        crowd.spawn(trickle(number, Arc::clone(&target), Arc::clone(&tally)));
    }
    let during = good.asks(&target, ATTACK).await;
    tally.over.store(true, Ordering::Relaxed);
    let ended = Instant::now();
    let all = async { while crowd.join_next().await.is_some() {} };
    timeout(CLOSED_WITHIN, all).await.expect("all are closed");
    let opened = tally.opened.load(Ordering::Relaxed);
    let closed = tally.closed.load(Ordering::Relaxed);
    println!(
        "{} ({scheme}): {SOCKETS} sockets for {ATTACK:?}, {opened} opened, {closed} closed by the \
         server, the last {:.1?} after the end\n  a good client before: {before}\n  a good client \
         during: {during}",
        target.name,
        ended.elapsed(),
    );
    assert_eq!(opened, closed);
    assert!(opened >= SOCKETS as u64);
}

/// Asks now and then; every request must succeed.
async fn latencies(target: &Target, good: &Client, time: Duration) -> String {
    let until = Instant::now() + time;
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let request = good.get(&target.gives).bearer_auth(&target.token);
        let answer = request.send().await.expect("a good client is answered");
        assert_eq!(answer.status(), 200);
        answer.bytes().await.expect("to the end");
        took.push(begun.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    took.sort_unstable();
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    let count = took.len();
    format!(
        "p50 {:.1?} p99 {:.1?} max {:.1?} of {count}",
        at(50),
        at(99),
        at(100)
    )
}

/// Holds one socket at a time until the attack is over, and the last one to its end.
async fn trickle(number: usize, target: Arc<Target>, tally: Arc<Tally>) {
    // Not all in one moment.
    sleep(Duration::from_millis(number as u64 % 1000)).await;
    while !tally.over.load(Ordering::Relaxed) {
        let Ok(socket) = TcpStream::connect(&target.address).await else {
            sleep(DRIP).await;
            continue;
        };
        tally.opened.fetch_add(1, Ordering::Relaxed);
        // A handshake costs both ends far more than a byte, and it is patience that is tried here: of
        // TLS two in eight finish theirs, the others trickle it or say nothing.
        let kind = match (number % 8, &target.tls) {
            (kind, None) => kind % 4,
            (4, Some(_)) => 0,
            (kind @ 0..4, Some(_)) => kind,
            (_, Some(_)) => 3,
        };
        hold(kind, &target, socket).await;
        tally.closed.fetch_add(1, Ordering::Relaxed);
        sleep(DRIP).await;
    }
}

async fn hold(kind: usize, target: &Target, mut socket: TcpStream) {
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: \
         application/json\r\n",
        target.takes, target.token
    );
    let begin = match kind {
        // Says nothing at all.
        0 => return drip(socket, b"").await,
        1 => "GET / HTTP/1.1\r\nX: ".to_owned(),
        2 => format!("{head}Content-Length: 9999\r\n\r\n"),
        _ if target.tls.is_some() => {
            // The head of a ClientHello whose rest comes byte by byte.
            if socket
                .write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252])
                .await
                .is_ok()
            {
                drip(socket, b"\x03").await;
            }
            return;
        }
        _ => head,
    };
    match &target.tls {
        None => begun(socket, &begin).await,
        Some(tls) => {
            let name = ServerName::try_from("localhost").expect("a name");
            // Too late for a busy server: closed all the same.
            if let Ok(stream) = tls.connect(name, socket).await {
                begun(stream, &begin).await;
            }
        }
    }
}

async fn begun(mut stream: impl AsyncRead + AsyncWrite + Unpin, begin: &str) {
    if stream.write_all(begin.as_bytes()).await.is_ok() {
        drip(stream, b"x").await;
    }
}

/// Sends `byte` now and then until the server closes.
async fn drip(mut stream: impl AsyncRead + AsyncWrite + Unpin, byte: &[u8]) {
    let mut answer = [0; 1024];
    loop {
        match timeout(DRIP, stream.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => return,
            // It was told why; the close comes.
            Ok(Ok(_)) => {}
            Err(_) => {
                let sent = async {
                    stream.write_all(byte).await?;
                    stream.flush().await
                };
                if sent.await.is_err() {
                    return;
                }
            }
        }
    }
}

fn trusting(ca_file: &Path) -> (Option<Certificate>, Option<TlsConnector>) {
    let pem = std::fs::read(ca_file).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let certificate = Certificate::from_pem(&pem).unwrap();
    (Some(certificate), Some(Arc::new(config).into()))
}

async fn token(client: &Client, scheme: &str, local: &str) -> String {
    let url = format!("{scheme}://{local}/{DEV_TENANT}/oauth2/v2.0/token");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", DEV_APP),
        ("client_secret", DEV_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer = client.post(url).form(&form).send().await.unwrap();
    let body: serde_json::Value = answer.json().await.unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}
