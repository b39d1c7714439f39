//! Intents, the host, keepAlive, hanging up and draining.

use std::time::Duration;

use openmic_machine::{Config, Phase};
use openmic_model::{Action, Verdict};

use super::graph::{Gate, Reply, Route, Seen};
use super::stage::{Stage, hasty, join, outcome, patient, verdict, within};
use crate::{CommandError, CommandOptions, EndCause, EngineBuilder, JoinError};

#[tokio::test]
async fn equal_commands_join_the_attempt() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let first = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    let second = leg.command(Action::Unmute);
    assert_ne!(first.operation(), second.operation());
    assert_eq!(stage.in_flight(), 2);
    leg.roster(false);
    let first = outcome(first).await;
    let second = outcome(second).await;
    assert_eq!(first.verdict, second.verdict);
    assert!(first.verdict.is_success());
    assert!(first.moments.posted.is_some());
    assert_eq!(second.moments.posted, None, "posted before it was asked");
    assert!(second.moments.roster.is_some());
    assert_eq!(stage.graph.count(Route::Unmute), 1);
    leg.end().await;
}

#[tokio::test]
async fn f_w1_while_somebody_watches_a_lost_notification_is_made_up_for() {
    fn tune(config: &mut Config) {
        patient(config);
        config.roster_audit = Duration::from_millis(50);
    }
    let stage = Stage::new(tune).await;
    let leg = stage.established(true).await;
    let seat = stage.engine.hub().reserve(leg.call.id()).unwrap();
    for _ in 0..1000 {
        // As many as come: they take one place in the mailbox.
        leg.call.watched();
    }
    assert!(leg.call.shared.mail.capacity() >= crate::mail::CAPACITY - 1);
    // The host unmuted the bot, and nobody told.
    stage.graph.set_muted(false);
    leg.reach(Phase::Unmuted).await;
    drop(seat);
    let seen = stage.graph.count(Route::List);
    let status = leg.call.state();
    assert!(seen >= 1 && status.version.seq >= 2, "{seen} {status:?}");
    leg.end().await;
}

#[tokio::test]
async fn moments_tell_of_the_commands_own_post() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let pending = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    leg.roster(false);
    assert!(verdict(pending).await.is_success());
    let already = outcome(leg.command(Action::Unmute)).await;
    assert_eq!(already.verdict, Verdict::Already);
    assert_eq!(already.moments.posted, None);
    assert_eq!(already.moments.roster, None);
    leg.end().await;
}

#[tokio::test]
async fn a_mute_follows_an_unmute_whose_answer_never_comes() {
    let build = |builder: EngineBuilder| {
        let post_limit = Duration::from_millis(2500);
        builder.tune(hasty).post_limit(post_limit)
    };
    let limit = |config: &mut openmic_graph::GraphConfig| {
        config.request_timeout = Duration::from_secs(2);
    };
    let stage = Stage::with(build, limit).await;
    let leg = stage.established(true).await;
    stage.graph.once(Route::Unmute, Reply::silent());
    let unmute = leg.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    let mute = leg.command(Action::Mute);
    assert_eq!(verdict(unmute).await, Verdict::Superseded);
    // The unmute acts after the mute did: the bot is muted again.
    stage.graph.set_muted(false);
    let again = stage.graph.received(Route::Mute, 2).await;
    stage.graph.set_muted(true);
    assert!(verdict(mute).await.is_success());
    let looks = stage.graph.seen(Route::Entry);
    let seen = |look: &Seen| look.answered.is_some_and(|at| at < again.received);
    assert!(looks.iter().any(seen), "{looks:?}");
    assert_eq!(leg.call.state().phase, Phase::Muted);
    leg.end().await;
}

#[tokio::test]
async fn the_host_mutes_the_bot() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(false).await;
    leg.roster(true);
    leg.reach(Phase::Muted).await;
    leg.roster(false);
    leg.reach(Phase::Unmuted).await;
    assert_eq!(stage.graph.count(Route::Mute), 0);
    leg.end().await;
}

#[tokio::test]
async fn muted_as_the_first_act() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.leg(None).await;
    leg.tell(&[leg.state("established")]);
    leg.roster(false);
    leg.reach(Phase::Muting).await;
    leg.answered(Route::Mute, 1).await;
    leg.roster(true);
    leg.reach(Phase::Muted).await;
    let commands = &stage.engine.metrics().commands;
    assert_eq!(commands.with_label_values(&["mute", "confirmed"]).get(), 1);
    assert_eq!(stage.in_flight(), 0);
    leg.end().await;
}

