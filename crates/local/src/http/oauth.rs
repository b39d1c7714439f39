//! The token endpoint and the documents that say which keys sign. Shapes after Entra ID: OAuth 2.0
//! client credentials (RFC 6749 §4.4), errors of §5.2 with Entra's `AADSTS` numbers besides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderValue, StatusCode};
use openmic_model::{AppId, TenantId};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::form_urlencoded;
use uuid::Uuid;

use super::caller::Whole;
use crate::config::App;
use crate::keys::{ACCESS_LIFE, GRAPH_AUDIENCE, NOTIFICATION_ISSUER};
use crate::world::World;

/// Why no token is given, in OAuth's word, Entra's number, and for people.
struct NoToken {
    status: StatusCode,
    error: &'static str,
    number: u32,
    description: String,
}

impl NoToken {
    fn new(error: &'static str, number: u32, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            number,
            description: description.into(),
        }
    }
}

impl IntoResponse for NoToken {
    fn into_response(self) -> Response {
        let timestamp = OffsetDateTime::from(SystemTime::now()).format(&Rfc3339);
        let id = Uuid::new_v4().to_string();
        let body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{}: {}", self.number, self.description),
            "error_codes": [self.number],
            "timestamp": timestamp.unwrap_or_default(),
            "trace_id": id,
            "correlation_id": id,
        });
        (self.status, uncached(body)).into_response()
    }
}

/// RFC 6749 §5.1: no answer of the token endpoint may be stored.
fn uncached(body: Value) -> impl IntoResponse {
    (
        [
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (PRAGMA, HeaderValue::from_static("no-cache")),
        ],
        Json(body),
    )
}

pub(super) async fn token(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
    whole: Whole,
) -> Response {
    match issue(&world, &tenant, &whole) {
        Ok(body) => {
            world.metrics.tokens.inc();
            uncached(body).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn issue(world: &World, tenant: &str, whole: &Whole) -> Result<Value, NoToken> {
    let missing = |name: &str| {
        NoToken::new(
            "invalid_request",
            900_144,
            format!("The request body must contain the parameter {name}."),
        )
    };
    if whole.content_type() != "application/x-www-form-urlencoded" {
        return Err(NoToken::new(
            "invalid_request",
            900_561,
            "The endpoint takes application/x-www-form-urlencoded only.",
        ));
    }
    let form: HashMap<_, _> = form_urlencoded::parse(&whole.bytes).take(16).collect();
    let field = |name| {
        form.get(name)
            .map(AsRef::as_ref)
            .filter(|v: &&str| !v.is_empty())
    };
    let grant = field("grant_type").ok_or_else(|| missing("grant_type"))?;
    if grant != "client_credentials" {
        return Err(NoToken::new(
            "unsupported_grant_type",
            70_003,
            "This service gives tokens for grant_type=client_credentials only.",
        ));
    }
    let id = field("client_id").ok_or_else(|| missing("client_id"))?;
    let secret = field("client_secret").ok_or_else(|| missing("client_secret"))?;
    let scope = field("scope").ok_or_else(|| missing("scope"))?;
    let app = find(world, tenant, id)?;
    if !same(&app.secret, secret) {
        return Err(NoToken {
            status: StatusCode::UNAUTHORIZED,
            ..NoToken::new(
                "invalid_client",
                7_000_215,
                "The client secret is not the one of this application. Check its value.",
            )
        });
    }
    if scope != format!("{GRAPH_AUDIENCE}/.default") {
        return Err(NoToken::new(
            "invalid_scope",
            1_002_012,
            format!("The scope must be {GRAPH_AUDIENCE}/.default with client credentials."),
        ));
    }
    let token = world
        .keys
        .access(&world.issuer(&app.tenant), &app.id, &app.tenant, &app.roles)
        .map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            NoToken {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                ..NoToken::new("server_error", 90_033, "The token could not be signed.")
            }
        })?;
    let life = ACCESS_LIFE.as_secs() - 1;
    Ok(json!({
        "token_type": "Bearer",
        "expires_in": life,
        "ext_expires_in": life,
        "access_token": token,
    }))
}

fn find<'a>(world: &'a World, tenant: &str, id: &str) -> Result<&'a App, NoToken> {
    let any_tenant = ["common", "organizations"].contains(&tenant);
    let tenant = TenantId::parse(tenant);
    let known = |app: &&App| any_tenant || tenant.as_ref() == Ok(&app.tenant);
    if !world.config.apps.iter().any(|app| known(&app)) {
        return Err(NoToken::new(
            "invalid_request",
            90_002,
            "No application of this service is in that tenant. Check the tenant id in the path.",
        ));
    }
    let id = AppId::parse(id).ok();
    world
        .config
        .apps
        .iter()
        .find(|app| id.as_ref() == Some(&app.id) && known(app))
        .ok_or_else(|| {
            NoToken::new(
                "unauthorized_client",
                700_016,
                "The application is not registered in this tenant. Check client_id and tenant.",
            )
        })
}

/// Compares by digest, so that neither content nor length shows in the time it takes.
fn same(held: &str, given: &str) -> bool {
    let held = digest(&SHA256, held.as_bytes());
    let given = digest(&SHA256, given.as_bytes());
    verify_slices_are_equal(held.as_ref(), given.as_ref()).is_ok()
}

/// The document that notifications' tokens are checked by. Source: the shape of
/// `https://api.aps.skype.com/v1/.well-known/OpenIdConfiguration`.
pub(super) async fn configuration(State(world): State<Arc<World>>) -> Json<Value> {
    Json(json!({
        "issuer": NOTIFICATION_ISSUER,
        "authorization_endpoint": "https://invalid.botframework.com",
        "jwks_uri": format!("{}/v1/keys", world.base_url),
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    }))
}

/// The document that access tokens are checked by.
pub(super) async fn tenant_configuration(
    State(world): State<Arc<World>>,
    Path(tenant): Path<String>,
) -> Response {
    let known = TenantId::parse(&tenant)
        .ok()
        .filter(|tenant| world.config.apps.iter().any(|app| app.tenant == *tenant));
    let Some(tenant) = known else {
        return NoToken::new(
            "invalid_tenant",
            90_002,
            "No application of this service is in that tenant. Check the tenant id in the path.",
        )
        .into_response();
    };
    let base = &world.base_url;
    Json(json!({
        "issuer": world.issuer(&tenant),
        // Nobody signs in here, but OpenID Connect Discovery §3 demands it, and MSAL reads it.
        "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "jwks_uri": format!("{base}/v1/keys"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
    .into_response()
}

pub(super) async fn keys(State(world): State<Arc<World>>) -> Response {
    Json(world.keys.public()).into_response()
}
