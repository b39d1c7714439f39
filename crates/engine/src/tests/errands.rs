//! Errands: passed on once, their operations tracked.

use openmic_machine::Phase;
use openmic_model::{OperationId, ParticipantId};
use openmic_wire::errand::{Body, Errand};
use openmic_wire::resource::Resource;
use serde_json::{Value, json};

use super::graph::{Gate, Reply, Route};
use super::stage::{Leg, Stage, patient, within};
use crate::{Passed, UpstreamError};

async fn run(leg: &Leg<'_>, errand: Errand, body: &Value) -> Result<Passed, UpstreamError> {
    let body = Body::decode(body.to_string().as_bytes()).unwrap();
    within(leg.call.errand(errand, None, Some(body), false)).await
}

fn id(raw: &str) -> OperationId {
    OperationId::parse(raw).unwrap()
}

fn running(id: &str) -> Reply {
    let body = json!({"@odata.type": "#microsoft.graph.playPromptOperation", "id": id,
        "status": "Running", "clientContext": "ctx", "unheardOf": [1]});
    Reply::json(200, &body)
}

#[tokio::test]
async fn an_errand_is_sent_as_it_is_and_its_answer_comes_back() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(false).await;
    let location = "https://graph.example/v1.0/communications/calls/call-1/operations/op-9";
    let reply = running("op-9").with("location", location);
    stage.graph.once(Route::Other, reply);
    let body = json!({"clientContext": "ctx", "prompts": [{"unheardOf": 1.5}]});
    let passed = run(&leg, Errand::PlayPrompt, &body).await.unwrap();
    let seen = stage.graph.received(Route::Other, 1).await;
    assert_eq!(
        seen.line,
        "POST /v1.0/communications/calls/call-1/playPrompt"
    );
    assert_eq!(seen.body, body);
    assert_eq!(passed.status, 200);
    let call = leg.call.id().clone();
    let operation = Resource::Operation(call, Some(id("op-9")));
    assert_eq!(passed.resource, Some(operation));
    let answer = passed.body.unwrap();
    assert_eq!(answer["unheardOf"], json!([1]));
    assert_eq!(answer["status"], "Running");

    // No body, no `Location`; the version that the bot addressed.
    stage.graph.once(Route::Other, Reply::new(204, ""));
    let whom = ParticipantId::parse("human").unwrap();
    let gone = leg
        .call
        .errand(Errand::RemoveParticipant, Some(whom), None, true);
    let gone = within(gone).await.unwrap();
    assert_eq!((gone.status, gone.resource, gone.body), (204, None, None));
    let seen = stage.graph.received(Route::Other, 2).await;
    assert_eq!(
        seen.line,
        "DELETE /beta/communications/calls/call-1/participants/human"
    );
    assert_eq!(seen.body, Value::Null);
}

#[tokio::test]
async fn a_tracked_operation_outlives_what_graph_remembers() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(false).await;
    stage.graph.once(Route::Other, running("op-9"));
    run(&leg, Errand::PlayPrompt, &json!({})).await.unwrap();
    // Graph knows it: what it says counts, whatever members it has.
    let read = within(leg.call.read_operation(&id("op-9"), None)).await;
    assert_eq!(read.unwrap()["status"], "completed");
    let forgotten = || Reply::error(404, "8522", "not here");
    // Another one that runs is not made up.
    stage.graph.once(Route::Other, running("op-10"));
    run(&leg, Errand::PlayPrompt, &json!({})).await.unwrap();
    stage.graph.always(Route::Operation, forgotten());
    let read = within(leg.call.read_operation(&id("op-10"), None)).await;
    assert_eq!(read.unwrap_err().status, 404);

    let before = leg.call.state();
    let unexpected = || {
        let unexpected = &stage.engine.metrics().unexpected;
        unexpected.with_label_values(&["unmuted"]).get()
    };
    let counted = unexpected();
    leg.tell(&[leg.operation("op-10", Some("ctx"), "failed")]);
    // The end of the operation and of the call are told in order.
    leg.tell(&[leg.state("terminated")]);
    leg.reach(Phase::Terminated).await;
    let read = within(leg.call.read_operation(&id("op-10"), None)).await;
    let read = read.unwrap();
    assert_eq!(read["status"], "failed");
    assert_eq!(read["resultInfo"]["subcode"], 8541);
    assert_eq!(read["unheardOf"], json!([1]));
    assert_eq!(unexpected(), counted, "the machine is not bothered");
    assert_eq!(before.phase, Phase::Unmuted);
    // The first one was last seen completed.
    let read = within(leg.call.read_operation(&id("op-9"), None)).await;
    assert_eq!(read.unwrap()["status"], "completed");
    let other = within(leg.call.read_operation(&id("never"), None)).await;
    assert_eq!(other.unwrap_err().status, 404);
}

