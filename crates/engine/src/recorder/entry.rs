//! The form of a flight recorder's lines: what is written, and what a reader gets back.
//!
//! Renaming anything in here changes the format; [`FORMAT`] counts such changes.

use std::borrow::Cow;
use std::time::Duration;

use openmic_machine::{AttemptId, Config, Effect, Event, Machine, Phase, QueryId, Time, Timer};
use openmic_model::{
    Action, CallFacts, CallId, CallKind, CommandId, OperationId, Origin, Restored, Verdict,
    Version, WallTime,
};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Serialize, Serializer};

use super::redact;

/// Of these lines.
pub const FORMAT: u8 = 1;

/// One line of a call's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry<W = What> {
    /// Counts the call's lines from 1. A hole is what the arena had no room for any more.
    pub n: u64,
    /// When, in nanoseconds since the engine was built.
    pub at: u64,
    /// The same by the wall clock, in milliseconds since 1970.
    pub wall: WallTime,
    /// What happened.
    pub what: W,
}

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The call begins.
    Begun(Box<Begun>),
    /// The call has its id.
    Known {
        /// Graph's id of it.
        call: CallId,
    },
    /// A command of the bot was taken; its event follows.
    Asked(Asked),
    /// A command of the bot was turned away at the door.
    TurnedAway {
        /// Which of the two.
        action: Action,
        /// Why: `busy`.
        why: String,
    },
    /// One event, and all that the machine did on it.
    Step(Box<Step>),
    /// A request left for Graph.
    Sent {
        /// Method and form of the path.
        request: String,
        /// The attempt or the query whose answer is awaited.
        id: Option<u32>,
    },
    /// A request of the bot was passed on to Graph and answered.
    Passed {
        /// Which.
        errand: String,
        /// Graph's status, or ours where it was not reached.
        status: u16,
        /// How long it took, in nanoseconds.
        took: u64,
    },
    /// A roster version was handed to the fan-out.
    Published {
        /// Which.
        version: Version,
        /// How many participants it has.
        participants: usize,
        /// How many subscribers the call had.
        subscribers: usize,
    },
    /// Entries of a notification were put on their way to the bot's own callback.
    Relayed {
        /// How many.
        entries: usize,
        /// How many more are the engine's own business.
        internal: usize,
    },
    /// What a step was to do had waited for its records to be durable, or behind one that did, and
    /// was done now.
    Released {
        /// How long it had waited, in nanoseconds.
        took: u64,
    },
    /// The actor broke, which is a fault of openmic; its supervisor hangs the call up.
    Broken,
    /// The call left the engine's memory, the end of its retention.
    Left,
}

/// How a call begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun<S = Stand> {
    /// [`FORMAT`].
    pub format: u8,
    /// The version of openmic.
    pub openmic: Cow<'static, str>,
    /// The settings of its machine.
    pub config: Config,
    /// With what it begins.
    pub how: How,
    /// What the machine did first, and where it stands then.
    pub stand: S,
}

/// With what a call begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is created.
    Created,
    /// It rings, and is answered.
    Answered {
        /// What the ring states.
        facts: CallFacts,
        /// What the ring states.
        kind: CallKind,
    },
    /// It outlived a process.
    Recovered {
        /// What its records left of it.
        restored: Box<Restored>,
        /// What the wall clock showed.
        wall: WallTime,
    },
}

impl How {
    /// The machine that begins so.
    pub(super) fn machine(&self, config: Config, now: Time, effects: &mut Vec<Effect>) -> Machine {
        match self {
            Self::Created => Machine::start(config, now, effects),
            Self::Answered { facts, kind } => Machine::answer(config, facts, *kind, now, effects),
            Self::Recovered { restored, wall } => {
                Machine::recover(config, (**restored).clone(), now, *wall, effects)
            }
        }
    }

    pub(crate) fn answered(facts: &CallFacts, kind: CallKind) -> Self {
        Self::Answered {
            facts: redact::facts_of(facts),
            kind,
        }
    }
}

/// A command of the bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its id.
    pub command: CommandId,
    /// Which of the two.
    pub action: Action,
    /// The engine's operation for it; always there in what is read. Where the line is kept, it is
    /// left out when it is the GUID of the command's bits.
    pub operation: Option<OperationId>,
    /// How long the verdict may take.
    pub within: Duration,
    /// How long the bot may speak.
    pub speak_for: Option<Duration>,
    /// The bot's own context: its length and a hash that this engine alone can make.
    pub context: Option<Cow<'static, str>>,
}

impl Asked {
    /// Fills in the operation where it was left out.
    pub(super) fn name(&mut self) {
        let bits = self.command.bits();
        self.operation
            .get_or_insert_with(|| OperationId::of_guid(bits));
    }
}

/// One step of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step<E = Event, S = Stand> {
    /// The event's name.
    pub name: Cow<'static, str>,
    /// The event; none where it was too long to be kept.
    pub event: Option<E>,
    /// Of the answer to a request: how long it took, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<u64>,
    /// What the machine did rests on records that were not durable yet: nothing of it was told or
    /// sent before a line `released` for it, the first one for the oldest such step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// What the machine did, and where it stands then.
    pub stand: S,
}

/// Where a machine stands after what it did last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stand {
    /// What it did, in that order.
    pub acts: Vec<Act>,
    /// Its state.
    pub phase: Phase,
    /// What it waits for, in words.
    pub waits: Vec<Cow<'static, str>>,
    /// Its timers and when they go off, as [`Entry::at`].
    pub due: Vec<(Timer, u64)>,
}

