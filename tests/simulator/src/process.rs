//! The process that holds the call: the machine, and a shell around it that obeys the one rule.
//!
//! The rule is the engine's: effects are performed in order, and what rests on a record waits
//! until that is durable. The queue behind it is the engine's own.

mod around;

use openmic_checker::{Answer, End, Gauge, What};
use openmic_machine::{AttemptId, Config, Effect, Event, Machine, Phase, PostOutcome, Read, Time};
use openmic_model::{
    AppId, CallId, CallIntent, CallKind, Change, CommandId, OperationStatus, Origin, Participant,
    Record, RosterUpdate, TenantId, Verdict,
};

use crate::agenda::Millis;
use crate::disk::Ticket;
use crate::graph::{Graph, LIMIT};
use crate::outbox::Outbox;
use crate::world::Doing;
use around::{Alive, whole};
pub(crate) use around::{Around, Died};

/// Effects that were wanted together, and when.
#[derive(Debug)]
pub(crate) struct Step {
    effects: Vec<Effect>,
    wanted: Millis,
}

/// A POST under way.
#[derive(Debug)]
struct Flight {
    attempt: AttemptId,
    lead: CommandId,
    number: u8,
    sent: bool,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) machine: Machine,
    boot: Millis,
    outbox: Outbox<Step, Ticket>,
    flights: Vec<Flight>,
    opened: bool,
    closed: bool,
    watched: bool,
}

/// How a life begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rings: bool,
    pub(crate) join_muted: bool,
}

impl Process {
    fn config(around: &mut Around<'_>, epoch: u64, join_muted: bool) -> Config {
        Config {
            join_muted,
            wall_origin: around.wall,
            ..Config::new(epoch, CommandId::new(around.world.random.wide()))
        }
    }

    /// A call that is created, or that rings and is taken.
    pub(crate) fn start(around: &mut Around<'_>, plan: Plan) -> Result<Self, Died> {
        let intent = CallIntent {
            app: AppId::parse("app").expect("a plain word is an id"),
            tenant: TenantId::parse("tenant").expect("a plain word is an id"),
            kind: CallKind::Group,
            offered: plan.rings.then(call_id),
            join_muted: plan.join_muted,
            named: None,
            repeat: None,
        };
        around.write(Record::Intent(Box::new(intent)));
        let epoch = around.wall.0;
        let ticket = around.write(Record::Epoch(epoch));
        let config = Self::config(around, epoch, plan.join_muted);
        let mut effects = Vec::new();
        let machine = if plan.rings {
            let ring = Graph::ring();
            Machine::answer(config, &ring, CallKind::Group, Time::ZERO, &mut effects)
        } else {
            Machine::start(config, Time::ZERO, &mut effects)
        };
        let mut process = Self::of(machine, around.world.now);
        process.settle_in(around, effects, Some(ticket))?;
        Ok(process)
    }

    fn of(machine: Machine, boot: Millis) -> Self {
        Self {
            machine,
            boot,
            outbox: Outbox::default(),
            flights: Vec::new(),
            opened: false,
            closed: false,
            watched: false,
        }
    }

    /// Takes the call up from its records. `None` when there is nothing to take up.
    pub(crate) fn recover(around: &mut Around<'_>) -> Result<Option<Self>, Died> {
        let book = match around.disk.book() {
            Ok(book) => book,
            Err(contradiction) => {
                around.world.broken("I-29", || {
                    format!("the journal contradicts itself: {contradiction}")
                });
                return Ok(None);
            }
        };
        let restored = book.restored();
        let digest = digest(&format!("{restored:?}"));
        around.world.note(&What::Recovered {
            digest: Some(digest),
        });
        around.ask_again(&book);
        if book.ended().is_some() || !book.is_opened() {
            // The engine looks for a call that it may have created, and hangs it up.
            around.graph.end(around.world);
            for (_, open) in book.open() {
                let verdict = Verdict::CallEnded { result: None };
                around.tally.verdict(&verdict);
                around.write(Record::Verdict {
                    command: open.command,
                    action: open.action,
                    verdict,
                });
            }
            return Ok(None);
        }
        let epoch = book.next_epoch(around.wall);
        let ticket = around.write(Record::Epoch(epoch));
        let join_muted = book.intent().is_some_and(|intent| intent.join_muted);
        let config = Self::config(around, epoch, join_muted);
        let mut effects = Vec::new();
        let machine = Machine::recover(config, restored, Time::ZERO, around.wall, &mut effects);
        let mut process = Self::of(machine, around.world.now);
        process.opened = true;
        process.settle_in(around, effects, Some(ticket))?;
        Ok(Some(process))
    }

