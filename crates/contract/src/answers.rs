use serde_json::{Value, json};

/// One way a request fails, as the document tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// HTTP's status.
    pub status: u16,
    /// `error.code`.
    pub code: &'static str,
    /// When it is answered, or what its message says.
    pub when: &'static str,
}

impl Failure {
    /// For tables of them.
    pub const fn new(status: u16, code: &'static str, when: &'static str) -> Self {
        Self { status, code, when }
    }
}

/// Graph's envelope, as an example.
pub fn envelope(code: &str, message: &str) -> Value {
    json!({
        "error": {
            "code": code,
            "message": message,
            "innerError": {
                "date": "2026-11-25T18:00:00",
                "request-id": "8d9ac5fd-1d60-4e6b-8f2c-3d6b1f3c8a10",
                "client-request-id": "0b4b8e5a-6d0f-4c0c-9f57-0d1f5d6c7e21",
            },
        },
    })
}

/// The words of a status, as a document's description.
pub(crate) fn phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Failed")
}
