//! The JSON twins of what goes to subscribers; their field names are the contract with clients.

use std::collections::BTreeMap;

use openmic_model::{
    Evidence, IdentityKind, Participant, ParticipantId, RosterSeen, RosterVersion, Verdict,
};
use serde::{Serialize, Serializer};

use super::{CallFrame, OperationFrame};

#[derive(Serialize)]
#[serde(tag = "type", rename = "snapshot")]
pub(super) struct Snapshot<'a> {
    call: &'a str,
    epoch: u64,
    seq: u64,
    #[serde(serialize_with = "participants")]
    participants: &'a RosterVersion,
}

fn participants<S: Serializer>(version: &RosterVersion, out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(version.roster.iter().map(|entry| Entry::new(entry)))
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(version: &'a RosterVersion) -> Self {
        Self {
            call: version.call.as_str(),
            epoch: version.version.epoch,
            seq: version.version.seq,
            participants: version,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "delta")]
pub(super) struct Delta<'a> {
    call: &'a str,
    epoch: u64,
    seq: u64,
    changed: Vec<Entry<'a>>,
    removed: Vec<&'a str>,
}

impl<'a> Delta<'a> {
    pub(super) fn new(
        version: &'a RosterVersion,
        last: &BTreeMap<&'a ParticipantId, Option<&'a Participant>>,
    ) -> Self {
        Self {
            call: version.call.as_str(),
            epoch: version.version.epoch,
            seq: version.version.seq,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    id: &'a str,
    identity: Identity<'a>,
    is_muted: bool,
    server_muted: Option<bool>,
    is_in_lobby: bool,
    roster_sequence_number: Option<u64>,
    streams: Vec<Stream<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    kind: &'static str,
    id: Option<&'a str>,
    display_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stream<'a> {
    media_type: &'a str,
    label: Option<&'a str>,
    source_id: &'a str,
    direction: &'a str,
    server_muted: Option<bool>,
}

impl<'a> Entry<'a> {
    fn new(participant: &'a Participant) -> Self {
        let identity = &participant.identity;
        Self {
            id: participant.id.as_str(),
            identity: Identity {
                kind: match identity.kind {
                    IdentityKind::User => "user",
                    IdentityKind::Application => "application",
                    IdentityKind::Guest => "guest",
                    IdentityKind::Phone => "phone",
                    IdentityKind::Other => "other",
                },
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

#[derive(Serialize)]
struct ResultInfo<'a> {
    code: i32,
    subcode: i32,
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

#[derive(Serialize)]
#[serde(tag = "type", rename = "call")]
#[expect(clippy::struct_field_names, reason = "the field of the frame")]
pub(super) struct Call<'a> {
    call: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultInfo<'a>>,
}

impl<'a> Call<'a> {
    pub(super) fn new(call: &'a str, frame: &'a CallFrame) -> Self {
        Self {
            call,
            state: &frame.state,
            result: frame.result.as_ref().map(Into::into),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "operation", rename_all = "camelCase")]
pub(super) struct Operation<'a> {
    call: &'a str,
    id: &'a str,
    action: &'static str,
    client_context: Option<&'a str>,
    status: &'static str,
    verdict: Option<&'static str>,
    /// What completed the proof of a confirmed command.
    evidence: Option<&'static str>,
    #[serde(flatten)]
    detail: Detail<'a>,
}

/// What only some verdicts have.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    /// Whether the own roster entry took part in the proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    roster: Option<&'static str>,
    /// The HTTP status of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// Why the call ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultInfo<'a>>,
}

impl<'a> Operation<'a> {
    pub(super) fn new(call: &'a str, frame: &'a OperationFrame) -> Self {
        let mut evidence = None;
        let mut detail = Detail::default();
        match &frame.verdict {
            Some(Verdict::Confirmed {
                evidence: last,
                roster,
            }) => {
                evidence = Some(Evidence::as_str(*last));
                detail.roster = Some(match roster {
                    RosterSeen::Fresh => "fresh",
                    RosterSeen::Unseen => "unseen",
                });
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
