//! The verdict table of the design, a test per row, and every order of the evidence.

use openmic_model::{Action, Evidence, OperationStatus, ResultInfo, Verdict};

use super::rig::{Rig, confirmed, delta, millis, operation, own, secs, terminated, unseen};
use crate::{Effect, Event, Phase, PostOutcome, Read, Refusal};

const BOTH: [Action; 2] = [Action::Mute, Action::Unmute];

fn rest_of(action: Action) -> Phase {
    match action {
        Action::Mute => Phase::Muted,
        Action::Unmute => Phase::Unmuted,
    }
}

fn pending(action: Action) -> Rig {
    let mut rig = Rig::at_rest(!action.wants_muted());
    rig.command(action);
    rig
}

/// One piece of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    AnswerCompleted,
    AnswerRunning,
    AnswerLost,
    Operation,
    OperationPoll,
    Roster,
    OwnRead,
    OldRoster,
}

impl Fact {
    fn happen(self, rig: &mut Rig, action: Action) {
        let muted = action.wants_muted();
        match self {
            Self::AnswerCompleted => rig.answered(OperationStatus::Completed),
            Self::AnswerRunning => rig.answered(OperationStatus::Running),
            Self::AnswerLost => rig.posted(PostOutcome::Ambiguous),
            Self::Operation => rig.operation_notice(OperationStatus::Completed),
            Self::OperationPoll => {
                let read = Read::Found(rig.operation(OperationStatus::Completed));
                rig.fire(Event::OperationRead { query: 100, read })
            }
            Self::Roster => rig.fire(delta(2, &[own(muted, 11)])),
            Self::OwnRead => {
                let read = Read::Found(Box::new(own(muted, 11)));
                rig.fire(Event::SelfRead { query: 100, read })
            }
            Self::OldRoster => rig.fire(delta(1, &[own(!muted, 10)])),
        };
    }

    const fn completes(self) -> bool {
        matches!(
            self,
            Self::AnswerCompleted | Self::Operation | Self::OperationPoll
        )
    }

    const fn shows(self) -> bool {
        matches!(self, Self::Roster | Self::OwnRead)
    }

    const fn evidence(self) -> Evidence {
        match self {
            Self::AnswerCompleted | Self::AnswerRunning | Self::AnswerLost => Evidence::Http,
            Self::Operation | Self::OperationPoll => Evidence::Operation,
            Self::Roster | Self::OldRoster => Evidence::Roster,
            Self::OwnRead => Evidence::Poll,
        }
    }
}

fn permutations(facts: &[Fact]) -> Vec<Vec<Fact>> {
    if facts.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for at in 0..facts.len() {
        let mut rest = facts.to_vec();
        let first = rest.remove(at);
        for mut tail in permutations(&rest) {
            tail.insert(0, first);
            all.push(tail);
        }
    }
    all
}

#[test]
fn completed_and_unmuted_is_confirmed_in_every_order() {
    use Fact::{
        AnswerCompleted, AnswerLost, AnswerRunning, OldRoster, Operation, OperationPoll, OwnRead,
        Roster,
    };
    let sets: [&[Fact]; 9] = [
        &[AnswerCompleted, Roster],
        &[AnswerCompleted, OwnRead],
        &[AnswerCompleted, Roster, OldRoster],
        &[AnswerRunning, Operation, Roster],
        &[AnswerRunning, Operation, OwnRead, OldRoster],
        &[AnswerRunning, OperationPoll, Roster],
        &[AnswerCompleted, Operation, Roster, OwnRead],
        &[AnswerRunning, Operation, OperationPoll, Roster, OwnRead],
        &[AnswerLost, Operation, OldRoster],
    ];
    for (set, action, times) in sets
        .iter()
        .flat_map(|set| BOTH.map(|action| (set, action)))
        .flat_map(|(set, action)| [1, 2].map(|times| (set, action, times)))
    {
        for order in permutations(set) {
            let mut rig = pending(action);
            let command = rig.latest;
            let (mut done, mut shown, mut verdict) = (false, false, None);
            for fact in &order {
                for _ in 0..times {
                    fact.happen(&mut rig, action);
                }
                done |= fact.completes();
                shown |= fact.shows();
                if done && shown && verdict.is_none() {
                    verdict = Some(confirmed(fact.evidence()));
                }
                match &verdict {
                    Some(verdict) => assert_eq!(rig.verdict(command), *verdict, "{order:?}"),
                    None => rig.open(command),
                }
            }
            assert_eq!(rig.posts(), 1, "{order:?}");
            if verdict.is_some() {
                assert_eq!(rig.phase(), rest_of(action), "{order:?}");
            }
            rig.pass(secs(60));
            assert_eq!(rig.verdicts(command).len(), 1, "{order:?}");
        }
    }
}

#[test]
fn late_facts_are_events_and_change_no_verdict() {
    let mut rig = pending(Action::Unmute);
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    let late = rig.operation_notice(OperationStatus::Failed);
    assert!(matches!(late[..], [Effect::Late { .. }]), "{late:?}");
    let late = rig.answered(OperationStatus::Failed);
    assert!(matches!(late[..], [Effect::Late { .. }]), "{late:?}");
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
}

