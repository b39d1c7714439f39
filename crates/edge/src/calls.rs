//! The engine's own view of its calls: `/v1/calls`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use http::StatusCode;
use openmic_contract::Named;
use openmic_engine::{Call, Phase, Status};
use openmic_hub::snapshot_document;
use openmic_model::{CallKind, ResultInfo, RosterVersion, Version};
use openmic_wire::call::state_word;
use serde::Serialize;
use utoipa::{PartialSchema as _, ToSchema};

use crate::answer::{Answer, json};
use crate::caller::Caller;
use crate::surface::Api;
use crate::ticket::Issued;
use crate::upgrade;

/// Calls in one list.
const MAX_LIST: usize = 1000;

/// `GET /v1/calls`: the caller's calls that are not over, an operator's view of all of them.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    let mut calls = api.engine.calls();
    calls.retain(|call| caller.sees(call.owner(), &api.engine));
    calls.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    let total = calls.len();
    let calls = calls.iter().take(MAX_LIST).map(CallView::of).collect();
    Ok(json(StatusCode::OK, bytes(&List { calls, total }), None))
}

/// `GET /v1/calls/{call}`: one call, also for a while after its end.
pub(crate) async fn get(Extension(call): Extension<Call>) -> Answer {
    Ok(json(StatusCode::OK, bytes(&CallView::of(&call)), None))
}

/// `GET /v1/calls/{call}/roster`: the roster as one document, or a WebSocket on upgrade.
pub(crate) async fn roster(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(call): Extension<Call>,
    request: Request,
) -> Answer {
    if upgrade::is_wanted(request.headers()) {
        return upgrade::roster(&api, &caller, &call, request);
    }
    // Before the first roster there is an empty one.
    let version = call.roster_now().unwrap_or_else(|| RosterVersion {
        call: call.id().clone(),
        version: call.state().version,
        roster: Arc::default(),
        changes: Arc::default(),
    });
    Ok(json(StatusCode::OK, snapshot_document(&version), None))
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs with string keys always serialise into memory")
}

/// Some calls.
#[derive(Serialize, ToSchema)]
#[schema(as = CallViews)]
struct List {
    /// In the order of their ids, 1000 at most.
    calls: Vec<CallView>,
    /// How many there are.
    total: usize,
}

/// A call, as the engine sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallView {
    id: String,
    /// `establishing`, `muted`, `unmuting`, `unmuted`, `muting`, `terminating` or `terminated`.
    state: &'static str,
    /// Why it is in this state, in one sentence.
    why: String,
    /// What it waits for.
    waits_for: Vec<&'static str>,
    /// What Graph says of it, once it said something.
    #[schema(required)]
    graph_state: Option<&'static str>,
    /// `group`, or `peerToPeer` for a call with one other side.
    kind: &'static str,
    /// The bot's own entry in the roster.
    #[schema(required)]
    my_participant_id: Option<String>,
    version: VersionView,
    /// Of a call that has ended.
    #[schema(required)]
    ended: Option<EndView>,
}

/// The version of a roster.
#[derive(Serialize, ToSchema)]
#[schema(as = RosterVersion)]
struct VersionView {
    epoch: u64,
    seq: u64,
}

/// How a call ended.
#[derive(Serialize, ToSchema)]
#[schema(as = CallEnd)]
struct EndView {
    cause: &'static str,
    #[schema(required)]
    result: Option<ResultView>,
}

/// Graph's reason.
#[derive(Serialize, ToSchema)]
#[schema(as = CallResult)]
struct ResultView {
    code: i32,
    subcode: i32,
    #[schema(required)]
    message: Option<String>,
}

impl From<&ResultInfo> for ResultView {
    fn from(result: &ResultInfo) -> Self {
        Self {
            code: result.code,
            subcode: result.subcode,
            message: result.message.clone(),
        }
    }
}

impl CallView {
    fn of(call: &Call) -> Self {
        let status = call.state();
        let Version { epoch, seq } = status.version;
        Self {
            id: call.id().to_string(),
            state: status.phase.as_str(),
            why: why(&status),
            graph_state: status.graph.map(state_word),
            kind: match status.kind {
                CallKind::Group => "group",
                CallKind::PeerToPeer => "peerToPeer",
            },
            my_participant_id: status.me.as_ref().map(ToString::to_string),
            version: VersionView { epoch, seq },
            ended: status.ending.as_ref().map(|ending| EndView {
                cause: ending.cause.as_str(),
                result: ending.result.as_ref().map(ResultView::from),
            }),
            waits_for: status.waits_for,
        }
    }
}

/// The schemas of these views.
pub(crate) fn schemas() -> Vec<Named> {
    let mut all = vec![
        (List::name().into_owned(), List::schema()),
        (Issued::name().into_owned(), Issued::schema()),
    ];
    List::schemas(&mut all);
    all
}

/// Why the call is in the state it is in, in one sentence.
fn why(status: &Status) -> String {
    let seen = status.own_entry_seen;
    match status.phase {
        Phase::Establishing if status.graph.is_none() => "Graph has not accepted the call yet.",
        Phase::Establishing => {
            "Graph is setting the call up, or the bot's own roster entry was not seen yet."
        }
        Phase::Muted => "The bot's own roster entry says muted.",
        Phase::Unmuting => "An unmute is under way.",
        Phase::Unmuted if seen => "The bot's own roster entry says unmuted.",
        Phase::Unmuted if status.kind == CallKind::PeerToPeer => {
            "A call to one other side has no roster and no server mute."
        }
        Phase::Unmuted => "The call is established; the bot's own roster entry was never seen.",
        Phase::Muting => "A mute is under way.",
        Phase::Terminating => "The call is being hung up.",
        Phase::Terminated => {
            let Some(ending) = &status.ending else {
                return "The call ended by a fault of openmic and was hung up.".to_owned();
            };
            let cause = match ending.cause.as_str() {
                "hung_up" => "The bot hung up",
                "remote" => "Graph ended the call",
                "gone" => "Graph does not know the call any more",
                _ => "The call never came to be",
            };
            return match &ending.result {
                Some(result) => format!("{cause}: {result}"),
                None => format!("{cause}."),
            };
        }
    }
    .to_owned()
}
