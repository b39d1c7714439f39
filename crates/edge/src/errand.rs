//! Errands: what a bot asks of Graph that the engine has no part in. They are passed on with the
//! engine's own token, and the answer is passed back. Sources: `contract.md` §1.1, §1.3.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse as _;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use openmic_engine::{Call, Passed, UpstreamError};
use openmic_model::ParticipantId;
use openmic_wire::errand::{Body, Errand};

use crate::answer::{Answer, Refusal, json};
use crate::body;
use crate::caller::Caller;
use crate::graph::{bytes, location, no_participant, rebase, still_there};
use crate::surface::{Api, Base};

macro_rules! on_a_call {
    ($($name:ident $errand:ident;)*) => {$(
        pub(crate) async fn $name(
            Extension(call): Extension<Call>,
            Extension(caller): Extension<Caller>,
            Extension(base): Extension<Base>,
            request: Request,
        ) -> Answer {
            run(Errand::$errand, &call, None, &caller, &base, request).await
        }
    )*};
}

macro_rules! on_a_participant {
    ($($name:ident $errand:ident;)*) => {$(
        pub(crate) async fn $name(
            Extension(call): Extension<Call>,
            Extension(caller): Extension<Caller>,
            Extension(base): Extension<Base>,
            Path((_, participant)): Path<(String, String)>,
            request: Request,
        ) -> Answer {
            let whom = Some(participant);
            run(Errand::$errand, &call, whom, &caller, &base, request).await
        }
    )*};
}

on_a_call! {
    transfer                   Transfer;
    play_prompt                PlayPrompt;
    record_response            RecordResponse;
    cancel_media_processing    CancelMediaProcessing;
    subscribe_to_tone          SubscribeToTone;
    send_dtmf_tones            SendDtmfTones;
    update_recording_status    UpdateRecordingStatus;
    change_screen_sharing_role ChangeScreenSharingRole;
    add_large_gallery_view     AddLargeGalleryView;
    invite                     Invite;
    mute_all                   MuteAll;
}

on_a_participant! {
    mute_participant           MuteParticipant;
    start_hold_music           StartHoldMusic;
    stop_hold_music            StopHoldMusic;
    remove_participant         RemoveParticipant;
}

/// `POST /communications/calls/logTeleconferenceDeviceQuality`.
pub(crate) async fn log_device_quality(
    State(api): State<Arc<Api>>,
    Extension(base): Extension<Base>,
    request: Request,
) -> Answer {
    let body = Body::decode(&body::json(request).await?)?;
    let errand = Errand::LogDeviceQuality;
    answer(
        api.engine.errand(errand, &body, base.is_beta()).await,
        &base,
    )
}

pub(crate) async fn run(
    errand: Errand,
    call: &Call,
    participant: Option<String>,
    caller: &Caller,
    base: &Base,
    request: Request,
) -> Answer {
    caller.check_errand(errand)?;
    still_there(call)?;
    let participant = participant.as_deref().map(ParticipantId::parse);
    let participant = participant.transpose().map_err(|_| no_participant())?;
    let body = match errand {
        Errand::RemoveParticipant => None,
        _ => Some(Body::decode(&body::json(request).await?)?),
    };
    let passed = call.errand(errand, participant, body, base.is_beta()).await;
    answer(passed, base)
}

pub(crate) fn answer(passed: Result<Passed, UpstreamError>, base: &Base) -> Answer {
    let passed = passed.map_err(|error| {
        let refusal = Refusal::from(error);
        match refusal.status {
            // RFC 9110 §15.5.6 wants the header; upstream takes no method here now.
            StatusCode::METHOD_NOT_ALLOWED => refusal.header("allow", ""),
            _ => refusal,
        }
    })?;
    let status = StatusCode::from_u16(passed.status).unwrap_or(StatusCode::OK);
    let location = passed.resource.map(|resource| location(base, &resource));
    let Some(mut body) = passed.body else {
        let mut response = status.into_response();
        if let Some(location) = location.and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().insert(LOCATION, location);
        }
        return Ok(response);
    };
    rebase(&mut body, base);
    Ok(json(status, bytes(&body), location))
}
