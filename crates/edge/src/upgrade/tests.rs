use http::header::{CONNECTION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use openmic_model::Version;
use proptest::prelude::*;

use super::{check_origin, handshake_key, is_wanted, since};
use crate::surface::SurfaceConfig;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn the_handshake_of_the_rfc_is_taken() {
    let request = headers(&[
        (UPGRADE, "WebSocket"),
        (CONNECTION, "keep-alive, Upgrade"),
        (SEC_WEBSOCKET_VERSION, "13"),
        (SEC_WEBSOCKET_KEY, KEY),
    ]);
    assert!(is_wanted(&request));
    assert_eq!(handshake_key(&request).unwrap(), KEY);
}

#[test]
fn another_handshake_is_refused_with_the_next_step() {
    let plain = [
        (CONNECTION, "upgrade"),
        (SEC_WEBSOCKET_VERSION, "13"),
        (SEC_WEBSOCKET_KEY, KEY),
    ];
    for (at, value, status) in [
        (0, "keep-alive", StatusCode::BAD_REQUEST),
        (1, "8", StatusCode::UPGRADE_REQUIRED),
        (2, "short", StatusCode::BAD_REQUEST),
        (2, "dGhlIHNhbXBsZSBub25jZ", StatusCode::BAD_REQUEST),
        (2, "dGhlIHNhbXBsZSBub25j!Q==", StatusCode::BAD_REQUEST),
    ] {
        let mut pairs = plain.clone();
        pairs[at].1 = value;
        let refusal = handshake_key(&headers(&pairs)).unwrap_err();
        assert_eq!(refusal.status, status, "{value}");
    }
    let twice = [&plain[..], &[(SEC_WEBSOCKET_KEY, KEY)]].concat();
    assert!(handshake_key(&headers(&twice)).is_err());
    let refusal = handshake_key(&headers(&[plain[0].clone()])).unwrap_err();
    assert_eq!(refusal.header, Some(("sec-websocket-version", "13")));
}

#[test]
fn origins_are_known_or_refused() {
    let config = SurfaceConfig {
        origins: vec!["https://ops.example".to_owned()],
        ..SurfaceConfig::default()
    };
    let closed = SurfaceConfig {
        loopback_origins: false,
        ..SurfaceConfig::default()
    };
    let check = |origin: &str, config| check_origin(&headers(&[(ORIGIN, origin)]), config).is_ok();
    assert!(check_origin(&HeaderMap::new(), &closed).is_ok());
    for (origin, listed, none) in [
        ("https://ops.example", true, false),
        ("http://ops.example", false, false),
        ("https://ops.example.evil", false, false),
        ("http://localhost:3000", true, false),
        ("http://127.0.0.1", true, false),
        ("http://[::1]:8080", true, false),
        ("http://localhost.evil", false, false),
        ("http://127.0.0.1.evil", false, false),
        ("null", false, false),
        ("https://ops.example/", false, false),
        ("https://OPS.example", false, false),
        ("https://ops.example:443", false, false),
        ("https://ops.example:8443", false, false),
        ("https://sub.ops.example", false, false),
        ("https://ops.example, https://evil.example", false, false),
        ("http://localhost/", false, false),
        ("http://localhost:80", false, false),
        ("http://LOCALHOST", false, false),
        ("http://localhost@evil.example", false, false),
        ("http://evil.example#localhost", false, false),
        ("http://user@localhost", false, false),
        ("ftp://localhost", false, false),
        ("chrome-extension://localhost", false, false),
        ("file://localhost", false, false),
        ("http://0.0.0.0", false, false),
        ("http://2130706433", false, false),
        ("", false, false),
    ] {
        assert_eq!(check(origin, &config), listed, "{origin}");
        assert_eq!(check(origin, &closed), none, "{origin}");
    }
    // Two of them: which one is the page's would be a guess.
    let twice = headers(&[
        (ORIGIN, "https://ops.example"),
        (ORIGIN, "https://ops.example"),
    ]);
    assert!(check_origin(&twice, &config).is_err());
}

#[test]
fn since_is_a_version_or_nothing() {
    let version = Version { epoch: 5, seq: 7 };
    assert_eq!(since(None).unwrap(), None);
    assert_eq!(since(Some("a=b")).unwrap(), None);
    assert_eq!(since(Some("since=5:7")).unwrap(), Some(version));
    assert_eq!(since(Some("a=b&since=5%3A7")).unwrap(), Some(version));
    for bad in ["since", "since=", "since=5", "since=a:b", "since=-1:2"] {
        assert_eq!(
            since(Some(bad)).unwrap_err().status,
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
}

proptest! {
    #[test]
    fn no_header_and_no_query_makes_it_panic(
        values in proptest::collection::vec("[ -~]{0,40}", 5),
        query in "\\PC{0,40}",
    ) {
        let names = [UPGRADE, CONNECTION, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_KEY, ORIGIN];
        let pairs: Vec<_> = names
            .into_iter()
            .zip(values.iter().map(String::as_str))
            .collect();
        let headers = headers(&pairs);
        is_wanted(&headers);
        if let Ok(key) = handshake_key(&headers) {
            prop_assert_eq!(key.len(), 24);
        }
        let _known = check_origin(&headers, &SurfaceConfig::default()).is_ok();
        let _version = since(Some(&query)).is_ok();
    }
}
