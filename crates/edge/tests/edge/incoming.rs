//! Incoming calls over HTTP: the lab rings, a bot that knows only Graph's API takes the call.

use std::time::Duration;

use openmic_engine::{Incoming, Phase, RingEnd};
use openmic_model::CallId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, CALLBACK, Plan, Rig, read};
use crate::watch::{frame, watch};

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.expect("it takes too long")
}

fn service_hosted() -> Value {
    json!({"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"})
}

fn taking() -> Value {
    json!({"callbackUri": CALLBACK, "acceptedModalities": ["audio"],
        "mediaConfig": service_hosted()})
}

/// The lab rings the bot; gives the call's path, its ring at the engine, and the lab's `Location`.
async fn rung(rig: &Rig, mut asked: Value) -> (String, Incoming, String) {
    asked["appId"] = json!(openmic_local::DEV_APP);
    asked["callbackUri"] = json!(rig.engine.incoming_callback());
    let url = format!("{}/lab/v1/calls", rig.local.base_url());
    let ring = read(rig.http.post(url).json(&asked)).await;
    assert_eq!(ring.status, StatusCode::CREATED, "{ring:?}");
    let location = ring.header("location").to_owned();
    let mut stream = rig.engine.incoming();
    let incoming = soon(stream.next()).await.unwrap();
    assert_eq!(incoming.id().as_str(), ring.body["id"]);
    (path(incoming.id()), incoming, location)
}

fn path(id: &CallId) -> String {
    format!("/v1.0/communications/calls/{id}")
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (status, code),
        "{answer:?}"
    );
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.len() > 20, "{message}");
}

#[tokio::test]
async fn a_ring_is_answered_and_is_then_a_call_like_any_other() {
    let rig = Rig::start().await;
    let asked = json!({"threadId": "19:meeting_ring@thread.v2", "displayName": "Ann B"});
    let (path, incoming, _) = rung(&rig, asked).await;

    let rings = rig.get(&path).await;
    assert_eq!(rings.status, StatusCode::OK, "{rings:?}");
    assert_eq!(rings.body["state"], "incoming");
    assert_eq!(rings.body["direction"], "incoming");
    assert_eq!(
        rings.body["source"]["identity"]["user"]["displayName"],
        "Ann B"
    );
    assert_eq!(
        rings.body["callbackUri"],
        Value::Null,
        "ours is never shown"
    );
    let context = rings.body["@odata.context"].as_str().unwrap();
    assert!(context.starts_with(&rig.base), "{context}");
    for (method, tail) in [
        (Method::POST, "/mute"),
        (Method::POST, "/unmute"),
        (Method::POST, "/keepAlive"),
        (Method::GET, "/participants"),
    ] {
        let early = read(rig.request(method, &format!("{path}{tail}"))).await;
        refused(&early, 400, "8501");
    }

    let answered = rig.post(&format!("{path}/answer"), taking()).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{answered:?}");
    assert_eq!(answered.body, Value::Null);
    let call = rig.engine.call(incoming.id()).unwrap();
    assert_eq!(call.named().unwrap().callback_uri, CALLBACK);
    let up = soon(call.until(|status| status.own_entry_seen)).await;
    assert_eq!(up.phase, Phase::Unmuted, "as Graph would start it");

    let got = rig.get(&path).await;
    assert_eq!(got.body["state"], "established");
    assert_eq!(got.body["callbackUri"], CALLBACK);
    let mut socket = watch(&rig, &format!("/v1/calls/{}/roster", incoming.id())).await;
    let snapshot = frame(&mut socket, "snapshot").await;
    assert!(
        !snapshot["roster"].is_null() || !snapshot["participants"].is_null(),
        "{snapshot}"
    );
    for action in ["mute", "unmute"] {
        let context = json!({"clientContext": action});
        let done = rig.post(&format!("{path}/{action}"), context).await;
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
        assert_eq!(done.body["status"], "completed");
    }
    frame(&mut socket, "operation").await;
    let people = rig.get(&format!("{path}/participants")).await;
    assert_eq!(people.body["value"].as_array().unwrap().len(), 2);
    let alive = rig.post(&format!("{path}/keepAlive"), json!({})).await;
    assert_eq!(alive.status, StatusCode::OK);
    for action in ["answer", "reject"] {
        let again = rig.post(&format!("{path}/{action}"), taking()).await;
        refused(&again, 400, "8585");
    }
    assert_eq!(rig.delete(&path).await.status, StatusCode::NO_CONTENT);
    soon(call.until(|_| false)).await;
    for action in ["answer", "reject"] {
        let late = rig.post(&format!("{path}/{action}"), taking()).await;
        refused(&late, 404, "8522");
    }
}