    fn time(&self, now: Millis) -> Time {
        Time::from_millis(now - self.boot)
    }

    /// When the machine next wants to be woken.
    pub(crate) fn next_at(&self) -> Option<Millis> {
        let at = self.machine.next_deadline()?.since_origin();
        let whole = Millis::try_from(at.as_millis()).unwrap_or(Millis::MAX);
        let up = u64::from(at.subsec_nanos() % 1_000_000 != 0);
        Some(self.boot + whole + up)
    }

    /// Whether letters have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    /// One event, then what the machine wants because of it.
    pub(crate) fn step(&mut self, around: &mut Around<'_>, event: &Event) -> Alive {
        self.hear(around, event);
        let phase = self.machine.phase();
        match self.machine.next_timer().filter(|_| *event == Event::Tick) {
            Some(timer) => around.coverage.hit(phase, &Event::Timer(timer)),
            None => around.coverage.hit(phase, event),
        }
        let mut effects = Vec::new();
        self.machine
            .handle(event, self.time(around.world.now), &mut effects);
        self.be_quiet(around);
        if around.world.judge.story.is_some() {
            let now = self.machine.phase();
            around
                .world
                .say(|| format!("{event:?}\n               {phase} -> {now}: {effects:?}"));
        }
        self.settle_in(around, effects, None)
    }

    /// Now and then the machine packs what it holds, which changes nothing.
    fn be_quiet(&mut self, around: &Around<'_>) {
        let now = around.world.now;
        if self.machine.may_be_packed() && now.is_multiple_of(4) {
            let mut effects = Vec::new();
            let now = self.time(now);
            self.machine.handle(&Event::Quiet, now, &mut effects);
            debug_assert!(effects.is_empty(), "{effects:?}");
        }
    }

    /// Somebody came to watch, or the last one left.
    pub(crate) fn watched(&mut self, around: &mut Around<'_>) -> Alive {
        let watched = around.hub.is_watched();
        if watched == self.watched {
            return Ok(());
        }
        self.watched = watched;
        self.step(around, &Event::Watched(watched))
    }

    /// Time has passed: sets off one timer after the other, as the machine does.
    pub(crate) fn tick(&mut self, around: &mut Around<'_>) -> Alive {
        self.step(around, &Event::Tick)?;
        let next = self.next_at();
        if next.is_some_and(|next| next <= around.world.now) {
            around
                .world
                .broken("I-22", || "the machine spins".to_owned());
        }
        Ok(())
    }

