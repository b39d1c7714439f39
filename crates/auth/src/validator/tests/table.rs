use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{doubled, header, payload, reason, token, validator};
use crate::testing::{APP, FIRST, ISSUER, NOW, SECOND, TENANT, encode, good, with};

fn hmac(secret: &[u8]) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("first".to_owned());
    jsonwebtoken::encode(&header, &good(), &EncodingKey::from_secret(secret)).unwrap()
}

fn parts(token: &str) -> (String, String, String) {
    let mut parts = token.split('.').map(str::to_owned);
    let mut next = || parts.next().unwrap();
    (next(), next(), next())
}

/// Threat T-1: every row is refused for the reason it states.
#[tokio::test]
async fn bad_tokens_are_refused_for_what_is_bad() {
    let whole = FIRST.token(&good());
    let (head, body, signature) = parts(&whole);
    let (_, _, of_another) = parts(&SECOND.token(&good()));
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": "first"}).to_string();
        format!("{}.{}.", encode(&header), encode(&good().to_string()))
    };
    let signed = |alg: Value| header(&json!({"alg": alg, "kid": "first"}));
    let rs384 = FIRST.sign_rs384(
        &json!({"alg": "RS384", "kid": "first"}).to_string(),
        &good().to_string(),
    );
    let mut other_app = good();
    other_app["appid"] = json!(TENANT);

    let rows: Vec<(&str, String, &str)> = vec![
        // the algorithm
        ("alg none", unsigned("none"), "algorithm"),
        ("alg None", unsigned("None"), "algorithm"),
        ("alg nOnE", unsigned("nOnE"), "algorithm"),
        ("alg empty", unsigned(""), "algorithm"),
        ("alg rs256", signed(json!("rs256")), "algorithm"),
        (
            "alg RS256 and a space",
            signed(json!("RS256 ")),
            "algorithm",
        ),
        ("alg a number", signed(json!(256)), "algorithm"),
        ("alg a list", signed(json!(["RS256"])), "algorithm"),
        ("alg missing", header(&json!({"kid": "first"})), "algorithm"),
        ("alg null", signed(Value::Null), "algorithm"),
        (
            "HS256, secret the public key",
            hmac(&FIRST.public_der()),
            "algorithm",
        ),
        (
            "HS256, secret the key's PEM",
            hmac(FIRST.pem().as_bytes()),
            "algorithm",
        ),
        ("ES256", signed(json!("ES256")), "algorithm"),
        ("PS256", signed(json!("PS256")), "algorithm"),
        ("RS512", signed(json!("RS512")), "algorithm"),
        ("RS384, rightly signed", rs384.clone(), "algorithm"),
        (
            "RS384 said to be RS256",
            FIRST.sign_rs384(&FIRST.header(), &good().to_string()),
            "signature",
        ),
        // the key
        ("kid missing", header(&json!({"alg": "RS256"})), "no_key_id"),
        (
            "kid empty",
            header(&json!({"alg": "RS256", "kid": ""})),
            "no_key_id",
        ),
        (
            "kid a number",
            header(&json!({"alg": "RS256", "kid": 1})),
            "no_key_id",
        ),
        (
            "kid null",
            header(&json!({"alg": "RS256", "kid": null})),
            "no_key_id",
        ),
        (
            "kid unknown",
            header(&json!({"alg": "RS256", "kid": "third"})),
            "unknown_key",
        ),
        (
            "kid a path",
            header(&json!({"alg": "RS256", "kid": "../../dev/null"})),
            "unknown_key",
        ),
        (
            "kid of another key",
            header(&json!({"alg": "RS256", "kid": "second"})),
            "signature",
        ),
        (
            "signed by the key it brings",
            SECOND.sign(
                &json!({"alg": "RS256", "kid": "first", "jwk": SECOND.jwk()}).to_string(),
                &good().to_string(),
            ),
            "signature",
        ),
        // the signature
        (
            "signature of another key",
            format!("{head}.{body}.{of_another}"),
            "signature",
        ),
        ("signature empty", format!("{head}.{body}."), "signature"),
        (
            "signature cut",
            format!("{head}.{body}.{}", &signature[..340]),
            "signature",
        ),
        (
            "payload exchanged",
            format!(
                "{head}.{}.{signature}",
                encode(&with("aud", json!("x")).to_string())
            ),
            "signature",
        ),
        (
            "signature not base64",
            format!("{head}.{body}.####"),
            "malformed",
        ),
        ("signature padded", format!("{whole}=="), "malformed"),
        // the form
        ("empty", String::new(), "malformed"),
        ("one dot", ".".to_owned(), "malformed"),
        ("two dots", "..".to_owned(), "malformed"),
        ("three dots", "...".to_owned(), "malformed"),
        ("one part", head.clone(), "malformed"),
        ("two parts", format!("{head}.{body}"), "malformed"),
        ("four parts", format!("{whole}.{signature}"), "malformed"),
        (
            "five parts, as encrypted ones have",
            format!("{whole}.a.b"),
            "malformed",
        ),
        ("a space before", format!(" {whole}"), "malformed"),
        ("a line end behind", format!("{whole}\n"), "malformed"),
        ("a space within", whole.replacen('.', ". ", 1), "signature"),
        ("unicode", "té.ké.n".to_owned(), "malformed"),
        ("a zero byte", format!("{whole}\0"), "malformed"),
        (
            "standard base64",
            format!("{head}+/.{body}.{signature}"),
            "malformed",
        ),
        (
            "header not base64",
            format!("!.{body}.{signature}"),
            "malformed",
        ),
        (
            "header not JSON",
            FIRST.sign("RS256", &good().to_string()),
            "malformed",
        ),
        (
            "header a list",
            FIRST.sign("[]", &good().to_string()),
            "malformed",
        ),
        (
            "header with two algs",
            FIRST.sign(
                r#"{"alg":"none","alg":"RS256","kid":"first"}"#,
                &good().to_string(),
            ),
            "malformed",
        ),
        (
            "header with an extension",
            header(&json!({"alg": "RS256", "kid": "first", "crit": ["b64"], "b64": false})),
            "malformed",
        ),
        ("8 KiB and a byte", "a".repeat(8 * 1024 + 1), "too_long"),
        (
            "9 KiB, rightly signed",
            token("x", json!("x".repeat(9 * 1024))),
            "too_long",
        ),
        ("payload not JSON", payload("claims"), "malformed"),
        ("payload a list", payload("[1]"), "malformed"),
        ("payload null", payload("null"), "malformed"),
        (
            "payload with a tail",
            payload(&format!("{}{{}}", good())),
            "malformed",
        ),
        (
            "payload nested deep",
            payload(&"[".repeat(4000)),
            "malformed",
        ),
        (
            "payload with a raw control character",
            payload(&good().to_string().replace("Calls.Initiate.All", "\u{1}")),
            "malformed",
        ),
        ("aud twice", doubled(r#""aud":"x""#), "malformed"),
        ("exp twice", doubled(r#""exp":1"#), "malformed"),
        (
            "tid twice",
            doubled(&format!(r#""tid":"{APP}""#)),
            "malformed",
        ),
        (
            "exp beyond any number",
            payload(
                &good()
                    .to_string()
                    .replace(&(NOW + 3 * 86_400).to_string(), "1e400"),
            ),
            "malformed",
        ),
        // the claims
        ("iss missing", token("iss", Value::Null), "missing_claim"),
        ("aud missing", token("aud", Value::Null), "missing_claim"),
        ("exp missing", token("exp", Value::Null), "missing_claim"),
        ("nbf missing", token("nbf", Value::Null), "missing_claim"),
        ("tid missing", token("tid", Value::Null), "missing_claim"),
        (
            "exp only as null",
            payload(
                &with("exp", Value::Null)
                    .to_string()
                    .replacen('{', r#"{"exp":null,"#, 1),
            ),
            "missing_claim",
        ),
        (
            "iss of a stranger",
            token("iss", json!("https://evil.invalid")),
            "issuer",
        ),
        (
            "iss with a slash more",
            token("iss", json!(format!("{ISSUER}/"))),
            "issuer",
        ),
        (
            "iss in capitals",
            token("iss", json!(ISSUER.to_uppercase())),
            "issuer",
        ),
        ("iss empty", token("iss", json!("")), "issuer"),
        ("iss a list", token("iss", json!([ISSUER])), "claim_format"),
        ("aud of another", token("aud", json!(TENANT)), "audience"),
        ("aud empty", token("aud", json!("")), "audience"),
        (
            "aud a list of others",
            token("aud", json!([TENANT, "x"])),
            "audience",
        ),
        ("aud an empty list", token("aud", json!([])), "audience"),
        ("aud a number", token("aud", json!(1)), "claim_format"),
        (
            "aud a list with a number",
            token("aud", json!([APP, 1])),
            "claim_format",
        ),
        (
            "aud an object",
            token("aud", json!({"a": APP})),
            "claim_format",
        ),
        (
            "expired at the skew's end",
            token("exp", json!(NOW - 300)),
            "expired",
        ),
        ("expired in 1970", token("exp", json!(0)), "expired"),
        (
            "exp a string",
            token("exp", json!((NOW + 60).to_string())),
            "claim_format",
        ),
        ("exp negative", token("exp", json!(-1)), "claim_format"),
        ("exp true", token("exp", json!(true)), "claim_format"),
        (
            "exp after the year 9999",
            token("exp", json!(253_402_300_800_u64)),
            "claim_format",
        ),
        (
            "exp the largest u64",
            token("exp", json!(u64::MAX)),
            "claim_format",
        ),
        ("exp 1e300", token("exp", json!(1e300)), "claim_format"),
        (
            "nbf past the skew",
            token("nbf", json!(NOW + 301)),
            "not_yet_valid",
        ),
        ("nbf a string", token("nbf", json!("0")), "claim_format"),
        ("nbf negative", token("nbf", json!(-1.5)), "claim_format"),
        ("tid empty", token("tid", json!("")), "claim_format"),
        ("tid a number", token("tid", json!(7)), "claim_format"),
        ("tid a path", token("tid", json!("../x")), "claim_format"),
        (
            "azp and appid differ",
            FIRST.token(&other_app),
            "claim_format",
        ),
        ("azp a number", token("azp", json!(1)), "claim_format"),
        (
            "roles a string",
            token("roles", json!("Calls.Initiate.All")),
            "claim_format",
        ),
        (
            "roles with a number",
            token("roles", json!([1])),
            "claim_format",
        ),
        ("scp a list", token("scp", json!(["a"])), "claim_format"),
    ];
    assert!(rows.len() >= 40);
    let validator = validator();
    let mut wrong = Vec::new();
    for (name, token, wanted) in rows {
        let got = reason(&validator, &token).await;
        if got != wanted {
            wrong.push(format!("{name}: {got} instead of {wanted}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
