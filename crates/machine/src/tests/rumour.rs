//! A notification that says the call is over is asked about before it is believed.

use openmic_model::{Action, CallKind, CallState, EndCause, OperationStatus, Verdict};

use super::rig::{Rig, count, created, facts, millis, own, secs, terminated};
use crate::{Ack, Config, Effect, Event, Phase, Read};

fn reads(effects: &[Effect]) -> usize {
    count(effects, |effect| matches!(effect, Effect::ReadCall { .. }))
}

fn said() -> Event {
    Event::CallNotice(terminated())
}

fn call_read(rig: &mut Rig, read: Read<openmic_model::CallFacts>) -> Vec<Effect> {
    let query = rig.last_query();
    rig.fire(Event::CallRead { query, read })
}

#[test]
fn the_end_is_believed_once_graph_says_so_itself() {
    for read in [Read::Found(terminated()), Read::Gone] {
        let mut rig = Rig::at_rest(true);
        rig.command(Action::Unmute);
        assert_eq!(reads(&rig.fire(said())), 1);
        rig.open(rig.latest);
        call_read(&mut rig, read);
        assert_eq!(rig.phase(), Phase::Terminated);
        let result = terminated().result;
        assert_eq!(rig.verdict(rig.latest), Verdict::CallEnded { result });
        let ending = rig.machine.ending().unwrap();
        assert_eq!(ending.cause, EndCause::Remote);
        assert_eq!(ending.result, terminated().result);
    }
}

#[test]
fn a_false_end_changes_nothing_for_a_command_under_way() {
    let mut rig = Rig::at_rest(true);
    rig.command(Action::Unmute);
    rig.fire(said());
    call_read(&mut rig, Read::Found(facts(CallState::Established)));
    assert_eq!(rig.phase(), Phase::Unmuting);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    assert!(rig.verdict(rig.latest).is_success());
    assert_eq!(rig.machine.graph_state(), Some(CallState::Established));
}

#[test]
fn a_thousand_false_ends_make_a_handful_of_reads() {
    let mut rig = Rig::at_rest(true);
    let mut asked = 0;
    for _ in 0..1000 {
        let mut effects = rig.fire(said());
        effects.extend(rig.pass(millis(60)));
        let now = reads(&effects);
        assert!(now <= 1);
        asked += now;
        if now == 1 {
            call_read(&mut rig, Read::Found(facts(CallState::Established)));
        }
    }
    assert_eq!(rig.phase(), Phase::Muted);
    assert!((3..=8).contains(&asked), "{asked}");
    // And when it is true in the end, that is found out.
    rig.fire(said());
    rig.pass(secs(32));
    call_read(&mut rig, Read::Found(terminated()));
    assert_eq!(rig.phase(), Phase::Terminated);
}

#[test]
fn the_end_that_is_said_while_a_read_is_under_way_is_asked_about_again() {
    let mut rig = Rig::at_rest(true);
    rig.fire(said());
    assert_eq!(reads(&rig.fire(said())), 0);
    // It began before the second notification, so it does not tell.
    call_read(&mut rig, Read::Found(facts(CallState::Established)));
    assert_eq!(reads(&rig.pass(secs(1))), 1);
}

#[test]
fn what_cannot_be_read_is_asked_for_until_it_can() {
    let mut rig = Rig::at_rest(true);
    rig.fire(said());
    for read in [
        Read::Failed,
        Read::Absent,
        Read::Found(facts(CallState::Terminating)),
    ] {
        call_read(&mut rig, read);
        assert_eq!(rig.phase(), Phase::Muted);
        assert_eq!(reads(&rig.pass(secs(1))), 1);
    }
    // Any other answer that knows no call ends it, too.
    rig.fire(Event::KeptAlive(Ack::Gone));
    assert_eq!(rig.machine.ending().unwrap().cause, EndCause::Remote);
}

#[test]
fn a_false_terminating_does_not_keep_a_call_from_being_established() {
    let mut rig = Rig::start(Rig::plain());
    rig.fire(created(CallState::Establishing, CallKind::Group));
    rig.fire(Event::CallNotice(facts(CallState::Terminating)));
    call_read(&mut rig, Read::Found(facts(CallState::Establishing)));
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    rig.roster(&[own(true, 10)]);
    assert_eq!(rig.phase(), Phase::Muted);
}

#[test]
fn before_the_creates_answer_it_shows_the_call_and_no_more() {
    let mut rig = Rig::start(Rig::plain());
    assert_eq!(reads(&rig.fire(said())), 1);
    assert_eq!(rig.phase(), Phase::Establishing);
    assert!(rig.machine.took_effect());
    call_read(&mut rig, Read::Gone);
    assert_eq!(rig.phase(), Phase::Terminated);
}

#[test]
fn hanging_up_goes_on_until_graph_knows_no_call() {
    let mut rig = Rig::at_rest(false);
    rig.fire(Event::HangUp);
    rig.fire(Event::HungUp(Ack::Failed));
    rig.fire(said());
    assert_eq!(rig.phase(), Phase::Terminating);
    call_read(&mut rig, Read::Found(facts(CallState::Established)));
    let hang_ups = |effects: &[Effect]| count(effects, |e| *e == Effect::HangUp);
    assert_eq!(hang_ups(&rig.pass(secs(1))), 1, "there is a microphone yet");
    // Once the DELETE was answered, there is nothing left to protect.
    rig.fire(Event::HungUp(Ack::Done));
    rig.fire(said());
    assert_eq!(rig.phase(), Phase::Terminated);
}

#[test]
fn it_can_be_left_out() {
    let config = Config {
        verify_terminal: false,
        ..Rig::plain()
    };
    let mut rig = Rig::at_rest_with(true, config);
    assert_eq!(reads(&rig.fire(said())), 0);
    assert_eq!(rig.phase(), Phase::Terminated);
}
