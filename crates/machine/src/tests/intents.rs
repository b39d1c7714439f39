//! Several commands at once: the latest intent wins, equal ones join.

use openmic_model::{Action, Evidence, OperationStatus, Verdict};

use super::rig::{Rig, confirmed, count, millis, own, person, secs};
use crate::{Effect, Event, Phase, PostOutcome, Read, Refusal};

fn pending(action: Action) -> Rig {
    let mut rig = Rig::at_rest(!action.wants_muted());
    rig.command(action);
    rig
}

fn second_reading(rig: &mut Rig, muted: bool, number: u64) {
    rig.own_read(muted, number);
}

#[test]
fn equal_commands_join_and_each_has_its_verdict() {
    let mut rig = pending(Action::Unmute);
    let first = rig.latest;
    rig.pass(secs(1));
    rig.command_within(Action::Unmute, secs(5));
    let second = rig.latest;
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.posts(), 1);
    assert_eq!(rig.verdict(first), confirmed(Evidence::Roster));
    assert_eq!(rig.verdict(second), confirmed(Evidence::Roster));
}

#[test]
fn each_joined_command_has_its_own_deadline() {
    let mut rig = pending(Action::Unmute);
    let first = rig.latest;
    rig.command_within(Action::Unmute, secs(5));
    let second = rig.latest;
    rig.answered(OperationStatus::Running);
    rig.pass(secs(5));
    assert_eq!(rig.verdict(second), Verdict::Unconfirmed);
    rig.open(first);
    rig.operation_notice(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.verdict(first), confirmed(Evidence::Roster));
}

#[test]
fn an_overtaken_command_is_superseded_and_the_newer_waits_for_the_http_outcome_only() {
    for action in [Action::Mute, Action::Unmute] {
        let mut rig = pending(action);
        let first = rig.latest;
        rig.command(action.opposite());
        let second = rig.latest;
        assert_eq!(rig.verdict(first), Verdict::Superseded);
        rig.pass(secs(3));
        assert_eq!(rig.posts(), 1, "one POST in flight at most");
        rig.answered(OperationStatus::Completed);
        assert_eq!(rig.posts(), 2, "without waiting for the roster");
        assert_eq!(rig.last_post().1, action.opposite());
        rig.answered(OperationStatus::Completed);
        rig.roster(&[own(action.opposite().wants_muted(), 12)]);
        assert_eq!(rig.verdict(second), confirmed(Evidence::Roster));
    }
}

#[test]
fn the_roster_of_the_overtaken_post_confirms_nothing() {
    // Unmuted by #1, muted by #2: only the first change's roster has come.
    let mut rig = pending(Action::Mute);
    rig.command(Action::Unmute);
    rig.answered(OperationStatus::Completed);
    let second = rig.latest;
    rig.command(Action::Mute);
    rig.answered(OperationStatus::Completed);
    let third = rig.latest;
    assert_eq!(rig.verdict(second), Verdict::Superseded);
    assert_eq!(rig.posts(), 3);
    // The third POST runs; the entry that the first one left agrees by accident.
    rig.answered(OperationStatus::Running);
    rig.roster(&[own(true, 11)]);
    rig.pass(secs(1));
    rig.open(third);
    let posted = rig.now;
    rig.pass(secs(2));
    second_reading(&mut rig, false, 12);
    rig.open(third);
    rig.operation_notice(OperationStatus::Completed);
    rig.roster(&[own(true, 13)]);
    assert_eq!(rig.verdict(third), confirmed(Evidence::Roster));
    assert!(rig.now.since(posted) < secs(5));
}

#[test]
fn an_intent_that_was_never_sent_is_overtaken_in_its_turn() {
    let mut rig = pending(Action::Unmute);
    let first = rig.latest;
    rig.command(Action::Mute);
    let second = rig.latest;
    rig.command(Action::Unmute);
    let third = rig.latest;
    assert_eq!(rig.verdict(first), Verdict::Superseded);
    assert_eq!(rig.verdict(second), Verdict::Superseded);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.posts(), 1);
    assert_eq!(rig.verdict(third), confirmed(Evidence::Roster));
}

#[test]
fn a_waiting_intent_expires_by_itself() {
    let mut rig = pending(Action::Unmute);
    rig.command_within(Action::Mute, secs(2));
    rig.pass(secs(2));
    assert_eq!(rig.verdict(rig.latest), Verdict::Expired);
    rig.answered(OperationStatus::Completed);
    assert_eq!(rig.posts(), 1);
}

