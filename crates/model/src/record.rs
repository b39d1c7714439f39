//! What of a call outlives a crash.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Action, AppId, CallId, CallKind, ClientContext, CommandId, OperationId, ParticipantId,
    TenantId, Verdict,
};

/// Names a call in the journal: the 128 random bits of its callback key, which exist before the
/// call has an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallKey(pub u128);

/// A moment of the wall clock, in milliseconds since 1970. It may jump; what rests on it is
/// bounded by a duration besides.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallTime(pub u64);

impl WallTime {
    /// So much later; rounded down to the millisecond.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long after `earlier`; zero when the clock was set back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// One fact of a call. The order of a call's records is the order in which the facts came about.
///
/// Renaming anything in here changes the format of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A call is about to be created or answered. Durable before that request is sent.
    Intent(Box<CallIntent>),
    /// The call has its id. Durable before anybody is told of the call.
    Opened {
        /// Graph's id of it.
        id: CallId,
        /// What it connects.
        kind: CallKind,
        /// `myParticipantId`, when it was told.
        me: Option<ParticipantId>,
    },
    /// Roster versions from here on are of this epoch. Durable before the first of them is shown.
    Epoch(u64),
    /// A command was accepted. Durable before it is acknowledged.
    Accepted(Box<Accepted>),
    /// A POST is about to be sent. Durable before it is.
    Attempt {
        /// Gave the client context its name.
        lead: CommandId,
        /// The POST's number, from 1; with `lead` it makes the client context.
        number: u8,
        /// Which of the two.
        action: Action,
    },
    /// What a POST came to. May be lost: it can be asked for again.
    Outcome {
        /// As in [`Record::Attempt`].
        lead: CommandId,
        /// As in [`Record::Attempt`].
        number: u8,
        /// What is known.
        outcome: Posted,
    },
    /// A command ended. Durable before anybody is told.
    Verdict {
        /// Which.
        command: CommandId,
        /// What it asked.
        action: Action,
        /// How it ended.
        verdict: Verdict,
    },
    /// The time an unmute was given to speak in has this end; none when it speaks until it is
    /// muted.
    Window {
        /// The end.
        until: Option<WallTime>,
    },
    /// The bot hangs up. Rides with the verdicts that rest on it; a call that has it and is not
    /// closed is hung up by whoever takes it up.
    Leaving,
    /// The call is over. The last record of a call.
    Closed {
        /// What ended it.
        cause: EndCause,
    },
}

impl Record {
    /// Its kind, for logs and counters: `accepted`, `attempt`, ...
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Intent(_) => "intent",
            Self::Opened { .. } => "opened",
            Self::Epoch(_) => "epoch",
            Self::Accepted(_) => "accepted",
            Self::Attempt { .. } => "attempt",
            Self::Outcome { .. } => "outcome",
            Self::Verdict { .. } => "verdict",
            Self::Window { .. } => "window",
            Self::Leaving => "leaving",
            Self::Closed { .. } => "closed",
        }
    }
}

/// How a call begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallIntent {
    /// Whose call it is.
    pub app: AppId,
    /// The tenant whose notifications it takes.
    pub tenant: TenantId,
    /// What it is to connect.
    pub kind: CallKind,
    /// The call rang and has this id already.
    pub offered: Option<CallId>,
    /// The machine mutes the bot as its first act.
    pub join_muted: bool,
    /// Where the bot that came over HTTP wants its notifications.
    pub named: Option<Box<NamedCallback>>,
    /// By what the request is known again.
    pub repeat: Option<Box<Repeat>>,
}

/// What a bot's own create said of notifications.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCallback {
    /// Its `callbackUri`. Not for logs.
    pub callback_uri: String,
    /// Its `callOptions`, as JSON text.
    pub call_options: Option<String>,
}

impl std::fmt::Debug for NamedCallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedCallback").finish_non_exhaustive()
    }
}

/// A command as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its id.
    pub command: CommandId,
    /// What it asks.
    pub action: Action,
    /// Who asks.
    pub origin: Origin,
    /// How long the verdict may take, counted from this record.
    pub within: Duration,
    /// How long an unmute may speak; `None` until it is muted.
    pub speak_for: Option<Duration>,
    /// What the bot knows it by; `None` for the machine's own.
    pub asked: Option<Asked>,
}

/// What a bot knows a command by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The engine's operation for it.
    pub operation: OperationId,
    /// The bot's own context.
    pub client_context: Option<ClientContext>,
    /// By what the request is known again.
    pub repeat: Option<Repeat>,
}

