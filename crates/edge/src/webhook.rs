//! Where Graph's notifications come in: `POST /callbacks/{key}`. Sources: `contract.md` §4.6, §4.8.
//!
//! The key routes and is a second factor; it stands in no log line.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use openmic_auth::{TokenError, Validator, bearer};
use openmic_engine::{DeliverError, Engine};
use openmic_wire::DecodeError;
use openmic_wire::notification;

use crate::answer::{Refusal, chain};
use crate::attend::attended;
use crate::body::{self, BodyError};
use crate::metrics::{EdgeMetrics, Unqueued};

/// Longest webhook: a full roster of 1,000 people is about 1 MB.
const MAX_WEBHOOK: usize = 4 * 1024 * 1024;

/// Its route.
pub(crate) const CALLBACK: &str = "/callbacks/{key}";

struct Webhook {
    engine: Engine,
    notifiers: Arc<Validator>,
    metrics: EdgeMetrics,
}

/// `POST /callbacks/{key}` alone, to be merged or nested into a bot's own server. `notifiers`
/// checks the notifications' tokens, with the app's id as audience. Its public address is the
/// engine's `public_url` plus `/callbacks`.
pub fn callback_routes(engine: Engine, notifiers: Arc<Validator>, metrics: &EdgeMetrics) -> Router {
    attended(routes(engine, notifiers, metrics), metrics)
}

pub(crate) fn routes(engine: Engine, notifiers: Arc<Validator>, metrics: &EdgeMetrics) -> Router {
    let webhook = Webhook {
        engine,
        notifiers,
        metrics: metrics.clone(),
    };
    Router::new()
        .route(CALLBACK, post(receive))
        .with_state(Arc::new(webhook))
}

async fn receive(
    State(webhook): State<Arc<Webhook>>,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let begun = Instant::now();
    match take(&webhook, &key, request).await {
        Ok(()) => {
            webhook
                .metrics
                .webhook_ack
                .observe(begun.elapsed().as_secs_f64());
            StatusCode::ACCEPTED.into_response()
        }
        Err((reason, response)) => {
            webhook.metrics.rejected(reason);
            response
        }
    }
}

async fn take(webhook: &Webhook, key: &str, request: Request) -> Result<(), (Unqueued, Response)> {
    let no = |reason, refusal: Refusal| (reason, refusal.into_response());
    let (parts, body) = request.into_parts();
    let token = bearer(&parts.headers).map_err(|error| no(Unqueued::NoToken, error.into()))?;
    let valid = webhook.notifiers.validate(token, SystemTime::now()).await;
    let claims = valid.map_err(|error| {
        let reason = match error {
            TokenError::KeysUnavailable(_) => Unqueued::KeysUnavailable,
            _ => Unqueued::BadToken,
        };
        tracing::debug!(reason = error.reason(), "a webhook's token was refused");
        no(reason, error.into())
    })?;
    if !webhook.engine.awaits(key) {
        return Err(no(Unqueued::UnknownKey, unknown_key()));
    }
    body::check_encoding(&parts.headers).map_err(|refusal| no(Unqueued::Unreadable, refusal))?;
    let bytes = body::read(body, MAX_WEBHOOK).await.map_err(|error| {
        let reason = match error {
            BodyError::TooLarge(_) => Unqueued::TooLarge,
            BodyError::Broken | BodyError::Slow => Unqueued::Broken,
        };
        no(reason, error.into())
    })?;
    let batch = notification::decode(&bytes).map_err(|error| match error {
        // "Send it again in Graph's format." Source: Teams calling bots, call notifications.
        DecodeError::OldFormat => (Unqueued::OldFormat, StatusCode::NO_CONTENT.into_response()),
        error => no(Unqueued::Unreadable, Refusal::bad_request(chain(&error))),
    })?;
    for fault in &batch.faults {
        let error = chain(&fault.source);
        tracing::debug!(
            entry = fault.entry,
            error,
            "an entry of a webhook is unreadable"
        );
    }
    if let (true, Some(fault)) = (batch.notifications.is_empty(), batch.faults.first()) {
        let refusal = Refusal::bad_request(chain(&fault.source));
        return Err(no(Unqueued::Unreadable, refusal));
    }
    let tenant = claims.tenant.as_ref();
    let faults = batch.faults.len();
    let delivered = webhook
        .engine
        .deliver_post(key, tenant, batch, &parts.headers, bytes.len())
        .map_err(|error| match error {
            DeliverError::Busy => {
                let wait = Duration::from_secs(1);
                let refusal = Refusal::unavailable(error.to_string(), wait);
                no(Unqueued::Busy, refusal)
            }
            _ => no(Unqueued::UnknownKey, unknown_key()),
        })?;
    tracing::debug!(
        queued = delivered.queued,
        foreign = delivered.foreign,
        faults,
        "webhook queued"
    );
    Ok(())
}

fn unknown_key() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "itemNotFound",
        "No call takes notifications here. It has ended, or the address was never given out.",
    )
}
