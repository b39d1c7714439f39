//! POSTs that come again, as SDK middlewares and careful bots send them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use openmic_engine::{Call, Phase};
use openmic_listen::{Limits, Listener, Running};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use url::Url;

use crate::harness::{Answer, Plan, Rig, meeting, pass_on, read};

/// Stands before the local service and holds every unmute until it is told to go on.
#[derive(Clone)]
struct Turnstile {
    to: String,
    http: reqwest::Client,
    arrived: Arc<watch::Sender<usize>>,
    open: watch::Receiver<bool>,
}

async fn turn(State(stile): State<Turnstile>, request: Request) -> Response {
    if request.uri().path().ends_with("/unmute") {
        stile.arrived.send_modify(|count| *count += 1);
        let mut open = stile.open.clone();
        open.wait_for(|open| *open).await.unwrap();
    }
    pass_on(&stile.http, &stile.to, request).await
}

/// A rig behind a turnstile: how many unmutes reached it, and what lets them through.
async fn behind_a_turnstile() -> (Rig, watch::Receiver<usize>, watch::Sender<bool>) {
    let (arrived, count) = watch::channel(0);
    let (opener, open) = watch::channel(false);
    let arrived = Arc::new(arrived);
    let between = move |to: String| -> (Url, Running) {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let url = Url::parse(&format!("http://{}/v1.0", listener.local_addr())).unwrap();
        let http = reqwest::Client::new();
        let stile = Turnstile {
            to,
            http,
            arrived,
            open,
        };
        let router = Router::new().fallback(turn).with_state(stile);
        (url, listener.serve(router, Limits::default()))
    };
    let rig = Rig::with(Plan {
        between: Some(Box::new(between)),
        ..Plan::default()
    })
    .await;
    (rig, count, opener)
}

/// A POST with these headers besides.
async fn post(rig: &Rig, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let mut request = rig.request(Method::POST, path).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request).await
}

fn is_the_first(again: &Answer, first: &Answer) {
    assert_eq!(again.header("idempotent-replay"), "true", "{again:?}");
    assert_eq!(first.header("idempotent-replay"), "", "{first:?}");
    assert_eq!(again.status, first.status);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_ne!(again.header("request-id"), first.header("request-id"));
}

fn path(call: &Call, action: &str) -> String {
    format!("/v1.0/communications/calls/{}/{action}", call.id())
}

#[tokio::test]
async fn a_stale_unmute_that_a_middleware_repeats_opens_no_microphone() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_stale@thread.v2").await;
    let (mute, unmute) = (path(&call, "mute"), path(&call, "unmute"));
    let body = json!({"clientContext": "once"});
    post(&rig, &mute, &json!({}), &[]).await;
    let id = ("client-request-id", "0c1f5e00-0000-4000-8000-00000000000a");
    let first = post(&rig, &unmute, &body, &[id]).await;
    assert_eq!(first.body["status"], "completed", "{first:?}");
    // Some callers send one id with everything.
    let muted = post(&rig, &mute, &json!({}), &[id]).await;
    assert_eq!(muted.body["status"], "completed");
    let seq = call.state().version.seq;

    let again = post(&rig, &unmute, &body, &[id, ("Retry-Attempt", "1")]).await;
    is_the_first(&again, &first);
    assert_eq!(again.header("client-request-id"), id.1);
    assert_eq!(call.state().phase, Phase::Muted, "it stays muted");
    assert_eq!(call.state().version.seq, seq);

    // Not said to be a repeat: a new command, though it looks the same.
    let new = post(&rig, &unmute, &body, &[id]).await;
    assert_eq!(new.header("idempotent-replay"), "");
    assert_ne!(new.body["id"], first.body["id"]);
    // A repeat of something else is no repeat.
    let other = json!({"clientContext": "other"});
    let other = post(&rig, &unmute, &other, &[id, ("Retry-Attempt", "1")]).await;
    assert_eq!(other.header("idempotent-replay"), "");
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_with_another_body_or_path_is_a_mistake_and_changes_nothing() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_key@thread.v2").await;
    let (mute, unmute) = (path(&call, "mute"), path(&call, "unmute"));
    let key = ("Idempotency-Key", "once and only once");
    let body = json!({"clientContext": "a"});
    let first = post(&rig, &mute, &body, &[key]).await;
    assert_eq!(first.body["status"], "completed", "{first:?}");
    is_the_first(&post(&rig, &mute, &body, &[key]).await, &first);
    // Also in another spelling of the path.
    let spelt = mute.replace("/mute", "/microsoft.graph.mute");
    is_the_first(&post(&rig, &spelt, &body, &[key]).await, &first);

    let before = (call.state().version, call.state().phase);
    for (path, body) in [(&mute, json!({"clientContext": "b"})), (&unmute, body)] {
        let answer = post(&rig, path, &body, &[key]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.code(), "idempotency_mismatch");
    }
    assert_eq!((call.state().version, call.state().phase), before);
    // The same key is another one for another call.
    let other = rig.established("19:meeting_key2@thread.v2").await;
    let answer = post(&rig, &path(&other, "mute"), &json!({}), &[key]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("idempotent-replay"), "");

    let text = read(rig.http.get(format!("{}/metrics", rig.admin))).await;
    let text = text.body.as_str().unwrap();
    for line in [
        r#"openmic_named_requests_total{result="replayed"} 2"#,
        r#"openmic_named_requests_total{result="mismatch"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_repeat_waits_for_the_first_that_still_runs() {
    let (rig, mut arrived, open) = behind_a_turnstile().await;
    let call = rig.established("19:meeting_runs@thread.v2").await;
    post(&rig, &path(&call, "mute"), &json!({}), &[]).await;
    let unmute = path(&call, "unmute");
    let (body, key) = (json!({}), [("Idempotency-Key", "k")]);
    let first = post(&rig, &unmute, &body, &key);
    let rest = async {
        arrived.wait_for(|count| *count == 1).await.unwrap();
        let again = post(&rig, &unmute, &body, &key);
        let mismatch = async {
            let other = json!({"clientContext": "x"});
            let answer = post(&rig, &unmute, &other, &key).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
            let joined = r#"openmic_named_requests_total{result="joined"} 1"#;
            let metrics = format!("{}/metrics", rig.admin);
            while !read(rig.http.get(&metrics))
                .await
                .body
                .to_string()
                .contains(&joined.replace('"', "\\\""))
            {}
            open.send(true).unwrap();
        };
        tokio::join!(again, mismatch).0
    };
    let (first, again) = tokio::join!(first, rest);
    assert_eq!(first.body["status"], "completed", "{first:?}");
    is_the_first(&again, &first);
    assert_eq!(*arrived.borrow(), 1, "upstream saw one POST");
}

