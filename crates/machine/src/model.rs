//! The states and their arrows. Arms decide; what an attempt gathers is in `pursue`.

use std::collections::VecDeque;
use std::time::Duration;

use openmic_model::{
    Action, CallKind, CallState, Operation, ParticipantId, ResultInfo, Verdict, Version,
};
use statig::Outcome::{Handled, Super, Transition};
use statig::blocking::Outcome;
use statig::state_machine;

use crate::attempt::Attempt;
use crate::config::Config;
use crate::desk::{Intent, Open, settle_all};
use crate::effect::{Effect, EndCause, Ending, Phase, QueryId};
use crate::event::{Ack, AttemptId, Event, PostOutcome, Read, Refusal};
use crate::merge::{Merge, ReadMark};
use crate::time::{Time, Timer, Timers};

/// DELETEs before the call is given up as hung up.
const HANG_UPS: u8 = 5;

/// What a handler may touch besides the model.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Time,
    pub(crate) effects: &'a mut Vec<Effect>,
    pub(crate) timers: &'a mut Timers,
}

/// Where a call stands. Facts that exist in one state only live in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Establishing,
    Muted,
    Unmuting { attempt: Box<Attempt> },
    Unmuted,
    Muting { attempt: Box<Attempt> },
    Terminating { tries: u8 },
    Terminated { ending: Ending },
}

impl State {
    pub(crate) const fn phase(&self) -> Phase {
        match self {
            Self::Establishing => Phase::Establishing,
            Self::Muted => Phase::Muted,
            Self::Unmuting { .. } => Phase::Unmuting,
            Self::Unmuted => Phase::Unmuted,
            Self::Muting { .. } => Phase::Muting,
            Self::Terminating { .. } => Phase::Terminating,
            Self::Terminated { .. } => Phase::Terminated,
        }
    }

    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Unmuting { attempt } | Self::Muting { attempt } => Some(attempt),
            _ => None,
        }
    }
}

/// A POST whose HTTP outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) attempt: AttemptId,
    pub(crate) action: Action,
    pub(crate) sent: Time,
}

/// A POST that may still take effect, long after its outcome was settled otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) action: Action,
    pub(crate) until: Time,
}

/// What a call knows in every state.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) kind: CallKind,
    pub(crate) me: Option<ParticipantId>,
    /// Graph's own state of the call, merged by rank.
    pub(crate) graph: Option<CallState>,
    pub(crate) merge: Merge,
    pub(crate) version: Version,
    /// Commands that cannot be sent yet: one action, the latest.
    pub(crate) waiting: Option<Intent>,
    pub(crate) outstanding: Option<Outstanding>,
    pub(crate) doubt: Option<Doubt>,
    pub(crate) parked: VecDeque<Operation>,
    pub(crate) next_attempt: AttemptId,
    pub(crate) next_query: QueryId,
    /// The roster GET under way and where the numbers stood when it began.
    pub(crate) reading: Option<(QueryId, ReadMark)>,
    pub(crate) last_unnumbered: Option<Time>,
    /// GETs made since Graph said established; `None` before.
    pub(crate) patience: Option<usize>,
    pub(crate) jitter: u64,
}

