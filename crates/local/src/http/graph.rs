//! The Graph surface. Sources: `contract.md` §1.1, §1.2.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::poll_immediate;
use http::{HeaderMap, StatusCode, Uri};
use openmic_model::{Action, CallId, Participant};
use openmic_wire::create::CreateCall;
use openmic_wire::invite::{InviteParticipants, MuteAll};
use openmic_wire::operation::Casing;
use openmic_wire::{action, operation, participant, resource::Resource};

use super::Version;
use super::answer::{Answer, Refusal, RequestId, answered, json};
use super::caller::{Caller, Whole};
use super::fare::Fare;
use super::select::select;
use crate::error::CallError;
use crate::faults::Event;
use crate::truth::{Act, Exchange};
use crate::wording;
use crate::world::{Done, SetMuted, World};

/// How the caller spelt the version, and by what the answer is known.
#[derive(FromRequestParts)]
pub(super) struct Ids(Extension<Version>, Extension<RequestId>);

/// Longest `Scenario-Id` that is passed on; Graph's is a GUID.
const MAX_SCENARIO: usize = 128;

fn base(world: &World, version: Version) -> String {
    [&world.base_url, "/", version.0].concat()
}

/// Runs what must not stop halfway when the caller hangs up. What waits for nothing cannot, and
/// costs no task.
pub(super) async fn to_the_end<T: Send + 'static>(
    world: &World,
    work: impl Future<Output = Result<T, CallError>> + Send + 'static,
) -> Result<T, Refusal> {
    let mut work = AssertUnwindSafe(work).catch_unwind().boxed();
    let result = match poll_immediate(&mut work).await {
        Some(result) => Ok(result),
        None => world.tasks.spawn(work).await,
    };
    match result {
        Ok(Ok(result)) => result.map_err(Refusal::from),
        ended => {
            let error = ended.err().map(tracing::field::display);
            tracing::error!(error, "a request's work ended early");
            Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "generalException",
                "The request could not be finished. Read the service's log.",
            ))
        }
    }
}

pub(super) async fn create(
    State(world): State<Arc<World>>,
    Extension(version): Extension<Version>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    whole: Whole,
) -> Answer {
    let asked = Exchange::begin(&world.truth, &request, Act::Create, (None, None), None);
    let fare = Fare::outside(&world, Event::Create, &request);
    let here = Arc::clone(&world);
    let work = async move {
        let world = here;
        let wanted = CreateCall::decode(whole.json()?).map_err(CallError::Create)?;
        let scenario = scenario(&whole.headers);
        let work = {
            let world = Arc::clone(&world);
            async move {
                world
                    .create(&caller.claims, &caller.app, wanted, scenario, &request)
                    .await
            }
        };
        let new = to_the_end(&world, work).await?;
        let base = base(&world, version);
        let body = wording::call(&new.id, &new.now, &new.created, &base, "app/calls/$entity");
        let location = location(&base, &Resource::Call(new.id.clone()));
        let mut answer = json(StatusCode::CREATED, body, Some(location));
        answer.extensions_mut().insert(new.id);
        Ok(answer)
    };
    answered(asked, fare.run(&world, work).await)
}

fn scenario(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("scenario-id")?.to_str().ok()?;
    (!text.is_empty() && text.len() <= MAX_SCENARIO).then(|| text.to_owned())
}

fn location(base: &str, resource: &Resource) -> String {
    let path = resource.path().unwrap_or_default();
    [base, &path].concat()
}

pub(super) async fn get(
    State(world): State<Arc<World>>,
    Extension(version): Extension<Version>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path(call): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let fare = Fare::of_call(&world, Event::GetCall, &caller.app, &call, &request);
    let here = Arc::clone(&world);
    let work = async move {
        let held = here.get(&caller.app, &call)?;
        let entity = "communications/calls/$entity";
        let base = base(&here, version);
        let body = wording::call(&held.id, &held.now, &held.created, &base, entity);
        let body = select(body, query.as_deref());
        Ok(json(StatusCode::OK, body, None))
    };
    fare.run(&world, work).await
}