#[tokio::test]
async fn a_client_that_went_away_gets_its_answer_when_it_comes_again() {
    let (rig, mut arrived, open) = behind_a_turnstile().await;
    let call = rig.established("19:meeting_away@thread.v2").await;
    post(&rig, &path(&call, "mute"), &json!({}), &[]).await;
    let unmute = path(&call, "unmute");
    let url = Url::parse(&rig.base).unwrap();
    let mut client = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap()))
        .await
        .unwrap();
    let body = json!({"clientContext": "away"});
    let text = body.to_string();
    let head = format!(
        "POST {unmute} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         client-request-id: gone-1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{text}",
        url.authority(),
        rig.token,
        text.len()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    arrived.wait_for(|count| *count == 1).await.unwrap();
    drop(client);
    let headers = [("client-request-id", "gone-1"), ("Retry-Attempt", "1")];
    let again = async { post(&rig, &unmute, &body, &headers).await };
    let (again, ()) = tokio::join!(again, async { open.send(true).unwrap() });
    assert_eq!(again.header("idempotent-replay"), "true", "{again:?}");
    assert_eq!(again.body["status"], "completed");
    assert_eq!(again.body["clientContext"], "away");
    assert_eq!(*arrived.borrow(), 1, "upstream saw one POST");
    assert_eq!(call.state().phase, Phase::Unmuted);
}

#[tokio::test]
async fn a_create_that_comes_again_makes_one_call() {
    let rig = Rig::start().await;
    let calls = "/v1.0/communications/calls";
    let body = meeting("19:meeting_twice@thread.v2");
    let key = ("Idempotency-Key", "create-1");
    let first = post(&rig, calls, &body, &[key]).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    is_the_first(&post(&rig, calls, &body, &[key]).await, &first);
    assert_eq!(rig.engine.calls().len(), 1);
    // A refusal is an answer too; it has the ids of the request that it answers.
    let bad = json!({"clientContext": 7});
    let key = ("Idempotency-Key", "bad-1");
    let refused = post(&rig, calls, &bad, &[key]).await;
    let again = post(&rig, calls, &bad, &[key]).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(again.header("idempotent-replay"), "true");
    let words = |answer: &Answer| answer.body["error"]["message"].clone();
    assert_eq!(words(&again), words(&refused));
    let inner = &again.body["error"]["innerError"];
    assert_eq!(inner["request-id"], again.header("request-id"));
}

#[tokio::test]
async fn an_answer_that_says_come_again_is_not_the_first_answer() {
    let mut plan = Plan::default();
    plan.local.limits.calls = 1;
    let rig = Rig::with(plan).await;
    let call = rig.established("19:meeting_full@thread.v2").await;
    let calls = "/v1.0/communications/calls";
    let body = meeting("19:meeting_later@thread.v2");
    let key = ("Idempotency-Key", "later-1");
    let full = post(&rig, calls, &body, &[key]).await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS, "{full:?}");
    call.hang_up().await;
    let created = post(&rig, calls, &body, &[key]).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    assert_eq!(created.header("idempotent-replay"), "");
}

#[tokio::test]
async fn the_answer_outlives_its_call() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_over@thread.v2").await;
    let mute = path(&call, "mute");
    let key = ("Idempotency-Key", "over-1");
    let first = post(&rig, &mute, &json!({}), &[key]).await;
    assert_eq!(first.status, StatusCode::OK);
    call.hang_up().await;
    is_the_first(&post(&rig, &mute, &json!({}), &[key]).await, &first);
    let new = post(&rig, &mute, &json!({}), &[("Idempotency-Key", "over-2")]).await;
    assert_eq!(new.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_is_the_callers_own() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_whose@thread.v2").await;
    let mute = path(&call, "mute");
    let key = ("Idempotency-Key", "mine");
    let first = post(&rig, &mute, &json!({}), &[key]).await;
    assert_eq!(first.status, StatusCode::OK);
    let other = rig.other_app().await;
    let request = rig
        .http
        .post(format!("{}{mute}", rig.base))
        .bearer_auth(other);
    let foreign = read(request.header(key.0, key.1).json(&json!({}))).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{foreign:?}");
    assert_eq!(foreign.header("idempotent-replay"), "");

    for bad in ["", "k".repeat(129).as_str()] {
        let answer = post(&rig, &mute, &json!({}), &[("Idempotency-Key", bad)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        assert_eq!(answer.code(), "invalidRequest");
    }
    // Where nothing is repeated the header means nothing.
    let list = rig
        .request(Method::GET, "/v1/calls")
        .header("Idempotency-Key", "");
    assert_eq!(read(list).await.status, StatusCode::OK);
}
