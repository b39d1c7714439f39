//! What outlives a call's actor: cleaning up behind it, also when it panicked.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use openmic_journal::{Lost, Ticket};
use openmic_machine::{Ack, EndCause, Event, Phase, hang_up_pause};
use openmic_model::{Accepted, Action, CallId, CommandId, Record, Verdict};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::actor::{Actor, Done, Step};
use crate::call::Shared;
use crate::command::{Moments, Outcome};
use crate::engine::Inner;
use crate::ledger::Ledger;
use crate::mail::Mail;
use crate::operations::Broken;
use crate::outbox::Outbox;

/// What an actor works with and a panic of it leaves whole.
pub(crate) struct Lanes {
    pub(crate) inbox: mpsc::Receiver<Mail>,
    /// Requests under way.
    pub(crate) jobs: JoinSet<Done>,
    /// What was wanted and may not be done yet.
    pub(crate) outbox: Outbox<Step, Ticket>,
    /// What outlives a crash.
    pub(crate) ledger: Ledger,
    /// Who waits for a verdict, and since when.
    pub(crate) replies: HashMap<CommandId, (oneshot::Sender<Outcome>, Instant)>,
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
    let broke = ran.await.is_err();
    if broke {
        let cleaned = after_panic(&engine, &call, &mut lanes, orphan_patience);
        if cleaned.instrument(span).await.is_err() {
            engine.get_stuck();
        }
    }
    lanes.inbox.close();
    if engine.is_stuck() {
        // Whoever waits learns that by the end of the lanes; the next process knows the rest.
        return;
    }
    // Letters that came at the very end die unread with the inbox.
    let ended = call.ended_verdict();
    for broken in call.operations.broken(&ended) {
        tell(&engine, &call, &mut lanes, &broken);
    }
    drop(lanes);
    if broke {
        tokio::time::sleep(engine.retention).await;
    }
    call.flight.left(call.id.get(), &call.owner);
    engine.registry.remove(&call);
    if let Some(lane) = &call.lane {
        lane.close();
    }
}

/// Gives a command its verdict.
fn tell(engine: &Inner, call: &Shared, lanes: &mut Lanes, broken: &Broken) {
    let Broken {
        command,
        action,
        verdict,
        ..
    } = broken;
    if let Some(took) = call.operations.settle(*command, verdict) {
        engine.metrics.closed(*action, verdict, took);
    }
    if let Some((reply, accepted)) = lanes.replies.remove(command) {
        let moments = Moments {
            verdict: accepted.elapsed(),
            ..Moments::default()
        };
        let verdict = verdict.clone();
        if reply.send(Outcome { verdict, moments }).is_err() {
            tracing::debug!("nobody waits for the verdict any more");
        }
    }
}

/// Gives what has no verdict its verdict, and tells it once it is written down.
async fn settle_rest(engine: &Inner, call: &Shared, lanes: &mut Lanes) -> Result<(), Lost> {
    // What was decided is told as it was decided, so that must be durable as well.
    while let Some(ticket) = lanes.outbox.abandon() {
        ticket.await?;
        lanes.outbox.durable();
    }
    let ended = call.ended_verdict();
    let broken = call.operations.broken(&ended);
    // What is written down as open, whatever the actor made of it.
    let book = lanes.ledger.book();
    let sent = book.restored().last.map(|last| last.action);
    let rest = |accepted: &Accepted| {
        let told = broken.iter().find(|one| one.command == accepted.command);
        match told {
            Some(broken) => broken.verdict.clone(),
            // The machine's own have nobody who waits.
            None if sent == Some(accepted.action) => Verdict::Unconfirmed,
            None => ended.clone(),
        }
    };
    let open = book.open().iter().map(|(_, accepted)| accepted);
    let records: Vec<_> = open
        .map(|accepted| verdict_of(accepted.command, accepted.action, rest(accepted)))
        .collect();
    write(lanes, records).await?;
    for broken in &broken {
        tell(engine, call, lanes, broken);
    }
    Ok(())
}

/// Writes records down, and waits until they are durable.
async fn write(lanes: &mut Lanes, records: Vec<Record>) -> Result<(), Lost> {
    match lanes.ledger.write(records) {
        Ok(Some(ticket)) => ticket.await,
        Ok(None) => Ok(()),
        Err(contradiction) => {
            // The next process finds the call open, and closes it.
            tracing::error!(%contradiction, "the end of the call cannot be written down");
            Ok(())
        }
    }
}

const fn verdict_of(command: CommandId, action: Action, verdict: Verdict) -> Record {
    Record::Verdict {
        command,
        action,
        verdict,
    }
}

/// The actor broke: nobody waits for ever, and no live microphone is left behind.
async fn after_panic(
    engine: &Arc<Inner>,
    call: &Arc<Shared>,
    lanes: &mut Lanes,
    orphan_patience: Duration,
) -> Result<(), Lost> {
    tracing::error!("the call's actor panicked; settling what is open and hanging up");
    engine.metrics.panicked.inc();
    call.flight.broken();
    settle_rest(engine, call, lanes).await?;
    if !call.is_live() {
        return Ok(());
    }
    engine.metrics.ended.with_label_values(&["panicked"]).inc();
    enter(engine, call, Phase::Terminating);
    let until = Instant::now() + orphan_patience;
    let id = match call.id.get() {
        Some(id) => Some(id.clone()),
        None => tokio::time::timeout_at(until, find(engine, call, lanes))
            .await
            .unwrap_or(None),
    };
    lanes.inbox.close();
    let cause = if id.is_some() {
        EndCause::HungUp
    } else {
        EndCause::NotCreated
    };
    if let Some(id) = id {
        hang_up(engine, &id).await;
    }
    settle_rest(engine, call, lanes).await?;
    write(lanes, vec![Record::Closed { cause }]).await?;
    lanes.place = None;
    enter(engine, call, Phase::Terminated);
    Ok(())
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

/// Ends a call that has no actor, for as long as there may be a call.
pub(crate) async fn hang_up(engine: &Inner, id: &CallId) {
    let until = Instant::now() + engine.config(0, false).hang_up_patience;
    let mut tries = 0_u8;
    while engine.upstream.hang_up(id).await == Ack::Failed {
        tries = tries.saturating_add(1);
        let next = Instant::now() + hang_up_pause(tries);
        if next >= until {
            left_open();
            return;
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Says that a call could not be hung up.
pub(crate) fn left_open() {
    tracing::warn!(
        "the call could not be hung up and is given up; it may be up until Graph misses its \
         keepAlive, so end it in the meeting"
    );
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
