//! Any events in any order, twice and out of place: what must hold whatever comes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openmic_model::{
    Action, CallKind, CallState, CommandId, DeltaEntry, OperationStatus, Participant, Roster,
    RosterUpdate,
};
use proptest::prelude::*;

use super::rig::{OWN_COMMAND, Rig, created, entry, facts, millis, operation, secs, terminated};
use super::table::events::create_failed;
use crate::{Ack, AttemptId, Config, Effect, Event, Phase, PostOutcome, Read, Refusal, Time};

/// What happens, before it is known which ids are about.
#[derive(Debug, Clone)]
enum Step {
    Created(bool, bool),
    CreateFailed(bool),
    Command(bool, u64),
    HangUp,
    /// Counted back from the latest POST.
    Posted(u32, Outcome),
    OperationRead(u32, ReadOf, OperationStatus),
    SelfRead(u32, ReadOf, bool, Option<u64>),
    RosterRead(u32, ReadOf, Vec<(u8, bool, Option<u64>)>),
    CallRead(u32, ReadOf, CallState),
    KeptAlive(Ack),
    HungUp(Ack),
    CallNotice(CallState),
    Terminated,
    Full(Vec<(u8, bool, Option<u64>)>),
    Delta(Option<u64>, Vec<(u8, bool, Option<u64>, bool)>),
    OperationNotice(u32, bool, OperationStatus),
    /// Something that came before comes again.
    Again(prop::sample::Index),
    Tick,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Answered(OperationStatus),
    Refused,
    Gone,
    Throttled(Option<u64>),
    NotSent,
    Ambiguous,
}

#[derive(Debug, Clone, Copy)]
enum ReadOf {
    Found,
    Absent,
    Gone,
    Failed,
}

fn status() -> impl Strategy<Value = OperationStatus> {
    prop_oneof![
        Just(OperationStatus::NotStarted),
        Just(OperationStatus::Running),
        Just(OperationStatus::Completed),
        Just(OperationStatus::Failed),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => status().prop_map(Outcome::Answered),
        1 => Just(Outcome::Refused),
        1 => prop::option::of(0..50_u64).prop_map(Outcome::Throttled),
        1 => Just(Outcome::NotSent),
        4 => Just(Outcome::Ambiguous),
    ]
}

fn read_of() -> impl Strategy<Value = ReadOf> {
    prop_oneof![
        8 => Just(ReadOf::Found),
        2 => Just(ReadOf::Absent),
        2 => Just(ReadOf::Failed),
    ]
}

fn state() -> impl Strategy<Value = CallState> {
    prop_oneof![
        Just(CallState::Establishing),
        Just(CallState::Ringing),
        Just(CallState::Established),
        Just(CallState::Hold),
    ]
}

fn ack() -> impl Strategy<Value = Ack> {
    prop_oneof![Just(Ack::Done), Just(Ack::Failed)]
}

fn people() -> impl Strategy<Value = Vec<(u8, bool, Option<u64>)>> {
    prop::collection::vec((0..4_u8, any::<bool>(), prop::option::of(0..30_u64)), 0..4)
}

fn calm() -> impl Strategy<Value = Step> {
    let deltas = prop::collection::vec(
        (
            0..4_u8,
            any::<bool>(),
            prop::option::of(0..30_u64),
            any::<bool>(),
        ),
        0..3,
    );
    prop_oneof![
        2 => (any::<bool>(), any::<bool>()).prop_map(|(group, up)| Step::Created(group, up)),
        1 => any::<bool>().prop_map(|_| Step::CreateFailed(false)),
        12 => (any::<bool>(), 0..40_000_u64).prop_map(|(mute, within)| Step::Command(mute, within)),
        16 => (0..2_u32, outcome()).prop_map(|(back, outcome)| Step::Posted(back, outcome)),
        4 => (0..4_u32, read_of(), status()).prop_map(|(b, r, s)| Step::OperationRead(b, r, s)),
        8 => (0..4_u32, read_of(), any::<bool>(), prop::option::of(0..30_u64))
            .prop_map(|(b, r, m, n)| Step::SelfRead(b, r, m, n)),
        4 => (0..4_u32, read_of(), people()).prop_map(|(b, r, p)| Step::RosterRead(b, r, p)),
        2 => (0..4_u32, read_of(), state()).prop_map(|(b, r, s)| Step::CallRead(b, r, s)),
        1 => ack().prop_map(Step::KeptAlive),
        1 => ack().prop_map(Step::HungUp),
        3 => state().prop_map(Step::CallNotice),
        4 => people().prop_map(Step::Full),
        6 => (prop::option::of(0..40_u64), deltas).prop_map(|(n, e)| Step::Delta(n, e)),
        6 => (0..3_u32, any::<bool>(), status()).prop_map(|(b, c, s)| Step::OperationNotice(b, c, s)),
        6 => any::<prop::sample::Index>().prop_map(Step::Again),
        4 => Just(Step::Tick),
    ]
}

