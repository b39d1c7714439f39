mod hostile;
mod rest;
mod tls;

use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::*;

/// Long enough for anything on a busy machine; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(router: Router, limits: Limits) -> Running {
    Listener::bind(([127, 0, 0, 1], 0).into())
        .unwrap()
        .serve(router, limits)
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.local_addr()).await.unwrap()
}

async fn send(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads up to and with `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        read.push(byte.expect("the server answers").expect("and stays"));
    }
    String::from_utf8(read).unwrap()
}

/// What comes until the server closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read)).await;
    // A reset is an end too.
    drop(end.expect("the server closes"));
    String::from_utf8(read).unwrap()
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// A route that says when it was reached and answers when it may.
fn held() -> (Router, mpsc::Receiver<()>, watch::Sender<bool>) {
    let (reached, arrivals) = mpsc::channel(16);
    let release = watch::Sender::new(false);
    let gate = release.clone();
    let wait = async move || {
        reached.send(()).await.unwrap();
        gate.subscribe().wait_for(|open| *open).await.unwrap();
        "at last"
    };
    (Router::new().route("/", get(wait)), arrivals, release)
}

#[tokio::test]
async fn the_peer_is_known_and_the_connection_is_kept() {
    let who = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| format!("<{peer}>");
    let running = start(Router::new().route("/", get(who)), Limits::default());
    let mut client = connect(&running).await;
    let own = client.local_addr().unwrap();
    for _ in 0..3 {
        send(&mut client, "/").await;
        let answer = read_until(&mut client, ">").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with(&format!("<{own}>")), "{answer}");
    }
    assert_eq!(running.connections(), 1);
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_slow_header_is_cut_and_a_good_client_is_not() {
    let limits = Limits {
        header_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let running = start(hello(), limits);
    let mut silent = connect(&running).await;
    let mut half = connect(&running).await;
    half.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut good = connect(&running).await;
    send(&mut good, "/").await;
    read_until(&mut good, "hello").await;

    let started = Instant::now();
    let trickling = async {
        // One byte at a time, for ever: each is sent before the time is over.
        let mut trickle = connect(&running).await;
        trickle.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        let mut bytes = 0;
        while trickle.write_all(b"x").await.is_ok() {
            bytes += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bytes
    };
    let bytes = tokio::time::timeout(PATIENCE, trickling).await.unwrap();
    assert!(bytes > 0);
    assert!(started.elapsed() >= Duration::from_secs(1));
    read_to_end(&mut silent).await;
    read_to_end(&mut half).await;

    // Idle for longer than a header may take, and still there.
    send(&mut good, "/").await;
    read_until(&mut good, "hello").await;
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_keep_alive_time() {
    let limits = Limits {
        header_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_millis(1500),
        ..Limits::default()
    };
    let running = start(hello(), limits);
    let mut client = connect(&running).await;
    let before = Instant::now();
    send(&mut client, "/").await;
    read_until(&mut client, "hello").await;
    read_to_end(&mut client).await;
    assert!(before.elapsed() >= Duration::from_millis(1500));
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_header_over_the_limit_is_431() {
    let running = start(hello(), Limits::default());
    for (bytes, status) in [(15 * 1024, "200"), (17 * 1024, "431"), (1024 * 1024, "431")] {
        let mut client = connect(&running).await;
        let (mut reading, mut writing) = client.split();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(bytes)
        );
        let mut answer = vec![0; 12];
        let (sent, read) = tokio::join!(
            writing.write_all(request.as_bytes()),
            reading.read_exact(&mut answer)
        );
        // The server may close before it has taken all of it.
        drop(sent);
        read.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {status}"), "{bytes} bytes");
    }
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn over_the_cap_a_connection_waits_for_its_turn() {
    let (router, mut arrivals, release) = held();
    let limits = Limits {
        max_connections: 2,
        ..Limits::default()
    };
    let running = start(router, limits);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect(&running).await;
        send(&mut client, "/").await;
        clients.push(client);
    }
    arrivals.recv().await.unwrap();
    arrivals.recv().await.unwrap();
    assert_eq!(running.connections(), 2);
    assert!(arrivals.try_recv().is_err());
    release.send_replace(true);
    for client in &mut clients[..2] {
        read_until(client, "at last").await;
    }
    // The third is let in by an end, not by an answer.
    assert!(arrivals.try_recv().is_err());
    let third = clients.pop().unwrap();
    drop(clients);
    let mut third = third;
    read_until(&mut third, "at last").await;
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_closes_what_idles() {
    let (router, mut arrivals, release) = held();
    let router = router.merge(Router::new().route("/idle", get(async || "hello")));
    let running = start(router, Limits::default());
    let addr = running.local_addr();
    let mut fresh = connect(&running).await;
    let mut idle = connect(&running).await;
    send(&mut idle, "/idle").await;
    read_until(&mut idle, "hello").await;
    let mut busy = connect(&running).await;
    send(&mut busy, "/").await;
    arrivals.recv().await.unwrap();

    let stopping = tokio::spawn(running.stop(PATIENCE));
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut fresh).await, "");
    assert!(!stopping.is_finished());
    assert!(TcpStream::connect(addr).await.is_err());
    release.send_replace(true);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("at last"), "{answer}");
    assert_eq!(stopping.await.unwrap(), 0);
}

#[tokio::test]
async fn a_stop_cuts_at_its_deadline_and_says_how_many() {
    let (router, mut arrivals, _release) = held();
    let running = start(router, Limits::default());
    let mut clients = [connect(&running).await, connect(&running).await];
    for client in &mut clients {
        send(client, "/").await;
        arrivals.recv().await.unwrap();
    }
    assert_eq!(running.stop(Duration::from_millis(50)).await, 2);
    for client in &mut clients {
        assert_eq!(read_to_end(client).await, "");
    }
}

#[tokio::test]
async fn a_dropped_handle_stops_the_listener() {
    let (router, mut arrivals, release) = held();
    let running = start(router, Limits::default());
    let mut busy = connect(&running).await;
    send(&mut busy, "/").await;
    arrivals.recv().await.unwrap();
    let mut idle = connect(&running).await;
    drop(running);
    assert_eq!(read_to_end(&mut idle).await, "");
    release.send_replace(true);
    assert!(read_to_end(&mut busy).await.ends_with("at last"));
}

#[tokio::test]
async fn an_upgrade_gives_the_raw_socket_back_with_what_came_early() {
    let (taken, mut sockets) = mpsc::channel::<(TcpStream, Vec<u8>)>(1);
    let upgrade = async |State(taken): State<mpsc::Sender<_>>, mut request: Request| {
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let upgraded = upgrading.await.unwrap();
            let parts = Taken::from_upgrade(upgraded).unwrap();
            assert!(parts.tls.is_none());
            let socket = (parts.socket, parts.leftover.to_vec());
            taken.send(socket).await.unwrap();
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "raw")
            .body(axum::body::Body::empty())
            .unwrap()
    };
    let router = Router::new().route("/", get(upgrade)).with_state(taken);
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let running = start(router, limits);

    let mut client = connect(&running).await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly")
        .await
        .unwrap();
    let answer = read_until(&mut client, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let (mut socket, early) = sockets.recv().await.unwrap();
    assert_eq!(early, b"early");
    assert_eq!(socket.peer_addr().unwrap(), client.local_addr().unwrap());
    assert!(socket.nodelay().unwrap());

    // It is not the listener's any more: its slot is free, a stop does not touch it.
    let mut second = connect(&running).await;
    second
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
        .await
        .unwrap();
    let (_other, early) = sockets.recv().await.unwrap();
    assert_eq!(early, b"");
    assert_eq!(running.stop(PATIENCE).await, 0);
    client.write_all(b"later").await.unwrap();
    let mut later = [0; 5];
    socket.read_exact(&mut later).await.unwrap();
    assert_eq!(&later, b"later");
    socket.write_all(b"back").await.unwrap();
    drop(socket);
    assert_eq!(read_to_end(&mut client).await, "back");
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_connection_only() {
    async fn fails() -> &'static str {
        panic!("meant to")
    }
    let router = hello().route("/fails", post(fails).get(fails));
    let running = start(router, Limits::default());
    let mut other = connect(&running).await;
    let mut client = connect(&running).await;
    send(&mut client, "/fails").await;
    assert_eq!(read_to_end(&mut client).await, "");
    send(&mut other, "/").await;
    read_until(&mut other, "hello").await;
    assert_eq!(running.connections(), 1);
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_taken_address_is_named_with_what_to_do() {
    let first = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = first.local_addr();
    assert_ne!(addr.port(), 0);
    let error = Listener::bind(addr).unwrap_err();
    let said = error.to_string();
    assert!(said.contains(&addr.to_string()), "{said}");
    assert!(said.contains("choose a free address"), "{said}");
    assert!(std::error::Error::source(&error).is_some());
}
