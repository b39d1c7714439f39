//! What stays readable: operations, the roster, ended calls.

use std::time::Duration;

use openmic_machine::Phase;
use openmic_model::{
    Action, Change, ClientContext, CommandId, Evidence, KeptVersion, OperationId, OperationStatus,
    RosterSeen, Verdict,
};
use serde_json::json;
use tokio::time::Instant;

use super::graph::{Reply, Route};
use super::stage::{Stage, participant, patient, verdict, within};
use crate::operations::{Given, Operations};
use crate::told::Told;
use crate::{CommandOptions, OperationRecord, Part, RosterEvent};

#[test]
fn an_operation_tells_each_verdict_in_graphs_words() {
    let code = |verdict: Option<Verdict>| {
        let record = OperationRecord {
            id: OperationId::parse("1").unwrap(),
            action: Action::Unmute,
            client_context: ClientContext::parse("mine").ok(),
            verdict,
        };
        let operation = record.to_operation();
        assert_eq!(operation.id.unwrap().as_str(), "1");
        assert_eq!(operation.client_context.unwrap().as_str(), "mine");
        let result = operation.result.map(|info| (info.code, info.subcode));
        (operation.status, result)
    };
    let roster = RosterSeen::Unseen;
    let confirmed = Verdict::Confirmed {
        evidence: Evidence::Http,
        roster,
    };
    let refused = |code: &str| Verdict::Refused {
        status: 403,
        code: code.to_owned(),
        message: "no".to_owned(),
    };
    let failed = |code, subcode| (OperationStatus::Failed, Some((code, subcode)));
    assert_eq!(code(None), (OperationStatus::Running, None));
    assert_eq!(code(Some(confirmed)), (OperationStatus::Completed, None));
    assert_eq!(
        code(Some(Verdict::Already)),
        (OperationStatus::Completed, None)
    );
    assert_eq!(code(Some(refused("8541"))), failed(403, 8541));
    assert_eq!(code(Some(refused("Forbidden"))), failed(403, 0));
    assert_eq!(code(Some(Verdict::Unconfirmed)), failed(504, 0));
    assert_eq!(code(Some(Verdict::Expired)), failed(408, 0));
    assert_eq!(code(Some(Verdict::Superseded)), failed(409, 0));
    let ended = Verdict::CallEnded { result: None };
    assert_eq!(code(Some(ended)), failed(404, 8522));
}

#[test]
fn only_the_first_verdict_of_a_command_counts() {
    let operations = Operations::default();
    let commands = [CommandId::new(1), CommandId::new(2)];
    for (number, command) in commands.iter().enumerate() {
        let given = Given {
            command: *command,
            action: Action::Unmute,
            operation: Some(OperationId::parse(&number.to_string()).unwrap()),
            client_context: None,
            repeat: None,
        };
        operations.insert(given, Instant::now());
    }
    let [first, second] = commands;
    assert!(
        operations
            .settle(first, &Verdict::Already, Instant::now())
            .is_some()
    );
    assert!(
        operations
            .settle(first, &Verdict::Expired, Instant::now())
            .is_none()
    );
    let ended = Verdict::CallEnded { result: None };
    let broken = operations.broken(&ended);
    assert_eq!(broken.len(), 1);
    assert_eq!((broken[0].command, &broken[0].verdict), (second, &ended));
    assert!(operations.settle(second, &ended, Instant::now()).is_some());
    assert!(
        operations
            .settle(second, &Verdict::Already, Instant::now())
            .is_none()
    );
    assert!(operations.broken(&ended).is_empty());
    assert_eq!(
        operations.of(first).unwrap().verdict,
        Some(Verdict::Already)
    );
    assert_eq!(operations.of(second).unwrap().verdict, Some(ended));
    assert!(
        operations
            .settle(CommandId::new(3), &Verdict::Already, Instant::now())
            .is_none()
    );
}

#[test]
fn a_command_is_taken_back_only_while_it_is_open() {
    let operations = Operations::default();
    let command = CommandId::new(1);
    let given = Given {
        command,
        action: Action::Mute,
        operation: None,
        client_context: None,
        repeat: None,
    };
    operations.insert(given.clone(), Instant::now());
    assert!(operations.take_back(command));
    assert!(operations.of(command).is_none());
    operations.insert(given, Instant::now());
    assert!(
        operations
            .settle(command, &Verdict::Expired, Instant::now())
            .is_some()
    );
    // Its verdict is counted, so it must not be counted out once more.
    assert!(!operations.take_back(command));
    assert!(operations.of(command).is_some());
}

