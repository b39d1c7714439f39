//! The JSON twins of what goes to subscribers; their field names are the contract with clients.

use std::collections::BTreeMap;

use openmic_model::{
    Evidence, IdentityKind, Participant, ParticipantId, RosterSeen, RosterVersion, Verdict,
};
use serde::{Serialize, Serializer};

use super::{CallFrame, OperationFrame, hash};

/// The whole roster; it replaces what the subscriber has.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = SnapshotFrame))]
#[serde(tag = "type", rename = "snapshot")]
pub(crate) struct Snapshot<'a> {
    call: &'a str,
    epoch: u64,
    seq: u64,
    /// Of the roster in here: the sum modulo 2^64, as 16 hexadecimal digits, of the FNV-1a hashes
    /// (64 bits) of the entries, each as its JSON text in the frame has it, in UTF-8.
    #[serde(serialize_with = "hash::digits")]
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::hash))]
    hash: u64,
    /// There, and true, for who had a version: what came between cannot be told any more. Take
    /// this one, whichever version you have.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reset: bool,
    #[serde(serialize_with = "participants")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<Entry<'_>>))]
    participants: &'a RosterVersion,
}

fn participants<S: Serializer>(version: &RosterVersion, out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(version.roster.iter().map(|entry| Entry::new(entry)))
}

impl<'a> Snapshot<'a> {
    pub(crate) fn new(version: &'a RosterVersion, hash: u64, reset: bool) -> Self {
        Self {
            call: version.call.as_str(),
            epoch: version.version.epoch,
            seq: version.version.seq,
            hash,
            reset,
            participants: version,
        }
    }
}

/// One change of the roster; it follows `seq - 1` of the same epoch.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = DeltaFrame))]
#[serde(tag = "type", rename = "delta")]
pub(crate) struct Delta<'a> {
    call: &'a str,
    epoch: u64,
    seq: u64,
    /// Of the roster it leads to, as in a snapshot.
    #[serde(serialize_with = "hash::digits")]
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::hash))]
    hash: u64,
    /// Those who came or changed, as they are now.
    changed: Vec<Entry<'a>>,
    /// The ids of those who left.
    removed: Vec<&'a str>,
}

impl<'a> Delta<'a> {
    pub(crate) fn new(
        version: &'a RosterVersion,
        hash: u64,
        last: &BTreeMap<&'a ParticipantId, Option<&'a Participant>>,
    ) -> Self {
        Self {
            call: version.call.as_str(),
            epoch: version.version.epoch,
            seq: version.version.seq,
            hash,
            changed: last
                .values()
                .flatten()
                .map(|entry| Entry::new(entry))
                .collect(),
            removed: last
                .iter()
                .filter(|(_, entry)| entry.is_none())
                .map(|(id, _)| id.as_str())
                .collect(),
        }
    }
}

/// Somebody in the call.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = RosterEntry))]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    id: &'a str,
    identity: Identity<'a>,
    is_muted: bool,
    #[cfg_attr(feature = "schema", schema(required))]
    server_muted: Option<bool>,
    is_in_lobby: bool,
    #[cfg_attr(feature = "schema", schema(required))]
    roster_sequence_number: Option<u64>,
    streams: Vec<Stream<'a>>,
}

/// Who it is.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = RosterIdentity))]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::identity_kind))]
    kind: &'static str,
    #[cfg_attr(feature = "schema", schema(required))]
    id: Option<&'a str>,
    #[cfg_attr(feature = "schema", schema(required))]
    display_name: Option<&'a str>,
}

/// A stream of a participant.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = RosterStream))]
#[serde(rename_all = "camelCase")]
struct Stream<'a> {
    media_type: &'a str,
    #[cfg_attr(feature = "schema", schema(required))]
    label: Option<&'a str>,
    source_id: &'a str,
    direction: &'a str,
    #[cfg_attr(feature = "schema", schema(required))]
    server_muted: Option<bool>,
}

pub(crate) const fn identity_word(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::User => "user",
        IdentityKind::Application => "application",
        IdentityKind::Guest => "guest",
        IdentityKind::Phone => "phone",
        IdentityKind::Other => "other",
    }
}

