//! Everything but mute and unmute: what is repeated, what is followed, what is passed on.

use std::time::Duration;

use openmic_model::{CallState, OperationId, ParticipantId, TenantId};
use openmic_wire::answer::{AnswerCall, RejectCall, RejectReason};
use openmic_wire::create::{CreateCall, Join, MediaConfig};
use openmic_wire::resource::Resource;
use tokio::time::Instant;
use url::Url;

use super::server::{Reply, Server};
use super::{call, client, config, soon};
use crate::{Ambiguity, BuildError, GraphClient, Listing, Metrics, RequestError};

const CALL: &str =
    r##"{"@odata.type":"#microsoft.graph.call","id":"c1","state":"established","x":1}"##;

fn create() -> CreateCall {
    CreateCall::join(&Join {
        callback_uri: "http://127.0.0.1:9/callbacks/k",
        thread_id: "19:meeting@thread.v2",
        organizer: "o1",
        tenant: &TenantId::parse("t1").unwrap(),
        media: MediaConfig::ServiceHosted,
        display_name: None,
    })
    .unwrap()
}

#[tokio::test]
async fn a_created_call_comes_with_its_answer_as_it_came() {
    let server = Server::start([Reply::new(201, CALL)]).await;
    let created = client(&server)
        .create_call(&create(), soon())
        .await
        .unwrap();
    assert_eq!(created.answer.id, call());
    assert_eq!(created.answer.facts.state, Some(CallState::Established));
    assert_eq!(created.body, CALL.as_bytes());
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /v1.0/communications/calls");
    assert_eq!(request.body.as_bytes(), create().encode());
}

