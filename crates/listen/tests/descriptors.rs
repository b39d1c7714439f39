//! The listener when the process has no file descriptor left. Alone in its binary, because the
//! limit is the whole process's.

use std::fs::File;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use openmic_listen::{Limits, Listener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

#[tokio::test]
async fn it_waits_without_spinning_and_goes_on_when_there_are_descriptors_again() {
    let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(256, hard).unwrap();
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let router = Router::new().route("/", get(async || "hello"));
    let running = listener.serve(router, Limits::default());

    let socket = TcpSocket::new_v4().unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    // The kernel completes the handshake; nobody can accept it.
    let mut client = socket.connect(running.local_addr()).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let failing = async {
        while running.accept_failures() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // 10, 20, 40, 80, 160 ms and so on: in half a second a spinning loop counts thousands.
        tokio::time::sleep(Duration::from_millis(500)).await;
        running.accept_failures()
    };
    let failures = tokio::time::timeout(Duration::from_secs(30), failing)
        .await
        .expect("accepting fails");
    assert!(failures < 20, "{failures} failures");

    drop(taken);
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(30), client.read_to_string(&mut answer))
        .await
        .expect("the connection is accepted after all")
        .unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert_eq!(running.stop(Duration::from_secs(30)).await, 0);
}
