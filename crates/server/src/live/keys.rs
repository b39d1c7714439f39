//! The descriptions of signing keys: reachable, with keys that can be used, of the issuer expected.

use std::error::Error as _;
use std::time::SystemTime;

use openmic_auth::{Discovery, KeySource, Metrics};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::Value;

use super::{Finding, answer_to, is_loopback, shown};

/// Reads keys as the engine would, then what the configuration says of its issuer.
///
/// # Errors
/// When no request can be made.
pub(super) async fn check(
    what: &'static str,
    discovery: &Discovery,
    issuers: &[String],
) -> anyhow::Result<Finding> {
    let url = &discovery.configuration;
    let source = match KeySource::discover(discovery.clone(), Metrics::new()) {
        Ok(source) => source,
        Err(error) => return Ok(Finding::failed(what, format!("{url}: {error}"))),
    };
    if let Err(error) = source.prefetch(SystemTime::now()).await {
        let mut seen = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            seen = format!("{seen}: {error}");
            cause = error.source();
        }
        return Ok(Finding::failed(what, shown(&seen)).next(
            "no token can be checked without these keys; check the address, this machine's DNS, \
             proxy and firewall",
        ));
    }
    let mut http = Client::builder()
        .redirect(Policy::none())
        .tls_certs_merge(discovery.authorities.iter().cloned())
        .timeout(discovery.timeout);
    if is_loopback(url) {
        http = http.no_proxy();
    }
    let request = http.build()?.get(url.clone());
    let stated = match answer_to(request).await {
        Ok((200, body)) => serde_json::from_slice::<Value>(&body).unwrap_or_default(),
        Ok((status, _)) => {
            return Ok(Finding::unknown(
                what,
                format!("{url} first answered, then {status}"),
            ));
        }
        Err(why) => {
            return Ok(Finding::unknown(
                what,
                format!("{url} answered, then no more: {why}"),
            ));
        }
    };
    let stated = shown(stated["issuer"].as_str().unwrap_or_default());
    if issuers.contains(&stated) {
        return Ok(Finding::ok(what, format!("can be used; issuer {stated}")));
    }
    // Entra's documents for all tenants state a template
    let seen = format!(
        "can be used; the document states issuer {stated}, which is none of those taken: {}",
        issuers.join(", ")
    );
    Ok(Finding::warning(what, seen).next(
        "tokens whose iss is that one will be refused; add it to the issuers if it should be taken",
    ))
}
