//! Validation of bearer tokens: callers' and notifications'.
//!
//! A [`Validator`] takes the text after `Authorization: Bearer` ([`bearer`]) and answers with
//! [`Claims`] or with a [`TokenError`] that says what to do next. The public keys come from a
//! [`KeySource`]: an OpenID configuration somewhere, or a set given by a service that validates
//! what it signed itself.
//!
//! A caller may have an [`ApiKey`] instead, of which only the hash is kept: see [`ApiKeys`].
//!
//! The checks and their order follow what Graph's own sample does for notifications, with the
//! algorithm pinned: length, `alg` (RS256 and nothing else), `kid`, key, signature, `iss`, `aud`,
//! `exp`, `nbf`, `tid`. Sources: RFC 7515, RFC 7519, RFC 8725 (best current practices).
//!
//! No process-wide state: jsonwebtoken's default crypto provider, which panics at the first token
//! when two backends are compiled in, is never asked for; the aws-lc one is named directly.

#![expect(clippy::doc_markdown, reason = "OpenID is a name, not an item")]

mod api_key;
mod bearer;
mod cache;
mod claims;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod metrics;
mod token;
mod validator;

#[cfg(test)]
mod testing;

pub use api_key::{ApiKey, ApiKeyError, ApiKeys, NewKey, NoRandom};
pub use bearer::{BearerError, bearer};
pub use claims::Claims;
pub use error::TokenError;
pub use keys::{Discovery, FetchError, KeyError, KeySource, KeySourceError, PublicKey};
pub use metrics::Metrics;
pub use validator::{ConfigError, Validator, ValidatorConfig};
