use std::net::TcpListener;

use http::StatusCode;
use serde_json::json;

use super::*;
use crate::testing::{
    APP, FIRST, ISSUER, Issuer, Reply, SECOND, Signer, at, discovery, good, keys_of, now,
};
use crate::{Validator, ValidatorConfig};

fn source(discovery: Discovery) -> KeySource {
    KeySource::discover(discovery, Metrics::new()).unwrap()
}

fn validator(keys: &KeySource) -> Arc<Validator> {
    let config = ValidatorConfig::notifications(vec![ISSUER.to_owned()], vec![APP.to_owned()]);
    Arc::new(Validator::new(config, keys.clone(), Metrics::new()).unwrap())
}

/// Checks a token of `signer` as of `now`; the reason when it is refused.
async fn check(keys: &KeySource, signer: &Signer, now: SystemTime) -> Result<(), &'static str> {
    let token = signer.token(&good());
    let result = validator(keys).validate(&token, now).await;
    result.map(|_| ()).map_err(|error| error.reason())
}

/// Asks for `count` made-up keys at once; all must be unknown.
async fn flood(keys: &KeySource, count: usize, now: SystemTime) {
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..count {
        let keys = keys.clone();
        asking.spawn(async move { keys.find(&format!("made-up-{number}"), now).await });
    }
    while let Some(found) = asking.join_next().await {
        let error = found.unwrap().unwrap_err();
        assert_eq!(error.reason(), "unknown_key");
    }
}

#[tokio::test]
async fn a_new_key_is_picked_up_by_one_read_for_all_who_wait() {
    let issuer = Issuer::start(&[&FIRST]);
    let keys = source(issuer.discovery());
    assert_eq!(check(&keys, &FIRST, now()).await, Ok(()));
    assert_eq!(issuer.asked(), 1);

    issuer.publish(&[&FIRST, &SECOND]);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let keys = keys.clone();
        asking.spawn(async move { check(&keys, &SECOND, at(60)).await });
    }
    while let Some(checked) = asking.join_next().await {
        assert_eq!(checked.unwrap(), Ok(()));
    }
    assert_eq!(issuer.asked(), 2);
    assert_eq!(check(&keys, &FIRST, at(60)).await, Ok(()));

    issuer.publish(&[&SECOND]);
    flood(&keys, 1, at(120)).await;
    assert_eq!(check(&keys, &FIRST, at(120)).await, Err("unknown_key"));
    assert_eq!(issuer.asked(), 3);
    issuer.stop().await;
}

#[tokio::test]
async fn a_flood_of_unknown_keys_reads_once_per_interval() {
    let issuer = Issuer::start(&[&FIRST]);
    let keys = source(issuer.discovery());
    flood(&keys, 200, now()).await;
    assert_eq!(issuer.asked(), 1);
    flood(&keys, 200, at(59)).await;
    assert_eq!(issuer.asked(), 1);
    flood(&keys, 200, at(60)).await;
    assert_eq!(issuer.asked(), 2);
    // Requests that came a little earlier and were held up do not read again.
    flood(&keys, 10, at(58)).await;
    assert_eq!(issuer.asked(), 2);
    // A clock that is set back does not stop the reads for ever.
    flood(&keys, 1, now() - Duration::from_hours(5)).await;
    assert_eq!(issuer.asked(), 3);
    issuer.stop().await;
}

#[tokio::test]
async fn the_last_good_keys_count_for_a_day_when_the_issuer_is_gone() {
    let issuer = Issuer::start(&[&FIRST]);
    let keys = source(issuer.discovery());
    assert_eq!(check(&keys, &FIRST, now()).await, Ok(()));
    issuer.stop().await;

    assert_eq!(check(&keys, &FIRST, at(3 * 3600)).await, Ok(()));
    assert_eq!(
        check(&keys, &SECOND, at(4 * 3600)).await,
        Err("unknown_key")
    );
    assert_eq!(check(&keys, &FIRST, at(24 * 3600 - 1)).await, Ok(()));
    let gone = check(&keys, &FIRST, at(24 * 3600 + 60)).await;
    assert_eq!(gone, Err("keys_unavailable"));
}

