//! Repeating POSTs, looking for what is missing, and running out of time.

use openmic_model::{Action, Evidence, OperationStatus, Verdict};

use super::rig::{
    Rig, confirmed, count, entry, millis, operation, own, person, plain_roster, secs, unseen,
};
use crate::{Config, Effect, Event, Phase, PostOutcome, Read, Refusal};

fn pending() -> Rig {
    let mut rig = Rig::at_rest(true);
    rig.command(Action::Unmute);
    rig
}

fn throttled(after: Option<u64>) -> PostOutcome {
    PostOutcome::Throttled {
        after: after.map(secs),
        refusal: Refusal::throttled(),
    }
}

/// The POST is ambiguous, it settles without effect, and the second one goes out.
fn posted_twice() -> Rig {
    let mut rig = pending();
    rig.posted(PostOutcome::Ambiguous);
    while rig.posts() == 1 {
        rig.pass(millis(10));
        rig.own_read(true, 10);
    }
    rig
}

#[test]
fn retry_after_within_the_deadline_is_waited_for() {
    let mut rig = pending();
    rig.posted(throttled(Some(7)));
    rig.pass(millis(6999));
    assert_eq!(rig.posts(), 1);
    rig.pass(millis(1));
    assert_eq!(rig.posts(), 2);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
}

#[test]
fn retry_after_beyond_the_deadline_is_refused_at_once_with_graphs_words() {
    let mut rig = pending();
    rig.posted(PostOutcome::Throttled {
        after: Some(secs(120)),
        refusal: Refusal::new(503, "serviceNotAvailable", "Busy."),
    });
    let verdict = rig.verdict(rig.latest);
    let Verdict::Refused {
        status,
        code,
        message,
    } = &verdict
    else {
        panic!("{verdict:?}");
    };
    assert_eq!((*status, code.as_str()), (503, "serviceNotAvailable"));
    assert!(message.starts_with("Busy. "), "{message}");
    assert!(message.contains("in 120 s"), "{message}");
    assert_eq!(rig.phase(), Phase::Muted);
    rig.pass(secs(200));
    assert_eq!(rig.posts(), 1);
}

fn is_refused(rig: &Rig, command: openmic_model::CommandId) -> bool {
    matches!(
        rig.verdict(command),
        Verdict::Refused { status: 429, ref code, .. } if code == "tooManyRequests"
    )
}

#[test]
fn who_has_time_for_the_pause_waits_and_who_has_none_is_refused() {
    let mut rig = pending();
    let patient = rig.latest;
    rig.command_within(Action::Unmute, secs(5));
    let hasty = rig.latest;
    rig.posted(throttled(Some(10)));
    assert!(is_refused(&rig, hasty));
    assert!(rig.verdicts(patient).is_empty());
    // Who comes later is under the same pause.
    rig.command_within(Action::Unmute, secs(9));
    assert!(is_refused(&rig, rig.latest));
    rig.command_within(Action::Mute, secs(9));
    assert_eq!(rig.verdict(rig.latest), Verdict::Already);
    assert_eq!(rig.verdict(patient), Verdict::Superseded);
    rig.command_within(Action::Unmute, secs(9));
    assert!(is_refused(&rig, rig.latest));
    assert_eq!(rig.phase(), Phase::Muted);
    rig.command_within(Action::Unmute, secs(11));
    assert_eq!(rig.posts(), 1);
    rig.pass(secs(10));
    assert_eq!(rig.posts(), 2);
}

/// What an earlier POST did may show yet, which a refusal would deny.
#[test]
fn a_command_that_may_have_acted_is_not_refused_for_a_pause() {
    let mut rig = posted_twice();
    rig.posted(throttled(Some(120)));
    assert!(rig.verdicts(rig.latest).is_empty());
    rig.pass(secs(30));
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
}

#[test]
fn a_pause_of_its_own_beyond_the_deadline_expires() {
    let mut rig = Rig::at_rest(true);
    rig.command_within(Action::Unmute, millis(200));
    rig.posted(throttled(None));
    rig.pass(millis(200));
    assert_eq!(rig.verdict(rig.latest), Verdict::Expired);
}

