//! Calls without a task. In these tests a call sleeps whenever it can.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use openmic_machine::{Config, Phase};
use openmic_model::{Action, Verdict};

use super::graph::Route;
use super::stage::{Leg, Stage, patient, verdict, within};
use crate::{CommandOptions, Pending};

/// Waits until the call has no task.
async fn asleep(leg: &Leg<'_>) {
    within(async {
        while !leg.call.shared.mail.is_asleep() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_sleeping_call_hears_commands_and_news_and_sleeps_again() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    asleep(&leg).await;
    let alarms = &stage.engine.inner.alarms;
    within(async {
        while alarms.count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for muted in [false, true, false, true] {
        let action = if muted { Action::Mute } else { Action::Unmute };
        let route = if muted { Route::Mute } else { Route::Unmute };
        let posts = stage.graph.count(route);
        let pending = leg.command(action);
        leg.answered(route, posts + 1).await;
        leg.roster(muted);
        assert!(verdict(pending).await.is_success());
        asleep(&leg).await;
        assert_eq!(verdict(leg.command(action)).await, Verdict::Already);
        asleep(&leg).await;
        assert!(alarms.count() <= 1, "one at a time");
    }
    leg.end().await;
}

#[tokio::test]
async fn what_needs_no_waiting_is_done_by_whoever_asks() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    asleep(&leg).await;
    let at_once = |pending: Pending| pending.outcome().now_or_never().unwrap().unwrap().verdict;
    for _ in 0..8 {
        assert_eq!(at_once(leg.command(Action::Mute)), Verdict::Already);
        assert!(leg.call.shared.mail.is_asleep(), "it got a task");
    }
    // Also where there is no runtime.
    let call = leg.call.clone();
    let elsewhere = std::thread::spawn(move || {
        let options = CommandOptions::default();
        at_once(call.command(Action::Mute, options).unwrap())
    });
    assert_eq!(elsewhere.join().unwrap(), Verdict::Already);
    assert!(leg.call.shared.mail.is_asleep());
    // A request must be waited for, on the runtime that the call is from.
    let call = leg.call.clone();
    let unmute = std::thread::spawn(move || {
        let options = CommandOptions::default();
        call.command(Action::Unmute, options).unwrap()
    });
    let unmute = unmute.join().unwrap();
    assert!(!leg.call.shared.mail.is_asleep());
    leg.answered(Route::Unmute, 1).await;
    leg.roster(false);
    assert!(verdict(unmute).await.is_success());
    leg.end().await;
}

#[tokio::test]
async fn a_sleeping_call_is_kept_alive() {
    fn tune(config: &mut Config) {
        patient(config);
        config.keep_alive = Duration::from_secs(4);
    }
    let stage = Stage::new(tune).await;
    let leg = stage.established(true).await;
    asleep(&leg).await;
    stage.graph.received(Route::KeepAlive, 1).await;
    asleep(&leg).await;
    stage.graph.received(Route::KeepAlive, 2).await;
    leg.end().await;
}

#[tokio::test]
async fn a_drain_wakes_and_hangs_up() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    asleep(&leg).await;
    assert_eq!(stage.engine.drain(Duration::from_secs(20)).await, 0);
    leg.reach(Phase::Terminated).await;
    assert_eq!(stage.graph.count(Route::Delete), 1);
}

#[test]
fn a_runtime_that_ends_takes_sleeping_calls_along() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let call = runtime.block_on(async {
        let stage = Stage::new(patient).await;
        let leg = stage.established(true).await;
        asleep(&leg).await;
        within(async {
            while stage.engine.inner.alarms.count() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Arc::downgrade(&leg.call.shared)
    });
    assert!(call.upgrade().is_some(), "it sleeps on without a handle");
    drop(runtime);
    assert!(call.upgrade().is_none());
}
