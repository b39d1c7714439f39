//! What the contract documents say of the frames, derived from their twins.

use openmic_model::{Action, Evidence, IdentityKind, OperationStatus, RosterSeen, Verdict};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use crate::frame::json::{Call, Delta, Operation, Snapshot, identity_word, roster_word};

/// A schema and the name it is referred to by.
pub type Named = (String, RefOr<Schema>);

/// One kind of frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its `type`.
    pub kind: &'static str,
    /// Name of its schema.
    pub schema: &'static str,
    /// When it comes.
    pub about: &'static str,
    /// One of them.
    pub example: Value,
}

/// Every kind of frame.
pub fn frames() -> [Frame; 4] {
    let entry = json!({
        "id": "dd5ecf32",
        "identity": {"kind": "application", "id": "22222222", "displayName": "Minutes bot"},
        "isMuted": true,
        "serverMuted": true,
        "isInLobby": false,
        "rosterSequenceNumber": 3,
        "streams": [{
            "mediaType": "audio",
            "label": "main-audio",
            "sourceId": "1",
            "direction": "sendReceive",
            "serverMuted": true,
        }],
    });
    [
        Frame {
            kind: "snapshot",
            schema: "SnapshotFrame",
            about: "The whole roster. It replaces what the subscriber has.",
            example: json!({
                "type": "snapshot", "call": "0c1f5e00", "epoch": 1, "seq": 4,
                "hash": "9f3c0b6a51d27e84",
                "participants": [entry],
            }),
        },
        Frame {
            kind: "delta",
            schema: "DeltaFrame",
            about: "One change of the roster. It follows `seq - 1` of the same epoch.",
            example: json!({
                "type": "delta", "call": "0c1f5e00", "epoch": 1, "seq": 5,
                "hash": "04be19d3f6a8c750",
                "changed": [entry], "removed": ["7a1b"],
            }),
        },
        Frame {
            kind: "call",
            schema: "CallFrame",
            about: "A new state of the call; also told once to who joins or resumes.",
            example: json!({"type": "call", "call": "0c1f5e00", "state": "unmuted"}),
        },
        Frame {
            kind: "operation",
            schema: "OperationFrame",
            about: "How a mute or unmute stands or ended.",
            example: json!({
                "type": "operation", "call": "0c1f5e00", "id": "8a1c", "action": "unmute",
                "clientContext": "attempt-1", "status": "completed", "verdict": "confirmed",
                "evidence": "roster", "roster": "fresh",
            }),
        },
    ]
}

/// The schemas of the frames and of what they hold.
pub fn schemas() -> Vec<Named> {
    let mut all = Vec::new();
    named::<Snapshot<'_>>("snapshot", &mut all);
    named::<Delta<'_>>("delta", &mut all);
    named::<Call<'_>>("call", &mut all);
    named::<Operation<'_>>("operation", &mut all);
    all
}

fn named<T: ToSchema>(kind: &'static str, all: &mut Vec<Named>) {
    let mut schema = T::schema();
    // serde puts the tag there; the derive does not see it
    let object = match &mut schema {
        RefOr::T(Schema::Object(object)) => Some(object),
        RefOr::T(Schema::AllOf(all_of)) => all_of.items.iter_mut().find_map(|item| match item {
            RefOr::T(Schema::Object(object)) => Some(object),
            _ => None,
        }),
        _ => None,
    };
    if let Some(object) = object {
        let tag = RefOr::T(Schema::Object(words([kind])));
        object.properties.insert("type".to_owned(), tag);
        object.required.push("type".to_owned());
    }
    all.push((T::name().into_owned(), schema));
    T::schemas(all);
}

/// A reference to a frame's schema.
pub fn reference(frame: &Frame) -> Ref {
    Ref::from_schema_name(frame.schema)
}

fn words<const N: usize>(words: [&'static str; N]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .build()
}

fn words_or_null<const N: usize>(words: [&'static str; N]) -> Object {
    let words = words.map(Value::from).into_iter().chain([Value::Null]);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(words))
        .build()
}

pub(crate) fn hash() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some("^[0-9a-f]{16}$"))
        .build()
}

pub(crate) fn identity_kind() -> Object {
    let all = [
        IdentityKind::User,
        IdentityKind::Application,
        IdentityKind::Guest,
        IdentityKind::Phone,
        IdentityKind::Other,
    ];
    words(all.map(identity_word))
}

pub(crate) fn action() -> Object {
    words([Action::Mute, Action::Unmute].map(Action::as_str))
}

/// An operation frame is of a command that runs or has ended.
pub(crate) fn status() -> Object {
    let all = [
        OperationStatus::NotStarted,
        OperationStatus::Running,
        OperationStatus::Completed,
        OperationStatus::Failed,
    ];
    words(all.map(status_word))
}

const fn status_word(status: OperationStatus) -> &'static str {
    match status {
        OperationStatus::NotStarted => "notStarted",
        OperationStatus::Running => "running",
        OperationStatus::Completed => "completed",
        OperationStatus::Failed => "failed",
    }
}

pub(crate) fn verdict() -> Object {
    let all = [
        Verdict::Confirmed {
            evidence: Evidence::Http,
            roster: RosterSeen::Fresh,
        },
        Verdict::Already,
        Verdict::Refused {
            status: 0,
            code: String::new(),
            message: String::new(),
        },
        Verdict::Unconfirmed,
        Verdict::Expired,
        Verdict::Superseded,
        Verdict::CallEnded { result: None },
    ];
    words_or_null(all.each_ref().map(Verdict::as_str))
}

pub(crate) fn evidence() -> Object {
    let all = [
        Evidence::Http,
        Evidence::Operation,
        Evidence::Roster,
        Evidence::Poll,
    ];
    words_or_null(all.map(Evidence::as_str))
}

pub(crate) fn roster_seen() -> Object {
    words([RosterSeen::Fresh, RosterSeen::Unseen].map(roster_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_has_a_schema_that_names_its_type_and_its_examples_members() {
        let schemas = schemas();
        for frame in frames() {
            let named = schemas.iter().find(|(name, _)| name == frame.schema);
            let schema = serde_json::to_value(&named.unwrap().1).unwrap().to_string();
            assert_eq!(frame.example["type"], frame.kind);
            for name in frame.example.as_object().unwrap().keys() {
                let detail = name == "roster";
                assert!(
                    detail || schema.contains(&format!("\"{name}\"")),
                    "{name}: {schema}"
                );
            }
        }
    }
}
