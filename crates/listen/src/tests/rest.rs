//! Bodies that nobody reads.

use axum::body::{Body, to_bytes};
use http::StatusCode;

use super::hostile::counted;
use super::*;

/// `/refuse` answers before it reads, `/take` after, `/late` lets go of it when its answer may be out.
fn router() -> Router {
    let take = async |body: String| format!("{} bytes|", body.len());
    let late = async |body: Body| {
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            drop(body);
        });
        "late|"
    };
    Router::new()
        .route(
            "/refuse",
            post(async || (StatusCode::NOT_FOUND, "refused|")),
        )
        .route("/take", post(take))
        .route("/late", post(late))
}

async fn write(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
}

async fn post_to(client: &mut TcpStream, path: &str, head: &str) {
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n");
    write(client, &head).await;
}

/// The connection is as good as before.
async fn takes_another(client: &mut TcpStream) {
    post_to(client, "/take", "Content-Length: 3").await;
    write(client, "abc").await;
    let answer = read_until(client, "|").await;
    assert!(answer.ends_with("3 bytes|"), "{answer}");
}

#[tokio::test]
async fn a_body_that_comes_after_its_refusal_does_not_cost_the_connection() {
    let running = start(router(), Limits::default());
    let mut client = connect(&running).await;
    for path in ["/refuse", "/late"] {
        for (head, body) in [
            ("Content-Length: 11", "hello world".to_owned()),
            (
                "Transfer-Encoding: chunked",
                "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n".to_owned(),
            ),
            ("Content-Length: 1048576", "x".repeat(1 << 20)),
            // Nobody has to be asked for what this one sends.
            ("Expect: a-miracle\r\nContent-Length: 3", "abc".to_owned()),
        ] {
            post_to(&mut client, path, head).await;
            let answer = read_until(&mut client, "|").await;
            assert!(!answer.contains("connection: close"), "{answer}");
            write(&mut client, &body).await;
            takes_another(&mut client).await;
        }
    }
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn half_a_body_is_enough_for_who_wants_no_more() {
    let first = async |body: Body| {
        let part = to_bytes(body, 8).await;
        assert!(part.is_err(), "it is longer");
        "too long|"
    };
    let running = start(router().route("/first", post(first)), Limits::default());
    let mut client = connect(&running).await;
    post_to(&mut client, "/first", "Transfer-Encoding: chunked").await;
    write(&mut client, "9\r\n123456789\r\n").await;
    read_until(&mut client, "too long|").await;
    write(&mut client, "3\r\nabc\r\n0\r\n\r\n").await;
    takes_another(&mut client).await;
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_long_body_is_answered_and_the_answer_says_that_nothing_follows() {
    let running = start(router(), Limits::default());
    for (host, head, is_known) in [
        ("x", "Content-Length: 1000000000", true),
        ("no host", "Content-Length: 1000000000", true),
        ("x", "Transfer-Encoding: chunked", false),
    ] {
        let mut client = connect(&running).await;
        let head = format!("POST /refuse HTTP/1.1\r\nHost: {host}\r\n{head}\r\n\r\n");
        write(&mut client, &head).await;
        // A client that sends before it looks gets through with it, and then sees why.
        let piece = "x".repeat(1 << 20);
        let chunk = format!("100000\r\n{piece}\r\n");
        let piece = if is_known { piece } else { chunk };
        write(&mut client, &piece).await;
        let answer = read_until(&mut client, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{answer}");
        assert_eq!(answer.contains("connection: close\r\n"), is_known);
        while client.write_all(piece.as_bytes()).await.is_ok() {}
    }
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_is_not_made_to_send() {
    let running = start(router(), Limits::default());
    let head = "Expect: 100-continue\r\nContent-Length: 3";
    let mut client = connect(&running).await;
    post_to(&mut client, "/refuse", head).await;
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");

    // One that has waited for long enough sends all the same, and is not reset for it.
    let mut client = connect(&running).await;
    post_to(&mut client, "/refuse", head).await;
    write(&mut client, "abc").await;
    let answer = read_until(&mut client, "refused|").await;
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(read_to_end(&mut client).await, "");

    let mut client = connect(&running).await;
    for _ in 0..2 {
        post_to(&mut client, "/take", head).await;
        read_until(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
        write(&mut client, "abc").await;
        let answer = read_until(&mut client, "|").await;
        assert!(answer.ends_with("3 bytes|"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_rest_that_does_not_come_is_not_waited_for_and_is_no_slow_body() {
    let limits = Limits {
        header_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let (running, closed) = counted(router(), limits);
    let mut client = connect(&running).await;
    post_to(&mut client, "/refuse", "Content-Length: 11").await;
    write(&mut client, "hello").await;
    read_until(&mut client, "refused|").await;
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(closed("slow_body"), 0);
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_rest_holds_no_stop_up() {
    let limits = Limits {
        header_timeout: PATIENCE * 2,
        ..Limits::default()
    };
    let running = start(router(), limits);
    let mut client = connect(&running).await;
    post_to(&mut client, "/refuse", "Content-Length: 11").await;
    write(&mut client, "hello").await;
    read_until(&mut client, "refused|").await;
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn who_is_too_slow_or_switches_protocols_is_told_what_that_means() {
    let say = |status: u16| {
        post(async move || {
            Response::builder()
                .status(status)
                .header("connection", "upgrade")
                .header("upgrade", "x")
                .body(Body::empty())
                .unwrap()
        })
    };
    let router = Router::new()
        .route("/408", say(408))
        .route("/101", say(101));
    let running = start(router, Limits::default());
    for (path, length, connection) in [("/408", 3, "close"), ("/101", 1_000_000_000, "upgrade")] {
        let mut client = connect(&running).await;
        let head = format!("Upgrade: x\r\nConnection: upgrade\r\nContent-Length: {length}");
        post_to(&mut client, path, &head).await;
        let answer = read_until(&mut client, "\r\n\r\n").await;
        let said = format!("connection: {connection}\r\n");
        assert!(answer.contains(&said), "{answer}");
    }
    assert_eq!(running.stop(PATIENCE).await, 0);
}