#[test]
fn an_overtaken_post_without_effect_leaves_nothing_to_undo() {
    let no = || Refusal::new(403, "8566", "no");
    for outcome in [
        PostOutcome::NotSent,
        PostOutcome::Throttled {
            after: Some(secs(9)),
            refusal: Refusal::throttled(),
        },
        PostOutcome::Refused(no()),
    ] {
        let mut rig = pending(Action::Unmute);
        rig.command(Action::Mute);
        rig.posted(outcome);
        assert_eq!(rig.verdict(rig.latest), Verdict::Already);
        assert_eq!(rig.phase(), Phase::Muted);
        rig.pass(secs(20));
        assert_eq!(rig.posts(), 1);
    }
}

#[test]
fn a_mute_after_a_timeout_goes_at_once_and_its_evidence_postdates_the_unmute() {
    let mut rig = pending(Action::Unmute);
    let sent = rig.now;
    rig.command(Action::Mute);
    let mute = rig.latest;
    rig.pass(secs(4));
    rig.posted(PostOutcome::Ambiguous);
    assert_eq!(rig.posts(), 2, "the mute goes at once");
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(true, 12)]);
    rig.open(mute);
    // A GET begun before the unmute's time limit proves nothing either, whenever it is answered.
    rig.pass(millis(5900));
    rig.fire(Event::Timer(crate::Timer::LastLook));
    rig.pass(secs(1));
    assert_eq!(rig.now.since(sent), millis(10_900));
    let early = rig
        .log
        .iter()
        .filter_map(|effect| match effect {
            Effect::ReadSelf { query, .. } => Some(*query),
            _ => None,
        })
        .collect::<Vec<_>>();
    let read = |muted| Read::Found(Box::new(own(muted, 12)));
    rig.fire(Event::SelfRead {
        query: early[0],
        read: read(true),
    });
    rig.open(mute);
    // The one begun at the limit does.
    rig.own_read(true, 12);
    assert_eq!(rig.verdict(mute), confirmed(Evidence::Poll));
}

#[test]
fn a_bot_that_an_overtaken_unmute_opened_late_is_muted_again() {
    let mut rig = pending(Action::Unmute);
    rig.command(Action::Mute);
    let mute = rig.latest;
    rig.posted(PostOutcome::Ambiguous);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(true, 11)]);
    rig.pass(secs(9));
    rig.roster(&[own(false, 12)]);
    rig.open(mute);
    rig.pass(secs(1));
    rig.own_read(false, 12);
    assert_eq!(rig.posts(), 3);
    assert_eq!(rig.last_post().1, Action::Mute);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(true, 13)]);
    assert_eq!(rig.verdict(mute), confirmed(Evidence::Roster));
    assert_eq!(rig.phase(), Phase::Muted);
}

#[test]
fn the_re_mute_stops_after_three_posts() {
    let mut rig = pending(Action::Unmute);
    rig.command(Action::Mute);
    let mute = rig.latest;
    rig.posted(PostOutcome::Ambiguous);
    rig.answered(OperationStatus::Completed);
    for _ in 0..120 {
        rig.pass(millis(250));
        rig.own_read(false, 12);
        if rig.machine.waits_for().contains(&"answer to the POST") {
            rig.answered(OperationStatus::Completed);
        }
    }
    assert_eq!(rig.verdict(mute), Verdict::Unconfirmed);
    assert!(rig.posts() <= 4, "{}", rig.posts());
}

#[test]
fn a_deadline_before_the_old_posts_time_limit_is_unconfirmed() {
    let mut rig = pending(Action::Unmute);
    rig.command_within(Action::Mute, secs(1));
    rig.posted(PostOutcome::Ambiguous);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(true, 12)]);
    rig.pass(secs(1));
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
    // What the unmute may still do is looked at when its time is over.
    rig.pass(secs(10));
    let reads = count(&rig.log, |e| matches!(e, Effect::ReadRoster { .. }));
    assert!(reads >= 1);
}

#[test]
fn a_mute_is_posted_while_an_unconfirmed_unmute_may_have_worked() {
    // The operation completed, the roster never showed it.
    let mut rig = pending(Action::Unmute);
    rig.answered(OperationStatus::Completed);
    for _ in 0..400 {
        rig.pass(millis(10));
        rig.own_read(true, 10);
    }
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
    assert_eq!(rig.phase(), Phase::Muted);
    rig.command(Action::Mute);
    assert_eq!(
        rig.phase(),
        Phase::Muting,
        "the roster alone is not believed"
    );

    // Out of time while the POST was unanswered; then it is answered.
    let mut rig = pending(Action::Unmute);
    rig.pass(secs(30));
    rig.command(Action::Mute);
    assert_eq!(rig.posts(), 1, "one POST in flight at most");
    rig.answered(OperationStatus::Completed);
    assert_eq!(rig.posts(), 2);
    assert_eq!(rig.last_post().1, Action::Mute);
}

