//! From the create to the end of a call.

use std::time::Duration;

use openmic_model::{Action, CallFacts, CallKind, CallState, Evidence, OperationStatus, Verdict};

use super::rig::{
    OWN_COMMAND, Rig, confirmed, count, created, facts, millis, own, person, secs, terminated,
    unseen,
};
use super::table::events::create_failed;
use crate::{Ack, Config, Effect, EndCause, Event, Phase, PostOutcome, Read};

fn joining() -> Rig {
    Rig::start(Config::new(1, OWN_COMMAND))
}

fn refused(rig: &Rig, with: &str) {
    let verdict = rig.verdict(rig.latest);
    assert!(
        matches!(&verdict, Verdict::Refused { status: 400, code, .. } if code == with),
        "{verdict:?}"
    );
}

fn ended(rig: &Rig, cause: EndCause) {
    assert_eq!(rig.machine.ending().map(|ending| ending.cause), Some(cause));
    assert_eq!(rig.machine.next_deadline(), None);
}

fn hang_ups(rig: &Rig) -> usize {
    count(&rig.log, |effect| matches!(effect, Effect::HangUp))
}

#[test]
fn the_first_act_of_a_call_is_to_mute() {
    let mut rig = joining();
    rig.fire(created(CallState::Establishing, CallKind::Group));
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    assert_eq!(rig.phase(), Phase::Establishing);
    rig.roster(&[own(false, 10)]);
    assert_eq!(rig.phase(), Phase::Muting);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(true, 11)]);
    assert_eq!(rig.phase(), Phase::Muted);
    assert_eq!(rig.verdict(OWN_COMMAND), confirmed(Evidence::Roster));
}

#[test]
fn a_bots_own_unmute_outranks_the_mute_on_joining() {
    let mut rig = joining();
    rig.fire(created(CallState::Established, CallKind::Group));
    rig.command(Action::Unmute);
    assert_eq!(rig.verdict(OWN_COMMAND), Verdict::Superseded);
    rig.roster(&[own(false, 10)]);
    assert_eq!(rig.verdict(rig.latest), Verdict::Already);
    assert_eq!(rig.phase(), Phase::Unmuted);
    assert_eq!(rig.posts(), 0);
}

#[test]
fn a_bots_own_mute_joins_the_mute_on_joining() {
    let mut rig = joining();
    rig.fire(created(CallState::Established, CallKind::Group));
    rig.command(Action::Mute);
    rig.roster(&[own(false, 10)]);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(true, 11)]);
    assert_eq!(rig.verdict(OWN_COMMAND), confirmed(Evidence::Roster));
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
    assert_eq!(rig.posts(), 1);
}

#[test]
fn before_established_commands_are_refused() {
    let mut rig = joining();
    rig.command(Action::Unmute);
    refused(&rig, "8501");
    rig.fire(created(CallState::Establishing, CallKind::Group));
    rig.command(Action::Unmute);
    refused(&rig, "8501");
}

#[test]
fn established_before_the_creates_answer_still_gives_up_on_the_own_entry() {
    let mut rig = Rig::start(Rig::plain());
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    rig.pass(millis(100));
    rig.fire(created(CallState::Establishing, CallKind::Group));
    assert_eq!(rig.machine.graph_state(), Some(CallState::Established));
    rig.pass(millis(4899));
    assert_eq!(rig.phase(), Phase::Establishing);
    rig.pass(millis(1));
    assert_eq!(rig.phase(), Phase::Unmuted);
    assert!(!rig.machine.own_entry_seen());
    let reads = count(&rig.log, |e| matches!(e, Effect::ReadRoster { .. }));
    assert_eq!(reads, 3);
}

#[test]
fn where_the_own_entry_is_never_seen_commands_wait_and_end_unseen() {
    let mut rig = joining();
    rig.fire(created(CallState::Established, CallKind::Group));
    rig.pass(secs(1));
    rig.command(Action::Unmute);
    rig.open(rig.latest);
    rig.pass(secs(4));
    assert_eq!(rig.verdict(rig.latest), Verdict::Already);
    rig.command(Action::Mute);
    rig.answered(OperationStatus::Completed);
    for _ in 0..3 {
        rig.pass(secs(2));
        let query = rig.last_query();
        rig.fire(Event::SelfRead {
            query,
            read: Read::Absent,
        });
        let query = rig.last_query();
        rig.fire(Event::RosterRead {
            query,
            read: Read::Failed,
        });
    }
    assert_eq!(rig.verdict(rig.latest), unseen(Evidence::Http));
    assert_eq!(rig.phase(), Phase::Muted);
}

