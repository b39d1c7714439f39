use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::HeaderMap;
use openmic_auth::{KeySource, Validator, ValidatorConfig};
use openmic_edge::{EdgeMetrics, callback_routes};
use openmic_engine::Call;
use openmic_listen::{Limits, Listener};
use openmic_model::{CallFacts, CallId, CallState};
use openmic_wire::notification::{ChangeType, Data, Outgoing, encode};
use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;

use crate::harness::{Answer, Rig, head_only, meeting, read};

/// A notification's token as the local service signs it: a bot of our own takes one.
async fn notification_token(rig: &Rig) -> String {
    let (seen, mut tokens) = mpsc::channel::<String>(64);
    let take = |State(seen): State<mpsc::Sender<String>>, headers: HeaderMap| async move {
        let token = headers["authorization"].to_str().unwrap().to_owned();
        drop(seen.try_send(token));
        StatusCode::ACCEPTED
    };
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let mut body = meeting("19:meeting_token@thread.v2");
    body["callbackUri"] = json!(format!("http://{}/", listener.local_addr()));
    let router = Router::new().route("/", post(take)).with_state(seen);
    let _running = listener.serve(router, Limits::default());
    let url = format!("{}/communications/calls", rig.local.graph_url());
    let created = read(rig.http.post(url).bearer_auth(&rig.token).json(&body)).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let token = tokio::time::timeout(Duration::from_secs(10), tokens.recv()).await;
    let token = token.unwrap().unwrap();
    token.strip_prefix("Bearer ").unwrap().to_owned()
}

/// The address that upstream knows for a call's notifications.
async fn callback(rig: &Rig, call: &Call) -> String {
    let url = format!(
        "{}/communications/calls/{}",
        rig.local.graph_url(),
        call.id()
    );
    let upstream = read(rig.http.get(url).bearer_auth(&rig.token)).await;
    upstream.body["callbackUri"].as_str().unwrap().to_owned()
}

/// `count` notifications that the call is established.
fn established(call: &CallId, callback: &str, count: usize) -> Vec<u8> {
    let facts = CallFacts {
        state: Some(CallState::Established),
        ..CallFacts::default()
    };
    let batch: Vec<_> = (0..count)
        .map(|_| Outgoing {
            call,
            callback_uri: callback,
            change: ChangeType::Updated,
            data: Data::Facts(&facts),
        })
        .collect();
    encode(&batch)
}

async fn send(rig: &Rig, url: &str, token: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let mut request = rig
        .http
        .post(url)
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    read(request.body(body)).await
}

