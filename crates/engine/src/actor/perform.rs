//! Doing what the machine wants, without ever waiting.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use openmic_hub::{CallFrame, OperationFrame, Topic};
use openmic_machine::{Ack, Effect, Event, Origin, Phase, PostOutcome, Read, Refusal};
use openmic_model::{
    Action, CallId, CallKind, CommandId, KeptVersion, ResultInfo, RosterVersion, Verdict,
};
use openmic_wire::create::CreateCall;
use tokio::time::Instant;

use super::{Actor, Desk, Done, Step};
use crate::command::Outcome;
use crate::engine::First;
use crate::join::JoinError;
use crate::operations::OperationRecord;
use crate::supervise;
use crate::told::Told;
use crate::upstream;

impl Actor {
    /// The part of an effect that handles and metrics see.
    pub(super) fn record(&self, effect: &Effect, step: &Step, now: Instant) {
        let metrics = &self.engine.metrics;
        match effect {
            Effect::Settle {
                command,
                action,
                origin,
                verdict,
                took,
            } => {
                if *origin == Origin::Machine {
                    metrics.settled(*action, verdict, *took);
                } else if let Some(took) = self.call.operations.settle(*command, verdict, now) {
                    metrics.closed(*action, verdict, took);
                }
            }
            Effect::Publish {
                version,
                roster,
                changes,
            } => {
                let Some(call) = self.call.id.get().cloned() else {
                    return;
                };
                let published = RosterVersion {
                    call,
                    version: *version,
                    roster: Arc::clone(roster),
                    changes: Arc::clone(changes),
                };
                // The one before is dropped outside the lock.
                let mut kept = Some(KeptVersion::from(published));
                let swap = |told: &mut Told| std::mem::swap(&mut told.roster, &mut kept);
                self.call.status.send_modify(swap);
            }
            Effect::Entered { from, to } => {
                metrics.entered(*from, *to);
                if *from == Phase::Establishing
                    && !matches!(to, Phase::Terminating | Phase::Terminated)
                {
                    let took = self.engine.time(now).since(self.begun);
                    metrics.setup.observe(took.as_secs_f64());
                }
                if *to == Phase::Terminated && self.machine.was_left_open() {
                    supervise::left_open();
                }
                if let (Phase::Terminated, Some(ending)) = (to, self.ending(step)) {
                    let labels = [ending.cause.as_str()];
                    metrics.ended.with_label_values(&labels).inc();
                }
            }
            Effect::Resync => metrics.resyncs.inc(),
            Effect::Late { event } => {
                metrics.late_evidence.inc();
                tracing::debug!(event, "late evidence");
            }
            Effect::Unexpected { phase, event } => {
                let labels = [phase.as_str()];
                metrics.unexpected.with_label_values(&labels).inc();
                tracing::debug!(event, phase = phase.as_str(), "nobody wanted this event");
            }
            _ => {}
        }
    }

    /// The part of an effect that leaves the actor.
    pub(super) fn perform(&mut self, effect: Effect, step: &Step, desk: &mut Desk<'_>) {
        let subscribers = desk.topic.as_ref().map_or(0, Topic::subscribers);
        let flight = &self.call.flight;
        flight.performed(&effect, subscribers, desk.now, &mut desk.sent);
        match effect {
            Effect::Create | Effect::Answer => self.begin(desk),
            Effect::Settle {
                command,
                action,
                origin,
                verdict,
                took,
            } => {
                let code = match &verdict {
                    Verdict::Refused { code, .. } => Some(code.as_str()),
                    _ => None,
                };
                tracing::info!(
                    %action,
                    verdict = verdict.as_str(),
                    code,
                    seconds = took.as_secs_f64(),
                    "verdict"
                );
                match origin {
                    Origin::Bot => self.answer(command, action, verdict, step, desk),
                    // Nobody waits for this verdict, so the log must tell of a hot microphone.
                    Origin::Machine
                        if !matches!(verdict, Verdict::Superseded | Verdict::CallEnded { .. })
                            && !verdict.is_success() =>
                    {
                        tracing::warn!(
                            verdict = verdict.as_str(),
                            "the bot could not be muted on joining or at the end of its time to speak; \
                             it may be heard"
                        );
                    }
                    Origin::Machine => {}
                }
            }
            Effect::Publish {
                version,
                roster,
                changes,
            } => {
                if let (Some(topic), Some(call)) = (&desk.topic, self.call.id.get().cloned()) {
                    topic.publish(RosterVersion {
                        call,
                        version,
                        roster,
                        changes,
                    });
                }
            }
            Effect::Entered { from, to } => {
                tracing::info!(from = from.as_str(), to = to.as_str(), "state");
                if let Some(topic) = &desk.topic {
                    let result = self.ending(step).and_then(|ending| ending.result.clone());
                    topic.call_state(frame_of(to, result));
                }
            }
            Effect::Resync
            | Effect::Late { .. }
            | Effect::Unexpected { .. }
            // Taken out before the step was.
            | Effect::Record(_) => {}
            request => {
                let Some(id) = self.call.id.get().cloned() else {
                    debug_assert!(false, "the machine asks nothing of a call without an id");
                    return;
                };
                self.ask(id, request, step.wanted, desk);
            }
        }
    }

