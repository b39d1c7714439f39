//! What the fuzz targets of `tests/fuzz` reach of this crate's parsers. No part of the API.

use std::time::SystemTime;

use crate::keys::{Configuration, key_set};
use crate::token::Unverified;
use crate::{Claims, TokenError, ValidatorConfig};

/// A token taken apart as before its signature is checked: the key's id, what was signed, how many
/// bytes of signature, and the payload.
///
/// # Errors
/// As the validator's.
pub fn token(text: &str) -> Result<(String, &str, usize, Vec<u8>), TokenError> {
    let parts = Unverified::parse(text)?;
    let payload = parts.payload()?;
    Ok((parts.kid, parts.message, parts.signature.len(), payload))
}

/// The claims of a payload whose signature is taken to fit.
///
/// # Errors
/// As the validator's.
pub fn claims(
    payload: &[u8],
    config: &ValidatorConfig,
    now: SystemTime,
) -> Result<Claims, TokenError> {
    Claims::check(payload, config, now)
}

/// Issuer and address of the keys, as an OpenID configuration states them.
pub fn configuration(json: &[u8]) -> Option<(String, String)> {
    let read: Configuration = serde_json::from_slice(json).ok()?;
    Some((read.issuer, read.jwks_uri))
}

/// Whether a document of keys can be read, and whether a key of it answers to `kid`.
pub fn keys(json: &[u8], kid: &str) -> Option<bool> {
    let set = key_set(json).ok()?;
    Some(set.get(kid).is_some())
}
