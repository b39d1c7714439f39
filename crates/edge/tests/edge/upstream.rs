//! What upstream refuses, and what the bot then sees: a proxy in front of the local service
//! answers each unmute by itself.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use openmic_listen::{Limits, Listener, Running};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Answer, Plan, Rig, pass_on};

#[derive(Clone)]
struct Proxy {
    to: String,
    http: reqwest::Client,
    status: u16,
    body: String,
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    if request.uri().path().ends_with("/unmute") {
        return Response::builder()
            .status(proxy.status)
            .header("content-type", "application/json")
            .header("retry-after", "1")
            .body(Body::from(proxy.body.clone()))
            .unwrap();
    }
    pass_on(&proxy.http, &proxy.to, request).await
}

fn envelope(code: &str) -> Value {
    json!({"error": {"code": code, "message": "Upstream's words."}})
}

/// Mutes a call, then unmutes it while upstream answers every unmute with this.
async fn unmute_against(status: u16, body: &Value) -> (Rig, Answer) {
    let body = body.to_string();
    let between = move |to: String| -> (Url, Running) {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let url = Url::parse(&format!("http://{}/v1.0", listener.local_addr())).unwrap();
        let http = reqwest::Client::new();
        let proxy = Proxy {
            to,
            http,
            status,
            body,
        };
        let router = Router::new().fallback(forward).with_state(proxy);
        (url, listener.serve(router, Limits::default()))
    };
    let rig = Rig::with(Plan {
        between: Some(Box::new(between)),
        deadline: Duration::from_secs(2),
        ..Plan::default()
    })
    .await;
    let call = rig.established("19:meeting_proxy@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{}", call.id());
    let muted = rig.post(&format!("{path}/mute"), json!({})).await;
    assert_eq!(muted.body["status"], "completed", "{muted:?}");
    let answer = rig
        .post(&format!("{path}/unmute"), json!({"clientContext": "p"}))
        .await;
    (rig, answer)
}

#[tokio::test]
async fn a_refusal_of_graph_passes_on() {
    for (status, code) in [(400, "8548"), (403, "7504"), (405, "8520"), (409, "8519")] {
        let (_rig, answer) = unmute_against(status, &envelope(code)).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert_eq!(answer.code(), code);
        assert_eq!(answer.body["error"]["message"], "Upstream's words.");
    }
}

#[tokio::test]
async fn any_other_refusal_is_a_failed_operation() {
    let (rig, answer) = unmute_against(422, &envelope("8566")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["status"], "failed");
    assert_eq!(answer.body["clientContext"], "p");
    assert_eq!(answer.body["resultInfo"]["code"], 422);
    assert_eq!(answer.body["resultInfo"]["subcode"], 8566);
    let read_back = rig.get(answer.header("location")).await;
    assert_eq!(read_back.body, answer.body);
}

#[tokio::test]
async fn a_throttled_or_broken_upstream_is_never_429_503_or_504() {
    let all = [(429, 429), (503, 503), (500, 504), (504, 504)].map(|(status, code)| async move {
        let (_rig, answer) = unmute_against(status, &envelope("x")).await;
        assert_eq!(answer.status, 200, "{status}: {answer:?}");
        assert_eq!(answer.body["status"], "failed", "{status}: {answer:?}");
        let result = &answer.body["resultInfo"]["code"];
        assert_eq!(*result, code, "{status}: {answer:?}");
        assert!(answer.header("retry-after").is_empty());
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_call_that_upstream_lost_is_gone() {
    let (_rig, answer) = unmute_against(404, &envelope("8522")).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(answer.code(), "8522");
}
