use std::time::Duration;

use openmic_model::Operation;
use openmic_wire::operation;

use crate::error::{Ambiguity, NotSent, Refusal, RequestError};
use crate::transport::{Answer, accept};

/// Why a mute or unmute was not answered with an operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActError {
    /// A definite no; it had no effect.
    #[error("Graph refused it")]
    Refused(#[source] Refusal),
    /// The call does not exist any more.
    #[error("the call does not exist any more")]
    Gone,
    /// 429 or 503; it had no effect.
    #[error("Graph throttles")]
    Throttled {
        /// What Graph said; its status is 429 or 503.
        #[source]
        refusal: Refusal,
        /// `Retry-After`, when the answer had one. Not clamped to any deadline.
        retry_after: Option<Duration>,
    },
    /// No byte left; it had no effect.
    #[error("it was not sent")]
    NotSent(#[source] NotSent),
    /// It may have taken effect; look before doing it again.
    #[error("it has no certain outcome")]
    Ambiguous(#[source] Ambiguity),
}

/// Reads the answer to mute or unmute. A success of which nothing can be read is a pending
/// operation: it was accepted, and the roster will tell.
pub(crate) fn outcome(answer: Result<Answer, RequestError>) -> Result<Operation, ActError> {
    let answer = match answer.and_then(accept) {
        Ok(answer) => answer,
        Err(RequestError::Refused(refusal)) => return Err(ActError::Refused(refusal)),
        Err(RequestError::Gone) => return Err(ActError::Gone),
        Err(RequestError::NotSent(cause)) => return Err(ActError::NotSent(cause)),
        Err(RequestError::Ambiguous(cause)) => return Err(ActError::Ambiguous(cause)),
        Err(RequestError::Throttled {
            refusal,
            retry_after,
        }) => {
            return Err(ActError::Throttled {
                refusal,
                retry_after,
            });
        }
        Err(RequestError::Unreadable(_) | RequestError::Cut(_) | RequestError::NextLink) => {
            return Ok(operation::pending());
        }
    };
    let read = answer.body.as_deref().map(operation::decode);
    if let Some(Ok(operation)) = read {
        return Ok(operation);
    }
    tracing::warn!(
        status = answer.status,
        "the answer to mute or unmute is unreadable; taken for a pending operation"
    );
    Ok(operation::pending())
}
