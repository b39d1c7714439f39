//! The actor on a journal that is slow, full or broken.

use std::time::Duration;

use openmic_journal::CommitFault;
use openmic_machine::{Config, Effect, Phase};
use openmic_model::{Action, CommandId, Record, Verdict};

use super::graph::{Gate, Reply, Route};
use super::house::{House, Life, brisk, no_blind_post, roster};
use super::stage::{call_state, join, within};
use crate::mail::Mail;
use crate::{CommandError, CommandOptions, DeliverError, JoinError, Recovered};

/// Waits until a commit stands still.
async fn stalled(life: &Life) {
    let faults = life.faults.clone();
    within(tokio::task::spawn_blocking(move || faults.until_stalled()))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_d5_while_the_disk_is_slow_the_actor_goes_on_and_nothing_is_told_early() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    let key = life.stage.key(1).await;
    life.faults.stall();
    let mut pending = call
        .command(Action::Unmute, CommandOptions::default())
        .unwrap();
    stalled(&life).await;
    let before = call.state();
    assert_eq!(before.phase, Phase::Muted, "its acceptance is not durable");
    // What comes meanwhile is taken and waits in its order.
    life.tell(&key, &roster(call.id(), 2, true));
    life.tell(&key, &roster(call.id(), 3, false));
    while call.shared.mail.capacity() < crate::mail::CAPACITY {
        tokio::task::yield_now().await;
    }
    assert_eq!(call.state(), before);
    assert_eq!(house.graph.count(Route::Unmute), 0);
    let told = tokio::time::timeout(Duration::ZERO, pending.accepted());
    assert!(told.await.is_err());

    life.faults.resume();
    within(pending.accepted()).await.unwrap();
    house.graph.answered(Route::Unmute, 1).await;
    life.tell(&key, &roster(call.id(), 4, true));
    life.tell(&key, &roster(call.id(), 5, false));
    let outcome = within(pending.outcome()).await.unwrap();
    assert!(outcome.verdict.is_success());
    assert!(outcome.moments.posted.is_some());
    // A read may have confirmed it before what was told meanwhile is through.
    let last = within(call.until(|status| status.phase == Phase::Unmuted)).await;
    assert_eq!(last.phase, Phase::Unmuted);
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_d5_a_post_that_waited_too_long_for_its_record_is_not_sent() {
    fn tune(config: &mut Config) {
        brisk(config);
        config.post_limit = Duration::from_millis(200);
    }
    let house = House::new().await;
    let life = house.open(tune);
    let call = life.established(true).await;
    life.faults.stall();
    let options = CommandOptions {
        within: Some(Duration::from_secs(1)),
        ..CommandOptions::default()
    };
    let pending = call.command(Action::Unmute, options).unwrap();
    stalled(&life).await;
    // Its time is over by the machine's clock, and the actor is not in anybody's way.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    life.faults.resume();
    let verdict = within(pending.outcome()).await.unwrap().verdict;
    assert_eq!(house.graph.count(Route::Unmute), 0);
    assert!(!verdict.is_success(), "{verdict:?}");
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_d5_with_its_outbox_full_a_call_takes_no_more_and_loses_nothing() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    let key = life.stage.key(1).await;
    life.faults.stall();
    let pending = call
        .command(Action::Unmute, CommandOptions::default())
        .unwrap();
    stalled(&life).await;
    let mut number = 2;
    let refused = loop {
        let entry = roster(call.id(), number, number % 2 == 0);
        match life.stage.deliver(&key, &[entry]) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 10_000, "no bound");
        tokio::task::yield_now().await;
    };
    assert_eq!(refused, DeliverError::Busy);
    let busy = call.command(Action::Mute, CommandOptions::default());
    assert_eq!(busy.unwrap_err(), CommandError::Busy);
    life.faults.resume();
    within(call.until(|status| status.version.seq + 1 >= number - 1)).await;
    house.graph.answered(Route::Unmute, 1).await;
    house.graph.set_muted(false);
    life.tell(&key, &roster(call.id(), number, true));
    life.tell(&key, &roster(call.id(), number + 1, false));
    assert!(
        within(pending.outcome())
            .await
            .unwrap()
            .verdict
            .is_success()
    );
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_d2_after_a_sync_that_failed_nothing_is_accepted_sent_or_told() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    let other = life.established(true).await;
    let key = life.stage.key(1).await;
    life.faults.next_commit(CommitFault::SyncError);
    let mut pending = call
        .command(Action::Unmute, CommandOptions::default())
        .unwrap();
    let failed = CommandError::StorageFailed;
    assert_eq!(within(pending.accepted()).await, Err(failed));
    assert_eq!(within(pending.outcome()).await.unwrap_err(), failed);
    within(life.engine().journal().unwrap().failed()).await;
    for call in [&call, &other] {
        let refused = call.command(Action::Unmute, CommandOptions::default());
        assert_eq!(refused.unwrap_err(), failed);
    }
    let engine = life.engine().clone();
    let joined = life
        .run(async move { engine.join(join(None)).await.map(drop) })
        .await;
    assert!(
        matches!(joined, Err(JoinError::StorageFailed)),
        "{joined:?}"
    );
    // Graph sends it again, to the next process.
    within(call.shared.mail.closed()).await;
    let entry = call_state(call.id().as_str(), "terminated");
    assert_eq!(life.stage.deliver(&key, &[entry]), Err(DeliverError::Busy));
    assert_eq!(house.graph.count(Route::Unmute), 0);
    let engine = life.engine().clone();
    let left = life.run(async move { engine.drain(super::graph::PATIENCE).await });
    assert_eq!(left.await, 2, "nobody waits for what cannot end");
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_d1_on_a_full_disk_nothing_is_accepted_and_what_was_has_its_verdict() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    let key = life.stage.key(1).await;
    let gate = Gate::new();
    let answer = Reply::operation("completed").behind(&gate);
    house.graph.once(Route::Unmute, answer);
    let (operation, pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    life.faults.set_free(Some(4 << 20));
    let full = async {
        while life.engine().journal().unwrap().admits().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(full).await;
    let refused = call.command(Action::Mute, CommandOptions::default());
    assert_eq!(refused.unwrap_err(), CommandError::StorageFull);
    let engine = life.engine().clone();
    let joined = life
        .run(async move { engine.join(join(None)).await.map(drop) })
        .await;
    assert!(matches!(joined, Err(JoinError::StorageFull)), "{joined:?}");
    gate.open();
    life.tell(&key, &roster(call.id(), 2, false));
    let told = within(pending.outcome()).await.unwrap().verdict;
    assert!(told.is_success());
    let id = call.id().clone();
    life.crash().await;
    let life = house.open(brisk);
    life.recovering();
    let record = life.call(&id).operation(&operation).unwrap();
    assert_eq!(record.verdict, Some(told));
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_n1_what_a_broken_actor_leaves_open_is_written_down() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::silent());
    let (operation, pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    assert!(call.shared.mail.send(Mail::Panic).await.is_ok());
    let told = within(pending.outcome()).await.unwrap().verdict;
    assert_eq!(told, Verdict::Unconfirmed);
    within(call.until(|_| false)).await;
    let id = call.id().clone();
    life.crash().await;
    let life = house.open(brisk);
    assert_eq!(life.recovered().await.open, 0, "it was hung up");
    let engine = life.engine().clone();
    let kept = engine.operation(&id, &operation).await.unwrap();
    assert_eq!(kept.unwrap().verdict, Some(Verdict::Unconfirmed));
    life.crash().await;
    no_blind_post(&house.graph);
}

/// A record that cannot follow those before it takes everything along that rests on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rests_on_a_contradictory_record_does_not_happen_and_the_call_is_closed() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::silent());
    let (operation, pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    let stranger = CommandId::new(77);
    let wanted = vec![
        Effect::Record(Record::Verdict {
            command: stranger,
            action: Action::Mute,
            verdict: Verdict::Already,
        }),
        Effect::Post {
            attempt: 99,
            action: Action::Mute,
            context: stranger.context(1),
            command: stranger,
        },
    ];
    assert!(call.shared.mail.send(Mail::Wanted(wanted)).await.is_ok());
    let told = within(pending.outcome()).await.unwrap().verdict;
    assert_eq!(told, Verdict::Unconfirmed);
    house.graph.received(Route::Delete, 1).await;
    assert_eq!(within(call.until(|_| false)).await.phase, Phase::Terminated);
    assert_eq!(house.graph.count(Route::Mute), 0);
    let id = call.id().clone();
    life.crash().await;
    let life = house.open(brisk);
    assert_eq!(life.recovered().await, Recovered::default());
    let engine = life.engine().clone();
    let kept = engine.operation(&id, &operation).await.unwrap();
    assert_eq!(kept.unwrap().verdict, Some(Verdict::Unconfirmed));
    life.crash().await;
}
