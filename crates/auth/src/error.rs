use std::sync::Arc;
use std::time::Duration;

use crate::FetchError;
use crate::token::MAX_TOKEN;

/// Why a token is not accepted. No message holds any part of the token but names of claims.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Over the limit; the token was not looked at.
    #[error(
        "the token has {bytes} bytes, the limit is {MAX_TOKEN}: ask for one with fewer roles or groups"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a signed JWT in compact form (RFC 7515 §7.1).
    #[error("the token is no JWT: {0}; send the access_token as the token endpoint gave it")]
    Malformed(&'static str),
    /// Signed in a way other than RS256, or not at all.
    #[error(
        "the token's alg is not RS256: ask the token endpoint of a configured issuer for a new one"
    )]
    Algorithm,
    /// The header does not say which key signed.
    #[error(
        "the token's header has no kid, so its key cannot be found: ask a configured issuer for a token"
    )]
    NoKeyId,
    /// No key of the issuer has this `kid`.
    #[error(
        "the token's kid is none of the issuer's keys: check that it comes from a configured issuer, or repeat in a minute if the issuer has just changed its keys"
    )]
    UnknownKey,
    /// There are no keys to check with; the token may be good.
    #[error(
        "the issuer's signing keys cannot be read, so no token can be checked: see that its OpenID configuration is reachable, then repeat"
    )]
    KeysUnavailable(#[source] Arc<FetchError>),
    /// The signature does not fit.
    #[error("the token's signature does not fit its issuer's key: send the access_token unchanged")]
    Signature,
    /// A claim that must be there is not.
    #[error("the token has no {0} claim: ask a configured issuer for a token")]
    MissingClaim(&'static str),
    /// A claim is of another type or out of range.
    #[error("the token's {0} claim cannot be read: ask a configured issuer for a token")]
    ClaimFormat(&'static str),
    /// Issued by somebody else.
    #[error(
        "the token's iss is none of the configured issuers: ask one of those, or add the issuer to the configuration"
    )]
    Issuer,
    /// Meant for somebody else.
    #[error(
        "the token's aud is not for this service: ask for a token with this service's audience"
    )]
    Audience,
    /// Over, also with the allowed clock skew.
    #[error("the token expired {} s ago: ask the token endpoint for a new one", .ago.as_secs())]
    Expired {
        /// Since `exp`, without the skew.
        ago: Duration,
    },
    /// Not begun, also with the allowed clock skew.
    #[error("the token is valid only in {} s: compare the clocks of the issuer and this machine", .ahead.as_secs())]
    NotYetValid {
        /// Until `nbf`, without the skew.
        ahead: Duration,
    },
}

impl TokenError {
    /// A closed set of words for metric labels.
    pub fn reason(&self) -> &'static str {
        self.result().label()
    }

    pub(crate) fn result(&self) -> Validation {
        match self {
            Self::TooLong { .. } => Validation::TooLong,
            Self::Malformed(_) => Validation::Malformed,
            Self::Algorithm => Validation::Algorithm,
            Self::NoKeyId => Validation::NoKeyId,
            Self::UnknownKey => Validation::UnknownKey,
            Self::KeysUnavailable(_) => Validation::KeysUnavailable,
            Self::Signature => Validation::Signature,
            Self::MissingClaim(_) => Validation::MissingClaim,
            Self::ClaimFormat(_) => Validation::ClaimFormat,
            Self::Issuer => Validation::Issuer,
            Self::Audience => Validation::Audience,
            Self::Expired { .. } => Validation::Expired,
            Self::NotYetValid { .. } => Validation::NotYetValid,
        }
    }
}

/// How a validation ended, as the metric tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    Valid,
    Cached,
    TooLong,
    Malformed,
    Algorithm,
    NoKeyId,
    UnknownKey,
    KeysUnavailable,
    Signature,
    MissingClaim,
    ClaimFormat,
    Issuer,
    Audience,
    Expired,
    NotYetValid,
}

impl Validation {
    /// In the order of the variants, so that `self as usize` finds its place.
    pub(crate) const ALL: [Self; 15] = [
        Self::Valid,
        Self::Cached,
        Self::TooLong,
        Self::Malformed,
        Self::Algorithm,
        Self::NoKeyId,
        Self::UnknownKey,
        Self::KeysUnavailable,
        Self::Signature,
        Self::MissingClaim,
        Self::ClaimFormat,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Cached => "cached",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::NoKeyId => "no_key_id",
            Self::UnknownKey => "unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Signature => "signature",
            Self::MissingClaim => "missing_claim",
            Self::ClaimFormat => "claim_format",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}
