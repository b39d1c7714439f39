//! Getting a call's log from a running engine.

use anyhow::{Context as _, bail};
use openmic_model::CallId;
use reqwest::{Certificate, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::Url;

use crate::live;
use crate::resolve::{Place, Plan};
use crate::tls::TlsPlan;

/// A token or API key to show, where the configuration's own credential is not to be used.
const TOKEN: &str = "OPENMIC_TOKEN";
/// Answers to one log: each is about 4 MiB, and a recorder has an end.
const PAGES: usize = 1024;

/// Every line that the engine holds of a call.
///
/// # Errors
/// Says what does not answer, or what was answered, and what to do.
pub(super) async fn log(plan: &Plan, url: Option<&Url>, call: &CallId) -> anyhow::Result<String> {
    let base = match (url, &plan.surface.public_url) {
        (Some(url), _) | (None, Some(url)) => url.to_string(),
        (None, None) => address(plan.tls.scheme(), plan.public),
    };
    let base = base.trim_end_matches('/').to_owned();
    let trusted = trusted(plan)?;
    let token = match std::env::var(TOKEN) {
        Ok(token) => token.trim().to_owned(),
        Err(_) => own_token(plan, &trusted).await?,
    };
    let first = format!("{base}/v1/calls/{call}/log");
    let client = live::client(plan, &first.parse()?, &trusted)?;
    let mut text = String::new();
    let mut next = Some(first);
    for _ in 0..PAGES {
        let Some(page) = next.take() else { break };
        let sent = client.get(&page).bearer_auth(&token).send().await;
        let answer = sent.map_err(|error| {
            let why = live::unreachable(error);
            anyhow::anyhow!(
                "{base} does not answer: {why}\nIs the engine running there? --config, or --url, \
                 says where"
            )
        })?;
        let status = answer.status();
        let link = answer
            .headers()
            .get("link")
            .and_then(|link| link.to_str().ok());
        next = link.and_then(following).map(|path| format!("{base}{path}"));
        let body = answer.text().await.context("the log broke off")?;
        if status != StatusCode::OK {
            bail!("{}", refused(call, status, &body));
        }
        text.push_str(&body);
    }
    Ok(text)
}

/// The address in `<...>; rel="next"`.
fn following(link: &str) -> Option<&str> {
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then_some(path)
}

fn refused(call: &CallId, status: StatusCode, body: &str) -> String {
    let error: Value = serde_json::from_str(body).unwrap_or_default();
    let message = live::shown(
        error["error"]["message"]
            .as_str()
            .unwrap_or("no reason given"),
    );
    let next = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "\nPut a token that the engine takes, or an API key, into OPENMIC_TOKEN"
        }
        StatusCode::NOT_FOUND if error["error"]["code"] == "8522" => {
            "\nGET /v1/calls lists the calls that are up. One that ended is told of while its lines \
             are there (recorder.bytes), by the process that had it, to its own application or to \
             the role openmic.operator"
        }
        _ => "",
    };
    format!(
        "the engine says {} of call {call}: {message}{next}",
        status.as_u16()
    )
}

/// Whom to trust: what the engine trusts, and its own dev certificate.
fn trusted(plan: &Plan) -> anyhow::Result<Vec<Certificate>> {
    let mut trusted = plan.authorities.clone();
    if let TlsPlan::Dev { ca_file, .. } = &plan.tls {
        let shown = ca_file.display();
        let pem = std::fs::read(ca_file).with_context(|| {
            format!(
                "cannot read {shown}, the dev certificate of the running engine; run this where it \
                 runs, or name the file: --set listen.tls_ca_file=..."
            )
        })?;
        trusted.push(Certificate::from_pem(&pem).with_context(|| format!("{shown} is no PEM"))?);
    }
    Ok(trusted)
}

/// A token for the application that the engine speaks for.
async fn own_token(plan: &Plan, trusted: &[Certificate]) -> anyhow::Result<String> {
    let credential = &plan.credential;
    let (root, scope) = match &plan.place {
        Place::Local(config) => {
            let root = match &config.public_url {
                Some(url) => url.to_string(),
                None => address(plan.tls.scheme(), config.bind),
            };
            (root, plan.scope.clone())
        }
        // The engine takes tokens that are made for it, by default for its application.
        Place::Graph(endpoints) => {
            let audience = endpoints.callers.audiences.first();
            let audience = audience.map_or(credential.app.as_str(), String::as_str);
            let scope = format!("{audience}/.default");
            (endpoints.authority.to_string(), scope)
        }
    };
    let root = root.trim_end_matches('/');
    let url: Url = format!("{root}/{}/oauth2/v2.0/token", credential.tenant).parse()?;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", credential.app.as_str()),
        ("client_secret", credential.secret.expose_secret()),
        ("scope", &scope),
    ];
    let request = live::client(plan, &url, trusted)?
        .post(url.clone())
        .form(&form);
    let advice = "put a token that the engine takes, or an API key, into OPENMIC_TOKEN";
    let (status, body) = live::answer_to(request).await.map_err(|why| {
        anyhow::anyhow!("{url} does not answer: {why}\nIs it running? Or {advice}")
    })?;
    let reply: Value = serde_json::from_slice(&body).unwrap_or_default();
    match reply["access_token"].as_str() {
        Some(token) if status == 200 => Ok(token.to_owned()),
        _ => bail!("{url} gives no token, it answers {status}; {advice}"),
    }
}

fn address(scheme: &str, at: std::net::SocketAddr) -> String {
    crate::wiring::address_url(scheme, at).to_string()
}

#[cfg(test)]
mod tests {
    use super::following;

    #[test]
    fn the_link_to_more_lines_is_followed() {
        let link = "</v1/calls/c/log?since=41>; rel=\"next\"";
        assert_eq!(following(link), Some("/v1/calls/c/log?since=41"));
        assert_eq!(following("</elsewhere>; rel=\"prev\""), None);
        assert_eq!(following("nonsense"), None);
    }
}
