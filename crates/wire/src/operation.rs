//! Operations. Source: Graph `commsOperation` resource and its derived types.

use openmic_model::{ClientContext, Operation, OperationId, OperationKind, OperationStatus};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::json::{self, DecodeError};
use crate::result_info::{self, ResultInfoJson};
use crate::tree::Members;

/// How the words of `status` are spelt on the wire.
///
/// Graph documents camelCase and was seen to answer `PascalCase`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Casing {
    /// `completed`, as documented.
    #[default]
    Camel,
    /// `Completed`, as in Graph's metadata and in captured answers.
    Pascal,
}

/// An operation of which nothing is known yet; what an empty answer means.
pub const fn pending() -> Operation {
    Operation {
        id: None,
        status: OperationStatus::Running,
        client_context: None,
        result: None,
    }
}

/// Reads the answer to mute or unmute, or to a GET of an operation. An empty or `null` body is a
/// pending operation, as the contract allows.
///
/// # Errors
/// [`DecodeError`] when there is a body and it is no JSON object.
pub fn decode(body: &[u8]) -> Result<Operation, DecodeError> {
    let body = body.trim_ascii();
    if body.is_empty() || body == b"null" {
        return Ok(pending());
    }
    Ok(read(&json::borrowed(body, "the operation")?))
}

/// Reads an operation that was parsed already; what is missing or unreadable is left out, an
/// unknown status is running.
pub fn from_object(object: &Map<String, Value>) -> Operation {
    read(object)
}

pub(crate) fn read(object: &impl Members) -> Operation {
    let id = json::text(object, "id").and_then(|raw| OperationId::parse(raw).ok());
    let context = json::text(object, "clientContext");
    Operation {
        id,
        status: json::text(object, "status").map_or(OperationStatus::Running, status_from),
        client_context: context.and_then(|raw| ClientContext::parse(raw).ok()),
        result: result_info::decode(object),
    }
}

fn status_from(raw: &str) -> OperationStatus {
    let words = [
        ("notStarted", OperationStatus::NotStarted),
        ("running", OperationStatus::Running),
        ("completed", OperationStatus::Completed),
        ("failed", OperationStatus::Failed),
    ];
    json::word(&words, raw).unwrap_or(OperationStatus::Running)
}

/// The wire word of a status.
pub const fn status_word(status: OperationStatus, casing: Casing) -> &'static str {
    match (casing, status) {
        (Casing::Camel, OperationStatus::NotStarted) => "notStarted",
        (Casing::Camel, OperationStatus::Running) => "running",
        (Casing::Camel, OperationStatus::Completed) => "completed",
        (Casing::Camel, OperationStatus::Failed) => "failed",
        (Casing::Pascal, OperationStatus::NotStarted) => "NotStarted",
        (Casing::Pascal, OperationStatus::Running) => "Running",
        (Casing::Pascal, OperationStatus::Completed) => "Completed",
        (Casing::Pascal, OperationStatus::Failed) => "Failed",
    }
}

/// The name of a kind, without namespace: `muteParticipantOperation`.
pub const fn kind_name(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::MuteParticipant => "muteParticipantOperation",
        OperationKind::UnmuteParticipant => "unmuteParticipantOperation",
        OperationKind::InviteParticipants => "inviteParticipantsOperation",
        OperationKind::MuteParticipants => "muteParticipantsOperation",
    }
}

/// Bytes of most operations.
const USUAL: usize = 384;

/// Writes the answer to mute, unmute and GET of an operation.
///
/// `base` is the service's root with its version, such as `https://graph.microsoft.com/v1.0`; it
/// makes the `@odata.context`.
pub fn encode(base: &str, kind: OperationKind, operation: &Operation, casing: Casing) -> Vec<u8> {
    encode_with(base, kind, operation, &Map::new(), casing)
}

/// The same with the members that an operation of this kind has besides, such as `participants`.
pub fn encode_with(
    base: &str,
    kind: OperationKind,
    operation: &Operation,
    extra: &Map<String, Value>,
    casing: Casing,
) -> Vec<u8> {
    let mut twin = OperationJson::new(kind, operation, extra, casing);
    let base = base.trim_end_matches('/');
    twin.context = Some([base, "/$metadata#", kind_name(kind)].concat());
    json::bytes_of(&twin, USUAL)
}

/// An operation of which only this is known, as an object.
pub fn to_object(operation: &Operation) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert(
        "@odata.type".to_owned(),
        "#microsoft.graph.commsOperation".into(),
    );
    let id = operation.id.as_ref().map(OperationId::as_str);
    object.insert("id".to_owned(), id.into());
    let context = operation.client_context.as_ref();
    let context = context.map(ClientContext::as_str);
    object.insert("clientContext".to_owned(), context.into());
    update(&mut object, operation);
    object
}

/// Writes how far `operation` is into an object that shows it; what else there is stays.
pub fn update(object: &mut Map<String, Value>, operation: &Operation) {
    let word = status_word(operation.status, Casing::Camel);
    object.insert("status".to_owned(), word.into());
    if let Some(result) = &operation.result {
        let twin = serde_json::to_value(ResultInfoJson::from(result));
        let twin = twin.expect("the twin holds strings and whole numbers only");
        object.insert("resultInfo".to_owned(), twin);
    }
}

/// The record of a command.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Operation))]
pub(crate) struct OperationJson<'a> {
    #[serde(rename = "@odata.context", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    context: Option<String>,
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    /// Missing where the service names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    id: Option<&'a str>,
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::operation_status))]
    status: &'static str,
    /// The bot's own mark, as it sent it.
    #[serde(rename = "clientContext")]
    #[cfg_attr(feature = "schema", schema(required))]
    client_context: Option<&'a str>,
    /// Of an operation that has ended.
    #[serde(rename = "resultInfo", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    result: Option<ResultInfoJson<'a>>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

impl<'a> OperationJson<'a> {
    pub(crate) fn new(
        kind: OperationKind,
        operation: &'a Operation,
        extra: &'a Map<String, Value>,
        casing: Casing,
    ) -> Self {
        Self {
            context: None,
            odata_type: match kind {
                OperationKind::MuteParticipant => "#microsoft.graph.muteParticipantOperation",
                OperationKind::UnmuteParticipant => "#microsoft.graph.unmuteParticipantOperation",
                OperationKind::InviteParticipants => "#microsoft.graph.inviteParticipantsOperation",
                OperationKind::MuteParticipants => "#microsoft.graph.muteParticipantsOperation",
            },
            id: operation.id.as_ref().map(OperationId::as_str),
            status: status_word(operation.status, casing),
            client_context: operation.client_context.as_ref().map(ClientContext::as_str),
            result: operation.result.as_ref().map(ResultInfoJson::from),
            extra,
        }
    }
}

#[cfg(test)]
mod tests;
