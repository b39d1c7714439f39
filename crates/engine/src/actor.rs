//! The task of one call: one event, then every effect, then wait.

mod perform;
mod step;
mod turn;

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use openmic_hub::Topic;
use openmic_journal::Lost;
use openmic_machine::{Effect, Event, Machine, Phase, Read, Refusal, Time};
use openmic_model::{CallFacts, CallId, CallKind, Record};
use openmic_wire::notification::{Item, Notification};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::call::Shared;
use crate::engine::{First, Inner, Probe};
use crate::join::{Created, JoinError};
use crate::mail::Mail;
use crate::moments::Timeline;
use crate::recorder::Sent;
use crate::supervise::{self, Lanes};

use step::Beside;
pub(crate) use step::{Served, Step};
use turn::{Turn, turn};

/// How long nothing happens in a call before it is packed and sleeps.
pub(crate) const QUIET: Duration = Duration::from_secs(1);
/// A call with something to do sooner than this stays awake.
const DOZE: Duration = Duration::from_secs(2);
/// How long a call sleeps at most.
const LONG: Duration = Duration::from_hours(1);

/// Where the outcome of the create goes.
pub(crate) type CreatedReply = oneshot::Sender<Result<Created, JoinError>>;

/// What a job brings back.
pub(crate) enum Done {
    Event(Event),
    Created(Result<(Created, Event), (JoinError, Event)>),
    /// Nobody knows whether an answer took effect.
    AnswerLost(CallKind, Event),
    /// Nothing that the call needs to know.
    Nothing,
}

/// What one call is, as long as it is not over: in a task while it has something to do, else asleep.
pub(crate) struct Actor {
    pub(crate) engine: Arc<Inner>,
    pub(crate) call: Arc<Shared>,
    pub(crate) machine: Machine,
    /// None once it has rested.
    pub(crate) beginning: Option<Box<Beginning>>,
    /// It begins with a ring.
    pub(crate) offered: bool,
    pub(crate) begun: Time,
    /// It has run before.
    pub(crate) rested: bool,
    pub(crate) carried: Carried,
}

/// What a call needs while it begins.
#[derive(Default)]
pub(crate) struct Beginning {
    /// What the machine wanted first.
    pub(crate) effects: Vec<Effect>,
    /// What is to be written down before anything of it.
    pub(crate) records: Vec<Record>,
    /// The request it begins with, until it is sent.
    pub(crate) first: Option<First>,
    pub(crate) created: Option<CreatedReply>,
}

impl Beginning {
    const fn is_over(&self) -> bool {
        self.effects.is_empty()
            && self.records.is_empty()
            && self.first.is_none()
            && self.created.is_none()
    }
}

/// What a call brings along from its sleep, or from another process.
#[derive(Default)]
pub(crate) struct Carried {
    /// Its subscribers may be back already.
    pub(crate) topic: Option<Topic>,
    pub(crate) timeline: Timeline,
    /// Somebody watches its roster, as far as the machine knows.
    pub(crate) watched: bool,
    /// Nobody was told of it: should it show itself, it is hung up.
    pub(crate) unwanted: bool,
    /// It rang, and nobody knows whether it was answered.
    pub(crate) unproven: bool,
    /// What waits for the first look at it.
    pub(crate) probe: Option<Box<Probe>>,
}

/// Why an actor stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// Its retention is over, or the journal failed.
    Ended,
    /// There is nothing to be done before then.
    Asleep(Time),
}

/// What the actor holds besides the machine; apart, so that both can be borrowed.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one call, any of which may hold"
)]
struct Desk<'a> {
    lanes: &'a mut Lanes,
    /// When the turn under way began, or what it takes up was there; looked up once.
    now: Instant,
    /// The same as the machine counts it.
    time: Time,
    topic: Option<Topic>,
    timeline: Timeline,
    /// What the machine wants, from an event to its step.
    effects: Vec<Effect>,
    /// Goes with the next step.
    beside: Beside,
    /// Requests under way, for the log.
    sent: Sent,
    /// The step under way was noted as one that waits for its records.
    held: bool,
    /// The step under way changes nothing of where the call stands.
    same: bool,
    /// The create's answer was lost: should the call show itself, it is hung up.
    unwanted: bool,
    /// Somebody watches its roster, as far as the machine knows.
    watched: bool,
    /// Nothing showed yet that the answer to its ring took effect.
    unproven: bool,
    /// Done once it was looked at after a crash.
    probe: Option<Box<Probe>>,
    /// The answer's answer was lost: should it have taken effect, its creator is told.
    lost: Option<CallKind>,
    /// The end of the retention, once the call is over.
    leave: Option<Time>,
    /// When it is to take less memory, if nothing happens before.
    quiet: Option<Time>,
}

