//! How a request fares: as it should, or as faults want it.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::StatusCode;
use http::header::LOCATION;
use openmic_model::{AppId, CallId};
use serde_json::Value;
use tokio::time::sleep;

use super::answer::{Answer, Refusal};
use crate::deliver::leave_out;
use crate::faults::{Answering, Asking, Event, Instead, Retry};
use crate::world::World;

/// Marks a response that never leaves: the connection is cut before its first byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut;

/// A request and the faults that came to pass at it.
#[derive(Debug)]
pub(super) struct Fare {
    pub(super) asking: Asking,
    call: Option<CallId>,
}

impl Fare {
    /// Of a request about a call.
    pub(super) fn of_call(
        world: &World,
        event: Event,
        app: &AppId,
        call: &str,
        request: &str,
    ) -> Self {
        let Some((call, faults)) = world.faults_of(app, call) else {
            return Self {
                asking: Asking::default(),
                call: None,
            };
        };
        let struck = faults.strike(event, Some(&call), request);
        Self {
            asking: Asking::of(&struck),
            call: Some(call),
        }
    }

    /// Of a request outside a call.
    pub(super) fn outside(world: &World, event: Event, request: &str) -> Self {
        Self {
            asking: Asking::of(&world.faults.strike(event, request)),
            call: None,
        }
    }

    /// Carries the request out, or does what is to be done instead.
    pub(super) async fn run<W>(self, world: &Arc<World>, work: W) -> Answer
    where
        W: Future<Output = Answer> + Send + 'static,
    {
        let Self { asking, call } = self;
        if asking == Asking::default() {
            return work.await;
        }
        let silent = matches!(asking.instead, Some(Instead::Silence))
            || asking.answering == Answering::Silence;
        // What has an effect has it also when the caller has gone.
        let whole = whole(Arc::clone(world), asking, call, work);
        let answer = world.tasks.spawn(whole).await;
        if silent {
            // Until the caller has enough, or the service.
            world.kill.cancelled().await;
            return Ok(cut());
        }
        answer.unwrap_or_else(|_| Ok(cut()))
    }
}

async fn whole(
    world: Arc<World>,
    asking: Asking,
    call: Option<CallId>,
    work: impl Future<Output = Answer> + Send,
) -> Answer {
    sleep(asking.slow).await;
    let world = &world;
    let act = async |acts, call: &Option<CallId>| {
        for act in acts {
            if let Some(call) = call {
                world.act(call, act).await;
            }
        }
    };
    act(asking.before, &call).await;
    match asking.instead {
        None => {}
        Some(Instead::Refuse {
            status,
            code,
            retry,
        }) => return Err(refusal(status, code, retry)),
        Some(Instead::Cut | Instead::Silence) => return Ok(cut()),
    }
    let mut answer = work.await?;
    // Of a create only its answer knows.
    let call = call.or_else(|| answer.extensions().get::<CallId>().cloned());
    act(asking.then, &call).await;
    if asking.told_first
        && let Some(call) = &call
    {
        world.all_told(call).await;
    }
    if let Some(call) = &call {
        for (wait, act) in asking.after {
            let (world, call) = (Arc::clone(world), call.clone());
            let tasks = world.tasks.clone();
            tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = world.ends.cancelled() => {}
                    () = sleep(wait) => world.act(&call, act).await,
                }
            });
        }
    }
    match asking.answering {
        Answering::AsIs => {}
        Answering::Status(status) => {
            return Err(refusal(status, "generalException".to_owned(), None));
        }
        Answering::Cut | Answering::Silence => return Ok(cut()),
    }
    if !asking.missing.is_empty() {
        answer = without(answer, &asking.missing).await;
    }
    Ok(answer)
}

fn refusal(status: u16, code: String, retry: Option<Retry>) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let refusal = Refusal::new(status, code, "A fault that was asked for.");
    match retry.map(written) {
        None => refusal,
        Some(retry) => refusal.after(retry),
    }
}

fn written(retry: Retry) -> String {
    match retry {
        Retry::Seconds(wait) => wait.as_secs_f64().to_string(),
        Retry::Date(wait) => httpdate::fmt_http_date(SystemTime::now() + wait),
    }
}

/// A response whose body fails at once: hyper then closes the connection before it has sent
/// anything.
fn cut() -> Response {
    let broken = Err::<Bytes, _>(io::Error::other("a fault cuts the connection"));
    let mut response = Body::from_stream(stream::iter([broken])).into_response();
    response.extensions_mut().insert(Cut);
    response
}

/// An answer with members left out of its body; without its id also without a `Location`.
async fn without(answer: Response, members: &[&'static str]) -> Response {
    let (mut parts, body) = answer.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return cut();
    };
    let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    for member in members {
        leave_out(&mut value, member);
    }
    if members.contains(&"id") {
        parts.headers.remove(LOCATION);
    }
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(value.to_string()))
}
