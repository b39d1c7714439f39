use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ClientContext, OperationId};

/// What a bot may ask of its own microphone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The service drops the bot's audio.
    Mute,
    /// The service sends the bot's audio to the others again.
    Unmute,
}

impl Action {
    /// The last segment of the action's path: `mute`, `unmute`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mute => "mute",
            Self::Unmute => "unmute",
        }
    }

    /// The value of `isMuted` in the own roster entry once the action took effect.
    pub const fn wants_muted(self) -> bool {
        matches!(self, Self::Mute)
    }

    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Mute => Self::Unmute,
            Self::Unmute => Self::Mute,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The derived type of an operation, as far as openmic makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// `#microsoft.graph.muteParticipantOperation`.
    MuteParticipant,
    /// `#microsoft.graph.unmuteParticipantOperation`.
    UnmuteParticipant,
    /// `#microsoft.graph.inviteParticipantsOperation`.
    InviteParticipants,
    /// `#microsoft.graph.muteParticipantsOperation`, beta only.
    MuteParticipants,
}

impl From<Action> for OperationKind {
    fn from(action: Action) -> Self {
        match action {
            Action::Mute => Self::MuteParticipant,
            Action::Unmute => Self::UnmuteParticipant,
        }
    }
}

/// Graph's `operationStatus`; a word we do not know counts as running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// Not begun.
    NotStarted,
    /// Under way.
    Running,
    /// Took effect.
    Completed,
    /// Did not take effect.
    Failed,
}

impl OperationStatus {
    /// True when nothing more will come for the operation.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// Graph's `commsOperation`, as one answer, notification or poll shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Operation {
    /// Its id; notifications may leave it out of the body, answers may be empty.
    pub id: Option<OperationId>,
    /// How far it is.
    pub status: OperationStatus,
    /// The context of the POST that made it.
    pub client_context: Option<ClientContext>,
    /// Detail of an end, above all of a failure.
    pub result: Option<ResultInfo>,
}

/// Graph's `resultInfo`: why something ended as it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct ResultInfo {
    /// 2xx success, 4xx client, 5xx server, like HTTP; 0 is seen for success too.
    pub code: i32,
    /// The calling platform's finer code, 0 when it gave none.
    pub subcode: i32,
    /// For people.
    pub message: Option<String>,
}

impl fmt::Display for ResultInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.code, self.subcode)?;
        if let Some(message) = &self.message {
            write!(f, " {message}")?;
        }
        Ok(())
    }
}
