//! Every state with every event, rendered and compared with the committed table.

use std::path::Path;

use openmic_model::{Action, CallKind, CallState, OperationStatus, Verdict};

use super::rig::{Rig, created, millis, own, person, secs};
use crate::attempt::{Http, Op};
use crate::model::State;
use crate::{Config, Effect, Event, Phase, PostOutcome, Refusal};

pub(crate) mod events;

use events::{Trigger, triggers};

/// A place in which a call can be, reached by real events.
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) reach: fn() -> Rig,
}

pub(super) struct Row {
    pub(super) place: &'static str,
    pub(super) event: &'static str,
    pub(super) arrow: &'static str,
    pub(super) from: Phase,
    pub(super) to: Phase,
    text: String,
}

fn creating() -> Rig {
    Rig::start(Rig::plain())
}

fn establishing() -> Rig {
    let mut rig = creating();
    rig.fire(created(CallState::Establishing, CallKind::Group));
    rig
}

fn own_entry_unseen() -> Rig {
    let mut rig = creating();
    rig.fire(created(CallState::Established, CallKind::Group));
    rig
}

fn joining_muted() -> Rig {
    let mut rig = Rig::start(Config::new(1, super::rig::OWN_COMMAND));
    rig.fire(created(CallState::Established, CallKind::Group));
    rig
}

/// The roster came before Graph said established.
fn own_entry_early() -> Rig {
    let mut rig = establishing();
    rig.roster(&[own(false, 10), person("ann", 9)]);
    rig
}

/// Three GETs brought nothing.
fn own_entry_missing() -> Rig {
    let mut rig = joining_muted();
    rig.pass(millis(3500));
    rig
}

fn create_lost() -> Rig {
    let mut rig = creating();
    rig.fire(events::create_failed(false));
    rig
}

fn answering() -> Rig {
    Rig::answer(Rig::plain(), CallKind::Group)
}

fn answer_lost() -> Rig {
    let mut rig = answering();
    rig.fire(events::create_failed(false));
    rig
}

/// Nothing told for 29 s what became of the answer.
fn answer_long_lost() -> Rig {
    let mut rig = answer_lost();
    rig.pass(secs(29));
    rig
}

fn hanging_up_unanswered() -> Rig {
    let mut rig = answering();
    rig.fire(Event::HangUp);
    rig
}

fn one_to_one() -> Rig {
    let mut rig = creating();
    rig.fire(created(CallState::Established, CallKind::PeerToPeer));
    rig
}

/// The opposite of `action` holds and the POST is under way.
fn pending(action: Action) -> Rig {
    let mut rig = Rig::at_rest(!action.wants_muted());
    rig.command(action);
    rig
}

fn answered(action: Action, status: OperationStatus) -> Rig {
    let mut rig = pending(action);
    rig.answered(status);
    rig
}

fn posted(action: Action, outcome: PostOutcome) -> Rig {
    let mut rig = pending(action);
    rig.posted(outcome);
    rig
}

fn backoff(action: Action) -> Rig {
    posted(
        action,
        PostOutcome::Throttled {
            after: Some(secs(3)),
            refusal: Refusal::throttled(),
        },
    )
}

fn overtaken(action: Action) -> Rig {
    let mut rig = pending(action);
    rig.command(action.opposite());
    rig
}

/// Overtaken, and the overtaken POST may still act.
fn doubted(action: Action) -> Rig {
    let mut rig = overtaken(action.opposite());
    rig.posted(PostOutcome::Ambiguous);
    rig
}

fn out_of_time(action: Action) -> Rig {
    let mut rig = pending(action);
    rig.pass(secs(30));
    rig
}

fn op_first(action: Action) -> Rig {
    let mut rig = pending(action);
    rig.operation_notice(OperationStatus::Completed);
    rig
}

fn roster_first(action: Action) -> Rig {
    let mut rig = answered(action, OperationStatus::Running);
    rig.roster(&[own(action.wants_muted(), 11)]);
    rig.pass(secs(2));
    rig.own_read(action.wants_muted(), 11);
    rig
}

/// Unmuted for three seconds.
fn speaking() -> Rig {
    let mut rig = Rig::at_rest(true);
    rig.speak(secs(3));
    rig.answered(OperationStatus::Completed);
    rig.roster(&[own(false, 11)]);
    rig
}

/// Muted by somebody before the time to speak was over.
fn hushed() -> Rig {
    let mut rig = speaking();
    rig.roster(&[own(true, 12)]);
    rig
}

/// A notification said that the call is over, and Graph was asked.
fn rumoured() -> Rig {
    let mut rig = Rig::at_rest(true);
    rig.fire(Event::CallNotice(super::rig::terminated()));
    rig
}

fn hanging_up() -> Rig {
    let mut rig = Rig::at_rest(true);
    rig.fire(Event::HangUp);
    rig
}

fn hanging_up_unborn() -> Rig {
    let mut rig = creating();
    rig.fire(Event::HangUp);
    rig
}

