use std::time::Duration;

use openmic_media::{FenceError, JoinError};
use openmic_wire::action::ActionError;
use openmic_wire::invite::InviteError;

use crate::sdp::SdpError;

/// Why something asked of a call or a meeting was not done. The texts go to the caller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
    #[error("Call not found. It has ended, or no call of this application has this id.")]
    NoCall,
    #[error("Participant not found. Ids are in the call's list of participants.")]
    NoParticipant,
    #[error("Operation not found. Use the id that the answer to an action gave.")]
    NoOperation,
    #[error("Meeting not found; somebody has to join it first.")]
    NoMeeting,
    #[error("The call is not a group call: it has no server mute. Use a meeting or group call.")]
    NotGroup,
    #[error(
        "The call is not a group call. Invite one participant first: that makes it one, and then \
         several may be invited at a time."
    )]
    OneAtFirst,
    #[error("The call is not established yet. Wait for its established notification.")]
    NotEstablished,
    #[error("The call is terminating. Create another one.")]
    Terminating,
    #[error(
        "The call does not ring: it was answered already, or the bot made it. Hang it up by DELETE."
    )]
    NotRinging,
    #[error("No bot with this appId is registered here. Add it to the service's apps.")]
    NoApp,
    #[error("{0}.")]
    Argument(&'static str),
    #[error("The body was refused")]
    Action(#[source] ActionError),
    #[error("The participants were refused")]
    Invite(#[source] InviteError),
    #[error("The answer was refused")]
    Answer(#[source] openmic_wire::answer::AnswerError),
    #[error("The call was refused")]
    Create(#[source] openmic_wire::create::CreateError),
    #[error("The media offer was refused")]
    Sdp(#[from] SdpError),
    #[error("The meeting cannot be joined by a token here: join by chatInfo.threadId.")]
    JoinToken,
    #[error("The token's application lacks the role {0}. Grant it and ask for a new token.")]
    Role(&'static str),
    #[error("The service holds {limit} {what} and takes no more. End some, or raise the limit.")]
    Limit { what: &'static str, limit: usize },
    #[error("The media path could not be set up")]
    Media(#[source] JoinError),
    #[error(
        "Nothing is known of where the participant listens. Send one packet first, or offer a port."
    )]
    NotLatched,
    #[error("The participant is muted, but that was not confirmed in time")]
    Unconfirmed(#[source] FenceError),
    #[error("The participant has no media.")]
    NoMedia,
    #[error("Nothing goes wrong here. PUT a plan of faults to change that.")]
    NoFaults,
    #[error("The faults were refused")]
    Faults(#[source] crate::faults::FaultError),
}

/// Status, code, and what else an answer to a failed request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: http::StatusCode,
    pub(crate) code: &'static str,
    pub(crate) retry_after: Option<Duration>,
}

impl CallError {
    /// The HTTP side of it. Sources: `contract.md` §5.5, §7.3, §7.4.
    pub(crate) fn refusal(&self) -> Refusal {
        use http::StatusCode as S;
        let (status, code) = match self {
            Self::NoCall | Self::NoParticipant | Self::NoOperation => (S::NOT_FOUND, "8522"),
            Self::NoMeeting | Self::NoMedia | Self::NoApp | Self::NoFaults => {
                (S::NOT_FOUND, "itemNotFound")
            }
            Self::NotGroup | Self::OneAtFirst => (S::BAD_REQUEST, "8548"),
            Self::NotEstablished => (S::BAD_REQUEST, "8501"),
            Self::NotRinging => (S::BAD_REQUEST, "8585"),
            Self::Terminating => (S::BAD_REQUEST, "8528"),
            Self::Action(ActionError::Json(_) | ActionError::NotAnObject)
            | Self::Invite(InviteError::Action(ActionError::Json(_) | ActionError::NotAnObject)) => {
                (S::BAD_REQUEST, "invalidRequest")
            }
            Self::Create(openmic_wire::create::CreateError::Decode(
                openmic_wire::DecodeError::Json(_) | openmic_wire::DecodeError::NotAnObject(_),
            ))
            | Self::Answer(openmic_wire::answer::AnswerError::Decode(
                openmic_wire::DecodeError::Json(_) | openmic_wire::DecodeError::NotAnObject(_),
            )) => (S::BAD_REQUEST, "invalidRequest"),
            Self::Argument(_)
            | Self::Action(_)
            | Self::Create(_)
            | Self::Answer(_)
            | Self::Invite(_)
            | Self::Faults(_)
            | Self::Sdp(_) => (S::BAD_REQUEST, "8523"),
            Self::JoinToken => (S::BAD_REQUEST, "8526"),
            Self::Role(_) => (S::FORBIDDEN, "7504"),
            Self::Limit { .. } => (S::TOO_MANY_REQUESTS, "8530"),
            Self::Media(error) => match error {
                JoinError::Address(_)
                | JoinError::Family { .. }
                | JoinError::Unroutable { .. }
                | JoinError::OwnPort(_)
                | JoinError::PayloadType(_)
                | JoinError::ClockRate
                | JoinError::Slots(_) => (S::BAD_REQUEST, "8523"),
                _ => (S::SERVICE_UNAVAILABLE, "serviceNotAvailable"),
            },
            Self::Unconfirmed(_) => (S::GATEWAY_TIMEOUT, "9002"),
            Self::NotLatched => (S::CONFLICT, "8583"),
        };
        let again = matches!(status, S::TOO_MANY_REQUESTS | S::SERVICE_UNAVAILABLE);
        Refusal {
            status,
            code,
            retry_after: again.then_some(Duration::from_secs(5)),
        }
    }
}
