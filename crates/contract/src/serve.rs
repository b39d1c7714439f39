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

    /// What the page is made of; any other path is for the server's own "not found".
    const FILES: [&str; 8] = [
        "index.html",
        "index.css",
        "swagger-ui.css",
        "swagger-ui-bundle.js",
        "swagger-ui-standalone-preset.js",
        "swagger-initializer.js",
        "favicon-16x16.png",
        "favicon-32x32.png",
    ];

    pub(super) fn mount<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
        let to_viewer = || std::future::ready(Redirect::permanent(VIEWER));
        let mut router = router
            .route("/docs", get(to_viewer))
            .route(VIEWER, get(|| std::future::ready(file("index.html"))));
        for name in FILES {
            let path = format!("{VIEWER}{name}");
            router = router.route(&path, get(move || std::future::ready(file(name))));
        }
        router
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::Response;
    use http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(path: &str) -> Response {
        let router: Router = routes(Bytes::from_static(b"{}"));
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn the_document_is_json() {
        let response = get("/openapi.json").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[cfg(feature = "viewer")]
    #[tokio::test]
    async fn the_viewer_loads_nothing_from_elsewhere() {
        use http_body_util::BodyExt as _;

        assert_eq!(get("/docs").await.headers()["location"], VIEWER);
        assert_eq!(get("/docs/other.js").await.status(), StatusCode::NOT_FOUND);
        let page = get(VIEWER).await;
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("http"), "{policy}");
        let page = page.into_body().collect().await.unwrap().to_bytes();
        let page = std::str::from_utf8(&page).unwrap();
        let mut loaded = 0;
        for part in page.split(['"', '\'']) {
            let asset = [".js", ".css", ".png"]
                .iter()
                .any(|end| part.ends_with(end));
            if asset {
                let name = part.trim_start_matches("./");
                let response = get(&format!("{VIEWER}{name}")).await;
                assert_eq!(response.status(), StatusCode::OK, "{part}");
                loaded += 1;
            }
        }
        assert!(loaded >= 6, "{loaded}: {page}");
        let start = get("/docs/swagger-initializer.js").await;
        let start = start.into_body().collect().await.unwrap().to_bytes();
        let start = std::str::from_utf8(&start).unwrap();
        assert!(start.contains("/openapi.json"), "{start}");
        assert!(!start.contains("https://"), "{start}");
    }
}
