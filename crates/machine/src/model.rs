//! The states and their arrows. Arms decide; what an attempt gathers is in `pursue`.

use std::sync::Arc;

use openmic_model::{
    Action, CallFacts, CallKind, CallState, CommandId, EndCause, ParticipantId, Record, ResultInfo,
    Verdict, Version, WallTime,
};
use statig::Outcome::{Handled, Super, Transition};
use statig::blocking::Outcome;
use statig::state_machine;

use crate::aside::Aside;
use crate::attempt::Attempt;
use crate::config::{Config, Own};
use crate::desk::not_established;
use crate::effect::{Effect, Ending, Phase, QueryId};
use crate::event::{Ack, AttemptId, Event, PostOutcome, Read};
use crate::merge::Merge;
use crate::time::{Time, Timer, Timers};

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
    Unmuting {
        attempt: Box<Attempt>,
    },
    Unmuted,
    Muting {
        attempt: Box<Attempt>,
    },
    /// `tries` DELETEs were sent; none while no call is known to exist.
    Terminating {
        tries: u8,
    },
    Terminated {
        ending: Box<Ending>,
    },
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

    /// The state in which `attempt` is under way.
    pub(crate) const fn pursuing(attempt: Box<Attempt>) -> Self {
        match attempt.action {
            Action::Mute => Self::Muting { attempt },
            Action::Unmute => Self::Unmuting { attempt },
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
    pub(crate) lead: CommandId,
    pub(crate) number: u8,
    pub(crate) action: Action,
    pub(crate) sent: Time,
    /// Its operation completed and a fresh own entry showed it, all before the answer.
    pub(crate) proven: bool,
}

/// What a call knows in every state.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of which may hold in any state"
)]
pub(crate) struct Model {
    /// But for what every call has of its own.
    pub(crate) config: Arc<Config>,
    /// [`Config::wall_origin`].
    pub(crate) wall_origin: WallTime,
    pub(crate) kind: CallKind,
    /// It rang: Graph has it, and it has its id, whatever becomes of the bot's answer.
    pub(crate) rang: bool,
    /// Something showed that the create or the bot's answer took effect: what it was answered, or
    /// a notification.
    pub(crate) exists: bool,
    pub(crate) me: Option<ParticipantId>,
    /// Graph's own state of the call, merged by rank.
    pub(crate) graph: Option<CallState>,
    pub(crate) merge: Merge,
    pub(crate) version: Version,
    /// What there mostly is nothing of.
    pub(crate) aside: Aside,
    pub(crate) next_attempt: AttemptId,
    pub(crate) next_query: QueryId,
    /// GETs show the own entry without a number: a notification with one may be older.
    pub(crate) reads_unnumbered: bool,
    /// The doubt is one that no notification can settle.
    pub(crate) audit: bool,
    /// GETs made since Graph said established; `None` before.
    pub(crate) patience: Option<u8>,
    /// Recovered, and no GET has shown the own entry since: a notification may be from before.
    pub(crate) blind: bool,
    /// Another process had the call before.
    pub(crate) taken_up: bool,
    /// GETs of it in vain meanwhile.
    pub(crate) unread: u8,
    /// The order of the unmute that last said how long to speak.
    pub(crate) spoken: u32,
    /// Commands so far.
    pub(crate) orders: u32,
    /// Somebody watches the roster.
    pub(crate) watched: bool,
    pub(crate) jitter: u64,
}

