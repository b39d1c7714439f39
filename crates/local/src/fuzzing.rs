//! What the fuzz targets of `tests/fuzz` reach of this crate's parsers. No part of the API.

use std::net::SocketAddr;

use crate::sdp::{Answer, Offer};

/// The routed spelling of a Graph path.
pub fn path(path: &str) -> Option<String> {
    crate::http::path::canonical(path)
}

/// The answer to an SDP offer, as to a participant whose port is `local`, and how many of the
/// offer's lines were taken; `Err` holds the refusal.
///
/// # Errors
/// The reason, as the caller is told it.
pub fn answer(offer: &str, local: SocketAddr) -> Result<(String, usize), String> {
    let offer = Offer::parse(offer).map_err(|error| error.to_string())?;
    let split: Vec<SocketAddr> = offer.receiving().map(|_| local).collect();
    let answer = Answer {
        local,
        split: &split,
        session: 7,
    };
    let taken = 1 + offer.extra().count();
    Ok((answer.write(&offer), taken))
}
