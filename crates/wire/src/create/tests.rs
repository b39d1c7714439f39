use openmic_model::IdentityKind;
use proptest::prelude::*;

use super::*;

/// Joining a meeting by its coordinates, as the docs show it.
fn documented() -> Value {
    json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": "https://bot.example/callbacks/7f3a",
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {"@odata.type": "#microsoft.graph.chatInfo",
                     "threadId": "19:meeting_AAA@thread.v2", "messageId": "0"},
        "meetingInfo": {"@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {"@odata.type": "#microsoft.graph.identitySet",
                "user": {"@odata.type": "#microsoft.graph.identity", "id": "o1", "tenantId": "t1"}},
            "allowConversationWithoutHost": true},
        "callOptions": {"@odata.type": "#microsoft.graph.outgoingCallOptions",
                        "isDeltaRosterEnabled": true},
        "tenantId": "t1",
    })
}

fn read(value: &Value) -> Result<CreateCall, CreateError> {
    CreateCall::decode(&serde_json::to_vec(value).unwrap())
}

fn with(changes: &Value) -> Value {
    let mut body = documented();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn the_documented_join_is_read() {
    let create = read(&documented()).unwrap();
    assert_eq!(create.callback_uri(), "https://bot.example/callbacks/7f3a");
    let thread_id = "19:meeting_AAA@thread.v2".to_owned();
    assert_eq!(create.destination(), &Destination::Meeting { thread_id });
    assert_eq!(create.kind(), CallKind::Group);
    assert_eq!(create.media(), &MediaConfig::ServiceHosted);
    assert_eq!(create.tenant().unwrap().as_str(), "t1");
    assert!(create.delta_roster());
    assert_eq!(create.source(), None);
}

#[test]
fn members_nobody_knows_survive_a_change_of_callback() {
    let mut create = read(&with(&json!({"x-new": {"deep": [1, 2]}}))).unwrap();
    create.set_callback_uri("http://127.0.0.1:7080/callbacks/k");
    create.set_delta_roster(false);
    let sent: Value = serde_json::from_slice(&create.encode()).unwrap();
    let mut expected = with(&json!({"x-new": {"deep": [1, 2]}}));
    expected["callbackUri"] = json!("http://127.0.0.1:7080/callbacks/k");
    expected["callOptions"]["isDeltaRosterEnabled"] = json!(false);
    assert_eq!(sent, expected);
    assert_eq!(read(&sent).unwrap(), create);
}

#[test]
fn delta_rosters_can_be_asked_for_where_there_are_no_options() {
    let mut create = read(&with(&json!({"callOptions": null}))).unwrap();
    assert!(!create.delta_roster());
    create.set_delta_roster(true);
    assert!(
        read(&Value::Object(create.body().clone()))
            .unwrap()
            .delta_roster()
    );
}

#[test]
fn targets_decide_between_one_other_side_and_a_group() {
    let target = |id: &str| json!({"identity": {"user": {"id": id}}});
    let to = |targets: Vec<Value>| {
        with(&json!({"chatInfo": null, "meetingInfo": null, "targets": targets}))
    };
    let create = read(&to(vec![target("u1")])).unwrap();
    assert_eq!(create.kind(), CallKind::PeerToPeer);
    let Destination::Peer(peer) = create.destination() else {
        panic!("{create:?}");
    };
    assert_eq!(
        (peer.kind, peer.id.as_deref()),
        (IdentityKind::User, Some("u1"))
    );

    let create = read(&to(vec![target("u1"), target("u2")])).unwrap();
    assert_eq!(create.kind(), CallKind::Group);
    let Destination::Group(group) = create.destination() else {
        panic!("{create:?}");
    };
    let ids: Vec<_> = group.iter().filter_map(|one| one.id.as_deref()).collect();
    assert_eq!(ids, ["u1", "u2"]);

    assert!(matches!(read(&to(vec![])), Err(CreateError::NoDestination)));
    let six = vec![target("u"); 6];
    assert!(matches!(read(&to(six)), Err(CreateError::TooManyTargets)));
    let wrong = to(vec![json!("u1")]);
    assert!(matches!(read(&wrong), Err(CreateError::Decode(_))));
}

#[test]
fn a_meeting_can_be_named_in_other_ways() {
    let by = |info: Value| read(&with(&json!({"chatInfo": null, "meetingInfo": info})));
    let create = by(json!({"joinMeetingId": "123", "passcode": "s3cret"})).unwrap();
    assert!(matches!(create.destination(), Destination::JoinId { id, .. } if id == "123"));
    assert!(!format!("{create:?} {:?}", create.destination()).contains("s3cret"));
    let create = by(json!({"token": "t0ken"})).unwrap();
    assert_eq!(create.kind(), CallKind::Group);
    assert!(!format!("{create:?} {:?}", create.destination()).contains("t0ken"));
    let organizer = documented()["meetingInfo"].clone();
    assert!(matches!(by(organizer), Err(CreateError::NoThread)));
}

#[test]
fn the_kind_of_media_is_read_with_and_without_a_type() {
    let media = |config: Value| read(&with(&json!({"mediaConfig": config})));
    let app = |blob: Option<&str>| MediaConfig::AppHosted {
        blob: blob.map(str::to_owned),
    };
    for (config, expected) in [
        (
            json!({"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": "v=0"}),
            app(Some("v=0")),
        ),
        (
            json!({"@odata.type": "microsoft.graph.AppHostedMediaConfig"}),
            app(None),
        ),
        (json!({"blob": "v=0"}), app(Some("v=0"))),
        (
            json!({"@odata.type": "ServiceHostedMediaConfig"}),
            MediaConfig::ServiceHosted,
        ),
    ] {
        assert!(
            *media(config.clone()).unwrap().media() == expected,
            "{config}"
        );
    }
    assert!(matches!(media(json!({})), Err(CreateError::MediaConfig)));
    assert!(matches!(media(Value::Null), Err(CreateError::Decode(_))));
}

#[test]
fn what_must_be_there_is_named() {
    for (changes, word) in [
        (json!({"callbackUri": null}), "callbackUri"),
        (json!({"callbackUri": ""}), "callbackUri"),
        (json!({"callbackUri": 7}), "callbackUri"),
        (json!({"mediaConfig": null}), "mediaConfig"),
        (json!({"tenantId": "a b"}), "tenantId"),
        (json!({"tenantId": 7}), "tenantId"),
    ] {
        let error = read(&with(&changes)).unwrap_err();
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text = format!("{text}: {source}");
        }
        assert!(text.contains(word), "{changes}: {text}");
    }
}

