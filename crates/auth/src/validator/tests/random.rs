use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{token, validator};
use crate::testing::{APP, FIRST, ISSUER, NOW, encode, good, now};

/// Any JSON up to a few levels.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!(ISSUER)),
        Just(json!(APP)),
        Just(json!(NOW)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,5}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #[test]
    fn no_text_is_a_token(text in any::<String>()) {
        prop_assert!(block_on(validator().validate(&text, now())).is_err());
    }

    #[test]
    fn no_three_parts_are_a_token(
        head in prop_oneof![Just(encode(&FIRST.header())), "[A-Za-z0-9_-]{0,40}"],
        body in any_json().prop_map(|json| encode(&json.to_string())),
        signature in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let token = format!("{head}.{body}.{signature}");
        prop_assert!(block_on(validator().validate(&token, now())).is_err());
    }

    #[test]
    fn any_claims_rightly_signed_are_judged(
        claim in prop::sample::select(vec![
            "iss", "aud", "exp", "nbf", "tid", "azp", "appid", "roles", "scp", "other",
        ]),
        value in any_json(),
    ) {
        // Only that it ends in an answer; the table says in which.
        drop(block_on(validator().validate(&token(claim, value), now())));
    }

    #[test]
    fn one_character_changed_is_refused(
        at in any::<prop::sample::Index>(),
        to in "[A-Za-z0-9_.=-]",
    ) {
        let token = FIRST.token(&good());
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != to);
        let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
        prop_assert!(block_on(validator().validate(&changed, now())).is_err());
    }
}
