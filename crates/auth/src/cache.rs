use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

use crate::Claims;

/// How long a validation counts. A key that its issuer takes back stays good for this long.
const KEEP: Duration = Duration::from_mins(5);

/// Entries of one generation; two are kept, so 4,096 in all.
const GENERATION: usize = 2048;

type Digest = [u8; 32];

/// Tokens that passed every check lately, by their SHA-256.
///
/// Full: the older half is forgotten at once, and its tokens are checked anew when they come.
/// Only valid tokens get in, so a flood of forged ones displaces nothing.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Entry>,
    old: HashMap<Digest, Entry>,
}

#[derive(Debug)]
struct Entry {
    claims: Arc<Claims>,
    checked: SystemTime,
}

impl Verified {
    pub(crate) fn key(token: &str) -> Digest {
        let mut key = Digest::default();
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        key
    }

    /// The claims of a token checked less than five minutes before `now`, still in its time.
    pub(crate) fn get(&self, key: &Digest, skew: Duration, now: SystemTime) -> Option<Arc<Claims>> {
        let generations = self.generations.lock();
        let entry = generations
            .young
            .get(key)
            .or_else(|| generations.old.get(key))?;
        let age = now.duration_since(entry.checked).unwrap_or_default();
        (age < KEEP && entry.claims.in_time(skew, now)).then(|| Arc::clone(&entry.claims))
    }

    pub(crate) fn insert(&self, key: Digest, claims: Arc<Claims>, now: SystemTime) {
        let entry = Entry {
            claims,
            checked: now,
        };
        let mut generations = self.generations.lock();
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FIRST, ISSUER, now};
    use crate::{KeySource, Metrics, Validator, ValidatorConfig};

    #[tokio::test]
    async fn it_holds_at_most_4096_and_the_newest_half_always() {
        let config = ValidatorConfig::callers(
            vec![ISSUER.to_owned()],
            vec![crate::testing::APP.to_owned()],
        );
        let keys = KeySource::fixed([FIRST.public()]);
        let validator = Validator::new(config, keys, Metrics::new()).unwrap();
        let token = FIRST.token(&crate::testing::good());
        let claims = validator.validate(&token, now()).await.unwrap();

        let cache = Verified::default();
        let skew = Duration::ZERO;
        for number in 0..20_000_u32 {
            let key = Verified::key(&number.to_string());
            cache.insert(key, Arc::clone(&claims), now());
            let generations = cache.generations.lock();
            assert!(generations.young.len() + generations.old.len() <= 4096);
        }
        for number in 20_000 - 2048..20_000 {
            let key = Verified::key(&number.to_string());
            assert!(cache.get(&key, skew, now()).is_some(), "{number}");
        }
        assert!(cache.get(&Verified::key("0"), skew, now()).is_none());
    }
}
