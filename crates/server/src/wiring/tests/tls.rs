//! The whole stack over TLS.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;

/// A stack with a dev certificate whose authority lands in a directory of its own.
async fn stack(directory: &TempDir) -> Stack {
    let mut plan = plan();
    plan.tls = TlsPlan::Dev {
        names: Vec::new(),
        ca_file: directory.path().join("ca.pem"),
    };
    Stack::start(plan).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmute_goes_the_whole_way_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let stack = stack(&directory).await;
    assert!(stack.readiness.is_ready(), "the keys were read over TLS");
    let addresses = stack.addresses();
    let public = addresses.public.clone().unwrap();
    let local = addresses.local.clone().unwrap();
    assert!(public.starts_with("https://"), "{public}");
    assert!(local.starts_with("https://"), "{local}");
    assert!(addresses.admin.as_ref().unwrap().starts_with("http://"));
    let token = token(&addresses).await;
    let call = call(&stack, &token).await;
    let http = client(&addresses);

    let mut roster = watch(&addresses, &call, &token).await;
    for (action, muted) in [("mute", true), ("unmute", false)] {
        let url = format!("{public}/v1.0/communications/calls/{call}/{action}");
        let request = http.post(url).bearer_auth(&token).json(&json!({}));
        let answer = request.send().await.unwrap();
        let location = answer.headers()["location"].to_str().unwrap();
        assert!(location.starts_with(&public), "{location}");
        let operation: Value = answer.json().await.unwrap();
        assert_eq!(operation["status"], "completed", "{operation}");
        loop {
            let frame = next(&mut roster).await;
            let Message::Text(text) = frame else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            let mut seen = frame["changed"].as_array().into_iter().flatten();
            if seen.any(|entry| entry["isMuted"] == muted) {
                break;
            }
        }
    }

    // The service delivered by https what the engine learnt from.
    let metrics = format!("{}/metrics", addresses.admin.as_ref().unwrap());
    let text = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let delivered = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("openmic_local_notifications_total{result=\"delivered\"} ")
        })
        .unwrap();
    assert!(delivered.parse::<u64>().unwrap() > 0, "{delivered}");

    // A watcher is closed as on a plain socket.
    drop(http);
    let closed = tokio::spawn(async move {
        loop {
            if let Message::Close(frame) = next(&mut roster).await {
                // Reading on answers the close; the end after it is TLS's own.
                assert!(roster.next().await.is_none());
                return u16::from(frame.unwrap().code);
            }
        }
    });
    let drained = stack.drain().await;
    assert_eq!(drained.connections_cut, 0);
    assert!([1012, 4004].contains(&closed.await.unwrap()));
}

type Roster = tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>;

async fn next(roster: &mut Roster) -> Message {
    let frame = time::timeout(Duration::from_secs(30), roster.next()).await;
    frame.expect("a frame comes").unwrap().unwrap()
}

/// Opens the roster's WebSocket by hand: TLS, then the handshake.
async fn watch(addresses: &Addresses, call: &str, token: &str) -> Roster {
    let mut roots = RootCertStore::empty();
    let pem = addresses.ca_file.as_ref().unwrap();
    roots
        .add(CertificateDer::from_pem_file(pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let public = addresses.public.as_ref().unwrap();
    let address = public.strip_prefix("https://").unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let socket = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
        .unwrap();
    let url = format!("wss://{address}/v1/calls/{call}/roster");
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let (roster, _) = tokio_tungstenite::client_async(request, socket)
        .await
        .unwrap();
    roster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_trust_the_authority_stays_out() {
    let directory = tempfile::tempdir().unwrap();
    let stack = stack(&directory).await;
    let other = tempfile::tempdir().unwrap();
    let theirs = self::stack(&other).await;
    for url in [stack.addresses().public, stack.addresses().local] {
        let url = url.unwrap();
        let refused = client(&theirs.addresses()).get(&url).send().await;
        let error = format!("{:#}", anyhow::Error::new(refused.unwrap_err()));
        assert!(error.contains("invalid peer certificate"), "{error}");
        assert!(client(&stack.addresses()).get(&url).send().await.is_ok());
    }
    stack.drain().await;
    theirs.drain().await;
}
