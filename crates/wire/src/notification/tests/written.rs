//! What is written reads back; and nothing makes the reader panic.

use openmic_model::{
    ClientContext, IdentityKind, MediaStream, OperationStatus, ParticipantId, ResultInfo,
};
use proptest::prelude::*;
use serde_json::json;

use super::{CALL, OPERATION, OWN, call, envelope};
use crate::notification::*;

fn somebody(id: &str, muted: bool) -> Participant {
    Participant {
        id: ParticipantId::parse(id).unwrap(),
        identity: Identity {
            kind: IdentityKind::Application,
            id: Some("22222222-2222-4222-8222-222222222222".to_owned()),
            display_name: Some("Bot".to_owned()),
        },
        is_muted: muted,
        in_lobby: false,
        roster_sequence_number: Some(7),
        streams: vec![MediaStream {
            media_type: "audio".to_owned(),
            label: Some("main-audio".to_owned()),
            source_id: "10".to_owned(),
            direction: "sendReceive".to_owned(),
            server_muted: Some(muted),
        }],
    }
}

/// Writes one notification and gives back its JSON and what is read from it.
fn written(change: ChangeType, data: Data<'_>) -> (Value, Notification) {
    let call = call();
    let body = encode(&[Outgoing {
        call: &call,
        callback_uri: "https://bot.example/callbacks/7f3a",
        change,
        data,
    }]);
    let json: Value = serde_json::from_slice(&body).unwrap();
    let mut batch = decode(&body).unwrap();
    assert!(batch.faults.is_empty(), "{:?}", batch.faults);
    (json, batch.notifications.remove(0))
}

#[test]
fn facts_are_written_as_documented() {
    let facts = CallFacts {
        state: Some(CallState::Established),
        ..CallFacts::default()
    };
    let (json, read) = written(ChangeType::Updated, Data::Facts(&facts));
    let expected = json!({
        "@odata.type": "#microsoft.graph.commsNotifications",
        "value": [{
            "@odata.type": "#microsoft.graph.commsNotification",
            "changeType": "updated",
            "resource": format!("/app/calls/{CALL}"),
            "resourceUrl": format!("/communications/calls/{CALL}"),
            "callbackUri": "https://bot.example/callbacks/7f3a",
            "resourceData": {"@odata.type": "#microsoft.graph.call", "id": CALL, "state": "established"},
        }],
    });
    assert_eq!(json, expected);
    assert_eq!(read.item, Item::Call(facts));
}

#[test]
fn an_end_is_written_with_its_reason() {
    let facts = CallFacts {
        state: Some(CallState::Terminated),
        my_participant: Some(ParticipantId::parse(OWN).unwrap()),
        audio_active: Some(false),
        result: Some(ResultInfo {
            code: 408,
            subcode: 8537,
            message: Some("keepAlive timeout".to_owned()),
        }),
    };
    let (json, read) = written(ChangeType::Deleted, Data::Facts(&facts));
    let data = &json["value"][0]["resourceData"];
    assert_eq!(
        data["resultInfo"]["@odata.type"],
        "#microsoft.graph.resultInfo"
    );
    assert_eq!(data["mediaState"]["audio"], "inactive");
    assert_eq!(read.item, Item::Call(facts));
}

#[test]
fn rosters_read_back_as_written() {
    let people = [somebody(OWN, true), somebody("8:guest:p2", false)];
    let (json, read) = written(ChangeType::Updated, Data::Full(people.iter().collect()));
    assert_eq!(read.item, Item::Roster(RosterUpdate::Full(people.to_vec())));
    let entry = &json["value"][0];
    assert_eq!(entry["resource"], format!("/app/calls/{CALL}/participants"));
    assert_eq!(
        entry["resourceData"][0],
        json!({
            "@odata.type": "#microsoft.graph.participant",
            "id": OWN, "isInLobby": false, "isMuted": true, "rosterSequenceNumber": 7,
            "info": {
                "@odata.type": "#microsoft.graph.participantInfo",
                "identity": {
                    "@odata.type": "#microsoft.graph.identitySet",
                    "application": {
                        "@odata.type": "#microsoft.graph.identity",
                        "id": "22222222-2222-4222-8222-222222222222", "displayName": "Bot",
                    },
                },
            },
            "mediaStreams": [{
                "@odata.type": "#microsoft.graph.mediaStream",
                "mediaType": "audio", "label": "main-audio", "sourceId": "10",
                "direction": "sendReceive", "serverMuted": true,
            }],
        })
    );
}

#[test]
fn deltas_read_back_as_written() {
    let entries: Vec<_> = people_and_leavers();
    let (json, read) = written(
        ChangeType::Updated,
        Data::Delta {
            sequence_number: 3,
            entries: entries.iter().collect(),
        },
    );
    let delta = &json["value"][0]["resourceData"][0];
    assert_eq!(delta["@odata.type"], "#microsoft.graph.deltaParticipants");
    assert_eq!(
        delta["participants"][1]["removedState"]["reason"],
        "removed"
    );
    let expected = RosterUpdate::Delta {
        sequence_number: Some(3),
        entries,
    };
    assert_eq!(read.item, Item::Roster(expected));
}