#[tokio::test]
async fn an_operation_runs_and_then_has_its_verdict() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let options = CommandOptions {
        client_context: ClientContext::parse("mine").ok(),
        ..CommandOptions::default()
    };
    let pending = leg.call.command(Action::Unmute, options).unwrap();
    let id = pending.operation().clone();
    let running = leg.call.operation(&id).unwrap();
    assert_eq!(running.verdict, None);
    let post = leg.answered(Route::Unmute, 1).await;
    assert_ne!(
        post.context(),
        "mine",
        "upstream sees the engine's own context"
    );
    leg.roster(false);
    let verdict = verdict(pending).await;
    // Whoever has the verdict finds everything else in agreement.
    assert_eq!(leg.call.state().phase, Phase::Unmuted);
    assert_eq!(stage.in_flight(), 0);
    let record = leg.call.operation(&id).unwrap();
    assert_eq!(record.verdict, Some(verdict));
    assert_eq!(record.client_context, ClientContext::parse("mine").ok());
    assert!(
        leg.call
            .operation(&OperationId::parse("nobodys").unwrap())
            .is_none()
    );
    leg.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_a_verdict_finds_everything_in_agreement() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    for round in 0..100 {
        let action = if round % 2 == 0 {
            Action::Unmute
        } else {
            Action::Mute
        };
        let muted = action == Action::Mute;
        let pending = leg.command(action);
        let id = pending.operation().clone();
        // Long before the answer, or long after: either order does.
        leg.until(|status| matches!(status.phase, Phase::Muting | Phase::Unmuting))
            .await;
        leg.roster(muted);
        assert!(verdict(pending).await.is_success());
        let rests = if muted { Phase::Muted } else { Phase::Unmuted };
        let status = leg.call.state();
        assert_eq!(status.phase, rests, "round {round}");
        let roster = leg.call.roster_now().unwrap();
        assert_eq!(roster.version, status.version, "round {round}");
        assert!(leg.call.operation(&id).unwrap().verdict.is_some());
        assert_eq!(stage.in_flight(), 0, "round {round}");
    }
    leg.end().await;
}

#[tokio::test]
async fn the_oldest_operations_are_forgotten() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let mut ids = Vec::new();
    for _ in 0..257 {
        let pending = leg.command(Action::Mute);
        ids.push(pending.operation().clone());
        assert_eq!(verdict(pending).await, Verdict::Already);
    }
    assert!(leg.call.operation(&ids[0]).is_none());
    assert!(ids[1..].iter().all(|id| leg.call.operation(id).is_some()));
    leg.end().await;
}

#[tokio::test]
async fn the_roster_comes_as_a_snapshot_then_as_deltas_then_ends() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let mut roster = leg.call.roster();
    let Some(RosterEvent::Snapshot(first)) = within(roster.next()).await else {
        panic!("no snapshot");
    };
    assert_eq!((first.version.seq, first.roster.len()), (1, 2));
    leg.roster(false);
    let Some(RosterEvent::Delta(second)) = within(roster.next()).await else {
        panic!("no delta");
    };
    assert_eq!(second.version.seq, 2);
    assert!(matches!(&second.changes[..], [Change::Upsert(me)] if !me.is_muted));
    // Two versions while nobody reads: the reader skips to the last one.
    leg.roster(true);
    leg.roster(false);
    leg.until(|status| status.version.seq == 4).await;
    let Some(RosterEvent::Snapshot(fourth)) = within(roster.next()).await else {
        panic!("no snapshot");
    };
    assert_eq!(fourth.version.seq, 4);
    assert_eq!(leg.call.roster_now(), Some(fourth));
    // What came last is still read after the end, and then it is over.
    let last = leg.next_delta(true);
    leg.tell(&[last, leg.state("terminated")]);
    leg.reach(Phase::Terminated).await;
    assert!(matches!(
        within(roster.next()).await,
        Some(RosterEvent::Delta(_))
    ));
    assert_eq!(within(roster.next()).await, None);
    assert_eq!(within(roster.next()).await, None);
}

