//! The client against a real HTTP server on loopback.

pub(crate) mod server;

mod acts;
mod errands;
mod pressure;
mod reads;
mod secrecy;

use std::error::Error;
use std::time::Duration;

use openmic_model::{AppId, CallId, ClientContext, TenantId};
use tokio::time::Instant;
use url::Url;

use crate::{Credential, GraphClient, GraphConfig, Metrics};

pub(crate) const SECRET: &str = "s3cret-of-the-test";

/// A configuration whose Graph and token endpoint are at these origins.
pub(crate) fn config(graph: &str, authority: &str) -> GraphConfig {
    let mut config = GraphConfig::new(
        Url::parse(&format!("{graph}/v1.0")).unwrap(),
        Url::parse(authority).unwrap(),
        Credential {
            tenant: TenantId::parse("t1").unwrap(),
            app: AppId::parse("a1").unwrap(),
            secret: SECRET.into(),
        },
    );
    // no test may depend on how busy the machine is
    config.connect_timeout = Duration::from_mins(1);
    config.request_timeout = Duration::from_mins(1);
    config.user_agent = "openmic-test/1".to_owned();
    config
}

fn client(server: &server::Server) -> GraphClient {
    GraphClient::new(&config(&server.origin, &server.origin), &Metrics::new()).unwrap()
}

fn call() -> CallId {
    CallId::parse("c1").unwrap()
}

fn context() -> ClientContext {
    ClientContext::parse("um-1").unwrap()
}

/// Far enough that no test meets it.
fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

/// An error with all its causes, as a log would print it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
