//! From the create to a handle, and every way in which it can go wrong.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use openmic_machine::{Config, Phase};
use openmic_model::CallId;
use openmic_wire::create::CreateCall;
use serde_json::json;

use super::graph::{Gate, Reply, Route};
use super::stage::{Stage, TENANT, call_state, hasty, join, patient, within};
use crate::{EndCause, JoinError};

/// Waits until no call is left.
async fn none_left(stage: &Stage) {
    for call in stage.engine.inner.registry.live() {
        let mut status = call.status.subscribe();
        let over = status.wait_for(|status| status.phase == Phase::Terminated);
        drop(within(over).await);
    }
    assert_eq!(stage.gauge(), 0);
    assert!(stage.engine.calls().is_empty());
}

fn unknown(result: &Result<crate::Call, JoinError>) {
    assert!(
        matches!(result, Err(JoinError::Unknown { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn what_graph_is_asked_and_what_comes_of_it() {
    let stage = Stage::new(patient).await;
    let leg = stage.joined().await;
    let asked = stage.graph.received(Route::Create, 1).await.body;
    let callback = format!("https://bot.example/base/callbacks/{}", leg.key);
    assert_eq!(asked["callbackUri"], callback);
    assert_eq!(asked["callOptions"]["isDeltaRosterEnabled"], true);
    assert_eq!(leg.key.len(), 32);
    let created = leg.call.created().unwrap();
    assert_eq!(created.raw["unheardOf"], 7);
    assert_eq!(leg.call.named(), None);
    assert!(stage.engine.awaits(&leg.key));
    assert!(!stage.engine.awaits("nobody"));
    leg.end().await;
}

#[tokio::test]
async fn a_body_of_graphs_own_surface_keeps_its_members() {
    let stage = Stage::new(patient).await;
    let body = json!({"callbackUri": "https://caller/", "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {"threadId": "19:x@thread.v2"}, "unheardOf": [1],
        "meetingInfo": {"organizer": {"user": {"id": TENANT}}}, "tenantId": TENANT});
    let body = CreateCall::decode(body.to_string().as_bytes()).unwrap();
    let owner = stage.engine.owner().clone();
    let call = within(stage.engine.create(body, owner, false, None))
        .await
        .unwrap();
    assert_eq!(call.named().unwrap().callback_uri, "https://caller/");
    let asked = stage.graph.received(Route::Create, 1).await.body;
    assert_eq!(asked["unheardOf"], json!([1]));
    assert_eq!(asked["callOptions"]["isDeltaRosterEnabled"], true);
    assert_ne!(asked["callbackUri"], "https://caller/");
}

#[tokio::test]
async fn notifications_before_the_answer() {
    let stage = Stage::new(patient).await;
    let gate = Gate::new();
    let answer = json!({"id": "$call", "state": "establishing"});
    let answer = Reply::json(201, &answer).behind(&gate);
    stage.graph.once(Route::Create, answer);
    let joining = stage.engine.join(join(Some(false)));
    let telling = async {
        let key = stage.key(1).await;
        let up = call_state("call-1", "established");
        stage.deliver(&key, &[up]).unwrap();
        // It can be found by its id before anybody has a handle of it.
        let id = CallId::parse("call-1").unwrap();
        while stage.engine.call(&id).is_none() {
            tokio::task::yield_now().await;
        }
        let call = stage.engine.call(&id).unwrap();
        assert!(call.created().is_none());
        gate.open();
    };
    let (call, ()) = within(async { tokio::join!(joining, telling) }).await;
    let call = call.unwrap();
    assert_eq!(call.id().as_str(), "call-1");
    assert!(call.created().is_some());
    // Up, though the answer says establishing.
    let status = call.state();
    assert_eq!(status.graph, Some(openmic_model::CallState::Established));
    assert_eq!(status.waits_for, ["own roster entry"]);
}

#[tokio::test]
async fn no_handle_is_given_out_before_the_call_has_its_id() {
    let stage = Stage::new(patient).await;
    let gate = Gate::new();
    let answer = Reply::json(201, &json!({"id": "$call"})).behind(&gate);
    stage.graph.once(Route::Create, answer);
    let looking = async {
        stage.graph.received(Route::Create, 1).await;
        let registry = &stage.engine.inner.registry;
        let call = registry.live().remove(0);
        let id = CallId::parse("call-1").unwrap();
        // The first of the two steps in which an actor learns the id.
        assert!(registry.bind(id.clone(), &call));
        assert!(stage.engine.call(&id).is_none());
        gate.open();
    };
    let joining = stage.engine.join(join(None));
    let (call, ()) = within(async { tokio::join!(joining, looking) }).await;
    let call = call.unwrap();
    assert_eq!(stage.engine.call(call.id()).unwrap().id(), call.id());
}

#[tokio::test]
async fn throttled_for_longer_than_a_create_may_take() {
    let stage = Stage::new(patient).await;
    let busy = Reply::error(429, "8530", "No more calls.").with("retry-after", "90");
    stage.graph.once(Route::Create, busy);
    let error = within(stage.engine.join(join(None))).await.unwrap_err();
    let JoinError::Refused {
        status: 429,
        retry_after: Some(wait),
        code,
        message,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(wait, Duration::from_secs(90));
    assert_eq!((&*code, &*message), ("8530", "No more calls."));
    assert_eq!(stage.graph.count(Route::Create), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_told_as_it_is() {
    let stage = Stage::new(patient).await;
    let no = Reply::json(401, &json!({"error": "invalid_client"}));
    stage.graph.always(Route::Token, no);
    let error = within(stage.engine.join(join(None))).await.unwrap_err();
    assert!(matches!(error, JoinError::NotSent { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("401 invalid_client"), "{told}");
    assert!(told.contains("check tenant, app and secret"), "{told}");
    none_left(&stage).await;
    assert_eq!(stage.ended("not_created"), 1);
    assert_eq!(stage.graph.count(Route::Create), 0);
}

#[tokio::test]
async fn refused() {
    let stage = Stage::new(patient).await;
    stage
        .graph
        .once(Route::Create, Reply::error(403, "7503", "no permission"));
    let result = within(stage.engine.join(join(None))).await;
    let Err(JoinError::Refused {
        status,
        code,
        message,
        retry_after: None,
    }) = result
    else {
        panic!("{result:?}");
    };
    assert_eq!((status, code.as_str()), (403, "7503"));
    assert_eq!(message, "no permission");
    none_left(&stage).await;
    assert_eq!(stage.ended("not_created"), 1);
    assert_eq!(stage.graph.count(Route::Delete), 0);
}

#[tokio::test]
async fn lost_then_shown_so_it_is_hung_up() {
    for reply in [
        Reply::reset(),
        Reply::cut(),
        Reply::error(504, "timeout", "?"),
    ] {
        let stage = Stage::new(hasty).await;
        stage.graph.once(Route::Create, reply);
        unknown(&within(stage.engine.join(join(None))).await);
        assert_eq!(stage.gauge(), 1, "it may still show itself");
        let key = stage.key(1).await;
        stage
            .deliver(&key, &[call_state("call-1", "established")])
            .unwrap();
        let delete = stage.graph.received(Route::Delete, 1).await;
        assert_eq!(delete.call, "call-1");
        none_left(&stage).await;
        assert_eq!(stage.ended("hung_up"), 1);
    }
}

#[tokio::test]
async fn lost_and_the_hang_up_is_repeated_until_it_works() {
    let stage = Stage::new(hasty).await;
    stage.graph.once(Route::Create, Reply::reset());
    stage
        .graph
        .once(Route::Delete, Reply::error(403, "no", "not now"));
    unknown(&within(stage.engine.join(join(None))).await);
    let key = stage.key(1).await;
    stage
        .deliver(&key, &[call_state("call-1", "establishing")])
        .unwrap();
    stage.graph.received(Route::Delete, 2).await;
    none_left(&stage).await;
}

#[tokio::test]
async fn shown_then_lost_so_it_is_hung_up() {
    let stage = Stage::new(hasty).await;
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Create, Reply::reset().behind(&gate));
    let telling = async {
        let key = stage.key(1).await;
        stage
            .deliver(&key, &[call_state("call-1", "established")])
            .unwrap();
        gate.open();
    };
    let joining = stage.engine.join(join(None));
    let (result, ()) = within(async { tokio::join!(joining, telling) }).await;
    unknown(&result);
    stage.graph.received(Route::Delete, 1).await;
    none_left(&stage).await;
}

#[tokio::test]
async fn lost_given_up_and_shown_after_all() {
    fn tune(config: &mut Config) {
        hasty(config);
        config.orphan_patience = Duration::from_millis(20);
    }
    let stage = Stage::new(tune).await;
    stage.graph.once(Route::Create, Reply::reset());
    unknown(&within(stage.engine.join(join(None))).await);
    none_left(&stage).await;
    assert_eq!(stage.ended("not_created"), 1);
    let key = stage.key(1).await;
    stage
        .graph
        .once(Route::Delete, Reply::error(403, "no", "not now"));
    stage
        .deliver(&key, &[call_state("call-1", "established")])
        .unwrap();
    let delete = stage.graph.received(Route::Delete, 1).await;
    assert_eq!(delete.call, "call-1");
    // It is over for everybody, and hung up all the same.
    stage.graph.received(Route::Delete, 2).await;
}

#[tokio::test]
async fn whoever_asked_left_before_the_answer() {
    let stage = Stage::new(hasty).await;
    let gate = Gate::new();
    let answer = Reply::json(201, &json!({"id": "$call"})).behind(&gate);
    stage.graph.once(Route::Create, answer);
    {
        let mut joining = pin!(stage.engine.join(join(None)));
        tokio::select! {
            _ = &mut joining => panic!("not answered yet"),
            _ = stage.graph.received(Route::Create, 1) => {}
        }
    }
    assert_eq!(stage.gauge(), 1);
    gate.open();
    stage.graph.received(Route::Delete, 1).await;
    none_left(&stage).await;
}

#[tokio::test]
async fn whoever_asked_left_after_the_answer_and_before_looking() {
    let stage = Stage::new(hasty).await;
    {
        let mut joining = pin!(stage.engine.join(join(None)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(joining.as_mut().poll(&mut context).is_pending());
        let id = CallId::parse("call-1").unwrap();
        let answered = async {
            while stage
                .engine
                .call(&id)
                .is_none_or(|call| call.created().is_none())
            {
                tokio::task::yield_now().await;
            }
        };
        within(answered).await;
    }
    stage.graph.received(Route::Delete, 1).await;
    none_left(&stage).await;
}

#[tokio::test]
async fn the_answer_names_another_call_than_the_notifications() {
    let stage = Stage::new(hasty).await;
    let gate = Gate::new();
    let answer = Reply::json(201, &json!({"id": "$call"})).behind(&gate);
    stage.graph.once(Route::Create, answer);
    let telling = async {
        let key = stage.key(1).await;
        stage
            .deliver(&key, &[call_state("call-9", "established")])
            .unwrap();
        gate.open();
    };
    let joining = stage.engine.join(join(None));
    let (result, ()) = within(async { tokio::join!(joining, telling) }).await;
    unknown(&result);
    stage.graph.received(Route::Delete, 2).await;
    let mut gone: Vec<_> = stage.graph.seen(Route::Delete);
    gone.sort_by(|a, b| a.call.cmp(&b.call));
    assert_eq!(gone[0].call, "call-1");
    assert_eq!(gone[1].call, "call-9");
    none_left(&stage).await;
}

#[tokio::test]
async fn the_answer_names_a_call_that_is_already_there() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    stage
        .graph
        .once(Route::Create, Reply::json(201, &json!({"id": "call-1"})));
    unknown(&within(stage.engine.join(join(None))).await);
    assert_eq!(stage.gauge(), 1);
    let id = CallId::parse("call-1").unwrap();
    assert_eq!(stage.engine.call(&id).unwrap().state().phase, Phase::Muted);
    assert_eq!(stage.graph.count(Route::Delete), 0);
    leg.end().await;
}

#[tokio::test]
async fn an_id_used_again_after_the_end_is_the_newer_calls() {
    let stage = Stage::new(patient).await;
    let first = stage.established(true).await;
    first.end().await;
    stage
        .graph
        .once(Route::Create, Reply::json(201, &json!({"id": "call-1"})));
    let second = within(stage.engine.join(join(None))).await.unwrap();
    assert_eq!(second.id(), first.call.id());
    assert!(
        stage
            .engine
            .call(second.id())
            .unwrap()
            .state()
            .ending
            .is_none()
    );
}

#[tokio::test]
async fn as_many_calls_as_configured_and_no_more() {
    let stage = Stage::with(|builder| builder.tune(patient).max_calls(2), |_| ()).await;
    let first = stage.established(true).await;
    let second = stage.joined().await;
    let result = within(stage.engine.join(join(None))).await;
    assert!(matches!(result, Err(JoinError::Full(2))), "{result:?}");
    assert_eq!(stage.graph.count(Route::Create), 2);
    first.tell(&[first.state("terminated")]);
    first.reach(Phase::Terminated).await;
    // Its place is free while it can still be read.
    let third = stage.joined().await;
    assert!(stage.engine.call(first.call.id()).is_some());
    second.tell(&[second.state("terminated")]);
    second.reach(Phase::Terminated).await;
    third.end().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_made() {
    let stage = Stage::new(patient).await;
    let mut bad = join(None);
    bad.thread_id = String::new();
    let result = within(stage.engine.join(bad)).await;
    assert!(matches!(result, Err(JoinError::Invalid(_))), "{result:?}");
    assert_eq!(stage.gauge(), 0);
    assert_eq!(stage.graph.count(Route::Create), 0);
}

#[tokio::test]
async fn hung_up_while_the_create_is_under_way() {
    let stage = Stage::new(hasty).await;
    let gate = Gate::new();
    let answer = Reply::json(201, &json!({"id": "$call"})).behind(&gate);
    stage.graph.once(Route::Create, answer);
    let draining = async {
        stage.graph.received(Route::Create, 1).await;
        let drain = stage.engine.drain(Duration::from_secs(10));
        let answer = async { gate.open() };
        tokio::join!(drain, answer).0
    };
    let joining = stage.engine.join(join(None));
    let (result, left) = within(async { tokio::join!(joining, draining) }).await;
    assert_eq!(left, 0);
    assert_eq!(stage.graph.count(Route::Delete), 1);
    let status = result.unwrap().state();
    assert_eq!(status.ending.unwrap().cause, EndCause::HungUp);
    none_left(&stage).await;
}