#[tokio::test]
async fn a_notification_may_beat_the_answer_and_the_caller_may_leave() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(false).await;
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Other, running("op-9").behind(&gate));
    let body = Body::decode(b"{}").unwrap();
    let errand = leg
        .call
        .errand(Errand::RecordResponse, None, Some(body), false);
    let mut errand = Box::pin(errand);
    tokio::select! {
        biased;
        passed = &mut errand => panic!("{passed:?}"),
        _ = stage.graph.received(Route::Other, 1) => {}
    }
    leg.tell(&[leg.operation("op-9", Some("ctx"), "completed")]);
    leg.tell(&[leg.state("terminated")]);
    leg.reach(Phase::Terminated).await;
    drop(errand);
    gate.open();
    stage.graph.answered(Route::Other, 1).await;
    stage
        .graph
        .always(Route::Operation, Reply::error(405, "8520", "no GET"));
    // The answer, of which nobody is told any more, adds what the notification left out.
    let whole = async {
        loop {
            let read = leg.call.read_operation(&id("op-9"), None).await.unwrap();
            assert_eq!(read["status"], "completed");
            if read.contains_key("unheardOf") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within(whole).await;
}

#[tokio::test]
async fn a_refusal_says_whether_something_may_have_happened() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(false).await;
    for (reply, status, code) in [
        (Reply::error(400, "8523", "bad"), 400, "8523"),
        (Reply::error(403, "7504", "no"), 403, "7504"),
        (Reply::error(404, "8522", "nobody"), 404, "8522"),
        (Reply::error(501, "8520", "lacks it"), 501, "8520"),
        (Reply::new(400, "<html>"), 400, "UnknownError"),
        // It took nothing: to come again is safe.
        (Reply::error(503, "x", "busy"), 503, "x"),
        // It may have taken it: nobody may be led to send it again.
        (Reply::error(500, "x", "oops"), 502, "generalException"),
        (Reply::error(504, "x", "late"), 502, "generalException"),
        (Reply::error(408, "x", "late"), 502, "generalException"),
        (Reply::reset(), 502, "generalException"),
        (Reply::cut(), 502, "generalException"),
        (Reply::new(200, "<html>"), 502, "generalException"),
        // The last one: everybody keeps the pause that it asks for.
        (Reply::throttled("7"), 429, "TooManyRequests"),
    ] {
        let asked = stage.graph.count(Route::Other);
        stage.graph.once(Route::Other, reply.clone());
        let error = run(&leg, Errand::SendDtmfTones, &json!({"tones": ["tone1"]}))
            .await
            .unwrap_err();
        let seen = (error.status, error.code.as_str());
        assert_eq!(seen, (status, code), "{reply:?}");
        assert_eq!(stage.graph.count(Route::Other), asked + 1, "{reply:?}");
        let again = error.retry_after.map(|wait| wait.as_secs());
        assert_eq!(again, (status == 429).then_some(7));
    }
    // Nothing of this was about the call itself.
    assert_eq!(leg.call.state().phase, Phase::Unmuted);
}

#[tokio::test]
async fn a_redirected_call_goes_on_telling_the_engine() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(false).await;
    stage.graph.always(Route::Other, Reply::new(202, ""));
    for named in [json!({"callbackUri": "https://bot.example/x"}), json!({})] {
        run(&leg, Errand::Redirect, &named).await.unwrap();
    }
    for number in [1, 2] {
        let seen = stage.graph.received(Route::Other, number).await;
        let ours = format!("https://bot.example/base/callbacks/{}", leg.key);
        assert_eq!(seen.body["callbackUri"], ours.as_str());
    }
    // A transfer has no such member; it is none of ours.
    let named = json!({"callbackUri": "https://bot.example/x"});
    run(&leg, Errand::Transfer, &named).await.unwrap();
    assert_eq!(stage.graph.received(Route::Other, 3).await.body, named);
}

#[tokio::test]
async fn an_engine_that_drains_sends_nothing() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(false).await;
    let drained = stage.engine.drain(std::time::Duration::ZERO);
    within(drained).await;
    let error = run(&leg, Errand::Transfer, &json!({})).await.unwrap_err();
    assert_eq!(error.status, 503);
    assert!(error.retry_after.is_some());
    assert_eq!(stage.graph.count(Route::Other), 0);
}