pub(super) async fn hang_up(
    State(world): State<Arc<World>>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path(call): Path<String>,
) -> Answer {
    let about = (Some(&*call), None);
    let asked = Exchange::begin(&world.truth, &request, Act::HangUp, about, None);
    let fare = Fare::of_call(&world, Event::HangUp, &caller.app, &call, &request);
    let here = Arc::clone(&world);
    let work = async move {
        let world = Arc::clone(&here);
        let work = async move { world.hang_up(&caller.app, &call).await };
        to_the_end(&here, work).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answered(asked, fare.run(&world, work).await)
}

pub(super) async fn keep_alive(
    State(world): State<Arc<World>>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path(call): Path<String>,
) -> Answer {
    let fare = Fare::of_call(&world, Event::KeepAlive, &caller.app, &call, &request);
    let here = Arc::clone(&world);
    let work = async move {
        here.keep_alive(&caller.app, &call)?;
        Ok(StatusCode::OK.into_response())
    };
    fare.run(&world, work).await
}

pub(super) async fn mute(
    State(world): State<Arc<World>>,
    ids: Ids,
    caller: Caller,
    Path(call): Path<String>,
    whole: Whole,
) -> Answer {
    switch(world, ids, caller, call, None, Action::Mute, &whole).await
}

pub(super) async fn unmute(
    State(world): State<Arc<World>>,
    ids: Ids,
    caller: Caller,
    Path(call): Path<String>,
    whole: Whole,
) -> Answer {
    switch(world, ids, caller, call, None, Action::Unmute, &whole).await
}

pub(super) async fn invite(
    State(world): State<Arc<World>>,
    Extension(version): Extension<Version>,
    caller: Caller,
    Path(call): Path<String>,
    whole: Whole,
) -> Answer {
    let invite = InviteParticipants::decode(whole.json()?).map_err(CallError::Invite)?;
    let done = world.invite(&caller.claims, &caller.app, &call, invite)?;
    Ok(finished(&world, version, &done))
}

pub(super) async fn mute_all(
    State(world): State<Arc<World>>,
    Ids(Extension(version), Extension(RequestId(request))): Ids,
    caller: Caller,
    Path(call): Path<String>,
    whole: Whole,
) -> Answer {
    if version.0 != "beta" {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "itemNotFound",
            "Graph has muteAll in beta only. Use /beta/communications/calls.",
        ));
    }
    let about = (Some(&*call), None);
    let asked = Exchange::begin(&world.truth, &request, Act::MuteAll, about, None);
    let answer = async {
        let whom = MuteAll::decode(whole.json()?).map_err(CallError::Invite)?;
        let work = {
            let world = Arc::clone(&world);
            async move { world.mute_all(&caller.app, &call, whom, &request).await }
        };
        let done = to_the_end(&world, work).await?;
        Ok(finished(&world, version, &done))
    };
    answered(asked, answer.await)
}

pub(super) async fn remove_participant(
    State(world): State<Arc<World>>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path((call, participant)): Path<(String, String)>,
) -> Answer {
    let about = (Some(&*call), Some(&*participant));
    let asked = Exchange::begin(&world.truth, &request, Act::Remove, about, None);
    let work = {
        let world = Arc::clone(&world);
        async move {
            world
                .remove_participant(&caller.app, &call, &participant)
                .await
        }
    };
    let done = to_the_end(&world, work).await;
    answered(asked, done.map(|()| StatusCode::NO_CONTENT.into_response()))
}

/// What Graph can do and the service cannot.
pub(super) async fn lacking(
    State(world): State<Arc<World>>,
    caller: Caller,
    Path(named): Path<HashMap<String, String>>,
    uri: Uri,
) -> Answer {
    if let Some(call) = named.get("call") {
        world.get(&caller.app, call)?;
    }
    let action = uri.path().rsplit('/').next().unwrap_or_default();
    Err(Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "8520",
        format!(
            "The local calling service has no {action}. Expect this error in tests against it, \
             and test what comes of {action} against Microsoft Graph."
        ),
    ))
}

pub(super) async fn mute_participant(
    State(world): State<Arc<World>>,
    ids: Ids,
    caller: Caller,
    Path((call, participant)): Path<(String, String)>,
    whole: Whole,
) -> Answer {
    let who = Some(participant);
    switch(world, ids, caller, call, who, Action::Mute, &whole).await
}

