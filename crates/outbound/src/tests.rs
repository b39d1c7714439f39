mod peers;
mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use url::Url;

use crate::{Lookup, Outbound, OutboundConfig, PostError, Refused};

async fn post(outbound: &Outbound, url: &str) -> Result<crate::Answer, PostError> {
    let url = Url::parse(url).unwrap();
    let body = Bytes::from_static(b"{}");
    outbound.post(&url, HeaderMap::new(), body).await
}

fn refused(result: Result<crate::Answer, PostError>) -> Refused {
    match result {
        Err(PostError::Refused(reason)) => reason,
        other => panic!("expected the guard's refusal, got {other:?}"),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Global unicast space that nobody has: it passes the guard and leads nowhere.
const NOWHERE: &str = "2000::1";

fn dev() -> OutboundConfig {
    OutboundConfig {
        dev: true,
        timeout: Duration::from_millis(500),
        ..OutboundConfig::default()
    }
}

/// Public at the first look-up, the given address ever after; and how often it was asked.
fn rebinding(then: IpAddr) -> (Lookup, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup = Lookup::new(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let answer = if first { ip(NOWHERE) } else { then };
        async move { Ok(vec![answer]) }
    });
    (lookup, asked)
}

#[tokio::test]
async fn a_name_that_turns_private_is_connected_where_it_was_checked_and_refused_later() {
    let inside = peers::silent().await;
    let (lookup, asked) = rebinding(inside.at.ip());
    let outbound = Outbound::new(OutboundConfig {
        ports: vec![inside.at.port()],
        timeout: Duration::from_millis(500),
        lookup,
        ..OutboundConfig::default()
    })
    .unwrap();
    let url = format!("https://rebinding.example:{}/", inside.at.port());
    let first = post(&outbound, &url).await;
    assert!(
        matches!(first, Err(PostError::Connect(_) | PostError::Timeout)),
        "{first:?}"
    );
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "checked and used, one answer"
    );
    assert_eq!(refused(post(&outbound, &url).await), Refused::Address);
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn of_many_addresses_only_the_allowed_are_tried() {
    let inside = peers::silent().await;
    let both = vec![inside.at.ip(), ip("169.254.169.254"), ip(NOWHERE)];
    let outbound = Outbound::new(OutboundConfig {
        ports: vec![inside.at.port()],
        timeout: Duration::from_millis(500),
        lookup: Lookup::new(move |_| std::future::ready(Ok(both.clone()))),
        ..OutboundConfig::default()
    })
    .unwrap();
    let url = format!("https://mixed.example:{}/", inside.at.port());
    let result = post(&outbound, &url).await;
    assert!(
        matches!(result, Err(PostError::Connect(_) | PostError::Timeout)),
        "{result:?}"
    );
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let target = peers::silent().await;
    for location in [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://{}/", target.at),
    ] {
        for code in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let answer =
                format!("HTTP/1.1 {code}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            let peer = peers::answering(answer).await;
            let outbound = Outbound::new(dev()).unwrap();
            let answer = post(&outbound, &peer.url()).await.unwrap();
            assert!(answer.status.is_redirection(), "{}", answer.status);
            assert_eq!(peer.connections(), 1);
        }
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_silent_peer_costs_the_time_limit_and_no_more() {
    let peer = peers::silent().await;
    let outbound = Outbound::new(dev()).unwrap();
    let begun = tokio::time::Instant::now();
    let result = post(&outbound, &peer.url()).await;
    assert!(matches!(result, Err(PostError::Timeout)), "{result:?}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let peer = peers::endless("HTTP/1.1 202 Accepted\r\n\r\n", Duration::ZERO).await;
    let outbound = Outbound::new(OutboundConfig {
        timeout: Duration::from_secs(30),
        ..dev()
    })
    .unwrap();
    let begun = tokio::time::Instant::now();
    let answer = post(&outbound, &peer.url()).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.body.len(), crate::MAX_ANSWER);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "cut by size, not by time"
    );
}

#[tokio::test]
async fn a_trickling_body_is_cut_by_time_and_its_status_counts() {
    let peer = peers::endless("HTTP/1.1 202 Accepted\r\n\r\n", Duration::from_millis(20)).await;
    let outbound = Outbound::new(dev()).unwrap();
    let begun = tokio::time::Instant::now();
    let answer = post(&outbound, &peer.url()).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(answer.body.len() < crate::MAX_ANSWER);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn endless_headers_are_not_collected() {
    let peer = peers::endless("HTTP/1.1 202 Accepted\r\nx: ", Duration::ZERO).await;
    let outbound = Outbound::new(OutboundConfig {
        timeout: Duration::from_secs(30),
        ..dev()
    })
    .unwrap();
    let begun = tokio::time::Instant::now();
    let result = post(&outbound, &peer.url()).await;
    assert!(matches!(result, Err(PostError::Broken(_))), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let gone = peers::silent().await;
    let url = gone.url();
    gone.close().await;
    let outbound = Outbound::new(dev()).unwrap();
    let result = post(&outbound, &url).await;
    assert!(matches!(result, Err(PostError::Connect(_))), "{result:?}");
    let shown = format!("{:?}", result.unwrap_err());
    assert!(!shown.contains("/secret-path"), "{shown}");
}

#[tokio::test]
async fn the_dev_profile_reaches_loopback_by_name_and_by_number() {
    let peer =
        peers::answering("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok".to_owned()).await;
    let outbound = Outbound::new(dev()).unwrap();
    let port = peer.at.port();
    for host in ["127.0.0.1", "localhost"] {
        let answer = post(&outbound, &format!("http://{host}:{port}/"))
            .await
            .unwrap();
        assert_eq!(&*answer.body, b"ok");
    }
    let strict = Outbound::new(OutboundConfig {
        dev: false,
        ..dev()
    })
    .unwrap();
    let result = post(&strict, &peer.url()).await;
    assert_eq!(refused(result), Refused::Scheme);
    assert_eq!(peer.connections(), 2);
}
