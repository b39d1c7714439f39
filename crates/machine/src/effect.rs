use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use openmic_model::{
    Action, Change, ClientContext, CommandId, EndCause, OperationId, Origin, ParticipantId, Record,
    ResultInfo, Roster, Verdict, Version,
};
use serde::{Deserialize, Serialize};

use crate::AttemptId;

/// Which GET an answer belongs to. Counts up within a call.
pub type QueryId = u32;

/// What the shell must do, in this order, before the next event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// POST the create body; answer with `Created` or `CreateFailed`.
    Create,
    /// POST the answer to a call that rings; answer with `Created` or `CreateFailed`.
    Answer,
    /// A fact that outlives a crash. What follows it, in this list and later, happens only once it
    /// is durable.
    Record(Record),
    /// POST mute or unmute; answer with `Posted`.
    Post {
        /// To be named in the answer.
        attempt: AttemptId,
        /// Which of the two.
        action: Action,
        /// Goes into the body; never used twice.
        context: ClientContext,
        /// The command it serves.
        command: CommandId,
    },
    /// GET an operation; answer with `OperationRead`.
    ReadOperation {
        /// To be named in the answer.
        query: QueryId,
        /// Which.
        operation: OperationId,
    },
    /// GET the own roster entry; answer with `SelfRead`.
    ReadSelf {
        /// To be named in the answer.
        query: QueryId,
        /// `myParticipantId`.
        participant: ParticipantId,
    },
    /// GET the roster; answer with `RosterRead`.
    ReadRoster {
        /// To be named in the answer.
        query: QueryId,
    },
    /// GET the call; answer with `CallRead`.
    ReadCall {
        /// To be named in the answer.
        query: QueryId,
    },
    /// POST keepAlive; answer with `KeptAlive`.
    KeepAlive,
    /// DELETE the call; answer with `HungUp`.
    HangUp,
    /// A command ended. Exactly once for every command.
    Settle {
        /// Which.
        command: CommandId,
        /// What it asked.
        action: Action,
        /// Who asked.
        origin: Origin,
        /// How it ended.
        verdict: Verdict,
        /// From acceptance to now.
        took: Duration,
    },
    /// The roster visibly changed.
    Publish {
        /// The new version.
        version: Version,
        /// Everybody.
        roster: Arc<Roster>,
        /// What changed since the version before.
        changes: Arc<[Change]>,
    },
    /// The call went from one phase to another, or from an attempt to the next.
    Entered {
        /// From here.
        from: Phase,
        /// To here.
        to: Phase,
    },
    /// The roster's numbers had a hole, or a doubt made a GET necessary.
    Resync,
    /// A fact about a command that had its verdict already.
    Late {
        /// The event that told it.
        event: &'static str,
    },
    /// An event that the state had no use for.
    Unexpected {
        /// Where.
        phase: Phase,
        /// What.
        event: &'static str,
    },
}

/// The state of a call without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not up yet, or up and the own roster entry not yet seen.
    Establishing,
    /// Established, and nobody hears the bot.
    Muted,
    /// An unmute is under way.
    Unmuting,
    /// Established, and everybody hears the bot.
    Unmuted,
    /// A mute is under way.
    Muting,
    /// Hanging up.
    Terminating,
    /// Over.
    Terminated,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Establishing,
        Self::Muted,
        Self::Unmuting,
        Self::Unmuted,
        Self::Muting,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The word of it, as a metric label and in frames.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Establishing => "establishing",
            Self::Muted => "muted",
            Self::Unmuting => "unmuting",
            Self::Unmuted => "unmuted",
            Self::Muting => "muting",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a call came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What ended it, as far as openmic can tell.
    pub cause: EndCause,
    /// Graph's reason, when it gave one.
    pub result: Option<ResultInfo>,
}
