use openmic_model::IdentityKind;
use serde_json::json;

use super::*;

const CALL: &str = "0c1f5e00-0000-4000-8000-000000000001";

/// The answer to create, as the docs show it.
fn documented() -> Value {
    json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#app/calls/$entity",
        "@odata.type": "#microsoft.graph.call",
        "id": "0C1F5E00000040008000000000000001", "state": "Establishing", "direction": "outgoing",
        "callbackUri": "https://bot.example/callbacks/7f3a",
        "callChainId": "d8217646-3110-40b1-bae6-e9ac6c3a9f74",
        "myParticipantId": "5B5C0000-0000-4000-8000-000000000003",
        "source": {"identity": {"application": {"id": "bot", "displayName": "Bot"}}},
        "targets": [], "requestedModalities": ["audio"], "mediaState": null, "resultInfo": null,
        "toneInfo": null, "answeredBy": null, "ringingTimeoutInSeconds": 60, "callRoutes": [],
        "chatInfo": {"threadId": "19:meeting_AAA@thread.v2", "messageId": "0", "replyChainMessageId": null},
        "tenantId": "t1",
    })
}

fn read(value: &Value) -> CallAnswer {
    decode(&serde_json::to_vec(value).unwrap()).unwrap()
}

#[test]
fn the_documented_answer_is_read() {
    let answer = read(&documented());
    assert_eq!(answer.id.as_str(), CALL);
    assert_eq!(answer.facts.state, Some(CallState::Establishing));
    let own = answer.facts.my_participant.unwrap();
    assert_eq!(own.as_str(), "5b5c0000-0000-4000-8000-000000000003");
    assert_eq!(answer.facts.result, None);
    assert_eq!(answer.facts.audio_active, None);
    assert_eq!(answer.kind, CallKind::Group);
    assert_eq!(
        answer.thread_id.as_deref(),
        Some("19:meeting_AAA@thread.v2")
    );
    assert_eq!(answer.tenant.unwrap().as_str(), "t1");
}

#[test]
fn a_call_is_1_to_1_only_when_that_is_certain() {
    let cases = [
        (json!({"targets": [{}]}), CallKind::PeerToPeer),
        (
            json!({"targets": [{}], "chatInfo": null, "meetingInfo": null}),
            CallKind::PeerToPeer,
        ),
        (
            json!({"targets": [{}], "chatInfo": {"threadId": null}}),
            CallKind::PeerToPeer,
        ),
        (
            json!({"targets": [{}], "chatInfo": {"threadId": "19:x"}}),
            CallKind::Group,
        ),
        (
            json!({"targets": [{}], "meetingInfo": {"token": "x"}}),
            CallKind::Group,
        ),
        (json!({"targets": [{}, {}]}), CallKind::Group),
        (json!({"targets": []}), CallKind::Group),
        (json!({"targets": null}), CallKind::Group),
        (json!({}), CallKind::Group),
    ];
    for (mut call, kind) in cases {
        call["id"] = json!(CALL);
        assert_eq!(read(&call).kind, kind, "{call}");
    }
}

#[test]
fn a_call_without_a_usable_id_is_refused() {
    assert!(matches!(decode(b"{}"), Err(DecodeError::Missing("id"))));
    assert!(matches!(
        decode(b"{\"id\":\"a/b\"}"),
        Err(DecodeError::Id { .. })
    ));
    assert!(matches!(decode(b"7"), Err(DecodeError::NotAnObject(_))));
    assert!(matches!(decode(b""), Err(DecodeError::Json(_))));
}

#[test]
fn every_state_has_its_word() {
    for (word, state) in STATES {
        assert_eq!(state_word(state), word);
        let call = json!({"id": CALL, "state": word.to_uppercase()});
        assert_eq!(read(&call).facts.state, Some(state));
    }
    let call = json!({"id": CALL, "state": "unknownFutureValue"});
    assert_eq!(read(&call).facts.state, None);
}

#[test]
fn the_service_echoes_the_request_and_adds_its_own() {
    let id = CallId::parse(CALL).unwrap();
    let own = ParticipantId::parse("p1").unwrap();
    let source = Identity {
        kind: IdentityKind::Application,
        id: Some("bot".to_owned()),
        display_name: None,
    };
    let request = json!({
        "id": "forged", "state": "established", "callbackUri": "https://bot.example/cb",
        "allowConversationWithoutHost": true, "chatInfo": {"threadId": "19:x"},
        "mediaConfig": {"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": "offer"},
    });
    let resource = CallResource {
        id: &id,
        state: CallState::Established,
        direction: Direction::Outgoing,
        chain_id: "chain",
        my_participant: Some(&own),
        source: Some(&source),
        result: None,
        audio_active: Some(true),
        media_blob: Some("answer"),
        request: request.as_object(),
    };
    let body = resource.answer(("http://127.0.0.1:7081/v1.0/", "app/calls/$entity"));
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        json["@odata.context"],
        "http://127.0.0.1:7081/v1.0/$metadata#app/calls/$entity"
    );
    assert_eq!(json["id"], CALL);
    assert_eq!(json["allowConversationWithoutHost"], true);
    assert_eq!(json["targets"], json!([]));
    assert_eq!(json["resultInfo"], Value::Null);
    let answer = read(&json);
    assert_eq!(answer.media_blob.as_deref(), Some("answer"));
    assert_eq!(
        answer.callback_uri.as_deref(),
        Some("https://bot.example/cb")
    );
    assert_eq!(answer.thread_id.as_deref(), Some("19:x"));
    let facts = CallFacts {
        state: Some(CallState::Established),
        my_participant: Some(own.clone()),
        result: None,
        audio_active: Some(true),
    };
    assert_eq!(answer.facts, facts);
}
