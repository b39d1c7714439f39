//! The token endpoint and the documents that say which keys sign. Shapes after Entra ID: OAuth 2.0
//! client credentials (RFC 6749 §4.4), errors of §5.2 with Entra's `AADSTS` numbers besides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderValue, StatusCode};
use openmic_model::{AppId, TenantId};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use uuid::Uuid;

use super::answer::RequestId;
use super::caller::Whole;
use super::fare::Fare;
use crate::config::App;
use crate::faults::Event;
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
        let body = TokenError {
            error: self.error,
            error_description: format!("AADSTS{}: {}", self.number, self.description),
            error_codes: [self.number],
            timestamp: timestamp.unwrap_or_default(),
            trace_id: id.clone(),
            correlation_id: id,
        };
        (self.status, uncached(body)).into_response()
    }
}

/// Why no token was given (RFC 6749 §5.2), with Entra's number.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenError {
    error: &'static str,
    /// `AADSTS` and the number, then what to do.
    error_description: String,
    #[schema(value_type = Vec<u32>)]
    error_codes: [u32; 1],
    timestamp: String,
    trace_id: String,
    correlation_id: String,
}

/// A token (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct Granted {
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    ext_expires_in: u64,
    access_token: String,
}

/// What a token is asked for with (RFC 6749 §4.4.2), as a form.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the form is read field by field, so that each has an error of its own"
)]
pub(super) struct TokenRequest {
    #[schema(schema_with = client_credentials)]
    grant_type: String,
    client_id: String,
    client_secret: String,
    /// `https://graph.microsoft.com/.default`.
    scope: String,
}

fn client_credentials() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["client_credentials"]))
        .build()
}

/// Which keys sign, and where tokens come from (`OpenID` Connect Discovery §3).
#[derive(Serialize, ToSchema)]
pub(super) struct OpenIdConfiguration {
    issuer: String,
    /// Nobody signs in here, but Discovery §3 demands it, and MSAL reads it.
    authorization_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    jwks_uri: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_types_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subject_types_supported: Vec<&'static str>,
    id_token_signing_alg_values_supported: Vec<&'static str>,
}

/// Keys (RFC 7517 §5).
#[derive(ToSchema)]
#[expect(dead_code, reason = "jsonwebtoken writes it")]
pub(super) struct JsonWebKeys {
    #[schema(value_type = Vec<Object>)]
    keys: (),
}

/// RFC 6749 §5.1: no answer of the token endpoint may be stored.
fn uncached(body: impl Serialize) -> impl IntoResponse {
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
    Extension(RequestId(request)): Extension<RequestId>,
    Path(tenant): Path<String>,
    whole: Whole,
) -> Response {
    let fare = Fare::outside(&world, Event::Token, &request);
    let here = Arc::clone(&world);
    let work = async move { Ok(give(&here, &tenant, &whole)) };
    fare.run(&world, work).await.into_response()
}

fn give(world: &World, tenant: &str, whole: &Whole) -> Response {
    match issue(world, tenant, whole) {
        Ok(body) => {
            world.metrics.tokens.inc();
            uncached(body).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn issue(world: &World, tenant: &str, whole: &Whole) -> Result<Granted, NoToken> {
    let missing = |name: &str| {
        NoToken::new(
            "invalid_request",
            900_144,
            format!("The request body must contain the parameter {name}."),
        )
    };
    if !whole.is("application/x-www-form-urlencoded") {
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
    Ok(Granted {
        token_type: "Bearer",
        expires_in: life,
        ext_expires_in: life,
        access_token: token,
    })
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
pub(super) async fn configuration(State(world): State<Arc<World>>) -> Json<OpenIdConfiguration> {
    Json(OpenIdConfiguration {
        issuer: NOTIFICATION_ISSUER.to_owned(),
        authorization_endpoint: "https://invalid.botframework.com".to_owned(),
        token_endpoint: None,
        token_endpoint_auth_methods_supported: vec!["private_key_jwt"],
        jwks_uri: format!("{}/v1/keys", world.base_url),
        response_types_supported: Vec::new(),
        subject_types_supported: Vec::new(),
        id_token_signing_alg_values_supported: vec!["RS256"],
    })
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
    Json(OpenIdConfiguration {
        issuer: world.issuer(&tenant),
        authorization_endpoint: format!("{base}/{tenant}/oauth2/v2.0/authorize"),
        token_endpoint: Some(format!("{base}/{tenant}/oauth2/v2.0/token")),
        token_endpoint_auth_methods_supported: vec!["client_secret_post"],
        jwks_uri: format!("{base}/v1/keys"),
        response_types_supported: vec!["token"],
        subject_types_supported: vec!["pairwise"],
        id_token_signing_alg_values_supported: vec!["RS256"],
    })
    .into_response()
}

pub(super) async fn keys(State(world): State<Arc<World>>) -> Response {
    Json(world.keys.public()).into_response()
}