#[state_machine(
    initial = "State::Establishing",
    state(custom, name = "State"),
    visibility = "pub(crate)",
    after_transition = "Self::entered"
)]
impl Model {
    #[state(superstate = "live", entry_action = "create")]
    fn establishing(&mut self, context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Created { facts, kind } => {
                self.kind = *kind;
                context.timers.clear(Timer::Patience);
                self.absorb(facts);
                self.establish(context)
            }
            Event::CreateFailed { definite: true, .. } => over(EndCause::NotCreated, None),
            Event::CreateFailed {
                definite: false, ..
            } => {
                // The call may exist with a hot microphone: its notifications would adopt it.
                context
                    .timers
                    .set(Timer::Patience, context.now + self.config.orphan_patience);
                Handled
            }
            Event::CallNotice(facts)
            | Event::CallRead {
                read: Read::Found(facts),
                ..
            } => {
                self.absorb(facts);
                if self.is_terminated() {
                    return Super;
                }
                self.establish(context)
            }
            Event::RosterNotice(update) => {
                self.roster_notice(update, context);
                self.establish(context)
            }
            Event::RosterRead {
                query,
                read: Read::Found(entries),
            } => {
                self.roster_read(*query, entries, context);
                self.establish(context)
            }
            Event::SelfRead {
                read: Read::Found(entry),
                ..
            } => {
                self.self_read(entry, context);
                self.establish(context)
            }
            Event::Command { id, action, within } => {
                let open = self.accept(*id, *action, *within, context.now);
                if !self.is_up() {
                    refuse(open, &not_established(), context);
                    return Handled;
                }
                self.wait(open, context);
                Handled
            }
            Event::Timer(Timer::Patience) => self.lose_patience(context),
            Event::Timer(Timer::Command) => {
                self.expire_waiting(context);
                Handled
            }
            _ => Super,
        }
    }

    #[state(superstate = "established")]
    fn muted(&mut self, context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        self.rest(Action::Mute, context, event)
    }

    #[state(superstate = "established")]
    fn unmuting(
        &mut self,
        attempt: &mut Box<Attempt>,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        self.pursue(attempt, context, event)
    }

    #[state(superstate = "established")]
    fn unmuted(&mut self, context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        self.rest(Action::Unmute, context, event)
    }

    #[state(superstate = "established")]
    fn muting(
        &mut self,
        attempt: &mut Box<Attempt>,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        self.pursue(attempt, context, event)
    }

    #[state(superstate = "any", entry_action = "hang_up")]
    fn terminating(
        &mut self,
        tries: &mut u8,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        match event {
            Event::HungUp(Ack::Gone) => over(EndCause::HungUp, None),
            Event::HungUp(Ack::Done) => {
                *tries = HANG_UPS;
                let patience = self.config.parting_patience;
                context.timers.set(Timer::Parting, context.now + patience);
                Handled
            }
            Event::HungUp(Ack::Failed) => {
                let pause = Duration::from_millis(250 << (*tries).min(4));
                context.timers.set(Timer::Parting, context.now + pause);
                Handled
            }
            Event::Timer(Timer::Parting) if *tries < HANG_UPS => {
                *tries += 1;
                context.effects.push(Effect::HangUp);
                Handled
            }
            Event::Timer(Timer::Parting) => over(EndCause::HungUp, None),
            Event::CallNotice(facts) => {
                self.absorb(facts);
                if self.is_terminated() {
                    return over(EndCause::HungUp, facts.result.clone());
                }
                Handled
            }
            Event::Command { id, action, within } => {
                self.accept(*id, *action, *within, context.now).settle(
                    Verdict::CallEnded { result: None },
                    context.now,
                    context.effects,
                );
                Handled
            }
            // Answers to what was under way, and rosters of a call we are leaving.
            Event::Posted { .. }
            | Event::OperationRead { .. }
            | Event::SelfRead { .. }
            | Event::RosterRead { .. }
            | Event::CallRead { .. }
            | Event::KeptAlive(_)
            | Event::RosterNotice(_)
            | Event::OperationNotice(_)
            | Event::HangUp => Handled,
            // The create was still under way when the bot hung up: now there is a call to end.
            Event::Created { .. } => {
                context.effects.push(Effect::HangUp);
                Handled
            }
            Event::CreateFailed { definite: true, .. } => over(EndCause::HungUp, None),
            _ => Super,
        }
    }

    #[state(superstate = "any", entry_action = "rest_in_peace")]
    fn terminated(
        &mut self,
        ending: &Ending,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        match event {
            Event::Command { id, action, within } => {
                let verdict = Verdict::CallEnded {
                    result: ending.result.clone(),
                };
                let open = self.accept(*id, *action, *within, context.now);
                open.settle(verdict, context.now, context.effects);
                Handled
            }
            Event::Created { .. } => {
                context.effects.push(Effect::HangUp);
                Handled
            }
            Event::HangUp
            | Event::Posted { .. }
            | Event::OperationRead { .. }
            | Event::SelfRead { .. }
            | Event::RosterRead { .. }
            | Event::CallRead { .. }
            | Event::KeptAlive(_)
            | Event::HungUp(_)
            | Event::CallNotice(_)
            | Event::RosterNotice(_)
            | Event::OperationNotice(_) => Handled,
            _ => Super,
        }
    }

    #[superstate(superstate = "live")]
    fn established(&mut self, context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Posted {
                outcome: PostOutcome::Gone,
                ..
            }
            | Event::OperationRead {
                read: Read::Gone, ..
            }
            | Event::SelfRead {
                read: Read::Gone, ..
            }
            | Event::RosterRead {
                read: Read::Gone, ..
            } => Super,
            Event::CallNotice(facts)
            | Event::CallRead {
                read: Read::Found(facts),
                ..
            } => {
                self.absorb(facts);
                if self.is_terminated() { Super } else { Handled }
            }
            Event::CallRead {
                read: Read::Absent | Read::Failed,
                ..
            } => Handled,
            Event::KeptAlive(Ack::Done | Ack::Failed) => Handled,
            Event::Timer(Timer::KeepAlive) => {
                context.effects.push(Effect::KeepAlive);
                self.read_roster(context);
                self.arm_keep_alive(context);
                Handled
            }
            Event::Timer(Timer::Gap) => {
                context.effects.push(Effect::Resync);
                self.read_roster(context);
                Handled
            }
            Event::OperationNotice(_) | Event::OperationRead { .. } | Event::Posted { .. } => {
                context.effects.push(Effect::Late {
                    event: event.name(),
                });
                Handled
            }
            Event::SelfRead { .. } | Event::RosterRead { .. } => Handled,
            Event::Timer(Timer::Command) => {
                self.expire_waiting(context);
                Handled
            }
            Event::Timer(Timer::LastLook | Timer::Roster | Timer::Operation) => Handled,
            // A second answer of the create, or one that came after its notifications.
            Event::Created { facts, kind } => {
                if self.merge.roster().is_empty() {
                    self.kind = *kind;
                }
                self.absorb(facts);
                Handled
            }
            Event::CreateFailed { .. } => Handled,
            _ => Super,
        }
    }

    #[superstate(superstate = "any")]
    fn live(&mut self, context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::HangUp => Transition(State::Terminating { tries: 1 }),
            Event::CallNotice(facts)
            | Event::CallRead {
                read: Read::Found(facts),
                ..
            } => over(EndCause::Remote, facts.result.clone()),
            Event::KeptAlive(Ack::Gone)
            | Event::CallRead {
                read: Read::Gone, ..
            }
            | Event::RosterRead {
                read: Read::Gone, ..
            }
            | Event::SelfRead {
                read: Read::Gone, ..
            }
            | Event::OperationRead {
                read: Read::Gone, ..
            }
            | Event::Posted {
                outcome: PostOutcome::Gone,
                ..
            } => over(EndCause::Gone, None),
            // While establishing, what cannot be read is asked for again by the patience timer.
            Event::CallRead { .. } | Event::RosterRead { .. } | Event::SelfRead { .. } => Handled,
            Event::OperationNotice(operation) => {
                self.park(operation);
                context.effects.push(Effect::Late {
                    event: event.name(),
                });
                Handled
            }
            _ => Super,
        }
    }

    #[superstate]
    fn any(context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        // The shell of the machine, which knows the state, puts the real phase in.
        context.effects.push(Effect::Unexpected {
            phase: Phase::Establishing,
            event: event.name(),
        });
        Handled
    }

    #[action]
    fn create(context: &mut Turn<'_>) {
        context.effects.push(Effect::Create);
    }

    #[action]
    fn hang_up(&mut self, context: &mut Turn<'_>) {
        context.timers.clear_all();
        self.settle_waiting(&Verdict::CallEnded { result: None }, context);
        context.effects.push(Effect::HangUp);
    }

    #[action]
    fn rest_in_peace(&mut self, ending: &Ending, context: &mut Turn<'_>) {
        context.timers.clear_all();
        self.settle_waiting(
            &Verdict::CallEnded {
                result: ending.result.clone(),
            },
            context,
        );
    }

    fn entered(&mut self, source: &State, target: &State, context: &mut Turn<'_>) {
        // Left for good with an attempt under way: whoever waits for it is told now.
        if let (Some(attempt), State::Terminating { .. } | State::Terminated { .. }) =
            (source.attempt(), target)
        {
            let result = match target {
                State::Terminated { ending } => ending.result.clone(),
                _ => None,
            };
            let mut commands = attempt.commands.clone();
            settle_all(
                &mut commands,
                &Verdict::CallEnded { result },
                context.now,
                context.effects,
            );
        }
        let ended = matches!(target, State::Terminating { .. } | State::Terminated { .. });
        if source.phase() == Phase::Establishing && !ended {
            self.arm_keep_alive(context);
        }
        context.effects.push(Effect::Entered {
            from: source.phase(),
            to: target.phase(),
        });
    }
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        let bits = config.own_command;
        let seed = bits
            .to_string()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let version = Version {
            epoch: config.epoch,
            seq: 0,
        };
        Self {
            kind: CallKind::Group,
            me: None,
            graph: None,
            merge: Merge::default(),
            version,
            waiting: None,
            outstanding: None,
            doubt: None,
            parked: VecDeque::new(),
            next_attempt: 1,
            next_query: 1,
            reading: None,
            last_unnumbered: None,
            patience: None,
            jitter: seed,
            config,
        }
    }
}

/// The resting state that the own entry calls for.
pub(crate) const fn base(muted: bool) -> State {
    if muted { State::Muted } else { State::Unmuted }
}

pub(crate) fn over(cause: EndCause, result: Option<ResultInfo>) -> Outcome<State> {
    Transition(State::Terminated {
        ending: Ending { cause, result },
    })
}

pub(crate) fn refuse(open: Open, refusal: &Refusal, context: &mut Turn<'_>) {
    let Refusal {
        status,
        code,
        message,
    } = refusal.clone();
    open.settle(
        Verdict::Refused {
            status,
            code,
            message,
        },
        context.now,
        context.effects,
    );
}

fn not_established() -> Refusal {
    Refusal::new(
        400,
        "8501",
        "The call is not established yet; wait for its state to be established.",
    )
}

pub(crate) fn not_a_group_call() -> Refusal {
    Refusal::new(
        400,
        "8548",
        "Mute and unmute work in group calls only, and this call is one to one.",
    )
}

pub(crate) fn too_many() -> Refusal {
    Refusal::new(
        409,
        "8519",
        "Too many mute and unmute commands are open on this call; wait for their verdicts.",
    )
}