#[test]
fn retry_after_binds_the_next_command_too() {
    let mut rig = pending();
    rig.posted(throttled(Some(40)));
    rig.pass(secs(30));
    rig.command(Action::Unmute);
    assert_eq!(rig.phase(), Phase::Unmuting);
    assert_eq!(rig.posts(), 1);
    rig.pass(millis(9999));
    assert_eq!(rig.posts(), 1);
    rig.pass(millis(1));
    assert_eq!(rig.posts(), 2);
}

#[test]
fn no_retry_after_backs_off_twice_as_long_each_time() {
    let mut rig = pending();
    for pause in [250, 500, 1000, 2000, 4000, 4000] {
        rig.posted(throttled(None));
        let posts = rig.posts();
        rig.pass(millis(pause - 1));
        assert_eq!(rig.posts(), posts);
        rig.pass(millis(1));
        assert_eq!(rig.posts(), posts + 1);
    }
}

#[test]
fn a_retry_after_of_nothing_does_not_make_a_hot_loop() {
    let mut rig = pending();
    rig.posted(throttled(Some(0)));
    rig.pass(millis(249));
    assert_eq!(rig.posts(), 1);
}

#[test]
fn what_was_not_sent_is_sent_again_under_a_new_context() {
    let mut rig = pending();
    let first = rig.last_post();
    rig.posted(PostOutcome::NotSent);
    rig.pass(millis(250));
    let second = rig.last_post();
    assert_ne!(first.0, second.0);
    assert_ne!(first.2, second.2);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
}

#[test]
fn contexts_run_out_before_they_repeat() {
    let mut rig = pending();
    rig.command_within(Action::Unmute, secs(100_000));
    for _ in 0..300 {
        rig.posted(throttled(Some(0)));
        rig.pass(millis(250));
    }
    assert_eq!(rig.posts(), 255);
    rig.pass(secs(100_000));
    assert_eq!(rig.verdict(rig.latest), Verdict::Expired);
}

#[test]
fn an_ambiguous_post_is_read_before_a_second_one() {
    let mut rig = pending();
    let command = rig.latest;
    for post in 1..=3 {
        assert_eq!(rig.posts(), post);
        rig.posted(PostOutcome::Ambiguous);
        let at = rig.now;
        let effects = rig.pass(millis(0));
        assert!(
            matches!(effects[..], [Effect::ReadSelf { .. }]),
            "{effects:?}"
        );
        rig.own_read(true, 10);
        // Looks at 0.5, 1.0 and, once it has settled, 2.0 s.
        while rig.now.since(at) < millis(1990) {
            assert_eq!(rig.posts(), post, "not before it settled");
            rig.open(command);
            rig.pass(millis(10));
            rig.own_read(true, 10);
        }
        rig.pass(millis(10));
        assert_eq!(rig.now.since(at), millis(2000));
        assert_eq!(rig.posts(), post, "only a GET shows it");
        rig.own_read(true, 10);
    }
    assert_eq!(rig.posts(), 3);
    assert_eq!(rig.verdict(command), Verdict::Unconfirmed);
}

#[test]
fn an_old_read_does_not_allow_a_second_post() {
    let mut rig = pending();
    rig.posted(PostOutcome::Ambiguous);
    rig.pass(millis(0));
    let early = rig.last_self_query();
    rig.pass(secs(5));
    // Begun before it settled, answered after.
    let read = Read::Found(Box::new(own(true, 10)));
    rig.fire(Event::SelfRead { query: early, read });
    rig.roster(&[person("bob", 30)]);
    assert_eq!(rig.posts(), 1);
}

#[test]
fn an_ambiguous_post_whose_operation_runs_is_polled_and_not_repeated() {
    let mut rig = pending();
    rig.posted(PostOutcome::Ambiguous);
    rig.operation_notice(OperationStatus::Running);
    for _ in 0..60 {
        rig.pass(millis(250));
        rig.own_read(true, 10);
    }
    assert_eq!(rig.posts(), 1);
    let polls = count(&rig.log, |e| matches!(e, Effect::ReadOperation { .. }));
    assert_eq!(polls, 1, "the first one is unanswered");
    let query = |effect: &Effect| match effect {
        Effect::ReadOperation { query, .. } => Some(*query),
        _ => None,
    };
    let query = rig.log.iter().find_map(query).unwrap();
    let read = Read::Found(rig.operation(OperationStatus::Completed));
    rig.fire(Event::OperationRead { query, read });
    rig.open(rig.latest);
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
}

