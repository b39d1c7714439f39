//! The task of one call: one event, then every effect, then wait.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use openmic_hub::{CallFrame, OperationFrame, Topic};
use openmic_machine::{
    Ack, Effect, Event, Machine, Origin, Phase, PostOutcome, Read, Refusal, Time,
};
use openmic_model::{
    Action, CallId, CommandId, OperationStatus, ResultInfo, RosterVersion, Verdict,
};
use openmic_wire::create::CreateCall;
use openmic_wire::notification::{Item, Notification};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::call::{Moments, Outcome, Shared, Status};
use crate::engine::Inner;
use crate::join::{Created, JoinError};
use crate::mail::Mail;
use crate::operations::OperationRecord;

/// Where the outcome of the create goes. Nobody there any more: the call is hung up.
pub(crate) type CreatedReply = oneshot::Sender<Result<Created, JoinError>>;

/// What a job brings back.
pub(crate) enum Done {
    Event(Event),
    Created(Result<(Created, Event), (JoinError, Event)>),
}

/// One call's task.
pub(crate) struct Actor {
    pub(crate) engine: Arc<Inner>,
    pub(crate) call: Arc<Shared>,
    pub(crate) machine: Machine,
    pub(crate) effects: Vec<Effect>,
    pub(crate) inbox: mpsc::Receiver<Mail>,
    /// The create body, until it is sent.
    pub(crate) body: Option<Box<CreateCall>>,
    pub(crate) created: Option<CreatedReply>,
    pub(crate) begun: Instant,
}

/// What the actor holds besides the machine; apart, so that both can be borrowed.
#[derive(Default)]
struct Desk {
    jobs: JoinSet<Done>,
    topic: Option<Topic>,
    replies: HashMap<CommandId, (oneshot::Sender<Outcome>, Instant)>,
    /// Moments of the attempt under way, as instants.
    posted: Option<Instant>,
    answered: Option<Instant>,
    operation: Option<Instant>,
    roster: Option<Instant>,
    /// A hang-up was due before the call had an id.
    hang_up_owed: bool,
}

/// Runs a call to its end and cleans up behind it, also when it panics.
pub(crate) async fn supervise(actor: Actor) {
    let engine = Arc::clone(&actor.engine);
    let call = Arc::clone(&actor.call);
    let span = tracing::info_span!("call", id = tracing::field::Empty);
    let ran = AssertUnwindSafe(actor.run(span.clone()).instrument(span.clone())).catch_unwind();
    if ran.await.is_err() {
        after_panic(&engine, &call).instrument(span).await;
    }
    engine.registry.close(&call);
    for record in call.operations.settle_rest(&ended_verdict(&call)) {
        engine.metrics.in_flight.dec();
        tracing::debug!(operation = %record.id, "settled with the call");
    }
    tokio::time::sleep(engine.retention).await;
    engine.registry.remove(&call);
}

fn ended_verdict(call: &Shared) -> Verdict {
    let result = call
        .status
        .borrow()
        .ending
        .as_ref()
        .and_then(|ending| ending.result.clone());
    Verdict::CallEnded { result }
}

