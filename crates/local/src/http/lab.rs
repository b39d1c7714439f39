//! The lab: where a test plays the humans of a meeting. Not Graph; loopback only.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use openmic_media::LegStats;
use openmic_model::{Action, Participant};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::answer::{Answer, Refusal};
use super::caller::{Caller, Whole, unsupported};
use crate::error::CallError;
use crate::sdp::Offer;
use crate::world::World;

const SDP: HeaderValue = HeaderValue::from_static("application/sdp");

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Longest name taken, in characters.
pub(super) const MAX_NAME: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Name {
    display_name: Option<String>,
}

/// What the host may change of a human.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = LabPatch)]
pub(super) struct Patch {
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
        _ if !whole.is("application/sdp") => {
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
        None => (StatusCode::CREATED, Json(Shown::of(&entry))).into_response(),
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
    Ok(Json(Shown::of(&entry)).into_response())
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
    let body = InFull {
        shown: Shown::of(&entry),
        media: stats.as_ref().map(Stats::of),
    };
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

/// Which lines of the truth log.
#[derive(Deserialize)]
pub(super) struct Since {
    since: Option<String>,
}

/// `GET /lab/v1/truth`.
pub(super) async fn truth(
    State(world): State<Arc<World>>,
    Query(Since { since }): Query<Since>,
    headers: HeaderMap,
) -> Answer {
    admit(&world, &headers).await?;
    let since = since.as_deref().unwrap_or("0").parse().map_err(|_| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalidRequest",
            "since is no whole number. Give the n of the last line you have, or 0 for all.",
        )
    })?;
    Ok(([(CONTENT_TYPE, NDJSON)], world.truth.since(since)).into_response())
}

/// A participant, as the lab shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabParticipant)]
pub(super) struct Shown {
    id: String,
    #[schema(required)]
    display_name: Option<String>,
    is_muted: bool,
    /// Whether the gate stops the participant's sound.
    #[schema(required)]
    server_muted: Option<bool>,
}

impl Shown {
    fn of(entry: &Participant) -> Self {
        Self {
            id: entry.id.to_string(),
            display_name: entry.identity.display_name.clone(),
            is_muted: entry.is_muted,
            server_muted: entry.server_muted(),
        }
    }
}

/// A participant with what its media path counts.
#[derive(Serialize, ToSchema)]
#[schema(as = LabParticipantInFull)]
pub(super) struct InFull {
    #[serde(flatten)]
    shown: Shown,
    /// Null of a human without sound.
    #[schema(required)]
    media: Option<Stats>,
}

/// The media path of a participant.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabMedia)]
struct Stats {
    /// `open` or `closed`.
    gate: &'static str,
    /// How often the gate was moved.
    epoch: u64,
    /// Where the participant's packets come from, once one came.
    #[schema(required)]
    latched: Option<String>,
    #[schema(required)]
    ssrc: Option<u32>,
    counters: Counters,
    /// The first packet that was heard since the gate opened.
    #[schema(required)]
    evidence: Option<Evidence>,
    sources: Vec<Source>,
    /// Ids of those who do not hear it.
    unheard: Vec<String>,
}

/// Packets, by what became of them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabCounters)]
struct Counters {
    forwarded: u64,
    gated: u64,
    tail: u64,
    late: u64,
    bad: u64,
    dropped: u64,
    rtcp: u64,
    sent: u64,
    unsent: u64,
    loud_gated: u64,
}

/// That somebody was heard.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabEvidence)]
struct Evidence {
    epoch: u64,
    seconds_after_open: f64,
    in_sequence: u16,
    out_sequence: u16,
    receivers: usize,
}

/// Somebody the participant hears.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabSource)]
struct Source {
    participant: String,
    ssrc: u32,
    #[schema(required)]
    slot: Option<usize>,
    sent: u64,
}

impl Stats {
    fn of(stats: &LegStats) -> Self {
        let counters = &stats.counters;
        Self {
            gate: if stats.open { "open" } else { "closed" },
            epoch: stats.epoch,
            latched: stats.latched.map(|at| at.to_string()),
            ssrc: stats.ssrc,
            counters: Counters {
                forwarded: counters.forwarded,
                gated: counters.gated,
                tail: counters.tail,
                late: counters.late,
                bad: counters.bad,
                dropped: counters.dropped,
                rtcp: counters.rtcp,
                sent: counters.sent,
                unsent: counters.unsent,
                loud_gated: counters.loud_gated,
            },
            evidence: stats.evidence.as_ref().map(|evidence| Evidence {
                epoch: evidence.epoch,
                seconds_after_open: evidence.after_open.as_secs_f64(),
                in_sequence: evidence.in_sequence,
                out_sequence: evidence.out_sequence,
                receivers: evidence.receivers,
            }),
            sources: stats
                .sources
                .iter()
                .map(|source| Source {
                    participant: source.participant.to_string(),
                    ssrc: source.ssrc,
                    slot: source.slot,
                    sent: source.sent,
                })
                .collect(),
            unheard: stats.unheard.iter().map(ToString::to_string).collect(),
        }
    }
}
