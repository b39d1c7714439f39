//! `openmic config check --live`: tries for real what a configuration is about, and says in words
//! what is wrong and what to do next.
//!
//! It changes nothing anywhere: it gets a token, reads public keys, asks for a call that cannot
//! exist, and asks for a path of our own through the public address.

mod admitted;
mod callback;
mod keys;
mod table;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::Context as _;
use openmic_local::LocalService;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use url::{Host, Url};

use crate::resolve::{Endpoints, Place, Plan};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and something will not.
    Warning,
    /// It cannot work.
    Failed,
    /// Cannot be told from here.
    Unknown,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What was tried.
    pub(crate) check: &'static str,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What was seen.
    pub(crate) seen: String,
    /// What to do, where there is something to do.
    pub(crate) next: Option<String>,
}

impl Finding {
    fn new(check: &'static str, outcome: Outcome, seen: impl Into<String>) -> Self {
        Self {
            check,
            outcome,
            seen: seen.into(),
            next: None,
        }
    }

    fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self::new(check, Outcome::Ok, seen)
    }

    fn warning(check: &'static str, seen: impl Into<String>) -> Self {
        Self::new(check, Outcome::Warning, seen)
    }

    fn failed(check: &'static str, seen: impl Into<String>) -> Self {
        Self::new(check, Outcome::Failed, seen)
    }

    fn unknown(check: &'static str, seen: impl Into<String>) -> Self {
        Self::new(check, Outcome::Unknown, seen)
    }

    fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

/// Runs every check of `plan` and prints the table; true when nothing failed.
///
/// # Errors
/// When the checks cannot be made at all.
pub(crate) async fn run(plan: Plan) -> anyhow::Result<bool> {
    let (local, endpoints) = match &plan.place {
        Place::Local(config) => {
            say("starting the local calling service on a free port, for this check only");
            let mut config = (**config).clone();
            config.bind.set_port(0);
            config.public_url = None;
            // over loopback, so that nobody needs to trust anybody
            config.tls = None;
            let service = LocalService::start(config, &prometheus::Registry::new()).await?;
            let endpoints = Endpoints::local(&service, &plan);
            (Some(service), endpoints)
        }
        Place::Graph(endpoints) => (None, (**endpoints).clone()),
    };
    let endpoints = endpoints.trusting(&plan.authorities);
    let mut findings = Vec::new();

    say(format_args!("asking {} for a token", endpoints.authority));
    let (found, token) = token::check(&plan, &endpoints).await?;
    findings.extend(found);

    let notifications = &endpoints.notification_keys;
    let source = &notifications.configuration;
    say(format_args!("reading the keys of notifications, {source}"));
    let issuers = &plan.notification_issuers;
    let of_notifications = keys::check("keys of notifications", notifications, issuers).await?;
    let callers = &endpoints.callers;
    let of_callers = if callers.keys.configuration == *source {
        let seen = format!(
            "those of notifications are used, for issuer {}",
            callers.issuers.join(", ")
        );
        Finding::new("keys of callers", of_notifications.outcome, seen)
    } else {
        let source = &callers.keys.configuration;
        say(format_args!("reading the keys of callers, {source}"));
        keys::check("keys of callers", &callers.keys, &callers.issuers).await?
    };
    findings.extend([of_notifications, of_callers]);

    match &token {
        Some(token) => {
            say(format_args!(
                "asking {} for a call that cannot exist",
                endpoints.base_url
            ));
            findings.push(admitted::check(&plan, &endpoints.base_url, token).await?);
        }
        None => findings.push(Finding::unknown(
            admitted::CHECK,
            "not asked, for want of a token",
        )),
    }

    findings.extend(callback::check(&plan).await?);
    if let Some(service) = local {
        service.stop().await;
    }
    // https://no-color.org: any value that is not empty.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stdout().is_terminal() && !plain;
    print!("{}", table::render(&findings, colours));
    Ok(findings
        .iter()
        .all(|finding| finding.outcome != Outcome::Failed))
}

/// A line of progress, apart from the table.
fn say(what: impl fmt::Display) {
    eprintln!("… {what}");
}

/// A client that follows nothing, waits as long as the engine would, and trusts `authorities`
/// besides those of this machine.
pub(crate) fn client(plan: &Plan, to: &Url, authorities: &[Certificate]) -> anyhow::Result<Client> {
    let mut client = Client::builder()
        .redirect(Policy::none())
        .tls_certs_merge(authorities.iter().cloned())
        .connect_timeout(plan.connect_timeout.max(Duration::from_secs(5)))
        .timeout(plan.request_timeout);
    if is_loopback(to) {
        client = client.no_proxy();
    }
    client
        .build()
        .context("no HTTPS client can be made: check this machine's root certificates")
}

/// The status and the beginning of the body of an answer, or why there is none.
pub(crate) async fn answer_to(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), String> {
    let mut answer = request.send().await.map_err(unreachable)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok((answer.status().as_u16(), body))
}

/// What kept an answer away, from the outside in: the last word is the cause.
pub(crate) fn unreachable(error: reqwest::Error) -> String {
    // addresses are named by whoever asked; a query may hold what is not to be shown
    let error = error.without_url();
    let mut words = Vec::new();
    let mut at: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = at {
        let text = error.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        at = error.source();
    }
    shown(&words.join(": "))
}

/// Text from outside, fit for a line of a terminal.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 300;
    let clean = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c });
    clean.collect()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
