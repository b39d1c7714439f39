//! Whether notifications would arrive: `upstream.public_url` leads to this engine.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::routing::get;
use openmic_listen::{Limits, Listener, Tls};
use reqwest::Certificate;
use url::Url;
use uuid::Uuid;

use super::{Finding, answer_to, client, is_loopback, say, shown};
use crate::resolve::{Place, Plan};
use crate::tls::TlsPlan;

const ADDRESS: &str = "callback address";
const REACHED: &str = "callback reached";

/// Follows the public address as far as this machine can.
///
/// # Errors
/// When no request can be made.
pub(super) async fn check(plan: &Plan) -> anyhow::Result<Vec<Finding>> {
    let Some(url) = &plan.public_url else {
        let seen = "upstream.public_url is not set: the service runs here and calls back here";
        return Ok(vec![Finding::ok(ADDRESS, seen)]);
    };
    say(format_args!("looking {url} up"));
    let inside = match &plan.place {
        Place::Local(_) => true,
        Place::Graph(endpoints) => is_loopback(&endpoints.base_url),
    };
    let address = address(url, inside).await;
    let usable = address.outcome != super::Outcome::Failed;
    let mut found = vec![address];
    if usable {
        say(format_args!("asking {url} for a path of our own"));
        found.push(reached(plan, url, inside).await?);
    } else {
        found.push(Finding::unknown(
            REACHED,
            "not asked, for want of an address",
        ));
    }
    Ok(found)
}

/// Scheme and look-up.
async fn address(url: &Url, inside: bool) -> Finding {
    if url.scheme() != "https" && !inside {
        return Finding::failed(
            ADDRESS,
            format!("{url} is not https; Graph sends nothing there"),
        )
        .next("put a certificate of a public authority before the engine");
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Finding::failed(ADDRESS, format!("{url} has no host"));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ips: Vec<IpAddr> = match tokio::net::lookup_host((host, port)).await {
        Ok(found) => found.map(|at| at.ip()).collect(),
        Err(error) => {
            return Finding::failed(ADDRESS, format!("{host} has no address: {error}"))
                .next("add its DNS record, or correct upstream.public_url");
        }
    };
    let list: Vec<_> = ips.iter().map(IpAddr::to_string).collect();
    let seen = format!("{host} is {}", list.join(", "));
    let as_url = |ip: &IpAddr| Url::parse(&format!("https://{}/", SocketAddr::new(*ip, 443))).ok();
    let public = ips
        .iter()
        .filter_map(as_url)
        .any(|url| openmic_outbound::check(&url, false, &[]).is_ok());
    if inside || public {
        Finding::ok(ADDRESS, seen)
    } else {
        Finding::warning(
            ADDRESS,
            format!("{seen}: not of the public internet, as seen from here"),
        )
        .next("see that the name has a public address where Microsoft looks it up")
    }
}

/// Asks for a path that only this engine can answer. Where the service is the world's, the
/// certificate must be good for all the world, not for us alone.
async fn reached(plan: &Plan, url: &Url, inside: bool) -> anyhow::Result<Finding> {
    let path = Uuid::new_v4().simple().to_string();
    let root = url.as_str().trim_end_matches('/');
    let there: Url = format!("{root}/callbacks/{path}").parse()?;
    let mut authorities = if inside {
        plan.authorities.clone()
    } else {
        Vec::new()
    };
    let Ok(listener) = Listener::bind(plan.public) else {
        let request = client(plan, &there, &authorities)?.get(there);
        return Ok(running(request, url).await);
    };
    // made anew and written nowhere, so that nobody's trust is disturbed
    let tls = match &plan.tls {
        TlsPlan::Off => None,
        TlsPlan::Dev { names, .. } => Some(Tls::dev(names.clone())?),
        TlsPlan::Files(tls) => Some(tls.clone()),
    };
    if let Some(authority) = tls.as_ref().and_then(Tls::authority).filter(|_| inside) {
        authorities.push(Certificate::from_pem(authority.as_bytes())?);
    }
    let request = client(plan, &there, &authorities)?.get(there);
    let word = Uuid::new_v4().simple().to_string();
    let said = word.clone();
    let route = Router::new().route(&format!("/callbacks/{path}"), get(async move || said));
    let running = listener.tls(tls).serve(route, Limits::default());
    let answer = answer_to(request).await;
    running.stop(std::time::Duration::from_millis(200)).await;
    let from_here =
        "asked from this machine: what stands between it and the internet was not passed";
    Ok(match answer {
        Ok((200, body)) if body == word.as_bytes() => {
            Finding::ok(REACHED, format!("{url} leads to this engine; {from_here}"))
        }
        Ok((status, _)) => Finding::failed(
            REACHED,
            format!(
                "{url} answers {status}, and it is not this engine on {}",
                plan.public
            ),
        )
        .next(format!(
            "let the proxy or tunnel pass {root}/callbacks on to {}",
            plan.public
        )),
        Err(why) => {
            Finding::failed(REACHED, format!("{url} cannot be asked: {why}")).next(advice(&why))
        }
    })
}

/// The listener's address is taken: most likely this engine runs. It answers a stranger 401.
async fn running(request: reqwest::RequestBuilder, url: &Url) -> Finding {
    match answer_to(request).await {
        Ok((status, body)) => {
            let ours = openmic_wire::error::decode(&body).is_some();
            if ours && matches!(status, 401 | 404 | 405) {
                let seen = format!(
                    "{url} answers as an engine does; whether it is this one cannot be told while something runs on listen.public"
                );
                Finding::unknown(REACHED, seen)
                    .next("to be sure stop it for a moment and check again")
            } else {
                let seen = format!("{url} answers {status}, not as an engine does");
                Finding::failed(REACHED, seen)
                    .next("let the proxy or tunnel pass /callbacks on to listen.public")
            }
        }
        Err(why) => Finding::failed(REACHED, format!("{url} cannot be asked: {}", shown(&why)))
            .next(advice(&why)),
    }
}

/// What to do about a connection that did not come about.
fn advice(why: &str) -> &'static str {
    let has = |words: &[&str]| {
        words
            .iter()
            .any(|word| why.to_ascii_lowercase().contains(word))
    };
    if has(&["certificate", "unknownissuer", "notvalidforname", "expired"]) {
        "Graph takes a valid certificate of a public authority only, its whole chain and the right name"
    } else if has(&["refused"]) {
        "nothing listens there: start the proxy or tunnel, or correct upstream.public_url"
    } else {
        "check the DNS record, the proxy or tunnel and the firewall; where a network does not let its \
         own public address be reached from inside, ask from outside"
    }
}
