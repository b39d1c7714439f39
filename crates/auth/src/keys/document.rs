use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::{KeySet, PublicKey};

/// Most keys read from one document.
const MAX_KEYS: usize = 256;

/// What counts of an OpenID configuration (OpenID Connect Discovery 1.0 §3).
#[derive(Debug, Deserialize)]
pub(crate) struct Configuration {
    pub(crate) issuer: String,
    pub(crate) jwks_uri: String,
}

/// A JSON Web Key Set (RFC 7517 §5). Its entries are read one by one, so that one odd key does not
/// spoil the others, as the same section asks.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// One key (RFC 7517 §4, RFC 7518 §6.3). Microsoft's state no `alg` and carry members of their
/// own, among them `x5t`, `x5c`, `issuer` and `endorsements`.
#[derive(Deserialize)]
struct Entry {
    kid: String,
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    n: String,
    e: String,
}

impl Entry {
    fn key(&self) -> Option<PublicKey> {
        let fits = |stated: &Option<String>, wanted: &str| {
            stated.as_deref().is_none_or(|stated| stated == wanted)
        };
        if self.kty != "RSA" || !fits(&self.purpose, "sig") || !fits(&self.alg, "RS256") {
            return None;
        }
        let modulus = URL_SAFE_NO_PAD.decode(&self.n).ok()?;
        let exponent = URL_SAFE_NO_PAD.decode(&self.e).ok()?;
        PublicKey::rsa(&self.kid, &modulus, &exponent).ok()
    }
}

/// The keys of a document that can check RS256; the others are passed over.
pub(crate) fn key_set(json: &[u8]) -> Result<KeySet, serde_json::Error> {
    let document: Document = serde_json::from_slice(json)?;
    let keys = document
        .keys
        .into_iter()
        .take(MAX_KEYS)
        .filter_map(|value| {
            let entry: Entry = serde_json::from_value(value).ok()?;
            entry.key()
        });
    Ok(KeySet::new(keys))
}
