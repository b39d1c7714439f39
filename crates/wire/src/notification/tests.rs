use openmic_model::{ClientContext, IdentityKind, OperationStatus, ResultInfo};
use serde_json::json;

use super::*;

const CALL: &str = "0c1f5e00-0000-4000-8000-000000000001";
const OTHER_SPELLING: &str = "0C1F5E00000040008000000000000001";
const OPERATION: &str = "9a1d0000-0000-4000-8000-000000000002";
const OWN: &str = "5b5c0000-0000-4000-8000-000000000003";

fn call() -> CallId {
    CallId::parse(CALL).unwrap()
}

fn envelope(entries: &[Value]) -> Vec<u8> {
    let body = json!({"@odata.type": "#microsoft.graph.commsNotifications", "value": entries});
    serde_json::to_vec(&body).unwrap()
}

/// Reads one entry that must be free of faults.
fn one(entry: Value) -> Notification {
    let body = envelope(&[entry]);
    let mut batch = decode(&body).unwrap();
    assert!(batch.faults.is_empty(), "{:?}", batch.faults);
    assert_eq!(batch.notifications.len(), 1);
    batch.notifications.remove(0)
}

#[test]
fn a_call_is_known_by_either_name_of_its_resource_in_any_spelling() {
    let forms = [
        json!({"resourceUrl": format!("/communications/calls/{CALL}")}),
        json!({"resource": format!("/app/calls/{CALL}")}),
        json!({"resourceUrl": format!("communications/calls/{OTHER_SPELLING}")}),
        json!({"resourceUrl": format!("/communications/calls('{CALL}')")}),
        json!({"resourceUrl": format!("https://graph.microsoft.com/v1.0/communications/calls/{CALL}")}),
        json!({"resourceUrl": "/somewhere/else", "resource": format!("/App/Calls/{CALL}")}),
    ];
    for mut form in forms {
        form["changeType"] = json!("Updated");
        // no id in the data, as Graph was seen to do
        form["resourceData"] =
            json!({"@odata.type": "microsoft.graph.Call", "state": "Established"});
        let read = one(form.clone());
        assert_eq!(read.call, Some(call()), "{form}");
        assert_eq!(read.change, ChangeType::Updated);
        let Item::Call(facts) = read.item else {
            panic!("{form} is no call");
        };
        assert_eq!(facts.state, Some(CallState::Established));
    }
}

#[test]
fn a_call_without_any_resource_is_known_by_its_own_id() {
    let read = one(json!({
        "changeType": "updated",
        "resourceData": {"@odata.type": "#microsoft.graph.call", "id": OTHER_SPELLING, "state": "hold"},
    }));
    assert_eq!(read.call, Some(call()));
}

#[test]
fn what_the_data_leaves_out_is_not_stated() {
    let read = one(json!({
        "changeType": "updated", "resourceUrl": format!("/communications/calls/{CALL}"),
        "resourceData": {"@odata.type": "#microsoft.graph.call", "mediaState": {"audio": "Active"}},
    }));
    let facts = CallFacts {
        audio_active: Some(true),
        ..CallFacts::default()
    };
    assert_eq!(read.item, Item::Call(facts));
}

#[test]
fn a_deleted_call_is_terminated_whatever_its_data_says() {
    for data in [
        Value::Null,
        json!({}),
        json!({"state": "terminating"}),
        json!({"@odata.type": "#microsoft.graph.call", "state": "terminated"}),
    ] {
        let read = one(json!({
            "changeType": "deleted", "resourceUrl": format!("/communications/calls/{CALL}"),
            "resourceData": data,
        }));
        let Item::Call(facts) = read.item else {
            panic!("no call");
        };
        assert_eq!(facts.state, Some(CallState::Terminated));
    }
}

#[test]
fn the_reason_of_an_end_is_read_in_all_its_spellings() {
    for (info, code, subcode) in [
        (
            json!({"code": 408, "subcode": 8537, "message": "m"}),
            408,
            8537,
        ),
        (
            json!({"code": "408", "subCode": "8537", "message": "m"}),
            408,
            8537,
        ),
        (json!({"code": "0", "message": "m"}), 0, 0),
    ] {
        let read = one(json!({
            "changeType": "deleted", "resourceUrl": format!("/communications/calls/{CALL}"),
            "resourceData": {"state": "terminated", "resultInfo": info},
        }));
        let Item::Call(facts) = read.item else {
            panic!("no call");
        };
        let message = Some("m".to_owned());
        let expected = ResultInfo {
            code,
            subcode,
            message,
        };
        assert_eq!(facts.result, Some(expected));
    }
}

