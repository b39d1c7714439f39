//! Incoming calls: the lab rings, the bot answers or rejects. Sources: `contract.md` §1.2.4,
//! §1.2.11.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use openmic_model::{AppId, CallKind};
use openmic_wire::answer::{AnswerCall, RejectCall};
use openmic_wire::call::state_word;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Answer, RequestId, answered};
use super::caller::{Caller, Whole};
use super::fare::Fare;
use super::graph::to_the_end;
use super::lab::{MAX_NAME, admit};
use crate::error::CallError;
use crate::faults::Event;
use crate::truth::{Act, Exchange};
use crate::world::{Lab, RingAsked, World};

const HELP: &str = "the body is not {\"appId\": \"..\", \"callbackUri\": \"..\"} with threadId \
                    for a call into a meeting, kind (peerToPeer or group) and displayName of \
                    the caller besides";

/// A ring.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = LabRing)]
pub(super) struct Asked {
    /// Whom to ring.
    app_id: String,
    /// The bot's webhook, which is told of the call.
    callback_uri: String,
    /// Leads into this meeting.
    thread_id: Option<String>,
    /// The caller's, at most 256 characters.
    display_name: Option<String>,
    /// Without: a call to one other side, or one into the meeting `threadId` names.
    kind: Option<Kind>,
}

/// Of a ring.
#[derive(Deserialize, ToSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabRingKind)]
enum Kind {
    PeerToPeer,
    Group,
}

impl Asked {
    fn check(self) -> Result<RingAsked, CallError> {
        let app = AppId::parse(&self.app_id).map_err(|_| {
            CallError::Argument("appId is no usable id; give the bot's application id")
        })?;
        let given = self.thread_id.filter(|thread| !thread.is_empty());
        let thread = match (self.kind, given) {
            (Some(Kind::PeerToPeer), Some(_)) => {
                return Err(CallError::Argument(
                    "a call into a meeting is none to one other side; leave out threadId or kind",
                ));
            }
            (None | Some(Kind::PeerToPeer), None) => None,
            (_, Some(thread)) if thread.len() > 1024 => {
                return Err(CallError::Argument("threadId is longer than 1024 bytes"));
            }
            (_, Some(thread)) => Some(thread),
            (Some(Kind::Group), None) => {
                let fresh = uuid::Uuid::new_v4().simple();
                Some(format!("19:meeting_{fresh}@thread.v2"))
            }
        };
        let name = self.display_name.filter(|name| !name.is_empty());
        let long = |name: &String| name.chars().count() > MAX_NAME;
        if name.as_ref().is_some_and(long) {
            return Err(CallError::Argument(
                "displayName is longer than 256 characters",
            ));
        }
        Ok(RingAsked {
            app,
            callback_uri: self.callback_uri,
            thread,
            name,
        })
    }
}

/// `POST /lab/v1/calls`.
pub(super) async fn ring(State(world): State<Arc<World>>, whole: Whole) -> Answer {
    admit(&world, &whole.headers).await?;
    let asked: Asked =
        serde_json::from_slice(whole.json()?).map_err(|_| CallError::Argument(HELP))?;
    let rings = world.ring(asked.check()?)?;
    let location = format!("{}/lab/v1/calls/{}", world.base_url, rings.id);
    let mut response = (StatusCode::CREATED, Json(shown(&rings))).into_response();
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// `GET /lab/v1/calls/{call}`.
pub(super) async fn look(
    State(world): State<Arc<World>>,
    Path(call): Path<String>,
    headers: HeaderMap,
) -> Answer {
    admit(&world, &headers).await?;
    Ok(Json(shown(&world.look_at_ring(&call)?)).into_response())
}

/// `DELETE /lab/v1/calls/{call}`: the caller hangs up.
pub(super) async fn give_up(
    State(world): State<Arc<World>>,
    Path(call): Path<String>,
    headers: HeaderMap,
) -> Answer {
    admit(&world, &headers).await?;
    let work = {
        let world = Arc::clone(&world);
        async move { world.give_up(&call).await }
    };
    to_the_end(&world, work).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A call that rings, or rang, as its caller sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabCall)]
pub(super) struct Shown {
    id: String,
    app_id: String,
    /// As `state` of a call.
    state: &'static str,
    /// `group` or `peerToPeer`.
    kind: &'static str,
    /// The meeting that the call leads into.
    #[schema(required)]
    thread_id: Option<String>,
    /// The caller among the participants.
    caller_id: String,
}

fn shown(lab: &Lab) -> Shown {
    let group = lab.kind == CallKind::Group;
    Shown {
        id: lab.id.to_string(),
        app_id: lab.app.to_string(),
        state: state_word(lab.state),
        kind: if group { "group" } else { "peerToPeer" },
        thread_id: group.then(|| lab.thread.clone()),
        caller_id: lab.caller.to_string(),
    }
}

/// `POST /communications/calls/{call}/answer`.
pub(super) async fn answer(
    State(world): State<Arc<World>>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path(call): Path<String>,
    whole: Whole,
) -> Answer {
    let about = (Some(&*call), None);
    let asked = Exchange::begin(&world.truth, &request, Act::Answer, about, None);
    let fare = Fare::of_call(&world, Event::Answer, &caller.app, &call, &request);
    let here = Arc::clone(&world);
    let work = async move {
        let answer = AnswerCall::decode(whole.json()?).map_err(CallError::Answer)?;
        let world = Arc::clone(&here);
        let work = async move {
            world
                .answer(&caller.claims, &caller.app, &call, answer)
                .await
        };
        to_the_end(&here, work).await?;
        Ok(StatusCode::ACCEPTED.into_response())
    };
    answered(asked, fare.run(&world, work).await)
}

/// `POST /communications/calls/{call}/reject`.
pub(super) async fn reject(
    State(world): State<Arc<World>>,
    Extension(RequestId(request)): Extension<RequestId>,
    caller: Caller,
    Path(call): Path<String>,
    whole: Whole,
) -> Answer {
    let about = (Some(&*call), None);
    let asked = Exchange::begin(&world.truth, &request, Act::Reject, about, None);
    let done = (|| {
        let how = RejectCall::decode(whole.json()?).map_err(CallError::Answer)?;
        world.reject(&caller.app, &call, &how)?;
        Ok(StatusCode::ACCEPTED.into_response())
    })();
    answered(asked, done)
}
