//! What a bot says to join a call, and what it gets.

use std::time::Duration;

use openmic_journal::Full;
use openmic_model::{CallId, TenantId};
use serde_json::{Map, Value};

/// A call to be made by the library.
#[derive(Debug, Clone)]
pub struct Join {
    /// The meeting's chat thread id, from its join URL.
    pub thread_id: String,
    /// The organizer's directory id, from the join URL.
    pub organizer: String,
    /// The meeting's tenant, from the join URL.
    pub tenant: TenantId,
    /// Who handles the audio.
    pub media: Media,
    /// Mute as the first act of the established call. `None`: as the engine is configured.
    pub join_muted: Option<bool>,
}

impl Join {
    /// A meeting by the coordinates of its join URL, with service-hosted media, muted or not as
    /// the engine is configured.
    pub fn meeting(thread_id: &str, organizer: &str, tenant: TenantId) -> Self {
        Self {
            thread_id: thread_id.to_owned(),
            organizer: organizer.to_owned(),
            tenant,
            media: Media::ServiceHosted,
            join_muted: None,
        }
    }
}

/// Who handles the audio of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// The service: the bot asks it to play and record.
    ServiceHosted,
    /// The bot itself. On the local service `blob` is an SDP offer and the created call's blob the
    /// answer; on Graph it is what Microsoft's media library makes.
    AppHosted {
        /// `appHostedMediaConfig.blob`.
        blob: String,
    },
}

/// What the create was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The call's id.
    pub id: CallId,
    /// `appHostedMediaConfig.blob` of the answer.
    pub media_blob: Option<String>,
    /// The whole answer, members unknown to openmic included.
    pub raw: Map<String, Value>,
}

/// Why there is no call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Graph said no.
    #[error("Graph refused the call with {status}, {code}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Graph's code.
        code: String,
        /// For people.
        message: String,
        /// When to come again, where Graph throttles and says so.
        retry_after: Option<Duration>,
    },
    /// Graph or its token endpoint was not reached, or gave no token: there is no call.
    #[error("the request was not sent: {message}")]
    NotSent {
        /// Why, and what to check.
        message: String,
    },
    /// Nobody can tell whether the call exists; should it, it is hung up.
    #[error("the answer to the create was lost ({message}); try again, the lost call is hung up")]
    Unknown {
        /// What happened.
        message: String,
    },
    /// The engine is going down.
    #[error("the engine is draining and takes no new calls; use another one")]
    Draining,
    /// As many calls as configured.
    #[error("all {0} call places are taken; hang up some or raise max_calls")]
    Full(usize),
    /// The disk of the journal has no room for what would have to be remembered.
    #[error("the journal's disk is full, so no new call is taken; make room on it")]
    StorageFull,
    /// The journal is slower than what comes.
    #[error("the journal's disk is behind with its work; try again in a second")]
    Busy,
    /// The journal failed before.
    #[error("the journal failed, and no call is taken any more; start the engine again")]
    StorageFailed,
    /// The body cannot be made or read.
    #[error("the call cannot be asked for: {0}")]
    Invalid(String),
    /// The call's actor broke; it has been hung up.
    #[error("the call ended by a fault of openmic; it was hung up and counted")]
    Broken,
}

impl From<Full> for JoinError {
    fn from(full: Full) -> Self {
        match full {
            Full::Disk { .. } => Self::StorageFull,
            Full::Behind { .. } => Self::Busy,
            Full::Failed => Self::StorageFailed,
        }
    }
}
