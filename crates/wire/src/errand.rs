//! Errands: what a bot may ask of Graph beside what openmic does itself. They are passed on as
//! they are. Sources: Graph docs, the pages of `call`, `participant` and
//! `cloudCommunications: logTeleconferenceDeviceQuality`.

use openmic_model::{CallId, ClientContext, ParticipantId};
use serde_json::{Map, Value};

use crate::action::{self, ActionError};
use crate::json;

/// One of the requests that are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Errand {
    /// `call: redirect`, of a call that is not answered.
    Redirect,
    /// `call: transfer`.
    Transfer,
    /// `call: playPrompt`.
    PlayPrompt,
    /// `call: recordResponse`.
    RecordResponse,
    /// `call: cancelMediaProcessing`.
    CancelMediaProcessing,
    /// `call: subscribeToTone`.
    SubscribeToTone,
    /// `call: sendDtmfTones`.
    SendDtmfTones,
    /// `call: updateRecordingStatus`.
    UpdateRecordingStatus,
    /// `call: changeScreenSharingRole`.
    ChangeScreenSharingRole,
    /// `call: addLargeGalleryView`.
    AddLargeGalleryView,
    /// `participant: invite`.
    Invite,
    /// `participant: muteAll`, beta only.
    MuteAll,
    /// `participant: mute`, of somebody else as a rule.
    MuteParticipant,
    /// `participant: startHoldMusic`.
    StartHoldMusic,
    /// `participant: stopHoldMusic`.
    StopHoldMusic,
    /// `participant: delete`.
    RemoveParticipant,
    /// `logTeleconferenceDeviceQuality`, of no call in particular.
    LogDeviceQuality,
}

/// What an errand is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The application's calls as such.
    Calls,
    /// One call.
    Call(CallId),
    /// One entry of a call's roster.
    Participant(CallId, ParticipantId),
}

impl Errand {
    /// All there are.
    pub const ALL: [Self; 17] = [
        Self::Redirect,
        Self::Transfer,
        Self::PlayPrompt,
        Self::RecordResponse,
        Self::CancelMediaProcessing,
        Self::SubscribeToTone,
        Self::SendDtmfTones,
        Self::UpdateRecordingStatus,
        Self::ChangeScreenSharingRole,
        Self::AddLargeGalleryView,
        Self::Invite,
        Self::MuteAll,
        Self::MuteParticipant,
        Self::StartHoldMusic,
        Self::StopHoldMusic,
        Self::RemoveParticipant,
        Self::LogDeviceQuality,
    ];

    /// HTTP method, and a word for it in metrics and logs.
    pub const fn labels(self) -> (&'static str, &'static str) {
        let label = match self {
            Self::RemoveParticipant => return ("DELETE", "participant"),
            Self::Redirect => "redirect",
            Self::Transfer => "transfer",
            Self::PlayPrompt => "play_prompt",
            Self::RecordResponse => "record_response",
            Self::CancelMediaProcessing => "cancel_media_processing",
            Self::SubscribeToTone => "subscribe_to_tone",
            Self::SendDtmfTones => "send_dtmf_tones",
            Self::UpdateRecordingStatus => "update_recording_status",
            Self::ChangeScreenSharingRole => "change_screen_sharing_role",
            Self::AddLargeGalleryView => "add_large_gallery_view",
            Self::Invite => "invite",
            Self::MuteAll => "mute_all",
            Self::MuteParticipant => "mute_participant",
            Self::StartHoldMusic => "start_hold_music",
            Self::StopHoldMusic => "stop_hold_music",
            Self::LogDeviceQuality => "log_device_quality",
        };
        ("POST", label)
    }

    /// The path below the service's root and version. `None` when the errand is not for such a
    /// place.
    pub fn path(self, place: &Place) -> Option<String> {
        let of_call = |tail: &str| match place {
            Place::Call(call) => Some(format!("/communications/calls/{call}/{tail}")),
            _ => None,
        };
        let of_participant = |tail: &str| match place {
            Place::Participant(call, id) => Some(format!(
                "/communications/calls/{call}/participants/{id}{tail}"
            )),
            _ => None,
        };
        match self {
            Self::Redirect => of_call("redirect"),
            Self::Transfer => of_call("transfer"),
            Self::PlayPrompt => of_call("playPrompt"),
            Self::RecordResponse => of_call("recordResponse"),
            Self::CancelMediaProcessing => of_call("cancelMediaProcessing"),
            Self::SubscribeToTone => of_call("subscribeToTone"),
            Self::SendDtmfTones => of_call("sendDtmfTones"),
            Self::UpdateRecordingStatus => of_call("updateRecordingStatus"),
            Self::ChangeScreenSharingRole => of_call("changeScreenSharingRole"),
            Self::AddLargeGalleryView => of_call("addLargeGalleryView"),
            Self::Invite => of_call("participants/invite"),
            Self::MuteAll => of_call("participants/muteAll"),
            Self::MuteParticipant => of_participant("/mute"),
            Self::StartHoldMusic => of_participant("/startHoldMusic"),
            Self::StopHoldMusic => of_participant("/stopHoldMusic"),
            Self::RemoveParticipant => of_participant(""),
            Self::LogDeviceQuality => (*place == Place::Calls)
                .then(|| "/communications/calls/logTeleconferenceDeviceQuality".to_owned()),
        }
    }
}