#[test]
fn a_lost_established_notification_is_found_by_reading_the_call() {
    let mut rig = Rig::start(Rig::plain());
    rig.fire(created(CallState::Establishing, CallKind::Group));
    let effects = rig.pass(secs(10));
    assert!(effects.iter().any(|e| matches!(e, Effect::ReadCall { .. })));
    let query = rig.last_query();
    rig.fire(Event::CallRead {
        query,
        read: Read::Failed,
    });
    let effects = rig.pass(secs(10));
    assert!(effects.iter().any(|e| matches!(e, Effect::ReadCall { .. })));
    let query = rig.last_query();
    let read = Read::Found(facts(CallState::Established));
    rig.fire(Event::CallRead { query, read });
    rig.roster(&[own(false, 1)]);
    assert_eq!(rig.phase(), Phase::Unmuted);
}

#[test]
fn a_call_that_never_told_which_entry_is_the_bots_own_is_asked_again() {
    let mut rig = Rig::start(Rig::plain());
    let nameless = |state| CallFacts {
        my_participant: None,
        ..facts(state)
    };
    rig.fire(Event::Created {
        facts: nameless(CallState::Establishing),
        kind: CallKind::Group,
    });
    rig.fire(Event::CallNotice(nameless(CallState::Established)));
    rig.roster(&[own(true, 1)]);
    rig.pass(secs(10));
    assert_eq!(
        rig.phase(),
        Phase::Unmuted,
        "which entry is its own is not known"
    );
    let effects = rig.pass(Duration::from_mins(11));
    assert!(effects.iter().any(|e| matches!(e, Effect::ReadCall { .. })));
    let query = rig.last_query();
    let read = Read::Found(facts(CallState::Established));
    rig.fire(Event::CallRead { query, read });
    let query = rig.last_query();
    let read = Read::Found(vec![own(true, 1)]);
    rig.fire(Event::RosterRead { query, read });
    assert_eq!(rig.phase(), Phase::Muted);
}

#[test]
fn the_own_entry_is_recognised_when_its_id_comes_late() {
    let mut rig = Rig::start(Rig::plain());
    let nameless = CallFacts {
        my_participant: None,
        ..facts(CallState::Established)
    };
    rig.fire(Event::Created {
        facts: nameless,
        kind: CallKind::Group,
    });
    rig.roster(&[own(true, 10), person("ann", 9)]);
    rig.pass(secs(5));
    assert_eq!(rig.phase(), Phase::Unmuted);
    let effects = rig.fire(Event::CallNotice(facts(CallState::Established)));
    let [Effect::ReadRoster { query }] = effects[..] else {
        panic!("{effects:?}")
    };
    let read = Read::Found(vec![own(true, 10), person("ann", 9)]);
    rig.fire(Event::RosterRead { query, read });
    assert_eq!(rig.phase(), Phase::Muted);
}

#[test]
fn a_one_to_one_call_refuses_until_a_roster_comes() {
    let mut rig = joining();
    rig.fire(created(CallState::Established, CallKind::PeerToPeer));
    assert_eq!(rig.phase(), Phase::Unmuted);
    rig.command(Action::Mute);
    refused(&rig, "8548");
    rig.command(Action::Unmute);
    refused(&rig, "8548");
    rig.roster(&[own(false, 1), person("ann", 2), person("bob", 3)]);
    assert_eq!(rig.machine.kind(), CallKind::Group);
    rig.command(Action::Mute);
    assert_eq!(rig.phase(), Phase::Muting);
    assert_eq!(rig.posts(), 1);
}

#[test]
fn a_roster_before_the_creates_answer_makes_it_a_group_call() {
    let mut rig = Rig::start(Rig::plain());
    rig.roster(&[own(false, 1), person("ann", 2)]);
    rig.fire(created(CallState::Established, CallKind::PeerToPeer));
    assert_eq!(rig.machine.kind(), CallKind::Group);
}