async fn switch(
    world: Arc<World>,
    Ids(Extension(version), Extension(RequestId(request))): Ids,
    caller: Caller,
    call: String,
    participant: Option<String>,
    action: Action,
    whole: &Whole,
) -> Answer {
    let decoded = whole
        .json()
        .and_then(|body| Ok(action::decode(body).map_err(CallError::Action)?));
    let context = decoded.as_ref().ok().and_then(Option::as_ref);
    let about = (Some(&*call), participant.as_deref());
    let asked = Exchange::begin(&world.truth, &request, action.into(), about, context);
    let event = match (&participant, action) {
        (Some(_), _) => Event::MuteOther,
        (None, Action::Mute) => Event::Mute,
        (None, Action::Unmute) => Event::Unmute,
    };
    let fare = Fare::of_call(&world, event, &caller.app, &call, &request);
    let how = fare.asking.how;
    let here = Arc::clone(&world);
    let work = async move {
        let wanted = SetMuted {
            whom: participant,
            action,
            context: decoded?,
            request,
            how,
        };
        let world = Arc::clone(&here);
        let work = async move { world.set_muted(&caller.app, &call, wanted).await };
        let done = to_the_end(&here, work).await?;
        Ok(finished(&here, version, &done))
    };
    answered(asked, fare.run(&world, work).await)
}

/// The answer to an action.
fn finished(world: &World, version: Version, done: &Done) -> Response {
    let (body, location) = shown(world, version, done);
    json(StatusCode::OK, body, Some(location))
}

/// An operation, and where it can be read.
fn shown(world: &World, version: Version, done: &Done) -> (Vec<u8>, String) {
    let base = base(world, version);
    let casing = if world.config.rules.pascal_case {
        Casing::Pascal
    } else {
        Casing::Camel
    };
    let record = &done.record;
    let body = operation::encode_with(&base, record.kind, &record.operation, &record.extra, casing);
    let resource = Resource::Operation(done.call.clone(), record.operation.id.clone());
    (body, location(&base, &resource))
}

pub(super) async fn participants(
    State(world): State<Arc<World>>,
    Extension(version): Extension<Version>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path(call): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let fare = Fare::of_call(&world, Event::Participants, &caller.app, &call, &request);
    let (stale, partial) = (fare.asking.stale, fare.asking.partial);
    let here = Arc::clone(&world);
    let work = async move {
        let (id, everybody) = here.participants(&caller.app, &call, stale)?;
        let own = partial.then(|| here.get(&caller.app, &call).ok()).flatten();
        let own = own.map(|call| call.now.participant);
        let entries = everybody.iter().map(AsRef::as_ref);
        let entries = entries.filter(|entry: &&Participant| Some(&entry.id) != own.as_ref());
        let body = participant::encode_list(&base(&here, version), &id, entries);
        let body = select(body, query.as_deref());
        Ok(json(StatusCode::OK, body, None))
    };
    fare.run(&world, work).await
}

pub(super) async fn participant(
    State(world): State<Arc<World>>,
    Extension(version): Extension<Version>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path((call, participant)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let fare = Fare::of_call(&world, Event::Participants, &caller.app, &call, &request);
    let stale = fare.asking.stale;
    let here = Arc::clone(&world);
    let work = async move {
        let found = here.participant(&caller.app, &call, &participant, stale);
        let (id, entry): (CallId, _) = found?;
        let body = participant::encode(&base(&here, version), &id, &entry);
        let body = select(body, query.as_deref());
        Ok(json(StatusCode::OK, body, None))
    };
    fare.run(&world, work).await
}

pub(super) async fn operation(
    State(world): State<Arc<World>>,
    Extension(version): Extension<Version>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path((call, operation)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let fare = Fare::of_call(&world, Event::Operation, &caller.app, &call, &request);
    let here = Arc::clone(&world);
    let work = async move {
        let done = here.operation(&caller.app, &call, &operation)?;
        let (body, _) = shown(&here, version, &done);
        Ok(json(StatusCode::OK, select(body, query.as_deref()), None))
    };
    fare.run(&world, work).await
}
