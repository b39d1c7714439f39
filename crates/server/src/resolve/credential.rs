//! Secrets, given directly or by file, and the credential that the engine shows upstream.

use std::fs;
use std::path::Path;

use openmic_graph::Credential;
use openmic_local::LocalConfig;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Invalid, invalid};
use crate::config::settings::Upstream;

/// A secret given directly or by file.
pub(super) fn secret(
    key: &'static str,
    direct: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, Invalid> {
    let found = match (direct, file) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                key,
                "both the secret and a file of it are given; keep one",
            ));
        }
        (Some(secret), None) => secret.clone(),
        (None, Some(path)) => {
            // The key of the path is the secret's with `_file` behind it.
            let text = fs::read_to_string(path).map_err(|source| Invalid::SecretFile {
                key,
                path: path.to_owned(),
                source,
            })?;
            // Editors and `echo` end a file with a newline.
            SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        (None, None) => return Ok(None),
    };
    if found.expose_secret().is_empty() {
        return Err(invalid(key, "the secret is empty"));
    }
    Ok(Some(found))
}

/// The engine's credential on the local service: one of its apps.
pub(super) fn own_credential(
    upstream: &Upstream,
    local: &LocalConfig,
) -> Result<Credential, Invalid> {
    let app = match &upstream.app {
        None => local
            .apps
            .first()
            .expect("without entries there is the dev app"),
        Some(id) => local.apps.iter().find(|app| app.id == *id).ok_or_else(|| {
            invalid(
                "upstream.app",
                format!("the local service does not know {id}; add it to local.apps"),
            )
        })?,
    };
    if let Some(tenant) = upstream
        .tenant
        .as_ref()
        .filter(|tenant| **tenant != app.tenant)
    {
        let problem = format!("{tenant} is not the tenant of app {} in local.apps", app.id);
        return Err(invalid("upstream.tenant", problem));
    }
    Ok(Credential {
        tenant: app.tenant.clone(),
        app: app.id.clone(),
        secret: SecretString::from(app.secret.clone()),
    })
}

/// The engine's credential on Microsoft Graph, or on what speaks like it.
pub(super) fn graph_credential(upstream: &Upstream) -> Result<Credential, Invalid> {
    let missing = |key, what: &str| invalid(key, format!("is missing; {what}"));
    let tenant = upstream.tenant.clone().ok_or_else(|| {
        missing(
            "upstream.tenant",
            "give the directory (tenant) id of the bot's app registration",
        )
    })?;
    // The token endpoint takes a domain's name too, but notifications carry the id, and each
    // would be refused as another tenant's.
    if tenant.as_str().contains('.') {
        let problem = format!("{tenant} is a domain; give the directory (tenant) id, a GUID");
        return Err(invalid("upstream.tenant", problem));
    }
    let app = upstream.app.clone().ok_or_else(|| {
        missing(
            "upstream.app",
            "give the application (client) id of the bot's app registration",
        )
    })?;
    let secret = secret(
        "upstream.secret",
        upstream.secret.as_ref(),
        upstream.secret_file.as_deref(),
    )?
    .ok_or_else(|| {
        missing(
            "upstream.secret",
            "set OPENMIC__UPSTREAM__SECRET, or name a file in upstream.secret_file",
        )
    })?;
    Ok(Credential {
        tenant,
        app,
        secret,
    })
}
