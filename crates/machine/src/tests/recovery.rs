//! An unmute whose process is killed at each point of its way, taken up again.

use openmic_model::{
    Accepted, Action, CallKind, CallState, CommandId, Evidence, LastAttempt, Origin, Posted,
    Restored, Verdict, WallTime,
};

use super::rig::{Rig, confirmed, millis, own, secs};
use crate::{Effect, Event, Phase, Read};

const COMMAND: CommandId = CommandId::new(9);

/// Accepted two seconds before the tenth, and not sent.
fn unsent() -> Restored {
    let accepted = Accepted {
        command: COMMAND,
        action: Action::Unmute,
        origin: Origin::Bot,
        within: secs(30),
        speak_for: None,
        asked: None,
    };
    Restored {
        kind: CallKind::Group,
        me: Some(super::rig::me()),
        commanded: true,
        open: vec![(WallTime(8_000), accepted)],
        last: None,
        opposite: None,
        window: None,
        leaving: false,
    }
}

/// The same, with a POST one second later that came to `outcome`.
fn sent(outcome: Option<Posted>) -> Restored {
    Restored {
        last: Some(LastAttempt {
            lead: COMMAND,
            action: Action::Unmute,
            number: 1,
            reached: u8::from(outcome != Some(Posted::NoEffect)),
            at: WallTime(9_000),
            outcome,
            confirmed: false,
            haunted: false,
        }),
        ..unsent()
    }
}

fn recover(restored: Restored, wall: u64) -> Rig {
    let mut rig = Rig::recover(restored, WallTime(wall));
    assert_eq!(rig.phase(), Phase::Establishing);
    assert_eq!(rig.posts(), 0, "nothing is sent blindly");
    rig.now = rig.now + millis(50);
    rig
}

fn listed(rig: &mut Rig, muted: bool) {
    let query = rig.last_query();
    let read = Read::Found(vec![own(muted, 20)]);
    rig.fire(Event::RosterRead { query, read });
}

#[test]
fn killed_before_it_was_sent_it_is_sent_once_the_roster_is_known() {
    let mut rig = recover(unsent(), 10_000);
    listed(&mut rig, true);
    assert_eq!(rig.last_post().2, COMMAND.context(1));
}

#[test]
fn killed_before_it_was_sent_and_out_of_time_it_is_expired_at_once() {
    let rig = recover(unsent(), 50_000);
    assert_eq!(rig.verdict(COMMAND), Verdict::Expired);
}

#[test]
fn killed_after_the_post_took_effect_it_is_confirmed_without_another() {
    for outcome in [None, Some(Posted::Ambiguous)] {
        let mut rig = recover(sent(outcome), 10_000);
        listed(&mut rig, false);
        assert_eq!(rig.verdict(COMMAND), confirmed(Evidence::Poll));
        assert_eq!((rig.phase(), rig.posts()), (Phase::Unmuted, 0));
    }
}

#[test]
fn killed_after_the_post_and_out_of_time_a_look_tells_what_became_of_it() {
    // Also when the clock jumped ahead by a day.
    for wall in [50_000, 86_410_000] {
        let mut rig = recover(sent(None), wall);
        rig.open(COMMAND);
        listed(&mut rig, false);
        assert_eq!(rig.verdict(COMMAND), confirmed(Evidence::Poll));
    }
}

#[test]
fn killed_after_a_post_without_effect_another_waits_for_a_read_that_shows_none() {
    let mut rig = recover(sent(None), 10_000);
    listed(&mut rig, true);
    assert_eq!(rig.phase(), Phase::Unmuting);
    rig.pass(secs(1));
    rig.own_read(true, 20);
    assert_eq!(rig.posts(), 0, "it may act for a while yet");
    rig.pass(secs(2));
    rig.own_read(true, 20);
    assert_eq!(rig.last_post().2, COMMAND.context(2), "no number twice");
}

#[test]
fn a_clock_set_back_lengthens_nothing_beyond_what_it_had() {
    let mut rig = recover(sent(None), 0);
    rig.pass(secs(30));
    assert_eq!(rig.verdict(COMMAND), Verdict::Unconfirmed);
}

#[test]
fn a_command_waits_until_it_is_known_whether_the_call_was_established() {
    let untouched = Restored {
        commanded: false,
        open: Vec::new(),
        ..unsent()
    };
    let mut rig = recover(untouched, 10_000);
    // The roster answers first, and says nothing of how far the call is.
    listed(&mut rig, true);
    rig.command(Action::Unmute);
    rig.open(rig.latest);
    assert_eq!(rig.posts(), 0);
    let read = Read::Found(super::rig::facts(CallState::Established));
    let asked = rig.log.iter().find_map(|effect| match effect {
        Effect::ReadCall { query } => Some(*query),
        _ => None,
    });
    let query = asked.expect("the call is asked for at once");
    rig.fire(Event::CallRead { query, read });
    assert_eq!(rig.posts(), 1);
}

#[test]
fn a_call_that_was_being_hung_up_is_hung_up() {
    let restored = Restored {
        leaving: true,
        ..sent(None)
    };
    let rig = Rig::recover(restored, WallTime(10_000));
    assert_eq!(rig.phase(), Phase::Terminating);
    assert_eq!(rig.posts(), 0, "nothing is unmuted any more");
    assert!(rig.log.contains(&Effect::HangUp));
    let ended = Verdict::CallEnded { result: None };
    assert_eq!(rig.verdict(COMMAND), ended);
}

#[test]
fn a_call_that_cannot_be_read_is_asked_for_again_with_pauses_that_grow() {
    let restored = Restored {
        open: Vec::new(),
        commanded: false,
        ..unsent()
    };
    let mut rig = recover(restored, 20_000);
    let reads = |rig: &Rig| {
        let mut queries = rig.log.iter().rev().filter_map(|effect| match effect {
            Effect::ReadCall { query } => Some(*query),
            _ => None,
        });
        (queries.next().unwrap(), queries.count())
    };
    for pause in [1, 2, 4, 8, 16, 32, 32] {
        let (query, before) = reads(&rig);
        rig.fire(Event::CallRead {
            query,
            read: Read::Failed,
        });
        rig.pass(millis(pause * 1000 - 1));
        assert_eq!(reads(&rig).1, before, "after {pause} s");
        rig.pass(millis(1));
        assert_eq!(reads(&rig).1, before + 1, "after {pause} s");
    }
    assert_eq!(rig.phase(), Phase::Establishing);
}
