//! Subscribers over TLS get what those in clear get, in the same order, under the same limits.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openmic_hub::{CALL_ENDED, Hub, Subscribe};
use openmic_model::CallId;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Buffers, PATIENCE, Publisher, call, eventually, hub, metric, pair, watch};
use crate::watcher::{Got, Watcher};

type Client = StreamOwned<ClientConnection, TcpStream>;

/// Both ends' configuration.
struct Trust {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Trust {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self {
            client: client.into(),
            server: server.into(),
        }
    }

    /// Both ends after their handshake. `early` is sent before the server's end has read anything
    /// after it, so that it comes with the session.
    fn shaken(&self, buffers: Buffers, early: &[u8]) -> (Client, TcpStream, ServerConnection) {
        let (client, mut server) = pair(buffers);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let mut client = StreamOwned::new(session, client);
        let early = early.to_vec();
        let shaking = std::thread::spawn(move || {
            client.conn.complete_io(&mut client.sock).unwrap();
            client.write_all(&early).unwrap();
            client.flush().unwrap();
            client
        });
        let mut session = ServerConnection::new(Arc::clone(&self.server)).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut server).unwrap();
        }
        (shaking.join().unwrap(), server, session)
    }

    fn watch(&self, hub: &Hub, call: &CallId, buffers: Buffers) -> Watcher<Client> {
        let (client, server, session) = self.shaken(buffers, &[]);
        attach(hub, call, server, session);
        Watcher::over(client)
    }
}

fn attach(hub: &Hub, call: &CallId, server: TcpStream, session: ServerConnection) {
    let seat = hub.reserve(call).unwrap();
    seat.attach_tls(
        server,
        Box::new(session),
        Bytes::new(),
        Subscribe::default(),
    )
    .unwrap();
}

#[test]
fn frames_pongs_and_the_close_come_over_tls() {
    let trust = Trust::new();
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(300);
    let mut plain = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    let mut secret = trust.watch(&hub, &call, Buffers::Default);
    secret.read_to(7, 1);
    for round in 2..=200 {
        publisher.mute(round % 300, round % 2 == 0);
        if round % 20 == 0 {
            publisher.operation(round);
        }
    }
    secret.read_to(7, 200);
    plain.read_to(7, 200);
    assert_eq!(secret.roster, publisher.expected());
    assert_eq!(secret.roster, plain.roster);
    assert_eq!(secret.snapshots, 1);

    secret.socket.send(Message::Ping("here".into())).unwrap();
    loop {
        match secret.socket.read().unwrap() {
            Message::Pong(payload) => {
                assert_eq!(&payload[..], b"here");
                break;
            }
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(publisher);
    // To the end of the connection: TLS's own, or reading it would fail.
    assert_eq!(secret.read_to_close(), CALL_ENDED);
    assert_eq!(plain.read_to_close(), CALL_ENDED);
}

#[test]
fn what_came_with_the_handshake_is_read() {
    let trust = Trust::new();
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    // A masked ping of two bytes (RFC 6455, 5.2), in the same breath as the end of the handshake.
    let ping = [0x89, 0x82, 0, 0, 0, 0, b'h', b'i'];
    let (client, mut server, mut session) = trust.shaken(Buffers::Default, &ping);
    // As tokio does: all that came is in the session, nothing of it was taken out.
    while session
        .process_new_packets()
        .unwrap()
        .plaintext_bytes_to_read()
        < ping.len()
    {
        session.read_tls(&mut server).unwrap();
    }
    attach(&hub, &call, server, session);
    let mut watcher = Watcher::over(client);
    loop {
        match watcher.socket.read().unwrap() {
            Message::Pong(payload) => {
                assert_eq!(&payload[..], b"hi");
                return;
            }
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_slow_subscriber_over_tls_is_conflated_and_blocks_nobody() {
    const VERSIONS: u64 = 5_000;
    let trust = Trust::new();
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(300);
    let mut fast = trust.watch(&hub, &call, Buffers::Default);
    let mut stalled: Vec<_> = (0..5)
        .map(|_| trust.watch(&hub, &call, Buffers::Small))
        .collect();
    for round in 2..=VERSIONS {
        let index = usize::try_from(round % 300).unwrap();
        publisher.mute(index, round % 2 == 0);
        if round % 100 == 0 {
            fast.read_to(7, round);
        }
    }
    fast.read_to(7, VERSIONS);
    assert_eq!(fast.roster, publisher.expected());
    assert_eq!(fast.snapshots, 1, "the fast one needs no second snapshot");
    for watcher in &mut stalled {
        watcher.read_to(7, VERSIONS);
        assert_eq!(watcher.roster, publisher.expected());
        assert!(watcher.deltas < 1000, "{} deltas", watcher.deltas);
        assert!(watcher.snapshots >= 2);
    }
    assert!(metric(&hub, "openmic_subscriber_resyncs_total", "") >= 5.0);
    // Up to date again, it gets deltas.
    publisher.mute(0, true);
    for watcher in &mut stalled {
        let snapshots = watcher.snapshots;
        watcher.read_to(7, VERSIONS + 1);
        assert_eq!(watcher.snapshots, snapshots);
    }
}

#[test]
fn one_that_takes_nothing_is_dropped_and_so_is_one_that_breaks_tls() {
    let trust = Trust::new();
    let hub = hub(|config| config.slow_after = Duration::from_millis(200));
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(2_000);
    let stuck = trust.watch(&hub, &call, Buffers::Small);
    eventually("the stuck one is dropped", || hub.subscribers() == 0);
    assert!(metric(&hub, "openmic_subscribers_closed_total", "slow") >= 1.0);
    drop(stuck);

    let (client, server, session) = trust.shaken(Buffers::Default, &[]);
    attach(&hub, &call, server, session);
    assert_eq!(hub.subscribers(), 1);
    let (_, mut raw) = client.into_parts();
    raw.write_all(b"no record of TLS").unwrap();
    eventually("the broken one is dropped", || hub.subscribers() == 0);

    // Nobody else notices.
    let mut good = trust.watch(&hub, &call, Buffers::Default);
    assert_eq!(good.next(), Got::Roster((7, 1)));
}
