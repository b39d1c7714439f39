use serde_json::{Value, json};

use super::*;

fn service_hosted() -> Value {
    json!({"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"})
}

fn answer(body: &Value) -> Result<AnswerCall, AnswerError> {
    AnswerCall::decode(body.to_string().as_bytes())
}

#[test]
fn graphs_documented_answer_is_read_and_keeps_what_nobody_knows() {
    let body = json!({
        "callbackUri": "https://bot.example/api/calls",
        "mediaConfig": {"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": "v=0"},
        "acceptedModalities": ["audio"],
        "callOptions": {"@odata.type": "#microsoft.graph.incomingCallOptions",
            "isContentSharingNotificationEnabled": true, "isDeltaRosterEnabled": true},
        "participantCapacity": 200,
        "unheardOf": 1,
    });
    let mut read = answer(&body).unwrap();
    assert_eq!(read.callback_uri(), Some("https://bot.example/api/calls"));
    assert!(matches!(read.media(), MediaConfig::AppHosted { blob: Some(blob) } if blob == "v=0"));
    assert!(read.delta_roster());
    read.set_callback_uri("https://engine.example/callbacks/k");
    read.set_delta_roster(false);
    let sent: Value = serde_json::from_slice(&read.encode()).unwrap();
    assert_eq!(sent["callbackUri"], "https://engine.example/callbacks/k");
    assert_eq!(sent["unheardOf"], 1);
    assert_eq!(sent["callOptions"]["isDeltaRosterEnabled"], false);
    let kept = &sent["callOptions"]["isContentSharingNotificationEnabled"];
    assert_eq!(*kept, true);
}

#[test]
fn what_we_write_we_read() {
    let made = AnswerCall::new("https://a.example/c", MediaConfig::ServiceHosted);
    let read = AnswerCall::decode(&made.encode()).unwrap();
    assert_eq!(read, made);
    assert!(read.delta_roster());
    for reason in [
        RejectReason::None,
        RejectReason::Busy,
        RejectReason::Forbidden,
    ] {
        let made = RejectCall {
            reason,
            callback_uri: Some("https://a.example/c".to_owned()),
        };
        assert_eq!(RejectCall::decode(&made.encode()).unwrap(), made);
    }
}

#[test]
fn an_answer_needs_its_media_config_and_no_callback() {
    let read = answer(&json!({"mediaConfig": service_hosted()})).unwrap();
    assert_eq!(read.callback_uri(), None);
    assert!(!read.delta_roster());
    for bad in [
        json!({}),
        json!({"mediaConfig": null}),
        json!({"mediaConfig": {"@odata.type": "#microsoft.graph.otherMediaConfig"}}),
        json!({"mediaConfig": service_hosted(), "callbackUri": 7}),
        json!([]),
    ] {
        assert!(answer(&bad).is_err(), "{bad}");
    }
    assert!(AnswerCall::decode(b"").is_err());
}

#[test]
fn a_rejection_may_say_why_and_nothing_else() {
    assert_eq!(RejectCall::decode(b"").unwrap(), RejectCall::default());
    assert!(RejectCall::decode(b"\n").is_err());
    let read = |body: &Value| RejectCall::decode(body.to_string().as_bytes());
    // The docs' table prints the words with a capital.
    let busy = read(&json!({"reason": "Busy"})).unwrap();
    assert_eq!(busy.reason, RejectReason::Busy);
    assert_eq!(
        read(&json!({"reason": null})).unwrap(),
        RejectCall::default()
    );
    for bad in [
        json!({"reason": "tired"}),
        json!({"reason": 1}),
        json!("busy"),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}

#[test]
fn no_secret_is_shown() {
    let made = AnswerCall::new(
        "https://a.example/key-of-the-call",
        MediaConfig::AppHosted {
            blob: Some("a=ice-pwd:secret".to_owned()),
        },
    );
    let shown = format!("{made:?}");
    assert!(
        !shown.contains("key-of-the-call") && !shown.contains("secret"),
        "{shown}"
    );
}
