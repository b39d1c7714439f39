//! Clients that mean harm, or are broken enough to do it.

use std::net::IpAddr;

use axum::body::{Body, to_bytes};
use prometheus::{Encoder as _, Registry, TextEncoder};
use serde_json::Value;

use super::*;

fn bodies() -> Router {
    async fn take(body: Body) -> Response {
        let (status, text) = match to_bytes(body, 1 << 20).await {
            Ok(body) => (200, format!("{} bytes", body.len())),
            Err(error) if TooSlow::is_cause_of(&error) => (408, "too slow".to_owned()),
            Err(error) => (400, error.to_string()),
        };
        Response::builder()
            .status(status)
            .header("request-id", "x")
            .body(text.into())
            .unwrap()
    }
    hello().route("/take", post(take))
}

/// A listener and what it counts as closed for a reason.
pub(super) fn counted(router: Router, limits: Limits) -> (Running, impl Fn(&str) -> u64) {
    let registry = Registry::new();
    let metrics = ListenMetrics::new("test");
    metrics.register(&registry).unwrap();
    let running = Listener::bind(([127, 0, 0, 1], 0).into())
        .unwrap()
        .metrics(metrics)
        .serve(router, limits);
    let closed = move |reason: &str| {
        let mut text = Vec::new();
        let families = registry.gather();
        TextEncoder::new().encode(&families, &mut text).unwrap();
        let name = "openmic_listen_closed_total";
        let line = format!("{name}{{listener=\"test\",reason=\"{reason}\"}} ");
        let text = String::from_utf8(text).unwrap();
        let found = text.lines().find_map(|it| it.strip_prefix(&line)).unwrap();
        found.parse().unwrap()
    };
    (running, closed)
}

