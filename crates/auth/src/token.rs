use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openmic_model::seeded::{self, Bug};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::TokenError;

/// Longest token looked at, in bytes.
pub(crate) const MAX_TOKEN: usize = 8 * 1024;

/// The one algorithm taken: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
const ALGORITHM: &str = "RS256";

/// A token taken apart; nothing of it is proven.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    /// Which key is said to have signed.
    pub(crate) kid: String,
    /// Header and payload as they were signed.
    pub(crate) message: &'a str,
    /// The signature's bytes.
    pub(crate) signature: Vec<u8>,
    payload: &'a str,
}

/// What counts of a JOSE header. `jwk`, `jku` and `x5u` are not read: a token does not bring its
/// own key (RFC 8725 §3.10).
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: serde_json::Value,
    #[serde(default)]
    kid: serde_json::Value,
    crit: Option<IgnoredAny>,
}

impl<'a> Unverified<'a> {
    /// Takes `token`, which the caller found short enough, apart; cheapest check first.
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenError> {
        let malformed = TokenError::Malformed("it does not have three parts with dots between");
        let Some((message, signature)) = token.rsplit_once('.') else {
            return Err(malformed);
        };
        let Some((header, payload)) = message.split_once('.') else {
            return Err(malformed);
        };
        if payload.contains('.') {
            return Err(malformed);
        }
        let header: Header =
            serde_json::from_slice(&decode(header, "its header is not base64url")?)
                .map_err(|_| TokenError::Malformed("its header is not a JSON object"))?;
        if header.alg.as_str() != Some(ALGORITHM) && !seeded::is(Bug::AlgFromHeader) {
            return Err(TokenError::Algorithm);
        }
        if header.crit.is_some() {
            return Err(TokenError::Malformed("its header asks for an extension"));
        }
        let kid = match header.kid {
            serde_json::Value::String(kid) if !kid.is_empty() => kid,
            _ => return Err(TokenError::NoKeyId),
        };
        Ok(Self {
            kid,
            message,
            signature: decode(signature, "its signature is not base64url")?,
            payload,
        })
    }

    /// The claims' JSON. Only for after the signature was checked.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload, "its payload is not base64url")
    }
}

fn decode(part: &str, otherwise: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed(otherwise))
}