fn over() -> Rig {
    let mut rig = Rig::at_rest(true);
    rig.terminate();
    rig
}

fn never_created() -> Rig {
    let mut rig = create_lost();
    rig.pass(secs(30));
    rig
}

pub(super) const PLACES: &[Place] = &[
    Place {
        name: "Establishing: create unanswered",
        reach: creating,
    },
    Place {
        name: "Establishing: create's answer lost",
        reach: create_lost,
    },
    Place {
        name: "Establishing: answer unanswered",
        reach: answering,
    },
    Place {
        name: "Establishing: answer's answer lost",
        reach: answer_lost,
    },
    Place {
        name: "Establishing: answer's answer long lost",
        reach: answer_long_lost,
    },
    Place {
        name: "Establishing: not up",
        reach: establishing,
    },
    Place {
        name: "Establishing: up, own entry unseen",
        reach: own_entry_unseen,
    },
    Place {
        name: "Establishing: up, to be muted",
        reach: joining_muted,
    },
    Place {
        name: "Establishing: not up, own entry seen",
        reach: own_entry_early,
    },
    Place {
        name: "Establishing: up, own entry not found",
        reach: own_entry_missing,
    },
    Place {
        name: "Muted",
        reach: || Rig::at_rest(true),
    },
    Place {
        name: "Muted: unmute out of time, POST unanswered",
        reach: || out_of_time(Action::Unmute),
    },
    Place {
        name: "Unmuting: POST pending",
        reach: || pending(Action::Unmute),
    },
    Place {
        name: "Unmuting: POST pending, operation completed",
        reach: || op_first(Action::Unmute),
    },
    Place {
        name: "Unmuting: POST pending, overtaken",
        reach: || overtaken(Action::Unmute),
    },
    Place {
        name: "Unmuting: answered completed",
        reach: || answered(Action::Unmute, OperationStatus::Completed),
    },
    Place {
        name: "Unmuting: answered running",
        reach: || answered(Action::Unmute, OperationStatus::Running),
    },
    Place {
        name: "Unmuting: answered running, roster agrees",
        reach: || roster_first(Action::Unmute),
    },
    Place {
        name: "Unmuting: ambiguous",
        reach: || posted(Action::Unmute, PostOutcome::Ambiguous),
    },
    Place {
        name: "Unmuting: backoff",
        reach: || backoff(Action::Unmute),
    },
    Place {
        name: "Unmuted",
        reach: || Rig::at_rest(false),
    },
    Place {
        name: "Unmuted: for a time",
        reach: speaking,
    },
    Place {
        name: "Muted: before the time to speak was over",
        reach: hushed,
    },
    Place {
        name: "Muted: said to be over",
        reach: rumoured,
    },
    Place {
        name: "Unmuted: 1:1 call",
        reach: one_to_one,
    },
    Place {
        name: "Unmuted: mute out of time, POST unanswered",
        reach: || out_of_time(Action::Mute),
    },
    Place {
        name: "Muting: POST pending",
        reach: || pending(Action::Mute),
    },
    Place {
        name: "Muting: POST pending, overtaken",
        reach: || overtaken(Action::Mute),
    },
    Place {
        name: "Muting: answered completed",
        reach: || answered(Action::Mute, OperationStatus::Completed),
    },
    Place {
        name: "Muting: answered running",
        reach: || answered(Action::Mute, OperationStatus::Running),
    },
    Place {
        name: "Muting: ambiguous",
        reach: || posted(Action::Mute, PostOutcome::Ambiguous),
    },
    Place {
        name: "Muting: backoff",
        reach: || backoff(Action::Mute),
    },
    Place {
        name: "Muting: POST pending, an unmute may still act",
        reach: || doubted(Action::Mute),
    },
    Place {
        name: "Terminating",
        reach: hanging_up,
    },
    Place {
        name: "Terminating: create unanswered",
        reach: hanging_up_unborn,
    },
    Place {
        name: "Terminating: answer unanswered",
        reach: hanging_up_unanswered,
    },
    Place {
        name: "Terminated",
        reach: over,
    },
    Place {
        name: "Terminated: never created",
        reach: never_created,
    },
];

pub(super) fn rows() -> Vec<Row> {
    let triggers = triggers();
    PLACES
        .iter()
        .flat_map(|place| triggers.iter().map(|trigger| row(place, trigger)))
        .collect()
}

fn row(place: &Place, trigger: &Trigger) -> Row {
    let mut rig = (place.reach)();
    rig.now = rig.now + millis(10);
    let from = rig.phase();
    let event = (trigger.make)(&rig);
    if let Event::Timer(timer) = &event
        && let Some(at) = rig.machine.due(*timer)
    {
        rig.now = rig.now.max(at);
    }
    let effects = rig.fire(event);
    let entered = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Entered { .. }));
    let to = rig.phase();
    assert!(entered || from == to, "{} + {}", place.name, trigger.name);
    let text = format!(
        "{} + {} -> {} [{}]",
        place.name,
        trigger.name,
        stand(&rig),
        effects
            .iter()
            .filter_map(word)
            .collect::<Vec<_>>()
            .join(", ")
    );
    Row {
        place: place.name,
        event: trigger.name,
        arrow: trigger.arrow,
        from,
        to,
        text,
    }
}