#[tokio::test]
async fn a_call_in_which_nothing_happens_is_packed_and_shows_what_it_showed() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let mut stream = leg.call.roster();
    let before = leg.call.roster_now();
    let packed = |told: &Told| told.roster.as_ref().is_some_and(KeptVersion::is_packed);
    within(async {
        while !leg.call.shared.status.with(packed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(leg.call.roster_now(), before);
    let Some(RosterEvent::Snapshot(first)) = within(stream.next()).await else {
        panic!("no snapshot");
    };
    assert_eq!(Some(first), before);
    assert_eq!(verdict(leg.command(Action::Mute)).await, Verdict::Already);
    leg.roster(false);
    let Some(RosterEvent::Delta(second)) = within(stream.next()).await else {
        panic!("no delta");
    };
    assert_eq!((second.version.seq, second.roster.len()), (2, 2));
    leg.end().await;
}

#[tokio::test]
async fn a_bot_that_panics_or_never_reads_costs_its_call_nothing() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    // A stream and a verdict that nobody looks at, and a task of the bot's that panics on both.
    let unread = leg.call.roster();
    drop(leg.command(Action::Mute));
    let (call, mut stream) = (leg.call.clone(), leg.call.roster());
    let bot = tokio::spawn(async move {
        let pending = call.command(Action::Mute, CommandOptions::default());
        let first = stream.next().await;
        panic!("the bot's own fault: {first:?} {pending:?}");
    });
    assert!(within(bot).await.unwrap_err().is_panic());
    for number in 0..2_000 {
        leg.roster(number % 2 == 0);
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    leg.roster(true);
    leg.until(|status| status.phase == Phase::Muted).await;
    let pending = leg.command(Action::Unmute);
    leg.answered(Route::Unmute, 1).await;
    leg.roster(false);
    assert!(verdict(pending).await.is_success());
    // What was not read for so long is one snapshot, of the newest.
    let mut unread = unread;
    let Some(RosterEvent::Snapshot(newest)) = within(unread.next()).await else {
        panic!("no snapshot");
    };
    assert_eq!(Some(newest), leg.call.roster_now());
    leg.end().await;
}

#[tokio::test]
async fn a_roster_without_visible_change_is_no_version() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let entry = leg.next_delta(true);
    leg.tell(&[entry.clone(), entry]);
    leg.tell(&[leg.delta_of(3, &[participant("human", true, Some(300))])]);
    leg.until(|status| status.version.seq >= 3).await;
    let now = leg.call.roster_now().unwrap();
    assert_eq!(now.version.seq, 3);
    leg.end().await;
}

#[tokio::test]
async fn reads_are_passed_on_with_their_query() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let page = json!({"value": [], "unheardOf": 1});
    stage.graph.once(Route::List, Reply::json(200, &page));
    let part = leg.call.read(Part::Participants, Some("$skiptoken=2"));
    assert_eq!(within(part).await.unwrap(), page);
    let seen = stage.graph.received(Route::List, 1).await;
    assert_eq!(seen.query.as_deref(), Some("$skiptoken=2"));
    let call = within(leg.call.read(Part::Call, None)).await.unwrap();
    assert_eq!(call["myParticipantId"], "me");
    stage
        .graph
        .once(Route::Entry, Reply::error(404, "8504", "nobody"));
    let me = openmic_model::ParticipantId::parse("me").unwrap();
    let error = within(leg.call.read(Part::Participant(&me), None))
        .await
        .unwrap_err();
    assert_eq!((error.status, error.code.as_str()), (404, "8504"));
    leg.end().await;
}

#[tokio::test]
async fn an_ended_call_stays_for_its_retention_and_is_gone_then() {
    let retention = Duration::from_millis(300);
    let stage = Stage::with(|builder| builder.tune(patient).retention(retention), |_| ()).await;
    let leg = stage.established(true).await;
    let pending = leg.command(Action::Mute);
    let id = pending.operation().clone();
    assert_eq!(verdict(pending).await, Verdict::Already);
    leg.end().await;
    let found = stage.engine.call(leg.call.id()).unwrap();
    assert!(found.operation(&id).is_some());
    assert!(stage.engine.calls().is_empty());
    // Late notifications are taken, and change nothing.
    leg.tell(&[leg.state("established")]);
    within(leg.call.shared.mail.closed()).await;
    while stage.engine.call(leg.call.id()).is_some() {
        tokio::task::yield_now().await;
    }
    assert!(!stage.engine.awaits(&leg.key));
    assert!(stage.deliver(&leg.key, &[leg.state("terminated")]).is_err());
    // A handle that somebody kept still works.
    assert_eq!(leg.call.state().phase, Phase::Terminated);
    let ended = Verdict::CallEnded { result: None };
    assert_eq!(verdict(leg.command(Action::Mute)).await, ended);
    assert_eq!((stage.gauge(), stage.in_flight()), (0, 0));
}
