//! The sentences.

use std::time::Duration;

use openmic_engine::Phase;
use openmic_engine::flight::Act;
use openmic_engine::flight::{Ack, Event, PostOutcome, Read, Timer};
use openmic_model::{
    Action, CallFacts, CommandId, Evidence, Operation, OperationStatus, Participant, ParticipantId,
    RosterSeen, RosterUpdate, Verdict,
};
use openmic_wire::call::state_word;

use crate::live;

/// A command, so that people can tell it from others.
pub(super) fn short(command: CommandId) -> String {
    let mut text = command.to_string();
    text.truncate(6);
    text
}

/// How long, to three digits.
pub(super) fn took(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.000_1 {
        "0 ms".to_owned()
    } else if seconds < 0.01 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

/// What an event says.
pub(super) fn event(event: &Event, me: Option<&ParticipantId>, due: &[Timer]) -> String {
    match event {
        Event::Created { facts, .. } => format!("Graph took the call{}", told(facts)),
        Event::CreateFailed { refusal, definite } => {
            let known = if *definite {
                "Graph refused the call"
            } else {
                "nobody knows whether the call came to be"
            };
            let said = said(refusal.status, &refusal.code, &refusal.message);
            format!("{known}: {said}")
        }
        Event::Command {
            id,
            action,
            within,
            speak_for,
        } => {
            let speak = speak_for.map(|speak| format!(", to speak for {}", took(speak)));
            format!(
                "the bot asks to be {} ({}, verdict within {}{})",
                done(*action),
                short(*id),
                took(*within),
                speak.unwrap_or_default()
            )
        }
        Event::HangUp => "the bot hangs up, or the engine goes down".to_owned(),
        Event::Posted { outcome, .. } => posted(outcome),
        Event::OperationRead { read, .. } => match read {
            Read::Found(found) => format!("GET of the operation: {}", operation(found)),
            other => format!("GET of the operation: {}", unread(other)),
        },
        Event::SelfRead { read, .. } => match read {
            Read::Found(own) => format!("GET of the bot's own entry: {}", muted(own)),
            other => format!("GET of the bot's own entry: {}", unread(other)),
        },
        Event::RosterRead { read, .. } => match read {
            Read::Found(entries) => {
                let own = own(entries.iter(), me);
                format!("GET of the roster: {} participants{own}", entries.len())
            }
            other => format!("GET of the roster: {}", unread(other)),
        },
        Event::CallRead { read, .. } => match read {
            Read::Found(facts) => format!("GET of the call: it is there{}", told(facts)),
            other => format!("GET of the call: {}", unread(other)),
        },
        Event::KeptAlive(ack) => format!("keepAlive: {}", acknowledged(*ack)),
        Event::HungUp(ack) => format!("hang-up: {}", acknowledged(*ack)),
        Event::CallNotice(facts) => format!("Graph tells of the call{}", told(facts)),
        Event::RosterNotice(update) => roster(update, me),
        Event::OperationNotice(notice) => {
            format!("Graph tells of the operation: {}", operation(notice))
        }
        Event::Watched(true) => "somebody watches the roster".to_owned(),
        Event::Watched(false) => "nobody watches the roster any more".to_owned(),
        Event::Quiet => "nothing happens".to_owned(),
        Event::Tick => {
            let fired: Vec<_> = due.iter().map(|timer| overdue(*timer)).collect();
            if fired.is_empty() {
                "time passed".to_owned()
            } else {
                format!("time passed: {}", fired.join("; "))
            }
        }
        Event::Timer(timer) => format!("time passed: {}", overdue(*timer)),
    }
}

pub(super) const fn done(action: Action) -> &'static str {
    match action {
        Action::Mute => "muted",
        Action::Unmute => "unmuted",
    }
}

/// A refusal, in a line: its words are another's.
fn said(status: u16, code: &str, message: &str) -> String {
    live::shown(&format!("{status} {code}: {message}"))
}

