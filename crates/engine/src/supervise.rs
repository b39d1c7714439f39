//! What outlives a call's actor: cleaning up behind it, also when it panicked.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openmic_journal::{Lost, Ticket};
use openmic_machine::{Ack, EndCause, Event, Phase, hang_up_pause};
use openmic_model::{Accepted, Action, CallId, CommandId, Record, Verdict};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tracing::Span;

use crate::actor::{Actor, Done, Step};
use crate::call::Shared;
use crate::command::{Moments, Outcome};
use crate::engine::Inner;
use crate::ledger::Ledger;
use crate::mail::{Inbox, Mail};
use crate::operations::Broken;
use crate::outbox::Outbox;
use crate::sleep::{Asleep, lie_down};

/// A call's own memory, in one piece.
pub(crate) struct Body {
    /// None once it broke or came to its end.
    pub(crate) actor: Option<Actor>,
    pub(crate) lanes: Lanes,
}

impl Body {
    pub(crate) fn new(actor: Actor, lanes: Lanes) -> Box<Self> {
        Box::new(Self {
            actor: Some(actor),
            lanes,
        })
    }
}

/// What an actor works with and a panic of it leaves whole.
pub(crate) struct Lanes {
    pub(crate) inbox: Inbox,
    /// Requests under way.
    pub(crate) jobs: Jobs,
    /// What was wanted and may not be done yet.
    pub(crate) outbox: Outbox<Step, Ticket>,
    /// What outlives a crash.
    pub(crate) ledger: Ledger,
    /// Who waits for a verdict, and since when.
    pub(crate) replies: Replies,
    /// One of the engine's `max_calls`; given back when the call is over.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// How long a create whose answer was lost may still show itself.
    pub(crate) orphan_patience: Duration,
}

/// Requests under way, each a part of the call's own task: an answer need not find its way from
/// another one. Takes no memory while there are none.
#[derive(Default)]
pub(crate) struct Jobs(Option<Box<UnderWay>>);

