use std::path::Path;

use openmic_contract::committed;

use super::{OPENAPI, asyncapi, contract, word};
use crate::table::TABLE;

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config/contracts")
        .join(name)
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let table = TABLE.iter().map(|rule| (word(rule.method), rule.path));
    let besides = [
        ("POST", "/callbacks/{key}"),
        ("GET", "/openapi.json"),
        ("GET", "/asyncapi.json"),
    ];
    let served: Vec<_> = table
        .chain(besides)
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    let wrong = contract().missing(&served);
    assert!(
        wrong.is_empty(),
        "mend `operations` in crates/edge/src/contract.rs, then run this with UPDATE=1:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_committed_documents_are_what_the_code_says() {
    let openapi = contract().document();
    committed(&openapi, &file("engine.openapi.json")).unwrap();
    committed(&asyncapi::document(), &file("engine.asyncapi.json")).unwrap();
}

#[test]
fn every_reference_leads_somewhere() {
    let document = serde_json::from_slice(&OPENAPI).unwrap();
    assert_eq!(openmic_contract::dangling(&document), [""; 0]);
    assert_eq!(openmic_contract::dangling(&asyncapi::document()), [""; 0]);
}
