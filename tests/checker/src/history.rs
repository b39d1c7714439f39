//! What a history is made of.

use std::str::FromStr;

use openmic_model::{
    Action, CommandId, Evidence, OperationId, Record, RosterSeen, Verdict, Version,
};
use serde::{Deserialize, Serialize};

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in microseconds of a clock that never jumps.
    pub at: u64,
    /// Which call, by whatever name it goes in this history; `*` for all that were named so far.
    pub call: String,
    /// What.
    pub what: What,
}

impl FromStr for Entry {
    type Err = NotAnEntry;
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        Ok(serde_json::from_str(line)?)
    }
}

impl Entry {
    /// The entry as a line of NDJSON, without its end.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a history holds nothing that JSON cannot")
    }
}

/// Why a line is no entry of a history.
#[derive(Debug, thiserror::Error)]
#[error("the line is no entry of a history")]
pub struct NotAnEntry(#[from] serde_json::Error);

/// Something that happened to a call, or that somebody saw of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The engine took a command on. Nobody may know yet.
    Accepted {
        /// Its id.
        command: CommandId,
        /// What it asks.
        action: Action,
        /// How long the verdict may take, in milliseconds.
        within: u64,
    },
    /// The bot was told that its command is accepted.
    Acknowledged {
        /// Which.
        command: CommandId,
    },
    /// Somebody outside of the machine was told how a command ended: the bot, a subscriber, a GET.
    Told {
        /// Which.
        command: CommandId,
        /// How.
        end: End,
    },
    /// The engine says that it does not know the command.
    Forgotten {
        /// Which.
        command: CommandId,
    },

    /// A mute or unmute is sent.
    Sent {
        /// The command that gives its client context the name.
        lead: CommandId,
        /// Its number in that context.
        number: u8,
        /// Which of the two.
        action: Action,
    },
    /// The engine learned what came of it.
    Answered {
        /// As in [`What::Sent`].
        lead: CommandId,
        /// As in [`What::Sent`].
        number: u8,
        /// What.
        answer: Answer,
    },
    /// Graph told the end of an operation by other ways than the answer.
    Operation {
        /// As in [`What::Sent`].
        lead: CommandId,
        /// As in [`What::Sent`].
        number: u8,
        /// It took effect, as Graph says.
        completed: bool,
    },
    /// A GET begins that may show the own entry.
    Asked {
        /// Its number.
        query: u32,
    },
    /// Such a GET ended.
    Showed {
        /// Its number.
        query: u32,
        /// `isMuted` of the own entry, when it showed that.
        muted: Option<bool>,
    },

    /// A record went to the journal, behind all that went before.
    Written(Note),
    /// So many of the oldest records that were not durable are now.
    Durable {
        /// How many.
        records: u32,
    },
    /// The disk is full, or is so no more.
    DiskFull(bool),

    /// The truth: a mute or unmute reached Graph, which did not refuse it.
    Reached {
        /// As in [`What::Sent`].
        lead: CommandId,
        /// As in [`What::Sent`].
        number: u8,
        /// Which of the two.
        action: Action,
    },
    /// The truth: Graph will say that a mute or unmute took effect, and it does not. No engine can
    /// see through that when late news of the roster agree.
    Lied {
        /// As in [`What::Sent`].
        lead: CommandId,
        /// As in [`What::Sent`].
        number: u8,
    },
    /// The truth: the own entry was set, perhaps to what it was.
    Took {
        /// The POST that did it; none when it was a host, or how the call began.
        by: Option<(CommandId, u8)>,
        /// To what.
        muted: bool,
    },
    /// The truth: the roster is another one.
    Roster {
        /// Its hash, made as for [`What::Frame`].
        hash: u64,
    },

    /// The engine learned that the call is over.
    Ended,
    /// The engine shows the entry of a participant, or heard that it was removed.
    Shown {
        /// Who, as a number of the history's own.
        participant: u64,
        /// The entry's `rosterSequenceNumber`.
        number: Option<u64>,
        /// It is there.
        there: bool,
    },

    /// The process is gone. Of the records that were not known to be durable so many are there
    /// all the same.
    Crashed {
        /// How many.
        kept: u32,
    },
    /// The process is back, and the call open again.
    Recovered {
        /// What it was recovered from, hashed; none when nobody saw.
        digest: Option<u64>,
    },
    /// The wall clock jumped by so many milliseconds.
    Jumped(i64),
    /// From here on nothing breaks any more.
    Calm,

    /// Somebody watches, or watches again from where they were.
    Joined {
        /// Who.
        subscriber: u32,
    },
    /// A subscriber took a frame of the roster.
    Frame {
        /// Who.
        subscriber: u32,
        /// Its version.
        version: Version,
        /// A snapshot, no delta.
        whole: bool,
        /// The hash of the roster that the frame states.
        stated: Option<u64>,
        /// The hash of what the subscriber holds now.
        holds: Option<u64>,
    },
    /// A subscriber is cut off, or leaves.
    Left {
        /// Who.
        subscriber: u32,
    },

    /// Something that is bounded holds so much now.
    Level {
        /// What.
        gauge: Gauge,
        /// How much.
        value: u32,
    },
}

