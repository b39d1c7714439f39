//! What goes wrong on purpose: plans of faults. Part of the lab, on loopback in the dev profile
//! only.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Answer, Refusal};
use super::caller::Whole;
use crate::error::CallError;
use crate::faults::{FaultPlan, Scope, Shown};
use crate::world::World;

/// Faults, and for whom.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = LabFaults)]
pub(super) struct Wanted {
    /// Each as its name and what it is told, such as `throttled on=unmute nth=2 retry=1.5`. At one
    /// event all of them are looked at, in this order. At most 64.
    faults: Vec<String>,
    /// Of the dice; without: one that the answer tells.
    seed: Option<u64>,
    /// Only the next so many calls fare so. Not of a call's own faults.
    calls: Option<u32>,
    /// Only calls into this meeting fare so. Not of a call's own faults.
    thread: Option<String>,
}

/// Faults that are in force.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabFaultsInForce)]
pub(super) struct InForce {
    seed: u64,
    faults: Vec<InForceFault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<String>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
#[schema(as = LabFaultInForce)]
struct InForceFault {
    fault: String,
    /// How often it came to pass: in the call, or of the plan for calls to come at requests outside
    /// calls, such as creates.
    struck: u32,
}

impl InForce {
    fn of(shown: Shown, scope: Scope) -> Json<Self> {
        let faults = shown.faults.into_iter();
        Json(Self {
            seed: shown.seed,
            faults: faults
                .map(|(fault, struck)| InForceFault { fault, struck })
                .collect(),
            calls: scope.calls,
            thread: scope.thread,
        })
    }
}

fn plan(whole: &Whole) -> Result<(FaultPlan, Scope), Refusal> {
    let wanted: Wanted = serde_json::from_slice(whole.json()?).map_err(|_| {
        CallError::Argument(
            "the body is not {\"faults\": [\"drop rate=0.1\"]} with a seed besides, and for \
             calls to come calls and thread",
        )
    })?;
    let mut plan = FaultPlan::of(&wanted.faults).map_err(CallError::Faults)?;
    plan.seed = wanted.seed;
    let scope = Scope {
        calls: wanted.calls,
        thread: wanted.thread,
    };
    Ok((plan, scope))
}

/// `PUT /lab/v1/faults`.
pub(super) async fn set(State(world): State<Arc<World>>, whole: Whole) -> Answer {
    let (plan, scope) = plan(&whole)?;
    let shown = world.faults.set(plan, scope.clone());
    Ok(InForce::of(shown, scope).into_response())
}

/// `GET /lab/v1/faults`.
pub(super) async fn show(State(world): State<Arc<World>>) -> Answer {
    let (shown, scope) = world.faults.shown().ok_or(CallError::NoFaults)?;
    Ok(InForce::of(shown, scope).into_response())
}

/// `DELETE /lab/v1/faults`.
pub(super) async fn clear(State(world): State<Arc<World>>) -> Answer {
    world.faults.clear();
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PUT /lab/v1/calls/{call}/faults`.
pub(super) async fn set_call(
    State(world): State<Arc<World>>,
    Path(call): Path<String>,
    whole: Whole,
) -> Answer {
    let (plan, scope) = plan(&whole)?;
    if scope != Scope::default() {
        let text = "calls and thread are for the faults of calls to come; leave them out";
        return Err(CallError::Argument(text).into());
    }
    let shown = world.faults_of_any(&call)?.set(plan);
    Ok(InForce::of(shown, scope).into_response())
}

/// `GET /lab/v1/calls/{call}/faults`.
pub(super) async fn show_call(State(world): State<Arc<World>>, Path(call): Path<String>) -> Answer {
    let shown = world.faults_of_any(&call)?.shown();
    let shown = shown.ok_or(CallError::NoFaults)?;
    Ok(InForce::of(shown, Scope::default()).into_response())
}

/// `DELETE /lab/v1/calls/{call}/faults`.
pub(super) async fn clear_call(
    State(world): State<Arc<World>>,
    Path(call): Path<String>,
) -> Answer {
    world.faults_of_any(&call)?.clear();
    Ok(StatusCode::NO_CONTENT.into_response())
}
