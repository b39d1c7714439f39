use openmic_engine::Phase;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{CALLBACK, Rig, meeting, read};

#[tokio::test]
async fn the_documented_example_works_to_the_letter() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_letter@thread.v2").await;
    let id = call.id();
    let path = format!("/v1.0/communications/calls/{id}");

    let muted = rig
        .post(&format!("{path}/mute"), json!({"clientContext": "m-1"}))
        .await;
    assert_eq!(muted.status, StatusCode::OK, "{muted:?}");
    assert_eq!(
        muted.body["@odata.type"],
        "#microsoft.graph.muteParticipantOperation"
    );
    assert_eq!(call.state().phase, Phase::Muted);

    let request = rig
        .http
        .post(format!("{}{path}/unmute", rig.base))
        .header("authorization", format!("Bearer {}", rig.token))
        .header("content-type", "application/json")
        .body(r#"{"clientContext": "clientContext-value"}"#);
    let unmuted = read(request).await;
    assert_eq!(unmuted.status, StatusCode::OK, "{unmuted:?}");
    assert!(
        unmuted
            .header("content-type")
            .starts_with("application/json")
    );
    let operation = unmuted.body["id"].as_str().unwrap().to_owned();
    let location = format!("{}{path}/operations/{operation}", rig.base);
    assert_eq!(unmuted.header("location"), location);
    assert_eq!(
        unmuted.body,
        json!({
            "@odata.context": format!("{}/v1.0/$metadata#unmuteParticipantOperation", rig.base),
            "@odata.type": "#microsoft.graph.unmuteParticipantOperation",
            "id": operation,
            "status": "completed",
            "clientContext": "clientContext-value",
        })
    );
    assert_eq!(call.state().phase, Phase::Unmuted);

    let read_back = rig.get(&location).await;
    assert_eq!(read_back.status, StatusCode::OK);
    assert_eq!(read_back.body, unmuted.body);

    // Again: nothing is sent, and the operation is a new one.
    let again = rig.post(&format!("{path}/unmute"), json!({})).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.body["status"], "completed");
    assert_ne!(again.body["id"], unmuted.body["id"]);
}

#[tokio::test]
async fn every_spelling_reaches_the_same_call() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_spelling@thread.v2").await;
    let id = call.id();
    for (spelling, location) in [
        (
            format!("/beta/communications/calls/{id}/mute"),
            "/beta/communications/calls/",
        ),
        (
            format!("/v1.0/communications/calls/{id}/microsoft.graph.unmute"),
            "/v1.0/communications/calls/",
        ),
        (
            format!("/v1.0/app/calls/{id}/microsoft.graph.mute"),
            "/v1.0/communications/calls/",
        ),
        (
            format!("/beta/app/calls('{id}')/unmute"),
            "/beta/communications/calls/",
        ),
    ] {
        let answer = rig.post(&spelling, json!({})).await;
        assert_eq!(answer.status, StatusCode::OK, "{spelling}: {answer:?}");
        assert_eq!(answer.body["status"], "completed", "{spelling}");
        let found = answer.header("location");
        assert!(
            found.starts_with(&format!("{}{location}", rig.base)),
            "{found}"
        );
        assert_eq!(answer.header("odata-version"), "4.0");
        assert_eq!(rig.get(found).await.status, StatusCode::OK, "{found}");
    }
}