pub(crate) const fn roster_word(seen: RosterSeen) -> &'static str {
    match seen {
        RosterSeen::Fresh => "fresh",
        RosterSeen::Unseen => "unseen",
    }
}

impl<'a> Entry<'a> {
    pub(super) fn new(participant: &'a Participant) -> Self {
        let identity = &participant.identity;
        Self {
            id: participant.id.as_str(),
            identity: Identity {
                kind: identity_word(identity.kind),
                id: identity.id.as_deref(),
                display_name: identity.display_name.as_deref(),
            },
            is_muted: participant.is_muted,
            server_muted: participant.server_muted(),
            is_in_lobby: participant.in_lobby,
            roster_sequence_number: participant.roster_sequence_number,
            streams: participant
                .streams
                .iter()
                .map(|stream| Stream {
                    media_type: &stream.media_type,
                    label: stream.label.as_deref(),
                    source_id: &stream.source_id,
                    direction: &stream.direction,
                    server_muted: stream.server_muted,
                })
                .collect(),
        }
    }
}

/// Why something ended as it did.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Result))]
struct ResultInfo<'a> {
    code: i32,
    subcode: i32,
    #[cfg_attr(feature = "schema", schema(required))]
    message: Option<&'a str>,
}

impl<'a> From<&'a openmic_model::ResultInfo> for ResultInfo<'a> {
    fn from(info: &'a openmic_model::ResultInfo) -> Self {
        Self {
            code: info.code,
            subcode: info.subcode,
            message: info.message.as_deref(),
        }
    }
}

/// A new state of the call.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = CallFrame))]
#[serde(tag = "type", rename = "call")]
#[expect(clippy::struct_field_names, reason = "the field of the frame")]
pub(crate) struct Call<'a> {
    call: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    result: Option<ResultInfo<'a>>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(call: &'a str, frame: &'a CallFrame) -> Self {
        Self {
            call,
            state: frame.state,
            result: frame.result.as_ref().map(Into::into),
        }
    }
}

/// How a command stands or ended.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = OperationFrame))]
#[serde(tag = "type", rename = "operation", rename_all = "camelCase")]
pub(crate) struct Operation<'a> {
    call: &'a str,
    id: &'a str,
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::action))]
    action: &'static str,
    #[cfg_attr(feature = "schema", schema(required))]
    client_context: Option<&'a str>,
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::status))]
    status: &'static str,
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::verdict))]
    verdict: Option<&'static str>,
    /// What completed the proof of a confirmed command.
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::evidence))]
    evidence: Option<&'static str>,
    #[serde(flatten)]
    detail: Detail<'a>,
}

/// What only some verdicts have.
#[derive(Default, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = VerdictDetail))]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    /// Whether the own roster entry took part in the proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::roster_seen))]
    roster: Option<&'static str>,
    /// The HTTP status of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    message: Option<&'a str>,
    /// Why the call ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    result: Option<ResultInfo<'a>>,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(call: &'a str, frame: &'a OperationFrame) -> Self {
        let mut evidence = None;
        let mut detail = Detail::default();
        match &frame.verdict {
            Some(Verdict::Confirmed {
                evidence: last,
                roster,
            }) => {
                evidence = Some(Evidence::as_str(*last));
                detail.roster = Some(roster_word(*roster));
            }
            Some(Verdict::Refused {
                status,
                code,
                message,
            }) => {
                detail.http_status = Some(*status);
                detail.code = Some(code);
                detail.message = Some(message);
            }
            Some(Verdict::CallEnded { result }) => {
                detail.result = result.as_ref().map(Into::into);
            }
            _ => {}
        }
        Self {
            call,
            id: frame.operation.as_str(),
            action: frame.action.as_str(),
            client_context: frame
                .client_context
                .as_ref()
                .map(openmic_model::ClientContext::as_str),
            status: frame.status,
            verdict: frame.verdict.as_ref().map(Verdict::as_str),
            evidence,
            detail,
        }
    }
}