#[test]
fn an_older_posts_operation_says_nothing_about_the_newest() {
    let mut rig = posted_twice();
    let context = rig.latest.context(1);
    let older = |status| Event::OperationNotice(operation(1, Some(context.clone()), status));
    let failed = older(OperationStatus::Failed);
    let completed = older(OperationStatus::Completed);
    rig.fire(older(OperationStatus::Running));
    rig.fire(failed);
    rig.open(rig.latest);
    rig.answered(OperationStatus::Running);
    rig.fire(completed);
    rig.roster(&[own(false, 11)]);
    rig.open(rig.latest);
    rig.operation_notice(OperationStatus::Completed);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Operation));
}

#[test]
fn a_duplicate_answer_counts_once() {
    let mut rig = posted_twice();
    rig.posted(throttled(Some(60)));
    rig.posted(throttled(Some(60)));
    rig.pass(secs(60));
    // The first POST may have reached Graph, so nothing was `Expired`.
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
}

#[test]
fn no_second_unmute_once_the_first_is_seen_to_have_worked() {
    let mut rig = posted_twice();
    rig.posted(throttled(Some(5)));
    rig.roster(&[own(false, 11)]);
    rig.own_read(false, 11);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));
    rig.pass(secs(60));
    assert_eq!(rig.posts(), 2);
}

#[test]
fn the_last_look_comes_even_when_the_clock_is_late() {
    let mut rig = pending();
    rig.answered(OperationStatus::Running);
    rig.pass(secs(5));
    rig.own_read(true, 10);
    // The shell was away: an event comes first, the tick after it.
    rig.now = rig.now + millis(23_500);
    let looks = count(&rig.log, |e| matches!(e, Effect::ReadSelf { .. }));
    rig.roster(&[person("bob", 30)]);
    rig.fire(Event::Tick);
    let more = count(&rig.log, |e| matches!(e, Effect::ReadSelf { .. }));
    assert!(more > looks);
    rig.open(rig.latest);
    rig.own_read(false, 11);
    rig.pass(secs(2));
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));
}

#[test]
fn each_deadline_has_its_last_look() {
    let config = Config {
        roster_grace: secs(100),
        operation_grace: secs(100),
        ..Rig::plain()
    };
    let mut rig = Rig::at_rest_with(true, config);
    rig.command_within(Action::Unmute, secs(10));
    rig.command_within(Action::Unmute, secs(20));
    rig.answered(OperationStatus::Running);
    let looks = |rig: &Rig| count(&rig.log, |e| matches!(e, Effect::ReadSelf { .. }));
    rig.pass(millis(7999));
    assert_eq!(looks(&rig), 0);
    rig.pass(millis(1));
    assert_eq!(looks(&rig), 1);
    rig.pass(millis(9999));
    assert_eq!(looks(&rig), 1);
    rig.pass(millis(1));
    assert_eq!(looks(&rig), 2);
}

#[test]
fn a_short_deadline_looks_half_way() {
    let mut rig = Rig::at_rest(true);
    rig.command_within(Action::Unmute, secs(1));
    rig.answered(OperationStatus::Completed);
    rig.pass(millis(499));
    assert_eq!(rig.last_self_query(), u32::MAX);
    rig.pass(millis(1));
    rig.own_read(false, 11);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));

    let mut rig = Rig::at_rest(true);
    rig.command_within(Action::Unmute, secs(1));
    rig.answered(OperationStatus::Completed);
    rig.pass(secs(1));
    assert_eq!(rig.verdict(rig.latest), unseen(Evidence::Http));

    let mut rig = Rig::at_rest(true);
    rig.command_within(Action::Unmute, secs(0));
    rig.pass(secs(0));
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
}

