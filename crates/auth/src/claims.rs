use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openmic_model::{AppId, TenantId};
use serde::Deserialize;
use serde_json::Value;

use crate::{TokenError, ValidatorConfig};

/// The last second of the year 9999: what is later is no date but a mistake or an attack.
const LATEST: u64 = 253_402_300_799;

/// What a validated token says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// `iss`, one of the configured issuers.
    pub issuer: String,
    /// The configured audience that `aud` names.
    pub audience: String,
    /// Who asked for the token: `azp` (Entra v2) or `appid` (v1).
    pub app: Option<AppId>,
    /// `tid`; always there when the validator requires it.
    pub tenant: Option<TenantId>,
    /// `roles`: application permissions, spelled as granted.
    pub roles: Vec<String>,
    /// `scp`: present on delegated tokens only.
    pub scopes: Option<String>,
    /// `exp`, without any skew.
    pub expires: SystemTime,
    /// `nbf`, without any skew.
    pub not_before: SystemTime,
}

impl Claims {
    /// Whether one of `wanted` was granted, in exactly this spelling.
    pub fn has_any_role(&self, wanted: &[&str]) -> bool {
        self.roles
            .iter()
            .any(|role| wanted.contains(&role.as_str()))
    }

    /// Reads and checks the payload of a token whose signature fits.
    pub(crate) fn check(
        payload: &[u8],
        config: &ValidatorConfig,
        now: SystemTime,
    ) -> Result<Self, TokenError> {
        let raw: Raw = serde_json::from_slice(payload)
            .map_err(|_| TokenError::Malformed("its payload is not a JSON object of claims"))?;
        let issuer = text(raw.iss, "iss")?.ok_or(TokenError::MissingClaim("iss"))?;
        if !config.issuers.contains(&issuer) {
            return Err(TokenError::Issuer);
        }
        let audience = audience(raw.aud, &config.audiences)?;
        let expires = date(raw.exp, "exp")?;
        let not_before = date(raw.nbf, "nbf")?;
        in_time(not_before, expires, config.skew, now)?;
        let tenant = text(raw.tid, "tid")?
            .map(|tid| TenantId::parse(&tid).map_err(|_| TokenError::ClaimFormat("tid")))
            .transpose()?;
        if config.require_tid && tenant.is_none() {
            return Err(TokenError::MissingClaim("tid"));
        }
        let app = |raw, claim| {
            text(raw, claim)?
                .map(|id| AppId::parse(&id).map_err(|_| TokenError::ClaimFormat(claim)))
                .transpose()
        };
        let app = match (app(raw.azp, "azp")?, app(raw.appid, "appid")?) {
            (Some(azp), Some(appid)) if azp != appid => {
                return Err(TokenError::ClaimFormat("appid"));
            }
            (azp, appid) => azp.or(appid),
        };
        Ok(Self {
            issuer,
            audience,
            app,
            tenant,
            roles: texts(raw.roles, "roles")?.unwrap_or_default(),
            scopes: text(raw.scp, "scp")?,
            expires,
            not_before,
        })
    }

    /// Whether the token's time has come and is not over.
    pub(crate) fn in_time(&self, skew: Duration, now: SystemTime) -> bool {
        in_time(self.not_before, self.expires, skew, now).is_ok()
    }
}

/// serde's derive refuses an object that names one of these twice; which one a signer meant would
/// be a guess (RFC 7519 §4).
#[derive(Deserialize)]
struct Raw {
    iss: Option<Value>,
    aud: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    tid: Option<Value>,
    azp: Option<Value>,
    appid: Option<Value>,
    roles: Option<Value>,
    scp: Option<Value>,
}

fn text(value: Option<Value>, claim: &'static str) -> Result<Option<String>, TokenError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::ClaimFormat(claim)),
    }
}

fn texts(value: Option<Value>, claim: &'static str) -> Result<Option<Vec<String>>, TokenError> {
    match value {
        None => Ok(None),
        Some(Value::Array(values)) => values
            .into_iter()
            .map(|value| text(Some(value), claim)?.ok_or(TokenError::ClaimFormat(claim)))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(TokenError::ClaimFormat(claim)),
    }
}

/// One string or several (RFC 7519 §4.1.3); ours must be among them.
fn audience(value: Option<Value>, ours: &[String]) -> Result<String, TokenError> {
    let given = match value {
        None => return Err(TokenError::MissingClaim("aud")),
        Some(Value::String(one)) => vec![one],
        several => texts(several, "aud")?.unwrap_or_default(),
    };
    let given: Vec<String> = given.iter().map(|aud| canonical(aud)).collect();
    ours.iter()
        .find(|aud| given.contains(&canonical(aud)))
        .cloned()
        .ok_or(TokenError::Audience)
}

/// Audiences are app ids, mostly: one spelling for a GUID; what is none stays as it is.
fn canonical(audience: &str) -> String {
    AppId::parse(audience).map_or_else(|_| audience.to_owned(), |id| id.as_str().to_owned())
}

/// Seconds since 1970, whole or with a fraction (RFC 7519 §2, `NumericDate`).
fn date(value: Option<Value>, claim: &'static str) -> Result<SystemTime, TokenError> {
    let Some(value) = value else {
        return Err(TokenError::MissingClaim(claim));
    };
    let Value::Number(number) = value else {
        return Err(TokenError::ClaimFormat(claim));
    };
    let since = match (number.as_u64(), number.as_f64()) {
        (Some(seconds), _) => Some(Duration::from_secs(seconds)),
        (None, Some(seconds)) => Duration::try_from_secs_f64(seconds).ok(),
        (None, None) => None,
    };
    since
        .filter(|since| since.as_secs() <= LATEST)
        .and_then(|since| UNIX_EPOCH.checked_add(since))
        .ok_or(TokenError::ClaimFormat(claim))
}

fn in_time(
    not_before: SystemTime,
    expires: SystemTime,
    skew: Duration,
    now: SystemTime,
) -> Result<(), TokenError> {
    // "On or after" the expiry it must not be taken (RFC 7519 §4.1.4), hence `>=`.
    if let Ok(ago) = now.duration_since(expires)
        && ago >= skew
    {
        return Err(TokenError::Expired { ago });
    }
    if let Ok(ahead) = not_before.duration_since(now)
        && ahead > skew
    {
        return Err(TokenError::NotYetValid { ahead });
    }
    Ok(())
}