    fn begin(&mut self, desk: &mut Desk<'_>) {
        let beginning = self.beginning.as_mut();
        match beginning.and_then(|beginning| beginning.first.take()) {
            Some(First::Create(body)) => self.create(body, desk),
            Some(First::Answer { id, body, kind, .. }) => {
                let engine = Arc::clone(&self.engine);
                let lost = move || upstream::answer_lost(kind, "the answer broke off");
                spawn(desk, lost, async move {
                    engine.upstream.answer(&id, &body, kind).await
                });
            }
            None => {}
        }
    }

    /// An answer whose outcome was lost did take effect: reads what its answer may have told.
    pub(super) fn read_answered(&self, kind: CallKind, desk: &mut Desk<'_>) {
        let Some(id) = self.call.id.get().cloned() else {
            return;
        };
        let engine = Arc::clone(&self.engine);
        let unread = {
            let id = id.clone();
            move || Done::Created(Ok(upstream::answered(id, kind)))
        };
        spawn(desk, unread, async move {
            Done::Created(Ok(engine.upstream.read_answered(&id, kind).await))
        });
    }

    fn create(&self, body: Box<CreateCall>, desk: &mut Desk<'_>) {
        let lost = || {
            let message = "the create broke off".to_owned();
            let refusal = Refusal::new(500, "generalException", &message);
            let event = Event::CreateFailed {
                refusal,
                definite: false,
            };
            Done::Created(Err((JoinError::Unknown { message }, event)))
        };
        let engine = Arc::clone(&self.engine);
        spawn(desk, lost, async move {
            Done::Created(engine.upstream.create(body).await)
        });
    }

    /// Sends a request as a job. A job that panics counts as a request whose answer was lost.
    fn ask(&self, id: CallId, request: Effect, wanted: Instant, desk: &mut Desk<'_>) {
        let engine = Arc::clone(&self.engine);
        match request {
            Effect::Post {
                attempt,
                action,
                context,
                command,
            } => {
                let posted = move |outcome| Done::Event(Event::Posted { attempt, outcome });
                let pursued = self.machine.pursued();
                if pursued.is_none_or(|pursued| pursued.commands().next().is_none()) {
                    // Whoever wanted it had a verdict while it waited for its record.
                    let not_sent = move || posted(PostOutcome::NotSent);
                    spawn(desk, not_sent, async move { not_sent() });
                    return;
                }
                desk.timeline.posted(action, command, desk.now);
                let limit = self.machine.post_limit().min(upstream::PATIENCE);
                spawn(desk, move || posted(PostOutcome::Ambiguous), async move {
                    let until = wanted + limit;
                    posted(engine.upstream.post(&id, action, &context, until).await)
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
                    let ack = upstream::ack(&engine.upstream.keep_alive(&id).await);
                    engine.metrics.kept_alive(ack);
                    done(ack)
                });
            }
            // It showed itself when it was over already: the machine has done with it.
            Effect::HangUp if self.machine.is_over() => {
                spawn(desk, || Done::Nothing, async move {
                    supervise::hang_up(&engine, &id).await;
                    Done::Nothing
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

    /// Tells whoever gave the command, and those who watch.
    fn answer(
        &self,
        command: CommandId,
        action: Action,
        verdict: Verdict,
        step: &Step,
        desk: &mut Desk<'_>,
    ) {
        if let Some(topic) = &desk.topic
            && topic.subscribers() > 0
            && let Some(record) = self.call.operations.of(command)
        {
            topic.operation(frame(&record, &verdict));
        }
        if let Some((reply, accepted)) = desk.lanes.replies.remove(command) {
            let moments = step.timeline.moments(action, accepted, desk.now);
            if reply.send(Outcome { verdict, moments }).is_err() {
                tracing::debug!("nobody waits for the verdict any more");
            }
        }
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

pub(super) fn frame_of(phase: Phase, result: Option<ResultInfo>) -> CallFrame {
    CallFrame {
        state: phase.as_str(),
        result,
    }
}

/// Starts a job whose panic brings `lost` back instead of nothing.
pub(super) fn spawn(
    desk: &mut Desk<'_>,
    lost: impl FnOnce() -> Done + Send + 'static,
    job: impl Future<Output = Done> + Send + 'static,
) {
    let job = AssertUnwindSafe(job).catch_unwind();
    let job = async move { job.await.unwrap_or_else(|_| lost()) };
    desk.lanes.jobs.begin(job);
}
