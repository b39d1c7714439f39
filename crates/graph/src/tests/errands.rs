//! Errands: one request, whatever is answered passed on.

use openmic_model::ParticipantId;
use openmic_wire::errand::{Body, Errand, Place};
use tokio::net::TcpSocket;

use super::server::{Reply, Server};
use super::{call, client, config, soon};
use crate::{GraphClient, Metrics, Raw, RequestError};

async fn run(client: &GraphClient, errand: Errand, beta: bool) -> Result<Raw, RequestError> {
    let body = Body::decode(br#"{"clientContext":"c","new":[1]}"#).unwrap();
    let place = Place::Call(call());
    client
        .errand(errand, &place, Some(&body), beta, soon())
        .await
}

#[tokio::test]
async fn an_errand_is_one_request_with_our_own_token() {
    let taken = Reply::new(202, r#"{"id":"o1"}"#).with("Location", "https://h/x");
    let server = Server::start([taken, Reply::new(204, ""), Reply::new(200, "")]).await;
    let client = client(&server);
    let raw = run(&client, Errand::AddLargeGalleryView, false)
        .await
        .unwrap();
    let expected = Raw {
        status: 202,
        location: Some("https://h/x".to_owned()),
        body: br#"{"id":"o1"}"#.to_vec(),
    };
    assert_eq!(raw, expected);
    let whom = Place::Participant(call(), ParticipantId::parse("p1").unwrap());
    let errand = Errand::RemoveParticipant;
    client
        .errand(errand, &whom, None, false, soon())
        .await
        .unwrap();
    run(&client, Errand::MuteAll, true).await.unwrap();

    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "POST /v1.0/communications/calls/c1/addLargeGalleryView",
            "DELETE /v1.0/communications/calls/c1/participants/p1",
            "POST /beta/communications/calls/c1/participants/muteAll",
        ]
    );
    assert_eq!(requests[0].body, r#"{"clientContext":"c","new":[1]}"#);
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(requests[1].body, "");
    assert_eq!(requests[1].header("content-type"), None);
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer token-1"));
    }
}

#[tokio::test]
async fn it_is_sent_again_only_with_a_fresh_token() {
    let no = || Reply::error(401, "InvalidAuthenticationToken", "no");
    let server = Server::start([no(), Reply::new(202, "")]).await;
    let raw = run(&client(&server), Errand::Transfer, false)
        .await
        .unwrap();
    assert_eq!((raw.status, server.requests().len()), (202, 2));

    let server = Server::start([no(), no(), no()]).await;
    let refused = run(&client(&server), Errand::Transfer, false).await;
    assert!(matches!(&refused, Err(RequestError::Refused(no)) if no.status == 401));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn what_may_have_taken_effect_is_not_sent_again() {
    for reply in [
        Reply::new(500, ""),
        Reply::new(502, ""),
        Reply::new(504, ""),
        Reply::new(408, ""),
        Reply::Reset,
        Reply::Cut,
    ] {
        let server = Server::start([reply]).await;
        let error = run(&client(&server), Errand::PlayPrompt, false)
            .await
            .unwrap_err();
        assert!(!error.had_no_effect(), "{error:?}");
        assert_eq!(server.requests().len(), 1);
    }
    // Nor what certainly had none, when it was Graph who said so: the bot is told when to come.
    for status in [429, 503] {
        let server = Server::start([Reply::new(status, "").with("Retry-After", "0")]).await;
        let error = run(&client(&server), Errand::PlayPrompt, false)
            .await
            .unwrap_err();
        assert!(matches!(error, RequestError::Throttled { .. }), "{error:?}");
        assert!(error.had_no_effect());
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_comes_as_it_is() {
    for status in [400, 403, 404, 405, 409, 410, 501] {
        let server = Server::start([Reply::error(status, "8523", "no")]).await;
        let raw = run(&client(&server), Errand::PlayPrompt, false)
            .await
            .unwrap();
        assert_eq!(raw.status, status);
        assert!(String::from_utf8(raw.body).unwrap().contains("8523"));
    }
}

#[tokio::test]
async fn it_waits_for_a_connection() {
    // Bound and not listening: refused until somebody does.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let tokens = Server::start([]).await;
    let config = config(&format!("http://{address}"), &tokens.origin);
    let client = GraphClient::new(&config, &Metrics::new()).unwrap();
    let mut errand = Box::pin(run(&client, Errand::PlayPrompt, false));
    tokio::select! {
        biased;
        raw = &mut errand => panic!("{raw:?}"),
        () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
    }
    let listener = socket.listen(1).unwrap();
    let answer = async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        assert_ne!(stream.read(&mut head).await.unwrap(), 0);
        let answer = b"HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        raw = &mut errand => assert_eq!(raw.unwrap().status, 202),
        () = answer => {}
    }
}
