//! Mute and unmute: one POST, and exactly what its outcome means.

use std::time::Duration;

use openmic_model::{Action, Operation, OperationStatus};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::server::{Reply, Server};
use super::{call, client, config, context, soon};
use crate::{ActError, Ambiguity, GraphClient, Metrics, NotSent, TokenError};

/// Unmutes against a server that answers so; also how often it was asked.
async fn unmute(replies: &[Reply]) -> (Result<Operation, ActError>, usize) {
    let server = Server::start(replies.to_vec()).await;
    let result = client(&server)
        .act(&call(), Action::Unmute, &context(), soon())
        .await;
    (result, server.requests().len())
}

async fn once(reply: Reply) -> Result<Operation, ActError> {
    let (result, asked) = unmute(&[reply]).await;
    assert_eq!(asked, 1, "a POST may be sent once only");
    result
}

const COMPLETED: &str = r##"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#unmuteParticipantOperation",
 "@odata.type":"#microsoft.graph.unmuteParticipantOperation",
 "id":"o1","status":"completed","clientContext":"um-1"}"##;

#[tokio::test]
async fn the_request_is_as_documented() {
    let server = Server::start([Reply::new(200, COMPLETED), Reply::new(200, COMPLETED)]).await;
    let client = client(&server);
    client
        .act(&call(), Action::Unmute, &context(), soon())
        .await
        .unwrap();
    client
        .act(&call(), Action::Mute, &context(), soon())
        .await
        .unwrap();

    let requests = server.requests();
    assert_eq!(
        requests[0].line,
        "POST /v1.0/communications/calls/c1/unmute"
    );
    assert_eq!(requests[1].line, "POST /v1.0/communications/calls/c1/mute");
    let mut ids = Vec::new();
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer token-1"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("user-agent"), Some("openmic-test/1"));
        assert_eq!(request.body, r#"{"clientContext":"um-1"}"#);
        let id = request.header("client-request-id").unwrap();
        ids.push(uuid::Uuid::parse_str(id).unwrap());
    }
    assert_ne!(ids[0], ids[1]);

    let tokens = server.token_requests();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].line, "POST /t1/oauth2/v2.0/token");
    let form: Vec<_> = tokens[0].body.split('&').collect();
    let scope = "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default";
    let expected = [
        "client_id=a1",
        "client_secret=s3cret-of-the-test",
        scope,
        "grant_type=client_credentials",
    ];
    assert_eq!(form, expected);
    assert_eq!(server.connections(), 1, "the connection is kept");
}

