//! The time to speak in: who says how long, and that its end leaves nobody unmuted.

use std::time::Duration;

use openmic_model::{
    Action, CommandId, Evidence, OperationStatus, Origin, Record, Verdict, WallTime,
};

use super::rig::{OWN_COMMAND, Rig, confirmed, own, secs};
use crate::{Config, Effect, Event, Phase, PostOutcome, Refusal};

const WALL: u64 = 1_764_000_000_000;

fn config() -> Config {
    Config {
        join_muted: false,
        wall_origin: WallTime(WALL),
        ..Config::new(1, OWN_COMMAND)
    }
}

fn muted() -> Rig {
    Rig::at_rest_with(true, config())
}

/// Unmuted one second after the start, for `length` from then on.
fn speaking(length: Duration) -> Rig {
    let mut rig = muted();
    rig.speak(length);
    succeed(&mut rig, false, 20);
    assert_eq!(rig.phase(), Phase::Unmuted);
    rig
}

/// The POST under way takes effect at once.
fn succeed(rig: &mut Rig, muted: bool, number: u64) {
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(muted, number)]);
}

fn windows(rig: &Rig) -> Vec<Option<u64>> {
    let window = |effect: &Effect| match effect {
        Effect::Record(Record::Window { until }) => Some(until.map(|until| until.0 - WALL)),
        _ => None,
    };
    rig.log.iter().filter_map(window).collect()
}

/// The machine's own commands, with their verdicts.
fn own_verdicts(rig: &Rig) -> Vec<(CommandId, Verdict)> {
    let own = |effect: &Effect| match effect {
        Effect::Settle {
            command,
            origin: Origin::Machine,
            verdict,
            action: Action::Mute,
            ..
        } => Some((*command, verdict.clone())),
        _ => None,
    };
    rig.log.iter().filter_map(own).collect()
}

#[test]
fn at_its_end_the_bot_is_muted() {
    let mut rig = speaking(secs(5));
    assert_eq!(windows(&rig), [Some(6000)]);
    rig.pass(Duration::from_millis(4999));
    assert_eq!(rig.posts(), 1);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.phase(), Phase::Muting);
    assert_eq!(rig.last_post().1, Action::Mute);
    succeed(&mut rig, true, 21);
    assert_eq!(rig.phase(), Phase::Muted);
    assert_eq!(windows(&rig), [Some(6000), None]);
    let own = own_verdicts(&rig);
    assert_eq!(own.len(), 1);
    assert_ne!(own[0].0, OWN_COMMAND, "an id of its own");
    assert_eq!(own[0].1, confirmed(Evidence::Roster));
    assert_eq!(rig.pass(secs(300)), [], "that is all");
}

#[test]
fn it_counts_from_the_verdict() {
    let mut rig = muted();
    rig.speak(secs(5));
    rig.answered(OperationStatus::Running);
    rig.pass(secs(4));
    assert_eq!(windows(&rig), []);
    rig.operation_notice(OperationStatus::Completed);
    rig.roster(&[own(false, 20)]);
    assert_eq!(windows(&rig), [Some(10_000)]);
}

