//! Calls as answers and notifications show them. Source: Graph `call` resource.

use std::fmt;

use openmic_model::{
    CallFacts, CallId, CallKind, CallState, Identity, ParticipantId, ResultInfo, TenantId,
};
use serde_json::{Map, Value, json};

use crate::identity::{self, IdentitySetJson};
use crate::json::{self, DecodeError, Object};
use crate::result_info::{self, ResultInfoJson};
use crate::tree::{Members, Node};

/// The words of `callState`.
pub(crate) const STATES: [(&str, CallState); 10] = [
    ("incoming", CallState::Incoming),
    ("establishing", CallState::Establishing),
    ("ringing", CallState::Ringing),
    ("established", CallState::Established),
    ("hold", CallState::Hold),
    ("transferring", CallState::Transferring),
    ("transferAccepted", CallState::TransferAccepted),
    ("redirecting", CallState::Redirecting),
    ("terminating", CallState::Terminating),
    ("terminated", CallState::Terminated),
];

/// The wire word of a state.
pub fn state_word(state: CallState) -> &'static str {
    STATES
        .iter()
        .find(|(_, entry)| *entry == state)
        .map_or("unknownFutureValue", |(word, _)| word)
}

/// A call as an answer to create or GET shows it. Its `Debug` shows no address, which may hold a
/// secret, and no SDP.
#[derive(Clone, PartialEq, Eq)]
pub struct CallAnswer {
    /// Its id.
    pub id: CallId,
    /// What changes in its life.
    pub facts: CallFacts,
    /// Whether it is a meeting or one other side.
    pub kind: CallKind,
    /// `appHostedMediaConfig.blob`; the local service puts its SDP answer there.
    pub media_blob: Option<String>,
    /// Where its notifications go.
    pub callback_uri: Option<String>,
    /// The chat thread of its meeting.
    pub thread_id: Option<String>,
    /// Whose it is.
    pub tenant: Option<TenantId>,
}

impl fmt::Debug for CallAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallAnswer")
            .field("id", &self.id)
            .field("facts", &self.facts)
            .field("kind", &self.kind)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Reads the answer to create call and to `GET call`.
///
/// # Errors
/// [`DecodeError`] when it is no JSON object or has no usable `id`.
pub fn decode(body: &[u8]) -> Result<CallAnswer, DecodeError> {
    read(&json::borrowed(body, "the call")?)
}

/// Reads the answer to create call and to `GET call` that was parsed already.
///
/// # Errors
/// [`DecodeError`] when it has no usable `id`.
pub fn from_object(object: &Map<String, Value>) -> Result<CallAnswer, DecodeError> {
    read(object)
}

fn read(object: &impl Members) -> Result<CallAnswer, DecodeError> {
    let raw = json::text(object, "id").ok_or(DecodeError::Missing("id"))?;
    let id = CallId::parse(raw).map_err(|source| DecodeError::Id {
        member: "id",
        source,
    })?;
    let media = json::member(object, "mediaConfig");
    Ok(CallAnswer {
        id,
        facts: facts(object),
        kind: kind(object),
        media_blob: media.and_then(|media| Some(json::text(media, "blob")?.to_owned())),
        callback_uri: json::text(object, "callbackUri").map(str::to_owned),
        thread_id: thread_id(object),
        tenant: tenant(object),
    })
}

/// What an object states about a call; unknown words state nothing.
pub(crate) fn facts(object: &impl Members) -> CallFacts {
    let own = json::text(object, "myParticipantId");
    let audio = json::member(object, "mediaState").and_then(|media| json::text(media, "audio"));
    CallFacts {
        state: json::text(object, "state").and_then(|raw| json::word(&STATES, raw)),
        my_participant: own.and_then(|raw| ParticipantId::parse(raw).ok()),
        result: result_info::decode(object),
        audio_active: audio
            .and_then(|raw| json::word(&[("active", true), ("inactive", false)], raw)),
    }
}

/// 1:1 only when it is certain: one target and neither chat nor meeting.
pub(crate) fn kind(object: &impl Members) -> CallKind {
    let targets = object.member("targets").and_then(Node::as_items);
    let set = |name| object.member(name).is_some_and(|value| !value.is_null());
    let single = targets.is_some_and(|targets| targets.len() == 1);
    if single && thread_id(object).is_none() && !set("meetingInfo") {
        CallKind::PeerToPeer
    } else {
        CallKind::Group
    }
}

pub(crate) fn thread_id(object: &impl Members) -> Option<String> {
    let chat = json::member(object, "chatInfo")?;
    Some(json::prose(json::text(chat, "threadId")?))
}

pub(crate) fn tenant(object: &impl Members) -> Option<TenantId> {
    TenantId::parse(json::text(object, "tenantId")?).ok()
}

