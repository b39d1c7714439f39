use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Plan, Rig, head_only, meeting, one_to_one, read};

#[tokio::test]
async fn every_bad_request_has_its_status_and_code() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_rows@thread.v2").await;
    let own = format!("/v1.0/communications/calls/{}", call.id());
    let calls = "/v1.0/communications/calls";
    let unknown = "/v1.0/communications/calls/0c1f5e00-0000-4000-8000-000000000009";
    let long = json!({"clientContext": "x".repeat(257)}).to_string();
    let fits = json!({"clientContext": "\u{1f600}".repeat(128)}).to_string();
    let huge = json!({"clientContext": "x".repeat(300 * 1024)}).to_string();
    let mut odd_callback = meeting("t");
    odd_callback["callbackUri"] = json!("/relative");
    let odd_callback = odd_callback.to_string();
    let json_type = "application/json";
    let utf8 = "Application/JSON; charset=utf-8";
    let rows: &[(Method, String, &str, &str, u16, &str)] = &[
        (Method::POST, format!("{own}/unmute"), utf8, "{}", 200, ""),
        (
            Method::POST,
            format!("{own}/unmute"),
            json_type,
            &fits,
            200,
            "",
        ),
        (Method::POST, format!("{own}/unmute"), "", "", 200, ""),
        (
            Method::POST,
            format!("{own}/unmute"),
            json_type,
            &long,
            400,
            "8523",
        ),
        (
            Method::POST,
            format!("{own}/unmute"),
            json_type,
            r#"{"clientContext": 7}"#,
            400,
            "8523",
        ),
        (
            Method::POST,
            format!("{own}/unmute"),
            json_type,
            "{",
            400,
            "invalidRequest",
        ),
        (
            Method::POST,
            format!("{own}/unmute"),
            json_type,
            "[]",
            400,
            "invalidRequest",
        ),
        (
            Method::POST,
            format!("{own}/unmute"),
            "text/plain",
            "{}",
            415,
            "notSupported",
        ),
        (
            Method::POST,
            format!("{own}/unmute"),
            "",
            "{}",
            415,
            "notSupported",
        ),
        (
            Method::POST,
            format!("{own}/unmute"),
            json_type,
            &huge,
            413,
            "invalidRequest",
        ),
        (
            Method::POST,
            format!("{unknown}/unmute"),
            json_type,
            "{}",
            404,
            "8522",
        ),
        (
            Method::POST,
            format!("{unknown}/unmute"),
            json_type,
            "{",
            404,
            "8522",
        ),
        (
            Method::POST,
            format!("{calls}/a%2Fb/unmute"),
            json_type,
            "{}",
            404,
            "8522",
        ),
        (
            Method::POST,
            format!("{calls}/%FF/unmute"),
            json_type,
            "{}",
            400,
            "invalidRequest",
        ),
        (
            Method::GET,
            format!("{own}/operations/nope"),
            "",
            "",
            404,
            "8522",
        ),
        (
            Method::GET,
            format!("{own}/participants/a%20b"),
            "",
            "",
            404,
            "8522",
        ),
        (
            Method::POST,
            calls.to_owned(),
            json_type,
            "{",
            400,
            "invalidRequest",
        ),
        (
            Method::POST,
            calls.to_owned(),
            json_type,
            "{}",
            400,
            "invalidRequest",
        ),
        (
            Method::POST,
            calls.to_owned(),
            json_type,
            &odd_callback,
            400,
            "invalidRequest",
        ),
        (Method::GET, calls.to_owned(), "", "", 405, "notAllowed"),
        (
            Method::PATCH,
            own.clone(),
            json_type,
            "{}",
            405,
            "notAllowed",
        ),
        (
            Method::POST,
            format!("{own}/answer"),
            json_type,
            "{}",
            400,
            "8585",
        ),
        (
            Method::POST,
            format!("{own}/unheardOf"),
            json_type,
            "{}",
            404,
            "itemNotFound",
        ),
        (
            Method::GET,
            "/v1.0/me".to_owned(),
            "",
            "",
            404,
            "itemNotFound",
        ),
        (
            Method::GET,
            "/v1/calls/none".to_owned(),
            "",
            "",
            404,
            "8522",
        ),
        (
            Method::GET,
            "/v1/calls/none/roster".to_owned(),
            "",
            "",
            404,
            "8522",
        ),
    ];
    for (method, path, kind, body, status, code) in rows {
        let mut request = rig
            .request(method.clone(), path)
            .header("client-request-id", "c-1")
            .body((*body).to_owned());
        if !kind.is_empty() {
            request = request.header("content-type", *kind);
        }
        let answer = read(request).await;
        let row = format!("{method} {path} {kind} {body:.40}: {answer:?}");
        assert_eq!(answer.status.as_u16(), *status, "{row}");
        assert_eq!(answer.code(), *code, "{row}");
        assert_eq!(answer.header("client-request-id"), "c-1", "{row}");
        assert!(!answer.header("request-id").is_empty(), "{row}");
        if *status >= 400 {
            let inner = &answer.body["error"]["innerError"];
            assert_eq!(inner["request-id"], answer.header("request-id"), "{row}");
            assert_eq!(inner["client-request-id"], "c-1", "{row}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.len() > 15, "{row}");
        }
    }
    let allow = read(rig.request(Method::PUT, &own)).await;
    assert_eq!(allow.header("allow"), "GET,HEAD,DELETE");
}

