use std::sync::Arc;

use bytes::Bytes;
use openmic_model::{
    Action, CallId, Change, Evidence, Identity, IdentityKind, OperationId, Participant,
    ParticipantId, ResultInfo, Roster, RosterSeen, RosterVersion, Verdict, Version,
};
use serde_json::{Value, json};

use super::{CallFrame, Encoder, OperationFrame};

/// The JSON of a frame, with its header checked.
fn payload(frame: &Bytes) -> Value {
    assert_eq!(frame[0], 0x81, "a whole text message");
    let (length, start) = match frame[1] {
        126 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
        127 => {
            let length = u64::from_be_bytes(frame[2..10].try_into().unwrap());
            (usize::try_from(length).unwrap(), 10)
        }
        short => (usize::from(short), 2),
    };
    assert_eq!(frame.len(), start + length);
    serde_json::from_slice(&frame[start..]).unwrap()
}

fn participant(id: &str) -> Arc<Participant> {
    Arc::new(Participant {
        id: ParticipantId::parse(id).unwrap(),
        identity: Identity {
            kind: IdentityKind::Guest,
            id: None,
            display_name: None,
        },
        is_muted: true,
        in_lobby: true,
        roster_sequence_number: None,
        streams: Vec::new(),
    })
}

fn version(changes: Vec<Change>) -> RosterVersion {
    let mut roster = Roster::default();
    for change in &changes {
        roster.apply(change);
    }
    RosterVersion {
        call: CallId::parse("c").unwrap(),
        version: Version { epoch: 1, seq: 2 },
        roster: Arc::new(roster),
        changes: changes.into(),
    }
}

#[test]
fn headers_fit_every_length() {
    let mut encoder = Encoder::default();
    for count in [0, 1, 2, 1000] {
        let changes = (0..count)
            .map(|index| Change::Upsert(participant(&format!("p{index}"))))
            .collect();
        let json = payload(&encoder.snapshot(&version(changes)));
        assert_eq!(json["type"], "snapshot");
        assert_eq!(json["participants"].as_array().unwrap().len(), count);
    }
}

#[test]
fn a_delta_has_the_last_word_on_each_participant() {
    let remove = |id| Change::Remove(ParticipantId::parse(id).unwrap());
    let upsert = |id| Change::Upsert(participant(id));
    let changes = vec![
        upsert("came-and-left"),
        remove("left-and-came"),
        remove("came-and-left"),
        upsert("left-and-came"),
    ];
    let json = payload(&Encoder::default().delta(&version(changes)));
    assert_eq!(
        json,
        json!({
            "type": "delta", "call": "c", "epoch": 1, "seq": 2,
            "changed": [{
                "id": "left-and-came",
                "identity": {"kind": "guest", "id": null, "displayName": null},
                "isMuted": true,
                "serverMuted": null,
                "isInLobby": true,
                "rosterSequenceNumber": null,
                "streams": [],
            }],
            "removed": ["came-and-left"],
        })
    );
}

#[test]
fn operations_tell_their_verdict() {
    let frame = |verdict| {
        let frame = OperationFrame {
            operation: OperationId::parse("o").unwrap(),
            action: Action::Unmute,
            client_context: None,
            status: "completed",
            verdict,
        };
        payload(&Encoder::default().operation("c", &frame))
    };
    let base = |verdict: Value, evidence: Value| {
        json!({
            "type": "operation", "call": "c", "id": "o", "action": "unmute",
            "clientContext": null, "status": "completed",
            "verdict": verdict, "evidence": evidence,
        })
    };
    assert_eq!(frame(None), base(Value::Null, Value::Null));
    let mut confirmed = base("confirmed".into(), "http".into());
    confirmed["roster"] = "unseen".into();
    let verdict = Verdict::Confirmed {
        evidence: Evidence::Http,
        roster: RosterSeen::Unseen,
    };
    assert_eq!(frame(Some(verdict)), confirmed);
    let mut refused = base("refused".into(), Value::Null);
    refused["httpStatus"] = 400.into();
    refused["code"] = "8548".into();
    refused["message"] = "no".into();
    let verdict = Verdict::Refused {
        status: 400,
        code: "8548".into(),
        message: "no".into(),
    };
    assert_eq!(frame(Some(verdict)), refused);
}

#[test]
fn a_call_tells_why() {
    let frame = CallFrame {
        state: "terminated".into(),
        result: Some(ResultInfo {
            code: 404,
            subcode: 5,
            message: None,
        }),
    };
    let json = payload(&Encoder::default().call("c", &frame));
    assert_eq!(
        json,
        json!({
            "type": "call", "call": "c", "state": "terminated",
            "result": {"code": 404, "subcode": 5, "message": null},
        })
    );
}
