//! What the fuzz targets of `tests/fuzz` reach of this crate's parsers. No part of the API.

use std::time::{Duration, SystemTime};

use openmic_model::CallId;
use tokio::time::Instant;
use url::Url;

use crate::GraphClient;

/// `Retry-After`, with the answer's `Date`.
pub fn retry_after(raw: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    crate::retry::retry_after(raw, date, now)
}

/// How long the grant of a token endpoint lives; `None` where the answer is no grant.
pub fn grant(body: &[u8]) -> Option<Duration> {
    let begun = Instant::now();
    let token = crate::token::granted(body, begun, 200).ok()?;
    Some(token.ends_at.duration_since(begun))
}

/// Where the next page of a call's participants is, when it may be followed.
pub fn next_page(client: &GraphClient, from: &Url, raw: &str, call: &CallId) -> Option<Url> {
    client.next(from, raw, call)
}
