//! The service's signing key, made new at each start unless one is given, and the two kinds of token it signs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use openmic_model::{AppId, TenantId};
use serde::Serialize;

/// Audience of the tokens callers present. Source: Graph's resource id.
pub(crate) const GRAPH_AUDIENCE: &str = "https://graph.microsoft.com";
/// Issuer of the tokens that come with notifications. Source: Bot Framework's documented issuer.
pub(crate) const NOTIFICATION_ISSUER: &str = "https://api.botframework.com";
/// Life of an access token.
pub(crate) const ACCESS_LIFE: Duration = Duration::from_hours(1);
/// Life of a notification token; the documented sample lives 65 minutes.
const NOTIFICATION_LIFE: Duration = Duration::from_mins(65);

/// The key could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The generator failed.
    #[error("no RSA key could be generated")]
    Generate(#[source] aws_lc_rs::error::Unspecified),
    /// The key was not taken by the signer.
    #[error("the RSA key cannot be used for signing")]
    Use(#[source] jsonwebtoken::errors::Error),
}

pub(crate) struct SigningKey {
    key: EncodingKey,
    header: Header,
    public: JwkSet,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.header.kid)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct AccessClaims<'a> {
    pub(crate) iss: &'a str,
    pub(crate) aud: &'a str,
    pub(crate) iat: u64,
    pub(crate) nbf: u64,
    pub(crate) exp: u64,
    pub(crate) appid: &'a str,
    pub(crate) azp: &'a str,
    pub(crate) sub: &'a str,
    pub(crate) tid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roles: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scp: Option<&'a str>,
}

#[derive(Serialize)]
struct NotificationClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    tid: &'a str,
}

impl SigningKey {
    /// Takes some hundred milliseconds of one core: call it where blocking is allowed.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(KeyError::Generate)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(KeyError::Generate)?;
        let body = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in body.as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Self::of_pem(&pem)
    }

    /// A key made elsewhere: PKCS#8 in PEM.
    pub(crate) fn of_pem(pem: &str) -> Result<Self, KeyError> {
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(KeyError::Use)?;
        let kid = uuid::Uuid::new_v4().simple().to_string();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).map_err(KeyError::Use)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(kid);
        let signing = Self {
            key,
            header,
            public: JwkSet { keys: vec![jwk] },
        };
        // A backend that is missing shows here and not at the first notification.
        signing.sign(&()).map_err(KeyError::Use)?;
        Ok(signing)
    }

    pub(crate) fn public(&self) -> &JwkSet {
        &self.public
    }

    pub(crate) fn sign<C: Serialize>(
        &self,
        claims: &C,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
    }

    /// A token for `app` to call the service with.
    pub(crate) fn access(
        &self,
        issuer: &str,
        app: &AppId,
        tenant: &TenantId,
        roles: &[String],
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let now = unix_now();
        self.sign(&AccessClaims {
            iss: issuer,
            aud: GRAPH_AUDIENCE,
            iat: now,
            nbf: now,
            exp: now + ACCESS_LIFE.as_secs(),
            appid: app.as_str(),
            azp: app.as_str(),
            sub: app.as_str(),
            tid: tenant.as_str(),
            roles: Some(roles),
            scp: None,
        })
    }

    /// A token that shows `app` that a notification is the service's.
    pub(crate) fn notification(
        &self,
        app: &AppId,
        tenant: &TenantId,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let now = unix_now();
        self.sign(&NotificationClaims {
            iss: NOTIFICATION_ISSUER,
            aud: app.as_str(),
            iat: now,
            nbf: now,
            exp: now + NOTIFICATION_LIFE.as_secs(),
            tid: tenant.as_str(),
        })
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