/// By what a repeated request is known: digests, so that no key of a caller's is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Repeat {
    /// SHA-256 of tenant, app, call and the caller's key.
    pub scope: [u8; 32],
    /// SHA-256 of method, path and body.
    pub print: [u8; 32],
}

/// What a POST came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Posted {
    /// Graph answered with an operation that was under way.
    Answered {
        /// Its id.
        operation: Option<OperationId>,
    },
    /// Graph answered with an operation that had ended: nothing more will come of it.
    Ended {
        /// Its id.
        operation: Option<OperationId>,
    },
    /// It certainly had no effect.
    NoEffect,
    /// Nobody knows.
    Ambiguous,
}

/// Who asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The bot.
    Bot,
    /// The machine: a mute on joining, or at the end of a speak window.
    Machine,
}

/// What ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// The bot hung up.
    HungUp,
    /// Graph said terminated.
    Remote,
    /// Graph answered 404: the notification of the end was lost.
    Gone,
    /// It never came to be.
    NotCreated,
}

impl EndCause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::HungUp, Self::Remote, Self::Gone, Self::NotCreated];

    /// The word of it, as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::Remote => "remote",
            Self::Gone => "gone",
            Self::NotCreated => "not_created",
        }
    }
}

/// An open call as its records leave it: what a machine is recovered from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// What the call connects, as far as was known.
    pub kind: CallKind,
    /// `myParticipantId`, when it was told.
    pub me: Option<ParticipantId>,
    /// Whether a command was ever accepted, the machine's own mute on joining included.
    pub commanded: bool,
    /// Commands without a verdict, oldest first.
    pub open: Vec<(WallTime, Accepted)>,
    /// The latest POST, when one was about to be sent.
    pub last: Option<LastAttempt>,
    /// The latest POST of the action that `last` did not ask.
    pub opposite: Option<LastAttempt>,
    /// The time to speak in that is still to end.
    pub window: Option<Window>,
    /// The bot was hanging up.
    #[serde(default)]
    pub leaving: bool,
}

/// A time to speak in, as it was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When [`Record::Window`] was.
    pub at: WallTime,
    /// The end it names.
    pub until: WallTime,
}

impl Window {
    /// How much of it is left. A clock that was set back does not lengthen it.
    #[must_use]
    pub fn left(&self, now: WallTime) -> Duration {
        self.until.since(now).min(self.until.since(self.at))
    }
}

/// The latest series of POSTs of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAttempt {
    /// Gave the client contexts their name.
    pub lead: CommandId,
    /// What they asked.
    pub action: Action,
    /// The latest POST's number; never used again.
    pub number: u8,
    /// How many of them may have reached Graph.
    pub reached: u8,
    /// When the latest was about to be sent.
    pub at: WallTime,
    /// What the latest came to, if that was written down.
    pub outcome: Option<Posted>,
    /// A command of this action was `Confirmed` since the latest: what had acted by then was seen
    /// in the roster.
    pub confirmed: bool,
    /// An older POST of this action is not known to have ended, and may act late.
    pub haunted: bool,
}

impl LastAttempt {
    /// Nothing more will come of the latest POST.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.outcome, Some(Posted::Ended { .. } | Posted::NoEffect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_what_it_was() {
        let command = CommandId::new(u128::MAX - 7);
        let records = [
            Record::Opened {
                id: CallId::parse("0c1f5e00-abcd-4000-8000-000000000001").unwrap(),
                kind: CallKind::Group,
                me: None,
            },
            Record::Epoch(1_764_000_000_000),
            Record::Accepted(Box::new(Accepted {
                command,
                action: Action::Unmute,
                origin: Origin::Bot,
                within: Duration::from_secs(30),
                speak_for: Some(Duration::from_millis(1500)),
                asked: Some(Asked {
                    operation: OperationId::parse("op").unwrap(),
                    client_context: Some(ClientContext::parse("é 😀").unwrap()),
                    repeat: Some(Repeat {
                        scope: [1; 32],
                        print: [255; 32],
                    }),
                }),
            })),
            Record::Verdict {
                command,
                action: Action::Unmute,
                verdict: Verdict::CallEnded { result: None },
            },
        ];
        for record in records {
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(
                serde_json::from_str::<Record>(&text).unwrap(),
                record,
                "{text}"
            );
        }
    }

    #[test]
    fn a_bot_s_callback_is_in_no_debug_text() {
        let named = NamedCallback {
            callback_uri: "https://bot.example/secret".to_owned(),
            call_options: None,
        };
        assert!(!format!("{named:?}").contains("secret"));
    }
}
