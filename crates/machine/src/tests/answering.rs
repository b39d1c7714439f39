//! Calls that somebody else begins: from the answer on.

use openmic_model::{Action, CallKind, CallState, OperationStatus, Verdict};

use super::rig::{OWN_COMMAND, Rig, count, created, facts, millis, own, person, secs};
use super::table::events::create_failed;
use crate::{Ack, Config, Effect, EndCause, Event, Phase, Read};

fn answering() -> Rig {
    Rig::answer(Rig::plain(), CallKind::Group)
}

fn reads(rig: &Rig) -> usize {
    count(&rig.log, |effect| matches!(effect, Effect::ReadCall { .. }))
}

fn hang_ups(rig: &Rig) -> usize {
    count(&rig.log, |effect| matches!(effect, Effect::HangUp))
}

fn read_as(rig: &mut Rig, state: CallState) {
    let query = rig.last_query();
    rig.fire(Event::CallRead {
        query,
        read: Read::Found(facts(state)),
    });
}

#[test]
fn an_answered_call_comes_up_like_a_created_one_and_is_muted_first() {
    let mut rig = Rig::answer(Config::new(1, OWN_COMMAND), CallKind::Group);
    assert!(matches!(rig.log[..], [Effect::Answer]));
    assert_eq!(rig.machine.graph_state(), Some(CallState::Incoming));
    rig.command(Action::Unmute);
    assert!(
        matches!(rig.verdict(rig.latest), Verdict::Refused { status: 400, code, .. } if code == "8501")
    );
    rig.fire(created(CallState::Establishing, CallKind::Group));
    assert!(rig.machine.took_effect());
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    rig.roster(&[own(false, 10), person("ann", 9)]);
    assert_eq!(rig.phase(), Phase::Muting);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(true, 11)]);
    assert_eq!(rig.phase(), Phase::Muted);
    // It is kept alive from the answer on.
    rig.pass(secs(700));
    assert!(count(&rig.log, |effect| matches!(effect, Effect::KeepAlive)) >= 1);
}

#[test]
fn a_one_to_one_call_is_not_muted() {
    let mut rig = Rig::answer(Config::new(1, OWN_COMMAND), CallKind::PeerToPeer);
    rig.fire(created(CallState::Establishing, CallKind::PeerToPeer));
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    assert_eq!(rig.phase(), Phase::Unmuted);
    assert_eq!(rig.posts(), 0);
}

#[test]
fn notifications_that_beat_the_answers_answer_show_that_it_took_effect() {
    let mut rig = answering();
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    assert!(rig.machine.took_effect());
    rig.roster(&[own(true, 10)]);
    assert_eq!(rig.phase(), Phase::Muted);
    rig.fire(created(CallState::Establishing, CallKind::Group));
    assert_eq!(rig.phase(), Phase::Muted);
}

#[test]
fn a_ring_told_twice_is_no_sign_of_an_answer() {
    let mut rig = answering();
    rig.fire(Event::CallNotice(facts(CallState::Incoming)));
    rig.fire(Event::CallNotice(openmic_model::CallFacts::default()));
    assert!(!rig.machine.took_effect());
    rig.fire(create_failed(true));
    let ending = rig.machine.ending().map(|ending| ending.cause);
    assert_eq!(ending, Some(EndCause::NotCreated));
    assert_eq!(hang_ups(&rig), 0, "it may be answered another way yet");
}

#[test]
fn a_lost_answer_is_looked_for_until_something_tells() {
    let mut rig = answering();
    rig.fire(create_failed(false));
    assert_eq!(reads(&rig), 1);
    read_as(&mut rig, CallState::Incoming);
    assert_eq!(rig.phase(), Phase::Establishing);
    rig.pass(secs(1));
    assert_eq!(reads(&rig), 2);
    read_as(&mut rig, CallState::Establishing);
    assert!(rig.machine.took_effect());
    assert_eq!(rig.phase(), Phase::Establishing);
    rig.pass(secs(5));
    assert_eq!(reads(&rig), 2, "the haste is over");
}

#[test]
fn a_lost_answer_to_a_call_that_is_gone_ends_it() {
    let mut rig = answering();
    rig.fire(create_failed(false));
    let query = rig.last_query();
    rig.fire(Event::CallRead {
        query,
        read: Read::Gone,
    });
    let ending = rig.machine.ending().map(|ending| ending.cause);
    assert_eq!(ending, Some(EndCause::Gone));

    let mut rig = answering();
    rig.fire(create_failed(false));
    rig.terminate();
    let ending = rig.machine.ending().map(|ending| ending.cause);
    assert_eq!(ending, Some(EndCause::Remote));
}

#[test]
fn a_lost_answer_that_nothing_tells_of_is_hung_up() {
    let mut rig = answering();
    rig.fire(create_failed(false));
    for _ in 0..29 {
        rig.pass(secs(1));
        let query = rig.last_query();
        rig.fire(Event::CallRead {
            query,
            read: Read::Failed,
        });
    }
    assert_eq!(rig.phase(), Phase::Establishing);
    rig.pass(secs(1));
    assert_eq!(rig.phase(), Phase::Terminating);
    assert_eq!(hang_ups(&rig), 1);
    rig.fire(Event::HungUp(Ack::Gone));
    assert_eq!(rig.phase(), Phase::Terminated);
}

#[test]
fn hanging_up_while_the_answer_is_under_way_deletes_at_once() {
    let mut rig = answering();
    rig.fire(Event::HangUp);
    assert_eq!(hang_ups(&rig), 1, "its id is known");
    // The DELETE may have come before the answer took effect, so it is made sure.
    rig.fire(create_failed(true));
    assert_eq!(rig.phase(), Phase::Terminating);
    rig.fire(Event::HungUp(Ack::Failed));
    rig.pass(millis(500));
    assert_eq!(hang_ups(&rig), 2);
    rig.fire(Event::HungUp(Ack::Gone));
    assert_eq!(rig.phase(), Phase::Terminated);
}