#[test]
fn running_and_unmuted_is_confirmed_once_the_operation_cannot_be_learned() {
    for action in BOTH {
        let mut rig = pending(action);
        rig.answered(OperationStatus::Running);
        rig.roster(&[own(action.wants_muted(), 11)]);
        rig.open(rig.latest);
        // Without a completed operation the notification may be about an older change: a GET.
        rig.pass(secs(2));
        rig.own_read(action.wants_muted(), 11);
        rig.open(rig.latest);
        // The operation's notification is overdue after 5 s; then polls 0.5, 1, 2 and 4 s apart.
        for pause in [3000, 500, 1000, 2000] {
            rig.pass(millis(pause));
            let read = Read::Found(rig.operation(OperationStatus::Running));
            let query = rig.last_query();
            rig.fire(Event::OperationRead { query, read });
            rig.open(rig.latest);
        }
        rig.pass(millis(4000));
        assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));
        let polls = |effect: &Effect| matches!(effect, Effect::ReadOperation { .. });
        assert_eq!(super::rig::count(&rig.log, polls), 4);
    }
}

#[test]
fn an_operation_that_is_not_found_counts_as_lost_but_not_over_its_end() {
    let mut rig = pending(Action::Unmute);
    rig.answered(OperationStatus::Running);
    rig.roster(&[own(false, 11)]);
    rig.pass(secs(5));
    let query = rig.last_query();
    rig.fire(Event::OperationRead {
        query,
        read: Read::Absent,
    });
    rig.open(rig.latest);
    rig.own_read(false, 11);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));

    // Completed by notification, and the poll under way finds nothing any more.
    let mut rig = pending(Action::Unmute);
    rig.answered(OperationStatus::Running);
    rig.pass(secs(5));
    let query = rig.last_query();
    rig.operation_notice(OperationStatus::Completed);
    rig.fire(Event::OperationRead {
        query,
        read: Read::Absent,
    });
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
}

#[test]
fn lost_answer_and_unmuted_is_confirmed_via_the_roster() {
    for action in BOTH {
        let muted = action.wants_muted();
        let mut rig = pending(action);
        rig.posted(PostOutcome::Ambiguous);
        rig.pass(millis(1));
        rig.own_read(muted, 11);
        assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));

        let mut rig = pending(action);
        rig.roster(&[own(muted, 11)]);
        rig.open(rig.latest);
        rig.posted(PostOutcome::Ambiguous);
        rig.open(rig.latest);
        rig.pass(millis(0));
        rig.own_read(muted, 11);
        assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));

        // No GET tells: at the deadline the notification is the best there is.
        let mut rig = pending(action);
        rig.posted(PostOutcome::Ambiguous);
        rig.roster(&[own(muted, 11)]);
        rig.pass(secs(30));
        assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
    }
}

#[test]
fn an_unreadable_answer_and_unmuted_is_confirmed_via_the_roster() {
    let mut rig = pending(Action::Unmute);
    let mut nameless = operation(1, None, OperationStatus::Running);
    nameless.id = None;
    rig.posted(PostOutcome::Answered(nameless));
    rig.roster(&[own(false, 11)]);
    rig.pass(secs(2));
    rig.own_read(false, 11);
    rig.open(rig.latest);
    rig.pass(secs(3));
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Poll));
}

#[test]
fn completed_with_no_entry_to_be_read_is_confirmed_unseen() {
    for action in BOTH {
        let mut rig = pending(action);
        rig.answered(OperationStatus::Completed);
        for pause in [2000, 500, 1000] {
            rig.open(rig.latest);
            rig.pass(millis(pause));
            rig.own_unread();
        }
        assert_eq!(rig.verdict(rig.latest), unseen(Evidence::Http));
        assert_eq!(rig.phase(), rest_of(action));
        // The stale entry still held is no statement: the state stays.
        rig.roster(&[super::rig::person("bob", 30)]);
        assert_eq!(rig.phase(), rest_of(action));
        rig.roster(&[own(!action.wants_muted(), 31)]);
        assert_ne!(rig.phase(), rest_of(action));
    }
}

#[test]
fn completed_and_still_muted_after_grace_and_three_reads_is_unconfirmed() {
    for action in BOTH {
        let mut rig = pending(action);
        rig.answered(OperationStatus::Completed);
        for pause in [2000, 500, 1000] {
            rig.open(rig.latest);
            rig.pass(millis(pause));
            rig.own_read(!action.wants_muted(), 10);
        }
        assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
        assert_eq!(rig.phase(), rest_of(action.opposite()));
    }
}

#[test]
fn reads_within_the_grace_time_do_not_count_against_it() {
    let mut rig = pending(Action::Unmute);
    rig.answered(OperationStatus::Completed);
    // Rosters without numbers prompt a GET each; a replica that lags answers them.
    for _ in 0..5 {
        rig.pass(millis(20));
        rig.fire(super::rig::plain_roster(false));
        rig.own_read(true, 10);
        rig.open(rig.latest);
    }
    rig.pass(millis(100));
    rig.roster(&[own(false, 11)]);
    assert_eq!(rig.verdict(rig.latest), confirmed(Evidence::Roster));
}

