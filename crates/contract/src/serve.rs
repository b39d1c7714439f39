use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

/// Where the viewer is, where there is one. It is no part of the contract.
pub const VIEWER: &str = "/docs/";

/// `/openapi.json`, and the viewer at `/docs/` with the feature `viewer`. Neither asks for a
/// token: they tell what the source tells.
pub fn routes<S: Clone + Send + Sync + 'static>(document: Bytes) -> Router<S> {
    let router = Router::new().route("/openapi.json", document_at(document));
    #[cfg(feature = "viewer")]
    let router = viewer::mount(router);
    router
}

/// Answers a GET with a document.
pub fn document_at<S: Clone + Send + Sync + 'static>(document: Bytes) -> MethodRouter<S> {
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    get(move || std::future::ready((json, document).into_response()))
}

#[cfg(feature = "viewer")]
mod viewer {
    use std::sync::{Arc, LazyLock};

    use axum::Router;
    use axum::extract::Path;
    use axum::response::{IntoResponse as _, Redirect, Response};
    use axum::routing::get;
    use http::header::{
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    };
    use http::{HeaderValue, StatusCode};
    use utoipa_swagger_ui::Config;

    use super::VIEWER;

    /// The page loads nothing from elsewhere and talks to its own server only. It styles itself
    /// from scripts, hence the inline styles; this policy holds below its path and nowhere else.
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                          img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                          form-action 'none'; frame-ancestors 'none'";

    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
        let config = Config::new(["/openapi.json"])
            .try_it_out_enabled(true)
            .display_request_duration(true)
            .doc_expansion("list")
            // else Swagger UI would have the document judged by a service of its makers
            .validator_url("none");
        Arc::new(config)
    });

    pub(super) fn mount<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
        router
            .route(
                "/docs",
                get(|| std::future::ready(Redirect::permanent(VIEWER))),
            )
            .route(VIEWER, get(|| std::future::ready(file(""))))
            .route(
                "/docs/{file}",
                get(|Path(name): Path<String>| std::future::ready(file(&name))),
            )
    }

    fn file(name: &str) -> Response {
        let Ok(Some(file)) = utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let kind = HeaderValue::try_from(file.content_type);
        let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
        let head = [
            (CONTENT_TYPE, kind),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        (head, file.bytes.into_owned()).into_response()
    }
}
