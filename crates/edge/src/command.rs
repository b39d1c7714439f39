//! Mute, unmute and their operations: the engine's own. The answer comes with the verdict.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, RawQuery, Request, State};
use http::{HeaderName, HeaderValue, StatusCode};
use openmic_engine::{Call, CommandError, CommandOptions, OperationRecord};
use openmic_journal::LookupError;
use openmic_model::{Action, CallId, OperationId, Repeat, Verdict};
use openmic_wire::action::{self, ActionError};
use openmic_wire::operation::{self, Casing};
use openmic_wire::resource::Resource;

use crate::answer::{Answer, Refusal, json};
use crate::body;
use crate::caller::Caller;
use crate::graph::{bytes, location, rebase};
use crate::prefer;
use crate::surface::{Api, Base};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// `POST /communications/calls/{call}/mute`.
pub(crate) async fn mute(
    Extension(call): Extension<Call>,
    Extension(base): Extension<Base>,
    request: Request,
) -> Answer {
    run(&call, &base, Action::Mute, request).await
}

/// `POST /communications/calls/{call}/unmute`.
pub(crate) async fn unmute(
    Extension(call): Extension<Call>,
    Extension(base): Extension<Base>,
    request: Request,
) -> Answer {
    run(&call, &base, Action::Unmute, request).await
}

async fn run(call: &Call, base: &Base, action: Action, request: Request) -> Answer {
    let patience = prefer::patience(request.headers());
    let speak_for = prefer::speak(request.headers())?;
    if speak_for.is_some() && action == Action::Mute {
        return Err(Refusal::bad_request(
            "Prefer: speak is for unmute: it says how long the bot may speak. Nothing was done. \
             Leave it out to mute the bot now.",
        ));
    }
    let repeat = request.extensions().get::<Repeat>().copied();
    let body = body::json(request).await?;
    let client_context = action::decode(&body)?;
    let options = CommandOptions {
        client_context: client_context.clone(),
        speak_for,
        repeat,
        ..CommandOptions::default()
    };
    // From here on a caller that goes away does not take the command back.
    let mut pending = call.command(action, options)?;
    pending.accepted().await?;
    let mut record = OperationRecord {
        id: pending.operation().clone(),
        action,
        client_context,
        verdict: None,
    };
    let outcome = pending.outcome();
    let outcome = match patience {
        None => Some(outcome.await),
        // A timer of no time at all may still wait for a busy runtime.
        Some(patience) if patience.limit.is_zero() => tokio::select! {
            biased;
            outcome = outcome => Some(outcome),
            () = std::future::ready(()) => None,
        },
        Some(patience) => tokio::time::timeout(patience.limit, outcome).await.ok(),
    };
    let outcome = outcome.transpose().map_err(|error| untold(&error))?;
    record.verdict = outcome.map(|outcome| outcome.verdict);
    let mut response = answer(&record, call.id(), base)?;
    let speak = speak_for.map(|time| format!("speak={}", time.as_secs()));
    let waited = patience.filter(|_| record.verdict.is_none());
    let waited = waited.map(|patience| patience.applied.to_owned());
    let applied: Vec<_> = speak.into_iter().chain(waited).collect();
    if !applied.is_empty()
        && let Ok(applied) = HeaderValue::try_from(applied.join(", "))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// Its POST may have been sent: on 503 a middleware would send another.
fn untold(error: &CommandError) -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "generalException",
        format!("What became of the command is not known yet: {error}"),
    )
}

/// The last column of the verdict table in `design.md` §4.
pub(crate) fn answer(record: &OperationRecord, call: &CallId, base: &Base) -> Answer {
    match &record.verdict {
        Some(Verdict::CallEnded { .. }) => return Err(Refusal::no_call()),
        Some(Verdict::Refused {
            status: status @ (400 | 403 | 404 | 405 | 409),
            code,
            message,
        }) => {
            let status = StatusCode::from_u16(*status).expect("one of the five above");
            let refusal = Refusal::new(status, code.clone(), message.clone());
            return Err(match status {
                // RFC 9110 §15.5.6 wants the header; upstream takes no method here now.
                StatusCode::METHOD_NOT_ALLOWED => refusal.header("allow", ""),
                _ => refusal,
            });
        }
        _ => {}
    }
    let resource = Resource::Operation(call.clone(), Some(record.id.clone()));
    let location = Some(location(base, &resource));
    let body = encode(record, base);
    let status = match record.verdict {
        Some(_) => StatusCode::OK,
        None => StatusCode::ACCEPTED,
    };
    Ok(json(status, body, location))
}

fn encode(record: &OperationRecord, base: &Base) -> Vec<u8> {
    let kind = record.action.into();
    operation::encode(&base.0, kind, &record.to_operation(), Casing::Camel)
}

impl From<ActionError> for Refusal {
    fn from(error: ActionError) -> Self {
        let message = error.to_string();
        match error {
            ActionError::Json(_) | ActionError::NotAnObject => Self::bad_request(message),
            _ => Self::new(StatusCode::BAD_REQUEST, "8523", message),
        }
    }
}

/// `GET /communications/calls/{call}/operations/{operation}`: the engine's own, else Graph's.
pub(crate) async fn operation(
    State(api): State<Arc<Api>>,
    call: Option<Extension<Call>>,
    Extension(caller): Extension<Caller>,
    Extension(base): Extension<Base>,
    Path((named, operation)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let mute = |error: LookupError| {
        let message = format!("The journal cannot be asked for the operation: {error}");
        Refusal::unavailable(message, Duration::from_secs(1))
    };
    let id = OperationId::parse(&operation);
    let Some(Extension(call)) = call else {
        // The call is forgotten; what it was told of its commands is kept for longer.
        let call = CallId::parse(&named).map_err(|_| Refusal::no_call())?;
        let id = id.map_err(|_| Refusal::no_call())?;
        let kept = api.engine.kept_operation(&call, &id).await.map_err(mute)?;
        let kept = kept.filter(|(owner, _)| caller.owns(owner));
        let (_, record) = kept.ok_or_else(Refusal::no_call)?;
        return Ok(json(StatusCode::OK, encode(&record, &base), None));
    };
    let id = id.map_err(|_| no_operation())?;
    let own = api.engine.operation(call.id(), &id).await.map_err(mute)?;
    if let Some(record) = own {
        return Ok(json(StatusCode::OK, encode(&record, &base), None));
    }
    let read = call.read_operation(&id, query.as_deref()).await;
    let mut body = read.map_err(|error| match error.status {
        404 | 405 | 501 => no_operation(),
        _ => Refusal::from(error),
    })?;
    rebase(&mut body, &base);
    Ok(json(StatusCode::OK, bytes(&body), None))
}

fn no_operation() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "8522",
        "Operation not found. Use the id from the answer that began it; finished operations are \
         kept for a while only.",
    )
}

#[cfg(test)]
mod tests;
