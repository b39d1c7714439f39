use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cache::Verified;
use crate::error::Validation;
use crate::token::{MAX_TOKEN, Unverified};
use crate::{Claims, KeySource, Metrics, TokenError};

/// Whose tokens for whom a validator takes.
#[derive(Debug, Clone)]
pub struct ValidatorConfig {
    /// Values of `iss`, compared byte for byte. All of them sign with the keys of one source.
    pub issuers: Vec<String>,
    /// Values of `aud`, one of which must be in the token; GUIDs compare in any spelling.
    pub audiences: Vec<String>,
    /// How far the issuer's clock may be from ours, for `exp` and `nbf`.
    pub skew: Duration,
    /// Refuse a token without a tenant.
    pub require_tid: bool,
}

impl ValidatorConfig {
    /// For notifications of Graph: 300 s of skew and a tenant, as its sample has it.
    pub fn notifications(issuers: Vec<String>, audiences: Vec<String>) -> Self {
        Self {
            issuers,
            audiences,
            skew: Duration::from_mins(5),
            require_tid: true,
        }
    }

    /// For callers of the API: 60 s of skew and a tenant.
    pub fn callers(issuers: Vec<String>, audiences: Vec<String>) -> Self {
        Self {
            issuers,
            audiences,
            skew: Duration::from_mins(1),
            require_tid: true,
        }
    }
}

/// Why a validator cannot be made: as configured it would refuse every token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `issuers` is empty or holds an empty name.
    #[error("no issuer to trust, or an empty one: name at least one value of `iss`")]
    NoIssuer,
    /// `audiences` is empty or holds an empty name.
    #[error("no audience, or an empty one: name at least one value of `aud`, such as the app id")]
    NoAudience,
}

/// Checks tokens. Shared behind an `Arc`; no lock is held while keys are fetched.
pub struct Validator {
    config: ValidatorConfig,
    keys: KeySource,
    metrics: Metrics,
    verified: Verified,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Validator {
    /// Checks against the keys of `keys`, counts into `metrics`.
    ///
    /// # Errors
    /// [`ConfigError`] when no token could ever pass.
    pub fn new(
        config: ValidatorConfig,
        keys: KeySource,
        metrics: Metrics,
    ) -> Result<Self, ConfigError> {
        let unusable = |names: &[String]| names.is_empty() || names.iter().any(String::is_empty);
        if unusable(&config.issuers) {
            return Err(ConfigError::NoIssuer);
        }
        if unusable(&config.audiences) {
            return Err(ConfigError::NoAudience);
        }
        Ok(Self {
            config,
            keys,
            metrics,
            verified: Verified::default(),
        })
    }

    /// Checks `token`, the text after `Bearer`, as of `now`.
    ///
    /// A token that passed in the last five minutes is only looked up. Waits for the issuer only
    /// when its keys are missing or do not have the token's `kid`, and that at most once a minute
    /// for all callers together.
    ///
    /// # Errors
    /// [`TokenError`], of which only [`TokenError::KeysUnavailable`] is not the caller's to mend.
    pub async fn validate(&self, token: &str, now: SystemTime) -> Result<Arc<Claims>, TokenError> {
        let result = self.check(token, now).await;
        self.metrics.validated(match &result {
            Ok((_, how)) => *how,
            Err(error) => error.result(),
        });
        result.map(|(claims, _)| claims)
    }

    async fn check(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<(Arc<Claims>, Validation), TokenError> {
        // Before the digest, so that a huge one costs nothing.
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        let digest = Verified::key(token);
        if let Some(claims) = self.verified.get(&digest, self.config.skew, now) {
            return Ok((claims, Validation::Cached));
        }
        let unverified = Unverified::parse(token)?;
        let key = self.keys.find(&unverified.kid, now).await?;
        if !key.signed(unverified.message, &unverified.signature) {
            return Err(TokenError::Signature);
        }
        let claims = Claims::check(&unverified.payload()?, &self.config, now)?;
        let claims = Arc::new(claims);
        self.verified.insert(digest, Arc::clone(&claims), now);
        Ok((claims, Validation::Valid))
    }
}

#[cfg(test)]
mod tests;
