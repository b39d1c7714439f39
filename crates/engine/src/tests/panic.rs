//! A fault in one call stays in it.

use std::sync::atomic::Ordering;

use openmic_machine::{Config, Phase};
use openmic_model::{Action, Verdict};
use serde_json::json;

use super::graph::{Gate, Reply, Route};
use super::stage::{Leg, Stage, call_state, hasty, join, patient, verdict, within};
use crate::JoinError;
use crate::mail::Mail;

async fn break_actor(leg: &Leg<'_>) {
    assert!(leg.call.shared.mail.send(Mail::Panic).await.is_ok());
}

/// Breaks the actor of the only call, which has no handle yet.
fn break_first(stage: &Stage) {
    let call = stage.engine.inner.registry.live().remove(0);
    assert!(call.mail.try_send(Mail::Panic).is_ok());
}

#[tokio::test]
async fn f_n1_only_that_call_ends_and_it_is_hung_up() {
    let stage = Stage::new(patient).await;
    let broken = stage.established(true).await;
    let mut whole = stage.established(true).await;
    let mut roster = broken.call.roster();
    assert!(within(roster.next()).await.is_some());
    stage.graph.once(Route::Unmute, Reply::silent());
    let open = broken.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    let operation = open.operation().clone();
    break_actor(&broken).await;
    // Behind the panic in the mailbox, never read.
    let unread = broken.command(Action::Mute);

    // Nobody will ever tell what the POST came to.
    let ended = Verdict::CallEnded { result: None };
    assert_eq!(verdict(open).await, Verdict::Unconfirmed);
    assert_eq!(verdict(unread).await, ended);
    let delete = stage.graph.answered(Route::Delete, 1).await;
    assert_eq!(delete.call, broken.call.id().as_str());
    broken.reach(Phase::Terminated).await;
    assert_eq!(
        broken.call.operation(&operation).unwrap().verdict,
        Some(Verdict::Unconfirmed)
    );
    assert_eq!(verdict(broken.command(Action::Unmute)).await, ended);
    assert_eq!(within(roster.next()).await, None);
    assert!(
        stage
            .deliver(&broken.key, &[broken.state("established")])
            .is_err()
    );

    let metrics = stage.engine.metrics();
    assert_eq!(metrics.panicked.get(), 1);
    assert_eq!(stage.ended("panicked"), 1);
    assert_eq!(stage.in_flight(), 0);
    assert_eq!(stage.gauge(), 1);
    let ends = |action, verdict| metrics.commands.with_label_values(&[action, verdict]).get();
    assert_eq!(ends("unmute", "unconfirmed"), 1);
    assert_eq!(
        (ends("unmute", "call_ended"), ends("mute", "call_ended")),
        (1, 1)
    );

    let pending = whole.command(Action::Unmute);
    whole.answered(Route::Unmute, 2).await;
    whole.roster(false);
    assert!(verdict(pending).await.is_success());
    assert_eq!(stage.graph.count(Route::Delete), 1);
    whole.end().await;
}

#[tokio::test]
async fn a_call_that_was_over_has_ended_once() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    leg.end().await;
    break_actor(&leg).await;
    within(leg.call.shared.mail.closed()).await;
    let metrics = stage.engine.metrics();
    assert_eq!(metrics.panicked.get(), 1);
    assert_eq!((stage.ended("remote"), stage.ended("panicked")), (1, 0));
    assert_eq!((stage.gauge(), stage.in_flight()), (0, 0));
    assert_eq!(stage.graph.count(Route::Delete), 0);
}

