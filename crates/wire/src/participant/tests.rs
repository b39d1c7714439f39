use openmic_model::{CallId, IdentityKind};
use serde_json::{Value, json};

use super::*;

fn read(value: &Value) -> Result<Participant, DecodeError> {
    decode(&serde_json::to_vec(value).unwrap())
}

#[test]
fn an_entry_that_does_not_state_mute_is_not_guessed() {
    assert!(matches!(
        read(&json!({"id": "p"})),
        Err(DecodeError::Missing("isMuted"))
    ));
    let odd = json!({"id": "p", "isMuted": "perhaps"});
    assert!(matches!(read(&odd), Err(DecodeError::Missing("isMuted"))));
    assert!(
        read(&json!({"id": "p", "isMuted": "True"}))
            .unwrap()
            .is_muted
    );
}

#[test]
fn an_entry_is_read_with_as_little_as_an_id_and_a_flag() {
    let person =
        read(&json!({"id": "p", "isMuted": false, "info": null, "mediaStreams": null})).unwrap();
    assert_eq!(person.identity.kind, IdentityKind::Other);
    assert_eq!(person.identity.id, None);
    assert!(person.streams.is_empty());
    assert_eq!(person.server_muted(), None);
}

#[test]
fn each_kind_of_identity_is_found() {
    for (set, kind, id) in [
        (json!({"user": {"id": "1"}}), IdentityKind::User, Some("1")),
        (
            json!({"user": null, "application": {"id": "2"}}),
            IdentityKind::Application,
            Some("2"),
        ),
        (
            json!({"guest": {"id": "3"}}),
            IdentityKind::Guest,
            Some("3"),
        ),
        (
            json!({"phone": {"id": "+49"}}),
            IdentityKind::Phone,
            Some("+49"),
        ),
        (
            json!({"encrypted": {"id": "5"}}),
            IdentityKind::Other,
            Some("5"),
        ),
        (
            json!({"@odata.type": "x", "user": null}),
            IdentityKind::Other,
            None,
        ),
    ] {
        let person = read(&json!({"id": "p", "isMuted": true, "info": {"identity": set}})).unwrap();
        assert_eq!(
            (person.identity.kind, person.identity.id.as_deref()),
            (kind, id),
            "{set}"
        );
    }
}

#[test]
fn a_page_keeps_what_can_be_read_and_says_where_it_goes_on() {
    let body = json!({
        "@odata.context": "c",
        "@odata.nextLink": "https://graph.microsoft.com/v1.0/next",
        "value": [{"id": "p1", "isMuted": true}, {"id": "p2"}, 7, {"id": "p3", "isMuted": false}],
    });
    let page = decode_page(&serde_json::to_vec(&body).unwrap()).unwrap();
    assert_eq!(page.participants.len(), 2);
    assert_eq!(page.unreadable, 2);
    assert_eq!(
        page.next.as_deref(),
        Some("https://graph.microsoft.com/v1.0/next")
    );
    assert!(matches!(
        decode_page(b"{}"),
        Err(DecodeError::Missing("value"))
    ));
    assert!(matches!(
        decode_page(b"{\"value\":{}}"),
        Err(DecodeError::Missing("value"))
    ));
}

#[test]
fn answers_read_back_as_written() {
    let call = CallId::parse("c1").unwrap();
    let base = "http://127.0.0.1:7081/v1.0/";
    let person = Participant {
        id: ParticipantId::parse("p1").unwrap(),
        identity: openmic_model::Identity {
            kind: IdentityKind::Other,
            id: Some("room".to_owned()),
            display_name: None,
        },
        is_muted: true,
        in_lobby: true,
        roster_sequence_number: None,
        streams: Vec::new(),
    };
    let one = encode(base, &call, &person);
    let json: Value = serde_json::from_slice(&one).unwrap();
    let context = "http://127.0.0.1:7081/v1.0/$metadata#communications/calls('c1')/participants";
    assert_eq!(json["@odata.context"], format!("{context}/$entity"));
    assert_eq!(decode(&one).unwrap(), person);

    let all = encode_list(base, &call, [&person, &person]);
    let json: Value = serde_json::from_slice(&all).unwrap();
    assert_eq!(json["@odata.context"], context);
    let page = decode_page(&all).unwrap();
    assert_eq!(page.participants, [person.clone(), person]);
    assert_eq!((page.unreadable, page.next), (0, None));
}

#[test]
fn of_kinds_that_nobody_knows_the_first_by_name_counts_in_any_order() {
    for set in [
        r#"{"b":{"id":"1"},"c":{"id":"2"}}"#,
        r#"{"c":{"id":"2"},"b":{"id":"1"}}"#,
    ] {
        let text = format!(r#"{{"id":"p","isMuted":true,"info":{{"identity":{set}}}}}"#);
        let person = decode(text.as_bytes()).unwrap();
        assert_eq!(person.identity.id.as_deref(), Some("1"), "{set}");
    }
}