/// The body of an errand. The JSON is what counts, so members we do not know survive. It may hold
/// names and addresses, and its `Debug` shows none of them.
#[derive(Clone, Default, PartialEq)]
pub struct Body {
    object: Map<String, Value>,
    context: Option<ClientContext>,
}

impl Body {
    /// Reads the body of a request; none is `{}`.
    ///
    /// # Errors
    /// [`ActionError`] when it is no JSON object or its `clientContext` is not a string of at most
    /// 256 UTF-16 units; the message may be shown to the caller.
    pub fn decode(body: &[u8]) -> Result<Self, ActionError> {
        let object = action::object(body)?;
        let context = action::context(&object)?;
        Ok(Self { object, context })
    }

    /// `clientContext`.
    pub fn context(&self) -> Option<&ClientContext> {
        self.context.as_ref()
    }

    /// Where a redirect sends the notifications that the call is yet to get, when it says so.
    pub fn callback_uri(&self) -> Option<&str> {
        json::text(&self.object, "callbackUri")
    }

    /// Sends them elsewhere.
    pub fn set_callback_uri(&mut self, uri: &str) {
        self.object.insert("callbackUri".to_owned(), uri.into());
    }

    /// The whole of it.
    pub fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// The whole of it as sent. What was checked is what is written: a member that came twice is
    /// there once.
    pub fn encode(&self) -> Vec<u8> {
        json::bytes(&self.object)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    fn call() -> CallId {
        CallId::parse("c1").unwrap()
    }

    fn places() -> [Place; 3] {
        let participant = ParticipantId::parse("p1").unwrap();
        [
            Place::Calls,
            Place::Call(call()),
            Place::Participant(call(), participant),
        ]
    }

    #[test]
    fn each_errand_has_one_place_and_a_path_and_a_label_of_its_own() {
        let mut seen = HashSet::new();
        for errand in Errand::ALL {
            let paths: Vec<_> = places().iter().filter_map(|at| errand.path(at)).collect();
            assert_eq!(paths.len(), 1, "{errand:?}");
            let (method, label) = errand.labels();
            assert!(seen.insert(format!("{method} {}", paths[0])), "{errand:?}");
            assert!(seen.insert(format!("{method} {label}")), "{errand:?}");
        }
    }

    #[test]
    fn paths_are_as_documented() {
        let [calls, call, participant] = places();
        for (errand, place, path) in [
            (Errand::Transfer, &call, "/c1/transfer"),
            (Errand::SendDtmfTones, &call, "/c1/sendDtmfTones"),
            (Errand::Invite, &call, "/c1/participants/invite"),
            (
                Errand::MuteParticipant,
                &participant,
                "/c1/participants/p1/mute",
            ),
            (
                Errand::RemoveParticipant,
                &participant,
                "/c1/participants/p1",
            ),
            (
                Errand::LogDeviceQuality,
                &calls,
                "/logTeleconferenceDeviceQuality",
            ),
        ] {
            let expected = format!("/communications/calls{path}");
            assert_eq!(errand.path(place), Some(expected));
        }
    }

    #[test]
    fn a_body_is_kept_whole_and_its_context_checked() {
        let sent = json!({"prompts": [{"mediaInfo": {"uri": "https://h/a.wav"}}], "new": 1.5,
            "clientContext": "ctx"});
        let body = Body::decode(sent.to_string().as_bytes()).unwrap();
        assert_eq!(body.context().unwrap().as_str(), "ctx");
        let written: Value = serde_json::from_slice(&body.encode()).unwrap();
        assert_eq!(written, sent);

        assert_eq!(Body::decode(b"").unwrap().encode(), b"{}");
        let long = json!({"clientContext": "x".repeat(257)}).to_string();
        for (bad, kind) in [
            ("[1]", "NotAnObject"),
            ("{", "Json"),
            (r#"{"clientContext": 1}"#, "NotAString"),
            (&long, "Context"),
        ] {
            let error = Body::decode(bad.as_bytes()).unwrap_err();
            assert!(format!("{error:?}").starts_with(kind), "{error:?}");
        }
    }

    #[test]
    fn a_member_that_came_twice_is_refused() {
        let twice = br#"{"clientContext": 7, "clientContext": "good"}"#;
        let error = Body::decode(twice).unwrap_err();
        assert!(format!("{error:?}").starts_with("Json"), "{error:?}");
    }

    #[test]
    fn what_a_body_says_is_not_shown() {
        let body = Body::decode(br#"{"customPrompt": "secret"}"#).unwrap();
        assert!(!format!("{body:?}").contains("secret"));
    }
}