#[tokio::test]
async fn a_request_for_no_host_or_several_reaches_nobody() {
    let running = start(hello(), Limits::default());
    let ask = async |head: &str| {
        let mut client = connect(&running).await;
        let request = format!("{head}Connection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut client).await
    };
    for (head, good) in [
        ("GET / HTTP/1.0\r\n", true),
        ("GET / HTTP/1.1\r\nHost:\r\n", true),
        ("GET / HTTP/1.1\r\nHost: bot.example:8443\r\n", true),
        ("GET / HTTP/1.1\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", false),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n", false),
        ("GET / HTTP/1.1\r\nHost: user:pw@bot.example\r\n", false),
        ("GET / HTTP/1.1\r\nHost: bot.example/path\r\n", false),
    ] {
        let answer = ask(head).await;
        if good {
            assert!(answer.ends_with("hello"), "{head}: {answer}");
            continue;
        }
        let (status, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(status.split(' ').nth(1), Some("400"), "{head}: {status}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "invalidRequest", "{body}");
        let id = body["error"]["innerError"]["request-id"].as_str().unwrap();
        assert!(status.contains(&format!("request-id: {id}")), "{status}");
    }
    let answer = ask("GET / HTTP/1.1\r\nclient-request-id: mine\r\n").await;
    assert!(answer.contains("client-request-id: mine\r\n"), "{answer}");
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn what_hyper_refuses_on_its_own_has_the_envelope() {
    let (running, closed) = counted(hello(), Limits::default());
    let long = "x".repeat(1 << 20);
    let cases = [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), 400),
        ("GET /\u{7f} HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
            431,
        ),
        // After a good request on the same connection, in the same packet.
        (
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nrubbish\r\n\r\n".to_owned(),
            400,
        ),
    ];
    let count = cases.len() as u64;
    for (request, status) in cases {
        let mut client = connect(&running).await;
        let (mut reading, mut writing) = client.split();
        let mut answer = Vec::new();
        let (sent, read) = tokio::join!(
            writing.write_all(request.as_bytes()),
            tokio::time::timeout(PATIENCE, reading.read_to_end(&mut answer))
        );
        // The server stops reading an endless header.
        drop(sent);
        read.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let shown = request.get(..40).unwrap_or(&request);
        let answer = match answer.find("hello") {
            Some(at) => answer[at + 5..].to_owned(),
            None => answer,
        };
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown}: {answer}"
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert!(head.contains("date: "), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        let error = &body["error"];
        assert_eq!(error["code"], "invalidRequest", "{shown}: {body}");
        assert!(error["message"].as_str().unwrap().len() > 40, "{body}");
        let id = error["innerError"]["request-id"].as_str().unwrap();
        assert!(head.contains(&format!("request-id: {id}")), "{head}");
    }
    assert_eq!(closed("bad_header"), count);
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_and_a_slow_one_is_not() {
    let limits = Limits {
        body_timeout: Duration::from_secs(3),
        min_body_rate: 0,
        ..Limits::default()
    };
    let (running, closed) = counted(bodies(), limits);
    let mut trickle = connect(&running).await;
    let head = "POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    trickle.write_all(head.as_bytes()).await.unwrap();
    let started = Instant::now();
    let (mut reading, mut writing) = trickle.split();
    let sending = async {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = vec![0; 12];
    tokio::select! {
        () = sending => panic!("cut before it was told"),
        read = reading.read_exact(&mut answer) => read.unwrap(),
    };
    assert_eq!(answer, b"HTTP/1.1 408");
    assert!(started.elapsed() >= Duration::from_secs(3));
    assert_eq!(closed("slow_body"), 1);

    let mut slow = connect(&running).await;
    slow.write_all(b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n12")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    slow.write_all(b"34").await.unwrap();
    read_until(&mut slow, "4 bytes").await;
    assert_eq!(closed("slow_body"), 1);
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_body_below_the_least_rate_is_cut_before_its_time() {
    let limits = Limits {
        body_timeout: Duration::from_mins(10),
        ..Limits::default()
    };
    let (running, closed) = counted(bodies(), limits);
    let mut client = connect(&running).await;
    let head = "POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nbegun";
    client.write_all(head.as_bytes()).await.unwrap();
    assert!(
        read_until(&mut client, "too slow")
            .await
            .starts_with("HTTP/1.1 408")
    );
    assert_eq!(closed("slow_body"), 1);
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut() {
    let large = async || "x".repeat(64 << 20);
    let limits = Limits {
        stuck_after: Duration::from_secs(1),
        ..Limits::default()
    };
    let (running, closed) = counted(hello().route("/large", get(large)), limits);
    let mut stuck = connect(&running).await;
    send(&mut stuck, "/large").await;
    let mut good = connect(&running).await;
    let waiting = async {
        while closed("stuck_answer") == 0 {
            send(&mut good, "/").await;
            read_until(&mut good, "hello").await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn one_address_has_a_limited_number_of_connections() {
    let limits = Limits {
        header_timeout: PATIENCE,
        ..Limits::default()
    };
    let nobody = |_: IpAddr| false;
    let running = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap().run(
        hello(),
        limits,
        Peers::sparing(3, nobody),
    );
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = connect(&running).await;
        send(&mut client, "/").await;
        read_until(&mut client, "hello").await;
        held.push(client);
    }
    let mut over = connect(&running).await;
    assert_eq!(read_to_end(&mut over).await, "");
    drop(held.pop());
    // Its place is free once the server has seen that it left.
    let again = async {
        loop {
            let mut client = connect(&running).await;
            send(&mut client, "/").await;
            let mut answer = [0; 12];
            if client.read_exact(&mut answer).await.is_ok() {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn hundreds_that_trickle_are_closed_and_a_good_client_is_not_disturbed() {
    let limits = Limits {
        header_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let (running, closed) = counted(bodies(), limits);
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..400 {
        let mut client = connect(&running).await;
        crowd.spawn(async move {
            let begin: &[u8] = match number % 4 {
                0 => b"",
                1 => b"GET / HTTP/1.1\r\nX: ",
                2 => b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
                _ => b"POST /take HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            };
            let mut sent = client.write_all(begin).await;
            while sent.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                // The first kind stays silent.
                sent = match number % 4 {
                    0 => {
                        let mut byte = [0];
                        client.read_exact(&mut byte).await.map(drop)
                    }
                    3 => client.write_all(b"1\r\n1\r\n").await,
                    _ => client.write_all(b"1").await,
                };
            }
        });
    }
    let mut good = connect(&running).await;
    let mut worst = Duration::ZERO;
    let served = async {
        while !crowd.is_empty() {
            let begun = Instant::now();
            send(&mut good, "/").await;
            read_until(&mut good, "hello").await;
            worst = worst.max(begun.elapsed());
            while crowd.try_join_next().is_some() {}
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served)
        .await
        .expect("all are closed");
    assert!(worst < Duration::from_secs(1), "{worst:?}");
    assert_eq!(closed("slow_header"), 200);
    assert_eq!(closed("slow_body"), 200);
    assert_eq!(running.connections(), 1);
    assert_eq!(running.stop(PATIENCE).await, 0);
}
