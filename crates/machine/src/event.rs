use std::time::Duration;

use openmic_model::{
    Action, CallFacts, CallKind, CommandId, Operation, Participant, Posted, ResultInfo,
    RosterUpdate, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::{QueryId, Timer};

/// Which POST an answer belongs to. Counts up within a call.
pub type AttemptId = u32;

/// Everything that can happen to a call.
///
/// With the moment of each, a log of them replays: the machine does the same again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The POST of the create, or of the answer to a ringing call, was answered.
    Created {
        /// What the answer states.
        facts: CallFacts,
        /// What the call connects.
        kind: CallKind,
    },
    /// The POST of the create, or of the answer to a ringing call, failed.
    CreateFailed {
        /// What to tell the bot.
        refusal: Refusal,
        /// True when it certainly had no effect: there is no call, or the bot is not in it.
        definite: bool,
    },
    /// The bot asks for something.
    Command {
        /// A fresh random id.
        id: CommandId,
        /// What it asks.
        action: Action,
        /// How long the verdict may take.
        within: Duration,
        /// How long an unmute may speak once it has its verdict; `None` until it is muted. A mute
        /// has no use for it.
        speak_for: Option<Duration>,
    },
    /// The bot hangs up, or the engine shuts down.
    HangUp,
    /// A POST ended.
    Posted {
        /// Which.
        attempt: AttemptId,
        /// How.
        outcome: PostOutcome,
    },
    /// A GET of an operation ended.
    OperationRead {
        /// Which.
        query: QueryId,
        /// How.
        read: Read<Operation>,
    },
    /// A GET of the own roster entry ended.
    SelfRead {
        /// Which.
        query: QueryId,
        /// How.
        read: Read<Box<Participant>>,
    },
    /// A GET of the roster ended.
    RosterRead {
        /// Which.
        query: QueryId,
        /// How.
        read: Read<Vec<Participant>>,
    },
    /// A GET of the call ended.
    CallRead {
        /// Which.
        query: QueryId,
        /// How.
        read: Read<CallFacts>,
    },
    /// A keepAlive ended.
    KeptAlive(Ack),
    /// The hang-up's DELETE ended.
    HungUp(Ack),
    /// A notification about the call.
    CallNotice(CallFacts),
    /// A notification about the roster.
    RosterNotice(RosterUpdate),
    /// A notification about an operation.
    OperationNotice(Operation),
    /// Whether somebody watches the roster: while so, it is looked at every
    /// [`Config::roster_audit`](crate::Config::roster_audit).
    Watched(bool),
    /// Nothing happens in the call, and nothing is expected soon: what it holds may take less memory.
    /// Nothing else comes of it, in any state.
    Quiet,
    /// Time has passed; the machine looks which timers are due.
    Tick,
    /// One timer went off. Made by the machine itself of [`Event::Tick`].
    Timer(Timer),
}

impl Event {
    /// The event's name, for counters and the state table.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "Created",
            Self::CreateFailed { .. } => "CreateFailed",
            Self::Command {
                action: Action::Mute,
                ..
            } => "Command(Mute)",
            Self::Command {
                action: Action::Unmute,
                ..
            } => "Command(Unmute)",
            Self::HangUp => "HangUp",
            Self::Posted { .. } => "Posted",
            Self::OperationRead { .. } => "OperationRead",
            Self::SelfRead { .. } => "SelfRead",
            Self::RosterRead { .. } => "RosterRead",
            Self::CallRead { .. } => "CallRead",
            Self::KeptAlive(_) => "KeptAlive",
            Self::HungUp(_) => "HungUp",
            Self::CallNotice(_) => "CallNotice",
            Self::RosterNotice(_) => "RosterNotice",
            Self::OperationNotice(_) => "OperationNotice",
            Self::Watched(_) => "Watched",
            Self::Quiet => "Quiet",
            Self::Tick => "Tick",
            Self::Timer(timer) => match timer {
                Timer::Patience => "Timer(Patience)",
                Timer::Operation => "Timer(Operation)",
                Timer::Roster => "Timer(Roster)",
                Timer::Backoff => "Timer(Backoff)",
                Timer::LastLook => "Timer(LastLook)",
                Timer::Command => "Timer(Command)",
                Timer::KeepAlive => "Timer(KeepAlive)",
                Timer::Gap => "Timer(Gap)",
                Timer::Window => "Timer(Window)",
                Timer::Audit => "Timer(Audit)",
                Timer::Verify => "Timer(Verify)",
                Timer::Parting => "Timer(Parting)",
            },
        }
    }
}

/// How the POST of a mute or unmute ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostOutcome {
    /// 200 with an operation; an unreadable body counts as one that is pending.
    Answered(Operation),
    /// Graph said no, and it had no effect.
    Refused(Refusal),
    /// The call does not exist any more.
    Gone,
    /// 429 or 503: no effect, and when to come again.
    Throttled {
        /// `Retry-After`, when the answer had one.
        after: Option<Duration>,
        /// What the answer said besides: the verdict of whoever has no time for that.
        #[serde(default = "Refusal::throttled")]
        refusal: Refusal,
    },
    /// No byte left: no effect.
    NotSent,
    /// It may or may not have taken effect.
    Ambiguous,
}

impl PostOutcome {
    /// What of it is written down.
    pub(crate) fn posted(&self) -> Posted {
        match self {
            Self::Answered(operation) => {
                let id = operation.id.clone();
                if operation.status.is_final() {
                    Posted::Ended { operation: id }
                } else {
                    Posted::Answered { operation: id }
                }
            }
            Self::Ambiguous => Posted::Ambiguous,
            Self::Refused(_) | Self::Gone | Self::Throttled { .. } | Self::NotSent => {
                Posted::NoEffect
            }
        }
    }
}

/// How a GET ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Read<T> {
    /// Here it is.
    Found(T),
    /// It is not there (404 on something inside a call).
    Absent,
    /// The call itself is not there.
    Gone,
    /// It could not be read.
    Failed,
}

/// How a request without an interesting body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// Done.
    Done,
    /// The call does not exist any more.
    Gone,
    /// It failed, or nobody knows.
    Failed,
}

/// A definite no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Graph's error code.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal by openmic itself, in Graph's terms.
    pub fn new(status: u16, code: &str, message: &str) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// A 429 of which nothing more is known.
    pub fn throttled() -> Self {
        Self::new(429, "tooManyRequests", "Graph throttles the application.")
    }

    /// The verdict of whoever is refused.
    pub(crate) fn into_verdict(self) -> Verdict {
        Verdict::Refused {
            status: self.status,
            code: self.code,
            message: self.message,
        }
    }

    /// What a failed operation says.
    pub(crate) fn from_result(result: Option<&ResultInfo>) -> Self {
        let Some(result) = result else {
            return Self::new(
                500,
                "operationFailed",
                "the operation failed without a reason",
            );
        };
        let status = u16::try_from(result.code)
            .ok()
            .filter(|code| (400..600).contains(code));
        let code = if result.subcode == 0 {
            result.code
        } else {
            result.subcode
        };
        Self {
            status: status.unwrap_or(500),
            code: code.to_string(),
            message: result
                .message
                .clone()
                .unwrap_or_else(|| "the operation failed".to_owned()),
        }
    }
}
