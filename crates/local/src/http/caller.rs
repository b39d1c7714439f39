use std::error::Error as _;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use openmic_auth::{Claims, TokenError, bearer};
use openmic_listen::TooSlow;
use openmic_model::AppId;

use super::answer::Refusal;
use crate::world::World;

/// The bot behind a request, by a token this service issued.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) claims: Arc<Claims>,
    pub(super) app: AppId,
}

impl Caller {
    pub(super) async fn of(headers: &HeaderMap, world: &World) -> Result<Self, Refusal> {
        let refuse = |message: String| {
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                "InvalidAuthenticationToken",
                message,
            )
        };
        let token = bearer(headers).map_err(|error| refuse(error.to_string()))?;
        let claims = world
            .validator
            .validate(token, SystemTime::now())
            .await
            .map_err(|error: TokenError| refuse(error.to_string()))?;
        if claims.roles.is_empty() && claims.scopes.is_some() {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "7500",
                "Delegated tokens are not supported. Ask for a token by client credentials.",
            ));
        }
        let Some(app) = claims.app.clone() else {
            return Err(refuse(
                "the token names no application: ask for one by client credentials".to_owned(),
            ));
        };
        let registered = world.app(&app).map(|app| &app.tenant);
        if registered.is_none() || claims.tenant.as_ref() != registered {
            return Err(refuse(
                "the token's tid is not its application's tenant: ask that tenant's token endpoint"
                    .to_owned(),
            ));
        }
        Ok(Self { claims, app })
    }
}

impl FromRequestParts<Arc<World>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        world: &Arc<World>,
    ) -> Result<Self, Self::Rejection> {
        Self::of(&parts.headers, world).await
    }
}

/// A whole body within the service's limit, of whatever type.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

impl Whole {
    /// Whether that is the essence of its content type, in any case.
    pub(super) fn is(&self, content_type: &str) -> bool {
        let value = self.headers.get(CONTENT_TYPE);
        let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = text.split(';').next().unwrap_or("");
        essence.trim().eq_ignore_ascii_case(content_type)
    }

    /// The body of a Graph request: JSON, or nothing.
    pub(super) fn json(&self) -> Result<&[u8], Refusal> {
        if self.bytes.is_empty() || self.is("application/json") {
            return Ok(&self.bytes);
        }
        Err(unsupported(
            "The body is not application/json. Set Content-Type: application/json.",
        ))
    }
}

pub(super) fn unsupported(message: &'static str) -> Refusal {
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "notSupported", message)
}

impl FromRequest<Arc<World>> for Whole {
    type Rejection = Refusal;

    async fn from_request(request: Request, world: &Arc<World>) -> Result<Self, Self::Rejection> {
        let limit = world.config.limits.body;
        let patience = world.config.timing.body;
        let (parts, body) = request.into_parts();
        let coded = parts.headers.get_all(CONTENT_ENCODING).iter();
        if coded.into_iter().any(|coding| coding != "identity") {
            return Err(unsupported(
                "The body is compressed. Send it without Content-Encoding.",
            ));
        }
        let too_large = || {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalidRequest",
                format!("The body is larger than {limit} bytes. Send less."),
            )
        };
        // It says so itself, so its end need not be waited for.
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        // The token endpoint takes bodies of strangers: a client that trickles must not hold on for ever.
        let whole = tokio::time::timeout(patience, axum::body::to_bytes(body, limit));
        let slow = || {
            Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "The body came too slowly. Send it faster, and all of it.",
            )
        };
        let whole = whole.await.map_err(|_| slow())?;
        let bytes = whole.map_err(|error| {
            if TooSlow::is_cause_of(&error) {
                return slow();
            }
            // axum tells "too large" from a broken connection by the cause only.
            let over = error
                .source()
                .is_some_and(|cause| cause.to_string().contains("length limit exceeded"));
            if over {
                too_large()
            } else {
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "invalidRequest",
                    "The body could not be read to its end. Send it again.",
                )
            }
        })?;
        Ok(Self {
            headers: parts.headers,
            bytes,
        })
    }
}