#[tokio::test]
async fn a_webhook_is_queued_or_refused_for_its_reason() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_hook@thread.v2").await;
    let url = callback(&rig, &call).await;
    assert!(
        url.starts_with(&format!("{}/callbacks/", rig.base)),
        "{url}"
    );
    let key = url.rsplit('/').next().unwrap();
    assert_eq!(key.len(), 32);
    let token = notification_token(&rig).await;
    let good = Some(token.as_str());
    let one = established(call.id(), &url, 1);

    let taken = send(&rig, &url, good, one.clone()).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");

    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    for bad in [
        None,
        Some("rubbish"),
        Some(forged.as_str()),
        Some(rig.token.as_str()),
    ] {
        let answer = send(&rig, &url, bad, one.clone()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        assert_eq!(answer.code(), "InvalidAuthenticationToken");
    }

    let unknown = url.replace(key, "00000000000000000000000000000000");
    let answer = send(&rig, &unknown, good, one.clone()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(!answer.body.to_string().contains("00000000000000000000"));
    let answer = send(&rig, &unknown, None, one).await;
    assert_eq!(
        answer.status,
        StatusCode::UNAUTHORIZED,
        "the token comes first"
    );

    for (body, status) in [
        (b"{".to_vec(), 400),
        (br#"{"value": 7}"#.to_vec(), 400),
        (br#"{"value": [7]}"#.to_vec(), 400),
        (
            br#"{"id": "c", "participants": [], "callState": "incoming"}"#.to_vec(),
            204,
        ),
        (vec![b' '; 4 * 1024 * 1024 + 1], 413),
    ] {
        let start = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let answer = send(&rig, &url, good, body).await;
        assert_eq!(answer.status.as_u16(), status, "{start}: {answer:?}");
    }

    // A long batch is taken whole: refused, it would come again as it is.
    let long = established(call.id(), &url, 5000);
    let answer = send(&rig, &url, good, long).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");

    let text = read(rig.http.get(format!("{}/metrics", rig.admin))).await;
    let text = text.body.as_str().unwrap();
    for line in [
        r#"openmic_webhooks_rejected_total{reason="no_token"} 2"#,
        r#"openmic_webhooks_rejected_total{reason="bad_token"} 3"#,
        r#"openmic_webhooks_rejected_total{reason="unknown_key"} 1"#,
        r#"openmic_webhooks_rejected_total{reason="unreadable"} 3"#,
        r#"openmic_webhooks_rejected_total{reason="old_format"} 1"#,
        r#"openmic_webhooks_rejected_total{reason="too_large"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(key), "a key is a label");
}

/// What openmic logs, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_key_token_or_secret_is_logged() {
    let log = Log::default();
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || sink.clone())
        .with_env_filter("openmic_edge=trace,openmic_engine=trace,openmic_auth=trace")
        .finish();
    // For the whole process: tracing caches what one thread's subscriber wants for all threads.
    // The other tests write here too, about keys and tokens of their own.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_log@thread.v2").await;
    let url = callback(&rig, &call).await;
    let key = url.rsplit('/').next().unwrap();
    let token = notification_token(&rig).await;
    let one = established(call.id(), &url, 1);
    send(&rig, &url, Some(&token), one).await;
    send(&rig, &url, Some(&token), "{").await;
    send(&rig, &url, Some("not-a-token"), "{").await;
    let path = format!("/v1.0/communications/calls/{}/mute", call.id());
    rig.post(&path, json!({})).await;
    let roster = format!("/v1/calls/{}/roster", call.id());
    let issued = rig.post(&format!("{roster}/ticket"), json!({})).await;
    let ticket = issued.body["ticket"].as_str().unwrap();
    let upgrade = rig
        .http
        .get(format!("{}{roster}?ticket={ticket}", rig.base));
    let upgrade = upgrade.header("connection", "upgrade");
    let refused = read(upgrade.header("upgrade", "websocket")).await;
    assert_eq!(refused.status, StatusCode::UPGRADE_REQUIRED, "{refused:?}");
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    for shown in [
        "webhook queued",
        "POST",
        "/callbacks/{key}",
        call.id().as_str(),
    ] {
        assert!(log.contains(shown), "{shown} is not in\n{log}");
    }
    for hidden in [
        ticket,
        key,
        &token,
        &rig.token,
        "not-a-token",
        "local-dev-secret",
    ] {
        assert!(!log.contains(hidden), "{hidden} is in\n{log}");
    }
}

#[tokio::test]
async fn an_unauthenticated_webhook_is_answered_before_its_body() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_slow@thread.v2").await;
    let url = callback(&rig, &call).await;
    let head = head_only(&url, Some("Bearer rubbish")).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[tokio::test]
async fn without_keys_graph_is_told_to_come_again() {
    let rig = Rig::start().await;
    let nowhere = url::Url::parse("http://127.0.0.1:9/keys").unwrap();
    let mut discovery = openmic_auth::Discovery::new(nowhere);
    discovery.allow_loopback_http = true;
    let auth = openmic_auth::Metrics::new();
    let keys = KeySource::discover(discovery, auth.clone()).unwrap();
    let config = ValidatorConfig::notifications(vec!["i".into()], vec!["a".into()]);
    let validator = Arc::new(Validator::new(config, keys, auth).unwrap());
    let router = callback_routes(rig.engine.clone(), validator, &EdgeMetrics::new());
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let url = format!("http://{}/bot/callbacks/k", listener.local_addr());
    let bots_own = Router::new().nest("/bot", router);
    let _running = listener.serve(bots_own, Limits::default());
    let answer = send(&rig, &url, Some(&rig.token), "{}").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert!(!answer.header("retry-after").is_empty());
}