/// How a command ended, as far as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// [`Verdict::Confirmed`].
    Confirmed {
        /// What completed the proof.
        evidence: Evidence,
        /// Whether the own entry took part.
        roster: RosterSeen,
    },
    /// [`Verdict::Already`].
    Already,
    /// One of the two; Graph's surface does not say which.
    Completed,
    /// [`Verdict::Refused`].
    Refused {
        /// The HTTP status in it.
        status: u16,
    },
    /// [`Verdict::Unconfirmed`].
    Unconfirmed,
    /// [`Verdict::Expired`].
    Expired,
    /// [`Verdict::Superseded`].
    Superseded,
    /// [`Verdict::CallEnded`].
    CallEnded,
}

impl End {
    /// Whether both may tell of one verdict.
    pub fn agrees(self, other: Self) -> bool {
        let success = |end| matches!(end, Self::Confirmed { .. } | Self::Already);
        match (self, other) {
            (Self::Completed, other) | (other, Self::Completed) => {
                other == Self::Completed || success(other)
            }
            (one, other) => one == other,
        }
    }

    /// What a failed operation of the engine's surface means, by the code in its `resultInfo`.
    pub const fn of_failed(code: u16) -> Self {
        match code {
            404 => Self::CallEnded,
            408 => Self::Expired,
            409 => Self::Superseded,
            504 => Self::Unconfirmed,
            status => Self::Refused { status },
        }
    }
}

impl From<&Verdict> for End {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Confirmed { evidence, roster } => Self::Confirmed {
                evidence: *evidence,
                roster: *roster,
            },
            Verdict::Already => Self::Already,
            Verdict::Refused { status, .. } => Self::Refused { status: *status },
            Verdict::Unconfirmed => Self::Unconfirmed,
            Verdict::Expired => Self::Expired,
            Verdict::Superseded => Self::Superseded,
            Verdict::CallEnded { .. } => Self::CallEnded,
        }
    }
}

/// What came of a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// An operation that is under way.
    Running,
    /// An operation that took effect.
    Completed,
    /// An operation that failed.
    Failed,
    /// No, and no effect.
    Refused,
    /// 404: there is no such call.
    Gone,
    /// 429 or 503, and no effect.
    Throttled {
        /// How long to stay away, in milliseconds.
        after: Option<u64>,
    },
    /// No byte left.
    NotSent,
    /// Nobody knows.
    Ambiguous,
}

impl Answer {
    /// The POST certainly changed nothing.
    pub const fn is_without_effect(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Refused | Self::Gone | Self::Throttled { .. } | Self::NotSent
        )
    }
}

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gauge {
    /// Commands without a verdict.
    Open,
    /// Notifications about operations that wait for the answer which names them.
    Parked,
    /// Deltas kept for who comes back.
    Ring,
    /// Effects that wait behind a record.
    Outbox,
    /// Events that wait to be handled.
    Mailbox,
}

/// A [`Record`] as far as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// [`Record::Epoch`].
    Epoch(u64),
    /// [`Record::Accepted`].
    Accepted {
        /// Which.
        command: CommandId,
    },
    /// [`Record::Attempt`].
    Attempt {
        /// As in [`What::Sent`].
        lead: CommandId,
        /// As in [`What::Sent`].
        number: u8,
    },
    /// [`Record::Verdict`].
    Verdict {
        /// Which.
        command: CommandId,
        /// How.
        end: End,
    },
    /// [`Record::Window`]; made by who knows the wall clock.
    Window {
        /// The end, in microseconds of the history's clock, as far as the wall clock can tell.
        ends: Option<u64>,
    },
    /// [`Record::Closed`].
    Closed,
    /// Any other.
    Other,
}

impl From<&Record> for Note {
    fn from(record: &Record) -> Self {
        match record {
            Record::Epoch(epoch) => Self::Epoch(*epoch),
            Record::Accepted(accepted) => Self::Accepted {
                command: accepted.command,
            },
            Record::Attempt { lead, number, .. } => Self::Attempt {
                lead: *lead,
                number: *number,
            },
            Record::Verdict {
                command, verdict, ..
            } => Self::Verdict {
                command: *command,
                end: verdict.into(),
            },
            Record::Closed { .. } => Self::Closed,
            Record::Intent(_)
            | Record::Opened { .. }
            | Record::Outcome { .. }
            | Record::Window { .. }
            | Record::Leaving => Self::Other,
        }
    }
}

/// The command of one of the engine's operations: both are the same 128 bits. `None` for an
/// operation of Graph's own.
pub fn command_of(operation: &OperationId) -> Option<CommandId> {
    let hex: String = operation
        .as_str()
        .chars()
        .filter(|digit| *digit != '-')
        .collect();
    (hex.len() == 32)
        .then(|| u128::from_str_radix(&hex, 16).ok())
        .flatten()
        .map(CommandId::new)
}
