use serde_json::json;
use utoipa::openapi::schema::ObjectBuilder;

use super::{Contract, dangling, document_schema};
use crate::{Body, Failure, get, post};

fn contract() -> Contract {
    let busy = Failure::new(503, "busy", "Come again.");
    let gone = Failure::new(404, "gone", "It has ended.");
    Contract {
        title: "t",
        about: "a",
        token: "k",
        groups: &[("/", "all", "All.")],
        parameters: &[("id", "Which.")],
        routes: vec![
            get("/x/{id}", "getX", "Reads.")
                .gives(200, Body::Json("Document"), "It.")
                .fails(&[busy, gone, Failure::new(503, "busy", "Come again.")]),
            post("/x/{id}", "makeX", "Makes.")
                .open()
                .takes(Body::Json("Document"))
                .gives_nothing(204, "Done.")
                .leads_to("getX", &[("id", "path.id")])
                .fails(&[Failure::new(503, "busy", "Another reason.")]),
        ],
        schemas: vec![
            document_schema(),
            ("ErrorEnvelope".to_owned(), ObjectBuilder::new().into()),
        ],
    }
}

fn served(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(method, path): &(&str, &str)| ((*method).to_owned(), (*path).to_owned());
    list.iter().map(owned).collect()
}

#[test]
fn what_differs_from_the_routes_is_named_with_the_line_to_add() {
    let both = [("GET", "/x/{id}"), ("POST", "/x/{id}")];
    assert_eq!(contract().missing(&served(&both)), [""; 0]);
    let wrong = contract().missing(&served(&[("GET", "/x/{id}"), ("DELETE", "/y")]));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].contains("delete(\"/y\", "), "{wrong:?}");
    assert!(
        wrong[1].starts_with("POST /x/{id} is described and not served"),
        "{wrong:?}"
    );
    let mut unnamed = contract();
    unnamed.parameters = &[];
    assert_eq!(unnamed.missing(&served(&both)).len(), 2);
}

#[test]
fn a_document_is_whole() {
    let document = serde_json::to_value(contract().document()).unwrap();
    assert_eq!(dangling(&document), [""; 0]);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "t");
    let read = &document["paths"]["/x/{id}"]["get"];
    assert_eq!(read["security"], json!([{"bearer": []}]));
    assert_eq!(read["parameters"][0]["description"], "Which.");
    let made = &document["paths"]["/x/{id}"]["post"];
    assert_eq!(made["security"], json!([]));
    assert_eq!(
        made["responses"]["204"]["links"]["getX"]["operationId"],
        "getX"
    );
    // the same code for another reason is another answer
    assert_ne!(read["responses"]["503"], made["responses"]["503"]);
    let busy = &document["components"]["responses"]["503_busy"];
    assert!(busy["headers"]["Retry-After"].is_object(), "{busy}");
    let example = &busy["content"]["application/json"]["examples"]["busy_0"]["value"];
    assert_eq!(example["error"]["code"], "busy");
}

#[test]
fn a_reference_to_nothing_is_found() {
    let document = json!({"a": {"$ref": "#/b"}, "c": [{"$ref": "#/d"}], "d": 1});
    assert_eq!(dangling(&document), ["#/b"]);
}