fn posted(outcome: &PostOutcome) -> String {
    match outcome {
        PostOutcome::Answered(found) => format!("Graph answered the POST: {}", operation(found)),
        PostOutcome::Refused(refusal) => {
            let said = said(refusal.status, &refusal.code, &refusal.message);
            format!("Graph refused the POST: {said}")
        }
        PostOutcome::Gone => "Graph answered the POST: there is no such call".to_owned(),
        PostOutcome::Throttled {
            after: Some(after), ..
        } => {
            format!(
                "Graph throttles: the POST is to come again after {}",
                took(*after)
            )
        }
        PostOutcome::Throttled { after: None, .. } => {
            "Graph throttles the POST, and does not say until when".to_owned()
        }
        PostOutcome::NotSent => "the POST was not sent; it had no effect".to_owned(),
        PostOutcome::Ambiguous => {
            "the POST's answer was lost: it may or may not have taken effect".to_owned()
        }
    }
}

fn operation(operation: &Operation) -> String {
    let status = match operation.status {
        OperationStatus::NotStarted => "operation not started",
        OperationStatus::Running => "operation running",
        OperationStatus::Completed => "operation completed",
        OperationStatus::Failed => "operation failed",
    };
    match &operation.result {
        Some(result) => format!("{status}, {result}"),
        None => status.to_owned(),
    }
}

fn unread<T>(read: &Read<T>) -> &'static str {
    match read {
        Read::Found(_) => "found",
        Read::Absent => "not there",
        Read::Gone => "there is no such call",
        Read::Failed => "it could not be read",
    }
}

fn acknowledged(ack: Ack) -> &'static str {
    match ack {
        Ack::Done => "done",
        Ack::Gone => "there is no such call",
        Ack::Failed => "it failed, or its answer was lost",
    }
}

fn told(facts: &CallFacts) -> String {
    let mut text = facts
        .state
        .map_or_else(String::new, |state| format!(": {}", state_word(state)));
    if let Some(result) = &facts.result {
        text.push_str(", ");
        text.push_str(&result.to_string());
    }
    text
}

fn muted(entry: &Participant) -> &'static str {
    if entry.is_muted { "muted" } else { "unmuted" }
}

fn own<'a>(
    mut entries: impl Iterator<Item = &'a Participant>,
    me: Option<&ParticipantId>,
) -> String {
    let own = entries.find(|entry| Some(&entry.id) == me);
    own.map_or_else(String::new, |own| format!(", the bot {}", muted(own)))
}

fn roster(update: &RosterUpdate, me: Option<&ParticipantId>) -> String {
    match update {
        RosterUpdate::Full(entries) => format!(
            "Graph tells the whole roster: {} participants{}",
            entries.len(),
            own(entries.iter(), me)
        ),
        RosterUpdate::Delta {
            sequence_number,
            entries,
        } => {
            let number = sequence_number.map_or_else(String::new, |number| format!(" {number}"));
            let left = entries.iter().filter(|entry| entry.removed).count();
            let left = match left {
                0 => String::new(),
                left => format!(", {left} of them left"),
            };
            let there = entries.iter().filter(|entry| !entry.removed);
            let own = own(there.map(|entry| &entry.participant), me);
            let count = entries.len();
            format!("Graph tells roster delta{number}: {count} entries{left}{own}")
        }
    }
}

/// What a timer is for, once it went off.
fn overdue(timer: Timer) -> &'static str {
    match timer {
        Timer::Patience => "patience with what establishing lacks is over",
        Timer::Operation => "the operation's notification is overdue",
        Timer::Roster => "the own roster entry is overdue",
        Timer::Backoff => "the time to post again has come",
        Timer::LastLook => "the deadline is near, a last look",
        Timer::Command => "a command's deadline has come",
        Timer::KeepAlive => "keepAlive is due",
        Timer::Gap => "the roster is in doubt and did not mend by itself",
        Timer::Verify => "Graph has not told whether the call is over",
        Timer::Parting => "the end of the call is overdue",
        Timer::Window => "the time to speak is over",
        Timer::Audit => "somebody watches, the roster is due for a look",
    }
}