#[tokio::test]
async fn a_ring_is_answered_and_rejected_once_and_never_blindly_again() {
    let answer = AnswerCall::new("http://127.0.0.1:9/callbacks/k", MediaConfig::ServiceHosted);
    let reject = RejectCall {
        reason: RejectReason::Busy,
        callback_uri: None,
    };
    let server = Server::start([Reply::new(202, ""), Reply::new(202, "")]).await;
    let graph = client(&server);
    graph.answer_call(&call(), &answer, soon()).await.unwrap();
    graph.reject_call(&call(), &reject, soon()).await.unwrap();
    let requests = server.requests();
    assert_eq!(
        requests[0].line,
        "POST /v1.0/communications/calls/c1/answer"
    );
    assert_eq!(requests[0].body.as_bytes(), answer.encode());
    assert_eq!(
        requests[1].line,
        "POST /v1.0/communications/calls/c1/reject"
    );
    assert_eq!(requests[1].body, r#"{"reason":"busy"}"#);

    let server = Server::start([Reply::new(504, "")]).await;
    let lost = client(&server)
        .answer_call(&call(), &answer, soon())
        .await
        .unwrap_err();
    assert!(!lost.had_no_effect(), "{lost:?}");
    assert_eq!(server.requests().len(), 1);
    let gone = r#"{"error":{"code":"8522","message":"Call not found."}}"#;
    let server = Server::start([Reply::new(404, gone)]).await;
    let late = client(&server)
        .answer_call(&call(), &answer, soon())
        .await
        .unwrap_err();
    assert!(matches!(late, RequestError::Gone), "{late:?}");
}

#[tokio::test]
async fn credentials_that_are_turned_down_are_reported_at_once() {
    for status in [400, 401, 403] {
        let server = Server::start([Reply::new(201, CALL)]).await;
        server.token(Reply::new(status, r#"{"error":"invalid_client"}"#));
        let error = client(&server)
            .create_call(&create(), soon())
            .await
            .unwrap_err();
        let told = super::chain(&error);
        assert!(told.contains("invalid_client"), "{told}");
        assert!(told.contains("check tenant, app and secret"), "{told}");
        assert_eq!(server.token_requests().len(), 1, "{status}");
    }
    // A token endpoint in trouble is asked again.
    let server = Server::start([Reply::new(201, CALL)]).await;
    server.token(Reply::new(500, "oops"));
    client(&server)
        .create_call(&create(), soon())
        .await
        .unwrap();
    assert_eq!(server.token_requests().len(), 2);
}

#[tokio::test]
async fn a_create_is_repeated_only_when_it_had_no_effect() {
    let busy = Reply::new(429, "").with("Retry-After", "0.01");
    let server = Server::start([busy, Reply::new(503, ""), Reply::new(201, CALL)]).await;
    client(&server)
        .create_call(&create(), soon())
        .await
        .unwrap();
    assert_eq!(server.requests().len(), 3);

    for reply in [Reply::new(500, ""), Reply::Reset] {
        let server = Server::start([reply]).await;
        let error = client(&server)
            .create_call(&create(), soon())
            .await
            .unwrap_err();
        assert!(matches!(error, RequestError::Ambiguous(_)), "{error:?}");
        assert!(!error.had_no_effect());
        assert_eq!(server.requests().len(), 1);
    }
    for reply in [Reply::Cut, Reply::new(201, "{}"), Reply::new(201, "")] {
        let server = Server::start([reply]).await;
        let error = client(&server)
            .create_call(&create(), soon())
            .await
            .unwrap_err();
        assert!(!error.had_no_effect(), "a call may be there: {error:?}");
    }
    let server = Server::start([Reply::error(403, "7503", "not registered")]).await;
    let error = client(&server)
        .create_call(&create(), soon())
        .await
        .unwrap_err();
    assert!(matches!(&error, RequestError::Refused(no) if no.code == "7503"));
    assert!(error.had_no_effect());
}

#[tokio::test]
async fn a_pause_beyond_the_deadline_is_not_begun() {
    let full = Reply::error(429, "8530", "No more calls.").with("Retry-After", "3600");
    let server = Server::start([full]).await;
    let deadline = Instant::now() + Duration::from_mins(10);
    let error = client(&server)
        .get_call(&call(), deadline)
        .await
        .unwrap_err();
    let pause = Some(Duration::from_hours(1));
    let RequestError::Throttled {
        refusal,
        retry_after,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((refusal.status, retry_after), (429, pause));
    // What Graph said reaches whoever asked, as that of any other refusal.
    assert_eq!(
        (&*refusal.code, &*refusal.message),
        ("8530", "No more calls.")
    );
}

#[tokio::test]
async fn a_call_is_read_or_gone() {
    let gone = Reply::error(404, "8522", "Call not found.");
    let server = Server::start([Reply::new(200, CALL), gone, Reply::new(500, "")]).await;
    let client = client(&server);
    assert_eq!(client.get_call(&call(), soon()).await.unwrap().id, call());
    let error = client.get_call(&call(), soon()).await.unwrap_err();
    assert!(matches!(error, RequestError::Gone));
    let error = client.get_call(&call(), soon()).await.unwrap_err();
    assert!(matches!(
        error,
        RequestError::Ambiguous(Ambiguity::Status(500))
    ));
    assert_eq!(server.requests().len(), 3);
    assert_eq!(
        server.requests()[0].line,
        "GET /v1.0/communications/calls/c1"
    );
}

#[tokio::test]
async fn a_hang_up_is_repeated_until_it_is_certain() {
    let server = Server::start([Reply::new(502, ""), Reply::Reset, Reply::new(204, "")]).await;
    client(&server).delete_call(&call(), soon()).await.unwrap();
    assert_eq!(server.requests().len(), 3);
    assert_eq!(
        server.requests()[0].line,
        "DELETE /v1.0/communications/calls/c1"
    );

    let server = Server::start([Reply::error(404, "8522", "x")]).await;
    client(&server).delete_call(&call(), soon()).await.unwrap();
    let server = Server::start([Reply::error(403, "accessDenied", "x")]).await;
    assert!(client(&server).delete_call(&call(), soon()).await.is_err());
}

#[tokio::test]
async fn keep_alive_tells_a_call_that_is_gone() {
    let server = Server::start([Reply::new(200, ""), Reply::new(404, "")]).await;
    let client = client(&server);
    client.keep_alive(&call(), soon()).await.unwrap();
    let error = client.keep_alive(&call(), soon()).await.unwrap_err();
    assert!(matches!(error, RequestError::Gone));
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /v1.0/communications/calls/c1/keepAlive");
    assert_eq!(request.header("content-length"), Some("0"));
}

fn page(people: &[&str], next: Option<&str>) -> Reply {
    let people: Vec<_> = people
        .iter()
        .map(|id| format!(r#"{{"id":"{id}","isMuted":false}}"#))
        .collect();
    let next = next.map(|next| format!(r#""@odata.nextLink":"{next}","#));
    let next = next.unwrap_or_default();
    Reply::new(200, &format!(r#"{{{next}"value":[{}]}}"#, people.join(",")))
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.participants.iter().map(|p| p.id.as_str()).collect()
}

#[tokio::test]
async fn a_roster_is_followed_over_its_pages() {
    let server = Server::start([]).await;
    let path = "/v1.0/communications/calls/c1/participants";
    let next = format!("{}{path}?$skiptoken=2", server.origin);
    server.then(page(&["p1", "p2"], Some(&next)));
    server.then(page(&["p3"], Some("?$skiptoken=3")));
    server.then(page(&["p4"], None));
    let listing = client(&server).participants(&call(), soon()).await.unwrap();
    assert_eq!(names(&listing), ["p1", "p2", "p3", "p4"]);
    assert!(listing.complete);
    let lines: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.line)
        .collect();
    let expected = ["", "?$skiptoken=2", "?$skiptoken=3"].map(|query| format!("GET {path}{query}"));
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_roster_is_not_followed_elsewhere() {
    let elsewhere = Server::start([]).await;
    let server = Server::start([]).await;
    let client = client(&server);
    let own = &server.origin;
    for next in [
        format!(
            "{}/v1.0/communications/calls/c1/participants",
            elsewhere.origin
        ),
        format!("{own}/v1.0/communications/calls/c2/participants"),
        format!("{own}/v2/communications/calls/c1/participants"),
        format!("{own}/v1.0/communications/calls/c1/participants"),
        format!(
            "{}0/v1.0/communications/calls/c1/participants",
            server.origin
        ),
        "//evil.example/v1.0/communications/calls/c1/participants".to_owned(),
        // found by the fuzz target `next_page`: below the call, and none of its roster
        "h~p://x/communications/calls/c1/participants".to_owned(),
        "http://".to_owned(),
    ] {
        server.then(page(&["p1"], Some(&next)));
        let error = client.participants(&call(), soon()).await.unwrap_err();
        assert!(matches!(error, RequestError::NextLink), "{next}: {error:?}");
    }
    assert_eq!(elsewhere.connections(), 0);
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn a_roster_that_does_not_end_is_given_up() {
    let server = Server::start([]).await;
    for number in 0..60 {
        server.then(page(&[], Some(&format!("?$skiptoken={number}"))));
    }
    let error = client(&server)
        .participants(&call(), soon())
        .await
        .unwrap_err();
    assert!(matches!(error, RequestError::NextLink));
    assert_eq!(server.requests().len(), 50);
}

#[tokio::test]
async fn a_roster_with_a_hole_is_not_the_whole_one() {
    let body = r#"{"value":[{"id":"p1","isMuted":true},{"id":"p2"}]}"#;
    let server = Server::start([Reply::new(200, body)]).await;
    let listing = client(&server).participants(&call(), soon()).await.unwrap();
    assert_eq!(names(&listing), ["p1"]);
    assert!(!listing.complete);
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    let missing = Reply::error(404, "8522", "Participant not found.");
    let found = Reply::new(200, r#"{"id":"p1","isMuted":false}"#);
    let server = Server::start([missing, found]).await;
    let client = client(&server);
    let id = ParticipantId::parse("p1").unwrap();
    assert_eq!(
        client.participant(&call(), &id, soon()).await.unwrap(),
        None
    );
    assert!(
        client
            .participant(&call(), &id, soon())
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        server.requests()[1].line,
        "GET /v1.0/communications/calls/c1/participants/p1"
    );

    let id = OperationId::parse("o1").unwrap();
    for reply in [
        Reply::error(404, "8522", "x"),
        Reply::new(405, ""),
        Reply::new(501, ""),
        Reply::new(404, "<html>"),
    ] {
        server.then(reply);
        assert_eq!(client.operation(&call(), &id, soon()).await.unwrap(), None);
    }
    server.then(Reply::new(200, r#"{"status":"Completed"}"#));
    let operation = client
        .operation(&call(), &id, soon())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(operation.id, Some(id));
    server.then(Reply::error(403, "accessDenied", "x"));
    let id = OperationId::parse("o1").unwrap();
    assert!(client.operation(&call(), &id, soon()).await.is_err());
}

#[tokio::test]
async fn raw_answers_are_passed_on_with_refusals_but_not_our_own_troubles() {
    let refusal = r#"{"error":{"code":"8522","message":"Call not found."}}"#;
    let server = Server::start([Reply::new(200, CALL), Reply::new(404, refusal)]).await;
    let client = client(&server);
    let resource = Resource::Call(call());
    let raw = client
        .get_raw(&resource, Some("$select=id"), soon())
        .await
        .unwrap();
    assert_eq!((raw.status, raw.body.as_slice()), (200, CALL.as_bytes()));
    assert_eq!(
        server.requests()[0].line,
        "GET /v1.0/communications/calls/c1?$select=id"
    );
    let raw = client.get_raw(&resource, None, soon()).await.unwrap();
    assert_eq!((raw.status, raw.body.as_slice()), (404, refusal.as_bytes()));

    server.then(Reply::new(502, ""));
    let error = client.get_raw(&resource, None, soon()).await.unwrap_err();
    assert!(matches!(error, RequestError::Ambiguous(_)));
    server.then(Reply::new(401, ""));
    server.then(Reply::new(401, ""));
    let error = client.get_raw(&resource, None, soon()).await.unwrap_err();
    assert!(matches!(error, RequestError::Refused(_)));
    assert!(
        client
            .get_raw(&Resource::Other, None, soon())
            .await
            .is_err()
    );
}

#[test]
fn only_roots_are_taken_for_urls() {
    for bad in [
        "ftp://h/v1.0",
        "http://u:p@h/v1.0",
        "http://h/v1.0?x",
        "http://h/v1.0#x",
        "data:x",
    ] {
        let mut config = config("http://127.0.0.1:9", "http://127.0.0.1:9");
        config.base_url = Url::parse(bad).unwrap();
        let error = GraphClient::new(&config, &Metrics::new()).unwrap_err();
        assert!(matches!(error, BuildError::Url(_)), "{bad}");
    }
    let mut config = config("http://127.0.0.1:9", "http://127.0.0.1:9");
    config.base_url = Url::parse("http://127.0.0.1:9/v1.0/").unwrap();
    let client = GraphClient::new(&config, &Metrics::new()).unwrap();
    assert_eq!(client.base(), "http://127.0.0.1:9/v1.0");
}

#[test]
fn an_address_is_what_root_and_path_are_together() {
    for root in [
        "http://127.0.0.1:9",
        "http://127.0.0.1:9/v1.0/",
        "http://graph.example/a%20b/v1.0//",
    ] {
        let mut config = config("http://127.0.0.1:9", "http://127.0.0.1:9");
        config.base_url = Url::parse(root).unwrap();
        let client = GraphClient::new(&config, &Metrics::new()).unwrap();
        for id in ["c1", "0C1F-5E", "-_.:@~!$'()*+,=", "..."] {
            let path = format!("/communications/calls/{id}/unmute");
            let whole = Url::parse(&format!("{}{path}", client.base())).unwrap();
            assert_eq!(client.url(&path), whole);
        }
    }
}

#[test]
fn a_client_of_the_public_cloud_can_be_made() {
    // TLS is set up without a provider having been installed, and without a panic
    let credential = config("http://h", "http://h").credential;
    let config = crate::GraphConfig::public_cloud(credential);
    match GraphClient::new(&config, &Metrics::new()) {
        Ok(client) => assert_eq!(client.base(), "https://graph.microsoft.com/v1.0"),
        // a machine without root certificates gets an error that says so
        Err(error) => assert!(error.to_string().contains("root certificates"), "{error}"),
    }
}