#[test]
fn a_mute_that_failed_does_not_forget_the_unmute_before_it() {
    let mut rig = pending(Action::Unmute);
    rig.command(Action::Mute);
    rig.posted(PostOutcome::Ambiguous);
    rig.posted(PostOutcome::Refused(Refusal::new(500, "x", "x")));
    assert_eq!(rig.phase(), Phase::Muted);
    rig.command(Action::Mute);
    assert_eq!(rig.posts(), 3);
    rig.posted(PostOutcome::Ambiguous);
    rig.command(Action::Unmute);
    rig.posted(PostOutcome::NotSent);
    rig.command(Action::Mute);
    assert_ne!(rig.verdicts(rig.latest), [Verdict::Already]);
}

#[test]
fn an_operation_that_ended_leaves_no_doubt() {
    let mut rig = pending(Action::Unmute);
    rig.answered(OperationStatus::Running);
    rig.operation_notice(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    rig.command(Action::Mute);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(true, 12)]);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
    rig.command(Action::Mute);
    assert_eq!(rig.verdict(rig.latest), Verdict::Already);
}

#[test]
fn a_verdict_before_the_answer_leaves_no_doubt_either() {
    for late in [
        PostOutcome::Ambiguous,
        PostOutcome::Answered(super::rig::operation(1, None, OperationStatus::Running)),
    ] {
        let mut rig = pending(Action::Unmute);
        rig.operation_notice(OperationStatus::Completed);
        rig.roster(&[own(false, 11)]);
        assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
        rig.posted(late);
        rig.roster(&[own(true, 12)]);
        rig.command(Action::Mute);
        assert_eq!(rig.verdict(rig.latest), Verdict::Already);
    }
}

#[test]
fn too_many_open_commands_are_refused() {
    let mut rig = pending(Action::Unmute);
    for _ in 1..32 {
        rig.command(Action::Unmute);
        rig.open(rig.latest);
    }
    rig.command(Action::Unmute);
    assert!(matches!(
        rig.verdict(rig.latest),
        Verdict::Refused { status: 409, .. }
    ));
    for _ in 0..32 {
        rig.command(Action::Mute);
        rig.open(rig.latest);
    }
    rig.command(Action::Mute);
    assert!(matches!(
        rig.verdict(rig.latest),
        Verdict::Refused { status: 409, .. }
    ));
}

#[test]
fn others_changes_are_published_while_an_attempt_runs() {
    let mut rig = pending(Action::Unmute);
    let before = rig.machine.version();
    rig.roster(&[person("bob", 11)]);
    assert_eq!(rig.machine.version().seq, before.seq + 1);
    rig.open(rig.latest);
}

#[test]
fn a_confirmation_by_an_older_posts_entry_leaves_the_doubt() {
    // Unmuted by #1, muted by #2, unmuted by #3; the roster shows the first two only.
    let mut rig = pending(Action::Unmute);
    rig.answered(OperationStatus::Completed);
    rig.command(Action::Mute);
    rig.answered(OperationStatus::Completed);
    rig.command(Action::Unmute);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
    rig.roster(&[own(true, 12)]);
    assert_eq!(rig.phase(), Phase::Muted);
    rig.command(Action::Mute);
    assert_eq!(rig.posts(), 4, "the roster is behind the bot's own POSTs");
}

#[test]
fn an_unmute_that_may_still_act_outlives_its_confirmation() {
    // Somebody else unmuted the bot, so the lost POST may be yet to come.
    let mut rig = pending(Action::Unmute);
    rig.posted(PostOutcome::Ambiguous);
    rig.pass(millis(0));
    rig.own_read(false, 11);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));
    rig.roster(&[own(true, 12)]);
    rig.command(Action::Mute);
    assert_eq!(rig.posts(), 2);
    rig.answered(OperationStatus::Completed);
    rig.pass(secs(9));
    rig.open(rig.latest);
    rig.pass(secs(1));
    rig.own_read(true, 12);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));
    rig.command(Action::Mute);
    assert_eq!(rig.verdict(rig.latest), Verdict::Already);
}