#[tokio::test]
async fn old_keys_are_read_again_behind_a_token_that_does_not_wait() {
    let issuer = Issuer::start(&[&FIRST]);
    let keys = source(issuer.discovery());
    keys.prefetch(now()).await.unwrap();
    keys.prefetch(at(10)).await.unwrap();
    assert_eq!(issuer.asked(), 1);

    issuer.publish(&[&FIRST, &SECOND]);
    issuer.shared.hold.send_replace(true);
    // The issuer answers nothing yet, and still these get theirs.
    assert_eq!(check(&keys, &FIRST, at(7200)).await, Ok(()));
    assert_eq!(check(&keys, &FIRST, at(7300)).await, Ok(()));
    let mut asked = issuer.shared.asked.subscribe();
    asked.wait_for(|asked| *asked == 2).await.unwrap();
    issuer.shared.hold.send_replace(false);
    // Waits for the read under way.
    assert_eq!(check(&keys, &SECOND, at(7201)).await, Ok(()));
    assert_eq!(issuer.asked(), 2);
    issuer.stop().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_read() {
    let issuer = Issuer::start(&[&FIRST]);
    issuer.shared.hold.send_replace(true);
    let keys = source(issuer.discovery());
    let caller = tokio::spawn({
        let keys = keys.clone();
        async move { check(&keys, &FIRST, now()).await }
    });
    let mut asked = issuer.shared.asked.subscribe();
    asked.wait_for(|asked| *asked == 1).await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    issuer.shared.hold.send_replace(false);
    assert_eq!(check(&keys, &FIRST, now()).await, Ok(()));
    assert_eq!(issuer.asked(), 1);
    issuer.stop().await;
}

#[tokio::test]
async fn an_issuer_that_starts_after_us_is_found_in_seconds() {
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = reserved.local_addr().unwrap().to_string();
    drop(reserved);
    let keys = source(discovery(&addr));
    let error = keys.prefetch(now()).await.unwrap_err();
    assert_eq!(error.result(), Fetch::Unreachable);
    let error = validator(&keys)
        .validate(&FIRST.token(&good()), now())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is reachable"), "{error}");
    assert!(std::error::Error::source(&error).is_some());

    let issuer = Issuer::start_on(&addr, &[&FIRST]);
    assert_eq!(check(&keys, &FIRST, at(4)).await, Err("keys_unavailable"));
    assert_eq!(issuer.asked(), 0);
    assert_eq!(check(&keys, &FIRST, at(5)).await, Ok(()));
    issuer.stop().await;
}

#[tokio::test]
async fn documents_that_cannot_be_trusted_give_no_keys() {
    let issuer = Issuer::start(&[&FIRST]);
    let good_configuration = issuer.shared.configuration.lock().clone();
    let good_keys = issuer.shared.keys.lock().clone();
    let ok = |body: String| Reply(StatusCode::OK, body);
    let port = issuer.discovery().configuration.port().unwrap();
    let elsewhere = |url: &str| ok(json!({"issuer": ISSUER, "jwks_uri": url}).to_string());
    let one_key = |member: &str, value: serde_json::Value| {
        let mut key = FIRST.jwk();
        key[member] = value;
        ok(json!({ "keys": [key] }).to_string())
    };
    let huge = " ".repeat(256 * 1024 + 1);
    let to_keys = format!("http://127.0.0.1:{port}/keys");

    let configurations = [
        (
            "500",
            Reply(StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            Fetch::Status,
        ),
        (
            "a redirect",
            Reply(StatusCode::FOUND, to_keys.clone()),
            Fetch::Status,
        ),
        ("no JSON", ok("<html>".to_owned()), Fetch::Unreadable),
        (
            "no issuer",
            ok(json!({"jwks_uri": to_keys}).to_string()),
            Fetch::Unreadable,
        ),
        (
            "an empty issuer",
            ok(json!({"issuer": "", "jwks_uri": to_keys}).to_string()),
            Fetch::Unreadable,
        ),
        (
            "no keys' address",
            ok(json!({"issuer": ISSUER}).to_string()),
            Fetch::Unreadable,
        ),
        ("too large", ok(huge.clone()), Fetch::TooLarge),
        (
            "another host",
            elsewhere(&format!("http://localhost:{port}/keys")),
            Fetch::KeyAddress,
        ),
        (
            "http beyond loopback",
            elsewhere("http://192.0.2.1/keys"),
            Fetch::KeyAddress,
        ),
        ("a file", elsewhere("file:///etc/passwd"), Fetch::KeyAddress),
        ("a relative address", elsewhere("/keys"), Fetch::KeyAddress),
        (
            "a password",
            elsewhere(&format!("http://a:b@127.0.0.1:{port}/keys")),
            Fetch::KeyAddress,
        ),
    ];
    for (name, reply, wanted) in configurations {
        *issuer.shared.configuration.lock() = reply;
        let error = source(issuer.discovery())
            .prefetch(now())
            .await
            .unwrap_err();
        assert_eq!(error.result(), wanted, "{name}: {error}");
    }
    assert_eq!(issuer.asked(), 0);
    *issuer.shared.configuration.lock() = good_configuration;

    let key_sets = [
        (
            "404",
            Reply(StatusCode::NOT_FOUND, String::new()),
            Fetch::Status,
        ),
        (
            "a redirect",
            Reply(StatusCode::TEMPORARY_REDIRECT, to_keys),
            Fetch::Status,
        ),
        ("no JSON", ok("{".to_owned()), Fetch::Unreadable),
        (
            "no list",
            ok(json!({"keys": {}}).to_string()),
            Fetch::Unreadable,
        ),
        ("too large", ok(huge), Fetch::TooLarge),
        ("empty", ok(json!({"keys": []}).to_string()), Fetch::NoKeys),
        (
            "for encryption",
            one_key("use", json!("enc")),
            Fetch::NoKeys,
        ),
        (
            "for another algorithm",
            one_key("alg", json!("RS512")),
            Fetch::NoKeys,
        ),
        (
            "of another type",
            one_key("kty", json!("EC")),
            Fetch::NoKeys,
        ),
        ("without an id", one_key("kid", json!("")), Fetch::NoKeys),
        (
            "512 bits",
            one_key("n", json!("A".repeat(86))),
            Fetch::NoKeys,
        ),
        (
            "a zero modulus",
            one_key("n", json!("A".repeat(342))),
            Fetch::NoKeys,
        ),
        (
            "16,384 bits",
            one_key("n", json!("_".repeat(2731))),
            Fetch::NoKeys,
        ),
        ("no exponent", one_key("e", json!("")), Fetch::NoKeys),
        (
            "a modulus that is not base64",
            one_key("n", json!("###")),
            Fetch::NoKeys,
        ),
    ];
    for (name, reply, wanted) in key_sets {
        *issuer.shared.keys.lock() = reply;
        let error = source(issuer.discovery())
            .prefetch(now())
            .await
            .unwrap_err();
        assert_eq!(error.result(), wanted, "{name}: {error}");
    }

    let odd = json!([1, null, {"kty": "oct", "k": "AAAA", "kid": "first"}, {"kty": "RSA"}]);
    let mut mixed: serde_json::Value = serde_json::from_str(&good_keys.1).unwrap();
    let good_key = mixed["keys"][0].take();
    let mut list = odd.as_array().unwrap().clone();
    list.push(good_key);
    *issuer.shared.keys.lock() = ok(json!({ "keys": list }).to_string());
    assert_eq!(
        check(&source(issuer.discovery()), &FIRST, now()).await,
        Ok(())
    );
    issuer.stop().await;
}

#[tokio::test]
async fn keys_may_come_from_a_host_that_was_named() {
    let issuer = Issuer::start(&[&FIRST]);
    let port = issuer.discovery().configuration.port().unwrap();
    let configuration =
        json!({"issuer": ISSUER, "jwks_uri": format!("http://localhost:{port}/keys")});
    *issuer.shared.configuration.lock() = Reply(StatusCode::OK, configuration.to_string());
    let mut discovery = issuer.discovery();
    discovery.key_hosts = vec!["LOCALHOST".to_owned()];
    assert_eq!(check(&source(discovery), &FIRST, now()).await, Ok(()));
    issuer.stop().await;
}

#[test]
fn only_https_or_allowed_loopback_is_asked() {
    let check = |raw: &str, loopback: bool| {
        let mut discovery = Discovery::new(Url::parse(raw).unwrap());
        discovery.allow_loopback_http = loopback;
        KeySource::discover(discovery, Metrics::new()).map(|_| ())
    };
    for good in [
        "https://login.microsoftonline.com/common/.well-known/openid-configuration",
        "http://127.0.0.1:7081/x",
        "http://127.9.9.9/x",
        "http://[::1]:7081/x",
        "http://localhost:7081/x",
    ] {
        assert!(check(good, true).is_ok(), "{good}");
    }
    for bad in [
        "http://127.0.0.1.example.invalid/x",
        "http://localhost.example.invalid/x",
        "http://10.0.0.1/x",
        "http://[::ffff:10.0.0.1]/x",
        "ftp://127.0.0.1/x",
        "data:application/json,{}",
    ] {
        let error = check(bad, true).unwrap_err();
        assert!(matches!(error, KeySourceError::NotHttps), "{bad}: {error}");
    }
    let error = check("http://127.0.0.1/x", false).unwrap_err();
    assert!(matches!(error, KeySourceError::NotHttps));
    let error = check("https://user:pass@login.example.invalid/x", true).unwrap_err();
    assert!(matches!(error, KeySourceError::Credentials));
}

#[tokio::test]
async fn fixed_keys_need_no_issuer() {
    let keys = KeySource::fixed([FIRST.public()]);
    keys.prefetch(now()).await.unwrap();
    assert_eq!(check(&keys, &FIRST, now()).await, Ok(()));
    assert_eq!(check(&keys, &SECOND, now()).await, Err("unknown_key"));
}

#[tokio::test]
async fn reads_are_counted_by_how_they_ended() {
    let issuer = Issuer::start(&[&FIRST]);
    let metrics = Metrics::new();
    let registry = prometheus::Registry::new();
    metrics.register(&registry).unwrap();
    let keys = KeySource::discover(issuer.discovery(), metrics).unwrap();
    keys.prefetch(now()).await.unwrap();
    *issuer.shared.keys.lock() = Reply(StatusCode::NOT_FOUND, String::new());
    flood(&keys, 3, at(60)).await;
    *issuer.shared.keys.lock() = keys_of(&[&SECOND]);
    assert_eq!(check(&keys, &SECOND, at(120)).await, Ok(()));
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        "openmic_signing_key_fetches_total{result=\"ok\"} 2",
        "openmic_signing_key_fetches_total{result=\"status\"} 1",
        "openmic_signing_key_fetches_total{result=\"unreachable\"} 0",
        "openmic_token_validations_total{result=\"valid\"} 0",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    issuer.stop().await;
}
