use std::time::Duration;

use openmic_machine::Phase;
use openmic_model::{Action, Verdict};
use serde_json::json;

use crate::tests::graph::{Gate, Reply, Route};
use crate::tests::stage::{Stage, call_state, hasty, patient, verdict, within};
use crate::{Call, CommandOptions, EndCause, Part};

fn refused(verdict: &Verdict) -> (u16, &str) {
    match verdict {
        Verdict::Refused { status, code, .. } => (*status, code),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn refused_by_the_answer() {
    let answers = [
        (400, "8503"),
        (403, "7503"),
        (405, "BadRequest"),
        (409, "8519"),
    ];
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    for (status, code) in answers {
        stage
            .graph
            .once(Route::Unmute, Reply::error(status, code, "no"));
        let verdict = verdict(leg.command(Action::Unmute)).await;
        assert_eq!(refused(&verdict), (status, code));
        assert_eq!(leg.call.state().phase, Phase::Muted);
    }
    assert_eq!(stage.graph.count(Route::Unmute), answers.len());
    leg.end().await;
}

#[tokio::test]
async fn refused_by_an_operation_that_failed_in_the_answer() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let body = json!({"id": "$op", "status": "failed", "clientContext": "$context",
        "resultInfo": {"code": 403, "subcode": 8541, "message": "no"}});
    stage.graph.once(Route::Unmute, Reply::json(200, &body));
    let verdict = verdict(leg.command(Action::Unmute)).await;
    assert_eq!(refused(&verdict), (403, "8541"));
    leg.end().await;
}

#[tokio::test]
async fn refused_by_notification_whatever_the_roster_says() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::operation("running"));
    let pending = leg.command(Action::Unmute);
    let post = stage.graph.answered(Route::Unmute, 1).await;
    leg.roster(false);
    leg.tell(&[leg.operation("op-1", Some(post.context()), "failed")]);
    assert_eq!(refused(&verdict(pending).await), (500, "8541"));
    leg.end().await;
}

#[tokio::test]
async fn refused_by_notification_before_the_answer() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let gate = Gate::new();
    let answer = Reply::operation("running").behind(&gate);
    stage.graph.once(Route::Unmute, answer);
    let pending = leg.command(Action::Unmute);
    let post = stage.graph.received(Route::Unmute, 1).await;
    leg.tell(&[leg.operation("op-1", Some(post.context()), "failed")]);
    gate.open();
    assert_eq!(refused(&verdict(pending).await), (500, "8541"));
    leg.end().await;
}

#[tokio::test]
async fn refused_by_poll() {
    let stage = Stage::new(hasty).await;
    let leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::operation("running"));
    let body = json!({"id": "$op", "status": "failed", "clientContext": "$context",
        "resultInfo": {"code": 500, "subcode": 8542, "message": "no"}});
    stage
        .graph
        .always(Route::Operation, Reply::json(200, &body));
    let verdict = verdict(leg.command(Action::Unmute)).await;
    assert_eq!(refused(&verdict), (500, "8542"));
    leg.end().await;
}

async fn one_to_one(stage: &Stage) -> Call {
    let body = json!({"callbackUri": "https://bot/", "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "targets": [{"@odata.type": "#microsoft.graph.invitationParticipantInfo",
            "identity": {"user": {"id": "33333333-3333-4333-8333-333333333333"}}}],
        "tenantId": crate::tests::stage::TENANT});
    let body = openmic_wire::create::CreateCall::decode(body.to_string().as_bytes()).unwrap();
    let owner = stage.engine.owner().clone();
    within(stage.engine.create(body, owner, true, None))
        .await
        .unwrap()
}