/// What happens when a timer goes off.
pub(super) fn then(timer: Timer) -> &'static str {
    match timer {
        Timer::Patience => "looks again for what is lacking, or gives up",
        Timer::Operation => "asks Graph for the operation",
        Timer::Roster => "asks Graph for the bot's own roster entry",
        Timer::Backoff => "posts again",
        Timer::LastLook => "looks a last time before the deadline",
        Timer::Command => "the deadline of a command: it has its verdict by then",
        Timer::KeepAlive => "tells Graph that the bot is alive",
        Timer::Gap => "reads the roster",
        Timer::Verify => "asks Graph whether the call is over",
        Timer::Parting => "hangs up again, or takes the call for ended",
        Timer::Window => "mutes the bot: its time to speak is over",
        Timer::Audit => "reads the roster, since somebody watches",
    }
}

/// What a verdict says, with its evidence.
pub(super) fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Confirmed { evidence, roster } => {
            let last = match evidence {
                Evidence::Http => "the POST's answer",
                Evidence::Operation => "the operation",
                Evidence::Roster => "the roster",
                Evidence::Poll => "a GET",
            };
            let seen = match roster {
                RosterSeen::Unseen => "; the bot's own entry could not be read",
                RosterSeen::Fresh => "",
            };
            format!("confirmed, {last} came last{seen}")
        }
        Verdict::Already => "it was so already, nothing was sent".to_owned(),
        Verdict::Refused {
            status,
            code,
            message,
        } => format!("refused, {}", said(*status, code, message)),
        Verdict::Unconfirmed => "unconfirmed: nobody can tell whether it took effect".to_owned(),
        Verdict::Expired => "expired: it could not be sent in time".to_owned(),
        Verdict::Superseded => "superseded by a newer opposite command".to_owned(),
        Verdict::CallEnded { result: Some(why) } => format!("the call ended first: {why}"),
        Verdict::CallEnded { result: None } => "the call ended first".to_owned(),
    }
}

/// What the machine did that is worth a line; `None` for its bookkeeping.
pub(super) fn act(act: &Act) -> Option<String> {
    Some(match act {
        Act::Create => "asks Graph for the call".to_owned(),
        Act::Answer => "answers the ringing call".to_owned(),
        Act::Post {
            action, command, ..
        } => format!("posts {action} for {}", short(*command)),
        Act::ReadOperation { .. } => "asks for the operation".to_owned(),
        Act::ReadSelf { .. } => "asks for the bot's own entry".to_owned(),
        Act::ReadRoster { .. } => "asks for the roster".to_owned(),
        Act::ReadCall { .. } => "asks for the call".to_owned(),
        Act::KeepAlive => "sends keepAlive".to_owned(),
        Act::HangUp => "hangs up".to_owned(),
        Act::Settle {
            command,
            action,
            verdict: how,
            took: after,
            ..
        } => format!(
            "{action} {} after {}: {}",
            short(*command),
            took(Duration::from_nanos(*after)),
            verdict(how)
        ),
        Act::Entered { from, to } => format!("{from} -> {to}"),
        Act::Publish { version, .. } => format!("roster {version}"),
        Act::Resync | Act::Late { .. } | Act::Unexpected { .. } | Act::Record { .. } => {
            return None;
        }
    })
}

/// What a state means.
pub(super) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Establishing => "Graph is setting the call up, or the bot's own entry was not seen.",
        Phase::Muted => "Nobody hears the bot.",
        Phase::Unmuting => "An unmute is under way.",
        Phase::Unmuted => "Everybody hears the bot.",
        Phase::Muting => "A mute is under way.",
        Phase::Terminating => "The call is being hung up.",
        Phase::Terminated => "The call is over.",
    }
}
