//! An engine dies in the middle of an unmute and another takes its calls up: each crash point of an
//! unmute, on real SQLite, with a Graph that remembers every POST.

use openmic_journal::CommitFault;
use openmic_machine::Phase;
use openmic_model::{Action, CallId, Evidence, OperationId, Verdict};
use serde_json::json;

use super::graph::{Gate, Graph, Reply, Route};
use super::house::{House, brisk, no_blind_post, roster};
use super::stage::{call_state, join, within};
use crate::{CommandError, CommandOptions, JoinError, RosterEvent};

fn is_confirmed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Confirmed { .. })
}

/// Opens the house once more and waits for the verdict.
async fn verdict_after(house: &House, call: &CallId, operation: &OperationId) -> Verdict {
    let life = house.open(brisk);
    let recovered = life.recovered().await;
    assert_eq!((recovered.open, recovered.adopted), (1, 1), "{recovered:?}");
    let verdict = life.verdict(call, operation).await;
    life.crash().await;
    // Whatever it is, it stays.
    let life = house.open(brisk);
    life.recovering();
    let record = life.call(call).operation(operation).unwrap();
    assert_eq!(record.verdict.as_ref(), Some(&verdict));
    life.crash().await;
    no_blind_post(&house.graph);
    verdict
}

fn posts(graph: &Graph) -> usize {
    graph.count(Route::Unmute) + graph.count(Route::Mute)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k0_before_the_acceptance_is_durable_there_is_no_command() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    life.faults.stall();
    let mut pending = call
        .command(Action::Unmute, CommandOptions::default())
        .unwrap();
    let operation = pending.operation().clone();
    tokio::task::spawn_blocking({
        let faults = life.faults.clone();
        move || faults.until_stalled()
    })
    .await
    .unwrap();
    let told = tokio::time::timeout(std::time::Duration::ZERO, pending.accepted());
    assert!(told.await.is_err(), "told before it is durable");
    let id = call.id().clone();
    life.crash().await;

    let life = house.open(brisk);
    assert_eq!(life.recovered().await.adopted, 1);
    assert_eq!(life.call(&id).operation(&operation), None);
    assert_eq!(posts(&house.graph), 0);
    // A retry is a new command.
    let (operation, _pending) = life.accepted(&life.call(&id), Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    house.graph.set_muted(false);
    let key = life.stage.key(1).await;
    life.tell(&key, &roster(&id, 2, false));
    assert!(is_confirmed(&life.verdict(&id, &operation).await));
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k1_k2_after_the_acceptance_is_durable_the_command_runs_to_its_verdict() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    // Acceptance and attempt are one commit.
    life.faults.next_commit(CommitFault::CrashAfter);
    let mut pending = call
        .command(Action::Unmute, CommandOptions::default())
        .unwrap();
    let operation = pending.operation().clone();
    let accepted = within(pending.accepted()).await;
    assert_eq!(accepted, Err(CommandError::StorageFailed));
    let id = call.id().clone();
    life.crash().await;
    assert_eq!(posts(&house.graph), 0, "no POST before its record");

    let life = house.open(brisk);
    life.recovering();
    let post = house.graph.received(Route::Unmute, 1).await;
    let (_, number) = openmic_model::CommandId::from_context(
        &openmic_model::ClientContext::parse(post.context()).unwrap(),
    )
    .unwrap();
    assert_eq!(number, 2, "the first number is burnt");
    house.graph.set_muted(false);
    let key = life.stage.key(1).await;
    life.tell(&key, &roster(&id, 2, false));
    assert!(is_confirmed(&life.verdict(&id, &operation).await));
    life.crash().await;
    assert!(is_confirmed(&verdict_after(&house, &id, &operation).await));
    assert_eq!(posts(&house.graph), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k3_a_post_without_an_answer_that_took_effect_is_not_sent_again() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::silent());
    let (operation, _pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    house.graph.set_muted(false);
    let id = call.id().clone();
    life.crash().await;

    let verdict = verdict_after(&house, &id, &operation).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    assert_eq!(posts(&house.graph), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k3_a_post_without_an_answer_and_effect_is_sent_again_after_a_look() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::silent());
    let (operation, _pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    let id = call.id().clone();
    life.crash().await;

    let life = house.open(brisk);
    life.recovering();
    house.graph.received(Route::Unmute, 2).await;
    house.graph.set_muted(false);
    let key = life.stage.key(1).await;
    life.tell(&key, &roster(&id, 2, false));
    assert!(is_confirmed(&life.verdict(&id, &operation).await));
    life.crash().await;
    assert_eq!(posts(&house.graph), 2);
    no_blind_post(&house.graph);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k4_an_answer_that_was_not_written_down_is_found_out_again() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    let gate = Gate::new();
    let answer = Reply::operation("completed").behind(&gate);
    house.graph.once(Route::Unmute, answer);
    let (operation, _pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    life.faults.stall();
    house.graph.set_muted(false);
    gate.open();
    house.graph.answered(Route::Unmute, 1).await;
    let id = call.id().clone();
    life.crash().await;

    let verdict = verdict_after(&house, &id, &operation).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    assert_eq!(posts(&house.graph), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k5_a_notification_that_was_taken_and_not_applied_is_asked_for() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::operation("running"));
    let (operation, _pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.answered(Route::Unmute, 1).await;
    house.graph.set_muted(false);
    life.faults.stall();
    let key = life.stage.key(1).await;
    life.tell(&key, &roster(call.id(), 2, false));
    let id = call.id().clone();
    life.crash().await;

    let verdict = verdict_after(&house, &id, &operation).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    assert_eq!(posts(&house.graph), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k6_a_verdict_that_was_not_told_is_readable_before_anything_is_asked() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    let commits = life.faults.commits();
    let (operation, pending) = life.accepted(&call, Action::Unmute).await;
    let key = life.stage.key(1).await;
    let seen = house.graph.answered(Route::Unmute, 1).await;
    assert!(!seen.context().is_empty());
    within(call.until(|status| status.waits_for.contains(&"fresh own roster entry"))).await;
    // Acceptance and attempt, then the answer.
    while life.faults.commits() < commits + 2 {
        tokio::task::yield_now().await;
    }
    life.faults.next_commit(CommitFault::CrashAfter);
    life.tell(&key, &roster(call.id(), 2, false));
    let told = within(pending.outcome()).await;
    assert_eq!(told.unwrap_err(), CommandError::StorageFailed);
    assert_eq!(call.operation(&operation).unwrap().verdict, None);
    let id = call.id().clone();
    life.crash().await;

    let gate = Gate::new();
    house.graph.always(
        Route::Read,
        Reply::json(200, &json!({"id": "$call", "state": "established"})).behind(&gate),
    );
    let life = house.open(brisk);
    life.recovering();
    let record = life.call(&id).operation(&operation).unwrap();
    let verdict = record.verdict.unwrap();
    assert!(
        matches!(
            verdict,
            Verdict::Confirmed {
                evidence: Evidence::Roster,
                ..
            }
        ),
        "{verdict:?}"
    );
    let engine = life.engine().clone();
    let kept = engine.operation(&id, &operation).await.unwrap();
    assert_eq!(kept.unwrap().verdict, Some(verdict));
    life.crash().await;
    assert_eq!(posts(&house.graph), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k7_the_roster_goes_on_in_a_higher_epoch() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    let before = call.roster_now().unwrap().version;
    let id = call.id().clone();
    life.crash().await;
    let mut last = before;
    for _ in 0..2 {
        let life = house.open(brisk);
        life.recovered().await;
        let mut roster = life.call(&id).roster();
        let Some(RosterEvent::Snapshot(version)) = within(roster.next()).await else {
            panic!("no snapshot");
        };
        assert!(version.version.epoch > last.epoch, "{last:?}");
        last = version.version;
        life.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k9_a_crash_during_recovery_changes_nothing() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::silent());
    let (operation, _pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    house.graph.set_muted(false);
    let id = call.id().clone();
    life.crash().await;
    for _ in 0..3 {
        let number = house.graph.count(Route::Read) + 1;
        house.graph.once(Route::Read, Reply::silent());
        house.graph.once(Route::List, Reply::silent());
        let life = house.open(brisk);
        life.recovering();
        house.graph.received(Route::Read, number).await;
        assert_eq!(life.call(&id).operation(&operation).unwrap().verdict, None);
        life.crash().await;
    }
    let verdict = verdict_after(&house, &id, &operation).await;
    assert!(is_confirmed(&verdict), "{verdict:?}");
    assert_eq!(posts(&house.graph), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_k11_during_a_drain_is_a_crash_as_any() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::silent());
    house.graph.once(Route::Delete, Reply::silent());
    let (operation, _pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    let engine = life.engine().clone();
    let drained =
        life.run(async move { engine.drain(std::time::Duration::from_millis(200)).await });
    assert_eq!(drained.await, 1);
    let told = call.operation(&operation).unwrap().verdict;
    let id = call.id().clone();
    life.crash().await;

    let life = house.open(brisk);
    life.recovered().await;
    let verdict = life.verdict(&id, &operation).await;
    assert!(told.is_none_or(|told| told == verdict), "{verdict:?}");
    life.crash().await;
    assert_eq!(posts(&house.graph), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_leaves_nothing_to_be_taken_up() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::silent());
    let (operation, pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    let engine = life.engine().clone();
    let drain = life.run(async move { engine.drain(super::graph::PATIENCE).await });
    let key = life.stage.key(1).await;
    let hung_up = async {
        house.graph.answered(Route::Delete, 1).await;
        life.tell(&key, &call_state(call.id().as_str(), "terminated"));
    };
    let (left, ()) = tokio::join!(drain, hung_up);
    assert_eq!(left, 0);
    let told = within(pending.outcome()).await.unwrap().verdict;
    assert!(matches!(told, Verdict::CallEnded { .. }), "{told:?}");
    let id = call.id().clone();
    life.crash().await;

    let life = house.open(brisk);
    assert_eq!(life.recovered().await.open, 0);
    assert!(life.engine().call(&id).is_none());
    // It is found for a day all the same.
    let engine = life.engine().clone();
    let kept = engine.operation(&id, &operation).await.unwrap();
    assert_eq!(kept.unwrap().verdict, Some(told));
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_gone_is_closed_and_its_command_ends_with_it() {
    let house = House::new().await;
    let life = house.open(brisk);
    let call = life.established(true).await;
    house.graph.once(Route::Unmute, Reply::silent());
    let (operation, _pending) = life.accepted(&call, Action::Unmute).await;
    house.graph.received(Route::Unmute, 1).await;
    let id = call.id().clone();
    life.crash().await;

    house.graph.always(Route::Read, Reply::gone());
    house.graph.always(Route::List, Reply::gone());
    let life = house.open(brisk);
    let recovered = life.recovered().await;
    assert_eq!((recovered.adopted, recovered.closed), (0, 1));
    let verdict = life.verdict(&id, &operation).await;
    assert!(matches!(verdict, Verdict::CallEnded { .. }), "{verdict:?}");
    assert_eq!(life.call(&id).state().phase, Phase::Terminated);
    life.crash().await;
    let life = house.open(brisk);
    assert_eq!(life.recovered().await.open, 0);
    life.crash().await;
}

/// Crashes while the create is under way.
async fn lost_create(house: &House) -> String {
    let life = house.open(brisk);
    house.graph.once(Route::Create, Reply::silent());
    let engine = life.engine().clone();
    let joining = life.spawn(async move { engine.join(join(None)).await.map(drop) });
    let key = life.stage.key(1).await;
    life.crash().await;
    assert!(joining.await.is_err(), "it died with its engine");
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_create_that_shows_itself_after_the_crash_is_hung_up() {
    let house = House::new().await;
    let key = lost_create(&house).await;
    let life = house.open(brisk);
    let recovered = life.recovered().await;
    assert_eq!((recovered.open, recovered.lost), (1, 1), "{recovered:?}");
    life.tell(&key, &call_state("call-9", "established"));
    let seen = house.graph.answered(Route::Delete, 1).await;
    assert_eq!(seen.call, "call-9");
    life.tell(&key, &call_state("call-9", "terminated"));
    life.all_over().await;
    life.crash().await;
    let life = house.open(brisk);
    assert_eq!(life.recovered().await.open, 0);
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_create_that_never_shows_itself_is_closed() {
    let house = House::new().await;
    lost_create(&house).await;
    let life = house.open(brisk);
    assert_eq!(life.recovered().await.lost, 1);
    life.all_over().await;
    life.crash().await;
    let life = house.open(brisk);
    assert_eq!(life.recovered().await.open, 0);
    assert_eq!(house.graph.count(Route::Delete), 0);
    life.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_create_before_its_intent_is_durable() {
    let house = House::new().await;
    let life = house.open(brisk);
    life.faults.next_commit(CommitFault::Torn);
    let engine = life.engine().clone();
    let joined = life
        .run(async move { engine.join(join(None)).await.map(drop) })
        .await;
    assert!(
        matches!(joined, Err(JoinError::Unknown { .. })),
        "{joined:?}"
    );
    assert_eq!(house.graph.count(Route::Create), 0);
    life.crash().await;
    let life = house.open(brisk);
    assert_eq!(life.recovered().await.open, 0);
    life.crash().await;
}
