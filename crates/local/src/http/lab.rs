//! The lab: where a test plays the humans of a meeting. Not Graph; loopback only.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use openmic_media::LegStats;
use openmic_model::{Action, Participant, ParticipantId};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::answer::Refusal;
use super::caller::{Caller, Whole, unsupported};
use crate::error::CallError;
use crate::sdp::Offer;
use crate::world::World;

type Answer = Result<Response, Refusal>;

const SDP: HeaderValue = HeaderValue::from_static("application/sdp");

/// Longest name taken, in characters.
pub(super) const MAX_NAME: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Name {
    display_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Patch {
    server_muted: bool,
}

/// In the dev profile the lab is open to whoever reaches loopback; else it takes a bot's token.
pub(super) async fn admit(world: &World, headers: &HeaderMap) -> Result<(), Refusal> {
    if world.config.dev {
        return Ok(());
    }
    Caller::of(headers, world).await.map(|_| ())
}

pub(super) async fn join(
    State(world): State<Arc<World>>,
    Path(thread): Path<String>,
    Query(name): Query<Name>,
    whole: Whole,
) -> Answer {
    admit(&world, &whole.headers).await?;
    let name = name.display_name.filter(|name| !name.is_empty());
    if name
        .as_ref()
        .is_some_and(|name| name.chars().count() > MAX_NAME)
    {
        return Err(CallError::Argument("displayName is longer than 256 characters").into());
    }
    let offer = match whole.bytes.as_ref() {
        [] => None,
        _ if whole.content_type() != "application/sdp" => {
            return Err(unsupported(
                "The body is not application/sdp. Send an SDP offer, or no body for a human without sound.",
            ));
        }
        bytes => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| CallError::Argument("the SDP offer is not UTF-8"))?;
            Some(Offer::parse(text).map_err(CallError::Sdp)?)
        }
    };
    let work = {
        let (world, thread) = (Arc::clone(&world), thread.clone());
        async move { world.join_human(&thread, name, offer).await }
    };
    let (entry, media) = super::graph::to_the_end(&world, work).await?;
    let encoded: String = form_urlencoded::byte_serialize(thread.as_bytes()).collect();
    let encoded = encoded.replace('+', "%20");
    let location = format!(
        "{}/lab/v1/meetings/{encoded}/participants/{}",
        world.base_url, entry.id
    );
    let mut response = match media {
        Some(media) => {
            let mut response = (StatusCode::CREATED, media.answer.clone()).into_response();
            response.headers_mut().insert(CONTENT_TYPE, SDP);
            response
        }
        None => (StatusCode::CREATED, Json(entry_json(&entry))).into_response(),
    };
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn leave(
    State(world): State<Arc<World>>,
    Path((thread, participant)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    admit(&world, &headers).await?;
    let work = {
        let world = Arc::clone(&world);
        async move { world.remove(&thread, &participant).await }
    };
    super::graph::to_the_end(&world, work).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn patch(
    State(world): State<Arc<World>>,
    Path((thread, participant)): Path<(String, String)>,
    whole: Whole,
) -> Answer {
    admit(&world, &whole.headers).await?;
    let patch: Patch = serde_json::from_slice(whole.json()?).map_err(|_| {
        CallError::Argument("the body is not {\"serverMuted\": true} or {\"serverMuted\": false}")
    })?;
    let action = if patch.server_muted {
        Action::Mute
    } else {
        Action::Unmute
    };
    let work = {
        let world = Arc::clone(&world);
        async move { world.host_switch(&thread, &participant, action).await }
    };
    let entry = super::graph::to_the_end(&world, work).await?;
    Ok(Json(entry_json(&entry)).into_response())
}

pub(super) async fn get(
    State(world): State<Arc<World>>,
    Path((thread, participant)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    admit(&world, &headers).await?;
    let (entry, media) = world.someone(&thread, &participant)?;
    let stats = match media {
        Some(media) => media.stats().await.ok(),
        None => None,
    };
    let mut body = entry_json(&entry);
    body["media"] = stats.as_ref().map_or(Value::Null, stats_json);
    Ok(Json(body).into_response())
}

pub(super) async fn sdp(
    State(world): State<Arc<World>>,
    Path((thread, participant)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    admit(&world, &headers).await?;
    let (_, media) = world.someone(&thread, &participant)?;
    let media = media.ok_or(CallError::NoMedia)?;
    let listing = media.listing().await.ok_or(CallError::NotLatched)?;
    Ok(([(CONTENT_TYPE, SDP)], listing).into_response())
}

fn entry_json(entry: &Participant) -> Value {
    json!({
        "id": entry.id.as_str(),
        "displayName": entry.identity.display_name,
        "isMuted": entry.is_muted,
        "serverMuted": entry.server_muted(),
    })
}

fn stats_json(stats: &LegStats) -> Value {
    let counters = &stats.counters;
    json!({
        "gate": if stats.open { "open" } else { "closed" },
        "epoch": stats.epoch,
        "latched": stats.latched.map(|at| at.to_string()),
        "ssrc": stats.ssrc,
        "counters": {
            "forwarded": counters.forwarded,
            "gated": counters.gated,
            "tail": counters.tail,
            "late": counters.late,
            "bad": counters.bad,
            "dropped": counters.dropped,
            "rtcp": counters.rtcp,
            "sent": counters.sent,
            "unsent": counters.unsent,
            "loudGated": counters.loud_gated,
        },
        "evidence": stats.evidence.as_ref().map(|evidence| json!({
            "epoch": evidence.epoch,
            "secondsAfterOpen": evidence.after_open.as_secs_f64(),
            "inSequence": evidence.in_sequence,
            "outSequence": evidence.out_sequence,
            "receivers": evidence.receivers,
        })),
        "sources": stats.sources.iter().map(|source| json!({
            "participant": source.participant.as_str(),
            "ssrc": source.ssrc,
            "slot": source.slot,
            "sent": source.sent,
        })).collect::<Vec<_>>(),
        "unheard": stats.unheard.iter().map(ParticipantId::as_str).collect::<Vec<_>>(),
    })
}
