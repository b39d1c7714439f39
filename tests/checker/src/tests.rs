//! Each invariant accepts a good history and rejects a bad one.

mod story;

use std::collections::BTreeSet;

use openmic_model::{Action, CommandId, OperationId};

use crate::{
    Answer, CallChecker, Checker, End, Entry, Gauge, INVARIANTS, Limits, Note, What, command_of,
};
use story::{
    CONFIRMED, ONE, Story, TWO, accepted, after, answered, begun, decided, ended, frame, intent,
    muted, now, sent, shown, took, unmuted,
};

/// The invariant that breaks first.
fn judge(story: &[(u64, What)]) -> Option<&'static str> {
    let mut checker = CallChecker::new(Limits::default());
    let mut at = 0;
    for (pause, what) in story {
        at += pause * 1000;
        if let Err(breach) = checker.take(at, what) {
            return Some(breach.invariant);
        }
    }
    checker.finish().err().map(|breach| breach.invariant)
}

/// A story that holds, and one that breaks the invariant.
struct Case {
    id: &'static str,
    good: Story,
    bad: Story,
}

fn cases() -> Vec<Case> {
    let case = |id, good: &[Story], bad: &[Story]| Case {
        id,
        good: good.concat(),
        bad: bad.concat(),
    };
    let unmute = || begun(ONE, Action::Unmute);
    let ambiguous = || now([sent(ONE, 1), answered(ONE, 1, Answer::Ambiguous)]);
    let look = |muted| {
        now([
            What::Asked { query: 1 },
            What::Showed {
                query: 1,
                muted: Some(muted),
            },
        ])
    };
    let forget = || now([What::Forgotten { command: ONE }]);
    let crash = |kept| now([What::Crashed { kept }, What::Recovered { digest: None }]);
    let durable = || now([What::Durable { records: 1 }]);
    let epoch = |epoch| now([What::Written(Note::Epoch(epoch))]);
    let end = |end| ended(ONE, end);
    vec![
        case(
            "I-1",
            &[unmute()],
            &[
                now([accepted(ONE, Action::Unmute)]),
                now([What::Written(Note::Accepted { command: ONE })]),
                now([What::Acknowledged { command: ONE }]),
            ],
        ),
        // It was never promised, so it may be gone.
        case(
            "I-1",
            &[
                now([accepted(ONE, Action::Unmute)]),
                now([What::Written(Note::Accepted { command: ONE })]),
                crash(0),
                forget(),
            ],
            &[unmute(), crash(0), forget()],
        ),
        case(
            "I-2",
            &[
                unmuted(),
                now([What::Told {
                    command: ONE,
                    end: End::Completed,
                }]),
            ],
            &[
                unmuted(),
                now([What::Told {
                    command: ONE,
                    end: End::Unconfirmed,
                }]),
            ],
        ),
        case(
            "I-2",
            &[unmuted()],
            &[
                unmute(),
                now([
                    What::Written(Note::Verdict {
                        command: ONE,
                        end: End::CallEnded,
                    }),
                    What::Told {
                        command: ONE,
                        end: End::CallEnded,
                    },
                ]),
            ],
        ),
        // A verdict that was lost with the process may come out otherwise.
        case(
            "I-2",
            &[
                unmute(),
                now([What::Written(Note::Verdict {
                    command: ONE,
                    end: End::Unconfirmed,
                })]),
                crash(0),
                end(End::CallEnded),
            ],
            &[
                unmute(),
                decided(ONE, End::Unconfirmed),
                crash(0),
                end(End::CallEnded),
            ],
        ),
        case(
            "I-2",
            &[unmuted()],
            &[now([What::Told {
                command: TWO,
                end: End::Already,
            }])],
        ),
        case(
            "I-3",
            &[unmute(), now([What::Calm]), after(34_000, What::Calm)],
            &[unmute(), now([What::Calm]), after(36_000, What::Jumped(0))],
        ),
        case(
            "I-3",
            &[
                unmute(),
                crash(0),
                after(34_000, What::Calm),
                end(End::Unconfirmed),
            ],
            &[unmute(), after(36_000, What::Calm), end(End::Unconfirmed)],
        ),
        case(
            "I-4",
            &[unmuted()],
            &[
                now([accepted(ONE, Action::Unmute)]),
                now([What::Written(Note::Accepted { command: ONE }), sent(ONE, 1)]),
            ],
        ),
        case(
            "I-4",
            &[
                unmute(),
                now([sent(ONE, 1), answered(ONE, 1, Answer::NotSent)]),
                intent(ONE, 2),
                now([sent(ONE, 2)]),
            ],
            &[
                unmute(),
                now([
                    sent(ONE, 1),
                    answered(ONE, 1, Answer::NotSent),
                    sent(ONE, 1),
                ]),
            ],
        ),
        case(
            "I-4",
            &[unmuted()],
            &[
                unmuted(),
                now([What::Reached {
                    lead: TWO,
                    number: 1,
                    action: Action::Mute,
                }]),
            ],
        ),
        case(
            "I-5",
            &[
                unmute(),
                ambiguous(),
                look(true),
                intent(ONE, 2),
                now([sent(ONE, 2)]),
            ],
            &[
                unmute(),
                ambiguous(),
                look(false),
                intent(ONE, 2),
                now([sent(ONE, 2)]),
            ],
        ),
        // Nor under another command's name, nor after a crash.
        case(
            "I-5",
            &[
                unmute(),
                ambiguous(),
                end(End::Unconfirmed),
                begun(TWO, Action::Unmute),
                now([sent(TWO, 1)]),
            ],
            &[
                unmute(),
                ambiguous(),
                crash(0),
                begun(TWO, Action::Unmute),
                now([sent(TWO, 1)]),
            ],
        ),
        case(
            "I-5",
            &[unmuted()],
            &[
                unmute(),
                ambiguous(),
                look(true),
                intent(ONE, 2),
                now([sent(ONE, 2), answered(ONE, 2, Answer::Ambiguous)]),
                look(true),
                intent(ONE, 3),
                now([sent(ONE, 3), answered(ONE, 3, Answer::Ambiguous)]),
                look(true),
                intent(ONE, 4),
                now([sent(ONE, 4)]),
            ],
        ),
        case(
            "I-6",
            &[unmuted()],
            &[
                now([muted()]),
                unmute(),
                now([sent(ONE, 1), answered(ONE, 1, Answer::Completed)]),
                end(CONFIRMED),
            ],
        ),
        case(
            "I-6",
            &[
                unmuted(),
                begun(TWO, Action::Unmute),
                ended(TWO, End::Already),
            ],
            &[
                unmuted(),
                begun(TWO, Action::Mute),
                ended(TWO, End::Already),
            ],
        ),
        case(
            "I-6",
            &[unmuted(), now([muted()])],
            &[
                now([muted()]),
                unmute(),
                ambiguous(),
                end(End::Unconfirmed),
                begun(TWO, Action::Mute),
                ended(TWO, End::Already),
                now([took(ONE, false)]),
            ],
        ),
        case(
            "I-7",
            &[unmute(), after(30_000, What::Calm), end(End::Expired)],
            &[
                unmute(),
                ambiguous(),
                now([What::Reached {
                    lead: ONE,
                    number: 1,
                    action: Action::Unmute,
                }]),
                after(30_000, What::Calm),
                end(End::Expired),
            ],
        ),
        case(
            "I-7",
            &[
                unmute(),
                now([sent(ONE, 1), answered(ONE, 1, Answer::Refused)]),
                end(End::Refused { status: 403 }),
            ],
            &[
                unmute(),
                now([sent(ONE, 1), answered(ONE, 1, Answer::Running)]),
                end(End::Refused { status: 403 }),
            ],
        ),
        {
            let pause = || {
                let after = Some(90_000);
                let answer = answered(ONE, 1, Answer::Throttled { after });
                now([sent(ONE, 1), answer])
            };
            let busy = || end(End::Refused { status: 429 });
            let late = || after(30_000, What::Calm);
            case(
                "I-7",
                &[unmute(), pause(), busy()],
                &[unmute(), pause(), late(), end(End::Expired)],
            )
        },
        case(
            "I-8",
            &[unmuted()],
            &[
                unmute(),
                now([sent(ONE, 1), answered(ONE, 1, Answer::NotSent)]),
                end(End::Unconfirmed),
                begun(TWO, Action::Mute),
                intent(ONE, 2),
                now([sent(ONE, 2)]),
            ],
        ),
        case(
            "I-9",
            &[
                unmuted(),
                begun(TWO, Action::Mute),
                now([What::Sent {
                    lead: TWO,
                    number: 1,
                    action: Action::Mute,
                }]),
            ],
            &[
                unmute(),
                now([sent(ONE, 1)]),
                begun(TWO, Action::Mute),
                now([What::Sent {
                    lead: TWO,
                    number: 1,
                    action: Action::Mute,
                }]),
            ],
        ),
        case(
            "I-10",
            &[now([
                frame(4, true, 1, 1),
                frame(4, true, 1, 1),
                frame(5, false, 1, 1),
            ])],
            &[now([frame(4, true, 1, 1), frame(3, true, 1, 1)])],
        ),
        case(
            "I-11",
            &[now([frame(4, true, 1, 1), frame(6, true, 1, 1)])],
            &[now([frame(4, true, 1, 1), frame(6, false, 1, 1)])],
        ),
        case(
            "I-12",
            &[now([frame(4, true, 9, 9)])],
            &[now([frame(4, true, 9, 8)])],
        ),
        case(
            "I-14",
            &[
                now([frame(4, true, 9, 9), What::Roster { hash: 9 }, What::Calm]),
                after(61_000, What::Jumped(0)),
            ],
            &[
                now([frame(4, true, 9, 9), What::Roster { hash: 8 }, What::Calm]),
                after(61_000, What::Jumped(0)),
            ],
        ),
        case(
            "I-15",
            &[now([shown(4, true), shown(6, false), shown(7, true)])],
            &[now([shown(4, true), shown(6, false), shown(5, true)])],
        ),
        case("I-16", &[epoch(5), epoch(6)], &[epoch(5), epoch(5)]),
        case(
            "I-16",
            &[epoch(5), durable(), now([frame(4, true, 1, 1)])],
            &[epoch(5), now([frame(4, true, 1, 1)])],
        ),
        // One that was lost with the process may be taken again.
        case(
            "I-16",
            &[epoch(5), crash(0), epoch(5)],
            &[epoch(5), durable(), crash(0), epoch(5)],
        ),
        case(
            "I-19",
            &[now([What::Level {
                gauge: Gauge::Parked,
                value: 16,
            }])],
            &[now([What::Level {
                gauge: Gauge::Parked,
                value: 17,
            }])],
        ),
        {
            let throttled = || {
                let answer = Answer::Throttled { after: Some(500) };
                [
                    unmute(),
                    now([sent(ONE, 1), answered(ONE, 1, answer)]),
                    intent(ONE, 2),
                ]
                .concat()
            };
            case(
                "I-23",
                &[throttled(), after(500, sent(ONE, 2))],
                &[throttled(), after(400, sent(ONE, 2))],
            )
        },
        {
            let recovered = |digest| {
                now([
                    What::Crashed { kept: 0 },
                    What::Recovered {
                        digest: Some(digest),
                    },
                ])
            };
            case(
                "I-28",
                &[recovered(1), recovered(1), epoch(2), recovered(2)],
                &[recovered(1), recovered(2)],
            )
        },
        case(
            "I-30",
            &[unmute(), now([What::Ended]), end(End::CallEnded)],
            &[
                unmute(),
                now([What::Ended]),
                after(1500, What::Calm),
                end(End::CallEnded),
            ],
        ),
        case(
            "I-30",
            &[unmuted()],
            &[unmute(), now([What::Ended, sent(ONE, 1)])],
        ),
        case(
            "I-31",
            &[
                unmute(),
                now([What::Jumped(86_400_000)]),
                crash(0),
                end(End::Expired),
            ],
            &[unmute(), now([What::Jumped(86_400_000)]), end(End::Expired)],
        ),
        {
            let ends = Some(50_000);
            let window = || [now([What::Written(Note::Window { ends })]), durable()].concat();
            let later = || [now([What::Calm]), after(61_000, What::Jumped(0))].concat();
            case(
                "W-1",
                &[unmuted(), window(), now([muted()]), later()],
                &[unmuted(), window(), later()],
            )
        },
        case(
            "I-34",
            &[
                now([What::DiskFull(true)]),
                unmuted(),
                now([What::Calm]),
                after(36_000, What::Calm),
            ],
            &[
                unmute(),
                now([
                    What::DiskFull(true),
                    What::Written(Note::Verdict {
                        command: ONE,
                        end: End::CallEnded,
                    }),
                    What::Calm,
                ]),
                after(36_000, What::Jumped(0)),
            ],
        ),
    ]
}