/// The actor broke: no live microphone is left behind, and nobody waits for ever.
async fn after_panic(engine: &Arc<Inner>, call: &Arc<Shared>) {
    tracing::error!("the call's actor panicked; settling what is open and hanging up");
    engine.metrics.panicked.inc();
    engine.metrics.ended.with_label_values(&["panicked"]).inc();
    let from = call.status.borrow().phase;
    engine.metrics.entered(from, Phase::Terminated);
    call.status.send_modify(|status| {
        status.phase = Phase::Terminated;
        status.waits_for.clear();
    });
    let Some(id) = call.id.get() else { return };
    for pause in [250, 500, 1000, 2000, 4000] {
        if engine.upstream.hang_up(id).await != Ack::Failed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    tracing::error!("the broken call could not be hung up; Graph ends it without keepAlive");
}

impl Actor {
    async fn run(mut self, span: tracing::Span) {
        let mut desk = Desk::default();
        loop {
            for effect in std::mem::take(&mut self.effects) {
                self.perform(effect, &mut desk);
            }
            self.tell_status();
            if self.machine.is_over() {
                break;
            }
            let deadline = self
                .machine
                .next_deadline()
                .map(|at| self.engine.instant(at));
            let event = tokio::select! {
                biased; // time, then replies, then new work
                () = at(deadline) => Some(Event::Tick),
                Some(done) = desk.jobs.join_next() => {
                    let done = done.expect("jobs catch their panics and are not aborted");
                    Some(self.done(done, &span, &mut desk))
                }
                Some(mail) = self.inbox.recv() => self.read(mail, &span, &mut desk),
            };
            if let Some(event) = event {
                note(&event, &mut desk);
                let now = self.now();
                self.machine.handle(&event, now, &mut self.effects);
            }
        }
        self.over(desk);
    }

    fn now(&self) -> Time {
        self.engine.time(Instant::now())
    }

    /// What came after the last event is settled too, and subscribers are sent off.
    fn over(mut self, mut desk: Desk) {
        self.inbox.close();
        while let Ok(mail) = self.inbox.try_recv() {
            if let Mail::Command(command) = mail {
                let verdict = ended_verdict(&self.call);
                desk.replies
                    .insert(command.id, (command.reply, Instant::now()));
                self.settle(
                    command.id,
                    command.action,
                    &verdict,
                    Duration::ZERO,
                    &mut desk,
                );
            }
        }
        if let Some(ending) = self.machine.ending() {
            self.engine
                .metrics
                .ended
                .with_label_values(&[ending.cause.as_str()])
                .inc();
            let result = ending.result.as_ref().map(ToString::to_string);
            tracing::info!(cause = ending.cause.as_str(), result, "call over");
        }
        if let Some(reply) = self.created.take() {
            tell_creator(
                reply,
                Err(JoinError::Unknown {
                    message: "the call ended".to_owned(),
                }),
            );
        }
    }

    /// Turns a letter into an event.
    fn read(&mut self, mail: Mail, span: &tracing::Span, desk: &mut Desk) -> Option<Event> {
        match mail {
            Mail::HangUp => Some(Event::HangUp),
            Mail::Command(command) => {
                desk.replies
                    .insert(command.id, (command.reply, Instant::now()));
                let (id, action, within) = (command.id, command.action, command.within);
                Some(Event::Command { id, action, within })
            }
            Mail::Notice(notification) => {
                let Notification { call, item, .. } = *notification;
                if let Some(id) = call {
                    self.bind(id, span, desk);
                }
                match item {
                    Item::Call(facts) => Some(Event::CallNotice(facts)),
                    Item::Roster(update) => Some(Event::RosterNotice(update)),
                    Item::Operation(operation) => Some(Event::OperationNotice(operation)),
                    _ => None,
                }
            }
            #[cfg(test)]
            Mail::Panic => panic!("a test asked for it"),
        }
    }

    fn done(&mut self, done: Done, span: &tracing::Span, desk: &mut Desk) -> Event {
        match done {
            Done::Event(event) => event,
            Done::Created(Ok((created, event))) => {
                self.bind(created.id.clone(), span, desk);
                let kept = self.call.created.set(created.clone());
                debug_assert!(kept.is_ok(), "a call is created once");
                let heard = self
                    .created
                    .take()
                    .is_some_and(|reply| tell_creator(reply, Ok(created)));
                if !heard {
                    // Whoever asked for the call is gone and would never hang it up.
                    self.machine.handle(&event, self.now(), &mut self.effects);
                    return Event::HangUp;
                }
                event
            }
            Done::Created(Err((error, event))) => {
                tracing::warn!(error = %error, "the call could not be created");
                if let Some(reply) = self.created.take() {
                    tell_creator(reply, Err(error));
                }
                // A lost call that shows itself by a notification has nobody to speak for it.
                desk.hang_up_owed = true;
                event
            }
        }
    }

    /// The call's id is known now, by the create's answer or by a notification that beat it.
    fn bind(&mut self, id: CallId, span: &tracing::Span, desk: &mut Desk) {
        if self.call.id.get().is_some() {
            return;
        }
        span.record("id", id.as_str());
        let topic = self.engine.hub.topic(id.clone());
        topic.call_state(frame_of(self.machine.phase(), None));
        desk.topic = Some(topic);
        let fresh = self.call.id.set(id.clone());
        debug_assert!(fresh.is_ok(), "only this task sets it");
        self.engine.registry.bind(id, &self.call);
        if desk.hang_up_owed {
            self.perform(Effect::HangUp, desk);
        }
    }

    /// Does what the machine wants, without ever waiting.
    fn perform(&mut self, effect: Effect, desk: &mut Desk) {
        let engine = Arc::clone(&self.engine);
        let id = self.call.id.get().cloned();
        match effect {
            Effect::Create => {
                let Some(body) = self.body.take() else { return };
                let lost = || {
                    let message = "the create broke off".to_owned();
                    let refusal = Refusal::new(500, "generalException", &message);
                    let event = Event::CreateFailed {
                        refusal,
                        definite: false,
                    };
                    Done::Created(Err((JoinError::Unknown { message }, event)))
                };
                spawn(desk, lost, async move {
                    Done::Created(engine.upstream.create(body).await)
                });
            }
            Effect::Settle {
                command,
                action,
                origin,
                verdict,
                took,
            } => {
                if origin == Origin::Bot {
                    self.settle(command, action, &verdict, took, desk);
                } else {
                    engine.metrics.settled(action, &verdict, took);
                    tracing::info!(%action, %verdict, "joined");
                }
            }
            Effect::Publish {
                version,
                roster,
                changes,
            } => {
                let Some(call) = id else { return };
                let version = RosterVersion {
                    call,
                    version,
                    roster,
                    changes,
                };
                self.call.roster.send_replace(Some(version.clone()));
                if let Some(topic) = &desk.topic {
                    topic.publish(version);
                }
            }
            Effect::Entered { from, to } => {
                engine.metrics.entered(from, to);
                if from == Phase::Establishing && to != Phase::Terminated {
                    engine
                        .metrics
                        .setup
                        .observe(self.begun.elapsed().as_secs_f64());
                }
                tracing::info!(from = from.as_str(), to = to.as_str(), "state");
                if let Some(topic) = &desk.topic {
                    let result = self
                        .machine
                        .ending()
                        .and_then(|ending| ending.result.clone());
                    topic.call_state(frame_of(to, result));
                }
            }
            Effect::Resync => engine.metrics.resyncs.inc(),
            Effect::Late { event } => {
                engine.metrics.late_evidence.inc();
                tracing::debug!(event, "late evidence");
            }
            Effect::Unexpected { phase, event } => {
                engine
                    .metrics
                    .unexpected
                    .with_label_values(&[phase.as_str()])
                    .inc();
                tracing::debug!(event, phase = phase.as_str(), "nobody wanted this event");
            }
            Effect::HangUp if id.is_none() => desk.hang_up_owed = true,
            request => {
                let Some(id) = id else {
                    debug_assert!(false, "the machine asks nothing of a call without an id");
                    return;
                };
                if let Effect::Post { .. } = request {
                    desk.posted = Some(Instant::now());
                    desk.answered = None;
                    desk.operation = None;
                    desk.roster = None;
                }
                self.ask(id, request, desk);
            }
        }
    }

    /// Sends a request as a job. A job that panics counts as a request whose answer was lost.
    fn ask(&self, id: CallId, request: Effect, desk: &mut Desk) {
        let engine = Arc::clone(&self.engine);
        match request {
            Effect::Post {
                attempt,
                action,
                context,
                ..
            } => {
                let posted = move |outcome| Done::Event(Event::Posted { attempt, outcome });
                spawn(desk, move || posted(PostOutcome::Ambiguous), async move {
                    posted(engine.upstream.post(&id, action, &context).await)
                });
            }
            Effect::ReadOperation { query, operation } => {
                let done = move |read| Done::Event(Event::OperationRead { query, read });
                spawn(desk, move || done(Read::Failed), async move {
                    done(engine.upstream.operation(&id, &operation).await)
                });
            }
            Effect::ReadSelf { query, participant } => {
                let done = move |read| Done::Event(Event::SelfRead { query, read });
                spawn(desk, move || done(Read::Failed), async move {
                    done(engine.upstream.own_entry(&id, &participant).await)
                });
            }
            Effect::ReadRoster { query } => {
                let done = move |read| Done::Event(Event::RosterRead { query, read });
                spawn(desk, move || done(Read::Failed), async move {
                    done(engine.upstream.roster(&id).await)
                });
            }
            Effect::ReadCall { query } => {
                let done = move |read| Done::Event(Event::CallRead { query, read });
                spawn(desk, move || done(Read::Failed), async move {
                    done(engine.upstream.call(&id).await)
                });
            }
            Effect::KeepAlive => {
                let done = |ack| Done::Event(Event::KeptAlive(ack));
                spawn(desk, move || done(Ack::Failed), async move {
                    let ack = engine.upstream.stay_alive(&id).await;
                    engine
                        .metrics
                        .keep_alive
                        .with_label_values(&[ack_word(ack)])
                        .inc();
                    done(ack)
                });
            }
            Effect::HangUp => {
                let done = |ack| Done::Event(Event::HungUp(ack));
                spawn(desk, move || done(Ack::Failed), async move {
                    done(engine.upstream.hang_up(&id).await)
                });
            }
            other => debug_assert!(false, "{other:?} is no request"),
        }
    }

    fn settle(
        &self,
        command: CommandId,
        action: Action,
        verdict: &Verdict,
        took: Duration,
        desk: &mut Desk,
    ) {
        let engine = &self.engine;
        engine.metrics.settled(action, verdict, took);
        engine.metrics.in_flight.dec();
        tracing::info!(%action, %verdict, seconds = took.as_secs_f64(), "verdict");
        if let Some(record) = self.call.operations.settle(command, verdict)
            && let Some(topic) = &desk.topic
        {
            topic.operation(frame(&record, verdict));
        }
        if let Some((reply, accepted)) = desk.replies.remove(&command) {
            let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(accepted));
            let moments = Moments {
                posted: since(desk.posted),
                answered: since(desk.answered),
                operation: since(desk.operation),
                roster: since(desk.roster),
                verdict: accepted.elapsed(),
            };
            if reply
                .send(Outcome {
                    verdict: verdict.clone(),
                    moments,
                })
                .is_err()
            {
                tracing::debug!("nobody waits for the verdict any more");
            }
        }
    }

    /// Lets handles see where the call stands, when it changed.
    fn tell_status(&self) {
        let machine = &self.machine;
        self.call.status.send_if_modified(|status| {
            let now = Status {
                phase: machine.phase(),
                graph: machine.graph_state(),
                kind: machine.kind(),
                me: machine.me().cloned(),
                version: machine.version(),
                own_entry_seen: machine.own_entry_seen(),
                waits_for: machine.waits_for(),
                ending: machine.ending().cloned(),
            };
            let changed = *status != now;
            *status = now;
            changed
        });
    }
}