#[tokio::test]
async fn a_token_is_asked_for_in_graphs_words() {
    let rig = Rig::start().await;
    let url = format!("{}/v1.0/communications/calls/x/unmute", rig.base);
    let cut = &rig.token[..rig.token.len() - 4];
    let forged = format!("{cut}AAAA");
    for (header, challenge) in [
        (None, "Bearer"),
        (Some("Basic YTpi".to_owned()), "Bearer"),
        (
            Some("Bearer rubbish".to_owned()),
            r#"Bearer error="invalid_token""#,
        ),
        (
            Some(format!("Bearer {forged}")),
            r#"Bearer error="invalid_token""#,
        ),
    ] {
        let mut request = rig.http.post(&url).body("{}");
        if let Some(header) = &header {
            request = request.header("authorization", header);
        }
        let answer = read(request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{header:?}");
        assert_eq!(answer.code(), "InvalidAuthenticationToken");
        assert_eq!(answer.header("www-authenticate"), challenge, "{header:?}");
        assert!(!answer.body.to_string().contains(cut), "the token is shown");
        // Also when the body never comes.
        let head = head_only(&url, header.as_deref()).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    }
}

#[tokio::test]
async fn a_call_to_one_other_side_has_no_server_mute() {
    let rig = Rig::start().await;
    let created = rig.post("/v1.0/communications/calls", one_to_one()).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let id = created.body["id"].as_str().unwrap();
    let call = rig.engine.call(&id.parse().unwrap()).unwrap();
    call.until(|status| status.graph == Some(openmic_model::CallState::Established))
        .await;
    for action in ["mute", "unmute"] {
        let path = format!("/v1.0/communications/calls/{id}/{action}");
        let answer = rig.post(&path, json!({})).await;
        let seen = (answer.status, answer.code());
        assert_eq!(seen, (StatusCode::BAD_REQUEST, "8548"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_unmute_before_the_call_is_up_is_8501() {
    let mut plan = Plan::default();
    plan.local.timing.establish = Duration::from_hours(1);
    let rig = Rig::with(plan).await;
    let created = rig
        .post(
            "/v1.0/communications/calls",
            meeting("19:meeting_early@thread.v2"),
        )
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let id = created.body["id"].as_str().unwrap();
    let path = format!("/v1.0/communications/calls/{id}/unmute");
    let answer = rig.post(&path, json!({})).await;
    let seen = (answer.status, answer.code());
    assert_eq!(seen, (StatusCode::BAD_REQUEST, "8501"), "{answer:?}");
}

#[tokio::test]
async fn a_draining_engine_says_when_to_come_again() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_drain@thread.v2").await;
    assert_eq!(rig.engine.drain(Duration::from_secs(10)).await, 0);
    let created = rig
        .post(
            "/v1.0/communications/calls",
            meeting("19:meeting_drain@thread.v2"),
        )
        .await;
    assert_eq!(created.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!created.header("retry-after").is_empty());
    let path = format!("/v1.0/communications/calls/{}/unmute", call.id());
    let answer = rig.post(&path, json!({})).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.header("retry-after").is_empty());
}
