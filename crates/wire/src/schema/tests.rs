use std::collections::{BTreeMap, BTreeSet};

use openmic_model::{CallId, CallState, Identity, IdentityKind, ParticipantId};
use serde_json::{Value, json};

use super::{create_example, schemas};
use crate::call::{CallResource, Direction};
use crate::create::CreateCall;

fn all() -> BTreeMap<String, Value> {
    let named = schemas().into_iter();
    named
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap()))
        .collect()
}

/// Every `$ref` in `value`.
fn refs(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(to)) = object.get("$ref") {
                found.insert(to.rsplit('/').next().unwrap().to_owned());
            }
            object.values().for_each(|value| refs(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| refs(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_schema() {
    let all = all();
    let mut found = BTreeSet::new();
    for schema in all.values() {
        refs(schema, &mut found);
    }
    assert!(!found.is_empty());
    for name in found {
        assert!(all.contains_key(&name), "{name}");
    }
}

#[test]
fn a_call_has_no_member_that_its_schema_does_not_name() {
    let request = create_example();
    let id = CallId::parse("c").unwrap();
    let own = ParticipantId::parse("p").unwrap();
    let bot = Identity {
        kind: IdentityKind::Application,
        id: None,
        display_name: None,
    };
    let call = CallResource {
        id: &id,
        state: CallState::Established,
        direction: Direction::Outgoing,
        chain_id: "x",
        my_participant: Some(&own),
        source: Some(&bot),
        result: None,
        audio_active: Some(true),
        media_blob: Some("v=0"),
        request: request.as_object(),
    };
    let body: Value = serde_json::from_slice(&call.answer(("http://h/v1.0", "x"))).unwrap();
    let schema = &all()["Call"];
    for name in body.as_object().unwrap().keys() {
        assert!(
            schema["properties"][name].is_object(),
            "{name}: name it in wire/src/schema.rs"
        );
    }
}

#[test]
fn what_the_schema_of_a_create_forbids_is_refused() {
    let good = create_example();
    CreateCall::decode(&serde_json::to_vec(&good).unwrap()).unwrap();
    let schema = &all()["CreateCall"];
    let mut tried = 0;
    for (name, member) in schema["properties"].as_object().unwrap() {
        for wrong in [json!(5), json!("x"), json!(true), json!([5]), json!({})] {
            let kind = match &wrong {
                Value::String(_) => "string",
                Value::Bool(_) => "boolean",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                _ => "number",
            };
            let types = &member["type"];
            let fits = types == kind
                || types
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(kind)));
            if fits && kind != "array" {
                continue;
            }
            let mut bad = good.clone();
            bad[name] = wrong;
            let refused = CreateCall::decode(&serde_json::to_vec(&bad).unwrap());
            assert!(refused.is_err(), "{bad}");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}
