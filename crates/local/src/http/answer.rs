use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use openmic_listen::is_well_encoded;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::fare::Cut;
use crate::error::CallError;
use crate::truth::Exchange;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// Longest client request id that is echoed; Graph documents a GUID.
const MAX_CLIENT_ID: usize = 128;

/// The `request-id` that a request's answer will carry.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// A failed request, before it is put into Graph's envelope by [`with_ids`].
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    retry_after: Option<String>,
}

/// What a handler gives.
pub(super) type Answer = Result<Response, Refusal>;

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// With a `Retry-After`.
    pub(super) fn after(self, retry_after: String) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..self
        }
    }
}

/// Logs what a request is answered.
pub(super) fn answered(asked: Exchange, answer: Answer) -> Answer {
    match &answer {
        // It never leaves.
        Ok(response) if response.extensions().get::<Cut>().is_some() => drop(asked),
        Ok(response) => asked.answered(response.status().as_u16(), None),
        Err(refusal) => asked.answered(refusal.status.as_u16(), Some(&refusal.code)),
    }
    answer
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        let refusal = error.refusal();
        if refusal.status.is_server_error() {
            tracing::error!(error = chain(&error), "a request failed");
        }
        Self {
            status: refusal.status,
            code: refusal.code.into(),
            message: chain(&error).into(),
            retry_after: refusal.retry_after.map(|wait| wait.as_secs().to_string()),
        }
    }
}

/// An error and its causes, the cause after a colon; no message repeats its cause.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Has `inner` answer; gives every request its id, and every failed one Graph's envelope.
pub(super) async fn with_ids(inner: Router, mut request: Request) -> Response {
    let mut text = Uuid::encode_buffer();
    let id: &str = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    let id: Arc<str> = id.into();
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let client = request
        .headers()
        .get(CLIENT_REQUEST_ID)
        .filter(|value| (1..=MAX_CLIENT_ID).contains(&value.len()) && value.to_str().is_ok())
        .cloned();
    let mut response = if is_well_encoded(request.uri()) {
        let Ok(response) = inner.oneshot(super::one_spelling(request)).await;
        response
    } else {
        undecodable(StatusCode::BAD_REQUEST).into_response()
    };
    let refusal = response.extensions_mut().remove::<Refusal>();
    if let Some(refusal) = refusal.or_else(|| bare(&response)) {
        let echoed = client.as_ref().and_then(|value| value.to_str().ok());
        let body = openmic_wire::error::encode(
            &refusal.code,
            &refusal.message,
            SystemTime::now(),
            &id,
            echoed,
        );
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        // What the empty answer was measured as.
        headers.remove(http::header::CONTENT_LENGTH);
        if refusal.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = refusal.retry_after.and_then(|wait| wait.try_into().ok()) {
            headers.insert(RETRY_AFTER, wait);
        }
    }
    let headers = response.headers_mut();
    let own = HeaderValue::try_from(&*id).expect("a GUID stands in a header as it is");
    headers.insert(CLIENT_REQUEST_ID, client.unwrap_or_else(|| own.clone()));
    headers.insert(REQUEST_ID, own);
    headers.insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
    response
}

/// axum's own refusals, of a path or query it cannot decode, are plain text.
fn bare(response: &Response) -> Option<Refusal> {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let enveloped = response.headers().get(CONTENT_TYPE) == Some(&JSON);
    (failed && !enveloped).then(|| undecodable(status))
}

fn undecodable(status: StatusCode) -> Refusal {
    Refusal::new(
        status,
        "invalidRequest",
        "The path or the query cannot be read. Percent-encode them as UTF-8.",
    )
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON answer, with a `Location` where there is one.
pub(super) fn json(status: StatusCode, body: Vec<u8>, location: Option<String>) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let Some(location) = location.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(LOCATION, location);
    }
    response
}
