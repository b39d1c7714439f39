use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::*;
use crate::tests::server::{Reply, Server};
use crate::tests::{chain, config};

fn source(server: &Server) -> TokenSource {
    let config = config(&server.origin, &server.origin);
    let url = Url::parse(&format!("{}/t1/oauth2/v2.0/token", server.origin)).unwrap();
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    TokenSource::new(http, &config, url, Metrics::new())
}

fn token(renew_at: Instant, ends_at: Instant) -> Arc<Token> {
    Arc::new(Token {
        header: HeaderValue::from_static("Bearer kept"),
        renew_at,
        ends_at,
    })
}

fn header(flight: Flight) -> String {
    flight.unwrap().header.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn many_who_need_a_token_ask_once() {
    let gate = Arc::new(Notify::new());
    let server = Server::start([]).await;
    server.token(Reply::Held(
        Arc::clone(&gate),
        Box::new(Reply::grant("one")),
    ));
    let source = source(&server);
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { source.token(None).await })
        })
        .collect();
    server.received(1).await;
    gate.notify_one();
    for waiter in waiters {
        assert_eq!(header(waiter.await.unwrap()), "Bearer one");
    }
    assert_eq!(header(source.token(None).await), "Bearer one");
    assert_eq!(server.token_requests().len(), 1);
}

#[tokio::test]
async fn many_who_need_a_token_share_a_failure() {
    let gate = Arc::new(Notify::new());
    let server = Server::start([]).await;
    server.token(Reply::Held(
        Arc::clone(&gate),
        Box::new(Reply::new(500, "oops")),
    ));
    let source = source(&server);
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { source.token(None).await })
        })
        .collect();
    server.received(1).await;
    gate.notify_one();
    for waiter in waiters {
        assert!(matches!(
            waiter.await.unwrap(),
            Err(TokenError::Refused { status: 500, .. })
        ));
    }
    assert_eq!(server.token_requests().len(), 1);
}

#[tokio::test]
async fn who_gives_up_waiting_takes_nothing_from_the_others() {
    let gate = Arc::new(Notify::new());
    let server = Server::start([]).await;
    server.token(Reply::Held(
        Arc::clone(&gate),
        Box::new(Reply::grant("one")),
    ));
    let source = source(&server);
    let first = tokio::spawn({
        let source = source.clone();
        async move { source.token(None).await }
    });
    server.received(1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.notify_one();
    assert_eq!(header(source.token(None).await), "Bearer one");
    assert_eq!(server.token_requests().len(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_in_the_background_before_it_ends() {
    let server = Server::start([]).await;
    let source = source(&server);
    let now = Instant::now();
    source.shared.lock().token = Some(token(now, now + Duration::from_mins(10)));
    assert_eq!(header(source.token(None).await), "Bearer kept");
    let flight = source.shared.lock().flight.clone();
    flight.unwrap().wait_for(Option::is_some).await.unwrap();
    assert_eq!(header(source.token(None).await), "Bearer token-1");
}

#[tokio::test]
async fn the_old_token_serves_while_the_endpoint_is_down() {
    let server = Server::start([]).await;
    server.token(Reply::Reset);
    let source = source(&server);
    let now = Instant::now();
    source.shared.lock().token = Some(token(now, now + Duration::from_mins(10)));
    assert_eq!(header(source.token(None).await), "Bearer kept");
    let flight = source.shared.lock().flight.clone();
    let result = flight
        .unwrap()
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone();
    assert!(matches!(result, Some(Err(TokenError::Unreachable(_)))));
    assert_eq!(header(source.token(None).await), "Bearer kept");
    assert_eq!(
        server.token_requests().len(),
        1,
        "it is left alone for a while"
    );
}

#[tokio::test]
async fn a_rejected_token_is_not_given_out_again() {
    let server = Server::start([]).await;
    let source = source(&server);
    let first = source.token(None).await.unwrap();
    assert_eq!(header(source.token(Some(&first)).await), "Bearer token-2");
    // whoever was told later that the first is no good takes the second
    assert_eq!(header(source.token(Some(&first)).await), "Bearer token-2");
    assert_eq!(server.token_requests().len(), 2);
}

#[test]
fn a_token_is_used_renewed_and_dropped_by_its_age() {
    let begun = Instant::now();
    let at = |seconds| begun + Duration::from_secs(seconds);
    let mut state = State {
        token: Some(token(at(80), at(100))),
        ..State::default()
    };
    assert!(matches!(state.plan(at(0), None), Plan::Use(_)));
    assert!(matches!(state.plan(at(79), None), Plan::Use(_)));
    assert!(matches!(state.plan(at(80), None), Plan::Renew(_)));
    assert!(matches!(state.plan(at(99), None), Plan::Renew(_)));
    assert!(matches!(state.plan(at(100), None), Plan::Ask));
    let failed = |seconds, row| {
        Some(Failed {
            at: at(seconds),
            error: TokenError::Abandoned,
            row,
        })
    };
    state.failed = failed(90, 1);
    assert!(matches!(state.plan(at(90), None), Plan::Use(_)));
    assert!(matches!(state.plan(at(91), None), Plan::Renew(_)));
    state.failed = failed(100, 9);
    assert!(matches!(state.plan(at(100), None), Plan::Fail(_)));
    assert!(matches!(state.plan(at(101), None), Plan::Ask));
    state.failed = failed(100, 10);
    assert!(matches!(state.plan(at(104), None), Plan::Fail(_)));
    assert!(matches!(state.plan(at(105), None), Plan::Ask));
    let token = token(at(80), at(100));
    assert!(!token.is_waning(at(89)) && token.is_waning(at(90)));
}

#[test]
fn the_life_of_a_grant_is_read_in_its_spellings() {
    let begun = Instant::now();
    let life = |body: &str| {
        let token = granted(body.as_bytes(), begun, 200).unwrap();
        assert!(format!("{token:?}").contains("Sensitive"), "{token:?}");
        (token.renew_at - begun, token.ends_at - begun)
    };
    let seconds = Duration::from_secs;
    assert_eq!(
        life(r#"{"access_token":"t","expires_in":100}"#),
        (seconds(80), seconds(100))
    );
    assert_eq!(
        life(r#"{"access_token":"t","expires_in":"100"}"#),
        (seconds(80), seconds(100))
    );
    assert_eq!(
        life(r#"{"access_token":"t"}"#),
        (seconds(240), seconds(300))
    );
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"access_token":7}"#,
        "{\"access_token\":\"a\\nb\"}",
    ] {
        let error = granted(bad.as_bytes(), begun, 200).err();
        assert!(matches!(error, Some(TokenError::Unreadable(200))), "{bad}");
    }
}

#[tokio::test]
async fn an_answer_without_a_token_is_told() {
    let server = Server::start([]).await;
    server.token(Reply::new(200, "{}"));
    let Err(error) = source(&server).token(None).await else {
        panic!("there is no token");
    };
    assert!(chain(&error).contains("no token"), "{error}");
}