#[test]
fn the_record_of_it_comes_before_the_verdict_and_its_end_after() {
    let mut rig = speaking(secs(5));
    rig.pass(secs(5));
    succeed(&mut rig, true, 21);
    let names: Vec<&str> = rig
        .log
        .iter()
        .filter_map(|effect| match effect {
            Effect::Record(Record::Window { until: Some(_) }) => Some("set"),
            Effect::Record(Record::Window { until: None }) => Some("ended"),
            Effect::Record(Record::Verdict { .. }) => Some("verdict"),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["set", "verdict", "verdict", "ended"]);
}

#[test]
fn the_newest_unmute_says_how_long() {
    for (length, ends) in [(secs(60), 64_000), (secs(2), 6_000)] {
        let mut rig = speaking(secs(10));
        rig.pass(secs(3));
        rig.speak(length);
        assert_eq!(rig.verdict(rig.latest), Verdict::Already);
        assert_eq!(windows(&rig), [Some(11_000), Some(ends)]);
        let left = rig.now.since_origin();
        rig.pass(Duration::from_millis(ends - 1).saturating_sub(left));
        assert_eq!(rig.phase(), Phase::Unmuted);
        rig.pass(Duration::from_millis(1));
        assert_eq!(rig.phase(), Phase::Muting);
    }
}

#[test]
fn an_unmute_without_one_makes_it_open_ended() {
    let mut rig = speaking(secs(10));
    rig.command(Action::Unmute);
    assert_eq!(windows(&rig), [Some(11_000), None]);
    rig.pass(secs(500));
    assert_eq!(rig.phase(), Phase::Unmuted);
}

#[test]
fn of_two_that_join_the_later_one_counts_whichever_is_settled_first() {
    let mut rig = muted();
    rig.speak_within(secs(60), secs(30));
    rig.pass(secs(1));
    rig.speak_within(secs(3), secs(5));
    rig.answered(OperationStatus::Running);
    rig.pass(secs(5));
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
    rig.operation_notice(OperationStatus::Completed);
    rig.roster(&[own(false, 20)]);
    // Three seconds from the verdict of the second one, not a minute from that of the first.
    assert_eq!(windows(&rig), [Some(10_000)]);
    rig.pass(secs(3));
    assert_eq!(rig.phase(), Phase::Muting);
}

#[test]
fn a_mute_in_between_ends_it() {
    let mut rig = speaking(secs(10));
    rig.command(Action::Mute);
    succeed(&mut rig, true, 21);
    assert_eq!(windows(&rig), [Some(11_000), None]);
    rig.command(Action::Unmute);
    succeed(&mut rig, false, 22);
    rig.pass(secs(500));
    assert_eq!(rig.phase(), Phase::Unmuted);
}

#[test]
fn a_mute_in_between_that_failed_does_not() {
    let mut rig = speaking(secs(10));
    rig.command(Action::Mute);
    rig.posted(PostOutcome::Refused(Refusal::new(403, "8566", "no")));
    assert_eq!(windows(&rig), [Some(11_000)]);
    rig.pass(secs(10));
    assert_eq!(rig.last_post().1, Action::Mute);
    assert_eq!(rig.phase(), Phase::Muting);
    assert_eq!(rig.posts(), 3);
}

#[test]
fn muted_by_the_host_nothing_is_left_to_do() {
    let mut rig = speaking(secs(10));
    rig.pass(secs(3));
    rig.roster(&[own(true, 21)]);
    rig.pass(secs(10));
    assert_eq!(rig.posts(), 1);
    assert_eq!(windows(&rig), [Some(11_000), None]);
}

#[test]
fn muted_by_the_host_and_unmuted_again_it_still_ends() {
    let mut rig = speaking(secs(10));
    rig.roster(&[own(true, 21)]);
    rig.roster(&[own(false, 22)]);
    rig.pass(secs(10));
    assert_eq!(rig.phase(), Phase::Muting);
}

#[test]
fn its_mute_is_tried_until_the_bot_is_muted() {
    let mut rig = speaking(secs(5));
    rig.pass(secs(5));
    let mut pauses = Vec::new();
    for _ in 0..7 {
        rig.posted(PostOutcome::Refused(Refusal::new(403, "8566", "no")));
        assert_eq!(rig.phase(), Phase::Unmuted);
        let (posts, before) = (rig.posts(), rig.now);
        while rig.posts() == posts {
            rig.pass(Duration::from_millis(500));
        }
        pauses.push(rig.now.since(before).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32]);
    succeed(&mut rig, true, 30);
    assert_eq!(rig.phase(), Phase::Muted);
    assert_eq!(rig.pass(secs(300)), []);
    let ids: std::collections::BTreeSet<_> = own_verdicts(&rig).iter().map(|own| own.0).collect();
    assert_eq!(ids.len(), 8, "each try is a command of its own");
}

#[test]
fn its_mute_left_unconfirmed_is_tried_again() {
    let mut rig = speaking(secs(5));
    rig.pass(secs(5));
    rig.posted(PostOutcome::Ambiguous);
    rig.pass(secs(30));
    assert_eq!(own_verdicts(&rig)[0].1, Verdict::Unconfirmed);
    assert_eq!(rig.phase(), Phase::Muting);
    assert_eq!(rig.last_post().1, Action::Mute);
}

#[test]
fn it_waits_for_an_unmute_under_way_and_follows_a_failed_one() {
    let mut rig = speaking(secs(5));
    // Somebody muted the bot, and it wants to be heard again.
    rig.roster(&[own(true, 21)]);
    rig.pass(secs(4));
    rig.command_within(Action::Unmute, secs(10));
    rig.posted(PostOutcome::Ambiguous);
    rig.pass(secs(3));
    assert_eq!(rig.phase(), Phase::Unmuting, "the newest intent wins");
    rig.pass(secs(7));
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
    assert_eq!(rig.last_post().1, Action::Mute, "it may be heard");
    succeed(&mut rig, true, 22);
    rig.pass(secs(12));
    assert_eq!(windows(&rig).last(), Some(&None));
}

#[test]
fn an_unmute_under_way_at_its_end_says_anew_how_long() {
    let mut rig = speaking(secs(5));
    rig.roster(&[own(true, 21)]);
    rig.pass(secs(4));
    rig.speak(secs(20));
    rig.answered(OperationStatus::Running);
    rig.pass(secs(3));
    rig.operation_notice(OperationStatus::Completed);
    rig.roster(&[own(false, 22)]);
    assert_eq!(windows(&rig), [Some(6_000), Some(28_000)]);
    rig.pass(secs(19));
    assert_eq!(rig.phase(), Phase::Unmuted);
    rig.pass(secs(1));
    assert_eq!(rig.phase(), Phase::Muting);
}

#[test]
fn a_mute_under_way_at_its_end_is_awaited() {
    let mut rig = speaking(secs(5));
    rig.pass(secs(4));
    rig.command(Action::Mute);
    rig.answered(OperationStatus::Running);
    rig.pass(secs(2));
    assert_eq!(rig.posts(), 2, "no second mute beside it");
    rig.operation_notice(OperationStatus::Completed);
    rig.roster(&[own(true, 21)]);
    assert_eq!(rig.pass(secs(60)), []);
    assert_eq!(windows(&rig).last(), Some(&None));
}

#[test]
fn an_unmute_that_may_have_acted_has_its_time_even_unconfirmed() {
    let mut rig = muted();
    rig.speak_within(secs(5), secs(3));
    rig.posted(PostOutcome::Ambiguous);
    rig.pass(secs(3));
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
    assert_eq!(windows(&rig), [Some(9_000)]);
    rig.pass(secs(5));
    assert_eq!(
        rig.last_post().1,
        Action::Mute,
        "its POST may act for 10 s, whatever the roster says"
    );
}

#[test]
fn an_unmute_that_never_left_has_none() {
    let mut rig = muted();
    rig.speak(secs(5));
    rig.posted(PostOutcome::Refused(Refusal::new(403, "8566", "no")));
    rig.pass(secs(60));
    assert_eq!(windows(&rig), []);
    assert_eq!(rig.posts(), 1);
}

#[test]
fn a_newer_unmute_overtakes_its_mute() {
    let mut rig = speaking(secs(5));
    rig.pass(secs(5));
    rig.command(Action::Unmute);
    assert_eq!(own_verdicts(&rig)[0].1, Verdict::Superseded);
    rig.posted(PostOutcome::NotSent);
    // It was not sent, so the bot is unmuted still: nothing to do, and no end any more.
    assert_eq!(rig.verdict(rig.latest), Verdict::Already);
    assert_eq!(windows(&rig).last(), Some(&None));
    rig.pass(secs(60));
    assert_eq!(rig.phase(), Phase::Unmuted);
}

#[test]
fn the_end_of_the_call_is_the_end_of_it() {
    let mut rig = speaking(secs(5));
    rig.fire(Event::HangUp);
    rig.pass(secs(5));
    assert_eq!(rig.posts(), 1);
}

#[test]
fn a_mute_has_no_use_for_one() {
    let mut rig = Rig::at_rest_with(false, config());
    rig.fire(Event::Command {
        id: CommandId::new(5),
        action: Action::Mute,
        within: secs(30),
        speak_for: Some(secs(5)),
    });
    succeed(&mut rig, true, 20);
    assert_eq!(windows(&rig), []);
}
