//! HTTP in front of the world: routing, who is calling, and Graph's error envelope.

mod answer;
mod caller;
mod contract;
mod fare;
mod faults;
mod graph;
mod lab;
mod oauth;
pub(crate) mod path;
mod ring;
mod select;
mod table;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::routing::{MethodRouter, any};

use crate::world::World;
use answer::Refusal;
use table::{FAULTS, GRAPH, LAB};

/// Everything the service answers.
pub(crate) fn router(world: Arc<World>) -> Router {
    let lab = world.config.bind.ip().is_loopback().then_some(LAB);
    let mut inner = Router::new();
    // Whoever may use the lab from elsewhere, by whatever name, must not find these.
    let faults = world.config.is_for_this_machine().then_some(FAULTS);
    let tables = [Some(GRAPH), lab, faults];
    for rule in tables.into_iter().flatten().flatten() {
        inner = inner.route(rule.path, (rule.handler)(rule.method));
    }
    let document = contract::OPENAPI.clone();
    let inner = inner
        // Graph's schema has this collection, and SDKs offer it; no API reads or writes it.
        .route(
            "/v1.0/communications/calls/{call}/operations",
            MethodRouter::new(),
        )
        .merge(openmic_contract::routes(document))
        .fallback(any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .with_state(world);
    // Layers of a router run after its routing, so a path that is to be rewritten first needs a
    // router around it; and each layer costs a request its own box and copies.
    Router::new().fallback(move |request: Request| answer::with_ids(inner.clone(), request))
}

/// The service's version as the caller addressed it; answers repeat it.
#[derive(Debug, Clone, Copy)]
struct Version(&'static str);

/// Rewrites a Graph path to the one spelling that is routed.
fn one_spelling(mut request: Request) -> Request {
    let Some(path) = path::canonical(request.uri().path()) else {
        return request;
    };
    let version = if request.uri().path().starts_with("/beta") {
        "beta"
    } else {
        "v1.0"
    };
    if path != request.uri().path() {
        respell(request.uri_mut(), path);
    }
    request.extensions_mut().insert(Version(version));
    request
}

fn respell(uri: &mut Uri, path: String) {
    let whole = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if let Ok(whole) = whole.parse::<PathAndQuery>() {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(whole);
        if let Ok(respelt) = Uri::from_parts(parts) {
            *uri = respelt;
        }
    }
}

async fn unknown() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "itemNotFound",
        "No resource has this path. Calls are at /v1.0/communications/calls.",
    )
}

async fn wrong_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "notAllowed",
        "The resource does not take this method. The Allow header lists those it takes.",
    )
}