#[tokio::test]
async fn refused_before_established_and_one_to_one() {
    let stage = Stage::new(patient).await;
    let leg = stage.joined().await;
    let early = verdict(leg.command(Action::Unmute)).await;
    assert_eq!(refused(&early), (400, "8501"));
    leg.end().await;

    let call = one_to_one(&stage).await;
    let key = stage.key(2).await;
    let up = call_state(call.id().as_str(), "established");
    stage.deliver(&key, &[up]).unwrap();
    within(call.until(|status| status.phase == Phase::Unmuted)).await;
    for action in [Action::Mute, Action::Unmute] {
        let pending = call.command(action, CommandOptions::default()).unwrap();
        assert_eq!(refused(&verdict(pending).await), (400, "8548"));
    }
    assert_eq!(stage.graph.count(Route::Mute), 0);
    assert_eq!(stage.graph.count(Route::Unmute), 0);
}

#[tokio::test]
async fn what_the_bot_was_shown_it_may_act_on() {
    let stage = Stage::new(patient).await;
    let call = one_to_one(&stage).await;
    let mute = || {
        verdict(
            call.command(Action::Mute, CommandOptions::default())
                .unwrap(),
        )
    };
    let show = async |state: &str| {
        let body = json!({"id": call.id().as_str(), "state": state});
        stage.graph.once(Route::Read, Reply::json(200, &body));
        within(call.read(Part::Call, None)).await.unwrap();
    };
    show("establishing").await;
    assert_eq!(refused(&mute().await), (400, "8501"));
    // No notification has come, and still it would be wrong to say that it is not established.
    show("established").await;
    assert_eq!(refused(&mute().await), (400, "8548"));
}

#[tokio::test]
async fn already_and_no_post() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    assert_eq!(verdict(leg.command(Action::Mute)).await, Verdict::Already);
    assert_eq!(stage.graph.count(Route::Mute), 0);
    leg.end().await;
}

#[tokio::test]
async fn already_since_the_host_did_it_while_graph_throttled() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    // Without a time to wait for, only this POST waits; with one, the GET would wait as well.
    let busy = Reply::error(429, "TooManyRequests", "slow down");
    stage.graph.always(Route::Unmute, busy);
    let pending = leg.command(Action::Unmute);
    // By then the next one is more than a second away.
    stage.graph.answered(Route::Unmute, 5).await;
    leg.until(|status| status.waits_for == ["time to post again"])
        .await;
    stage.graph.set_muted(false);
    leg.roster(false);
    assert_eq!(verdict(pending).await, Verdict::Already);
    assert_eq!(stage.graph.count(Route::Entry), 1);
    leg.end().await;
}

#[tokio::test]
async fn refused_while_graph_throttles_beyond_the_deadline() {
    for (reply, with) in [
        (Reply::throttled("60"), 429),
        (
            Reply::error(503, "busy", "?").with("retry-after", "60"),
            503,
        ),
    ] {
        let stage = Stage::new(hasty).await;
        let leg = stage.established(true).await;
        stage.graph.always(Route::Unmute, reply);
        let verdict = verdict(leg.hurried(Action::Unmute)).await;
        let Verdict::Refused {
            status,
            code,
            message,
        } = verdict
        else {
            panic!("{verdict:?}");
        };
        assert_eq!(status, with);
        assert!(status == 429 || code == "busy", "{code}");
        assert!(message.contains("60 s"), "{message}");
        assert_eq!(stage.graph.count(Route::Unmute), 1);
        assert_eq!(leg.call.state().phase, Phase::Muted);
    }
}

#[tokio::test]
async fn expired_while_no_token_is_to_be_had() {
    let stage = Stage::new(hasty).await;
    let grant = r#"{"token_type":"Bearer","expires_in":2,"access_token":"short"}"#;
    stage.graph.once(Route::Token, Reply::new(200, grant));
    stage
        .graph
        .always(Route::Token, Reply::error(500, "x", "down"));
    let leg = stage.established(true).await;
    // The old one serves to its end; after that nothing can be sent.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(verdict(leg.hurried(Action::Unmute)).await, Verdict::Expired);
    assert_eq!(stage.graph.count(Route::Unmute), 0);
    assert!(stage.graph.count(Route::Token) >= 2);
}