#[tokio::test]
async fn an_operation_is_what_the_answer_says() {
    let operation = once(Reply::new(200, COMPLETED)).await.unwrap();
    assert_eq!(operation.status, OperationStatus::Completed);
    assert_eq!(operation.id.unwrap().as_str(), "o1");
    assert_eq!(operation.client_context, Some(context()));

    let running = once(Reply::new(200, r#"{"id":"o2","status":"Running"}"#))
        .await
        .unwrap();
    assert_eq!(running.status, OperationStatus::Running);

    let failed = r#"{"id":"o3","status":"failed","resultInfo":{"code":403,"subCode":"8566"}}"#;
    let failed = once(Reply::new(200, failed)).await.unwrap();
    assert_eq!(failed.result.unwrap().subcode, 8566);
}

#[tokio::test]
async fn a_success_that_says_nothing_is_a_pending_operation() {
    for reply in [
        Reply::new(200, ""),
        Reply::new(202, ""),
        Reply::new(200, "null"),
        Reply::new(200, "<html>"),
        Reply::new(200, &"x".repeat(9 * 1024 * 1024)),
        Reply::Cut,
    ] {
        assert_eq!(
            once(reply).await.unwrap(),
            openmic_wire::operation::pending()
        );
    }
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once() {
    let no = Reply::error(401, "InvalidAuthenticationToken", "expired");
    let server = Server::start([no, Reply::new(200, COMPLETED)]).await;
    let client = client(&server);
    let result = client
        .act(&call(), Action::Unmute, &context(), soon())
        .await;
    assert_eq!(result.unwrap().status, OperationStatus::Completed);
    let requests = server.requests();
    assert_eq!(requests[0].header("authorization"), Some("Bearer token-1"));
    assert_eq!(requests[1].header("authorization"), Some("Bearer token-2"));
    assert_eq!(requests[0].body, requests[1].body);
}

#[tokio::test]
async fn a_second_rejection_is_a_refusal() {
    let no = Reply::error(401, "InvalidAuthenticationToken", "no");
    let (result, asked) = unmute(&[no.clone(), no.clone(), no]).await;
    let Err(ActError::Refused(refusal)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (401, "InvalidAuthenticationToken")
    );
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn a_rejected_token_that_cannot_be_replaced_is_a_request_not_sent() {
    let server = Server::start([Reply::new(401, "")]).await;
    server.token(Reply::grant("good-once"));
    server.token(Reply::new(400, r#"{"error":"invalid_client"}"#));
    let result = client(&server)
        .act(&call(), Action::Unmute, &context(), soon())
        .await;
    let not_sent = matches!(
        &result,
        Err(ActError::NotSent(NotSent::Token(TokenError::Refused { status: 400, error, .. })))
            if error == "invalid_client"
    );
    assert!(not_sent, "{result:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_definite_no_keeps_its_code() {
    for (reply, status, code, subcode) in [
        (Reply::error(400, "8523", "bad"), 400, "8523", Some(8523)),
        (Reply::error(403, "8566", "policy"), 403, "8566", Some(8566)),
        (
            Reply::error(405, "notAllowed", "no"),
            405,
            "notAllowed",
            None,
        ),
        (
            Reply::error(409, "8519", "conflict"),
            409,
            "8519",
            Some(8519),
        ),
        (
            Reply::error(501, "notSupported", "no"),
            501,
            "notSupported",
            None,
        ),
        (Reply::new(403, "<html>"), 403, "http403", None),
        (
            Reply::new(404, "<html>not here</html>"),
            404,
            "http404",
            None,
        ),
        (
            Reply::error(
                404,
                "UnknownError",
                "{\\\"message\\\":\\\"No HTTP resource\\\"}",
            ),
            404,
            "UnknownError",
            None,
        ),
    ] {
        let Err(ActError::Refused(refusal)) = once(reply).await else {
            panic!("{status} {code} is no refusal");
        };
        assert_eq!(
            (refusal.status, refusal.code.as_str(), refusal.subcode),
            (status, code, subcode)
        );
        assert!(!refusal.message.is_empty());
    }
}

#[tokio::test]
async fn a_call_that_is_gone_is_told_apart() {
    for reply in [
        Reply::error(404, "8522", "Call not found."),
        Reply::new(404, ""),
        Reply::error(410, "gone", "x"),
    ] {
        assert!(matches!(once(reply).await, Err(ActError::Gone)));
    }
}

#[tokio::test]
async fn throttling_says_when_to_come_again() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let later = "Sun, 06 Nov 1994 08:49:44 GMT";
    for (reply, status, pause) in [
        (
            Reply::new(429, "").with("Retry-After", "2.128"),
            429,
            Some(2.128),
        ),
        (Reply::new(429, "").with("Retry-After", "7"), 429, Some(7.0)),
        (
            Reply::new(503, "")
                .with("Retry-After", later)
                .with("Date", date),
            503,
            Some(7.0),
        ),
        (Reply::new(503, ""), 503, None),
        (Reply::new(429, "").with("Retry-After", "soon"), 429, None),
    ] {
        let Err(ActError::Throttled {
            refusal,
            retry_after,
        }) = once(reply).await
        else {
            panic!("{status} is not throttling");
        };
        assert_eq!(
            (refusal.status, retry_after),
            (status, pause.map(Duration::from_secs_f64))
        );
    }
}

#[tokio::test]
async fn what_leaves_the_effect_open_is_ambiguous() {
    for status in [408, 500, 502, 504, 507] {
        let result = once(Reply::error(status, "generalException", "x")).await;
        let open =
            matches!(result, Err(ActError::Ambiguous(Ambiguity::Status(was))) if was == status);
        assert!(open, "{status}: {result:?}");
    }
    let result = once(Reply::Reset).await;
    assert!(
        matches!(result, Err(ActError::Ambiguous(Ambiguity::Broken(_)))),
        "{result:?}"
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_leaves_the_effect_open() {
    let (short, long) = (Duration::from_secs(2), Duration::from_mins(1));
    for (deadline, limit) in [(short, long), (long, short)] {
        let server = Server::start([Reply::new(200, COMPLETED), Reply::Hang]).await;
        let mut config = config(&server.origin, &server.origin);
        config.request_timeout = limit;
        let client = GraphClient::new(&config, &Metrics::new()).unwrap();
        // the first one gets the token and the connection
        let first = client.act(&call(), Action::Mute, &context(), soon()).await;
        assert_eq!(first.unwrap().status, OperationStatus::Completed);
        let begun = Instant::now();
        let deadline = begun + deadline;
        let result = client
            .act(&call(), Action::Unmute, &context(), deadline)
            .await;
        assert!(
            matches!(result, Err(ActError::Ambiguous(Ambiguity::Timeout(_)))),
            "{result:?}"
        );
        assert!(begun.elapsed() < long / 2, "the shorter limit counts");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_after_the_post_left_is_ambiguous() {
    let server = Server::start([
        Reply::new(200, ""),
        Reply::Reset,
        Reply::new(200, COMPLETED),
    ])
    .await;
    let client = client(&server);
    client
        .act(&call(), Action::Mute, &context(), soon())
        .await
        .unwrap();
    let result = client
        .act(&call(), Action::Unmute, &context(), soon())
        .await;
    assert!(
        matches!(result, Err(ActError::Ambiguous(Ambiguity::Broken(_)))),
        "{result:?}"
    );
    assert_eq!(
        server.requests().len(),
        2,
        "it must not be sent again underneath"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start([Reply::new(200, COMPLETED)]).await;
    for status in [301, 302, 307, 308] {
        let target = format!("{}/v1.0/communications/calls/c1/unmute", elsewhere.origin);
        let result = once(Reply::new(status, "").with("Location", &target)).await;
        assert!(matches!(result, Err(ActError::Refused(no)) if no.status == status));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let server = Server::start([]).await;
    // bound and not listening: the port refuses, and nobody else can take it
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let origin = format!("http://{}", closed.local_addr().unwrap());

    let no_graph = GraphClient::new(&config(&origin, &server.origin), &Metrics::new()).unwrap();
    let result = no_graph
        .act(&call(), Action::Unmute, &context(), soon())
        .await;
    assert!(
        matches!(result, Err(ActError::NotSent(NotSent::Connect(_)))),
        "{result:?}"
    );

    let no_token = GraphClient::new(&config(&server.origin, &origin), &Metrics::new()).unwrap();
    let result = no_token
        .act(&call(), Action::Unmute, &context(), soon())
        .await;
    let unreachable = matches!(
        result,
        Err(ActError::NotSent(NotSent::Token(TokenError::Unreachable(
            _
        ))))
    );
    assert!(unreachable, "{result:?}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn after_the_deadline_nothing_is_sent() {
    let server = Server::start([]).await;
    let client = client(&server);
    let result = client
        .act(&call(), Action::Unmute, &context(), Instant::now())
        .await;
    assert!(
        matches!(result, Err(ActError::NotSent(NotSent::TooLate))),
        "{result:?}"
    );
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_token_that_does_not_come_in_time_leaves_nothing_sent() {
    let server = Server::start([]).await;
    server.token(Reply::Hang);
    let deadline = Instant::now() + Duration::from_millis(50);
    let result = client(&server)
        .act(&call(), Action::Unmute, &context(), deadline)
        .await;
    assert!(
        matches!(result, Err(ActError::NotSent(NotSent::TooLate))),
        "{result:?}"
    );
    assert!(server.requests().is_empty());
}