impl Actor {
    /// Runs the call to its end, and on to the end of its retention; or until there is nothing to
    /// be done, and returns the time when there will be.
    pub(crate) async fn run(&mut self, lanes: &mut Lanes) -> Option<Time> {
        let Carried {
            topic,
            timeline,
            watched,
            unwanted,
            unproven,
            probe,
        } = std::mem::take(&mut self.carried);
        let (effects, records) = match &mut self.beginning {
            Some(beginning) => (
                std::mem::take(&mut beginning.effects),
                std::mem::take(&mut beginning.records),
            ),
            None => Default::default(),
        };
        let now = Instant::now();
        let mut desk = Desk {
            lanes,
            now,
            time: self.engine.time(now),
            topic,
            timeline,
            effects,
            beside: Beside {
                records,
                ..Beside::default()
            },
            sent: Sent::default(),
            held: false,
            same: false,
            unwanted,
            watched,
            unproven,
            probe,
            lost: None,
            leave: None,
            quiet: None,
        };
        if self.rested {
            self.stay_awake(&mut desk);
        } else {
            if let Some(id) = self.call.id.get() {
                self.known_as(id, &mut desk);
            }
            self.settle_in(&mut desk);
            self.rested = true;
        }
        let mut alarm = pin!(None);
        let mut woken = false;
        // What is waited for is no part of the task.
        let pause = poll_fn(|context| {
            if std::mem::replace(&mut woken, true) {
                self.look_at_clock(&mut desk);
            }
            self.turns(&mut desk, alarm.as_mut(), context)
        });
        let pause = pause.await;
        let Desk {
            topic,
            timeline,
            watched,
            unwanted,
            unproven,
            ..
        } = desk;
        self.beginning = None;
        self.carried = Carried {
            topic,
            timeline,
            watched,
            unwanted,
            unproven,
            probe: None,
        };
        match pause {
            Pause::Asleep(due) => Some(due),
            Pause::Ended => None,
        }
    }

    /// One turn after the other, until there is nothing to be done or the retention is over.
    fn turns(
        &mut self,
        desk: &mut Desk<'_>,
        mut alarm: Pin<&mut Option<Sleep>>,
        context: &mut Context<'_>,
    ) -> Poll<Pause> {
        // The clock was looked at just now.
        let mut fresh = true;
        loop {
            let planned = desk.leave.into_iter().chain(self.machine.next_deadline());
            let planned = planned.min();
            let due = planned.into_iter().chain(desk.quiet).min();
            let is_due = due.is_some_and(|due| due <= desk.time);
            let next = match turn(desk.lanes, is_due, context) {
                Poll::Ready(next) => {
                    if !std::mem::take(&mut fresh) {
                        self.look_at_clock(desk);
                    }
                    next
                }
                Poll::Pending => {
                    // What is packed already need not be awake for that.
                    if !self.machine.may_be_packed()
                        && let Some(due) = self.rests(desk)
                    {
                        return Poll::Ready(Pause::Asleep(due));
                    }
                    let Some(due) = due else {
                        return Poll::Pending;
                    };
                    ready!(self.wait(due, alarm.as_mut(), context));
                    fresh = false;
                    self.look_at_clock(desk);
                    Turn::Due
                }
            };
            match next {
                Turn::Written(Ok(())) => self.durable(desk),
                // Nothing that rests on the record may happen, and nobody may be told.
                Turn::Written(Err(Lost)) => {
                    self.engine.get_stuck();
                    return Poll::Ready(Pause::Ended);
                }
                Turn::Due if due == desk.leave => return Poll::Ready(Pause::Ended),
                Turn::Due if due != planned => {
                    self.pack(desk);
                    if let Some(due) = self.rests(desk) {
                        return Poll::Ready(Pause::Asleep(due));
                    }
                }
                Turn::Due => {
                    self.step(&Event::Tick, desk);
                    if desk.watched {
                        self.look_for_subscribers(desk);
                    }
                }
                Turn::Done(done) => self.done(done, desk),
                Turn::Read(mail) => self.read(mail, desk),
            }
        }
    }

    /// Ready at `due`. The alarm is kept from turn to turn: one that is only put off costs the
    /// runtime's wheel nothing.
    fn wait(
        &self,
        due: Time,
        mut alarm: Pin<&mut Option<Sleep>>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let at = self.engine.instant(due);
        match alarm.as_mut().as_pin_mut() {
            None => alarm.set(Some(sleep_until(at))),
            Some(alarm) if at != alarm.deadline() => alarm.reset(at),
            Some(_) => {}
        }
        match alarm.as_pin_mut() {
            Some(alarm) => alarm.poll(context),
            None => Poll::Pending,
        }
    }