#[tokio::test]
async fn a_hang_up_that_fails_is_repeated() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    stage
        .graph
        .once(Route::Delete, Reply::error(403, "no", "not now"));
    break_actor(&leg).await;
    stage.graph.received(Route::Delete, 2).await;
    leg.reach(Phase::Terminated).await;
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn a_drain_waits_for_the_hang_up_of_a_broken_call() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Delete, Reply::new(204, "").behind(&gate));
    break_actor(&leg).await;
    stage.graph.received(Route::Delete, 1).await;
    let drain = stage.engine.drain(std::time::Duration::from_secs(10));
    let open = async { gate.open() };
    let (left, ()) = within(async { tokio::join!(drain, open) }).await;
    assert_eq!(left, 0);
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn while_the_create_is_under_way() {
    let stage = Stage::new(patient).await;
    let gate = Gate::new();
    let answer = Reply::json(201, &json!({"id": "$call"})).behind(&gate);
    stage.graph.once(Route::Create, answer);
    let breaking = async {
        stage.graph.received(Route::Create, 1).await;
        break_first(&stage);
    };
    let joining = stage.engine.join(join(None));
    let (result, ()) = within(async { tokio::join!(joining, breaking) }).await;
    assert!(matches!(result, Err(JoinError::Broken)), "{result:?}");
    assert_eq!(stage.gauge(), 1, "the call may come to be");
    gate.open();
    let delete = stage.graph.answered(Route::Delete, 1).await;
    assert_eq!(delete.call, "call-1");
    ended(&stage).await;
}

#[tokio::test]
async fn while_the_create_is_under_way_and_its_answer_is_lost() {
    let stage = Stage::new(patient).await;
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Create, Reply::reset().behind(&gate));
    let breaking = async {
        stage.graph.received(Route::Create, 1).await;
        break_first(&stage);
    };
    let joining = stage.engine.join(join(None));
    let (result, ()) = within(async { tokio::join!(joining, breaking) }).await;
    assert!(matches!(result, Err(JoinError::Broken)), "{result:?}");
    gate.open();
    let key = stage.key(1).await;
    stage
        .deliver(&key, &[call_state("call-1", "established")])
        .unwrap();
    stage.graph.answered(Route::Delete, 1).await;
    ended(&stage).await;
}

#[tokio::test]
async fn while_the_create_is_under_way_and_refused_or_never_seen_again() {
    fn tune(config: &mut Config) {
        patient(config);
        config.orphan_patience = std::time::Duration::from_millis(200);
    }
    for reply in [Reply::error(403, "7503", "no"), Reply::silent()] {
        let stage = Stage::new(tune).await;
        let gate = Gate::new();
        stage.graph.once(Route::Create, reply.behind(&gate));
        let breaking = async {
            stage.graph.received(Route::Create, 1).await;
            break_first(&stage);
        };
        let joining = stage.engine.join(join(None));
        let (result, ()) = within(async { tokio::join!(joining, breaking) }).await;
        assert!(matches!(result, Err(JoinError::Broken)), "{result:?}");
        gate.open();
        ended(&stage).await;
        assert_eq!(stage.graph.count(Route::Delete), 0);
    }
}

/// Waits for the end of the only call.
async fn ended(stage: &Stage) {
    for call in stage.engine.inner.registry.live() {
        let mut status = call.status.subscribe();
        let over = status.wait_for(|status| status.phase == Phase::Terminated);
        drop(within(over).await);
    }
    assert_eq!(stage.gauge(), 0);
    assert_eq!(stage.ended("panicked"), 1);
}

#[tokio::test]
async fn a_post_job_that_panics_is_a_post_without_an_answer() {
    let stage = Stage::new(hasty).await;
    let mut leg = stage.established(true).await;
    stage
        .engine
        .inner
        .upstream
        .broken
        .store(true, Ordering::Relaxed);
    let pending = leg.command(Action::Unmute);
    // It is looked whether it had an effect, and then done again.
    stage.graph.answered(Route::Unmute, 1).await;
    assert!(stage.graph.count(Route::Entry) >= 1);
    leg.roster(false);
    stage.graph.set_muted(false);
    assert!(verdict(pending).await.is_success());
    assert_eq!(stage.engine.metrics().panicked.get(), 0);
    leg.end().await;
}

#[tokio::test]
async fn a_create_job_that_panics_is_a_create_without_an_answer() {
    let stage = Stage::new(hasty).await;
    stage
        .engine
        .inner
        .upstream
        .broken
        .store(true, Ordering::Relaxed);
    let result = within(stage.engine.join(join(None))).await;
    assert!(
        matches!(result, Err(JoinError::Unknown { .. })),
        "{result:?}"
    );
    assert_eq!(stage.gauge(), 1);
}