#[tokio::test]
async fn a_one_to_one_call_is_answered_and_refuses_mute_as_graph_does() {
    let rig = Rig::start().await;
    let (path, incoming, location) = rung(&rig, json!({})).await;
    let answered = rig.post(&format!("{path}/answer"), taking()).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{answered:?}");
    let call = rig.engine.call(incoming.id()).unwrap();
    let up = soon(call.until(|status| status.phase == Phase::Unmuted)).await;
    assert_eq!(up.phase, Phase::Unmuted);
    refused(
        &rig.post(&format!("{path}/mute"), json!({})).await,
        400,
        "8548",
    );
    // The caller hangs up, and the bot's call is over.
    let gone = rig.http.delete(location).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    soon(call.until(|_| false)).await;
    refused(&rig.get(&path).await, 404, "8522");
}

#[tokio::test]
async fn a_ring_is_rejected_by_reject_and_by_hanging_up() {
    let rig = Rig::start().await;
    let (path, incoming, location) = rung(&rig, json!({})).await;
    let end = "https://bot.example/end";
    let body = json!({"reason": "busy", "callbackUri": end});
    let rejected = rig.post(&format!("{path}/reject"), body).await;
    assert_eq!(rejected.status, StatusCode::ACCEPTED, "{rejected:?}");
    assert_eq!(soon(incoming.over()).await, RingEnd::Rejected);
    assert_eq!(incoming.named().unwrap().callback_uri, end);
    refused(&rig.get(&path).await, 404, "8522");
    refused(
        &rig.post(&format!("{path}/answer"), taking()).await,
        404,
        "8522",
    );
    let gone = async {
        while rig.http.get(&location).send().await.unwrap().status() != StatusCode::NOT_FOUND {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;

    let (path, incoming, _) = rung(&rig, json!({"kind": "group"})).await;
    assert_eq!(rig.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(soon(incoming.over()).await, RingEnd::Rejected);
}

#[tokio::test]
async fn a_ring_nobody_takes_and_one_that_is_given_up_are_gone() {
    let mut plan = Plan::default();
    plan.local.timing.ring = Duration::from_millis(50);
    let rig = Rig::with(plan).await;
    let (path, incoming, _) = rung(&rig, json!({})).await;
    let end = soon(incoming.over()).await;
    let RingEnd::GaveUp(Some(result)) = end else {
        panic!("{end:?}");
    };
    assert_eq!((result.code, result.subcode), (408, 1106));
    refused(
        &rig.post(&format!("{path}/answer"), taking()).await,
        404,
        "8522",
    );

    let rig = Rig::start().await;
    let (path, incoming, location) = rung(&rig, json!({})).await;
    rig.http.delete(location).send().await.unwrap();
    let end = soon(incoming.over()).await;
    assert!(
        matches!(&end, RingEnd::GaveUp(Some(why)) if why.subcode == 4521),
        "{end:?}"
    );
    refused(
        &rig.post(&format!("{path}/answer"), taking()).await,
        404,
        "8522",
    );
    refused(
        &rig.post(&format!("{path}/reject"), json!({})).await,
        404,
        "8522",
    );
    refused(&rig.get(&path).await, 404, "8522");
}

#[tokio::test]
async fn bad_answers_are_refused_here_and_the_call_rings_on() {
    let rig = Rig::start().await;
    let (path, incoming, _) = rung(&rig, json!({"kind": "group"})).await;
    let hosted = service_hosted();
    for (action, status, code, body) in [
        ("answer", 400, "invalidRequest", json!({})),
        ("answer", 400, "invalidRequest", json!([])),
        (
            "answer",
            400,
            "invalidRequest",
            json!({"mediaConfig": hosted, "callbackUri": "x"}),
        ),
        (
            "answer",
            400,
            "invalidRequest",
            json!({"mediaConfig": hosted, "callbackUri": 7}),
        ),
        (
            "answer",
            400,
            "8523",
            json!({"mediaConfig": {"@odata.type": "#microsoft.graph.x"}}),
        ),
        ("reject", 400, "8523", json!({"reason": "tired"})),
        (
            "reject",
            400,
            "invalidRequest",
            json!({"callbackUri": "ftp://x/"}),
        ),
    ] {
        let answer = rig.post(&format!("{path}/{action}"), body).await;
        refused(&answer, status, code);
    }
    // What the service refuses is passed on, and it rings on.
    let offer = json!({"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": "no sdp"});
    let answer = rig
        .post(&format!("{path}/answer"), json!({"mediaConfig": offer}))
        .await;
    refused(&answer, 400, "8523");
    assert!(rig.engine.ringing(incoming.id()).is_some());
    assert_eq!(rig.get(&path).await.body["state"], "incoming");
    let answered = rig.post(&format!("{path}/answer"), taking()).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{answered:?}");
}

#[tokio::test]
async fn a_ring_is_of_its_app_alone() {
    let rig = Rig::start().await;
    let (path, incoming, _) = rung(&rig, json!({})).await;
    let other = rig.other_app().await;
    let unknown = "/v1.0/communications/calls/0c1f5e00-0000-4000-8000-000000000001";
    for (token, path) in [(&other, path.as_str()), (&rig.token, unknown)] {
        for (method, tail) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::POST, "/answer"),
            (Method::POST, "/reject"),
            (Method::POST, "/mute"),
        ] {
            let url = format!("{}{path}{tail}", rig.base);
            let request = rig.http.request(method, url).bearer_auth(token);
            refused(&read(request.json(&taking())).await, 404, "8522");
        }
    }
    assert!(rig.engine.ringing(incoming.id()).is_some());
}

#[tokio::test]
async fn the_callers_own_roles_count_not_the_engines() {
    let mut plan = Plan::default();
    // Nobody's token has a role; a 1:1 call needs none.
    plan.local.apps[0].roles = vec!["Calls.Other".to_owned()];
    let rig = Rig::with(plan).await;
    let (path, ..) = rung(&rig, json!({"kind": "group"})).await;
    let answer = rig.post(&format!("{path}/answer"), taking()).await;
    refused(&answer, 403, "7504");
    let (path, ..) = rung(&rig, json!({})).await;
    let media = json!({"@odata.type": "#microsoft.graph.appHostedMediaConfig"});
    let answer = rig
        .post(&format!("{path}/answer"), json!({"mediaConfig": media}))
        .await;
    refused(&answer, 403, "7504");
    let answer = rig.post(&format!("{path}/answer"), taking()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

#[tokio::test]
async fn the_webhook_of_the_registration_is_the_fallback_and_is_shown() {
    let plan = Plan {
        incoming: Some("https://bot.example/calls"),
        ..Plan::default()
    };
    let rig = Rig::with(plan).await;
    let (path, incoming, _) = rung(&rig, json!({})).await;
    assert_eq!(
        rig.get(&path).await.body["callbackUri"],
        "https://bot.example/calls"
    );
    let body = json!({"mediaConfig": service_hosted()});
    let answered = rig.post(&format!("{path}/answer"), body).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{answered:?}");
    let call = rig.engine.call(incoming.id()).unwrap();
    assert_eq!(
        call.named().unwrap().callback_uri,
        "https://bot.example/calls"
    );
}

#[tokio::test]
async fn an_answer_that_comes_again_gets_the_first_answer() {
    let rig = Rig::start().await;
    let (path, ..) = rung(&rig, json!({})).await;
    let send = |retry: bool| {
        let request = rig.request(Method::POST, &format!("{path}/answer"));
        let request = request.json(&taking()).header("client-request-id", "a-1");
        if retry {
            request.header("retry-attempt", "1")
        } else {
            request
        }
    };
    assert_eq!(read(send(false)).await.status, StatusCode::ACCEPTED);
    assert_eq!(read(send(true)).await.status, StatusCode::ACCEPTED);
    let other = rig.post(&format!("{path}/answer"), taking()).await;
    refused(&other, 400, "8585");
}
