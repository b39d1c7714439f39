use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use openmic_model::{AppId, CallId, TenantId};
use openmic_outbound::{PostError, Refused};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::{Courier, News, Outbox};
use crate::metrics::Delivery;
use crate::truth::Fact;
use crate::wording;

/// Where notifications go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Callback {
    pub(crate) url: Url,
    /// The same as the bot spelt it.
    pub(crate) uri: String,
}

/// Whom one sender serves.
#[derive(Debug)]
pub(crate) struct Recipient {
    pub(crate) call: CallId,
    pub(crate) app: AppId,
    pub(crate) tenant: TenantId,
    pub(crate) callback: Callback,
    pub(crate) chain: String,
    pub(crate) scenario: String,
}

/// How one attempt ended.
enum Attempt {
    Delivered,
    Refused(Refused),
    Rejected(StatusCode),
    Again(&'static str),
}

/// Delivers a call's notifications one after the other until its outbox is closed and empty, or
/// `kill` is cancelled.
pub(crate) async fn run(
    mut to: Recipient,
    outbox: Arc<Outbox>,
    courier: Arc<Courier>,
    kill: CancellationToken,
) {
    let mut deltas = 0;
    loop {
        let news = tokio::select! {
            biased;
            () = kill.cancelled() => break,
            news = outbox.pop() => news,
        };
        let Some(news) = news else { return };
        let news = match news {
            News::Moved(callback) => {
                to.callback = callback;
                continue;
            }
            news => news,
        };
        if matches!(news, News::Delta(_)) {
            deltas += 1;
        }
        let body = Bytes::from(wording::notification(&to, &news, deltas));
        // One id for all attempts, so that a bot can tell a repetition.
        let message = Uuid::new_v4().to_string();
        let mut attempts = 0;
        let result = tokio::select! {
            biased;
            () = kill.cancelled() => Delivery::Abandoned,
            result = deliver(&to, &message, body, &courier, &mut attempts) => result,
        };
        courier.metrics.notification(result).inc();
        courier.truth.write(&Fact::Told {
            call: &to.call,
            told: wording::told(&news, deltas),
            message: &message,
            result: result.as_str(),
            attempts,
        });
        if result == Delivery::Abandoned {
            break;
        }
    }
    let left = u64::try_from(outbox.len()).unwrap_or(u64::MAX);
    courier
        .metrics
        .notification(Delivery::Abandoned)
        .inc_by(left);
}

async fn deliver(
    to: &Recipient,
    message: &str,
    body: Bytes,
    courier: &Courier,
    attempts: &mut u32,
) -> Delivery {
    let mut waits = courier.retries.iter();
    loop {
        *attempts += 1;
        let attempt = {
            let _timer = courier.metrics.attempt_seconds.start_timer();
            attempt(to, message, body.clone(), courier).await
        };
        match attempt {
            Attempt::Delivered => return Delivery::Delivered,
            Attempt::Refused(reason) => {
                tracing::warn!(call = %to.call, %reason, "a notification was not sent");
                return Delivery::Refused;
            }
            Attempt::Rejected(status) => {
                tracing::warn!(call = %to.call, %status, "the bot did not take a notification");
                return Delivery::Rejected;
            }
            Attempt::Again(reason) => {
                let Some(wait) = waits.next() else {
                    tracing::warn!(call = %to.call, reason, "a notification was given up");
                    return Delivery::Failed;
                };
                courier.metrics.retries.inc();
                tokio::time::sleep(*wait).await;
            }
        }
    }
}

async fn attempt(to: &Recipient, message: &str, body: Bytes, courier: &Courier) -> Attempt {
    let Ok(token) = courier.authorization(&to.app, &to.tenant) else {
        return Attempt::Again("no token could be signed");
    };
    let headers = headers(to, message, token);
    match courier.outbound.post(&to.callback.url, headers, body).await {
        Ok(answer) => outcome(answer.status),
        Err(PostError::Refused(reason)) => Attempt::Refused(reason),
        Err(PostError::Timeout) => Attempt::Again("the bot did not answer in time"),
        Err(PostError::Connect(_)) => Attempt::Again("no connection to the bot"),
        Err(_) => Attempt::Again("the exchange with the bot broke off"),
    }
}

fn outcome(status: StatusCode) -> Attempt {
    if status.is_success() {
        return Attempt::Delivered;
    }
    let again = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    if again {
        Attempt::Again("the bot answered 408, 429 or 5xx")
    } else {
        Attempt::Rejected(status)
    }
}

/// The headers Graph was seen to send. Source: `contract.md` §4.1.
fn headers(to: &Recipient, message: &str, token: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(AUTHORIZATION, token);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("scenario-id", to.scenario.as_str()),
        ("x-microsoft-skype-chain-id", to.chain.as_str()),
        ("x-microsoft-skype-message-id", message),
    ] {
        // The scenario came from a request's header, the others are GUIDs of ours.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers
}
