use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use openmic_listen::TooSlow;

use crate::answer::Refusal;

/// Longest body of a Graph request. Create calls with an SDP blob are a few KiB.
pub(crate) const MAX_REQUEST: usize = 256 * 1024;
/// Longest time a body may take. A client that trickles must not hold a handler for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a body could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge(usize),
    Broken,
    Slow,
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalidRequest",
                format!("The body is longer than {limit} bytes. Send less."),
            ),
            BodyError::Broken => {
                Self::bad_request("The body could not be read to its end. Send it again.")
            }
            BodyError::Slow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "The body came too slowly. Send it faster, and all of it.",
            ),
        }
    }
}

/// Reads a body to its end.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge(limit));
    }
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect());
    match collected.await {
        Err(_) => Err(BodyError::Slow),
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if TooSlow::is_cause_of(&*error) => Err(BodyError::Slow),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(limit)),
        Ok(Err(_)) => Err(BodyError::Broken),
    }
}

/// A few compressed bytes may become gigabytes; no client of Graph compresses what it sends.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(identity) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "notSupported",
        "The body is compressed. Send it as it is, without Content-Encoding.",
    ))
}

/// Reads the body of a Graph request: JSON, or nothing.
pub(crate) async fn json(request: Request) -> Result<Bytes, Refusal> {
    let (parts, body) = request.into_parts();
    check_encoding(&parts.headers)?;
    let bytes = read(body, MAX_REQUEST).await?;
    let kind = parts.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if bytes.is_empty() || essence.eq_ignore_ascii_case("application/json") {
        return Ok(bytes);
    }
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "notSupported",
        "The body is not declared as JSON. Send it with Content-Type: application/json.",
    ))
}
