//! Every `Authorization` that must not open anything.

use serde_json::{Value, json};

use super::signer::{OTHER, OURS, encode, hs256, now};

/// A row: its name, and the values of as many `Authorization` headers.
pub(super) type Row = (String, Vec<Vec<u8>>);

/// `good` with one claim set, or taken out by null.
pub(super) fn with(good: &Value, claim: &str, value: Value) -> Value {
    let mut claims = good.clone();
    let map = claims.as_object_mut().unwrap();
    if value.is_null() {
        map.remove(claim);
    } else {
        map.insert(claim.to_owned(), value);
    }
    claims
}

/// All of them are 401. `good` passes every check when signed rightly with `kid`.
pub(super) fn refused(kid: &str, good: &Value) -> Vec<Row> {
    let mut rows = headers(kid, good);
    let bearer = |(name, token): (&str, String)| {
        let header = [b"Bearer ".as_slice(), token.as_bytes()].concat();
        (name.to_owned(), vec![header])
    };
    rows.extend(algorithms(kid, good).into_iter().map(bearer));
    rows.extend(signatures(kid, good).into_iter().map(bearer));
    rows.extend(shapes(kid, good).into_iter().map(bearer));
    rows.extend(claims(kid, good).into_iter().map(bearer));
    rows
}

fn headers(kid: &str, good: &Value) -> Vec<Row> {
    let token = OURS.token(kid, good);
    let row = |name: &str, values: &[&[u8]]| {
        let values = values.iter().map(|value| value.to_vec());
        (name.to_owned(), values.collect())
    };
    let bearer = format!("Bearer {token}");
    let text = |text: String| text.into_bytes();
    vec![
        row("no header", &[]),
        row("an empty header", &[b""]),
        row("the scheme alone", &[b"Bearer"]),
        row("the scheme and a space", &[b"Bearer "]),
        row("the token alone", &[token.as_bytes()]),
        row("Basic", &[b"Basic YTpi"]),
        row(
            "Basic with a good token",
            &[&text(format!("Basic {token}"))],
        ),
        row(
            "Token with a good token",
            &[&text(format!("Token {token}"))],
        ),
        row("no space", &[&text(format!("Bearer{token}"))]),
        row("a tab for the space", &[&text(format!("Bearer\t{token}"))]),
        row("in quotes", &[&text(format!("Bearer \"{token}\""))]),
        row("two tokens", &[&text(format!("Bearer {token} {token}"))]),
        row("two by a comma", &[&text(format!("{bearer}, {bearer}"))]),
        row(
            "two headers, both good",
            &[bearer.as_bytes(), bearer.as_bytes()],
        ),
        row("two headers, one good", &[b"Bearer x", bearer.as_bytes()]),
        row("not ASCII", &[b"Bearer \xc3\xa9.\xc3\xa9.\xc3\xa9"]),
        row("not UTF-8", &[b"Bearer \xff\xfe\xfd"]),
        row("a space inside", &[&text(bearer.replacen('.', ". ", 1))]),
    ]
}

fn algorithms(kid: &str, good: &Value) -> Vec<(&'static str, String)> {
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": kid}).to_string();
        format!("{}.{}.", encode(header), encode(good.to_string()))
    };
    let named = |alg: Value| {
        let header = json!({"alg": alg, "kid": kid}).to_string();
        OURS.sign(&header, &good.to_string())
    };
    let rs384 = json!({"alg": "RS384", "kid": kid}).to_string();
    let rs256 = json!({"alg": "RS256", "kid": kid}).to_string();
    vec![
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg NONE", unsigned("NONE")),
        ("alg nOnE", unsigned("nOnE")),
        ("alg empty", unsigned("")),
        ("alg none, rightly signed", named(json!("none"))),
        (
            "HS256 with the public key",
            hs256(kid, good, &OURS.public()),
        ),
        (
            "HS256 with the public key's PEM",
            hs256(kid, good, OURS.public_pem().as_bytes()),
        ),
        ("HS256 with an empty secret", hs256(kid, good, b"")),
        (
            "RS384, rightly signed",
            OURS.sign_rs384(&rs384, &good.to_string()),
        ),
        (
            "RS384 said to be RS256",
            OURS.sign_rs384(&rs256, &good.to_string()),
        ),
        ("alg RS512", named(json!("RS512"))),
        ("alg PS256", named(json!("PS256"))),
        ("alg ES256", named(json!("ES256"))),
        ("alg rs256", named(json!("rs256"))),
        ("alg a list", named(json!(["RS256"]))),
        ("alg null", named(Value::Null)),
        (
            "alg missing",
            OURS.sign(&json!({"kid": kid}).to_string(), &good.to_string()),
        ),
    ]
}

