use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use openmic_hub::HubConfig;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{Plan, Rig, read};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn handshake(rig: &Rig, path: &str, token: Option<&str>) -> Request<()> {
    let url = format!("{}{path}", rig.base.replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        request.headers_mut().insert("authorization", value);
    }
    request
}

pub(crate) async fn watch(rig: &Rig, path: &str) -> Socket {
    let request = handshake(rig, path, Some(&rig.token));
    connect_async(request).await.unwrap().0
}

/// The status and code a handshake is refused with.
async fn refused(request: Request<()>) -> (u16, String) {
    match connect_async(request).await {
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body: Value = serde_json::from_slice(body).unwrap();
            let code = body["error"]["code"].as_str().unwrap().to_owned();
            (response.status().as_u16(), code)
        }
        other => panic!("{other:?}"),
    }
}

/// The next frame of this type.
pub(crate) async fn frame(socket: &mut Socket, kind: &str) -> Value {
    let next = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] == kind {
                        return frame;
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_watcher_sees_the_roster_and_each_change_of_it() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_watch@thread.v2").await;
    let path = format!("/v1/calls/{}/roster", call.id());
    let document = rig.get(&path).await.body;
    let mut socket = watch(&rig, &path).await;
    let snapshot = frame(&mut socket, "snapshot").await;
    assert_eq!(
        snapshot, document,
        "the document and the frame are one shape"
    );

    let mute = format!("/v1.0/communications/calls/{}/mute", call.id());
    let muted = rig.post(&mute, json!({"clientContext": "watched"})).await;
    assert_eq!(muted.body["status"], "completed");
    let delta = frame(&mut socket, "delta").await;
    assert_eq!(delta["epoch"], snapshot["epoch"]);
    assert_eq!(delta["seq"], snapshot["seq"].as_u64().unwrap() + 1);
    assert_eq!(delta["changed"][0]["isMuted"], true);

    let mut late = watch(&rig, &path).await;
    assert_eq!(frame(&mut late, "snapshot").await["seq"], delta["seq"]);
    let since = format!("{path}?since={}:{}", snapshot["epoch"], snapshot["seq"]);
    let mut resumed = watch(&rig, &since).await;
    assert_eq!(frame(&mut resumed, "delta").await, delta);

    let unmute = format!("/v1.0/communications/calls/{}/unmute", call.id());
    let unmuted = rig.post(&unmute, json!({"clientContext": "seen"})).await;
    for socket in [&mut socket, &mut late, &mut resumed] {
        let operation = loop {
            let operation = frame(socket, "operation").await;
            if operation["action"] == "unmute" {
                break operation;
            }
        };
        assert_eq!(operation["id"], unmuted.body["id"]);
        assert_eq!(operation["clientContext"], "seen");
        assert_eq!(operation["verdict"], "confirmed");
    }
    socket.send(Message::Ping("p".into())).await.unwrap();
    let pong = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Message::Pong(payload) = socket.next().await.unwrap().unwrap() {
                return payload;
            }
        }
    });
    assert_eq!(pong.await.unwrap(), "p");
    assert_eq!(rig.engine.hub().subscribers(), 3);
}

