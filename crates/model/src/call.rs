use serde::{Deserialize, Serialize};

use crate::{ParticipantId, ResultInfo};

/// Graph's `callState`. Source: Graph `call` resource; `ringing` is beta only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Offered to the bot, not answered.
    Incoming,
    /// Being set up.
    Establishing,
    /// The callee is alerted.
    Ringing,
    /// Up.
    Established,
    /// On hold.
    Hold,
    /// A transfer was asked for.
    Transferring,
    /// The transfer was taken.
    TransferAccepted,
    /// Being redirected.
    Redirecting,
    /// Going down.
    Terminating,
    /// Over; absorbing.
    Terminated,
}

impl CallState {
    /// The order in which states may follow one another, so that notifications that come late
    /// merge: a lower rank than the one held is old news.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Incoming => 0,
            Self::Establishing | Self::Ringing => 1,
            Self::Established
            | Self::Hold
            | Self::Transferring
            | Self::TransferAccepted
            | Self::Redirecting => 2,
            Self::Terminating => 3,
            Self::Terminated => 4,
        }
    }
}

/// What a call connects, which decides whether server mute exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// A meeting or a group call: it has a roster, mute and unmute work.
    Group,
    /// One other side, no roster; Graph refuses mute and unmute.
    PeerToPeer,
}

/// What one answer or notification states about a call. What it leaves out is not stated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct CallFacts {
    /// The call's state.
    pub state: Option<CallState>,
    /// The bot's own entry in the roster.
    pub my_participant: Option<ParticipantId>,
    /// Why the call ended, or what went wrong.
    pub result: Option<ResultInfo>,
    /// Whether the service says that audio flows (`mediaState.audio`).
    pub audio_active: Option<bool>,
}
