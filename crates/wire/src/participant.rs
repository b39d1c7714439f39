//! Participants and lists of them. Source: Graph `participant`, `mediaStream`,
//! `deltaParticipants` resources.

use openmic_model::{DeltaEntry, MediaStream, Participant, ParticipantId};
use serde::Serialize;

use crate::identity::{self, IdentitySetJson};
use crate::json::{self, DecodeError, Object};
use crate::tree::{Members, Node};

/// One page of `GET participants`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries that could be read.
    pub participants: Vec<Participant>,
    /// How many could not, so that the page is not the whole truth.
    pub unreadable: usize,
    /// `@odata.nextLink`: where the next page is. It comes from outside; check its host.
    pub next: Option<String>,
}

/// Reads the answer to `GET participants/{id}`.
///
/// # Errors
/// [`DecodeError`] when it is no JSON object, or states no usable `id` or no `isMuted`.
pub fn decode(body: &[u8]) -> Result<Participant, DecodeError> {
    from_object(&json::borrowed(body, "the participant")?)
}

/// Reads the answer to `GET participants`. An unreadable entry does not lose the others.
///
/// # Errors
/// [`DecodeError`] when it is no JSON object with an array `value` within the limit.
pub fn decode_page(body: &[u8]) -> Result<Page, DecodeError> {
    let object = json::borrowed(body, "the list of participants")?;
    if object.member("value").is_none() {
        return Err(DecodeError::Missing("value"));
    }
    let mut page = Page {
        next: json::text(&object, "@odata.nextLink").map(str::to_owned),
        ..Page::default()
    };
    for item in json::list(&object, "value")? {
        match from_value(item) {
            Ok(participant) => page.participants.push(participant),
            Err(_) => page.unreadable += 1,
        }
    }
    Ok(page)
}

fn from_value(value: &impl Node) -> Result<Participant, DecodeError> {
    from_object(
        value
            .as_members()
            .ok_or(DecodeError::NotAnObject("a participant"))?,
    )
}

/// Reads one entry. `isMuted` is what verdicts rest on, so an entry that does not state it is
/// unreadable rather than guessed; only of somebody who left it may be missing.
fn from_object(object: &impl Members) -> Result<Participant, DecodeError> {
    let raw = json::text(object, "id").ok_or(DecodeError::Missing("id"))?;
    let id = ParticipantId::parse(raw).map_err(|source| DecodeError::Id {
        member: "id",
        source,
    })?;
    let is_muted = match json::flag(object, "isMuted") {
        Some(flag) => flag,
        None if is_removed(object) => true,
        None => return Err(DecodeError::Missing("isMuted")),
    };
    let info = json::member(object, "info");
    let sequence = json::number(object, "rosterSequenceNumber");
    let streams = json::list(object, "mediaStreams")?;
    Ok(Participant {
        id,
        identity: info.map_or_else(|| identity::decode(&Object::new()), identity::decode),
        is_muted,
        in_lobby: json::flag(object, "isInLobby").unwrap_or(false),
        roster_sequence_number: sequence.and_then(|number| u64::try_from(number).ok()),
        streams: streams
            .iter()
            .filter_map(Node::as_members)
            .map(stream)
            .collect(),
    })
}

pub(crate) fn is_removed(object: &impl Members) -> bool {
    object
        .member("removedState")
        .is_some_and(|state| !state.is_null())
}

pub(crate) fn delta_entry(value: &impl Node) -> Result<DeltaEntry, DecodeError> {
    let participant = from_value(value)?;
    Ok(DeltaEntry {
        participant,
        removed: value.as_members().is_some_and(is_removed),
    })
}

fn stream(object: &impl Members) -> MediaStream {
    let media = ["audio", "video", "videoBasedScreenSharing", "data"];
    let directions = ["inactive", "sendOnly", "receiveOnly", "sendReceive"];
    MediaStream {
        media_type: spelling(&media, json::text(object, "mediaType")),
        label: json::text(object, "label").map(json::prose),
        source_id: object.member("sourceId").map_or_else(String::new, |id| {
            let number = || id.as_number().map(ToString::to_string);
            let text = id.as_str().map(json::prose);
            text.or_else(number).unwrap_or_default()
        }),
        direction: spelling(&directions, json::text(object, "direction")),
        server_muted: json::flag(object, "serverMuted"),
    }
}