#[tokio::test]
async fn a_refused_handshake_is_an_http_answer() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_no@thread.v2").await;
    let path = format!("/v1/calls/{}/roster", call.id());
    let token = Some(rig.token.as_str());
    let other = rig.other_app().await;
    let unauthenticated = (401, "InvalidAuthenticationToken".to_owned());
    assert_eq!(refused(handshake(&rig, &path, None)).await, unauthenticated);
    let bad = handshake(&rig, &path, Some("rubbish"));
    assert_eq!(refused(bad).await, unauthenticated);
    let missing = (404, "8522".to_owned());
    let foreign = handshake(&rig, &path, Some(&other));
    assert_eq!(refused(foreign).await, missing);
    let unknown = handshake(&rig, "/v1/calls/none/roster", token);
    assert_eq!(refused(unknown).await, missing);
    let since = handshake(&rig, &format!("{path}?since=now"), token);
    assert_eq!(refused(since).await, (400, "invalidRequest".to_owned()));
    let mut page = handshake(&rig, &path, token);
    let evil = HeaderValue::from_static("https://evil.example");
    page.headers_mut().insert("origin", evil);
    assert_eq!(refused(page).await, (403, "accessDenied".to_owned()));

    let mut page = handshake(&rig, &path, token);
    let local = HeaderValue::from_static("http://localhost:3000");
    page.headers_mut().insert("origin", local);
    assert!(connect_async(page).await.is_ok());

    // A handshake of another version; no stock client sends one.
    let mut old = rig.request(reqwest::Method::GET, &path);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        let name = HeaderName::from_static(name);
        old = old.header(name, value);
    }
    let answer = read(old).await;
    assert_eq!(answer.status, StatusCode::UPGRADE_REQUIRED);
    assert_eq!(answer.header("sec-websocket-version"), "13");

    call.hang_up().await;
    let over = handshake(&rig, &path, token);
    assert_eq!(refused(over).await, missing);
}