#[test]
fn failed_or_refused_is_refused_with_what_graph_said() {
    let refused = |status, code: &str, message: &str| Verdict::Refused {
        status,
        code: code.to_owned(),
        message: message.to_owned(),
    };
    for action in BOTH {
        let mut rig = pending(action);
        rig.roster(&[own(action.wants_muted(), 11)]);
        rig.posted(PostOutcome::Refused(Refusal::new(403, "8566", "no")));
        assert_eq!(rig.verdict(rig.latest), refused(403, "8566", "no"));
        assert_eq!(rig.phase(), rest_of(action));

        let mut rig = pending(action);
        rig.answered(OperationStatus::Failed);
        assert_eq!(rig.verdict(rig.latest), refused(403, "8566", "not allowed"));
        assert_eq!(rig.phase(), rest_of(action.opposite()));

        // By notification, before the answer.
        let mut rig = pending(action);
        rig.operation_notice(OperationStatus::Failed);
        assert_eq!(rig.verdict(rig.latest), refused(403, "8566", "not allowed"));
        rig.answered(OperationStatus::Running);
        assert_eq!(rig.verdicts(rig.latest).len(), 1);

        // By poll, without a reason.
        let mut rig = pending(action);
        rig.answered(OperationStatus::Running);
        rig.pass(secs(5));
        let mut failed = rig.operation(OperationStatus::Failed);
        failed.result = None;
        let query = rig.last_query();
        rig.fire(Event::OperationRead {
            query,
            read: Read::Found(failed),
        });
        assert!(matches!(
            rig.verdict(rig.latest),
            Verdict::Refused { status: 500, .. }
        ));
    }
}

#[test]
fn a_success_code_in_a_failure_is_still_a_failure() {
    let mut rig = pending(Action::Unmute);
    let mut failed = rig.operation(OperationStatus::Failed);
    failed.result = Some(ResultInfo {
        code: 200,
        subcode: 0,
        message: None,
    });
    rig.posted(PostOutcome::Answered(failed));
    assert!(matches!(
        rig.verdict(rig.latest),
        Verdict::Refused { status: 500, .. }
    ));
}

#[test]
fn what_is_so_already_is_not_posted() {
    for action in BOTH {
        let mut rig = Rig::at_rest(action.wants_muted());
        rig.command(action);
        assert_eq!(rig.verdict(rig.latest), Verdict::Already);
        assert_eq!(rig.posts(), 0);
    }
}

#[test]
fn what_somebody_else_brought_about_during_a_backoff_is_already() {
    let mut rig = pending(Action::Mute);
    rig.posted(PostOutcome::NotSent);
    rig.roster(&[own(true, 11)]);
    rig.own_read(true, 11);
    assert_eq!(rig.verdict(rig.latest), Verdict::Already);
    rig.pass(secs(60));
    assert_eq!(rig.posts(), 1);
}

#[test]
fn never_sent_in_time_is_expired() {
    let mut rig = pending(Action::Unmute);
    let command = rig.latest;
    while rig.verdicts(command).is_empty() {
        rig.posted(PostOutcome::NotSent);
        rig.pass(millis(250));
    }
    assert_eq!(rig.verdict(command), Verdict::Expired);
    assert_eq!(rig.phase(), Phase::Muted);
    let posts = rig.posts();
    rig.pass(secs(60));
    assert_eq!(rig.posts(), posts, "nothing is sent after the verdict");
}

#[test]
fn unknown_and_unknown_is_unconfirmed_at_the_deadline() {
    // Not even the HTTP outcome is known.
    let mut rig = pending(Action::Unmute);
    rig.pass(millis(29_999));
    rig.open(rig.latest);
    rig.pass(millis(1));
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);

    // Ambiguous, and no GET works.
    let mut rig = pending(Action::Unmute);
    rig.posted(PostOutcome::Ambiguous);
    for _ in 0..100 {
        rig.pass(millis(300));
        rig.own_unread();
    }
    assert_eq!(rig.verdict(rig.latest), Verdict::Unconfirmed);
    assert_eq!(rig.posts(), 1);
}

#[test]
fn the_end_of_the_call_ends_every_command() {
    for action in BOTH {
        let mut rig = pending(action);
        rig.terminate();
        let result = terminated().result;
        assert_eq!(rig.verdict(rig.latest), Verdict::CallEnded { result });

        // One attempt under way, one command waiting, one after the end.
        let mut rig = pending(action);
        let first = rig.latest;
        rig.command(action.opposite());
        let second = rig.latest;
        rig.posted(PostOutcome::Gone);
        assert_eq!(rig.verdict(first), Verdict::Superseded);
        assert_eq!(rig.verdict(second), Verdict::CallEnded { result: None });
        rig.command(action);
        assert_eq!(rig.verdict(rig.latest), Verdict::CallEnded { result: None });
        assert_eq!(rig.machine.next_deadline(), None);
    }
}
