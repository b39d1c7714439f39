mod random;
mod table;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::KeySource;
use crate::testing::{APP, FIRST, ISSUER, NOW, SECOND, TENANT, at, encode, good, now, with};

const OTHER_ISSUER: &str = "https://api.botframework.com";

fn validator() -> Validator {
    let config = ValidatorConfig::notifications(
        vec![ISSUER.to_owned(), OTHER_ISSUER.to_owned()],
        vec![APP.to_owned()],
    );
    let keys = KeySource::fixed([FIRST.public(), SECOND.public()]);
    Validator::new(config, keys, Metrics::new()).unwrap()
}

async fn reason(validator: &Validator, token: &str) -> &'static str {
    match validator.validate(token, now()).await {
        Ok(_) => "valid",
        Err(error) => error.reason(),
    }
}

fn header(value: &Value) -> String {
    FIRST.sign(&value.to_string(), &good().to_string())
}

fn token(claim: &str, value: Value) -> String {
    FIRST.token(&with(claim, value))
}

fn payload(json: &str) -> String {
    FIRST.sign(&FIRST.header(), json)
}

/// The good claims as text with something put in front.
fn doubled(member: &str) -> String {
    payload(&good().to_string().replacen('{', &format!("{{{member},"), 1))
}

#[tokio::test]
async fn a_good_token_gives_its_claims() {
    let token = FIRST.token(&with("scp", json!("a b")));
    let claims = validator().validate(&token, now()).await.unwrap();
    assert_eq!(claims.issuer, ISSUER);
    assert_eq!(claims.audience, APP);
    assert_eq!(claims.app.as_ref().unwrap().as_str(), APP);
    assert_eq!(claims.tenant.as_ref().unwrap().as_str(), TENANT);
    assert_eq!(claims.scopes.as_deref(), Some("a b"));
    assert_eq!(claims.expires, at(3 * 86_400));
    assert!(claims.has_any_role(&["Calls.Initiate.All"]));
    assert!(claims.has_any_role(&["Nothing", "Calls.JoinGroupCall.All"]));
    assert!(!claims.has_any_role(&["calls.initiate.all"]));
    assert!(!claims.has_any_role(&[]));
}

#[tokio::test]
async fn a_token_of_another_encoder_is_taken() {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(SECOND.kid.to_owned());
    let key = EncodingKey::from_rsa_pem(SECOND.pem().as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&header, &good(), &key).unwrap();
    assert_eq!(reason(&validator(), &token).await, "valid");
}

#[tokio::test]
async fn good_tokens_of_every_shape() {
    let upper = APP.to_ascii_uppercase();
    let good_ones = [
        ("a second issuer", token("iss", json!(OTHER_ISSUER))),
        ("aud in capitals", token("aud", json!(upper))),
        (
            "aud among others",
            token("aud", json!(["https://x.invalid", APP])),
        ),
        ("expired within the skew", token("exp", json!(NOW - 299))),
        ("begun within the skew", token("nbf", json!(NOW + 300))),
        (
            "a fraction of a second",
            token("exp", json!(1_800_000_100.5)),
        ),
        (
            "the last day there is",
            token("exp", json!(253_402_300_799_u64)),
        ),
        ("v1 names its app otherwise", {
            let mut claims = with("azp", Value::Null);
            claims["appid"] = json!(APP);
            FIRST.token(&claims)
        }),
        ("no app", token("azp", Value::Null)),
        ("no roles", token("roles", Value::Null)),
        (
            "a key of its own is not looked at",
            header(&json!({
                "alg": "RS256", "kid": "first", "jwk": SECOND.jwk(),
                "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/cert", "x5c": ["AAAA"],
            })),
        ),
        ("an unknown claim twice", doubled(r#""x":1,"x":2"#)),
    ];
    let validator = validator();
    for (name, token) in good_ones {
        assert_eq!(reason(&validator, &token).await, "valid", "{name}");
    }
}

#[tokio::test]
async fn messages_name_the_next_step_and_never_the_token() {
    let validator = validator();
    let expired = token("exp", json!(NOW - 300));
    let error = validator.validate(&expired, now()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the token expired 300 s ago: ask the token endpoint for a new one"
    );
    let early = token("nbf", json!(NOW + 400));
    let error = validator.validate(&early, now()).await.unwrap_err();
    assert!(error.to_string().contains("only in 400 s"), "{error}");

    let secret = "c2VjcmV0LXBhcnQ";
    for bad in [
        secret.to_owned(),
        format!("{secret}.{secret}.{secret}"),
        format!("{}.{secret}.{secret}", encode(&FIRST.header())),
        token("iss", json!(secret)),
        token("aud", json!(secret)),
        header(&json!({"alg": secret, "kid": secret})),
        header(&json!({"alg": "RS256", "kid": secret})),
    ] {
        let error = validator.validate(&bad, now()).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[tokio::test]
async fn a_checked_token_is_looked_up_for_five_minutes_and_never_past_its_end() {
    let validator = validator();
    let token = token("exp", json!(NOW + 30));
    let count = |result: Validation| {
        let registry = prometheus::Registry::new();
        validator.metrics.register(&registry).unwrap();
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "openmic_token_validations_total")
            .unwrap();
        let series = family
            .get_metric()
            .iter()
            .find(|series| series.get_label()[0].value() == result.label())
            .unwrap();
        series.get_counter().get_value()
    };
    for _ in 0..3 {
        validator.validate(&token, now()).await.unwrap();
    }
    assert!((count(Validation::Valid) - 1.0).abs() < 0.5);
    assert!((count(Validation::Cached) - 2.0).abs() < 0.5);
    validator.validate(&token, at(299)).await.unwrap();
    assert!((count(Validation::Cached) - 3.0).abs() < 0.5);
    validator.validate(&token, at(300)).await.unwrap();
    assert!((count(Validation::Valid) - 2.0).abs() < 0.5);
    let error = validator.validate(&token, at(330)).await.unwrap_err();
    assert_eq!(error.reason(), "expired");
    // Only in its time, also when the clock is set back.
    let back = now() - Duration::from_secs(1000);
    let error = validator.validate(&token, back).await.unwrap_err();
    assert_eq!(error.reason(), "not_yet_valid");
}

#[test]
fn a_validator_that_would_refuse_everything_is_not_made() {
    let make = |issuers: &[&str], audiences: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let config = ValidatorConfig::callers(own(issuers), own(audiences));
        Validator::new(config, KeySource::fixed([]), Metrics::new()).map(|_| ())
    };
    assert_eq!(make(&["i"], &["a"]), Ok(()));
    assert_eq!(make(&[], &["a"]), Err(ConfigError::NoIssuer));
    assert_eq!(make(&["i", ""], &["a"]), Err(ConfigError::NoIssuer));
    assert_eq!(make(&["i"], &[]), Err(ConfigError::NoAudience));
    assert_eq!(make(&["i"], &[""]), Err(ConfigError::NoAudience));
}

#[tokio::test]
async fn a_tenant_is_asked_for_only_when_required() {
    let config = ValidatorConfig {
        require_tid: false,
        ..ValidatorConfig::callers(vec![ISSUER.to_owned()], vec![APP.to_owned()])
    };
    let validator =
        Validator::new(config, KeySource::fixed([FIRST.public()]), Metrics::new()).unwrap();
    let claims = validator
        .validate(&token("tid", Value::Null), now())
        .await
        .unwrap();
    assert_eq!(claims.tenant, None);
    assert_eq!(
        reason(&validator, &token("tid", json!(""))).await,
        "claim_format"
    );
}