fn people_and_leavers() -> Vec<DeltaEntry> {
    vec![
        DeltaEntry {
            participant: somebody(OWN, false),
            removed: false,
        },
        DeltaEntry {
            participant: somebody("p2", true),
            removed: true,
        },
    ]
}

#[test]
fn operations_read_back_as_written() {
    let operation = Operation {
        id: Some(OperationId::parse(OPERATION).unwrap()),
        status: OperationStatus::Failed,
        client_context: Some(ClientContext::parse("um-1").unwrap()),
        result: Some(ResultInfo {
            code: 403,
            subcode: 8566,
            message: None,
        }),
    };
    let mut extra = Map::new();
    extra.insert("participants".to_owned(), json!([{"participantId": "p"}]));
    let data = Data::Operation(OperationKind::UnmuteParticipant, &operation, &extra);
    let (json, read) = written(ChangeType::Deleted, data);
    let entry = &json["value"][0];
    let tail = format!("operations/{OPERATION}");
    assert_eq!(
        entry["resourceUrl"],
        format!("/communications/calls/{CALL}/{tail}")
    );
    assert_eq!(entry["resourceData"]["status"], "failed");
    assert_eq!(entry["resourceData"]["participants"], extra["participants"]);
    assert_eq!(
        entry["resourceData"]["@odata.type"],
        "#microsoft.graph.unmuteParticipantOperation"
    );
    assert_eq!(read.item, Item::Operation(operation));
}

#[test]
fn an_offer_reads_back_as_an_offer() {
    let id = call();
    let request = json!({"targets": [{"identity": {"application": {"id": "bot"}}}]});
    let resource = call::CallResource {
        id: &id,
        state: CallState::Incoming,
        direction: call::Direction::Incoming,
        chain_id: "c1",
        my_participant: None,
        source: Some(&somebody(OWN, false).identity),
        result: None,
        audio_active: None,
        media_blob: None,
        request: request.as_object(),
    };
    let (json, read) = written(ChangeType::Created, Data::Call(resource.to_object()));
    assert_eq!(json["value"][0]["resourceData"]["direction"], "incoming");
    let Item::Incoming(offer) = read.item else {
        panic!("no offer");
    };
    assert_eq!(offer.kind, CallKind::PeerToPeer);
    assert_eq!(offer.source, Some(somebody(OWN, false).identity));
}

/// Any JSON, with the names that matter among the keys and words that matter among the texts.
fn any_json() -> impl Strategy<Value = Value> {
    let words = [
        "value",
        "changeType",
        "resource",
        "resourceUrl",
        "resourceData",
        "updated",
        "deleted",
        "created",
        "id",
        "isMuted",
        "participants",
        "sequenceNumber",
        "@odata.type",
        "info",
        "identity",
        "user",
        "mediaStreams",
        "resultInfo",
        "code",
        "status",
        "clientContext",
        "#microsoft.graph.deltaParticipants",
        "/app/calls/x",
        "/communications/calls('x')/participants",
        "/communications/calls/x/operations/o",
        "calls(",
        "calls('",
        "https://",
        "%",
        "%zz/é",
    ];
    let text = prop_oneof![
        3 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _batch = decode(&body);
    }

    #[test]
    fn no_json_makes_it_panic(data in any_json(), url in "[/a-z('.)%A-F0-9]{0,60}") {
        for entry in [
            data.clone(),
            json!({"changeType": "updated", "resourceUrl": url, "resourceData": data}),
            json!({"changeType": "updated", "resourceData": data,
                   "resourceUrl": format!("/communications/calls/{CALL}/participants")}),
            json!({"changeType": "deleted", "resourceData": data,
                   "resourceUrl": format!("/communications/calls/{CALL}/operations/o")}),
            json!({"changeType": "created", "resourceData": data,
                   "resourceUrl": format!("/communications/calls/{CALL}")}),
        ] {
            let body = envelope(std::slice::from_ref(&entry));
            let batch = decode(&body).unwrap();
            let told = batch.notifications.len() + batch.faults.len();
            prop_assert!(told > 0, "{entry} vanished");
        }
        let body = serde_json::to_vec(&data).unwrap();
        let _batch = decode(&body);
    }

    #[test]
    fn every_roster_reads_back_as_written(
        people in proptest::collection::vec(any_participant(), 0..8)
    ) {
        let (_, read) = written(ChangeType::Updated, Data::Full(people.iter().collect()));
        prop_assert_eq!(read.item, Item::Roster(RosterUpdate::Full(people)));
    }
}

prop_compose! {
    fn any_participant()(
        id in "[a-zA-Z0-9:@_-]{1,40}",
        kind in proptest::sample::select(vec![
            IdentityKind::User, IdentityKind::Application, IdentityKind::Guest, IdentityKind::Phone,
        ]),
        name in proptest::option::of(any::<String>()),
        is_muted in any::<bool>(),
        in_lobby in any::<bool>(),
        sequence in proptest::option::of(0..i64::MAX as u64),
        server_muted in proptest::option::of(any::<bool>()),
    ) -> Participant {
        let mut somebody = somebody(OWN, is_muted);
        somebody.id = ParticipantId::parse(&id).unwrap();
        somebody.identity = Identity { kind, id: Some(id), display_name: name };
        somebody.in_lobby = in_lobby;
        somebody.roster_sequence_number = sequence;
        somebody.streams[0].server_muted = server_muted;
        somebody
    }
}
