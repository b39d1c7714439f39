use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use openmic_auth::PublicKey;
use serde_json::{Value, json};

use super::{APP, ISSUER, TENANT};

const KID: &str = "bench";

/// Signs notifications as Graph does: RS256 with a key of 2048 bits.
pub struct Signer {
    key: EncodingKey,
    header: Header,
    signed: u64,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// With a new key.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn new() -> anyhow::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let der: Pkcs8V1Der<'_> = pair.as_der()?;
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(KID.to_owned());
        Ok(Self {
            key: EncodingKey::from_rsa_pem(pem.as_bytes())?,
            header,
            signed: 0,
        })
    }

    /// A token that nobody has seen yet.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&mut self) -> anyhow::Result<String> {
        self.signed += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": APP, "tid": TENANT,
            "iat": now, "nbf": now, "exp": now + 3900, "jti": self.signed,
        });
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.key)?)
    }

    /// The public half, for [`super::take`].
    ///
    /// # Errors
    /// When the key cannot be written.
    pub fn public(&self) -> anyhow::Result<String> {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::RS256)?;
        Ok(serde_json::to_string(&jwk)?)
    }
}

/// The key that [`Signer::public`] wrote.
pub(super) fn public_key(jwk: &str) -> anyhow::Result<PublicKey> {
    let jwk: Value = serde_json::from_str(jwk)?;
    let number = |name: &str| {
        let text = jwk[name].as_str().context("no RSA key")?;
        anyhow::Ok(URL_SAFE_NO_PAD.decode(text)?)
    };
    Ok(PublicKey::rsa(KID, &number("n")?, &number("e")?)?)
}