    fn look_at_clock(&self, desk: &mut Desk<'_>) {
        desk.now = Instant::now();
        desk.time = self.engine.time(desk.now);
    }

    /// One event, then every effect.
    fn step(&mut self, event: &Event, desk: &mut Desk<'_>) {
        let now = desk.time;
        let before = self.rest_of(event);
        self.machine.handle(event, now, &mut desk.effects);
        desk.same = before.is_some() && before == self.rest_of(event);
        desk.held = self.will_wait(desk);
        let (flight, acts) = (&self.call.flight, &desk.effects);
        let at = (now, desk.held);
        flight.step(event, at, &self.machine, acts, &mut desk.sent);
        desk.timeline.note(event, &self.machine, desk.now);
        self.settle_in(desk);
        self.stay_awake(desk);
    }

    /// The phase of a call at rest that takes a command: the same afterwards, nothing has changed
    /// of where it stands.
    fn rest_of(&self, event: &Event) -> Option<Phase> {
        let rests = matches!(event, Event::Command { .. }) && self.machine.is_at_rest();
        rests.then(|| self.machine.phase())
    }

    /// Something happened: the call is quiet once nothing follows it.
    fn stay_awake(&self, desk: &mut Desk<'_>) {
        desk.quiet = (!self.machine.is_over()).then(|| desk.time + self.engine.quiet);
    }

    /// Until when there is nothing to be done unless a letter comes, if that is a while.
    fn rests(&self, desk: &Desk<'_>) -> Option<Time> {
        let lanes = &desk.lanes;
        let idle = lanes.inbox.is_empty()
            && lanes.jobs.is_empty()
            && lanes.outbox.is_empty()
            && lanes.replies.is_empty()
            && desk.sent.is_empty()
            && desk.probe.is_none()
            && desk.lost.is_none()
            && desk.leave.is_none()
            && (self.beginning.as_ref()).is_none_or(|beginning| beginning.is_over());
        let due = self.machine.next_deadline();
        let due = due.unwrap_or(desk.time + LONG);
        (idle && due >= desk.time + DOZE).then_some(due)
    }

    /// Nothing happens: the roster takes less memory, here and wherever the latest one is kept.
    fn pack(&mut self, desk: &mut Desk<'_>) {
        desk.quiet = None;
        let watched = |topic: &Topic| topic.subscribers() > 0;
        if desk.topic.as_ref().is_some_and(watched)
            || !desk.lanes.outbox.is_empty()
            || !self.machine.may_be_packed()
        {
            return;
        }
        self.machine
            .handle(&Event::Quiet, desk.time, &mut desk.effects);
        debug_assert!(desk.effects.is_empty(), "{:?}", desk.effects);
        let Some(roster) = self.machine.packed_roster() else {
            return;
        };
        let version = self.machine.version();
        self.call.status.change_quietly(|told| {
            if let Some(kept) = &mut told.roster {
                kept.pack(version, roster);
            }
        });
        if let Some(topic) = &desk.topic {
            topic.pack(version, roster);
        }
    }

    /// Takes a letter.
    fn read(&mut self, mail: Mail, desk: &mut Desk<'_>) {
        match mail {
            Mail::HangUp => self.step(&Event::HangUp, desk),
            Mail::Watched => {
                // Before it is looked: whoever comes from now on writes again.
                self.call.watch_told.swap(false, Ordering::AcqRel);
                self.look_for_subscribers(desk);
            }
            Mail::Gone => self.step(&Event::KeptAlive(openmic_machine::Ack::Gone), desk),
            Mail::Shown(facts) => self.step(&Event::CallNotice(*facts), desk),
            Mail::Command(command) => {
                // Given while the turn had begun already: what follows is not before it.
                if command.accepted > desk.now {
                    self.look_at_clock(desk);
                }
                desk.lanes
                    .replies
                    .insert(command.id, command.reply, command.accepted);
                desk.beside.taken = command.taken;
                let event = Event::Command {
                    id: command.id,
                    action: command.action,
                    within: command.within,
                    speak_for: command.speak_for,
                };
                self.step(&event, desk);
            }
            Mail::Notices(notices) => {
                for notice in notices {
                    self.notice(notice, desk);
                }
            }
            #[cfg(test)]
            Mail::Panic => panic!("a test asked for it"),
            #[cfg(test)]
            Mail::Wanted(effects) => {
                desk.effects = effects;
                self.settle_in(desk);
            }
        }
    }

    /// Tells the machine when the first subscriber came, or the last one left.
    fn look_for_subscribers(&mut self, desk: &mut Desk<'_>) {
        let topic = desk.topic.as_ref();
        let watched = topic.is_some_and(|topic| topic.subscribers() > 0);
        if std::mem::replace(&mut desk.watched, watched) != watched {
            self.step(&Event::Watched(watched), desk);
        }
    }