#[test]
fn an_incoming_call_says_who_calls() {
    let read = one(json!({
        "changeType": "created", "resourceUrl": format!("/communications/calls/{CALL}"),
        "resourceData": {
            "@odata.type": "#microsoft.graph.call", "id": CALL, "state": "incoming",
            "direction": "incoming", "callbackUri": "https://bot.example/callbacks/0c11",
            "source": {"identity": {"user": {"id": "alice", "displayName": "Alice", "tenantId": "t1"}}},
            "targets": [{"identity": {"application": {"id": "bot"}}}],
            "myParticipantId": OWN, "tenantId": "t1",
        },
    }));
    let Item::Incoming(offer) = read.item else {
        panic!("no offer");
    };
    assert_eq!(offer.kind, CallKind::PeerToPeer);
    assert_eq!(offer.facts.state, Some(CallState::Incoming));
    assert_eq!(offer.facts.my_participant.unwrap().as_str(), OWN);
    assert_eq!(offer.tenant.unwrap().as_str(), "t1");
    let source = offer.source.unwrap();
    assert_eq!(
        (source.kind, source.id.as_deref()),
        (IdentityKind::User, Some("alice"))
    );
}

#[test]
fn an_incoming_call_of_a_meeting_has_its_thread() {
    let read = one(json!({
        "changeType": "created", "resourceUrl": format!("/communications/calls/{CALL}"),
        "resourceData": {"chatInfo": {"threadId": "19:meeting_AAA@thread.v2"}, "targets": [{}]},
    }));
    let Item::Incoming(offer) = read.item else {
        panic!("no offer");
    };
    assert_eq!(offer.kind, CallKind::Group);
    assert_eq!(offer.thread_id.as_deref(), Some("19:meeting_AAA@thread.v2"));
}

#[test]
fn an_array_of_participants_is_the_whole_roster() {
    let read = one(json!({
        "changeType": "updated", "resourceUrl": format!("/communications/calls/{CALL}/participants"),
        "resourceData": [{
            "@odata.type": "#microsoft.graph.participant", "id": OWN, "isMuted": false,
            "isInLobby": false, "rosterSequenceNumber": "12", "metadata": "x",
            "info": {"identity": {"application": {"id": "bot", "displayName": "Bot"}}},
            "mediaStreams": [{
                "mediaType": "Audio", "label": "main-audio", "sourceId": 10,
                "direction": "SendReceive", "serverMuted": false,
            }],
        }],
    }));
    assert_eq!(read.call, Some(call()));
    let Item::Roster(RosterUpdate::Full(all)) = read.item else {
        panic!("no full roster");
    };
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].roster_sequence_number, Some(12));
    assert_eq!(all[0].identity.kind, IdentityKind::Application);
    assert_eq!(all[0].streams[0].media_type, "audio");
    assert_eq!(all[0].streams[0].source_id, "10");
    assert_eq!(all[0].streams[0].direction, "sendReceive");
    assert_eq!(all[0].server_muted(), Some(false));
}

#[test]
fn a_delta_is_numbered_and_says_who_left() {
    let read = one(json!({
        "changeType": "updated", "resource": format!("/app/calls/{CALL}/participants"),
        "resourceData": [{
            "@odata.type": "#Microsoft.Graph.deltaParticipants", "sequenceNumber": 10,
            "participants": [
                {"id": OWN, "isMuted": true, "removedState": null},
                {"id": "gone", "removedState": {"reason": "Removed"}},
            ],
        }],
    }));
    let Item::Roster(RosterUpdate::Delta {
        sequence_number,
        entries,
    }) = read.item
    else {
        panic!("no delta");
    };
    assert_eq!(sequence_number, Some(10));
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (entry.participant.id.as_str(), entry.removed))
        .collect();
    assert_eq!(seen, [(OWN, false), ("gone", true)]);
}

