//! One step of the machine, from its effects to their performance.

use std::borrow::Cow;
use std::time::Duration;

use openmic_journal::Ticket;
use openmic_machine::{Effect, Ending, Machine, Phase};
use openmic_model::{CallState, CommandId, OperationId, Record};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Actor, Desk, perform};
use crate::call::Status;
use crate::join::{Created, JoinError};
use crate::kept::Kept;
use crate::ledger::Ledger;
use crate::moments::Timeline;
use crate::told::{Standing, Told};

/// What one event came to. Whenever it is performed, it tells of the call as it stood then.
pub(crate) struct Step {
    pub(super) effects: Vec<Effect>,
    /// None as long as the call stands so.
    status: Option<Box<Status>>,
    /// It changed nothing of that.
    same: bool,
    pub(super) timeline: Timeline,
    /// When it was taken: what the patience of its requests counts from.
    pub(super) wanted: Instant,
    /// Whom the attempt under way serves.
    served: Option<Served>,
    /// Something showed that the create or the answer took effect.
    exists: bool,
    beside: Beside,
}

/// What is told or done with a step besides the machine's effects.
#[derive(Default)]
pub(super) struct Beside {
    /// The call got its id, in this phase: subscribers may come.
    pub(super) opened: Option<Phase>,
    /// What the call's creator is told.
    pub(super) creator: Option<Box<Result<Created, JoinError>>>,
    /// The giver of the command that is taken in with it.
    pub(super) taken: Option<oneshot::Sender<()>>,
    /// Written down before the machine's own records.
    pub(super) records: Vec<Record>,
}

/// An attempt and the commands that wait for their verdict by it.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) lead: CommandId,
    pub(crate) operation: Option<OperationId>,
    pub(crate) commands: Vec<CommandId>,
}

impl Served {
    fn of(machine: &Machine) -> Option<Self> {
        let pursued = machine.pursued()?;
        Some(Self {
            lead: pursued.lead(),
            operation: pursued.operation().cloned(),
            commands: pursued.commands().collect(),
        })
    }
}

impl Actor {
    /// Takes what the machine wants: performs it at once, or behind the records it rests on.
    pub(super) fn settle_in(&mut self, desk: &mut Desk<'_>) {
        let mut effects = std::mem::take(&mut desk.effects);
        let wait = self.write_down(&mut effects, desk);
        let weight = effects.len();
        let later = wait.is_some() || !desk.lanes.outbox.is_empty();
        let step = Step {
            effects,
            status: later.then(|| Box::new(self.standing().status())),
            timeline: desk.timeline.clone(),
            same: std::mem::take(&mut desk.same),
            wanted: desk.now,
            served: Served::of(&self.machine),
            exists: self.machine.took_effect(),
            beside: std::mem::take(&mut desk.beside),
        };
        let held = std::mem::take(&mut desk.held);
        if let Some(step) = desk.lanes.outbox.push(step, weight, wait) {
            if held {
                self.call.flight.released(Duration::ZERO, desk.now);
            }
            self.release(step, desk);
        }
    }

    /// Whether what the machine wants may have to wait for a record.
    pub(super) fn will_wait(&self, desk: &Desk<'_>) -> bool {
        let ledger = &desk.lanes.ledger;
        let (book, machine) = (ledger.book(), &self.machine);
        let rests = |effect: &Effect| matches!(effect, Effect::Record(record) if Ledger::is_awaited(record));
        let records = || {
            !desk.beside.records.is_empty()
                || desk.effects.iter().any(rests)
                || (machine.took_effect() && !book.is_opened())
                || machine.is_over()
        };
        !desk.lanes.outbox.is_empty() || (ledger.is_kept() && book.ended().is_none() && records())
    }

    /// Writes down what outlives a crash: what the call's own story has to say, then the machine's
    /// records, then the end. In one batch, whose ticket the whole step waits for.
    ///
    /// # Panics
    /// When a record contradicts those before it, and with it the step is gone.
    fn write_down(&self, effects: &mut Vec<Effect>, desk: &mut Desk<'_>) -> Option<Ticket> {
        let mut records = std::mem::take(&mut desk.beside.records);
        let recorded = effects.extract_if(.., |effect| matches!(effect, Effect::Record(_)));
        let recorded = recorded.filter_map(|effect| match effect {
            Effect::Record(record) => Some(record),
            _ => None,
        });
        let ledger = &mut desk.lanes.ledger;
        if !ledger.is_kept() {
            recorded.for_each(drop);
            return None;
        }
        let machine = &self.machine;
        // A call that nobody was told of is not taken up again, it is looked for and hung up.
        let up = |state: CallState| state.rank() >= CallState::Establishing.rank();
        desk.unproven &= !machine.graph_state().is_some_and(up);
        if let Some(id) = self.call.id.get()
            && machine.took_effect()
            && !desk.unwanted
            && !desk.unproven
            && !ledger.book().is_opened()
        {
            records.push(Record::Opened {
                id: id.clone(),
                kind: machine.kind(),
                me: machine.me().cloned(),
            });
        }
        records.extend(recorded);
        for record in &mut records {
            match record {
                Record::Accepted(accepted) => {
                    accepted.asked = self.call.operations.write_down(accepted.command);
                }
                Record::Verdict {
                    command, verdict, ..
                } => self.call.operations.decide(*command, verdict),
                _ => {}
            }
        }
        if let Some(ending) = machine.ending() {
            let cause = ending.cause;
            records.push(Record::Closed { cause });
        }
        match ledger.write(records) {
            Ok(ticket) => ticket,
            // Its effects must not happen, and nobody knows what else is wrong: the call is closed
            // as any whose actor breaks.
            Err(contradiction) => panic!("a record contradicts the journal: {contradiction}"),
        }
    }