#[tokio::test]
async fn a_call_is_created_read_kept_and_hung_up() {
    let rig = Rig::start().await;
    let body = meeting("19:meeting_life@thread.v2");
    let created = rig.post("/v1.0/communications/calls", body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let id = created.body["id"].as_str().unwrap();
    let path = format!("/v1.0/communications/calls/{id}");
    assert_eq!(created.header("location"), format!("{}{path}", rig.base));
    assert_eq!(created.body["callbackUri"], CALLBACK);
    assert_eq!(created.body["state"], "establishing");
    let context = format!("{}/v1.0/$metadata#app/calls/$entity", rig.base);
    assert_eq!(created.body["@odata.context"], context.as_str());
    assert_eq!(created.body["memberWeDoNotKnow"], json!({"kept": true}));

    let read = rig.get(&path).await;
    assert_eq!(read.status, StatusCode::OK);
    assert_eq!(read.body["id"], id);
    assert_eq!(read.body["callbackUri"], CALLBACK, "{read:?}");
    assert_eq!(read.body["memberWeDoNotKnow"], json!({"kept": true}));
    let kept = read.body["@odata.context"].as_str().unwrap();
    assert!(kept.starts_with(&rig.base), "{kept}");

    let alive = rig.post(&format!("{path}/keepAlive"), json!({})).await;
    assert_eq!(alive.status, StatusCode::OK);
    assert!(alive.body.is_null());

    let call = rig.engine.call(&id.parse().unwrap()).unwrap();
    call.until(|status| status.own_entry_seen).await;
    let listed = rig.get(&format!("{path}/participants")).await;
    assert_eq!(listed.status, StatusCode::OK, "{listed:?}");
    let me = listed.body["value"][0]["id"].as_str().unwrap();
    assert_eq!(created.body["myParticipantId"], me);
    let one = rig.get(&format!("{path}/participants/{me}")).await;
    assert_eq!(one.status, StatusCode::OK);
    assert_eq!(one.body["isMuted"], false);
    let nobody = rig.get(&format!("{path}/participants/nobody")).await;
    assert_eq!(
        (nobody.status, nobody.code()),
        (StatusCode::NOT_FOUND, "8522")
    );

    let gone = rig.delete(&path).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert!(gone.body.is_null());
    call.until(|_| false).await;
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/keepAlive")),
        (Method::POST, format!("{path}/unmute")),
        (Method::POST, format!("{path}/mute")),
        (Method::GET, format!("{path}/participants")),
    ] {
        let answer = crate::harness::read(rig.request(method.clone(), &path)).await;
        let seen = (answer.status, answer.code());
        assert_eq!(seen, (StatusCode::NOT_FOUND, "8522"), "{method} {path}");
    }
    let view = rig.get(&format!("/v1/calls/{id}")).await;
    assert_eq!(view.body["state"], "terminated");
    assert_eq!(view.body["ended"]["cause"], "hung_up");
}

#[tokio::test]
async fn the_own_api_says_where_a_call_stands_and_why() {
    let rig = Rig::start().await;
    let none = rig.get("/v1/calls").await;
    assert_eq!(none.body, json!({"calls": [], "total": 0}));
    let call = rig.established("19:meeting_own@thread.v2").await;
    let listed = rig.get("/v1/calls").await;
    assert_eq!(listed.body["total"], 1);
    let view = rig.get(&format!("/v1/calls/{}", call.id())).await;
    assert_eq!(view.status, StatusCode::OK);
    assert_eq!(view.body, listed.body["calls"][0]);
    assert_eq!(view.body["state"], "unmuted");
    assert_eq!(view.body["graphState"], "established");
    assert_eq!(view.body["kind"], "group");
    assert_eq!(view.body["why"], "The bot's own roster entry says unmuted.");
    assert_eq!(view.body["waitsFor"], json!([]));
    assert_eq!(view.body["ended"], json!(null));
    let roster = rig.get(&format!("/v1/calls/{}/roster", call.id())).await;
    assert_eq!(roster.body["type"], "snapshot");
    assert_eq!(roster.body["seq"], view.body["version"]["seq"]);
    assert_eq!(roster.body["epoch"], view.body["version"]["epoch"]);
    let me = &roster.body["participants"][0];
    assert_eq!(me["id"], view.body["myParticipantId"]);
    assert_eq!(me["isMuted"], false);
}

#[tokio::test]
async fn a_caller_that_does_not_want_to_wait_need_not() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_async@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{}/mute", call.id());
    let request = rig
        .request(Method::POST, &path)
        .header("prefer", "respond-async")
        .json(&json!({"clientContext": "later"}));
    let answer = read(request).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.body["status"], "running");
    assert_eq!(answer.body["clientContext"], "later");
    assert_eq!(answer.header("preference-applied"), "respond-async");
    // A second mute joins the first; its answer comes with the verdict of both.
    let joined = rig.post(&path, json!({})).await;
    assert_eq!(joined.body["status"], "completed");
    let done = rig.get(answer.header("location")).await;
    assert_eq!(done.body["status"], "completed");
    assert_eq!(done.body["clientContext"], "later");
}
