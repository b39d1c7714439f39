//! What outlives a call's actor: cleaning up behind it, also when it panicked.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use openmic_machine::{Ack, Event, Phase};
use openmic_model::{CallId, Verdict};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::actor::{Actor, Done, Step, Wait};
use crate::call::Shared;
use crate::engine::Inner;
use crate::mail::Mail;
use crate::outbox::Outbox;

/// Pauses between attempts to hang a broken call up.
const PAUSES: [u64; 5] = [250, 500, 1000, 2000, 4000];

/// What an actor works with and a panic of it leaves whole.
pub(crate) struct Lanes {
    pub(crate) inbox: mpsc::Receiver<Mail>,
    /// Requests under way.
    pub(crate) jobs: JoinSet<Done>,
    /// What was wanted and may not be done yet.
    pub(crate) outbox: Outbox<Step, Wait>,
    /// One of the engine's `max_calls`; given back when the call is over.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// Runs a call to the end of its retention.
pub(crate) async fn supervise(actor: Actor, mut lanes: Lanes, orphan_patience: Duration) {
    let engine = Arc::clone(&actor.engine);
    let call = Arc::clone(&actor.call);
    let span = tracing::info_span!("call", id = tracing::field::Empty);
    let run = actor.run(&mut lanes, span.clone());
    let ran = AssertUnwindSafe(run.instrument(span.clone())).catch_unwind();
    if ran.await.is_err() {
        let cleaned = after_panic(&engine, &call, lanes, orphan_patience);
        cleaned.instrument(span).await;
        tokio::time::sleep(engine.retention).await;
    } else {
        lanes.inbox.close();
    }
    // Letters that came at the very end die unread with the inbox.
    settle_rest(&engine, &call);
    call.flight.left(call.id.get(), &call.owner);
    engine.registry.remove(&call);
    if let Some(lane) = &call.lane {
        lane.close();
    }
}

/// Gives what has no verdict its verdict.
fn settle_rest(engine: &Inner, call: &Shared) {
    let verdict = call.ended_verdict();
    for (action, took) in call.operations.settle_rest(&verdict) {
        engine.metrics.closed(action, &verdict, took);
    }
}

/// The actor broke: nobody waits for ever, and no live microphone is left behind.
async fn after_panic(
    engine: &Arc<Inner>,
    call: &Arc<Shared>,
    mut lanes: Lanes,
    orphan_patience: Duration,
) {
    tracing::error!("the call's actor panicked; settling what is open and hanging up");
    engine.metrics.panicked.inc();
    call.flight.broken();
    settle_rest(engine, call);
    if !call.is_live() {
        return;
    }
    engine.metrics.ended.with_label_values(&["panicked"]).inc();
    enter(engine, call, Phase::Terminating);
    let until = Instant::now() + orphan_patience;
    let id = match call.id.get() {
        Some(id) => Some(id.clone()),
        None => tokio::time::timeout_at(until, find(engine, call, &mut lanes))
            .await
            .unwrap_or(None),
    };
    lanes.inbox.close();
    if let Some(id) = id {
        hang_up(engine, &id).await;
    }
    settle_rest(engine, call);
    enter(engine, call, Phase::Terminated);
}

/// Waits for the create to be answered, or for a notification, to tell which call to hang up.
async fn find(engine: &Inner, call: &Arc<Shared>, lanes: &mut Lanes) -> Option<CallId> {
    let bind = |id: CallId| {
        let mine = engine.registry.bind(id.clone(), call);
        (mine && call.id.set(id.clone()).is_ok()).then_some(id)
    };
    loop {
        tokio::select! {
            Some(done) = lanes.jobs.join_next() => match done {
                Ok(Done::Created(Ok((created, _)))) => return bind(created.id),
                Ok(Done::Created(Err((_, Event::CreateFailed { definite: true, .. })))) => {
                    return None;
                }
                // Its answer was lost: only a notification can tell now.
                _ => {}
            },
            letter = lanes.inbox.recv() => match letter? {
                Mail::Notices(notices) => {
                    let mut ids = notices.into_iter().filter_map(|notice| notice.call);
                    if let Some(id) = ids.find_map(bind) {
                        return Some(id);
                    }
                }
                Mail::Command(command) => {
                    let verdict = Verdict::CallEnded { result: None };
                    if let Some(took) = call.operations.settle(command.id, &verdict) {
                        engine.metrics.closed(command.action, &verdict, took);
                    }
                }
                _ => {}
            },
        }
    }
}

async fn hang_up(engine: &Inner, id: &CallId) {
    for pause in PAUSES {
        if engine.upstream.hang_up(id).await != Ack::Failed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    tracing::error!("the broken call could not be hung up; Graph ends it without keepAlive");
}

fn enter(engine: &Inner, call: &Shared, to: Phase) {
    let from = call.status.borrow().phase;
    engine.metrics.entered(from, to);
    call.status.send_modify(|status| {
        status.phase = to;
        status.waits_for.clear();
        if to == Phase::Terminating {
            status.waits_for.push("terminated");
        }
    });
}
