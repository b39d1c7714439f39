use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openmic_model::{AppId, TenantId};

/// What every key begins with, so that it is told from a JWT and found by secret scanners.
const PREFIX: &str = "omk_";

/// A key: [`PREFIX`] and 256 random bits in base64url, 43 digits.
const LENGTH: usize = PREFIX.len() + 43;

/// Most keys that are held; each request with a key looks at all of them.
const MAX_KEYS: usize = 1000;

/// A bearer of its own kind beside JWTs: who has it calls as `app` of `tenant`. Only its hash is
/// kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// What the operator calls it; for logs. No secret.
    pub name: String,
    /// SHA-256 of the whole key, prefix included.
    pub sha256: [u8; 32],
    /// The application it calls as.
    pub app: AppId,
    /// That application's tenant.
    pub tenant: TenantId,
    /// What it may do, spelled as in a token's `roles`.
    pub roles: Vec<String>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("name", &self.name)
            .field("app", &self.app)
            .field("tenant", &self.tenant)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// A key just made. It is shown once; only its hash goes into the configuration.
pub struct NewKey {
    /// What the caller sends after `Authorization: Bearer`.
    pub secret: String,
    /// For [`ApiKey::sha256`].
    pub sha256: [u8; 32],
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").finish_non_exhaustive()
    }
}

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes, so no key can be made: see that getrandom works here")]
pub struct NoRandom;

impl NewKey {
    /// Makes one of 256 random bits.
    ///
    /// # Errors
    /// [`NoRandom`] when the system gives none.
    pub fn generate() -> Result<Self, NoRandom> {
        let mut bits = [0; 32];
        aws_lc_rs::rand::fill(&mut bits).map_err(|_| NoRandom)?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
        let sha256 = hash(&secret);
        Ok(Self { secret, sha256 })
    }
}

/// Why a set of keys is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// Two entries have one hash, so whose key it is would be a guess.
    #[error("the keys {0} and {1} have the same sha256: make one of them anew")]
    SameHash(String, String),
    /// Two entries have one name, so the log could not tell them apart.
    #[error("two keys are called {0}: give each a name of its own")]
    SameName(String),
    /// Over the limit.
    #[error("there are {0} keys, the limit is {MAX_KEYS}: let callers with a JWT share an issuer")]
    TooMany(usize),
}

/// The keys that are taken.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    keys: Arc<[Arc<ApiKey>]>,
}

impl ApiKeys {
    /// Takes these keys and no others.
    ///
    /// # Errors
    /// [`ApiKeyError`] when two cannot be told apart, or there are too many.
    pub fn new(keys: Vec<ApiKey>) -> Result<Self, ApiKeyError> {
        if keys.len() > MAX_KEYS {
            return Err(ApiKeyError::TooMany(keys.len()));
        }
        for (at, key) in keys.iter().enumerate() {
            for other in &keys[..at] {
                if other.name == key.name {
                    return Err(ApiKeyError::SameName(key.name.clone()));
                }
                if other.sha256 == key.sha256 {
                    let (one, two) = (other.name.clone(), key.name.clone());
                    return Err(ApiKeyError::SameHash(one, two));
                }
            }
        }
        Ok(Self {
            keys: keys.into_iter().map(Arc::new).collect(),
        })
    }

    /// Whether a bearer is meant to be an API key and not a JWT, whose header never begins so.
    pub fn is_one(bearer: &str) -> bool {
        bearer.starts_with(PREFIX)
    }

    /// Whose key `bearer` is. Every key is looked at, each in constant time.
    pub fn find(&self, bearer: &str) -> Option<Arc<ApiKey>> {
        if bearer.len() != LENGTH || !Self::is_one(bearer) {
            return None;
        }
        let given = hash(bearer);
        let mut found = None;
        for key in self.keys.iter() {
            if verify_slices_are_equal(&given, &key.sha256).is_ok() {
                found = Some(Arc::clone(key));
            }
        }
        found
    }
}

fn hash(key: &str) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{APP, TENANT};

    fn entry(name: &str, new: &NewKey) -> ApiKey {
        ApiKey {
            name: name.to_owned(),
            sha256: new.sha256,
            app: AppId::parse(APP).unwrap(),
            tenant: TenantId::parse(TENANT).unwrap(),
            roles: vec!["openmic.operator".to_owned()],
        }
    }

    #[test]
    fn a_key_is_found_by_its_text_and_by_nothing_else() {
        let (one, two) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
        let keys = ApiKeys::new(vec![entry("one", &one), entry("two", &two)]).unwrap();
        assert_eq!(keys.find(&one.secret).unwrap().name, "one");
        assert_eq!(keys.find(&two.secret).unwrap().name, "two");
        let stranger = NewKey::generate().unwrap().secret;
        let hash = URL_SAFE_NO_PAD.encode(one.sha256);
        for bad in [
            stranger.as_str(),
            "",
            "omk_",
            &one.secret[4..],
            &one.secret[..46],
            &format!("{}A", one.secret),
            &one.secret.to_uppercase(),
            &format!("omk_{hash}"),
            &hash,
        ] {
            assert!(keys.find(bad).is_none(), "{bad}");
        }
        assert!(ApiKeys::default().find(&one.secret).is_none());
    }

    #[test]
    fn keys_are_long_random_and_unlike_a_jwt() {
        let made: std::collections::HashSet<_> = (0..100)
            .map(|_| NewKey::generate().unwrap().secret)
            .collect();
        assert_eq!(made.len(), 100);
        for key in made {
            assert_eq!(key.len(), LENGTH);
            assert!(ApiKeys::is_one(&key));
            assert!(!key.contains('.'));
        }
        assert!(!ApiKeys::is_one("eyJhbGciOiJSUzI1NiJ9.e30.x"));
    }

    #[test]
    fn keys_that_cannot_be_told_apart_are_refused() {
        let (one, two) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
        let same_name = ApiKeys::new(vec![entry("one", &one), entry("one", &two)]);
        assert_eq!(
            same_name.unwrap_err(),
            ApiKeyError::SameName("one".to_owned())
        );
        let same_hash = ApiKeys::new(vec![entry("one", &one), entry("two", &one)]);
        let wanted = ApiKeyError::SameHash("one".to_owned(), "two".to_owned());
        assert_eq!(same_hash.unwrap_err(), wanted);
        let many = (0..=MAX_KEYS).map(|at| entry(&at.to_string(), &one));
        let many = ApiKeys::new(many.collect());
        assert_eq!(many.unwrap_err(), ApiKeyError::TooMany(MAX_KEYS + 1));
    }

    #[test]
    fn neither_key_nor_hash_is_shown() {
        let new = NewKey::generate().unwrap();
        let keys = ApiKeys::new(vec![entry("one", &new)]).unwrap();
        let shown = format!("{keys:?} {new:?}");
        assert!(
            !shown.contains(&new.secret) && !shown.contains("sha256"),
            "{shown}"
        );
    }
}