fn last() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::HangUp),
        Just(Step::Terminated),
        Just(Step::CreateFailed(true)),
        Just(Step::KeptAlive(Ack::Gone)),
        Just(Step::Posted(0, Outcome::Gone)),
        Just(Step::SelfRead(0, ReadOf::Gone, true, None)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![60 => calm(), 1 => last()];
    let pause = prop_oneof![4 => 0..300_u64, 2 => 0..4000_u64, 1 => 0..40_000_u64];
    prop::collection::vec((pause, step), 1..80)
}

fn person(who: u8, muted: bool, number: Option<u64>) -> Participant {
    entry(["me", "ann", "bob", "cat"][usize::from(who)], muted, number)
}

fn all(people: &[(u8, bool, Option<u64>)]) -> Vec<Participant> {
    let one = |(who, muted, number): &(u8, bool, Option<u64>)| person(*who, *muted, *number);
    people.iter().map(one).collect()
}

fn read<T>(of: ReadOf, found: T) -> Read<T> {
    match of {
        ReadOf::Found => Read::Found(found),
        ReadOf::Absent => Read::Absent,
        ReadOf::Gone => Read::Gone,
        ReadOf::Failed => Read::Failed,
    }
}

/// The checker: what the effects so far add up to.
struct Watch {
    rig: Rig,
    posts: Vec<(AttemptId, CommandId, openmic_model::ClientContext)>,
    in_flight: Option<AttemptId>,
    contexts: BTreeSet<String>,
    accepted: BTreeMap<CommandId, (Time, Duration)>,
    settled: BTreeSet<CommandId>,
    roster: Roster,
    seq: u64,
    history: Vec<Event>,
    next_command: u128,
}

impl Watch {
    fn new(join_muted: bool) -> Self {
        let config = Config {
            join_muted,
            ..Config::new(1, OWN_COMMAND)
        };
        Self {
            rig: Rig::start(config),
            posts: Vec::new(),
            in_flight: None,
            contexts: BTreeSet::new(),
            accepted: BTreeMap::new(),
            settled: BTreeSet::new(),
            roster: Roster::default(),
            seq: 0,
            history: Vec::new(),
            next_command: 1,
        }
    }

    fn event(&mut self, step: &Step) -> Option<Event> {
        let query = |back: u32| self.rig.last_query().wrapping_sub(back);
        let post = |back: u32| {
            let at = self.posts.len().checked_sub(1 + back as usize)?;
            self.posts.get(at).cloned()
        };
        Some(match step {
            Step::Created(group, up) => created(
                if *up {
                    CallState::Established
                } else {
                    CallState::Establishing
                },
                if *group {
                    CallKind::Group
                } else {
                    CallKind::PeerToPeer
                },
            ),
            Step::CreateFailed(definite) => create_failed(*definite),
            Step::Command(mute, within) => {
                let id = CommandId::new(self.next_command);
                self.next_command += 1;
                let within = millis(*within);
                self.accepted.insert(id, (self.rig.now, within));
                let action = if *mute { Action::Mute } else { Action::Unmute };
                Event::Command {
                    id,
                    action,
                    within,
                    speak_for: None,
                }
            }
            Step::HangUp => Event::HangUp,
            Step::Posted(back, outcome) => {
                let (attempt, _, context) = post(*back)?;
                let outcome = match outcome {
                    Outcome::Answered(status) => {
                        PostOutcome::Answered(operation(attempt, Some(context), *status))
                    }
                    Outcome::Refused => PostOutcome::Refused(Refusal::new(403, "8566", "no")),
                    Outcome::Gone => PostOutcome::Gone,
                    Outcome::Throttled(after) => PostOutcome::Throttled {
                        after: after.map(secs),
                        refusal: Refusal::throttled(),
                    },
                    Outcome::NotSent => PostOutcome::NotSent,
                    Outcome::Ambiguous => PostOutcome::Ambiguous,
                };
                Event::Posted { attempt, outcome }
            }
            Step::OperationRead(back, of, status) => {
                let (attempt, _, context) = post(0)?;
                let found = operation(attempt, Some(context), *status);
                Event::OperationRead {
                    query: query(*back),
                    read: read(*of, found),
                }
            }
            Step::SelfRead(back, of, muted, number) => {
                let found = Box::new(person(0, *muted, *number));
                Event::SelfRead {
                    query: query(*back),
                    read: read(*of, found),
                }
            }
            Step::RosterRead(back, of, people) => Event::RosterRead {
                query: query(*back),
                read: read(*of, all(people)),
            },
            Step::CallRead(back, of, state) => Event::CallRead {
                query: query(*back),
                read: read(*of, facts(*state)),
            },
            Step::KeptAlive(ack) => Event::KeptAlive(*ack),
            Step::HungUp(ack) => Event::HungUp(*ack),
            Step::CallNotice(state) => Event::CallNotice(facts(*state)),
            Step::Terminated => Event::CallNotice(terminated()),
            Step::Full(people) => Event::RosterNotice(RosterUpdate::Full(all(people))),
            Step::Delta(sequence_number, entries) => {
                let one =
                    |(who, muted, number, removed): &(u8, bool, Option<u64>, bool)| DeltaEntry {
                        participant: person(*who, *muted, *number),
                        removed: *removed,
                    };
                Event::RosterNotice(RosterUpdate::Delta {
                    sequence_number: *sequence_number,
                    entries: entries.iter().map(one).collect(),
                })
            }
            Step::OperationNotice(back, named, status) => {
                let (attempt, _, context) = post(*back)?;
                Event::OperationNotice(operation(attempt, named.then_some(context), *status))
            }
            Step::Again(index) => {
                if self.history.is_empty() {
                    return None;
                }
                index.get(&self.history).clone()
            }
            Step::Tick => Event::Tick,
        })
    }

