use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use prometheus::{Encoder as _, Registry, TextEncoder};
use serde_json::Value;
use tower::ServiceExt as _;

use super::attended;
use crate::answer::Refusal;
use crate::metrics::EdgeMetrics;

async fn breaks() -> Response {
    panic!("a test asked for it");
}

async fn refuses() -> Refusal {
    Refusal::unavailable("Busy.", std::time::Duration::from_millis(1500))
}

async fn ask(metrics: &EdgeMetrics, path: &str, client: &str) -> (StatusCode, HeaderMap, Value) {
    let router = Router::new()
        .route("/breaks", get(breaks))
        .route("/refuses", get(refuses));
    let request = Request::get(path)
        .header("client-request-id", client)
        .body(Body::empty())
        .unwrap();
    let response = attended(router, metrics).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (parts.status, parts.headers, body)
}

#[tokio::test]
async fn a_panic_is_a_500_in_the_envelope() {
    let metrics = EdgeMetrics::new();
    let (status, headers, body) = ask(&metrics, "/breaks", "mine-1").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body["error"]["code"], "generalException");
    let inner = &body["error"]["innerError"];
    assert_eq!(inner["request-id"], headers["request-id"].to_str().unwrap());
    assert_eq!(inner["client-request-id"], "mine-1");
    assert_eq!(headers["client-request-id"], "mine-1");
}

#[tokio::test]
async fn a_wait_is_rounded_up_to_seconds() {
    let (status, headers, _) = ask(&EdgeMetrics::new(), "/refuses", "a").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers["retry-after"], "2");
}

#[tokio::test]
async fn a_long_client_id_is_replaced_by_ours() {
    let (_, headers, _) = ask(&EdgeMetrics::new(), "/refuses", &"a".repeat(129)).await;
    assert_eq!(headers["client-request-id"], headers["request-id"]);
}

#[tokio::test]
async fn unknown_paths_and_methods_make_no_series_of_their_own() {
    let metrics = EdgeMetrics::new();
    ask(&metrics, "/no/such/path", "a").await;
    ask(&metrics, "/breaks", "a").await;
    let registry = Registry::new();
    metrics.register(&registry).unwrap();
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&registry.gather(), &mut text)
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    for line in [
        r#"openmic_http_requests_total{method="GET",route="unmatched",status_class="4xx"} 1"#,
        r#"openmic_http_requests_total{method="GET",route="/breaks",status_class="5xx"} 1"#,
        r#"openmic_http_request_seconds_count{route="/breaks"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("/no/such/path"));
    let purge = http::Method::from_bytes(b"PURGE").unwrap();
    assert_eq!(super::method_label(&purge), "other");
}