/// A word as documented when it is one of those in any case, else as it came.
fn spelling(words: &[&str], raw: Option<&str>) -> String {
    let raw = raw.unwrap_or_default();
    let known = words.iter().find(|word| word.eq_ignore_ascii_case(raw));
    known.map_or_else(|| json::prose(raw), |word| (*word).to_owned())
}

/// Writes the answer to `GET participants/{id}`; `base` is the service's root with its version.
pub fn encode(base: &str, call: &openmic_model::CallId, participant: &Participant) -> Vec<u8> {
    let mut twin = ParticipantJson::new(participant, None);
    let base = base.trim_end_matches('/');
    twin.context = Some(format!(
        "{base}/$metadata#communications/calls('{call}')/participants/$entity"
    ));
    json::bytes(&twin)
}

/// Everybody in the call.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = ParticipantList))]
pub(crate) struct List<'a> {
    #[serde(rename = "@odata.context")]
    context: String,
    value: Vec<ParticipantJson<'a>>,
}

/// Writes the answer to `GET participants`: everybody on one page.
pub fn encode_list<'a>(
    base: &str,
    call: &openmic_model::CallId,
    participants: impl IntoIterator<Item = &'a Participant>,
) -> Vec<u8> {
    let base = base.trim_end_matches('/');
    json::bytes(&List {
        context: format!("{base}/$metadata#communications/calls('{call}')/participants"),
        value: participants
            .into_iter()
            .map(|participant| ParticipantJson::new(participant, None))
            .collect(),
    })
}

/// Somebody in the call.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Participant))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParticipantJson<'a> {
    #[serde(rename = "@odata.context", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    context: Option<String>,
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    id: &'a str,
    info: InfoJson<'a>,
    is_in_lobby: bool,
    is_muted: bool,
    media_streams: Vec<StreamJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    roster_sequence_number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    removed_state: Option<RemovedJson>,
}

/// Whom an entry stands for.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = ParticipantInfo))]
struct InfoJson<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    identity: IdentitySetJson<'a>,
}

/// A stream of a participant.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = MediaStream))]
#[serde(rename_all = "camelCase")]
struct StreamJson<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    media_type: &'a str,
    #[cfg_attr(feature = "schema", schema(required))]
    label: Option<&'a str>,
    source_id: &'a str,
    direction: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    server_muted: Option<bool>,
}

/// Why an entry left, as a delta states it.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = RemovedState))]
struct RemovedJson {
    reason: &'static str,
}

impl<'a> ParticipantJson<'a> {
    /// `removed` is the reason for which the participant left.
    pub(crate) fn new(participant: &'a Participant, removed: Option<&'static str>) -> Self {
        Self {
            context: None,
            odata_type: "#microsoft.graph.participant",
            id: participant.id.as_str(),
            info: InfoJson {
                odata_type: "#microsoft.graph.participantInfo",
                identity: (&participant.identity).into(),
            },
            is_in_lobby: participant.in_lobby,
            is_muted: participant.is_muted,
            media_streams: participant.streams.iter().map(StreamJson::from).collect(),
            roster_sequence_number: participant.roster_sequence_number,
            removed_state: removed.map(|reason| RemovedJson { reason }),
        }
    }
}

impl<'a> From<&'a MediaStream> for StreamJson<'a> {
    fn from(stream: &'a MediaStream) -> Self {
        Self {
            odata_type: "#microsoft.graph.mediaStream",
            media_type: &stream.media_type,
            label: stream.label.as_deref(),
            source_id: &stream.source_id,
            direction: &stream.direction,
            server_muted: stream.server_muted,
        }
    }
}

#[cfg(test)]
mod tests;
