//! What is written down, and when.

use openmic_model::{Action, CallKind, CallState, Evidence, OperationStatus, Posted, Record};

use super::rig::{OWN_COMMAND, Rig, confirmed, created, own};
use crate::{Config, Effect, Event, PostOutcome, Refusal};

fn records(log: &[Effect]) -> Vec<Record> {
    let record = |effect: &Effect| match effect {
        Effect::Record(record) => Some(record.clone()),
        _ => None,
    };
    log.iter().filter_map(record).collect()
}

/// Kinds of records, and what rests on them.
fn names(log: &[Effect]) -> Vec<&'static str> {
    let name = |effect: &Effect| match effect {
        Effect::Record(record) => Some(record.name()),
        Effect::Post { .. } => Some("POST"),
        Effect::Settle { .. } => Some("told"),
        _ => None,
    };
    log.iter().filter_map(name).collect()
}

#[test]
fn an_unmute_is_written_down_step_by_step() {
    let mut rig = Rig::at_rest(true);
    rig.command(Action::Unmute);
    assert_eq!(names(&rig.log), ["accepted", "attempt", "POST"]);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    assert_eq!(names(&rig.log)[3..], ["outcome", "verdict", "told"]);
    let command = rig.latest;
    let operation = rig.operation(OperationStatus::Completed).id;
    let [_, attempt, outcome, verdict] = &records(&rig.log)[..] else {
        panic!("{:?}", rig.log);
    };
    assert_eq!(
        *attempt,
        Record::Attempt {
            lead: command,
            number: 1,
            action: Action::Unmute
        }
    );
    assert_eq!(
        *outcome,
        Record::Outcome {
            lead: command,
            number: 1,
            outcome: Posted::Ended { operation }
        }
    );
    assert_eq!(
        *verdict,
        Record::Verdict {
            command,
            action: Action::Unmute,
            verdict: confirmed(Evidence::Roster)
        }
    );
}

#[test]
fn what_overtakes_is_written_down_before_what_it_overtakes_ends() {
    let mut rig = Rig::at_rest(true);
    rig.command(Action::Unmute);
    rig.command(Action::Mute);
    assert_eq!(names(&rig.log)[3..], ["accepted", "verdict", "told"]);
}

#[test]
fn a_command_refused_at_once_leaves_no_record() {
    let mut early = Rig::start(Rig::plain());
    early.command(Action::Mute);
    let mut alone = Rig::start(Rig::plain());
    alone.fire(created(CallState::Established, CallKind::PeerToPeer));
    alone.command(Action::Mute);
    let mut over = Rig::at_rest(true);
    over.terminate();
    over.command(Action::Unmute);
    for rig in [early, alone, over] {
        assert_eq!(rig.verdicts(rig.latest).len(), 1);
        assert_eq!(records(&rig.log), []);
    }
    let mut busy = Rig::at_rest(true);
    for _ in 0..33 {
        busy.command(Action::Unmute);
    }
    assert_eq!(busy.verdicts(busy.latest).len(), 1);
    assert!(!busy.ledger.accepted(busy.latest));
    assert_eq!(busy.ledger.open().count(), 32);
}

#[test]
fn the_mute_on_joining_is_written_down_too() {
    let mut rig = Rig::start(Config::new(1, OWN_COMMAND));
    rig.fire(created(CallState::Established, CallKind::Group));
    rig.roster(&[own(false, 10)]);
    assert!(rig.ledger.accepted(OWN_COMMAND));
    assert_eq!(rig.posts(), 1);
}

#[test]
fn what_had_no_effect_is_told_apart() {
    for (outcome, posted) in [
        (PostOutcome::NotSent, Posted::NoEffect),
        (
            PostOutcome::Throttled {
                after: None,
                refusal: Refusal::throttled(),
            },
            Posted::NoEffect,
        ),
        (
            PostOutcome::Refused(Refusal::new(403, "8566", "no")),
            Posted::NoEffect,
        ),
        (PostOutcome::Ambiguous, Posted::Ambiguous),
    ] {
        let mut rig = Rig::at_rest(true);
        rig.command(Action::Unmute);
        rig.posted(outcome);
        let written = records(&rig.log)
            .into_iter()
            .find_map(|record| match record {
                Record::Outcome { outcome, .. } => Some(outcome),
                _ => None,
            });
        assert_eq!(written, Some(posted));
    }
}

#[test]
fn an_event_reads_back_what_it_was() {
    for trigger in super::table::events::triggers() {
        let event = (trigger.make)(&Rig::at_rest(true));
        let text = serde_json::to_string(&event).unwrap();
        let back: Event = serde_json::from_str(&text).unwrap();
        assert_eq!(back, event, "{text}");
    }
}