/// An effect of the machine, without what is long or nobody's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// The create is sent.
    Create,
    /// The answer to a ringing call is sent.
    Answer,
    /// A POST of mute or unmute.
    Post {
        /// Which attempt.
        attempt: AttemptId,
        /// Which of the two.
        action: Action,
        /// The command it serves.
        command: CommandId,
    },
    /// A GET of an operation.
    ReadOperation {
        /// Its number.
        query: QueryId,
    },
    /// A GET of the own roster entry.
    ReadSelf {
        /// Its number.
        query: QueryId,
    },
    /// A GET of the roster.
    ReadRoster {
        /// Its number.
        query: QueryId,
    },
    /// A GET of the call.
    ReadCall {
        /// Its number.
        query: QueryId,
    },
    /// A keepAlive.
    KeepAlive,
    /// The DELETE of the call.
    HangUp,
    /// A command has its verdict.
    Settle {
        /// Which.
        command: CommandId,
        /// What it asked.
        action: Action,
        /// Who asked.
        origin: Origin,
        /// How it ended.
        verdict: Verdict,
        /// From acceptance to now, in nanoseconds.
        took: u64,
    },
    /// The roster visibly changed.
    Publish {
        /// The new version.
        version: Version,
        /// Participants.
        participants: usize,
        /// Changes.
        changes: usize,
    },
    /// The call went from one phase to another.
    Entered {
        /// From here.
        from: Phase,
        /// To here.
        to: Phase,
    },
    /// The roster is read because of a hole or a doubt.
    Resync,
    /// A fact about a command that had its verdict already.
    Late {
        /// The event that told it.
        event: Cow<'static, str>,
    },
    /// An event that the state had no use for.
    Unexpected {
        /// Where.
        phase: Phase,
        /// What.
        event: Cow<'static, str>,
    },
    /// A fact for the journal.
    Record {
        /// Its kind.
        kind: Cow<'static, str>,
    },
}

impl From<&Effect> for Act {
    fn from(effect: &Effect) -> Self {
        match effect {
            Effect::Create => Self::Create,
            Effect::Answer => Self::Answer,
            Effect::Post {
                attempt,
                action,
                command,
                ..
            } => Self::Post {
                attempt: *attempt,
                action: *action,
                command: *command,
            },
            Effect::ReadOperation { query, .. } => Self::ReadOperation { query: *query },
            Effect::ReadSelf { query, .. } => Self::ReadSelf { query: *query },
            Effect::ReadRoster { query } => Self::ReadRoster { query: *query },
            Effect::ReadCall { query } => Self::ReadCall { query: *query },
            Effect::KeepAlive => Self::KeepAlive,
            Effect::HangUp => Self::HangUp,
            Effect::Settle {
                command,
                action,
                origin,
                verdict,
                took,
            } => Self::Settle {
                command: *command,
                action: *action,
                origin: *origin,
                verdict: redact::verdict(verdict),
                took: nanos(*took),
            },
            Effect::Publish {
                version,
                roster,
                changes,
            } => Self::Publish {
                version: *version,
                participants: roster.len(),
                changes: changes.len(),
            },
            Effect::Entered { from, to } => Self::Entered {
                from: *from,
                to: *to,
            },
            Effect::Record(record) => Self::Record {
                kind: Cow::Borrowed(record.name()),
            },
            Effect::Resync => Self::Resync,
            Effect::Late { event } => Self::Late {
                event: Cow::Borrowed(event),
            },
            Effect::Unexpected { phase, event } => Self::Unexpected {
                phase: *phase,
                event: Cow::Borrowed(event),
            },
        }
    }
}

/// A [`Stand`] that is written as the machine has it.
pub(super) struct Standing<'a> {
    pub(super) acts: &'a [Effect],
    pub(super) machine: &'a Machine,
}

impl Serialize for Standing<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<A, D> {
            acts: A,
            phase: Phase,
            waits: Vec<&'static str>,
            due: D,
        }
        let written = Written {
            acts: Each(|| self.acts.iter().map(Act::from)),
            phase: self.machine.phase(),
            waits: self.machine.waits_for(),
            due: Each(|| Stand::due(self.machine)),
        };
        written.serialize(to)
    }
}

impl Stand {
    /// As it would be read back.
    pub(super) fn of(acts: &[Effect], machine: &Machine) -> Self {
        Self {
            acts: acts.iter().map(Act::from).collect(),
            phase: machine.phase(),
            waits: machine.waits_for().into_iter().map(Cow::Borrowed).collect(),
            due: Self::due(machine).collect(),
        }
    }

    fn due(machine: &Machine) -> impl Iterator<Item = (Timer, u64)> {
        let armed = machine.armed();
        armed.map(|(timer, at)| (timer, since(at)))
    }
}

/// Written one by one.
struct Each<F>(F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Some forms want to know how many there are, and not every iterator does.
        let count = match (self.0)().size_hint() {
            (least, Some(most)) if least == most => least,
            _ => (self.0)().count(),
        };
        let mut each = to.serialize_seq(Some(count))?;
        (self.0)().try_for_each(|one| each.serialize_element(&one))?;
        each.end()
    }
}

pub(super) fn since(at: Time) -> u64 {
    nanos(at.since_origin())
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
