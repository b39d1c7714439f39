//! The WebSocket handshake for a roster. After the 101 the socket is the hub's. Source: RFC 6455 §4.2.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use openmic_engine::Call;
use openmic_hub::{Seat, Subscribe, SubscribeError};
use openmic_listen::Taken;
use openmic_model::Version;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::{Host, Url};

use crate::answer::{Answer, Refusal};
use crate::caller::Caller;
use crate::metrics::{EdgeMetrics, Rejected, Upgrade};
use crate::surface::{Api, SurfaceConfig};

/// From the 101 to the socket: hyper has to flush the answer, nothing more.
const HANDOVER: Duration = Duration::from_secs(5);

/// Whether the request asks for a WebSocket instead of a document.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

/// Answers 101 and hands the socket to the hub, or refuses by HTTP.
pub(crate) fn roster(api: &Arc<Api>, caller: &Caller, call: &Call, request: Request) -> Answer {
    let metrics = &api.metrics;
    accept(api, caller, call, request).map_err(|(result, refusal)| {
        metrics.upgraded(result);
        refusal
    })
}

fn accept(
    api: &Arc<Api>,
    caller: &Caller,
    call: &Call,
    mut request: Request,
) -> Result<Response, (Upgrade, Refusal)> {
    let bad = |refusal| (Upgrade::BadRequest, refusal);
    let headers = request.headers();
    check_origin(headers, &api.config).map_err(|refusal| (Upgrade::Origin, refusal))?;
    let key = handshake_key(headers).map_err(bad)?;
    let since = since(request.uri().query()).map_err(bad)?;
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::try_from(accept).expect("base64 stands in a header as it is");
    if request.extensions().get::<OnUpgrade>().is_none() {
        let message = "This connection cannot be upgraded. Use HTTP/1.1.";
        return Err(bad(Refusal::bad_request(message)));
    }
    let account = api
        .accounts
        .of(caller, Instant::now())
        .map_err(|refusal| (Upgrade::Full, refusal))?;
    let hub = api.engine.hub();
    let seat = hub.reserve(call.id());
    let seat = seat.and_then(|seat| seat.within(&account.websockets));
    let mut seat = seat.map_err(|error| {
        if matches!(error, SubscribeError::QuotaFull(_)) {
            api.metrics.turned_away(Rejected::WebSockets);
        }
        no_seat(&error)
    })?;
    if let Some(expires) = caller.expires() {
        let left = expires
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        seat = seat.until(Instant::now() + left);
    }
    call.watched();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(hand_over(upgrade, seat, since, api.metrics.clone()));
    let head = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, head, Body::empty()).into_response())
}

/// As many of these run as there are seats.
async fn hand_over(upgrade: OnUpgrade, seat: Seat, since: Option<Version>, metrics: EdgeMetrics) {
    let result = match tokio::time::timeout(HANDOVER, upgrade).await {
        Ok(Ok(upgraded)) => attach(upgraded, seat, since),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the answer could not be sent in time".to_owned()),
    };
    match result {
        Ok(()) => metrics.upgraded(Upgrade::Attached),
        Err(error) => {
            tracing::debug!(error, "a subscriber was lost between handshake and roster");
            metrics.upgraded(Upgrade::Failed);
        }
    }
}

fn attach(upgraded: Upgraded, seat: Seat, since: Option<Version>) -> Result<(), String> {
    let taken = Taken::from_upgrade(upgraded)
        .map_err(|_| "the connection is neither a TCP socket nor TLS over one")?;
    let Taken {
        socket,
        tls,
        leftover,
    } = taken;
    let socket = socket.into_std().map_err(|error| error.to_string())?;
    let options = Subscribe { since };
    match tls {
        None => seat.attach(socket, leftover, options),
        Some(tls) => seat.attach_tls(socket, tls, leftover, options),
    }
    .map_err(|error| error.to_string())
}

fn no_seat(error: &SubscribeError) -> (Upgrade, Refusal) {
    let message = error.to_string();
    let wait = Duration::from_secs(5);
    match error {
        SubscribeError::UnknownCall(_) => (
            Upgrade::NoRoster,
            Refusal::new(StatusCode::NOT_FOUND, "8522", message),
        ),
        _ => (Upgrade::Full, Refusal::unavailable(message, wait)),
    }
}

fn handshake_key(headers: &HeaderMap) -> Result<&str, Refusal> {
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(Refusal::bad_request(
            "The handshake lacks Connection: Upgrade. A proxy on the way may have removed it.",
        ));
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            "notSupported",
            "Only version 13 of the WebSocket protocol is served. Use a client of RFC 6455.",
        )
        .header("sec-websocket-version", "13"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().and_then(|key| key.to_str().ok());
    key.filter(|key| is_nonce(key) && keys.next().is_none())
        .ok_or_else(|| {
            Refusal::bad_request(
                "Sec-WebSocket-Key is not one base64 text of 16 bytes. Use a client of RFC 6455.",
            )
        })
}

/// 16 bytes in base64: 22 digits and two pads.
fn is_nonce(key: &str) -> bool {
    key.strip_suffix("==").is_some_and(|digits| {
        let digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
        digits.len() == 22 && digits.bytes().all(digit)
    })
}

/// Whether a comma-separated header holds `token`, whatever its case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// `?since=epoch:seq`; the colon may be percent-encoded.
pub(crate) fn since(query: Option<&str>) -> Result<Option<Version>, Refusal> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or("").as_bytes());
    let mut given = pairs.filter(|(name, _)| name == "since");
    let Some((_, text)) = given.next() else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|error| {
        Refusal::bad_request(format!(
            "since cannot be read: {error}. Send the epoch and seq of the last frame, or leave \
             since out."
        ))
    })
}

/// Browsers send `Origin` and no page may ride on a user's loopback or network unasked; other
/// clients send none.
fn check_origin(headers: &HeaderMap, config: &SurfaceConfig) -> Result<(), Refusal> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(());
    };
    let one = origins.next().is_none();
    let known = origin.to_str().is_ok_and(|origin| {
        let listed = config.origins.iter().any(|allowed| allowed == origin);
        listed || (config.loopback_origins && is_loopback(origin))
    });
    let known = known && one;
    if known {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "accessDenied",
        "Pages of this origin may not watch rosters. Add the origin to the configuration.",
    ))
}

/// Whether it is a page of this machine, spelt as browsers spell it (RFC 6454 §6.1).
fn is_loopback(origin: &str) -> bool {
    let Ok(url) = Url::parse(origin) else {
        return false;
    };
    if !matches!(url.scheme(), "http" | "https") || url.origin().ascii_serialization() != origin {
        return false;
    }
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
