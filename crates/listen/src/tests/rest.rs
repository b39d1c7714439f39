//! Bodies that nobody reads.

use axum::body::Body;
use http::StatusCode;

use super::*;

/// `/refuse` answers before it reads, `/take` after.
fn router() -> Router {
    let take = async |body: String| format!("{} bytes|", body.len());
    Router::new()
        .route(
            "/refuse",
            post(async || (StatusCode::NOT_FOUND, "refused|")),
        )
        .route("/take", post(take))
}

async fn write(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_body_that_comes_after_its_refusal_does_not_cost_the_connection() {
    let running = start(router(), Limits::default());
    let mut client = connect(&running).await;
    for (head, body) in [
        ("Content-Length: 11", "hello world".to_owned()),
        (
            "Transfer-Encoding: chunked",
            "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n".to_owned(),
        ),
        ("Content-Length: 1048576", "x".repeat(1 << 20)),
    ] {
        write(
            &mut client,
            &format!("POST /refuse HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n"),
        )
        .await;
        let answer = read_until(&mut client, "refused|").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
        write(&mut client, &body).await;
        write(
            &mut client,
            "POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        )
        .await;
        let answer = read_until(&mut client, "|").await;
        assert!(answer.ends_with("3 bytes|"), "{answer}");
    }
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_long_body_is_answered_and_the_answer_says_that_nothing_follows() {
    let running = start(router(), Limits::default());
    let mut client = connect(&running).await;
    write(
        &mut client,
        "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n",
    )
    .await;
    // A client that sends before it looks gets through with it, and then sees why.
    write(&mut client, &"x".repeat(1 << 20)).await;
    let answer = read_until(&mut client, "refused|").await;
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    let more = "x".repeat(1 << 16);
    while client.write_all(more.as_bytes()).await.is_ok() {}
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_is_not_made_to_send() {
    let running = start(router(), Limits::default());
    let head = "HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let mut client = connect(&running).await;
    write(&mut client, &format!("POST /refuse {head}")).await;
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");

    let mut client = connect(&running).await;
    for _ in 0..2 {
        write(&mut client, &format!("POST /take {head}")).await;
        read_until(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
        write(&mut client, "abc").await;
        let answer = read_until(&mut client, "|").await;
        assert!(answer.ends_with("3 bytes|"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(running.stop(PATIENCE).await, 0);
}

#[tokio::test]
async fn a_rest_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        body_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let held = async |body: Body| {
        drop(body);
        "refused|"
    };
    let running = start(Router::new().route("/refuse", post(held)), limits);
    let mut client = connect(&running).await;
    write(
        &mut client,
        "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello",
    )
    .await;
    read_until(&mut client, "refused|").await;
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(running.stop(PATIENCE).await, 0);
}