/// They are few, so all are polled whenever the call is. `FuturesUnordered` would poll only those
/// that were woken, but has its task run once more after all of them had to wait, which rouses
/// another worker thread for nothing.
#[derive(Default)]
struct UnderWay(Vec<BoxFuture<'static, Done>>);

impl Jobs {
    /// `job` must not panic: it would take the call along.
    pub(crate) fn begin(&mut self, job: impl Future<Output = Done> + Send + 'static) {
        self.0.get_or_insert_default().0.push(job.boxed());
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What the next one brings; `None` while there are none. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Done> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Jobs::next`].
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Done>> {
        let Some(under_way) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let jobs = &mut under_way.0;
        let polled = jobs.iter_mut().map(|job| job.as_mut().poll(context));
        let done = polled.enumerate().find_map(|(at, polled)| match polled {
            Poll::Ready(done) => Some((at, done)),
            Poll::Pending => None,
        });
        let Some((at, done)) = done else {
            return Poll::Pending;
        };
        drop(jobs.swap_remove(at));
        if jobs.is_empty() {
            self.0 = None;
        }
        Poll::Ready(Some(done))
    }
}

/// Who waits for verdicts: a few, mostly nobody, and then it takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Replies(Vec<(CommandId, oneshot::Sender<Outcome>, Instant)>);

impl Replies {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(
        &mut self,
        command: CommandId,
        reply: oneshot::Sender<Outcome>,
        accepted: Instant,
    ) {
        self.0.push((command, reply, accepted));
    }

    /// Who waits for the command's verdict, and since when it was accepted.
    pub(crate) fn remove(
        &mut self,
        command: CommandId,
    ) -> Option<(oneshot::Sender<Outcome>, Instant)> {
        let at = self.0.iter().position(|(of, ..)| *of == command)?;
        let (_, reply, accepted) = self.0.swap_remove(at);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some((reply, accepted))
    }
}

/// The span of a call.
const SPAN: &str = "call";

/// It begins of itself, whoever runs the call.
fn span<'a>(id: impl FnOnce() -> Option<&'a str>) -> Span {
    tracing::info_span!(parent: None, SPAN, id = id())
}

/// Has the call's span tell its id from now on; it may have none, and the span be of whoever
/// brought a letter.
pub(crate) fn name_span(id: &CallId) {
    let span = Span::current();
    let is_ours = |of: &tracing::Metadata<'_>| of.name() == SPAN && of.target() == module_path!();
    if span.metadata().is_some_and(is_ours) {
        span.record("id", id.as_str());
    }
}

/// Says that a call is gone although nothing ended it.
pub(crate) fn broke_off(call: &Shared) {
    let id = call.id.get().map(CallId::as_str);
    tracing::error!(call = id, "a call broke off by a fault of openmic");
}

/// Runs something of a call in the call's span, which is there only while it runs: subscribers hold
/// a record of every span, and most calls wait most of the time.
fn in_span<'a, F: Future>(
    call: &'a Shared,
    mut future: Pin<&'a mut F>,
) -> impl Future<Output = F::Output> {
    poll_fn(move |context| {
        // The id is looked up only where somebody wants the span.
        let _inside = span(|| call.id.get().map(CallId::as_str)).entered();
        future.as_mut().poll(context)
    })
}

/// Runs a call to the end of its retention, or until it sleeps; woken, it is run anew.
///
/// Boxed is what would else be in the task twice, or as long as the call although it is rare.
pub(crate) async fn supervise(mut body: Box<Body>) {
    let Some(actor) = &body.actor else {
        debug_assert!(false, "a body begins with its actor");
        return;
    };
    let engine = Arc::clone(&actor.engine);
    let call = Arc::clone(&actor.call);
    let broke = loop {
        let Body { actor, lanes } = &mut *body;
        let Some(actor) = actor else {
            debug_assert!(false, "only what follows takes it out");
            return;
        };
        let ran = {
            // Pinned here and lent: whatever is handed on by value is in the task twice.
            let run = pin!(AssertUnwindSafe(actor.run(lanes)).catch_unwind());
            in_span(&call, run).await
        };
        match ran {
            Ok(None) => break false,
            Err(_) => break true,
            Ok(Some(due)) => match lie_down(body, (&engine, &call), due) {
                Ok(()) => return,
                Err(Asleep(disturbed)) => body = disturbed,
            },
        }
    };
    body.actor = None;
    let lanes = &mut body.lanes;
    engine.alarms.clear(&call);
    if broke {
        let cleaned = cleaned(&engine, &call, lanes);
        if cleaned.await.is_err() {
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
        tell(&engine, &call, lanes, &broken);
    }
    drop(body);
    if broke {
        tokio::time::sleep(engine.retention).await;
    }
    call.flight.left(call.id.get(), &call.owner);
    engine.registry.remove(&call);
    if let Some(lane) = call.lane() {
        lane.close();
    }
}

/// [`after_panic`], apart from the task: it is rare, and longer than all that every call waits with.
fn cleaned<'a>(
    engine: &'a Arc<Inner>,
    call: &'a Arc<Shared>,
    lanes: &'a mut Lanes,
) -> Pin<Box<dyn Future<Output = Result<(), Lost>> + Send + 'a>> {
    Box::pin(async move {
        let cleaned = pin!(after_panic(engine, call, lanes));
        in_span(call, cleaned).await
    })
}

/// Gives a command its verdict.
fn tell(engine: &Inner, call: &Shared, lanes: &mut Lanes, broken: &Broken) {
    let Broken {
        command,
        action,
        verdict,
        ..
    } = broken;
    if let Some(took) = call.operations.settle(*command, verdict, Instant::now()) {
        engine.metrics.closed(*action, verdict, took);
    }
    if let Some((reply, accepted)) = lanes.replies.remove(*command) {
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
    let until = Instant::now() + lanes.orphan_patience;
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
            Some(done) = lanes.jobs.next() => match done {
                Done::Created(Ok((created, _))) => return bind(created.id),
                Done::Created(Err((_, Event::CreateFailed { definite: true, .. }))) => {
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
                    if let Some(took) = call.operations.settle(command.id, &verdict, Instant::now()) {
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
    let from = call.status.with(|status| status.phase);
    engine.metrics.entered(from, to);
    call.status.send_modify(|status| status.enter(to));
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tracing::level_filters::LevelFilter;
    use tracing::span::{Id, Record};
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
    use tracing_subscriber::registry::LookupSpan;

    use super::*;

    /// Notes the spans that learn something after they began.
    #[derive(Clone, Default)]
    struct Taught(Arc<Mutex<Vec<&'static str>>>);

    impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Taught {
        fn on_record(&self, id: &Id, _values: &Record<'_>, context: Context<'_, S>) {
            self.0.lock().push(context.metadata(id).unwrap().name());
        }
    }

    /// What learns the id of a call that is run in a span of whoever brought it a letter.
    fn taught(calls: LevelFilter) -> Vec<&'static str> {
        let taught = Taught::default();
        let wanted = Targets::new()
            .with_target("openmic_engine::supervise", calls)
            .with_target("openmic_engine::supervise::tests", LevelFilter::INFO);
        let subscriber = tracing_subscriber::registry().with(taught.clone().with_filter(wanted));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("request", id = 1).in_scope(|| {
                let id = CallId::parse("call-1").unwrap();
                span(|| None).in_scope(|| name_span(&id));
            });
        });
        taught.0.lock().clone()
    }

    #[test]
    fn a_call_names_its_own_span_or_none() {
        assert_eq!(taught(LevelFilter::INFO), ["call"]);
        assert!(taught(LevelFilter::OFF).is_empty());
    }
}
