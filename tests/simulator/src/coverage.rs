//! Which events came in which states.

use std::collections::BTreeSet;

use openmic_machine::{Ack, Event, Phase, PostOutcome, Read, Timer};
use openmic_model::{Action, CallFacts, CallState, Operation, OperationStatus, RosterUpdate};

/// Kinds of events, finer than [`Event::name`]: what they say matters.
const KINDS: [&str; 54] = [
    "Created",
    "Created(established)",
    "CreateFailed(definite)",
    "CreateFailed(perhaps)",
    "Command(mute)",
    "Command(unmute)",
    "HangUp",
    "Posted(completed)",
    "Posted(running)",
    "Posted(failed)",
    "Posted(refused)",
    "Posted(gone)",
    "Posted(throttled)",
    "Posted(not sent)",
    "Posted(ambiguous)",
    "OperationRead(completed)",
    "OperationRead(running)",
    "OperationRead(failed)",
    "OperationRead(absent)",
    "OperationRead(gone)",
    "OperationRead(unread)",
    "SelfRead(muted)",
    "SelfRead(unmuted)",
    "SelfRead(absent)",
    "SelfRead(gone)",
    "SelfRead(unread)",
    "RosterRead(found)",
    "RosterRead(absent)",
    "RosterRead(gone)",
    "RosterRead(unread)",
    "CallRead(up)",
    "CallRead(not up)",
    "CallRead(gone)",
    "CallRead(unread)",
    "KeptAlive(done)",
    "KeptAlive(gone)",
    "KeptAlive(failed)",
    "HungUp(done)",
    "HungUp(gone)",
    "HungUp(failed)",
    "CallNotice(not up)",
    "CallNotice(established)",
    "CallNotice(terminated)",
    "RosterNotice(delta)",
    "RosterNotice(full)",
    "OperationNotice(completed)",
    "OperationNotice(running)",
    "OperationNotice(failed)",
    "Tick",
    "Timer",
    "CallRead(terminated)",
    "CallRead(absent)",
    "Watched(no)",
    "Watched(yes)",
];

fn of_status(status: OperationStatus) -> usize {
    match status {
        OperationStatus::Completed => 0,
        OperationStatus::NotStarted | OperationStatus::Running => 1,
        OperationStatus::Failed => 2,
    }
}

fn of_operation(read: &Read<Operation>) -> usize {
    match read {
        Read::Found(operation) => of_status(operation.status),
        Read::Absent => 3,
        Read::Gone => 4,
        Read::Failed => 5,
    }
}

fn of_call(read: &Read<CallFacts>) -> usize {
    match read {
        Read::Found(facts) => match facts.state {
            Some(CallState::Established) => 30,
            Some(CallState::Terminated) => 50,
            _ => 31,
        },
        Read::Gone => 32,
        Read::Failed => 33,
        Read::Absent => 51,
    }
}

const fn of_ack(ack: Ack) -> usize {
    match ack {
        Ack::Done => 0,
        Ack::Gone => 1,
        Ack::Failed => 2,
    }
}

fn kind(event: &Event) -> usize {
    match event {
        Event::Created { facts, .. } => usize::from(facts.state == Some(CallState::Established)),
        Event::CreateFailed { definite, .. } => 3 - usize::from(*definite),
        Event::Command { action, .. } => 4 + usize::from(*action == Action::Unmute),
        Event::HangUp => 6,
        Event::Posted { outcome, .. } => match outcome {
            PostOutcome::Answered(operation) => 7 + of_status(operation.status),
            PostOutcome::Refused(_) => 10,
            PostOutcome::Gone => 11,
            PostOutcome::Throttled { .. } => 12,
            PostOutcome::NotSent => 13,
            PostOutcome::Ambiguous => 14,
        },
        Event::OperationRead { read, .. } => 15 + of_operation(read),
        Event::SelfRead { read, .. } => match read {
            Read::Found(entry) => 22 - usize::from(entry.is_muted),
            Read::Absent => 23,
            Read::Gone => 24,
            Read::Failed => 25,
        },
        Event::RosterRead { read, .. } => match read {
            Read::Found(_) => 26,
            Read::Absent => 27,
            Read::Gone => 28,
            Read::Failed => 29,
        },
        Event::CallRead { read, .. } => of_call(read),
        Event::KeptAlive(ack) => 34 + of_ack(*ack),
        Event::HungUp(ack) => 37 + of_ack(*ack),
        Event::CallNotice(facts) => match facts.state {
            Some(CallState::Established) => 41,
            Some(CallState::Terminated) => 42,
            _ => 40,
        },
        Event::RosterNotice(RosterUpdate::Delta { .. }) => 43,
        Event::RosterNotice(RosterUpdate::Full(_)) => 44,
        Event::OperationNotice(operation) => 45 + of_status(operation.status),
        Event::Tick => 48,
        // Made by the machine itself, and what no state looks at.
        Event::Timer(_) | Event::Quiet => 49,
        Event::Watched(watched) => 52 + usize::from(*watched),
    }
}

/// Columns: the kinds of events, and behind them the timers.
const COLUMNS: usize = KINDS.len() + Timer::ALL.len();

/// How often each event came in each state.
#[derive(Debug, Clone)]
pub(crate) struct Coverage {
    hits: Vec<[u64; COLUMNS]>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            hits: vec![[0; COLUMNS]; Phase::ALL.len()],
        }
    }
}

impl Coverage {
    #[inline]
    pub(crate) fn hit(&mut self, phase: Phase, event: &Event) {
        let column = match event {
            Event::Timer(timer) => KINDS.len() + *timer as usize,
            event => kind(event),
        };
        self.hits[phase as usize][column] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.hits.iter_mut().zip(&other.hits) {
            for (sum, more) in sum.iter_mut().zip(more) {
                *sum += more;
            }
        }
    }

    fn name(column: usize) -> String {
        match column.checked_sub(KINDS.len()) {
            Some(timer) => format!("Timer({:?})", Timer::ALL[timer]),
            None => KINDS[column].to_owned(),
        }
    }

    /// Pairs that are counted: a tick is counted as the timers that it sets off.
    fn counts(column: usize) -> bool {
        !matches!(KINDS.get(column), Some(&"Tick" | &"Timer"))
    }

    /// Every pair as `state + event`, with how often it came.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        Phase::ALL.into_iter().flat_map(move |phase| {
            (0..COLUMNS)
                .filter(|column| Self::counts(*column))
                .map(move |column| {
                    let hits = self.hits[phase as usize][column];
                    (format!("{phase} + {}", Self::name(column)), hits)
                })
        })
    }

    pub(crate) fn missed(&self) -> BTreeSet<String> {
        let missed = self.pairs().filter(|(_, hits)| *hits == 0);
        missed.map(|(pair, _)| pair).collect()
    }
}
