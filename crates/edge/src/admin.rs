//! What belongs on the admin listener: metrics and health.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex as SyncMutex;
use prometheus::{Encoder as _, Registry, TextEncoder};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::answer::{Answer, Refusal, json};
use crate::attend::attended;
use crate::metrics::EdgeMetrics;

/// How long a rendering of the metrics is good for; several scrapers share it.
const FRESH: Duration = Duration::from_secs(1);

/// Whether the process should get traffic, and why not. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    blocks: Arc<SyncMutex<BTreeMap<&'static str, Cow<'static, str>>>>,
}

impl Readiness {
    /// Ready until a part says otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// Not ready as long as `part` has this reason: say what is wrong and what would help. No
    /// secrets; `/readyz` shows it to anybody.
    pub fn block(&self, part: &'static str, reason: impl Into<Cow<'static, str>>) {
        self.blocks.lock().insert(part, reason.into());
    }

    /// `part` is in order.
    pub fn clear(&self, part: &'static str) {
        self.blocks.lock().remove(part);
    }

    /// Whether no part has a reason against it.
    pub fn is_ready(&self) -> bool {
        self.blocks.lock().is_empty()
    }
}

#[derive(Clone)]
struct Admin {
    registry: Registry,
    readiness: Readiness,
    rendered: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

/// `/metrics`, `/livez`, `/readyz`, for a listener that only operators reach: there is no token.
pub fn admin_routes(registry: Registry, readiness: Readiness, metrics: &EdgeMetrics) -> Router {
    let admin = Admin {
        registry,
        readiness,
        rendered: Arc::default(),
    };
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .fallback(unknown)
        .method_not_allowed_fallback(read_only)
        .with_state(admin);
    attended(router, metrics)
}

async fn unknown() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "itemNotFound",
        "Nothing is at this path. Here are /metrics, /livez and /readyz.",
    )
}

async fn read_only() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "notAllowed",
        "The admin listener takes GET only.",
    )
}

/// Gathering clones every series, so it runs off the workers, once a second at most.
async fn render(State(admin): State<Admin>) -> Answer {
    let mut rendered = admin.rendered.lock().await;
    let body = match &*rendered {
        Some((at, body)) if at.elapsed() < FRESH => body.clone(),
        _ => {
            let registry = admin.registry.clone();
            let text = tokio::task::spawn_blocking(move || {
                let mut text = Vec::new();
                let families = registry.gather();
                TextEncoder::new()
                    .encode(&families, &mut text)
                    .map(|()| text)
            });
            let text = match text.await {
                Ok(Ok(text)) => Bytes::from(text),
                Ok(Err(error)) => {
                    tracing::error!(%error, "the metrics cannot be rendered");
                    return Err(Refusal::internal());
                }
                Err(error) => {
                    tracing::error!(%error, "the metrics cannot be gathered");
                    return Err(Refusal::internal());
                }
            };
            *rendered = Some((Instant::now(), text.clone()));
            text
        }
    };
    drop(rendered);
    let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

/// The process runs and its tasks are served; nothing else is asked.
async fn live() -> Response {
    json(StatusCode::OK, r#"{"live":true}"#, None)
}

async fn ready(State(admin): State<Admin>) -> Response {
    #[derive(Serialize)]
    struct View<'a> {
        ready: bool,
        reasons: Vec<ReasonView<'a>>,
    }
    #[derive(Serialize)]
    struct ReasonView<'a> {
        part: &'a str,
        reason: &'a str,
    }
    let blocks = admin.readiness.blocks.lock().clone();
    let reasons = blocks
        .iter()
        .map(|(part, reason)| ReasonView { part, reason });
    let view = View {
        ready: blocks.is_empty(),
        reasons: reasons.collect(),
    };
    let status = if view.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::to_vec(&view).expect("plain structs always serialise into memory");
    let mut response = json(status, body, None);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
