use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Rig, read};

#[tokio::test]
async fn metrics_are_rendered_for_scrapers() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_metrics@thread.v2").await;
    let unknown = format!("/v1.0/communications/calls/{}/nothing", call.id());
    assert_eq!(rig.get(&unknown).await.status, StatusCode::NOT_FOUND);
    let answer = read(rig.http.get(format!("{}/metrics", rig.admin))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), prometheus::TEXT_FORMAT);
    let text = answer.body.as_str().unwrap();
    for line in [
        r#"openmic_http_requests_total{method="POST",route="/v1.0/communications/calls",status_class="2xx"} 1"#,
        r#"openmic_http_requests_total{method="GET",route="unmatched",status_class="4xx"} 1"#,
        r#"openmic_http_request_seconds_count{route="/callbacks/{key}"}"#,
        "openmic_webhook_ack_seconds_count",
        r#"openmic_webhooks_rejected_total{reason="bad_token"} 0"#,
        r#"openmic_websocket_upgrades_total{result="attached"} 0"#,
        "openmic_subscribers 0",
        "openmic_token_validations_total",
        "openmic_notifications_total",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(call.id().as_str()), "an id is a label");
}

#[tokio::test]
async fn readiness_gives_its_reasons() {
    let rig = Rig::start().await;
    let url = format!("{}/readyz", rig.admin);
    let ready = read(rig.http.get(&url)).await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.body, json!({"ready": true, "reasons": []}));
    rig.readiness
        .block("draining", "The process is going down.");
    rig.readiness.block("signing_keys", "No keys yet.");
    let blocked = read(rig.http.get(&url)).await;
    assert_eq!(blocked.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        blocked.body,
        json!({"ready": false, "reasons": [
            {"part": "draining", "reason": "The process is going down."},
            {"part": "signing_keys", "reason": "No keys yet."},
        ]})
    );
    let live = read(rig.http.get(format!("{}/livez", rig.admin))).await;
    assert_eq!(live.status, StatusCode::OK);
    rig.readiness.clear("draining");
    assert!(!rig.readiness.is_ready());
    rig.readiness.clear("signing_keys");
    assert_eq!(read(rig.http.get(&url)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_admin_listener_has_nothing_else() {
    let rig = Rig::start().await;
    let none = read(rig.http.get(format!("{}/v1/calls", rig.admin))).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert_eq!(none.code(), "itemNotFound");
    let post = read(rig.http.post(format!("{}/metrics", rig.admin))).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(post.header("allow"), "GET,HEAD");
}