#[state_machine(
    initial = "State::Establishing",
    state(custom, name = "State"),
    visibility = "pub(crate)",
    after_transition = "Self::entered"
)]
impl Model {
    #[state(superstate = "live", entry_action = "first_request")]
    fn establishing(&mut self, context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::Created { facts, kind } => {
                self.connects(*kind);
                self.absorb(facts);
                self.establish(None, context)
            }
            Event::CreateFailed { definite: true, .. } if !self.exists => {
                over(EndCause::NotCreated, None)
            }
            Event::CreateFailed { .. } => {
                self.maybe_created(context);
                Handled
            }
            Event::CallNotice(facts) if self.is_rumour(facts) => {
                self.rumoured(facts, context);
                if self.still_rings() {
                    return Handled;
                }
                self.establish(None, context)
            }
            Event::CallNotice(facts)
            | Event::CallRead {
                read: Read::Found(facts),
                ..
            } => {
                self.note_read(event, context);
                let known = self.absorb(facts);
                if self.is_terminated() {
                    return Super;
                }
                if self.still_rings() {
                    return Handled;
                }
                if known && self.blind {
                    // The own entry may be in the roster already, unrecognised.
                    self.read_roster(context);
                }
                self.establish(None, context)
            }
            Event::RosterNotice(update) => {
                self.roster_notice(update, context);
                self.establish(None, context)
            }
            Event::RosterRead {
                query,
                read: Read::Found(entries),
            } => {
                let merged = self.roster_read(*query, entries, context);
                let outcome = self.establish(Some((*query, &merged)), context);
                self.forget_asked(*query);
                outcome
            }
            Event::SelfRead {
                query,
                read: Read::Found(entry),
            } => {
                let merged = self.self_read(*query, entry, context);
                let outcome = self.establish(Some((*query, &merged)), context);
                self.forget_asked(*query);
                outcome
            }
            Event::Command {
                id,
                action,
                within,
                speak_for,
            } => {
                let open = self.take(*id, *action, *within, *speak_for, context.now);
                if self.is_up() || self.blind || self.is_unsure() {
                    self.join_resumed(open, context);
                } else {
                    open.refuse(not_established(), context);
                }
                Handled
            }
            Event::Timer(Timer::Patience) => self.lose_patience(context),
            Event::CallRead {
                read: Read::Failed, ..
            } => {
                self.call_unread(context);
                Super
            }
            Event::Timer(Timer::Command) => {
                self.expire_waiting(context);
                self.expire_resumed(context);
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

    #[state(superstate = "any", entry_action = "say_goodbye")]
    fn terminating(
        &mut self,
        tries: &mut u8,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        self.part(tries, context, event)
    }

    #[state(superstate = "any", entry_action = "rest_in_peace")]
    fn terminated(
        &mut self,
        ending: &Ending,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        self.stay_over(ending, context, event)
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
            Event::CallNotice(facts) if self.is_rumour(facts) => {
                self.rumoured(facts, context);
                Handled
            }
            Event::CallNotice(facts)
            | Event::CallRead {
                read: Read::Found(facts),
                ..
            } => {
                self.note_read(event, context);
                if self.absorb(facts) {
                    // The own entry may be in the roster already, unrecognised.
                    self.read_roster(context);
                }
                if self.is_terminated() { Super } else { Handled }
            }
            Event::OperationNotice(_) | Event::OperationRead { .. } | Event::Posted { .. } => {
                if let Event::OperationRead { query, .. } = event {
                    self.forget_asked(*query);
                }
                context.effects.push(Effect::Late {
                    event: event.name(),
                });
                Handled
            }
            Event::Timer(Timer::Command) => {
                self.expire_waiting(context);
                Handled
            }
            // A second answer of the create, or one that came after its notifications.
            Event::Created { facts, kind } => {
                self.connects(*kind);
                self.absorb(facts);
                Handled
            }
            Event::SelfRead { query, .. } => {
                self.forget_asked(*query);
                Handled
            }
            // Timers that lost their meaning, a create that did work after all.
            Event::Timer(Timer::LastLook | Timer::Roster | Timer::Operation | Timer::Backoff)
            | Event::CreateFailed { .. } => Handled,
            _ => Super,
        }
    }

    #[superstate(superstate = "any")]
    fn live(&mut self, context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        match event {
            Event::HangUp => Transition(State::Terminating { tries: 0 }),
            Event::CallNotice(facts)
            | Event::CallRead {
                read: Read::Found(facts),
                ..
            } => self.ended(facts),
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
            } => self.gone(),
            Event::Timer(Timer::KeepAlive) => {
                self.keep_alive(context);
                Handled
            }
            Event::Timer(Timer::Gap) => {
                self.resync(context);
                Handled
            }
            Event::Timer(Timer::Audit) => {
                self.audit_roster(context);
                Handled
            }
            Event::Timer(Timer::Verify) => {
                self.verify(context);
                Handled
            }
            Event::CallRead { .. } => {
                self.note_read(event, context);
                Handled
            }
            Event::Watched(watched) => {
                self.watch(*watched, context);
                Handled
            }
            Event::RosterRead { query, .. } => {
                self.roster_unread(*query, context);
                self.forget_asked(*query);
                Handled
            }
            // What cannot be read is asked for again by the timers; the time to speak in waits for
            // what is under way.
            Event::KeptAlive(_) | Event::SelfRead { .. } | Event::Timer(Timer::Window) => Handled,
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
    fn any(&mut self, context: &mut Turn<'_>, event: &Event) -> Outcome<State> {
        if *event == Event::Quiet {
            self.forget_past(context.now);
            self.aside.tidy();
            let own = self.own_muted();
            self.merge.pack(own);
            return Handled;
        }
        // The shell of the machine, which knows the state, puts the real phase in.
        context.effects.push(Effect::Unexpected {
            phase: Phase::Establishing,
            event: event.name(),
        });
        Handled
    }

    #[action]
    fn first_request(&mut self, context: &mut Turn<'_>) {
        if let Some(remains) = self.aside.take(|rare| rare.remains.take()) {
            self.take_up(*remains, context);
            return;
        }
        context.effects.push(if self.rang {
            Effect::Answer
        } else {
            Effect::Create
        });
    }

    #[action]
    fn say_goodbye(&mut self, tries: &mut u8, context: &mut Turn<'_>) {
        context.timers.clear_all();
        context.effects.push(Effect::Record(Record::Leaving));
        self.settle_open(&Verdict::CallEnded { result: None }, context);
        self.depart(tries, context);
    }

    #[action]
    fn rest_in_peace(&mut self, ending: &Ending, context: &mut Turn<'_>) {
        context.timers.clear_all();
        self.settle_open(
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
            self.settle_all(
                &mut commands,
                &Verdict::CallEnded { result },
                false,
                context,
            );
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
        let (own, config) = config.share();
        let Own {
            join_mute,
            wall_origin,
        } = own;
        let mut aside = Aside::default();
        if join_mute.is_some() {
            aside.open().join_mute = join_mute;
        }
        Self {
            config,
            wall_origin,
            kind: CallKind::Group,
            rang: false,
            exists: false,
            me: None,
            graph: None,
            merge: Merge::default(),
            version,
            aside,
            next_attempt: 1,
            next_query: 1,
            reads_unnumbered: false,
            audit: false,
            patience: None,
            blind: false,
            taken_up: false,
            unread: 0,
            spoken: 0,
            orders: 0,
            watched: false,
            jitter: seed,
        }
    }

    /// A call that rings, with what the ring states of it.
    pub(crate) fn offered(config: Config, facts: &CallFacts, kind: CallKind) -> Self {
        let mut model = Self::new(config);
        model.rang = true;
        model.kind = kind;
        model.graph = Some(CallState::Incoming);
        model.absorb(facts);
        model
    }
}

/// The resting state that the own entry calls for.
pub(crate) const fn base(muted: bool) -> State {
    if muted { State::Muted } else { State::Unmuted }
}

pub(crate) fn over(cause: EndCause, result: Option<ResultInfo>) -> Outcome<State> {
    Transition(State::Terminated {
        ending: Box::new(Ending { cause, result }),
    })
}
