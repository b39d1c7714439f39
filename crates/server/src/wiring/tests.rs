mod dashboard;
mod tls;

use futures_util::StreamExt as _;
use openmic_engine::Phase;
use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};
use openmic_model::CallId;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::*;

/// Everything on free ports. The bots here have no webhook, and nobody waits for it at the end.
fn plan() -> Plan {
    let mut plan = on_free_ports().unwrap();
    if let Some(relay) = &mut plan.relay {
        relay.drain = Duration::ZERO;
    }
    plan
}

async fn stack() -> Stack {
    Stack::start(plan()).await.unwrap()
}

/// A client as the banner tells people to set one up.
fn client(addresses: &Addresses) -> reqwest::Client {
    let mut client = reqwest::Client::builder();
    if let Some(path) = &addresses.ca_file {
        let pem = std::fs::read(path).unwrap();
        client = client.tls_certs_only(reqwest::Certificate::from_pem(&pem));
    }
    client.build().unwrap()
}

async fn token(addresses: &Addresses) -> String {
    let url = format!(
        "{}/{DEV_TENANT}/oauth2/v2.0/token",
        addresses.local.as_ref().unwrap()
    );
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", DEV_APP),
        ("client_secret", DEV_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer = client(addresses)
        .post(url)
        .form(&form)
        .send()
        .await
        .unwrap();
    let body: Value = answer.error_for_status().unwrap().json().await.unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

/// A call through the surface, established and seen by the engine.
async fn call(stack: &Stack, token: &str) -> String {
    let addresses = stack.addresses();
    let http = client(&addresses);
    let public = addresses.public.unwrap();
    let body = json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": "http://127.0.0.1:9/",
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {
            "@odata.type": "#microsoft.graph.chatInfo",
            "threadId": "19:meeting_wiring@thread.v2",
            "messageId": "0"
        },
        "meetingInfo": {
            "@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {
                "@odata.type": "#microsoft.graph.identitySet",
                "user": {
                    "@odata.type": "#microsoft.graph.identity",
                    "id": "33333333-3333-4333-8333-333333333333",
                    "tenantId": DEV_TENANT
                }
            }
        },
        "tenantId": DEV_TENANT
    });
    let url = format!("{public}/v1.0/communications/calls");
    let answer = http.post(url).bearer_auth(token).json(&body).send().await;
    let answer = answer.unwrap();
    let status = answer.status();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&public), "{location}");
    let text = answer.text().await.unwrap();
    assert_eq!(status, 201, "{text}");
    let call: Value = serde_json::from_str(&text).unwrap();
    let context = call["@odata.context"].as_str().unwrap();
    assert!(context.starts_with(&public), "{context}");
    let id = call["id"].as_str().unwrap();
    let call = stack.engine().call(&CallId::parse(id).unwrap()).unwrap();
    let status = call.until(|status| status.own_entry_seen).await;
    assert_eq!(status.phase, Phase::Unmuted);
    id.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmute_goes_the_whole_way_and_a_drain_hangs_up() {
    let stack = stack().await;
    let public = stack.addresses().public.unwrap();
    let token = token(&stack.addresses()).await;
    let call = call(&stack, &token).await;
    let http = reqwest::Client::new();
    for action in ["mute", "unmute"] {
        let url = format!("{public}/v1.0/communications/calls/{call}/{action}");
        let context = json!({"clientContext": action});
        let answer = http
            .post(url)
            .bearer_auth(&token)
            .json(&context)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let body = answer.text().await.unwrap();
        assert_eq!(status, 200, "{body}");
        let operation: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(operation["status"], "completed", "{body}");
        assert_eq!(operation["clientContext"], action, "{body}");
    }
    assert_eq!(stack.engine().calls().len(), 1);
    let drained = stack.drain().await;
    assert_eq!(
        drained,
        Drained {
            calls_left: 0,
            connections_cut: 0
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stacks_run_side_by_side() {
    let (one, two) = (stack().await, stack().await);
    assert_ne!(one.addresses().public, two.addresses().public);
    assert_ne!(
        one.local().unwrap().base_url(),
        two.local().unwrap().base_url()
    );
    one.drain().await;
    two.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plan = plan();
    plan.admin = taken.local_addr().unwrap();
    let error = format!("{:#}", Stack::start(plan).await.unwrap_err());
    assert!(
        error.contains("listen.admin") && error.contains("choose a free address"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_is_told_that_the_call_ended_with_the_engine() {
    let stack = stack().await;
    let token = token(&stack.addresses()).await;
    let call = call(&stack, &token).await;
    let public = stack.addresses().public.unwrap().replace("http", "ws");
    let url = format!("{public}/v1/calls/{call}/roster");
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    // The roster may not be there yet; the call's state is told first then.
    loop {
        let frame = socket.next().await.unwrap().unwrap().into_text().unwrap();
        assert!(!frame.contains("\"type\":\"delta\""), "{frame}");
        if frame.contains("\"type\":\"snapshot\"") {
            break;
        }
    }

    let drained = tokio::spawn(stack.drain());
    let mut frames = Vec::new();
    let close = loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => frames.push(text.to_string()),
            Message::Close(frame) => break frame.unwrap(),
            _ => {}
        }
    };
    // Reading on answers the close; else the fan-out waits for it.
    while let Some(Ok(_)) = socket.next().await {}
    assert_eq!(u16::from(close.code), openmic_hub::CALL_ENDED, "{frames:?}");
    assert!(frames.last().unwrap().contains("terminated"), "{frames:?}");
    drained.await.unwrap();
}
