//! Bodies of the actions on an incoming call: answer and reject.
//! Source: Graph `call: answer`, `call: reject`.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::create::{MEDIA, MediaConfig, OPTIONS, media_config, media_json, member};
use crate::json::{self, DecodeError, Object};
use crate::shape::{self, Kind, Member};

/// Why the body of an answer or a reject is refused; Graph's surface answers it 400.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Not readable, or a member of the wrong type.
    #[error("the body cannot be read")]
    Decode(#[source] DecodeError),
    /// A media config of neither kind.
    #[error("mediaConfig is neither appHostedMediaConfig nor serviceHostedMediaConfig")]
    MediaConfig,
    /// A reason that Graph does not know.
    #[error("reason is none of none, busy and forbidden")]
    Reason,
}

/// What is looked at of an answer.
pub(crate) const MEMBERS: &[Member] = &[
    member(
        "callbackUri",
        Kind::Text,
        "Where the call's notifications go from now on.",
    ),
    member(
        "acceptedModalities",
        Kind::List(&Kind::Text),
        "`audio` and others.",
    ),
    member("mediaConfig", MEDIA, "Who handles the media."),
    member("callOptions", OPTIONS, ""),
];

/// What an answer cannot do without.
#[cfg(feature = "schema")]
pub(crate) const REQUIRED: (&str, Kind) = ("mediaConfig", MEDIA);

/// What is looked at of a rejection.
#[cfg(feature = "schema")]
pub(crate) const REJECT: &[Member] = &[
    member("reason", Kind::Words(&["none", "busy", "forbidden"]), ""),
    member(
        "callbackUri",
        Kind::Text,
        "Where the notification of the end goes.",
    ),
];

/// An answer as sent or received.
///
/// The JSON is what counts; the rest was read from it, so members we do not know survive. It may
/// hold secrets, and its `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct AnswerCall {
    callback_uri: Option<String>,
    media: MediaConfig,
    delta_roster: bool,
    body: Map<String, Value>,
}

impl AnswerCall {
    /// Reads the body of `POST /communications/calls/{id}/answer`. Graph's docs let `callbackUri`
    /// out, its metadata does not; here it may be absent.
    ///
    /// # Errors
    /// [`AnswerError`]; with its source it may be shown to the caller.
    pub fn decode(body: &[u8]) -> Result<Self, AnswerError> {
        let body = json::object(body, "the answer").map_err(AnswerError::Decode)?;
        shape::check(&body, MEMBERS).map_err(AnswerError::Decode)?;
        let callback_uri = callback_uri(&body)?;
        let media = json::member(&body, "mediaConfig")
            .ok_or(AnswerError::Decode(DecodeError::Missing("mediaConfig")))?;
        let media = media_config(media).map_err(|_| AnswerError::MediaConfig)?;
        let options = json::member(&body, "callOptions");
        Ok(Self {
            callback_uri,
            media,
            delta_roster: options
                .and_then(|options| json::flag(options, "isDeltaRosterEnabled"))
                .unwrap_or(false),
            body,
        })
    }

    /// An answer with audio and delta rosters, whose notifications go to `callback_uri`.
    pub fn new(callback_uri: &str, media: MediaConfig) -> Self {
        let body = json!({
            "callbackUri": callback_uri,
            "acceptedModalities": ["audio"],
            "mediaConfig": media_json(&media),
            "callOptions": {
                "@odata.type": "#microsoft.graph.incomingCallOptions",
                "isDeltaRosterEnabled": true,
            },
        });
        let Value::Object(body) = body else {
            unreachable!("the literal above is an object");
        };
        Self {
            callback_uri: Some(callback_uri.to_owned()),
            media,
            delta_roster: true,
            body,
        }
    }

    /// Where notifications go from now on; `None` where it is not said.
    pub fn callback_uri(&self) -> Option<&str> {
        self.callback_uri.as_deref()
    }

    /// Sends notifications elsewhere.
    pub fn set_callback_uri(&mut self, uri: &str) {
        self.callback_uri = Some(uri.to_owned());
        self.body.insert("callbackUri".into(), uri.into());
    }

    /// Who handles the media.
    pub fn media(&self) -> &MediaConfig {
        &self.media
    }

    /// `callOptions`.
    pub fn call_options(&self) -> Option<&Map<String, Value>> {
        json::member(&self.body, "callOptions")
    }

    /// Whether rosters come as deltas.
    pub fn delta_roster(&self) -> bool {
        self.delta_roster
    }

    /// Asks for rosters as deltas or whole; other call options stay.
    pub fn set_delta_roster(&mut self, delta: bool) {
        self.delta_roster = delta;
        let options = self.body.entry("callOptions").or_insert(Value::Null);
        if !options.is_object() {
            *options = json!({"@odata.type": "#microsoft.graph.incomingCallOptions"});
        }
        options["isDeltaRosterEnabled"] = delta.into();
    }

    /// The whole body.
    pub fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// The whole body as sent.
    pub fn encode(&self) -> Vec<u8> {
        json::bytes(&self.body)
    }
}

/// Why a bot does not take a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// It does not say.
    #[default]
    None,
    /// It has no time.
    Busy,
    /// The caller may not.
    Forbidden,
}

const REASONS: [(&str, RejectReason); 3] = [
    ("none", RejectReason::None),
    ("busy", RejectReason::Busy),
    ("forbidden", RejectReason::Forbidden),
];

impl RejectReason {
    /// The wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Busy => "busy",
            Self::Forbidden => "forbidden",
        }
    }
}

/// A rejection as sent or received. Its `Debug` shows no address, which may hold a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RejectCall {
    /// Why.
    pub reason: RejectReason,
    /// Where the notification of the end goes, where it is said.
    pub callback_uri: Option<String>,
}

impl fmt::Debug for RejectCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectCall")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl RejectCall {
    /// Reads the body of `POST /communications/calls/{id}/reject`. No body is `{}`.
    ///
    /// # Errors
    /// [`AnswerError`]; with its source it may be shown to the caller.
    pub fn decode(body: &[u8]) -> Result<Self, AnswerError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let body = json::object(body, "the rejection").map_err(AnswerError::Decode)?;
        let reason = match body.get("reason") {
            None | Some(Value::Null) => RejectReason::None,
            Some(reason) => reason
                .as_str()
                .and_then(|word| json::word(&REASONS, word))
                .ok_or(AnswerError::Reason)?,
        };
        Ok(Self {
            reason,
            callback_uri: callback_uri(&body)?,
        })
    }

    /// The whole body as sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Object::new();
        body.insert("reason".into(), self.reason.as_str().into());
        if let Some(uri) = &self.callback_uri {
            body.insert("callbackUri".into(), uri.as_str().into());
        }
        json::bytes(&body)
    }
}

/// An address that may be left out, but not be something else.
fn callback_uri(body: &Object) -> Result<Option<String>, AnswerError> {
    match body.get("callbackUri") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(uri)) if uri.is_empty() => Ok(None),
        Some(Value::String(uri)) => Ok(Some(uri.clone())),
        Some(_) => Err(AnswerError::Decode(DecodeError::Missing("callbackUri"))),
    }
}

impl fmt::Debug for AnswerCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCall")
            .field("media", &self.media)
            .field("delta_roster", &self.delta_roster)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