fn signatures(kid: &str, good: &Value) -> Vec<(&'static str, String)> {
    let token = OURS.token(kid, good);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let header = |header: Value| OURS.sign(&header.to_string(), &good.to_string());
    let richer = with(good, "roles", json!(["openmic.operator"]));
    let flipped = {
        let first = if signature.starts_with('A') { "B" } else { "A" };
        format!("{message}.{first}{}", &signature[1..])
    };
    let brought = json!({"alg": "RS256", "kid": kid, "jwk": OTHER.jwk(kid)}).to_string();
    vec![
        ("signature changed", flipped),
        ("signature cut", format!("{message}.{}", &signature[..300])),
        ("signature empty", format!("{message}.")),
        ("signature left out", message.to_owned()),
        ("signature padded", format!("{token}==")),
        ("signature not base64", format!("{message}.####")),
        ("signed by another key", OTHER.token(kid, good)),
        (
            "signed by the key it brings",
            OTHER.sign(&brought, &good.to_string()),
        ),
        (
            "payload exchanged",
            format!("{head}.{}.{signature}", encode(richer.to_string())),
        ),
        (
            "header exchanged",
            format!(
                "{}.{payload}.{signature}",
                encode(format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#))
            ),
        ),
        (
            "kid unknown",
            header(json!({"alg": "RS256", "kid": "unknown"})),
        ),
        ("kid missing", header(json!({"alg": "RS256"}))),
        ("kid empty", header(json!({"alg": "RS256", "kid": ""}))),
        ("kid null", header(json!({"alg": "RS256", "kid": null}))),
        ("kid a number", header(json!({"alg": "RS256", "kid": 1}))),
        (
            "kid a path",
            header(json!({"alg": "RS256", "kid": "../../dev/null"})),
        ),
    ]
}

fn shapes(kid: &str, good: &Value) -> Vec<(&'static str, String)> {
    let token = OURS.token(kid, good);
    let rs256 = json!({"alg": "RS256", "kid": kid}).to_string();
    let payload = |payload: &str| OURS.sign(&rs256, payload);
    let text = good.to_string();
    let two_algs = format!(r#"{{"alg":"none","alg":"RS256","kid":"{kid}"}}"#);
    let extended = json!({"alg": "RS256", "kid": kid, "crit": ["b64"], "b64": false}).to_string();
    vec![
        ("a word", "rubbish".to_owned()),
        ("dots", "..".to_owned()),
        ("four parts", format!("{token}.e30")),
        ("five parts", format!("{token}.a.b")),
        ("9 KiB, rightly signed", {
            let long = with(good, "x", json!("x".repeat(6900)));
            OURS.token(kid, &long)
        }),
        ("9 KiB of nothing", "a".repeat(9 * 1024)),
        ("header not JSON", OURS.sign("RS256", &text)),
        ("header a list", OURS.sign("[]", &text)),
        ("header with two algs", OURS.sign(&two_algs, &text)),
        ("header with an extension", OURS.sign(&extended, &text)),
        ("payload not JSON", payload("claims")),
        ("payload a list", payload("[1]")),
        ("payload null", payload("null")),
        ("payload with a tail", payload(&format!("{text}{{}}"))),
        (
            "aud twice",
            payload(&text.replacen('{', r#"{"aud":"x","#, 1)),
        ),
        ("exp twice", payload(&text.replacen('{', r#"{"exp":1,"#, 1))),
        (
            "tid twice",
            payload(&text.replacen('{', r#"{"tid":"x","#, 1)),
        ),
        (
            "iss twice",
            payload(&text.replacen('{', r#"{"iss":"x","#, 1)),
        ),
    ]
}

fn claims(kid: &str, good: &Value) -> Vec<(&'static str, String)> {
    let set = |claim: &str, value: Value| OURS.token(kid, &with(good, claim, value));
    let (iss, now) = (good["iss"].as_str().unwrap(), now());
    vec![
        ("exp missing", set("exp", Value::Null)),
        ("expired an hour ago", set("exp", json!(now - 3600))),
        ("expired in 1970", set("exp", json!(0))),
        ("exp a string", set("exp", json!((now + 600).to_string()))),
        ("exp negative", set("exp", json!(-1))),
        ("exp the largest u64", set("exp", json!(u64::MAX))),
        ("nbf missing", set("nbf", Value::Null)),
        ("valid in an hour", set("nbf", json!(now + 3600))),
        ("nbf a string", set("nbf", json!("0"))),
        ("iss missing", set("iss", Value::Null)),
        (
            "iss of a stranger",
            set("iss", json!("https://evil.invalid")),
        ),
        (
            "iss with a slash more",
            set("iss", json!(format!("{iss}/"))),
        ),
        ("iss in capitals", set("iss", json!(iss.to_uppercase()))),
        ("iss a list", set("iss", json!([iss]))),
        ("aud missing", set("aud", Value::Null)),
        ("aud of another", set("aud", json!("https://other.example"))),
        ("aud a list of others", set("aud", json!(["a", "b"]))),
        ("aud an empty list", set("aud", json!([]))),
        ("aud a number", set("aud", json!(7))),
        ("aud an object", set("aud", json!({"a": good["aud"]}))),
        ("tid missing", set("tid", Value::Null)),
        ("tid empty", set("tid", json!(""))),
        ("tid a number", set("tid", json!(7))),
        ("tid a path", set("tid", json!("../x"))),
        ("appid a number", set("appid", json!(7))),
        ("roles a string", set("roles", json!("Calls.Initiate.All"))),
        ("scp a list", set("scp", json!(["a"]))),
    ]
}
