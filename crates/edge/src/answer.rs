use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use openmic_engine::{CommandError, JoinError, UpstreamError};

pub(crate) type Answer = Result<Response, Refusal>;

/// When to come again after Graph throttled and did not say.
const AGAIN: Duration = Duration::from_secs(5);

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A failed request, before [`attend`](crate::attend) puts it into Graph's envelope.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
    /// Name, in lower case, and value of a header besides.
    pub(crate) header: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            retry_after: None,
            header: None,
        }
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalidRequest", message)
    }

    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "serviceNotAvailable",
            message,
        )
        .retry_after(wait)
    }

    /// The call is unknown, over, or somebody else's: Graph tells no difference.
    pub(crate) fn no_call() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "8522",
            "Call not found. It has ended, or no call of this application has this id.",
        )
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "generalException",
            "The request failed by a fault of openmic. Report the request-id; the log has it.",
        )
    }

    /// Keeps an SDK's middleware from repeating a POST that may have taken effect: it does so on
    /// 429, 503 and 504.
    pub(crate) fn not_to_be_repeated(mut self) -> Self {
        if matches!(self.status.as_u16(), 429 | 503 | 504) {
            self.status = StatusCode::BAD_GATEWAY;
            self.retry_after = None;
        }
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Statuses of Graph's that mean something else to our caller than to us.
fn passed_on(status: u16) -> StatusCode {
    match StatusCode::from_u16(status) {
        Ok(status) if status.is_client_error() || status.is_server_error() => status,
        _ => StatusCode::BAD_GATEWAY,
    }
}

impl From<UpstreamError> for Refusal {
    fn from(error: UpstreamError) -> Self {
        if error.status == 401 {
            return credential_refused(&error.message);
        }
        let mut refusal = Self::new(passed_on(error.status), error.code, error.message);
        refusal.retry_after = error.retry_after;
        refusal
    }
}

/// A 401 of Graph's is about the engine's credential, not about the caller's token.
fn credential_refused(message: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "generalException",
        format!("Graph refuses the engine's own credential; check app id and secret: {message}"),
    )
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        let message = chain(&error);
        match error {
            JoinError::Refused {
                status: 401,
                message,
                ..
            } => credential_refused(&message),
            JoinError::Refused {
                status,
                code,
                message,
                retry_after,
            } => {
                let refusal = Self::new(passed_on(status), code, message);
                match status {
                    // Graph took nothing, so coming again is right.
                    429 | 503 => refusal.retry_after(retry_after.unwrap_or(AGAIN)),
                    _ => refusal.not_to_be_repeated(),
                }
            }
            JoinError::Draining | JoinError::StorageFailed => {
                Self::unavailable(message, Duration::from_secs(5))
            }
            JoinError::Full(_) => Self::unavailable(message, Duration::from_secs(30)),
            JoinError::StorageFull => storage_full(message),
            JoinError::Busy => Self::unavailable(message, AGAIN),
            JoinError::Invalid(_) => Self::bad_request(message),
            JoinError::NotSent { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "serviceNotAvailable", message)
            }
            JoinError::Unknown { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "generalException", message)
            }
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "generalException",
                message,
            ),
        }
    }
}

/// RFC 4918 §11.5.
fn storage_full(message: String) -> Refusal {
    Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", message)
}

impl From<CommandError> for Refusal {
    /// Nothing was sent, so that coming again is safe.
    fn from(error: CommandError) -> Self {
        let wait = match error {
            CommandError::StorageFull => return storage_full(error.to_string()),
            CommandError::Busy => 1,
            _ => 5,
        };
        Self::unavailable(error.to_string(), Duration::from_secs(wait))
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// A JSON answer, with a `Location` where there is one.
pub(crate) fn json(
    status: StatusCode,
    body: impl Into<Body>,
    location: Option<String>,
) -> Response {
    let mut response = (status, body.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let Some(location) = location.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(status: u16) -> Refusal {
        JoinError::Refused {
            status,
            code: "c".to_owned(),
            message: "m".to_owned(),
            retry_after: None,
        }
        .into()
    }

    #[test]
    fn a_create_that_was_throttled_may_come_again() {
        for status in [429, 503] {
            let refusal = join(status);
            assert_eq!(refusal.status.as_u16(), status);
            assert_eq!(refusal.retry_after, Some(AGAIN));
        }
        let minute = Duration::from_mins(1);
        let told = JoinError::Refused {
            status: 429,
            code: "c".to_owned(),
            message: "m".to_owned(),
            retry_after: Some(minute),
        };
        assert_eq!(Refusal::from(told).retry_after, Some(minute));
    }

    #[test]
    fn what_graph_says_to_us_is_not_said_to_the_caller() {
        assert_eq!(join(401).status, StatusCode::BAD_GATEWAY);
        assert_eq!(join(504).status, StatusCode::BAD_GATEWAY);
        assert_eq!(join(200).status, StatusCode::BAD_GATEWAY);
        assert_eq!(join(403).status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_create_that_was_not_sent_is_no_fault_of_the_caller() {
        let message = "no token".to_owned();
        let refusal = Refusal::from(JoinError::NotSent { message });
        assert_eq!(refusal.status, StatusCode::BAD_GATEWAY);
        assert_eq!(refusal.code, "serviceNotAvailable");
        assert!(refusal.message.contains("no token"));
    }

    #[test]
    fn a_lost_create_is_never_repeated_by_a_middleware() {
        let lost = JoinError::Unknown {
            message: "reset".to_owned(),
        };
        assert_eq!(Refusal::from(lost).status, StatusCode::BAD_GATEWAY);
        for status in [429, 503, 504] {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal::new(status, "c", "m").not_to_be_repeated();
            assert_eq!(refusal.status, StatusCode::BAD_GATEWAY);
        }
    }
}