    /// The records of the oldest step are durable: performs what waited for them.
    pub(super) fn durable(&mut self, desk: &mut Desk<'_>) {
        desk.lanes.outbox.durable();
        while let Some(step) = desk.lanes.outbox.take() {
            let waited = desk.now.saturating_duration_since(step.wanted);
            self.call.flight.released(waited, desk.now);
            self.release(step, desk);
        }
    }

    /// Performs a step: first the books and what handles can see, then replies and requests. So
    /// whoever has a verdict finds status, roster and records that agree.
    fn release(&mut self, mut step: Step, desk: &mut Desk<'_>) {
        // Before a POST leaves: its operation may be told of before it is answered.
        let effects = std::mem::take(&mut step.effects);
        if let Some(served) = &step.served {
            let posts = |effect: &Effect| matches!(effect, Effect::Post { .. });
            let posts = effects.iter().any(posts);
            self.call.operations.pursue(served, posts);
        }
        for effect in &effects {
            self.record(effect, &step, desk.now);
        }
        if step.same {
            let news = |told: &Told| told.clone().tell(&self.standing());
            debug_assert!(step.status.is_some() || !self.call.status.with(news));
        } else {
            self.tell_status(&step);
        }
        let Beside {
            opened,
            creator,
            taken,
            ..
        } = std::mem::take(&mut step.beside);
        if let Some(taken) = taken
            && taken.send(()).is_err()
        {
            tracing::debug!("whoever gave the command went away; it runs all the same");
        }
        if let Some(phase) = opened {
            self.open_topic(phase, desk);
        }
        for effect in effects {
            self.perform(effect, &step, desk);
        }
        let phase = step.status.as_ref().map(|status| status.phase);
        let phase = phase.unwrap_or_else(|| self.machine.phase());
        if phase == Phase::Terminated && desk.leave.is_none() {
            self.over(&step, desk);
            if creator.is_none() {
                let message = "the call ended".to_owned();
                self.tell_creator(Err(JoinError::Unknown { message }));
            }
        }
        if let Some(told) = creator {
            if let Ok(created) = &*told {
                let kept = self.call.created.set(Kept::new(
                    created,
                    self.call.key(),
                    &self.engine.answers,
                ));
                debug_assert!(kept.is_ok(), "a call is created once");
            }
            self.tell_creator(*told);
        }
        if step.exists
            && let Some(kind) = desk.lost.take()
        {
            self.read_answered(kind, desk);
        }
    }

    /// The call is over: subscribers are sent off, its place is given back. Letters are still
    /// read until the retention is over.
    fn over(&self, step: &Step, desk: &mut Desk<'_>) {
        desk.leave = Some(desk.time + self.engine.retention);
        desk.topic = None;
        desk.probe = None;
        desk.lanes.place = None;
        if let Some(ending) = self.ending(step) {
            let result = ending.result.as_ref();
            tracing::info!(
                cause = ending.cause.as_str(),
                code = result.map(|result| result.code),
                subcode = result.map(|result| result.subcode),
                "call over"
            );
        }
    }

    /// Subscribers may come.
    fn open_topic(&self, phase: Phase, desk: &mut Desk<'_>) {
        if let Some(id) = self.call.id.get() {
            let topic = self.engine.hub.topic(id.clone());
            topic.call_state(perform::frame_of(phase, None));
            desk.topic = Some(topic);
        }
    }

    fn tell_creator(&mut self, result: Result<Created, JoinError>) {
        let beginning = self.beginning.as_mut();
        let Some(reply) = beginning.and_then(|beginning| beginning.created.take()) else {
            return;
        };
        if let Some(lane) = self.call.lane() {
            match &result {
                Ok(created) => lane.open(Some(&created.id)),
                Err(_) => lane.discard(),
            }
        }
        if reply.send(result).is_err() {
            tracing::debug!("nobody waits for the call any more; it is being hung up");
        }
    }

    /// Where the call stands.
    fn standing(&self) -> Standing<'_> {
        let machine = &self.machine;
        Standing {
            phase: machine.phase(),
            graph: machine.graph_state(),
            kind: machine.kind(),
            me: machine.me(),
            version: machine.version(),
            own_entry_seen: machine.own_entry_seen(),
            waits_for: Cow::Owned(machine.waits_for()),
            ending: machine.ending(),
        }
    }

    /// How the call ended, as of a step.
    pub(super) fn ending<'a>(&'a self, step: &'a Step) -> Option<&'a Ending> {
        match &step.status {
            Some(status) => status.ending.as_ref(),
            None => self.machine.ending(),
        }
    }

    /// Lets handles see where the call stands, when it changed.
    fn tell_status(&self, step: &Step) {
        let now = match &step.status {
            Some(status) => Standing::from(&**status),
            None => self.standing(),
        };
        self.call.status.send_if_modified(|told| told.tell(&now));
    }
}
