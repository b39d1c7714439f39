//! What the fuzz targets of `tests/fuzz` reach of this crate's parsers. No part of the API.

use std::time::Duration;

use http::HeaderMap;
use openmic_model::Version;

/// The routed spelling of a Graph path, and its version.
pub fn path(path: &str) -> Option<(String, &'static str)> {
    let read = crate::path::graph(path)?;
    Some((read.canonical, read.version))
}

/// How long `Prefer` lets the answer take.
pub fn prefer(headers: &HeaderMap) -> Option<Duration> {
    crate::prefer::patience(headers).map(|patience| patience.limit)
}

/// `?since=` of a subscriber; `None` where there is none or it is refused.
pub fn since(query: &str) -> Option<Version> {
    crate::upgrade::since(Some(query)).ok()?
}
