use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::MethodFilter;
use http::{Method, StatusCode};
use openmic_auth::{KeySource, Metrics, Validator, ValidatorConfig};
use openmic_engine::{Engine, Owner};
use openmic_graph::{Credential, GraphClient, GraphConfig};
use openmic_model::{AppId, TenantId};
use tower::ServiceExt as _;
use url::Url;

use super::TABLE;
use crate::metrics::EdgeMetrics;
use crate::surface::{Surface, SurfaceConfig, routes};

/// A surface over an engine that reaches nobody: what is refused in front of it never does.
fn surface() -> Router {
    let nowhere = Url::parse("http://127.0.0.1:9/v1.0").unwrap();
    let app = AppId::parse("22222222-2222-4222-8222-222222222222").unwrap();
    let tenant = TenantId::parse("11111111-1111-4111-8111-111111111111").unwrap();
    let credential = Credential {
        tenant: tenant.clone(),
        app: app.clone(),
        secret: "s".into(),
    };
    let config = GraphConfig::new(nowhere.clone(), nowhere.clone(), credential);
    let client = GraphClient::new(&config, &openmic_graph::Metrics::new()).unwrap();
    let engine = Engine::builder(client, Owner { app, tenant }, nowhere)
        .build()
        .unwrap();
    let config = ValidatorConfig::callers(vec!["i".to_owned()], vec!["a".to_owned()]);
    let validator = Validator::new(config, KeySource::fixed([]), Metrics::new()).unwrap();
    let validator = Arc::new(validator);
    routes(Surface {
        engine,
        callers: Arc::clone(&validator),
        notifiers: validator,
        config: SurfaceConfig::default(),
        metrics: EdgeMetrics::new(),
    })
}

async fn ask(router: &Router, method: &Method, path: &str, token: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

pub(super) fn methods(filter: MethodFilter) -> (Method, bool) {
    let all = [Method::GET, Method::POST, Method::PATCH, Method::DELETE];
    let found = all.into_iter().find(|method| {
        MethodFilter::try_from(method.clone())
            .is_ok_and(|one| format!("{one:?}") == format!("{filter:?}"))
    });
    let method = found.expect("a method of the table");
    let head = method == Method::GET;
    (method, head)
}

#[tokio::test]
async fn no_route_answers_without_a_good_token() {
    let router = surface();
    for rule in TABLE {
        let path = rule.path.replace(['{', '}'], "");
        let (method, _) = methods(rule.method);
        for token in [None, Some("x"), Some("a.b.c")] {
            let response = ask(&router, &method, &path, token).await;
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path} {token:?}"
            );
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
        }
    }
}

#[tokio::test]
async fn a_method_that_is_not_in_the_table_is_405_and_says_which_are() {
    let router = surface();
    for rule in TABLE {
        let path = rule.path.replace(['{', '}'], "");
        let response = ask(&router, &Method::PATCH, &path, None).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = response.headers()["allow"].to_str().unwrap().to_owned();
        let (method, head) = methods(rule.method);
        assert!(allow.contains(method.as_str()), "{path}: {allow}");
        assert_eq!(
            allow.contains("HEAD"),
            head || allow.contains("GET"),
            "{path}: {allow}"
        );
    }
}

#[test]
fn the_graph_rows_are_those_of_the_contract() {
    let contract = include_str!("../../tests/contract.txt").lines();
    let mut contract: Vec<_> = contract.map(str::to_owned).collect();
    let rows = TABLE.iter().filter_map(|rule| {
        let path = rule.path.strip_prefix("/v1.0")?;
        Some(format!("{} {path}", methods(rule.method).0))
    });
    let mut rows: Vec<_> = rows.collect();
    contract.sort_unstable();
    rows.sort_unstable();
    assert_eq!(rows, contract);
}

#[tokio::test]
async fn what_is_not_in_the_table_does_not_exist() {
    let router = surface();
    for path in [
        "/",
        "/v1.0",
        "/v1.0/communications",
        "/v1.0/communications/calls/call/hold",
        "/v1.0/communications/calls/call/participants/p/unmute",
        "/v1.0/users",
        "/metrics",
        "/callbacks",
    ] {
        let response = ask(&router, &Method::GET, path, None).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_webhook_without_a_good_token_is_refused() {
    let router = surface();
    for token in [None, Some("a.b.c")] {
        let response = ask(&router, &Method::POST, "/callbacks/k", token).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{token:?}");
    }
}
