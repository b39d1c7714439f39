//! Graph's error envelope. Source: Graph docs, error responses and resource types.

use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::json;

/// How `innerError.date` is written: UTC, whole seconds, no offset.
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

/// What an error answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// Graph's word, or the calling platform's code in digits: `8522`. Branch on this.
    pub code: String,
    /// For people.
    pub message: String,
    /// The service's id of the request.
    pub request_id: Option<String>,
}

impl ErrorBody {
    /// The calling platform's code, when the code is one.
    pub fn subcode(&self) -> Option<i32> {
        self.code.parse().ok()
    }
}

/// Reads an error answer; `None` when the body is no such envelope.
///
/// `UnknownError` with JSON inside its message, as Graph's gateway sends it, is unwrapped.
pub fn decode(body: &[u8]) -> Option<ErrorBody> {
    let outer = json::borrowed(body, "the error").ok()?;
    let error = json::member(&outer, "error")?;
    let mut code = json::text(error, "code").unwrap_or_default();
    let mut message = json::text(error, "message").unwrap_or_default();
    let inner = json::member(error, "innerError").or_else(|| json::member(error, "innererror"));
    let request_id = inner.and_then(|inner| {
        json::text(inner, "request-id").or_else(|| json::text(inner, "requestId"))
    });
    let wrapped = Some(message)
        .filter(|_| code.eq_ignore_ascii_case("UnknownError"))
        .and_then(|message| json::borrowed(message.as_bytes(), "the message").ok());
    let number;
    if let Some(wrapped) = &wrapped {
        if let Some(lifted) = json::text(wrapped, "errorCode") {
            code = lifted;
        } else if let Some(lifted) = json::number(wrapped, "errorCode") {
            number = lifted.to_string();
            code = &number;
        }
        message = json::text(wrapped, "message").unwrap_or(message);
    }
    Some(ErrorBody {
        code: json::prose(code),
        message: json::prose(message),
        request_id: request_id.map(json::prose),
    })
}

/// What every failed request is answered with.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = ErrorEnvelope))]
pub(crate) struct Envelope<'a> {
    error: Error<'a>,
}
/// What went wrong.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Error))]
struct Error<'a> {
    /// Graph's word, or the calling platform's code in digits. Branch on this.
    code: &'a str,
    /// What is wrong and what to do, for people.
    message: &'a str,
    #[serde(rename = "innerError")]
    inner: Inner<'a>,
}
/// Which request it was.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = InnerError))]
struct Inner<'a> {
    /// UTC, without an offset.
    #[cfg_attr(feature = "schema", schema(examples("2026-11-25T18:00:00")))]
    date: String,
    /// The service's id of the request; its log has it.
    #[serde(rename = "request-id")]
    request_id: &'a str,
    /// The caller's own, or the service's where it sent none.
    #[serde(rename = "client-request-id")]
    client_request_id: &'a str,
}

/// Writes an error answer. `client_request_id` is the caller's own, echoed.
pub fn encode(
    code: &str,
    message: &str,
    date: SystemTime,
    request_id: &str,
    client_request_id: Option<&str>,
) -> Vec<u8> {
    let date = OffsetDateTime::from(date).format(&DATE);
    json::bytes(&Envelope {
        error: Error {
            code,
            message,
            inner: Inner {
                date: date.expect("the format has no part that a date lacks"),
                request_id,
                // Graph makes one up when the caller sent none
                client_request_id: client_request_id.unwrap_or(request_id),
            },
        },
    })
}

#[cfg(test)]
mod tests;