#[tokio::test]
async fn throttled_and_then_sent() {
    let stage = Stage::new(hasty).await;
    let mut leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::throttled("1"));
    let begun = tokio::time::Instant::now();
    let pending = leg.command(Action::Unmute);
    stage.graph.answered(Route::Unmute, 2).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    leg.roster(false);
    assert!(verdict(pending).await.is_success());
    leg.end().await;
}

#[tokio::test]
async fn superseded_at_once_and_the_mute_follows_the_answer() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let gate = Gate::new();
    let answer = Reply::operation("completed").behind(&gate);
    stage.graph.once(Route::Unmute, answer);
    let unmute = leg.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    let mute = leg.command(Action::Mute);
    assert_eq!(verdict(unmute).await, Verdict::Superseded);
    gate.open();
    let post = stage.graph.answered(Route::Mute, 1).await;
    let overtaken = stage.graph.received(Route::Unmute, 1).await;
    assert!(overtaken.answered.unwrap() < post.received);
    // What the unmute did, told late, and then what the mute did.
    stage.graph.set_muted(true);
    leg.roster(false);
    leg.roster(true);
    assert!(verdict(mute).await.is_success());
    assert_eq!(leg.call.state().phase, Phase::Muted);
    leg.end().await;
}

#[tokio::test]
async fn superseded_while_waiting_too() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let gate = Gate::new();
    let answer = Reply::operation("completed").behind(&gate);
    stage.graph.once(Route::Unmute, answer);
    let first = leg.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    let second = leg.command(Action::Mute);
    let third = leg.command(Action::Unmute);
    assert_eq!(verdict(first).await, Verdict::Superseded);
    assert_eq!(verdict(second).await, Verdict::Superseded);
    gate.open();
    stage.graph.answered(Route::Unmute, 1).await;
    stage.graph.set_muted(false);
    leg.roster(false);
    assert!(verdict(third).await.is_success());
    assert_eq!(stage.graph.count(Route::Mute), 0, "never needed");
    leg.end().await;
}

#[tokio::test]
async fn call_ended_by_graph() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::silent());
    let pending = leg.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    let mut end = leg.state("terminated");
    end["resourceData"]["resultInfo"] = json!({"code": 487, "subcode": 5014, "message": "bye"});
    leg.tell(&[end]);
    let Verdict::CallEnded {
        result: Some(result),
    } = verdict(pending).await
    else {
        panic!("no reason");
    };
    assert_eq!((result.code, result.subcode), (487, 5014));
    let status = leg.reach(Phase::Terminated).await;
    assert_eq!(status.ending.unwrap().cause, EndCause::Remote);
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn call_ended_by_hanging_up() {
    let stage = Stage::new(hasty).await;
    let leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::silent());
    let pending = leg.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    let status = within(leg.call.hang_up()).await;
    assert_eq!(status.ending.unwrap().cause, EndCause::HungUp);
    assert_eq!(verdict(pending).await, Verdict::CallEnded { result: None });
    assert_eq!(stage.graph.count(Route::Delete), 1);
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn call_ended_as_the_post_found_out() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::gone());
    let pending = leg.command(Action::Unmute);
    assert_eq!(verdict(pending).await, Verdict::CallEnded { result: None });
    let status = leg.reach(Phase::Terminated).await;
    assert_eq!(status.ending.unwrap().cause, EndCause::Gone);
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn call_ended_before_the_command() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    leg.end().await;
    let pending = leg.command(Action::Unmute);
    let operation = pending.operation().clone();
    assert_eq!(verdict(pending).await, Verdict::CallEnded { result: None });
    let record = leg.call.operation(&operation).unwrap();
    assert_eq!(record.verdict, Some(Verdict::CallEnded { result: None }));
    assert_eq!(stage.in_flight(), 0);
}
