//! A key of the test's own, which both servers trust, and tokens that it should never have signed.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaEncoding};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(crate) struct Signer(KeyPair);

/// The one both servers trust.
pub(crate) static OURS: LazyLock<Signer> = LazyLock::new(Signer::generate);
/// One that nobody trusts.
pub(super) static OTHER: LazyLock<Signer> = LazyLock::new(Signer::generate);

pub(super) fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

impl Signer {
    fn generate() -> Self {
        Self(KeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        let der = self.0.as_der().unwrap();
        let body = STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }

    /// The public key's bytes, as somebody would take them for an HMAC secret.
    pub(super) fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    pub(super) fn public_pem(&self) -> String {
        let body = STANDARD.encode(self.public());
        format!("-----BEGIN RSA PUBLIC KEY-----\n{body}\n-----END RSA PUBLIC KEY-----\n")
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let key = self.0.public_key();
        let n = key.modulus().big_endian_without_leading_zero();
        json!({"kty": "RSA", "kid": kid, "n": encode(n), "e": "AQAB"})
    }

    fn sign_as(&self, how: &'static dyn RsaEncoding, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(payload));
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(how, &random, message.as_bytes(), &mut signature)
            .unwrap();
        format!("{message}.{}", encode(signature))
    }

    /// Signs any header and payload, also nonsense.
    pub(super) fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_as(&RSA_PKCS1_SHA256, header, payload)
    }

    pub(super) fn sign_rs384(&self, header: &str, payload: &str) -> String {
        self.sign_as(&RSA_PKCS1_SHA384, header, payload)
    }

    /// A token with a good header.
    pub(super) fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": kid});
        self.sign(&header.to_string(), &claims.to_string())
    }
}

pub(super) fn hs256(kid: &str, claims: &Value, secret: &[u8]) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": kid}).to_string();
    let message = format!("{}.{}", encode(header), encode(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encode(tag))
}
