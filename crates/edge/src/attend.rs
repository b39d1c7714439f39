//! What every request gets: its ids, a span, its place in the metrics, Graph's envelope when it
//! fails, and an answer also when its handler panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use openmic_listen::is_well_encoded;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::answer::Refusal;
use crate::metrics::EdgeMetrics;
use crate::surface::Base;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// Longest client request id that is echoed; Graph documents a GUID.
const MAX_CLIENT_ID: usize = 128;

/// Puts all of it around every route that `router` has by now, its fallback included.
pub(crate) fn attended<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    metrics: &EdgeMetrics,
) -> Router<S> {
    // One layer for all of it, since each costs a request its own box and copies.
    router.layer(from_fn_with_state(Arc::new(metrics.clone()), attend))
}

/// Has the handler answer, also when it panics.
async fn answer(request: Request, next: Next) -> Response {
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answered.unwrap_or_else(|_panic| {
        tracing::error!("a handler panicked; its message is on standard error");
        Refusal::internal().into_response()
    })
}

async fn attend(State(metrics): State<Arc<EdgeMetrics>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    // Whatever was addressed as Graph's is answered as Graph answers, also where nothing is.
    let is_graph = request.extensions().get::<Base>().is_some();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = method_label(request.method());
    let ids = Ids::of(request.headers());
    let id = ids.own();
    let span = tracing::info_span!("request", route, method, id, call = tracing::field::Empty);
    let mut response = if is_well_encoded(request.uri()) {
        answer(request, next).instrument(span.clone()).await
    } else {
        Refusal::bad_request("The path or the query cannot be read. Percent-encode them as UTF-8.")
            .into_response()
    };
    let refusal = response.extensions_mut().remove::<Refusal>();
    {
        let _entered = span.enter();
        let status = response.status().as_u16();
        let seconds = begun.elapsed().as_secs_f64();
        match &refusal {
            Some(refusal) if response.status().is_server_error() => {
                let (code, message) = (refusal.code.as_ref(), refusal.message.as_ref());
                tracing::warn!(status, seconds, code, message, "failed");
            }
            Some(refusal) => {
                tracing::debug!(status, seconds, code = refusal.code.as_ref(), "refused");
            }
            None => tracing::debug!(status, seconds, "answered"),
        }
    }
    if let Some(refusal) = &refusal {
        ids.wrap(refusal, &mut response);
    }
    metrics.answered(route, method, response.status(), begun.elapsed());
    let headers = response.headers_mut();
    if is_graph {
        headers.insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
    }
    ids.write(headers);
    response
}

fn method_label(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"];
    let known = KNOWN.iter().find(|known| **known == method.as_str());
    known.copied().unwrap_or("other")
}

/// The caller's own id of a request, where it can be echoed.
pub(crate) fn client_request_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(CLIENT_REQUEST_ID)?.to_str().ok()?;
    (!text.is_empty() && text.len() <= MAX_CLIENT_ID).then_some(text)
}

/// The ids of a request: ours, and the caller's where it sent one that can be echoed.
struct Ids {
    own: HeaderValue,
    client: Option<HeaderValue>,
}

impl Ids {
    fn of(headers: &HeaderMap) -> Self {
        let mut text = Uuid::encode_buffer();
        let own: &str = Uuid::new_v4().hyphenated().encode_lower(&mut text);
        Self {
            own: HeaderValue::from_str(own).expect("digits and dashes"),
            client: client_request_id(headers)
                .and_then(|_| headers.get(CLIENT_REQUEST_ID))
                .cloned(),
        }
    }

    fn own(&self) -> &str {
        self.own.to_str().unwrap_or_default()
    }

    /// Graph's envelope around a refusal.
    fn wrap(&self, refusal: &Refusal, response: &mut Response) {
        let body = openmic_wire::error::encode(
            &refusal.code,
            &refusal.message,
            SystemTime::now(),
            self.own(),
            self.client.as_ref().and_then(|id| id.to_str().ok()),
        );
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // That of the empty answer the refusal travelled in.
        headers.remove(CONTENT_LENGTH);
        if let Some(wait) = refusal.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some((name, value)) = refusal.header {
            let name = HeaderName::from_static(name);
            headers.insert(name, HeaderValue::from_static(value));
        }
    }

    fn write(self, headers: &mut HeaderMap) {
        let client = self.client.unwrap_or_else(|| self.own.clone());
        headers.insert(REQUEST_ID, self.own);
        headers.insert(CLIENT_REQUEST_ID, client);
    }
}

#[cfg(test)]
mod tests;