#[test]
fn a_host_mutes_and_unmutes_the_bot() {
    let mut rig = Rig::at_rest(false);
    rig.roster(&[own(true, 11)]);
    assert_eq!(rig.phase(), Phase::Muted);
    rig.roster(&[own(false, 12)]);
    assert_eq!(rig.phase(), Phase::Unmuted);
    rig.fire(super::rig::delta(1, &[own(true, 11)]));
    assert_eq!(rig.phase(), Phase::Unmuted, "an old one changes nothing");
}

#[test]
fn keep_alives_come_every_ten_minutes_with_jitter() {
    let mut rig = Rig::at_rest(true);
    let mut pauses = Vec::new();
    let mut last = Duration::ZERO;
    while pauses.len() < 50 {
        let at = rig.machine.next_deadline().unwrap();
        rig.now = at;
        let effects = rig.fire(Event::Tick);
        if effects.contains(&Effect::KeepAlive) {
            pauses.push(at.since_origin().checked_sub(last).unwrap());
            last = at.since_origin();
            rig.fire(Event::KeptAlive(Ack::Done));
        }
    }
    assert!(
        pauses
            .iter()
            .all(|pause| (secs(540)..=secs(660)).contains(pause)),
        "{pauses:?}"
    );
    let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    assert!(*most > *least + secs(60), "{pauses:?}");
    let mut other = Rig::start(Config::new(1, openmic_model::CommandId::new(5)));
    other.fire(created(CallState::Establishing, CallKind::Group));
    other.pass(secs(700));
    assert!(
        other.log.contains(&Effect::KeepAlive),
        "while establishing, too"
    );
}

#[test]
fn a_keep_alive_that_finds_no_call_ends_it() {
    let mut rig = Rig::at_rest(true);
    rig.fire(Event::KeptAlive(Ack::Failed));
    assert_eq!(rig.phase(), Phase::Muted);
    rig.fire(Event::KeptAlive(Ack::Gone));
    ended(&rig, EndCause::Gone);
}

#[test]
fn hanging_up_waits_for_the_end() {
    let mut rig = Rig::at_rest(true);
    rig.command(Action::Unmute);
    rig.fire(Event::HangUp);
    assert_eq!(rig.verdict(rig.latest), Verdict::CallEnded { result: None });
    rig.posted(PostOutcome::Ambiguous);
    rig.fire(Event::HungUp(Ack::Done));
    rig.fire(Event::CallNotice(facts(CallState::Terminating)));
    assert_eq!(rig.phase(), Phase::Terminating);
    rig.terminate();
    ended(&rig, EndCause::HungUp);
    assert_eq!(rig.machine.ending().unwrap().result, terminated().result);
    assert_eq!(hang_ups(&rig), 1);
}

#[test]
fn hanging_up_does_not_wait_for_ever() {
    // Answered, and the notification never comes.
    let mut rig = Rig::at_rest(true);
    rig.fire(Event::HangUp);
    rig.fire(Event::HungUp(Ack::Done));
    rig.pass(secs(5));
    ended(&rig, EndCause::HungUp);
    assert!(!rig.machine.was_left_open());

    // It fails and is repeated.
    let mut rig = Rig::at_rest(true);
    rig.fire(Event::HangUp);
    for pause in [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        let tries = hang_ups(&rig);
        rig.fire(Event::HungUp(Ack::Failed));
        rig.pass(millis(pause - 1));
        assert_eq!(hang_ups(&rig), tries);
        rig.pass(millis(1));
        assert_eq!(hang_ups(&rig), tries + 1);
    }
    rig.fire(Event::HungUp(Ack::Gone));
    ended(&rig, EndCause::HungUp);
    assert!(!rig.machine.was_left_open());

    // Not even an answer, for as long as there may be a call.
    let mut rig = Rig::at_rest(true);
    rig.fire(Event::HangUp);
    rig.pass(Duration::from_mins(44));
    assert_eq!(rig.phase(), Phase::Terminating);
    let tries = hang_ups(&rig);
    assert!((40..60).contains(&tries), "{tries}");
    rig.pass(Duration::from_mins(2));
    ended(&rig, EndCause::HungUp);
    assert!(rig.machine.was_left_open());

    let mut rig = Rig::at_rest(true);
    rig.fire(Event::HangUp);
    rig.fire(Event::HungUp(Ack::Gone));
    ended(&rig, EndCause::HungUp);
}

