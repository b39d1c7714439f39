use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use openmic::{Bot, Call};
use openmic_auth::{KeySource, Metrics, Validator, ValidatorConfig};
use openmic_edge::{EdgeMetrics, callback_routes};
use openmic_hub::Subscribe;
use openmic_listen::{Limits, Listener};

use super::signer::public_key;
use super::{APP, CALLS, Door, ISSUER};
use crate::idle;

/// Who takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// The same HTTP library and listener: reads the body, answers 202.
    Bare,
    /// The webhook of an engine with established calls.
    Openmic,
}

impl Takes {
    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Openmic => "openmic",
        }
    }
}

/// What a process that takes them is told.
#[derive(Debug)]
pub struct Taking<'a> {
    /// As [`Takes::as_str`].
    pub who: &'a str,
    /// As [`super::Signer::public`].
    pub key: &'a str,
    /// Subscribers of each call.
    pub subscribers: usize,
    /// The argument with which this program plays Graph.
    pub graph: &'a str,
}

/// Takes notifications until the input ends.
///
/// # Errors
/// When it does not start.
pub fn take(taking: &Taking<'_>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(async {
        let seats = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (routes, calls, house) = if taking.who == Takes::Bare.as_str() {
            let route = post(async |_: Bytes| StatusCode::ACCEPTED);
            (
                Router::new().route("/callbacks/{key}", route),
                Vec::new(),
                None,
            )
        } else {
            let (routes, calls, house) = engine(taking).await?;
            (routes, calls, Some(house))
        };
        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let door = Door {
            webhook: listener.local_addr(),
            seats: seats.local_addr()?,
            calls: calls
                .iter()
                .map(|call| call.id().as_str().to_owned())
                .collect(),
        };
        let running = listener.serve(routes, Limits::default());
        if let Some((_, bot)) = &house {
            let (hub, each) = (bot.hub().clone(), taking.subscribers);
            let seat = move || {
                for call in calls.iter().flat_map(|call| vec![call; each]) {
                    let (socket, _) = seats.accept()?;
                    hub.subscribe(call.id(), socket, Bytes::new(), Subscribe::default())?;
                    call.watched();
                }
                anyhow::Ok(())
            };
            thread::spawn(move || {
                if let Err(error) = seat() {
                    eprintln!("a subscriber is not taken: {error:#}");
                }
            });
        }
        let mut line = serde_json::to_string(&door)?;
        line.push('\n');
        io::stdout().write_all(line.as_bytes())?;
        let until = || io::stdin().read(&mut [0]);
        let ended = tokio::task::spawn_blocking(until).await;
        drop((running, house));
        ended.context("the input's thread panicked")??;
        anyhow::Ok(())
    });
    runtime.shutdown_background();
    served
}

type House = (idle::Graph, Bot);

async fn engine(taking: &Taking<'_>) -> anyhow::Result<(Router, Vec<Call>, House)> {
    let graph = idle::Graph::start(taking.graph)?;
    let bot = idle::bot(graph.port(), CALLS, None)?;
    let accepted = ValidatorConfig::notifications(vec![ISSUER.to_owned()], vec![APP.to_owned()]);
    let keys = KeySource::fixed([public_key(taking.key)?]);
    let notifiers = Validator::new(accepted, keys, Metrics::new())?;
    let routes = callback_routes(
        bot.engine().clone(),
        Arc::new(notifiers),
        &EdgeMetrics::new(),
    );
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        calls.push(idle::join(&bot).await?);
    }
    Ok((routes, calls, (graph, bot)))
}
