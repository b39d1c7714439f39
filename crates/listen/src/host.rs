//! Whether a request says whom it is for. hyper leaves `Host` to its users, and routers that build
//! addresses of it would repeat what a client made up.

use std::time::SystemTime;

use axum::body::Body;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use uuid::Uuid;

const MESSAGE: &str = "The request has no Host header, several, or one that is no host with or \
                       without a port. Send one, as RFC 9112 has it, section 3.2.";

/// Whether its `Host` is as RFC 9112, 3.2, wants it: one, of the form `host[:port]`. HTTP/1.0 may
/// do without.
pub(crate) fn is_good<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

fn is_host(value: &[u8]) -> bool {
    // So a client writes a target that has no authority.
    if value.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(value) else {
        return false;
    };
    let text = authority.as_str();
    if text.contains('@') {
        return false;
    }
    match text[authority.host().len()..].strip_prefix(':') {
        None => true,
        Some(port) => {
            port.bytes().all(|byte| byte.is_ascii_digit())
                && (port.is_empty() || port.parse::<u16>().is_ok())
        }
    }
}

/// 400 in Graph's envelope.
pub(crate) fn refusal(headers: &HeaderMap) -> Response<Body> {
    let id = Uuid::new_v4().to_string();
    let own = HeaderValue::try_from(&id).expect("a GUID stands in a header as it is");
    let client = headers.get("client-request-id");
    let client =
        client.filter(|value| value.to_str().is_ok_and(|id| (1..=128).contains(&id.len())));
    let echoed = client.and_then(|value| value.to_str().ok());
    let now = SystemTime::now();
    let body = openmic_wire::error::encode("invalidRequest", MESSAGE, now, &id, echoed);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.insert("client-request-id", client.unwrap_or(&own).clone());
    answer.insert("request-id", own);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_host_with_or_without_a_port() {
        for good in [
            "",
            "x",
            "bot.example",
            "bot.example:",
            "bot.example:8443",
            "127.0.0.1:7080",
            "[::1]",
            "[::1]:7080",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b",
            "bot.example/x",
            "bot.example?x",
            "bot.example#x",
            "user@bot.example",
            "user:pw@bot.example",
            "bot.example:99999",
            "bot.example:-1",
            "bot.example:x",
            "[::1",
            "::1",
            "\"><script>",
            "%0d%0aX: y",
            "b\u{f6}t.example",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