#[test]
fn a_call_created_after_the_hang_up_is_hung_up() {
    let mut rig = joining();
    rig.fire(Event::HangUp);
    assert_eq!(hang_ups(&rig), 0, "there is nothing to delete yet");
    rig.fire(created(CallState::Establishing, CallKind::Group));
    assert_eq!(hang_ups(&rig), 1);
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    assert_eq!(hang_ups(&rig), 1);
    rig.fire(Event::HungUp(Ack::Gone));
    ended(&rig, EndCause::HungUp);

    // Only a notification tells that there is one.
    let mut rig = joining();
    rig.fire(Event::HangUp);
    rig.fire(create_failed(false));
    rig.pass(secs(20));
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    assert_eq!(hang_ups(&rig), 1);

    // There never was one.
    let mut rig = joining();
    rig.fire(Event::HangUp);
    rig.fire(create_failed(true));
    ended(&rig, EndCause::HungUp);
    let mut rig = joining();
    rig.fire(Event::HangUp);
    rig.fire(create_failed(false));
    rig.pass(secs(30));
    ended(&rig, EndCause::HungUp);
    assert_eq!(hang_ups(&rig), 0);
}

#[test]
fn a_create_that_was_refused_ends_the_call() {
    let mut rig = joining();
    rig.fire(create_failed(true));
    ended(&rig, EndCause::NotCreated);
}

#[test]
fn a_lost_create_is_adopted_by_its_notifications() {
    for first in [
        Event::CallNotice(facts(CallState::Establishing)),
        super::rig::delta(1, &[own(false, 1)]),
    ] {
        let mut rig = joining();
        rig.fire(create_failed(false));
        rig.pass(secs(20));
        rig.fire(first);
        rig.pass(secs(60));
        assert_eq!(
            rig.phase(),
            Phase::Establishing,
            "it exists, so it is not given up"
        );
        rig.fire(Event::CallNotice(facts(CallState::Established)));
        rig.fire(super::rig::delta(2, &[own(false, 2)]));
        assert_eq!(rig.phase(), Phase::Muting);
    }
    // The notification came before the create was known to be lost.
    let mut rig = joining();
    rig.fire(Event::CallNotice(facts(CallState::Establishing)));
    rig.fire(create_failed(false));
    rig.pass(secs(60));
    assert_eq!(rig.phase(), Phase::Establishing);
}

#[test]
fn a_lost_create_that_shows_nothing_is_given_up_and_hung_up_when_it_shows_later() {
    let mut rig = joining();
    rig.fire(create_failed(false));
    rig.pass(millis(29_999));
    assert_eq!(rig.phase(), Phase::Establishing);
    rig.pass(millis(1));
    ended(&rig, EndCause::NotCreated);
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    assert_eq!(hang_ups(&rig), 1, "no live microphone is left behind");
}

#[test]
fn a_roster_alone_shows_a_call_that_was_given_up() {
    let mut rig = joining();
    rig.fire(create_failed(false));
    rig.pass(secs(30));
    ended(&rig, EndCause::NotCreated);
    rig.roster(&[own(false, 10)]);
    rig.roster(&[own(false, 11)]);
    assert_eq!(hang_ups(&rig), 1, "no live microphone is left behind");
    assert_eq!(rig.phase(), Phase::Terminated);
}

#[test]
fn termination_settles_what_is_open_in_every_state() {
    for place in super::table::PLACES {
        let mut rig = (place.reach)();
        rig.command(Action::Unmute);
        rig.command(Action::Mute);
        rig.terminate();
        assert!(rig.machine.is_over(), "{}", place.name);
        assert_eq!(rig.machine.next_deadline(), None, "{}", place.name);
        let posts = rig.posts();
        rig.command(Action::Unmute);
        rig.pass(secs(600));
        assert_eq!(rig.posts(), posts, "{}", place.name);
        let settled = count(&rig.log, |e| matches!(e, Effect::Settle { .. }));
        let mut ids: Vec<_> = rig
            .log
            .iter()
            .filter_map(|effect| match effect {
                Effect::Settle { command, .. } => Some(*command),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), settled, "{}: settled twice", place.name);
        assert!(settled >= 3, "{}", place.name);
    }
}

#[test]
fn terminated_absorbs_a_late_state() {
    let mut rig = Rig::at_rest(true);
    rig.terminate();
    rig.fire(Event::CallNotice(facts(CallState::Established)));
    assert!(rig.machine.is_over());
    assert_eq!(rig.machine.graph_state(), Some(CallState::Terminated));
    assert_eq!(hang_ups(&rig), 0);
}