#[test]
fn each_invariant_takes_a_good_history_and_rejects_a_bad_one() {
    for (at, case) in cases().iter().enumerate() {
        assert_eq!(
            judge(&case.good),
            None,
            "case {at} of {}: {:#?}",
            case.id,
            case.good
        );
        assert_eq!(
            judge(&case.bad),
            Some(case.id),
            "case {at}: {:#?}",
            case.bad
        );
    }
}

#[test]
fn each_invariant_has_a_case() {
    let tried: BTreeSet<_> = cases().iter().map(|case| case.id).collect();
    let listed: BTreeSet<_> = INVARIANTS.iter().map(|invariant| invariant.id).collect();
    assert_eq!(tried, listed);
}

#[test]
fn a_history_reads_back_what_it_was() {
    for case in cases() {
        for (at, what) in case.good.into_iter().chain(case.bad) {
            let call = "a".to_owned();
            let entry = Entry { at, call, what };
            assert_eq!(entry.to_line().parse::<Entry>().unwrap(), entry);
        }
    }
    assert!("{}".parse::<Entry>().is_err());
}

#[test]
fn the_star_means_every_call() {
    let mut checker = Checker::new(Limits::default());
    let mut take = |at: u64, call: &str, what| {
        let call = call.to_owned();
        checker.take(&Entry { at, call, what })
    };
    take(1, "a", accepted(ONE, Action::Unmute)).unwrap();
    take(2, "b", accepted(TWO, Action::Unmute)).unwrap();
    take(3, "*", What::Calm).unwrap();
    take(
        36_000_000,
        "b",
        What::Told {
            command: TWO,
            end: End::Unconfirmed,
        },
    )
    .unwrap_err();
    take(36_000_000, "*", What::Jumped(0)).unwrap();
    assert_eq!(checker.calls(), 2);
    let breach = checker.finish().unwrap_err();
    assert_eq!(breach.invariant, "I-3");
    assert!(checker.close("c").is_ok(), "a call that never was");
}

#[test]
fn an_operation_and_its_command_are_the_same_bits() {
    let operation = OperationId::parse("00000000-0000-0000-0000-00000000002a").unwrap();
    assert_eq!(command_of(&operation), Some(CommandId::new(42)));
    assert_eq!(command_of(&OperationId::parse("op-1").unwrap()), None);
}