    /// Time passes, then `step` happens; each effect is checked.
    fn step(&mut self, pause: u64, step: &Step) -> Result<(), TestCaseError> {
        let before = self.rig.phase();
        let effects = self.rig.pass(millis(pause));
        self.check(before, &effects)?;
        let Some(event) = self.event(step) else {
            return Ok(());
        };
        if !matches!(event, Event::Command { .. }) {
            self.history.push(event.clone());
        }
        if let Event::Posted { attempt, .. } = &event
            && self.in_flight == Some(*attempt)
        {
            self.in_flight = None;
        }
        let before = self.rig.phase();
        let effects = self.rig.fire(event);
        self.check(before, &effects)
    }

    fn check(&mut self, before: Phase, effects: &[Effect]) -> Result<(), TestCaseError> {
        let mut phase = before;
        for effect in effects {
            match effect {
                Effect::Post {
                    attempt,
                    context,
                    command,
                    ..
                } => {
                    prop_assert_eq!(self.in_flight, None, "two POSTs in flight");
                    prop_assert!(!matches!(phase, Phase::Terminating | Phase::Terminated));
                    let fresh = self.contexts.insert(context.as_str().to_owned());
                    prop_assert!(fresh, "a context twice");
                    prop_assert!(
                        !self.settled.contains(command) || self.joined(),
                        "{:?}",
                        command
                    );
                    self.in_flight = Some(*attempt);
                    self.posts.push((*attempt, *command, context.clone()));
                }
                Effect::Settle { command, took, .. } => {
                    prop_assert!(self.settled.insert(*command), "two verdicts");
                    let own = (Time::ZERO, secs(1_000_000));
                    let known = self.accepted.get(command).copied();
                    prop_assert!(known.is_some() || *command == OWN_COMMAND);
                    let (accepted, within) = known.unwrap_or(own);
                    prop_assert!(*took <= within, "{:?} late", took);
                    prop_assert!(known.is_none() || self.rig.now.since(accepted) >= *took);
                }
                Effect::Publish {
                    version,
                    roster,
                    changes,
                } => {
                    self.seq += 1;
                    prop_assert_eq!(version.seq, self.seq);
                    prop_assert!(!changes.is_empty());
                    for change in changes.iter() {
                        self.roster.apply(change);
                    }
                    prop_assert_eq!(&self.roster, &**roster);
                }
                Effect::Entered { from, to } => {
                    prop_assert_eq!(*from, phase);
                    prop_assert_ne!(*from, Phase::Terminated);
                    phase = *to;
                }
                _ => {}
            }
        }
        prop_assert_eq!(phase, self.rig.phase());
        if self.rig.machine.is_over() {
            prop_assert_eq!(self.rig.machine.next_deadline(), None);
            for id in self.accepted.keys() {
                prop_assert!(self.settled.contains(id), "{:?} is open after the end", id);
            }
        }
        Ok(())
    }

    /// Whoever gave a POST its name may have run out of time while others wait for it.
    fn joined(&self) -> bool {
        self.accepted.keys().any(|id| !self.settled.contains(id))
    }
}

proptest! {
    /// `PROPTEST_CASES=n` makes more of them.
    #[test]
    fn whatever_comes_the_rules_hold(join_muted in any::<bool>(), steps in steps()) {
        let mut watch = Watch::new(join_muted);
        for (pause, step) in &steps {
            watch.step(*pause, step)?;
        }
        // Nothing more comes, but time passes: all is settled.
        watch.step(45_000, &Step::Tick)?;
        for id in watch.accepted.keys() {
            prop_assert!(watch.settled.contains(id), "{:?} is open", id);
        }
        watch.step(2_000_000, &Step::Tick)?;
    }
}