#[tokio::test]
async fn keep_alive_until_the_call_is_gone() {
    fn tune(config: &mut Config) {
        patient(config);
        config.keep_alive = Duration::from_secs(1);
    }
    let stage = Stage::new(tune).await;
    stage.graph.once(Route::KeepAlive, Reply::new(200, ""));
    stage
        .graph
        .once(Route::KeepAlive, Reply::error(403, "no", "no"));
    stage.graph.always(Route::KeepAlive, Reply::gone());
    let leg = stage.established(true).await;
    let status = leg.reach(Phase::Terminated).await;
    assert_eq!(status.ending.unwrap().cause, EndCause::Gone);
    assert_eq!(stage.graph.count(Route::KeepAlive), 3);
    let sent = &stage.engine.metrics().keep_alive;
    for result in ["done", "failed", "gone"] {
        assert_eq!(sent.with_label_values(&[result]).get(), 1, "{result}");
    }
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn the_bots_own_keep_alive_finds_the_call_gone() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    within(leg.call.keep_alive()).await.unwrap();
    stage.graph.always(Route::KeepAlive, Reply::gone());
    let error = within(leg.call.keep_alive()).await.unwrap_err();
    assert_eq!((error.status, error.code.as_str()), (404, "8522"));
    let status = leg.reach(Phase::Terminated).await;
    assert_eq!(status.ending.unwrap().cause, EndCause::Gone);
    // Nothing more to tell.
    within(leg.call.keep_alive()).await.unwrap_err();
}

#[tokio::test]
async fn an_end_that_nobody_told_is_found_by_reading() {
    let stage = Stage::new(hasty).await;
    let leg = stage.established(true).await;
    stage.graph.always(Route::Entry, Reply::gone());
    stage.graph.always(Route::List, Reply::gone());
    let pending = leg.command(Action::Unmute);
    assert_eq!(verdict(pending).await, Verdict::CallEnded { result: None });
    assert_eq!(stage.ended("gone"), 1);
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn commands_while_hanging_up_end_with_the_call() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let gate = Gate::new();
    stage
        .graph
        .once(Route::Delete, Reply::new(204, "").behind(&gate));
    leg.call.request_hang_up().await;
    leg.reach(Phase::Terminating).await;
    let pending = leg.command(Action::Unmute);
    assert_eq!(verdict(pending).await, Verdict::CallEnded { result: None });
    gate.open();
    leg.tell(&[leg.state("terminated")]);
    let status = leg.reach(Phase::Terminated).await;
    assert_eq!(status.ending.unwrap().cause, EndCause::HungUp);
    assert_eq!(stage.graph.count(Route::Unmute), 0);
    assert_eq!(stage.gauge(), 0);
}

#[tokio::test]
async fn setup_is_timed_for_calls_that_came_up() {
    let stage = Stage::new(hasty).await;
    let never = stage.joined().await;
    within(never.call.hang_up()).await;
    let setup = &stage.engine.metrics().setup;
    assert_eq!(setup.get_sample_count(), 0);
    let leg = stage.established(true).await;
    assert_eq!(setup.get_sample_count(), 1);
    leg.end().await;
}

#[tokio::test]
async fn a_drain_hangs_up_every_call() {
    let stage = Stage::new(hasty).await;
    let first = stage.established(true).await;
    let second = stage.joined().await;
    let third = stage.established(false).await;
    stage.graph.once(Route::Unmute, Reply::silent());
    let pending = first.command(Action::Unmute);
    stage.graph.received(Route::Unmute, 1).await;
    assert_eq!(within(stage.engine.drain(Duration::from_secs(15))).await, 0);
    assert_eq!(stage.graph.count(Route::Delete), 3);
    assert_eq!(verdict(pending).await, Verdict::CallEnded { result: None });
    for leg in [&first, &second, &third] {
        assert_eq!(leg.call.state().phase, Phase::Terminated);
    }
    assert_eq!((stage.gauge(), stage.in_flight()), (0, 0));
    assert_eq!(stage.engine.metrics().draining.get(), 1);

    let refused = first.call.command(Action::Mute, CommandOptions::default());
    assert!(matches!(refused, Err(CommandError::Draining)));
    let refused = within(stage.engine.join(join(None))).await;
    assert!(matches!(refused, Err(JoinError::Draining)), "{refused:?}");
    assert_eq!(stage.graph.count(Route::Create), 3);
}

#[tokio::test]
async fn a_drain_says_what_its_deadline_left() {
    let stage = Stage::new(hasty).await;
    let stuck = stage.established(true).await;
    stage.graph.once(Route::Delete, Reply::silent());
    let left = within(stage.engine.drain(Duration::from_millis(300))).await;
    assert_eq!(left, 1);
    assert_eq!(stuck.call.state().phase, Phase::Terminating);
}