    /// Tells the judge what the machine is about to learn.
    fn hear(&mut self, around: &mut Around<'_>, event: &Event) {
        match event {
            Event::Posted { attempt, outcome } => {
                let at = self.flights.iter().position(|one| one.attempt == *attempt);
                if let Some(flight) = at.map(|at| self.flights.swap_remove(at))
                    && flight.sent
                {
                    around.world.note(&What::Answered {
                        lead: flight.lead,
                        number: flight.number,
                        answer: answer_of(outcome),
                    });
                }
            }
            Event::OperationNotice(operation)
            | Event::OperationRead {
                read: Read::Found(operation),
                ..
            } if operation.status.is_final() => {
                around.world.note(&What::Level {
                    gauge: Gauge::Parked,
                    value: u32::try_from(self.machine.parked()).unwrap_or(u32::MAX),
                });
                if let Some((lead, number)) = around.graph.post_of(operation) {
                    around.world.note(&What::Operation {
                        lead,
                        number,
                        completed: operation.status == OperationStatus::Completed,
                    });
                }
            }
            Event::RosterNotice(RosterUpdate::Delta { entries, .. }) => {
                for gone in entries.iter().filter(|entry| entry.removed) {
                    around.world.note(&shown(&gone.participant, false));
                }
            }
            Event::SelfRead { query, read } => {
                let muted = match read {
                    Read::Found(entry) => Some(entry.is_muted),
                    _ => None,
                };
                around.world.note(&What::Showed {
                    query: *query,
                    muted,
                });
            }
            Event::RosterRead { query, read } => {
                let muted = match read {
                    Read::Found(entries) => entries
                        .iter()
                        .find(|entry| entry.id.as_str() == "me")
                        .map(|entry| entry.is_muted),
                    _ => None,
                };
                around.world.note(&What::Showed {
                    query: *query,
                    muted,
                });
            }
            _ => {}
        }
    }

    /// Writes down what is to be written, and performs the rest or lets it wait.
    fn settle_in(
        &mut self,
        around: &mut Around<'_>,
        effects: Vec<Effect>,
        mut ticket: Option<Ticket>,
    ) -> Alive {
        if !self.opened && self.machine.took_effect() {
            self.opened = true;
            ticket = Some(around.write(Record::Opened {
                id: call_id(),
                kind: self.machine.kind(),
                me: self.machine.me().cloned(),
            }));
        }
        let ends = |effect: &Effect| {
            matches!(
                effect,
                Effect::Entered {
                    to: Phase::Terminating | Phase::Terminated,
                    ..
                }
            )
        };
        if effects.iter().any(ends) {
            around.world.note(&What::Ended);
        }
        for effect in &effects {
            if let Effect::Publish { changes, .. } = effect {
                for change in &**changes {
                    if let Change::Upsert(entry) = change {
                        around.world.note(&shown(entry, true));
                    }
                }
            }
            if let Effect::Record(record) = effect {
                let lossy = matches!(record, Record::Outcome { .. } | Record::Leaving);
                if let Record::Verdict { verdict, .. } = record {
                    around.tally.verdict(verdict);
                }
                let taken = around.write(record.clone());
                if !lossy {
                    ticket = Some(taken);
                }
                around.may_die()?;
            }
        }
        if self.machine.is_over() && self.opened && !self.closed {
            self.closed = true;
            let cause = self.machine.ending().map(|ending| ending.cause);
            if let Some(cause) = cause {
                ticket = Some(around.write(Record::Closed { cause }));
            }
        }
        let weight = effects.len();
        let step = Step {
            effects,
            wanted: around.world.now,
        };
        if let Some(step) = self.outbox.push(step, weight, ticket) {
            self.release(around, step)?;
        }
        around.may_die()
    }

    /// A commit ended: what rested on it is performed.
    pub(crate) fn durable(&mut self, around: &mut Around<'_>) -> Alive {
        while let Some(ticket) = self.outbox.awaited() {
            if !around.disk.is_durable(*ticket) {
                break;
            }
            self.outbox.durable();
            while let Some(step) = self.outbox.take() {
                self.release(around, step)?;
            }
        }
        Ok(())
    }

    fn release(&mut self, around: &mut Around<'_>, step: Step) -> Alive {
        for effect in step.effects {
            self.perform(around, effect, step.wanted);
            around.may_die()?;
        }
        Ok(())
    }

