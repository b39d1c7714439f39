use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ResultInfo;

/// How a command ended. Every accepted command ends in exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It took effect.
    Confirmed {
        /// What came last and so completed the proof.
        evidence: Evidence,
        /// Whether the own roster entry was seen to agree.
        roster: RosterSeen,
    },
    /// It was so already; nothing was sent.
    Already,
    /// Graph, or the rules of the call, said no.
    Refused {
        /// HTTP status of the refusal.
        status: u16,
        /// The calling platform's code, `8548` and the like.
        code: String,
        /// For people.
        message: String,
    },
    /// Nobody can tell whether it took effect.
    Unconfirmed,
    /// It was never sent within its deadline.
    Expired,
    /// A newer opposite command took its place.
    Superseded,
    /// The call ended first.
    CallEnded {
        /// Why it ended, when Graph said so.
        result: Option<ResultInfo>,
    },
}

/// Which of the facts that prove a command came last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The HTTP answer to the POST.
    Http,
    /// The operation's own notification or poll.
    Operation,
    /// A roster notification.
    Roster,
    /// A GET of the roster, made because a notification was missing.
    Poll,
}

/// Whether the own roster entry took part in the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RosterSeen {
    /// A fresh own entry agreed.
    Fresh,
    /// No own entry could be read at all.
    Unseen,
}

impl Verdict {
    /// The word of it, as a metric label and in frames: `confirmed`, `already`, ...
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Confirmed { .. } => "confirmed",
            Self::Already => "already",
            Self::Refused { .. } => "refused",
            Self::Unconfirmed => "unconfirmed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::CallEnded { .. } => "call_ended",
        }
    }

    /// True when the bot is now as the command asked.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Confirmed { .. } | Self::Already)
    }
}

impl Evidence {
    /// The word of it, as a metric label and in frames.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Operation => "operation",
            Self::Roster => "roster",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Confirmed { evidence, roster } => {
                write!(f, " (last evidence: {}", evidence.as_str())?;
                if *roster == RosterSeen::Unseen {
                    f.write_str(", roster unseen")?;
                }
                f.write_str(")")
            }
            Self::Refused {
                status,
                code,
                message,
            } => write!(f, " ({status}, {code}: {message})"),
            Self::CallEnded {
                result: Some(result),
            } => write!(f, " ({result})"),
            _ => Ok(()),
        }
    }
}
