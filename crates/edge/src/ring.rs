//! Calls that ring: answered, rejected or redirected by a bot that speaks HTTP.
//! Sources: `contract.md` §1.2.4, §1.2.11.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use http::StatusCode;
use openmic_engine::{AnswerError, Call, Incoming, RejectReason};
use openmic_wire::answer::{AnswerCall, AnswerError as BodyError, RejectCall};
use openmic_wire::errand::{Body, Errand};

use crate::answer::{Answer, Refusal, chain};
use crate::body;
use crate::caller::Caller;
use crate::errand;
use crate::graph::{check_callback, still_there};
use crate::surface::{Api, Base};

/// What the id of a route leads to, where both may be.
#[derive(Debug, Clone)]
pub(crate) enum Callee {
    /// A call that rings.
    Rings(Incoming),
    /// A call that the bot is in, or was.
    Call(Call),
}

impl Callee {
    /// The call that rings, or why there is none.
    fn ringing(self) -> Result<Incoming, Refusal> {
        match self {
            Self::Rings(incoming) => Ok(incoming),
            Self::Call(call) => {
                still_there(&call)?;
                Err(AnswerError::Taken.into())
            }
        }
    }
}

/// `POST /communications/calls/{call}/answer`. The 202 does not say that the call is up.
pub(crate) async fn answer(
    State(api): State<Arc<Api>>,
    Extension(callee): Extension<Callee>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let incoming = callee.ringing()?;
    let body = AnswerCall::decode(&body::json(request).await?)?;
    if let Some(uri) = body.callback_uri() {
        check_callback(uri)?;
    }
    caller.check_answer(incoming.kind(), body.media())?;
    incoming.pass(body, api.config.join_muted, None).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `POST /communications/calls/{call}/reject`.
pub(crate) async fn reject(Extension(callee): Extension<Callee>, request: Request) -> Answer {
    let incoming = callee.ringing()?;
    let body = RejectCall::decode(&body::json(request).await?)?;
    if let Some(uri) = &body.callback_uri {
        check_callback(uri)?;
    }
    incoming.reject(body.reason, body.callback_uri).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `POST /communications/calls/{call}/redirect`: of a call that rings, as a rule.
pub(crate) async fn redirect(
    Extension(callee): Extension<Callee>,
    Extension(caller): Extension<Caller>,
    Extension(base): Extension<Base>,
    request: Request,
) -> Answer {
    let incoming = match callee {
        Callee::Rings(incoming) => incoming,
        Callee::Call(call) => {
            return errand::run(Errand::Redirect, &call, None, &caller, &base, request).await;
        }
    };
    caller.check_errand(Errand::Redirect)?;
    let body = Body::decode(&body::json(request).await?)?;
    errand::answer(incoming.redirect(body, base.is_beta()).await, &base)
}

/// Hanging up a call that rings turns it down.
pub(crate) async fn decline(incoming: &Incoming) -> Answer {
    let declined = incoming.reject(RejectReason::None, None).await;
    declined.map_err(not_declined)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who hung up is not told to hang up.
fn not_declined(error: AnswerError) -> Refusal {
    match error {
        AnswerError::Taken => Refusal::new(
            StatusCode::BAD_REQUEST,
            "8585",
            "The call is being answered or rejected. Send the DELETE again when that is over.",
        ),
        error => error.into(),
    }
}

/// What cannot be done with a call that rings.
pub(crate) fn not_answered() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "8501",
        "The call rings and is not established. Answer it first.",
    )
}

impl From<AnswerError> for Refusal {
    fn from(error: AnswerError) -> Self {
        let message = error.to_string();
        match error {
            AnswerError::Over => Self::new(
                StatusCode::NOT_FOUND,
                "8522",
                format!("Call not found: {message}."),
            ),
            AnswerError::Taken => Self::new(
                StatusCode::BAD_REQUEST,
                "8585",
                format!("{message}. Hang it up by DELETE."),
            ),
            AnswerError::Join(error) => error.into(),
            _ => Self::new(StatusCode::BAD_GATEWAY, "generalException", message),
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let message = chain(&error);
        match error {
            BodyError::Decode(_) => Self::bad_request(message),
            _ => Self::new(StatusCode::BAD_REQUEST, "8523", message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hangs_up_is_not_told_to_hang_up() {
        let answered = Refusal::from(AnswerError::Taken);
        assert!(answered.message.contains("by DELETE"), "{answered:?}");
        let declined = not_declined(AnswerError::Taken);
        assert_eq!(
            (declined.status, declined.code),
            (answered.status, answered.code)
        );
        assert!(declined.message.contains("again"), "{}", declined.message);
        let over = not_declined(AnswerError::Over);
        assert_eq!(over.status, StatusCode::NOT_FOUND);
    }
}
