//! Calls and participants on the Graph surface: passed through, so that members unknown to us
//! survive. Sources: `contract.md` §1.2.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use openmic_engine::{Call, JoinError, Part, Phase};
use openmic_model::{ParticipantId, Repeat};
use openmic_wire::create::CreateCall;
use openmic_wire::raw::Named;
use openmic_wire::resource::Resource;
use serde_json::{Map, Value};
use url::Url;

use crate::answer::{Answer, Refusal, chain, json};
use crate::body;
use crate::caller::Caller;
use crate::metrics::Rejected;
use crate::ring::{self, Callee};
use crate::surface::{Api, Base};

/// `POST /communications/calls`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(base): Extension<Base>,
    request: Request,
) -> Answer {
    let repeat = request.extensions().get::<Repeat>().copied();
    let body = body::json(request).await?;
    let create = CreateCall::decode(&body).map_err(|error| Refusal::bad_request(chain(&error)))?;
    check_callback(create.callback_uri())?;
    caller.check_roles(&create)?;
    let owner = api.engine.owner().clone();
    let call = api
        .engine
        .create(create, owner, api.config.join_muted, repeat)
        .await
        .inspect_err(|error| {
            if matches!(error, JoinError::Full(_)) {
                api.metrics.turned_away(Rejected::Calls);
            }
        })?;
    tracing::Span::current().record("call", call.id().as_str());
    let raw = call.created_anew().ok_or_else(Refusal::internal)?.raw;
    Ok(created(&call, raw, &base))
}

/// The answer to a create: the call as Graph shows it.
pub(crate) fn created(call: &Call, raw: Map<String, Value>, base: &Base) -> Response {
    let body = as_ours(raw, call.named(), base);
    let location = location(base, &Resource::Call(call.id().clone()));
    json(StatusCode::CREATED, bytes(&body), Some(location))
}

/// Upstream gets our address, so nobody else would look at the caller's.
pub(crate) fn check_callback(uri: &str) -> Result<(), Refusal> {
    let usable = Url::parse(uri)
        .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.host().is_some());
    if usable {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "callbackUri is no absolute http or https address. Give the address of the bot's webhook.",
    ))
}

/// `GET /communications/calls/{call}`.
pub(crate) async fn get(
    Extension(callee): Extension<Callee>,
    Extension(base): Extension<Base>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.as_deref();
    let (read, named) = match &callee {
        Callee::Call(call) => {
            still_there(call)?;
            let named = call.named().cloned();
            (call.read(Part::Call, query).await?, named)
        }
        Callee::Rings(incoming) => (incoming.read(query).await?, incoming.named()),
    };
    let Value::Object(read) = read else {
        return Err(not_an_object());
    };
    let body = as_ours(read, named.as_ref(), &base);
    Ok(json(StatusCode::OK, bytes(&body), None))
}

/// `DELETE /communications/calls/{call}`. The end shows in the call's state, not in the 204.
pub(crate) async fn hang_up(Extension(callee): Extension<Callee>) -> Answer {
    let call = match callee {
        Callee::Call(call) => call,
        Callee::Rings(incoming) => return ring::decline(&incoming).await,
    };
    still_there(&call)?;
    call.request_hang_up().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /communications/calls/{call}/keepAlive`. The engine sends its own besides.
pub(crate) async fn keep_alive(Extension(call): Extension<Call>) -> Answer {
    still_there(&call)?;
    call.keep_alive()
        .await
        .map_err(|error| Refusal::from(error).not_to_be_repeated())?;
    Ok(StatusCode::OK.into_response())
}

/// `GET /communications/calls/{call}/participants`.
pub(crate) async fn participants(
    Extension(call): Extension<Call>,
    Extension(base): Extension<Base>,
    RawQuery(query): RawQuery,
) -> Answer {
    still_there(&call)?;
    let read = call.read(Part::Participants, query.as_deref()).await?;
    let Value::Object(mut read) = read else {
        return Err(not_an_object());
    };
    rebase(&mut read, &base);
    Ok(json(StatusCode::OK, bytes(&read), None))
}

/// `GET /communications/calls/{call}/participants/{participant}`.
pub(crate) async fn participant(
    Extension(call): Extension<Call>,
    Extension(base): Extension<Base>,
    Path((_, participant)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    still_there(&call)?;
    let id = ParticipantId::parse(&participant).map_err(|_| no_participant())?;
    let part = Part::Participant(&id);
    let Value::Object(mut read) = call.read(part, query.as_deref()).await? else {
        return Err(not_an_object());
    };
    rebase(&mut read, &base);
    Ok(json(StatusCode::OK, bytes(&read), None))
}

pub(crate) fn no_participant() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "8522",
        "Participant not found. Ids are in the list of participants.",
    )
}

/// Graph answers 404 once a call is over.
pub(crate) fn still_there(call: &Call) -> Result<(), Refusal> {
    if call.state().phase == Phase::Terminated {
        return Err(Refusal::no_call());
    }
    Ok(())
}

pub(crate) fn location(base: &Base, resource: &Resource) -> String {
    format!("{}{}", base.0, resource.path().unwrap_or_default())
}

/// A call as upstream shows it, with callback and options as its creator named them instead of
/// ours. Our callback is never shown: its key is the second factor of our webhook.
fn as_ours(mut read: Map<String, Value>, named: Option<&Named>, base: &Base) -> Map<String, Value> {
    rebase(&mut read, base);
    match named {
        Some(named) => named.show_in(&mut read),
        None => {
            if let Some(shown) = read.get_mut("callbackUri") {
                *shown = Value::Null;
            }
        }
    }
    read
}

/// `@odata.context` names the service that answers; that is us.
pub(crate) fn rebase(read: &mut Map<String, Value>, base: &Base) {
    if let Some(Value::String(context)) = read.get_mut("@odata.context")
        && let Some(at) = context.find("/$metadata#")
    {
        context.replace_range(..at, &base.0);
    }
    // Where a list goes on: through us too, as the caller's token is good here only.
    if let Some(Value::String(next)) = read.get_mut("@odata.nextLink")
        && let Some(at) = next.find("/communications/calls")
    {
        next.replace_range(..at, &base.0);
    }
}

pub(crate) fn bytes(object: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(object).expect("what was read from JSON is written as JSON")
}

fn not_an_object() -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "generalException",
        "Graph's answer is no JSON object. Try again.",
    )
}