/// The state and what it knows, in words.
fn stand(rig: &Rig) -> String {
    let state = rig.machine.state();
    let phase = name(state.phase());
    match state {
        State::Unmuting { attempt } | State::Muting { attempt } => {
            let http = match attempt.http {
                Http::Pending => "POST pending",
                Http::Answered => "answered",
                Http::Ambiguous { .. } => "ambiguous",
                Http::Backoff => "backoff",
            };
            let op = match attempt.op {
                Op::Unknown => "",
                Op::Running => ", running",
                Op::Completed => ", completed",
                Op::Failed(_) => ", failed",
                Op::Lost => ", operation lost",
            };
            let own = match attempt.own_muted {
                None => "",
                Some(true) => ", own entry muted",
                Some(false) => ", own entry unmuted",
            };
            let overtaken = if attempt.commands.is_empty() {
                ", overtaken"
            } else {
                ""
            };
            format!("{phase}: {http}{op}{own}{overtaken}")
        }
        State::Terminating { tries } => format!("{phase}: {tries} DELETE"),
        State::Terminated { ending } => format!("{phase}: {}", ending.cause.as_str()),
        State::Establishing | State::Muted | State::Unmuted => phase.to_owned(),
    }
}

pub(super) const fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Establishing => "Establishing",
        Phase::Muted => "Muted",
        Phase::Unmuting => "Unmuting",
        Phase::Unmuted => "Unmuted",
        Phase::Muting => "Muting",
        Phase::Terminating => "Terminating",
        Phase::Terminated => "Terminated",
    }
}

fn word(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Create => "create".to_owned(),
        Effect::Answer => "answer".to_owned(),
        Effect::Post {
            attempt, action, ..
        } => format!("post {action} #{attempt}"),
        Effect::ReadOperation { .. } => "read operation".to_owned(),
        Effect::ReadSelf { .. } => "read own entry".to_owned(),
        Effect::ReadRoster { .. } => "read roster".to_owned(),
        Effect::ReadCall { .. } => "read call".to_owned(),
        Effect::KeepAlive => "keepAlive".to_owned(),
        Effect::HangUp => "hang up".to_owned(),
        Effect::Settle {
            action, verdict, ..
        } => match verdict {
            Verdict::Refused { status, code, .. } => format!("{action} refused {status} {code}"),
            _ => format!("{action} {verdict}"),
        },
        Effect::Publish { version, .. } => format!("publish {version}"),
        Effect::Resync => "resync".to_owned(),
        Effect::Late { .. } => "late".to_owned(),
        Effect::Unexpected { .. } => "unexpected".to_owned(),
        // The arrow says it; the ledger checks what is written down.
        Effect::Entered { .. } | Effect::Record(_) => return None,
    })
}

#[test]
fn the_table_is_as_committed() {
    let mut text = String::from(
        "# Every state with every event: state + event -> state [effects].\n\
         # Made by `UPDATE=1 cargo test -p openmic-machine table`.\n",
    );
    for row in rows() {
        text.push_str(&row.text);
        text.push('\n');
    }
    compare("state_table.txt", &text);
}

#[test]
fn the_table_is_complete() {
    let rows = rows();
    let triggers = triggers();
    for place in PLACES {
        for trigger in &triggers {
            let same = |row: &&Row| row.place == place.name && row.event == trigger.name;
            assert_eq!(
                rows.iter().filter(same).count(),
                1,
                "{} {}",
                place.name,
                trigger.name
            );
        }
    }
    for phase in Phase::ALL {
        assert!(
            rows.iter().any(|row| row.from == phase),
            "no place is {phase}"
        );
    }
    // Each name of an event that the machine knows stands in the table.
    for name in events::NAMES {
        assert!(
            triggers.iter().any(|trigger| trigger.event_name() == *name),
            "no row fires {name}"
        );
    }
}

#[test]
fn places_are_where_they_say() {
    for place in PLACES {
        let rig = (place.reach)();
        let (phase, _) = place.name.split_once(':').unwrap_or((place.name, ""));
        assert_eq!(name(rig.phase()), phase, "{}", place.name);
    }
}

/// Compares with the committed file, or rewrites it when `UPDATE` is set.
pub(super) fn compare(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (is, was)) in text.lines().zip(committed.lines()).enumerate() {
        assert_eq!(is, was, "{file}:{}; UPDATE=1 rewrites it", line + 1);
    }
    assert_eq!(
        text.lines().count(),
        committed.lines().count(),
        "{file}; UPDATE=1 rewrites it"
    );
}