#[test]
fn a_join_is_written_as_documented() {
    let tenant = TenantId::parse("t1").unwrap();
    let mut join = Join {
        callback_uri: "https://bot.example/callbacks/7f3a",
        thread_id: "19:meeting_AAA@thread.v2",
        organizer: "o1",
        tenant: &tenant,
        media: MediaConfig::ServiceHosted,
        display_name: None,
    };
    let mut expected = with(&json!({"direction": "outgoing"}));
    expected["meetingInfo"]
        .as_object_mut()
        .unwrap()
        .remove("allowConversationWithoutHost");
    let create = CreateCall::join(&join).unwrap();
    assert_eq!(Value::Object(create.body().clone()), expected);

    join.media = MediaConfig::AppHosted {
        blob: Some("v=0".to_owned()),
    };
    join.display_name = Some("Ann");
    let create = CreateCall::join(&join).unwrap();
    assert!(*create.media() == join.media);
    assert_eq!(
        create.source().unwrap().display_name.as_deref(),
        Some("Ann")
    );
    assert!(!format!("{join:?} {create:?}").contains("Ann"));

    join.thread_id = "";
    assert!(matches!(
        CreateCall::join(&join),
        Err(CreateError::NoThread)
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _create = CreateCall::decode(&body);
    }

    #[test]
    fn no_member_of_another_type_makes_it_panic(
        name in proptest::sample::select(vec![
            "callbackUri", "mediaConfig", "chatInfo", "meetingInfo", "callOptions", "tenantId",
            "targets", "source", "subject",
        ]),
        value in proptest::sample::select(vec![
            json!(null), json!(1), json!(-1.5), json!("x"), json!([]), json!([1]), json!([{}]),
            json!({}), json!({"identity": 1}), json!({"threadId": 1}), json!(true),
        ]),
    ) {
        let mut body = documented();
        body[name] = value;
        if let Ok(mut create) = read(&body) {
            create.set_delta_roster(true);
            prop_assert!(create.delta_roster());
        }
    }
}