#[test]
fn a_roster_without_numbers_prompts_a_read_also_before_the_answer() {
    let mut rig = pending();
    let effects = rig.fire(plain_roster(false));
    assert!(effects.iter().any(|e| matches!(e, Effect::ReadSelf { .. })));
    let query = rig.last_self_query();
    let read = Read::Found(Box::new(entry("me", false, None)));
    rig.fire(Event::SelfRead { query, read });
    rig.open(rig.latest);
    rig.answered(OperationStatus::Completed);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Http));
    assert_eq!(rig.phase(), Phase::Unmuted);
}

#[test]
fn a_read_begun_before_the_post_proves_nothing() {
    let mut rig = Rig::at_rest(true);
    rig.roster(&[person("bob", 11)]);
    rig.fire(Event::Timer(crate::Timer::Gap));
    let query = rig.last_query();
    rig.command(Action::Unmute);
    rig.answered(OperationStatus::Completed);
    let read = Read::Found(vec![own(false, 10), person("ann", 9)]);
    rig.fire(Event::RosterRead { query, read });
    rig.open(rig.latest);
}

#[test]
fn where_the_own_entry_alone_is_not_found_the_list_is_read() {
    let mut rig = pending();
    rig.answered(OperationStatus::Completed);
    rig.pass(secs(2));
    let query = rig.last_self_query();
    let effects = rig.fire(Event::SelfRead {
        query,
        read: Read::Absent,
    });
    let [Effect::ReadRoster { query }] = effects[..] else {
        panic!("{effects:?}")
    };
    let read = Read::Found(vec![own(false, 11), person("ann", 9)]);
    rig.fire(Event::RosterRead { query, read });
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));
}

#[test]
fn operations_without_a_context_wait_for_the_answer_that_names_them() {
    let mut rig = pending();
    let mut nameless = rig.operation(OperationStatus::Completed);
    nameless.client_context = None;
    rig.fire(Event::OperationNotice(nameless));
    rig.roster(&[own(false, 11)]);
    rig.open(rig.latest);
    rig.answered(OperationStatus::Running);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Operation));
}

#[test]
fn a_flood_of_operations_nobody_knows_is_kept_within_bounds() {
    // Of what comes before the answer that names it, the newest 16 are kept.
    for (others, kept) in [(15, true), (16, false), (10_000, false)] {
        let mut rig = pending();
        let mut nameless = rig.operation(OperationStatus::Completed);
        nameless.client_context = None;
        rig.fire(Event::OperationNotice(nameless));
        for number in 0..others {
            let stranger = operation(1_000 + number, None, OperationStatus::Failed);
            rig.fire(Event::OperationNotice(stranger));
        }
        rig.roster(&[own(false, 11)]);
        rig.answered(OperationStatus::Running);
        if kept {
            assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Operation));
        } else {
            rig.open(rig.latest);
            // Forgotten is not lost: it is asked for.
            assert_eq!(
                count(&rig.pass(secs(6)), |e| matches!(
                    e,
                    Effect::ReadOperation { .. }
                )),
                1
            );
        }
    }
}

#[test]
fn a_pause_that_comes_after_the_verdict_binds_the_next_command() {
    let mut rig = Rig::at_rest(true);
    rig.command_within(Action::Unmute, secs(1));
    rig.pass(secs(1));
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
    rig.posted(throttled(Some(5)));
    rig.command(Action::Unmute);
    assert_eq!(rig.posts(), 1);
    rig.pass(millis(4_900));
    assert_eq!(rig.posts(), 1);
    rig.pass(millis(200));
    assert_eq!(rig.posts(), 2);
}

#[test]
fn what_was_under_way_takes_no_memory_afterwards() {
    let mut rig = pending();
    assert!(rig.machine.may_be_packed(), "the POST is outstanding");
    rig.posted(throttled(Some(1)));
    rig.pass(millis(1000));
    rig.answered(OperationStatus::Running);
    rig.pass(millis(5000));
    let query = rig.last_query();
    let read = Read::Found(rig.operation(OperationStatus::Completed));
    rig.fire(Event::OperationRead { query, read });
    rig.own_read(false, 11);
    assert!(matches!(rig.verdict(rig.latest), Verdict::Confirmed { .. }));
    rig.command(Action::Unmute);
    assert_eq!(rig.verdict(rig.latest), Verdict::Already);
    assert!(!rig.machine.may_be_packed(), "{:?}", rig.machine);
}
