mod document;
mod fetch;
mod source;

#[cfg(feature = "fuzzing")]
pub(crate) use document::{Configuration, key_set};
pub(crate) use fetch::Fetch;
pub use fetch::FetchError;
pub use source::{Discovery, KeySource, KeySourceError};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey};

/// Bytes of an RSA modulus taken: 2,048 to 8,192 bits. Below is unsafe (RFC 7518 §3.3), above
/// costs too much to check.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Most bytes of an RSA exponent; 3 hold the usual 65,537.
const MAX_EXPONENT: usize = 8;

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Tokens name their key by `kid`, so a key without one is never found.
    #[error("the key has no id: give it a kid")]
    NoId,
    /// Too short to be safe or too long to be checked quickly.
    #[error("the RSA modulus has {bits} bits: use 2048 to 8192")]
    Size {
        /// Its length, rounded up to bytes.
        bits: usize,
    },
    /// Missing or absurdly long.
    #[error("the RSA exponent is empty or too long: use 65537")]
    Exponent,
}

/// One public RSA key of an issuer.
#[derive(Clone)]
pub struct PublicKey {
    kid: String,
    key: DecodingKey,
}

impl PublicKey {
    /// A key by its id and its modulus and exponent, both big-endian.
    ///
    /// # Errors
    /// [`KeyError`] when the id is empty or the numbers are out of range.
    pub fn rsa(kid: &str, modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        if kid.is_empty() {
            return Err(KeyError::NoId);
        }
        let modulus = without_leading_zeros(modulus);
        let exponent = without_leading_zeros(exponent);
        if !MODULUS.contains(&modulus.len()) {
            return Err(KeyError::Size {
                bits: modulus.len() * 8,
            });
        }
        if exponent.is_empty() || exponent.len() > MAX_EXPONENT {
            return Err(KeyError::Exponent);
        }
        Ok(Self {
            kid: kid.to_owned(),
            key: DecodingKey::from_rsa_raw_components(modulus, exponent),
        })
    }

    /// Whether `signature` is this key's RS256 signature of `message`.
    pub(crate) fn signed(&self, message: &str, signature: &[u8]) -> bool {
        // The provider is named, not looked up: the process-wide one may be a placeholder that
        // panics (Keats/jsonwebtoken#540).
        (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&Algorithm::RS256, &self.key).is_ok_and(
            |verifier| {
                verifier
                    .verify(message.as_bytes(), &signature.to_vec())
                    .is_ok()
            },
        )
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The keys of one issuer at one time, by `kid`.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: HashMap<String, Arc<PublicKey>>,
}

impl KeySet {
    /// Of two keys with one id the first counts.
    pub(crate) fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let mut set = Self::default();
        for key in keys {
            set.keys
                .entry(key.kid.clone())
                .or_insert_with(|| Arc::new(key));
        }
        set
    }

    pub(crate) fn get(&self, kid: &str) -> Option<Arc<PublicKey>> {
        self.keys.get(kid).map(Arc::clone)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