/// `direction` of a call, seen from the bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The bot was called.
    Incoming,
    /// The bot called or joined.
    Outgoing,
}

/// A call as the service states it: the request it came from, and what the service knows besides.
#[derive(Debug, Clone, Copy)]
pub struct CallResource<'a> {
    /// Its id.
    pub id: &'a CallId,
    /// Its state.
    pub state: CallState,
    /// Who began it.
    pub direction: Direction,
    /// Shared by all legs of one conversation; a GUID.
    pub chain_id: &'a str,
    /// The bot's own entry in the roster.
    pub my_participant: Option<&'a ParticipantId>,
    /// Who called.
    pub source: Option<&'a Identity>,
    /// Why it ended.
    pub result: Option<&'a ResultInfo>,
    /// Whether audio flows, once known.
    pub audio_active: Option<bool>,
    /// The answer to the blob of app-hosted media; nothing else of the media config is repeated.
    pub media_blob: Option<&'a str>,
    /// The members the bot sent with create; the service's own win.
    pub request: Option<&'a Map<String, Value>>,
}

impl CallResource<'_> {
    /// The whole resource, as answers show it.
    ///
    /// `context` is the service's root with its version and what stands behind `$metadata#`, such
    /// as `("https://graph.microsoft.com/v1.0", "communications/calls/$entity")`.
    pub fn answer(&self, context: (&str, &str)) -> Vec<u8> {
        let (base, entity) = context;
        let base = base.trim_end_matches('/');
        let mut whole = Object::new();
        whole.insert(
            "@odata.context".into(),
            format!("{base}/$metadata#{entity}").into(),
        );
        whole.append(&mut self.to_object());
        json::bytes(&whole)
    }

    /// The whole resource without context, as notifications may carry it.
    pub fn to_object(&self) -> Map<String, Value> {
        let mut whole = Object::new();
        for name in ["targets", "callRoutes"] {
            whole.insert(name.into(), json!([]));
        }
        for name in ["subject", "toneInfo", "meetingInfo", "chatInfo"] {
            whole.insert(name.into(), Value::Null);
        }
        if let Some(request) = self.request {
            let kept = request.iter().filter(|(name, _)| *name != "mediaConfig");
            whole.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        }
        let mut set = |name: &str, value: Value| whole.insert(name.to_owned(), value);
        set("@odata.type", json!("#microsoft.graph.call"));
        set("id", json!(self.id.as_str()));
        set("state", json!(state_word(self.state)));
        set(
            "direction",
            json!(match self.direction {
                Direction::Incoming => "incoming",
                Direction::Outgoing => "outgoing",
            }),
        );
        set("callChainId", json!(self.chain_id));
        set(
            "myParticipantId",
            json!(self.my_participant.map(ParticipantId::as_str)),
        );
        if let Some(source) = self.source {
            set("source", participant_info(source));
        }
        set("resultInfo", json!(self.result.map(ResultInfoJson::from)));
        set("mediaState", audio_state(self.audio_active));
        if let Some(blob) = self.media_blob {
            set(
                "mediaConfig",
                json!({"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": blob}),
            );
        }
        whole
    }
}

/// `mediaState` of a call.
fn audio_state(active: Option<bool>) -> Value {
    match active {
        None => Value::Null,
        Some(active) => json!({
            "@odata.type": "#microsoft.graph.callMediaState",
            "audio": if active { "active" } else { "inactive" },
        }),
    }
}

/// A `participantInfo` around an identity.
pub(crate) fn participant_info(identity: &Identity) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.participantInfo",
        "identity": IdentitySetJson::from(identity),
    })
}

/// The facts alone, as a notification that states nothing else carries them.
pub(crate) fn facts_object(call: &CallId, facts: &CallFacts) -> Object {
    let mut object = Object::new();
    object.insert("@odata.type".into(), json!("#microsoft.graph.call"));
    object.insert("id".into(), json!(call.as_str()));
    if let Some(state) = facts.state {
        object.insert("state".into(), json!(state_word(state)));
    }
    if let Some(own) = &facts.my_participant {
        object.insert("myParticipantId".into(), json!(own.as_str()));
    }
    if let Some(result) = &facts.result {
        object.insert("resultInfo".into(), json!(ResultInfoJson::from(result)));
    }
    if facts.audio_active.is_some() {
        object.insert("mediaState".into(), audio_state(facts.audio_active));
    }
    object
}

/// Who is behind `source` or a target.
pub(crate) fn identity_of(object: &impl Members, name: &str) -> Option<Identity> {
    json::member(object, name).map(identity::decode)
}

#[cfg(test)]
mod tests;