#[tokio::test]
async fn a_full_call_says_so_before_the_handshake() {
    let rig = Rig::with(Plan {
        hub: HubConfig {
            shards: 1,
            max_subscribers_per_call: 1,
            ..HubConfig::default()
        },
        ..Plan::default()
    })
    .await;
    let call = rig.established("19:meeting_full@thread.v2").await;
    let path = format!("/v1/calls/{}/roster", call.id());
    let mut first = watch(&rig, &path).await;
    frame(&mut first, "snapshot").await;
    let second = handshake(&rig, &path, Some(&rig.token));
    assert_eq!(
        refused(second).await,
        (503, "serviceNotAvailable".to_owned())
    );
    let text = read(rig.http.get(format!("{}/metrics", rig.admin))).await;
    let text = text.body.as_str().unwrap();
    for line in [
        r#"openmic_websocket_upgrades_total{result="attached"} 1"#,
        r#"openmic_websocket_upgrades_total{result="full"} 1"#,
        "openmic_subscribers 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

/// A ticket for the roster at `path`.
async fn ticket(rig: &Rig, path: &str) -> String {
    let answer = rig.post(&format!("{path}/ticket"), json!({})).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.body["expiresIn"], 30);
    let ticket = answer.body["ticket"].as_str().unwrap().to_owned();
    assert_eq!(ticket.len(), 32);
    ticket
}

#[tokio::test]
async fn a_ticket_opens_one_web_socket_in_the_place_of_a_token() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_ticket@thread.v2").await;
    let other = rig.established("19:meeting_ticket2@thread.v2").await;
    let path = format!("/v1/calls/{}/roster", call.id());
    let unauthenticated = (401, "InvalidAuthenticationToken".to_owned());

    let first = ticket(&rig, &path).await;
    let url = format!("{path}?ticket={first}");
    let (mut socket, _) = connect_async(handshake(&rig, &url, None)).await.unwrap();
    let snapshot = frame(&mut socket, "snapshot").await;
    let again = handshake(&rig, &url, None);
    assert_eq!(refused(again).await, unauthenticated, "it is used up");

    // Another call's: refused, and used up by the try.
    let foreign = ticket(&rig, &format!("/v1/calls/{}/roster", other.id())).await;
    for path in [path.clone(), format!("/v1/calls/{}/roster", other.id())] {
        let request = handshake(&rig, &format!("{path}?ticket={foreign}"), None);
        assert_eq!(refused(request).await, unauthenticated, "{path}");
    }
    for bad in ["", "x", "00000000000000000000000000000000", &first[1..]] {
        let request = handshake(&rig, &format!("{path}?ticket={bad}"), None);
        assert_eq!(refused(request).await, unauthenticated, "{bad}");
    }

    // It goes with `since`, from a page of this machine, and for nothing but a WebSocket.
    let second = ticket(&rig, &path).await;
    let document = read(rig.http.get(format!("{}{path}?ticket={second}", rig.base))).await;
    assert_eq!(document.status, StatusCode::UNAUTHORIZED);
    let mute = format!(
        "/v1.0/communications/calls/{}/mute?ticket={second}",
        call.id()
    );
    let post = read(rig.http.post(format!("{}{mute}", rig.base))).await;
    assert_eq!(post.status, StatusCode::UNAUTHORIZED);
    let resume = format!(
        "{path}?since={}:{}&ticket={second}",
        snapshot["epoch"], snapshot["seq"]
    );
    let mut page = handshake(&rig, &resume, None);
    let local = HeaderValue::from_static("http://localhost:3000");
    page.headers_mut().insert("origin", local);
    assert!(connect_async(page).await.is_ok());

    // A foreign page does not get in by it either; a token beside it is what counts.
    let third = ticket(&rig, &path).await;
    let url = format!("{path}?ticket={third}");
    let beside = handshake(&rig, &url, Some("rubbish"));
    assert_eq!(refused(beside).await, unauthenticated);
    let mut page = handshake(&rig, &url, None);
    let evil = HeaderValue::from_static("https://evil.example");
    page.headers_mut().insert("origin", evil);
    assert_eq!(refused(page).await, (403, "accessDenied".to_owned()));

    // A stranger gets none.
    let request = rig.http.post(format!("{}{path}/ticket", rig.base));
    let none = read(request.bearer_auth(rig.other_app().await)).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    let text = read(rig.http.get(format!("{}/metrics", rig.admin))).await;
    let text = text.body.as_str().unwrap();
    let line = r#"openmic_requests_rejected_total{reason="ticket"} 7"#;
    assert!(text.contains(line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn one_caller_has_so_many_web_sockets_and_no_more() {
    let mut plan = Plan::default();
    plan.config.limits.websockets = 2;
    let rig = Rig::with(plan).await;
    let one = rig.established("19:meeting_quota@thread.v2").await;
    let two = rig.established("19:meeting_quota2@thread.v2").await;
    let path = |call: &openmic_engine::Call| format!("/v1/calls/{}/roster", call.id());
    let mut first = watch(&rig, &path(&one)).await;
    frame(&mut first, "snapshot").await;
    let mut second = watch(&rig, &path(&two)).await;
    frame(&mut second, "snapshot").await;
    let third = || handshake(&rig, &path(&two), Some(&rig.token));
    assert_eq!(
        refused(third()).await,
        (503, "serviceNotAvailable".to_owned())
    );
    first.close(None).await.unwrap();
    let gone = async {
        while rig.engine.hub().subscribers() == 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
    assert!(connect_async(third()).await.is_ok());
    let text = read(rig.http.get(format!("{}/metrics", rig.admin))).await;
    let text = text.body.as_str().unwrap();
    let line = r#"openmic_requests_rejected_total{reason="websockets"} 1"#;
    assert!(text.contains(line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let mut plan = Plan::default();
    plan.config.limits.requests_per_second = 1;
    let rig = Rig::with(plan).await;
    let mut refusals = 0;
    for _ in 0..20 {
        let answer = rig.get("/v1/calls").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.code(), "TooManyRequests");
            assert_eq!(answer.header("retry-after"), "1");
            refusals += 1;
        } else {
            assert_eq!(answer.status, StatusCode::OK);
        }
    }
    assert!(refusals >= 10, "{refusals}");
    // Another caller has a rate of its own.
    let list = rig.http.get(format!("{}/v1/calls", rig.base));
    let other = read(list.bearer_auth(rig.other_app().await)).await;
    assert_eq!(other.status, StatusCode::OK);
    let text = read(rig.http.get(format!("{}/metrics", rig.admin))).await;
    let text = text.body.as_str().unwrap();
    let line = format!(r#"openmic_requests_rejected_total{{reason="rate"}} {refusals}"#);
    assert!(text.contains(&line), "{line} is not in\n{text}");
}
