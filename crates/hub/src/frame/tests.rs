use std::sync::Arc;

use bytes::Bytes;
use openmic_model::{
    Action, CallId, Change, Evidence, Identity, IdentityKind, OperationId, Participant,
    ParticipantId, ResultInfo, Roster, RosterSeen, RosterVersion, Verdict, Version,
};
use serde_json::{Value, json};

use super::{CallFrame, Encoder, Hashed, OperationFrame, hash};

/// Of the entries `a` and `b` of [`participant`].
const HASH_OF_A_AND_B: &str = "ad403df2d4ced7cf";

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
        let json = payload(&encoder.snapshot(&version(changes), 0, false));
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
    let nobody = Hashed {
        roster: &Roster::default(),
        hash: 0,
    };
    let (frame, _) = Encoder::default().delta(nobody, &version(changes));
    let mut json = payload(&frame);
    json.as_object_mut().unwrap().remove("hash");
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
        state: "terminated",
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

#[test]
fn a_roster_has_one_hash_whichever_way_it_came_about() {
    let upsert = |id| Change::Upsert(participant(id));
    let whole = version(vec![upsert("b"), upsert("a")]);
    let json = payload(&Encoder::default().snapshot(&whole, hash::roster(&whole.roster), true));
    // computed apart, by FNV-1a of {"id":"a",...} and {"id":"b",...}, from this very text
    assert_eq!(json["hash"], HASH_OF_A_AND_B);
    assert_eq!(json["reset"], true);

    let before = version(vec![upsert("a"), upsert("c")]);
    let mut after = version(vec![upsert("a"), upsert("b")]);
    after.changes = vec![
        Change::Remove(ParticipantId::parse("c").unwrap()),
        upsert("b"),
        upsert("a"),
    ]
    .into();
    let before = Hashed {
        hash: hash::roster(&before.roster),
        roster: &before.roster,
    };
    let (frame, _) = Encoder::default().delta(before, &after);
    assert_eq!(payload(&frame)["hash"], HASH_OF_A_AND_B);
}