    fn notice(&mut self, notice: Notification, desk: &mut Desk<'_>) {
        let Notification { call, item, .. } = notice;
        if !call.is_some_and(|id| self.bind(&id, desk)) {
            tracing::debug!("a notification about another call; left out");
            return;
        }
        let event = match item {
            Item::Call(facts) => Event::CallNotice(facts),
            Item::Roster(update) => Event::RosterNotice(update),
            // The machine wants those of mute and unmute only.
            Item::Operation(operation) if self.call.errands.noted(&operation) => {
                Event::CallNotice(CallFacts::default())
            }
            Item::Operation(operation) => Event::OperationNotice(operation),
            // Whatever it says, the call exists.
            Item::Incoming(_) | Item::Other => Event::CallNotice(CallFacts::default()),
        };
        self.step(&event, desk);
        self.reject_unwanted(desk);
    }

    fn done(&mut self, done: Done, desk: &mut Desk<'_>) {
        match done {
            Done::Nothing => {}
            Done::Event(event) => {
                let looked =
                    matches!(&event, Event::CallRead { read, .. } if *read != Read::Failed);
                self.step(&event, desk);
                // Where the call itself could not be read, its roster may have told.
                let goes_on = self.machine.phase() != Phase::Establishing;
                if (looked || goes_on)
                    && !self.machine.is_over()
                    && let Some(probe) = &mut desk.probe
                {
                    probe.looked();
                }
            }
            Done::Created(Ok((created, event))) => {
                if !self.bind(&created.id, desk) {
                    self.misnamed(created.id, desk);
                    return;
                }
                desk.beside.creator = Some(Box::new(Ok(created)));
                self.step(&event, desk);
            }
            Done::AnswerLost(kind, event) => {
                tracing::warn!("the answer's outcome is lost; looking for what became of it");
                desk.lost = Some(kind);
                self.step(&event, desk);
            }
            Done::Created(Err((error, event))) => {
                let (status, code) = match &error {
                    JoinError::Refused { status, code, .. } => (Some(*status), Some(code.as_str())),
                    _ => (None, None),
                };
                tracing::warn!(status, code, "the call could not be created or answered");
                // Of an answer that was refused there is nothing to be hung up: it rings on.
                desk.unwanted = !self.offered || self.machine.took_effect();
                // Told once the call is over: then its ring can be answered anew.
                desk.beside.creator = Some(Box::new(Err(error)));
                self.step(&event, desk);
                self.reject_unwanted(desk);
            }
        }
    }

    /// The create's answer names a call that cannot be this one: a notification named another one
    /// before, or another actor has it. Nobody knows which is right, so nothing of it is kept.
    fn misnamed(&mut self, id: CallId, desk: &mut Desk<'_>) {
        tracing::error!("the create was answered with an id that belongs to another call");
        let message = "its id belongs to another call".to_owned();
        let refusal = Refusal::new(502, "generalException", &message);
        desk.beside.creator = Some(Box::new(Err(JoinError::Unknown { message })));
        if self.engine.registry.by_id(&id).is_none() {
            let engine = Arc::clone(&self.engine);
            perform::spawn(desk, || Done::Nothing, async move {
                supervise::hang_up(&engine, &id).await;
                Done::Nothing
            });
        }
        desk.unwanted = true;
        let definite = self.call.id.get().is_none();
        self.step(&Event::CreateFailed { refusal, definite }, desk);
        self.reject_unwanted(desk);
    }

    /// A call whose creator was told that there is none has nobody to speak for it.
    fn reject_unwanted(&mut self, desk: &mut Desk<'_>) {
        if desk.unwanted && self.call.id.get().is_some() {
            desk.unwanted = false;
            self.step(&Event::HangUp, desk);
        }
    }

    /// Learns the call's id by the create's answer, or by a notification that beat it. False when
    /// `id` is not that of this call.
    fn bind(&self, id: &CallId, desk: &mut Desk<'_>) -> bool {
        if let Some(bound) = self.call.id.get() {
            return bound == id;
        }
        if !self.engine.registry.bind(id.clone(), &self.call) {
            return false;
        }
        let fresh = self.call.id.set(id.clone());
        debug_assert!(fresh.is_ok(), "only its actor sets it");
        self.known_as(id, desk);
        true
    }

    /// The call has its id: what is told of it can be.
    fn known_as(&self, id: &CallId, desk: &mut Desk<'_>) {
        supervise::name_span(id);
        self.call.flight.known(id, desk.now);
        if !self.machine.is_over() && desk.topic.is_none() {
            desk.beside.opened = Some(self.machine.phase());
        }
    }
}