/// Keeps the moments of the attempt under way, for whoever asked to see them.
fn note(event: &Event, desk: &mut Desk) {
    let now = Instant::now();
    match event {
        Event::Posted { outcome, .. } => {
            desk.answered.get_or_insert(now);
            if let PostOutcome::Answered(operation) = outcome
                && operation.status == OperationStatus::Completed
            {
                desk.operation.get_or_insert(now);
            }
        }
        Event::OperationNotice(operation)
        | Event::OperationRead {
            read: Read::Found(operation),
            ..
        } if operation.status == OperationStatus::Completed => {
            desk.operation.get_or_insert(now);
        }
        Event::RosterNotice(_) | Event::RosterRead { .. } | Event::SelfRead { .. }
            if desk.posted.is_some() =>
        {
            desk.roster.get_or_insert(now);
        }
        _ => {}
    }
}

fn frame(record: &OperationRecord, verdict: &Verdict) -> OperationFrame {
    OperationFrame {
        operation: record.id.clone(),
        action: record.action,
        client_context: record.client_context.clone(),
        status: if verdict.is_success() {
            "completed"
        } else {
            "failed"
        },
        verdict: Some(verdict.clone()),
    }
}

fn frame_of(phase: Phase, result: Option<ResultInfo>) -> CallFrame {
    CallFrame {
        state: phase.as_str().into(),
        result,
    }
}

fn ack_word(ack: Ack) -> &'static str {
    match ack {
        Ack::Done => "done",
        Ack::Gone => "gone",
        Ack::Failed => "failed",
    }
}

/// False when nobody is there to hear it.
fn tell_creator(reply: CreatedReply, result: Result<Created, JoinError>) -> bool {
    reply.send(result).is_ok()
}

/// Starts a job whose panic brings `lost` back instead of nothing.
fn spawn(
    desk: &mut Desk,
    lost: impl FnOnce() -> Done + Send + 'static,
    job: impl Future<Output = Done> + Send + 'static,
) {
    let job = AssertUnwindSafe(job).catch_unwind();
    let span = tracing::Span::current();
    desk.jobs
        .spawn(async move { job.await.unwrap_or_else(|_| lost()) }.instrument(span));
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