#[test]
fn several_deltas_in_one_entry_stay_several_and_in_order() {
    let delta = |number: u32| {
        json!({"@odata.type": "#microsoft.graph.deltaParticipants", "sequenceNumber": number,
               "participants": []})
    };
    let body = envelope(&[json!({
        "changeType": "updated", "resourceUrl": format!("/communications/calls/{CALL}/participants"),
        "resourceData": [delta(4), delta(5)],
    })]);
    let batch = decode(&body).unwrap();
    let numbers: Vec<_> = batch
        .notifications
        .iter()
        .map(|read| match &read.item {
            Item::Roster(RosterUpdate::Delta {
                sequence_number, ..
            }) => *sequence_number,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, [Some(4), Some(5)]);
}

#[test]
fn a_roster_with_an_entry_that_cannot_be_read_takes_nobody_for_gone() {
    let body = envelope(&[json!({
        "changeType": "updated", "resourceUrl": format!("/communications/calls/{CALL}/participants"),
        "resourceData": [{"id": OWN, "isMuted": false}, {"id": null, "isMuted": false}, {"id": "p2"}],
    })]);
    let batch = decode(&body).unwrap();
    assert_eq!(batch.faults.len(), 2);
    let Item::Roster(RosterUpdate::Delta {
        sequence_number: None,
        entries,
    }) = &batch.notifications[0].item
    else {
        panic!("{:?}", batch.notifications);
    };
    assert_eq!(entries.len(), 1);
    assert!(!entries[0].removed);
}

#[test]
fn an_empty_roster_is_a_roster() {
    let read = one(json!({
        "changeType": "updated", "resourceUrl": format!("/communications/calls/{CALL}/participants"),
        "resourceData": [],
    }));
    assert_eq!(read.item, Item::Roster(RosterUpdate::Full(Vec::new())));
}

#[test]
fn a_single_entry_is_not_taken_for_the_whole_roster() {
    for url in ["participants", &format!("participants/{OWN}")] {
        let read = one(json!({
            "changeType": "updated", "resourceUrl": format!("/communications/calls/{CALL}/{url}"),
            "resourceData": {"id": OWN, "isMuted": true},
        }));
        let Item::Roster(RosterUpdate::Delta {
            sequence_number: None,
            entries,
        }) = read.item
        else {
            panic!("{url}");
        };
        assert_eq!(entries.len(), 1);
    }
}

#[test]
fn an_operation_gets_its_id_from_the_url_when_the_body_has_none() {
    let read = one(json!({
        "changeType": "deleted",
        "resourceUrl": format!("/communications/calls/{CALL}/operations/{OPERATION}"),
        "resourceData": {
            "@odata.type": "#microsoft.graph.unmuteParticipantOperation",
            "clientContext": "um-01J9ZK", "status": "Failed",
            "resultInfo": {"code": 400, "subcode": 8566, "message": "no"},
        },
    }));
    let Item::Operation(operation) = read.item else {
        panic!("no operation");
    };
    assert_eq!(operation.id.unwrap().as_str(), OPERATION);
    assert_eq!(operation.status, OperationStatus::Failed);
    assert_eq!(
        operation.client_context,
        Some(ClientContext::parse("um-01J9ZK").unwrap())
    );
    assert_eq!(operation.result.unwrap().subcode, 8566);
}

#[test]
fn a_deleted_operation_without_data_is_not_taken_for_a_result() {
    let read = one(json!({
        "changeType": "deleted",
        "resourceUrl": format!("/communications/calls/{CALL}/operations/{OPERATION}"),
    }));
    let Item::Operation(operation) = read.item else {
        panic!("no operation");
    };
    assert_eq!(operation.status, OperationStatus::Running);
}

#[test]
fn what_nobody_knows_is_passed_over() {
    for url in [
        format!("/communications/calls/{CALL}/contentsharingsessions"),
        "/communications/onlineMeetings/1".to_owned(),
        String::new(),
    ] {
        let read = one(json!({
            "changeType": "updated", "resourceUrl": url, "subscriptionId": 4, "resourceData": [1],
        }));
        assert_eq!(read.item, Item::Other, "{url}");
    }
}

#[test]
fn one_bad_entry_does_not_lose_the_others() {
    let good = json!({"changeType": "updated", "resourceUrl": format!("/communications/calls/{CALL}"),
                      "resourceData": {"state": "established"}});
    let body = envelope(&[
        json!(7),
        good.clone(),
        json!({"resourceUrl": "x"}),
        json!({"changeType": "updated",
               "resourceUrl": format!("/communications/calls/{CALL}/participants"),
               "resourceData": vec![0; MAX_ITEMS + 1]}),
        good,
    ]);
    let batch = decode(&body).unwrap();
    assert_eq!(batch.notifications.len(), 2);
    let places: Vec<_> = batch.faults.iter().map(|fault| fault.entry).collect();
    assert_eq!(places, [0, 2, 3]);
}

#[test]
fn a_body_of_another_kind_is_refused_by_name() {
    assert!(matches!(decode(b""), Err(DecodeError::Json(_))));
    assert!(matches!(decode(b"[]"), Err(DecodeError::NotAnObject(_))));
    assert!(matches!(decode(b"{}"), Err(DecodeError::Missing("value"))));
    assert!(matches!(
        decode(b"{\"value\":1}"),
        Err(DecodeError::Missing("value"))
    ));
    let old = br#"{"id":"x","participants":[],"callState":"incoming"}"#;
    assert!(matches!(decode(old), Err(DecodeError::OldFormat)));
    let deep = format!("{{\"value\":{}1{}}}", "[".repeat(400), "]".repeat(400));
    assert!(matches!(decode(deep.as_bytes()), Err(DecodeError::Json(_))));
    let many = envelope(&vec![json!({}); MAX_ITEMS + 1]);
    assert!(matches!(decode(&many), Err(DecodeError::TooMany("value"))));
}

mod written;
