use http::StatusCode;
use http::header::LOCATION;
use http_body_util::BodyExt as _;
use openmic_engine::OperationRecord;
use openmic_model::{
    Action, CallId, ClientContext, Evidence, OperationId, ResultInfo, RosterSeen, Verdict,
};
use serde_json::{Value, json};

use super::answer;
use crate::answer::Refusal;
use crate::surface::Base;

const CALL: &str = "0c1f5e00-0000-4000-8000-000000000001";
const OPERATION: &str = "0fe0623f-d628-42ed-b4bd-8ac290072cc5";

fn answered(verdict: Option<Verdict>) -> Result<(StatusCode, String, Value), Refusal> {
    let record = OperationRecord {
        id: OperationId::parse(OPERATION).unwrap(),
        action: Action::Unmute,
        client_context: Some(ClientContext::parse("mark").unwrap()),
        verdict,
    };
    let base = Base("http://here/v1.0".into());
    let response = answer(&record, &CallId::parse(CALL).unwrap(), &base)?;
    let (parts, body) = response.into_parts();
    let location = parts.headers[LOCATION].to_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let body = runtime.block_on(body.collect()).unwrap().to_bytes();
    Ok((
        parts.status,
        location,
        serde_json::from_slice(&body).unwrap(),
    ))
}

fn confirmed(evidence: Evidence, roster: RosterSeen) -> Verdict {
    Verdict::Confirmed { evidence, roster }
}

fn refused(status: u16, code: &str) -> Verdict {
    Verdict::Refused {
        status,
        code: code.to_owned(),
        message: "Graph's words.".to_owned(),
    }
}

#[test]
fn what_took_effect_is_completed() {
    for verdict in [
        confirmed(Evidence::Http, RosterSeen::Fresh),
        confirmed(Evidence::Operation, RosterSeen::Fresh),
        confirmed(Evidence::Roster, RosterSeen::Fresh),
        confirmed(Evidence::Poll, RosterSeen::Unseen),
        Verdict::Already,
    ] {
        let (status, location, body) = answered(Some(verdict)).unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            location,
            format!("http://here/v1.0/communications/calls/{CALL}/operations/{OPERATION}")
        );
        assert_eq!(
            body,
            json!({
                "@odata.context": "http://here/v1.0/$metadata#unmuteParticipantOperation",
                "@odata.type": "#microsoft.graph.unmuteParticipantOperation",
                "id": OPERATION,
                "status": "completed",
                "clientContext": "mark",
            })
        );
    }
}

#[test]
fn what_did_not_take_effect_is_200_failed_with_its_code() {
    for (verdict, code) in [
        (Verdict::Unconfirmed, 504),
        (Verdict::Expired, 408),
        (Verdict::Superseded, 409),
        (refused(401, "InvalidAuthenticationToken"), 401),
        (refused(422, "8566"), 422),
        (refused(429, "8516"), 429),
        (refused(500, "9999"), 500),
        (refused(503, "9001"), 503),
        (refused(504, "9002"), 504),
    ] {
        let (status, _, body) = answered(Some(verdict.clone())).unwrap();
        assert_eq!(status, StatusCode::OK, "{verdict}");
        assert_eq!(body["status"], "failed", "{verdict}");
        assert_eq!(body["resultInfo"]["code"], code, "{verdict}");
        assert_eq!(body["clientContext"], "mark", "{verdict}");
        assert_eq!(body["id"], OPERATION, "{verdict}");
    }
    let (_, _, body) = answered(Some(refused(422, "8566"))).unwrap();
    assert_eq!(body["resultInfo"]["subcode"], 8566);
    assert_eq!(body["resultInfo"]["message"], "Graph's words.");
}

#[test]
fn five_refusals_pass_on() {
    for (status, code) in [
        (400, "8548"),
        (403, "7504"),
        (404, "8522"),
        (405, "8520"),
        (409, "8519"),
    ] {
        let refusal = answered(Some(refused(status, code))).unwrap_err();
        assert_eq!(refusal.status.as_u16(), status);
        assert_eq!(refusal.code, code);
        assert_eq!(refusal.message, "Graph's words.");
        assert_eq!(refusal.retry_after, None);
    }
}

#[test]
fn a_call_that_ended_is_not_found() {
    for result in [
        None,
        Some(ResultInfo {
            code: 500,
            subcode: 7000,
            message: None,
        }),
    ] {
        let refusal = answered(Some(Verdict::CallEnded { result })).unwrap_err();
        assert_eq!(refusal.status, StatusCode::NOT_FOUND);
        assert_eq!(refusal.code, "8522");
    }
}

#[test]
fn what_still_runs_is_accepted() {
    let (status, location, body) = answered(None).unwrap();
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(location.ends_with(OPERATION));
    assert_eq!(body["status"], "running");
    assert_eq!(body["clientContext"], "mark");
}
