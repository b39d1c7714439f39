//! HTTP in front of the world: routing, who is calling, and Graph's error envelope.

mod answer;
mod caller;
mod graph;
mod lab;
mod oauth;
mod path;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn, map_request};
use axum::routing::{any, delete, get, post};

use crate::world::World;
use answer::Refusal;

/// Everything the service answers.
pub(crate) fn router(world: Arc<World>) -> Router {
    let calls = "/v1.0/communications/calls";
    let at = |rest: &str| format!("{calls}/{{call}}{rest}");
    let mut inner = Router::new()
        .route(calls, post(graph::create))
        .route(&at(""), get(graph::get).delete(graph::hang_up))
        .route(&at("/keepAlive"), post(graph::keep_alive))
        .route(&at("/mute"), post(graph::mute))
        .route(&at("/unmute"), post(graph::unmute))
        .route(&at("/participants"), get(graph::participants))
        .route(&at("/participants/{participant}"), get(graph::participant))
        .route(
            &at("/participants/{participant}/mute"),
            post(graph::mute_participant),
        )
        .route(&at("/operations/{operation}"), get(graph::operation))
        .route("/{tenant}/oauth2/v2.0/token", post(oauth::token))
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(oauth::tenant_configuration),
        )
        .route(
            "/v1/.well-known/OpenIdConfiguration",
            get(oauth::configuration),
        )
        .route("/v1/keys", get(oauth::keys));
    if world.config.bind.ip().is_loopback() {
        let people = "/lab/v1/meetings/{thread}/participants";
        inner = inner
            .route(people, post(lab::join))
            .route(
                &format!("{people}/{{participant}}"),
                delete(lab::leave).patch(lab::patch).get(lab::get),
            )
            .route(&format!("{people}/{{participant}}/sdp"), get(lab::sdp));
    }
    let inner = inner
        .fallback(any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .with_state(world);
    // Layers of a router run after its routing, so a path that is to be rewritten first needs a
    // router around it.
    Router::new()
        .fallback_service(inner)
        .layer(map_request(one_spelling))
        .layer(from_fn(answer::with_ids))
}

/// The service's version as the caller addressed it; answers repeat it.
#[derive(Debug, Clone, Copy)]
struct Version(&'static str);

/// Rewrites a Graph path to the one spelling that is routed.
async fn one_spelling(mut request: Request) -> Request {
    let Some(path) = path::canonical(request.uri().path()) else {
        return request;
    };
    let version = if request.uri().path().starts_with("/beta") {
        "beta"
    } else {
        "v1.0"
    };
    let whole = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if let Ok(whole) = whole.parse::<PathAndQuery>() {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(whole);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request.extensions_mut().insert(Version(version));
    request
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