    fn perform(&mut self, around: &mut Around<'_>, effect: Effect, wanted: Millis) {
        let life = around.world.life;
        let world = &mut *around.world;
        match effect {
            Effect::Create | Effect::Answer => {
                let delay = world.delay();
                world.later(delay, Doing::Establish(life));
            }
            Effect::Record(Record::Accepted(accepted)) => {
                if accepted.origin == Origin::Bot && around.tally.wants_word(accepted.command) {
                    world.note(&What::Acknowledged {
                        command: accepted.command,
                    });
                }
            }
            Effect::Post {
                attempt,
                action,
                context,
                command,
            } => {
                let number = CommandId::from_context(&context).map_or(0, |(_, number)| number);
                let limit = wanted + LIMIT;
                // It may have waited behind a record until nobody waits for it any more.
                let pursued = self.machine.pursued();
                let wanted = pursued
                    .is_some_and(|one| one.lead() == command && one.commands().next().is_some());
                let sent = wanted && world.now < limit;
                self.flights.push(Flight {
                    attempt,
                    lead: command,
                    number,
                    sent,
                });
                if sent {
                    around.tally.posts += 1;
                    world.note(&What::Sent {
                        lead: command,
                        number,
                        action,
                    });
                    let request = (attempt, context);
                    let of = (command, number, action);
                    around.graph.post(world, request, of, limit);
                } else {
                    let outcome = PostOutcome::NotSent;
                    let event = Event::Posted { attempt, outcome };
                    world.later(0, Doing::Reply(life, event));
                }
            }
            Effect::ReadOperation { query, operation } => {
                let delay = world.delay();
                world.later(delay, Doing::ServeOperation(life, query, operation));
            }
            Effect::ReadSelf { query, .. } => {
                world.note(&What::Asked { query });
                let delay = world.delay();
                world.later(delay, Doing::ServeSelf(life, query));
            }
            Effect::ReadRoster { query } => {
                world.note(&What::Asked { query });
                let delay = world.delay();
                world.later(delay, Doing::ServeRoster(life, query));
            }
            Effect::ReadCall { query } => {
                let delay = world.delay();
                world.later(delay, Doing::ServeCall(life, query));
            }
            Effect::KeepAlive => {
                let delay = world.delay();
                world.later(delay, Doing::ServeKeepAlive(life));
            }
            Effect::HangUp => {
                let delay = world.delay();
                world.later(delay, Doing::ServeHangUp(life));
            }
            Effect::Settle {
                command, verdict, ..
            } => {
                // One that was never accepted is declined, whatever it is told.
                if world.judge.checker.is_accepted(command) {
                    world.note(&What::Told {
                        command,
                        end: End::from(&verdict),
                    });
                } else {
                    around.tally.declined += 1;
                }
            }
            Effect::Publish {
                version,
                roster,
                changes,
            } => {
                around.tally.published += 1;
                around.hub.publish(world, version, &roster, &changes);
            }
            Effect::Entered { .. } | Effect::Record(_) | Effect::Resync | Effect::Late { .. } => {}
            Effect::Unexpected { phase, event } => {
                if event.starts_with("Timer") {
                    world.broken("S-1", || format!("in {phase} nobody wants the {event}"));
                }
            }
        }
    }
}

fn call_id() -> CallId {
    CallId::parse("call").expect("a plain word is an id")
}

fn answer_of(outcome: &PostOutcome) -> Answer {
    match outcome {
        PostOutcome::Answered(operation) => match operation.status {
            OperationStatus::Completed => Answer::Completed,
            OperationStatus::Failed => Answer::Failed,
            OperationStatus::NotStarted | OperationStatus::Running => Answer::Running,
        },
        PostOutcome::Refused(_) => Answer::Refused,
        PostOutcome::Gone => Answer::Gone,
        PostOutcome::Throttled { after, .. } => Answer::Throttled {
            after: after.map(whole),
        },
        PostOutcome::NotSent => Answer::NotSent,
        PostOutcome::Ambiguous => Answer::Ambiguous,
    }
}

/// A participant as the judge knows it: its short id is its number.
fn shown(entry: &Participant, there: bool) -> What {
    let bytes = entry.id.as_str().bytes();
    What::Shown {
        participant: bytes.fold(0, |number: u64, byte| (number << 8) | u64::from(byte)),
        number: entry.roster_sequence_number,
        there,
    }
}

fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
