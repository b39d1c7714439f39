use openmic_model::ResultInfo;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn the_documented_answer_is_written_and_read() {
    let operation = Operation {
        id: Some(OperationId::parse("9a1d").unwrap()),
        status: OperationStatus::Completed,
        client_context: Some(ClientContext::parse("um-01J9ZK").unwrap()),
        result: None,
    };
    let base = "https://graph.microsoft.com/v1.0";
    let body = encode(
        base,
        OperationKind::UnmuteParticipant,
        &operation,
        Casing::Camel,
    );
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        json,
        json!({
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#unmuteParticipantOperation",
            "@odata.type": "#microsoft.graph.unmuteParticipantOperation",
            "id": "9a1d", "status": "completed", "clientContext": "um-01J9ZK",
        })
    );
    assert_eq!(decode(&body).unwrap(), operation);
}

#[test]
fn every_status_reads_back_in_both_casings() {
    for status in [
        OperationStatus::NotStarted,
        OperationStatus::Running,
        OperationStatus::Completed,
        OperationStatus::Failed,
    ] {
        for casing in [Casing::Camel, Casing::Pascal] {
            let operation = Operation {
                status,
                ..pending()
            };
            let body = encode(
                "http://h/v1.0",
                OperationKind::MuteParticipant,
                &operation,
                casing,
            );
            assert_eq!(decode(&body).unwrap(), operation);
            let first = status_word(status, casing).chars().next().unwrap();
            assert_eq!(first.is_uppercase(), casing == Casing::Pascal);
        }
    }
}

#[test]
fn an_answer_that_says_nothing_is_pending() {
    for body in [
        "",
        "  \r\n",
        "null",
        "{}",
        "{\"status\":\"idle\"}",
        "{\"status\":7,\"id\":\"a b\"}",
    ] {
        assert_eq!(decode(body.as_bytes()).unwrap(), pending(), "{body}");
    }
    assert!(decode(b"<html>").is_err());
    assert!(decode(b"[]").is_err());
}

#[test]
fn a_context_over_the_limit_is_nobodys() {
    let body = json!({"clientContext": "x".repeat(257), "status": "completed"});
    let operation = decode(&serde_json::to_vec(&body).unwrap()).unwrap();
    assert_eq!(operation.client_context, None);
    assert_eq!(operation.status, OperationStatus::Completed);
}

#[test]
fn a_failure_keeps_its_reason() {
    let info = ResultInfo {
        code: 403,
        subcode: 8566,
        message: Some("not allowed".to_owned()),
    };
    let operation = Operation {
        status: OperationStatus::Failed,
        result: Some(info),
        ..pending()
    };
    let body = encode(
        "http://h/v1.0",
        OperationKind::MuteParticipant,
        &operation,
        Casing::Camel,
    );
    assert_eq!(decode(&body).unwrap(), operation);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _operation = decode(&body);
    }
}

#[test]
fn an_object_takes_on_how_far_its_operation_is() {
    let mut object =
        json::object(br#"{"id":"o1","status":"Running","participants":[1]}"#, "x").unwrap();
    let mut operation = from_object(&object);
    operation.status = OperationStatus::Failed;
    operation.result = Some(ResultInfo {
        code: 400,
        subcode: 8508,
        message: None,
    });
    update(&mut object, &operation);
    assert_eq!(object["status"], "failed");
    assert_eq!(object["resultInfo"]["subcode"], 8508);
    assert_eq!(object["participants"], serde_json::json!([1]));
    assert_eq!(from_object(&object), operation);
    assert_eq!(from_object(&to_object(&operation)), operation);
}
