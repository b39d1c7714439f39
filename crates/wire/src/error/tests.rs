use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn the_envelope_is_written_as_documented() {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_601);
    let body = encode("8522", "Call not found.", date, "r1", Some("c1"));
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        json,
        json!({"error": {"code": "8522", "message": "Call not found.", "innerError": {
            "date": "2026-01-01T00:00:01", "request-id": "r1", "client-request-id": "c1"}}})
    );
    let read = decode(&body).unwrap();
    assert_eq!((read.code.as_str(), read.subcode()), ("8522", Some(8522)));
    assert_eq!(read.request_id.as_deref(), Some("r1"));
}

#[test]
fn an_error_inside_an_unknown_error_is_lifted_out() {
    for (inner, code, message) in [
        (
            r#"{"errorCode":"7503","message":"not registered","instanceAnnotations":[]}"#,
            "7503",
            "not registered",
        ),
        (
            r#"{"errorCode":7503,"message":"not registered"}"#,
            "7503",
            "not registered",
        ),
        (
            r#"{"message":"No HTTP resource was found"}"#,
            "UnknownError",
            "No HTTP resource was found",
        ),
        ("", "UnknownError", ""),
        ("plain words", "UnknownError", "plain words"),
    ] {
        let body = json!({"error": {"code": "UnknownError", "message": inner}});
        let read = decode(&serde_json::to_vec(&body).unwrap()).unwrap();
        assert_eq!((read.code.as_str(), read.message.as_str()), (code, message));
    }
}

#[test]
fn other_spellings_of_the_inner_error_are_read() {
    let body = json!({"error": {"code": "itemNotFound", "innererror": {"requestId": "r9"}}});
    let read = decode(&serde_json::to_vec(&body).unwrap()).unwrap();
    assert_eq!(read.request_id.as_deref(), Some("r9"));
    assert_eq!(read.subcode(), None);
}

#[test]
fn other_bodies_are_no_errors_of_graph() {
    for body in [
        "",
        "<html>502</html>",
        "[]",
        "{}",
        "{\"error\":\"invalid_client\"}",
    ] {
        assert_eq!(decode(body.as_bytes()), None, "{body}");
    }
}

proptest! {
    #[test]
    fn long_messages_are_cut_at_a_character(message in "\\PC{300,500}", code in any::<String>()) {
        let body = json!({"error": {"code": code, "message": message}});
        let read = decode(&serde_json::to_vec(&body).unwrap()).unwrap();
        prop_assert!(read.message.len() <= 1024);
        prop_assert!(message.starts_with(&read.message));
    }

    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _error = decode(&body);
    }
}
