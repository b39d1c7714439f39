use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use openmic_model::{
    CallFacts, CallKind, CallState, PackedRoster, ParticipantId, Restored, Roster, Version,
    WallTime,
};
use statig::blocking::{IntoStateMachineExt as _, StateMachine};

use crate::attempt::{Http, Op, Pursued};
use crate::config::Config;
use crate::effect::{Effect, Ending, Phase};
use crate::event::Event;
use crate::model::{Model, State, Turn};
use crate::time::{Time, Timer, Timers};

/// One call: events in, effects out.
///
/// The shell calls [`Machine::handle`] with one event at a time, performs every effect it pushed,
/// and sends [`Event::Tick`] when [`Machine::next_deadline`] has come.
pub struct Machine {
    inner: StateMachine<Model>,
    timers: Timers,
    /// Deadlines whose last look lies up to here have had it.
    looked: Option<Time>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("state", self.inner.state())
            .field("model", self.inner.inner())
            .field("timers", &self.timers)
            .field("looked", &self.looked)
            .finish()
    }
}

impl Machine {
    /// A new call in `Establishing`. Pushes [`Effect::Create`].
    pub fn start(config: Config, now: Time, effects: &mut Vec<Effect>) -> Self {
        Self::begin(Model::new(config), now, effects)
    }

    /// A call that rings, and that the bot takes: in `Establishing` like a new one. Pushes
    /// [`Effect::Answer`]. `facts` and `kind` are what the ring states.
    pub fn answer(
        config: Config,
        facts: &CallFacts,
        kind: CallKind,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Self {
        Self::begin(Model::offered(config, facts, kind), now, effects)
    }

    /// A call that outlived the process, in `Establishing` until it is known how it stands: GETs
    /// of the call and of the roster are all that is pushed besides verdicts and records. `wall`
    /// is what the wall clock shows at `now`.
    ///
    /// Commands keep the time they have left, or none when the clock jumped ahead; what was
    /// posted is looked for before anything is posted again.
    pub fn recover(
        config: Config,
        restored: Restored,
        now: Time,
        wall: WallTime,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let leaving = restored.leaving;
        let mut machine = Self::begin(Model::restored(config, restored, wall), now, effects);
        if leaving {
            machine.handle(&Event::HangUp, now, effects);
        }
        machine
    }

    fn begin(model: Model, now: Time, effects: &mut Vec<Effect>) -> Self {
        let mut timers = Timers::default();
        let mut inner = model.state_machine();
        inner.init_with_context(&mut Turn {
            now,
            effects,
            timers: &mut timers,
        });
        let mut machine = Self {
            inner,
            timers,
            looked: None,
        };
        machine.arm_deadlines();
        machine
    }

    /// Takes one event and pushes what must happen because of it.
    ///
    /// `now` never goes backwards. A [`Event::Tick`] sets off every timer that is due; one that
    /// comes early does nothing.
    pub fn handle(&mut self, event: &Event, now: Time, effects: &mut Vec<Effect>) {
        if *event == Event::Tick {
            while let Some(timer) = self.timers.pop_due(now) {
                self.step(&Event::Timer(timer), now, effects);
            }
        } else {
            self.step(event, now, effects);
        }
    }

    fn step(&mut self, event: &Event, now: Time, effects: &mut Vec<Effect>) {
        if *event == Event::Timer(Timer::LastLook) {
            self.looked = Some(now);
        }
        let phase = self.phase();
        let first = effects.len();
        let mut turn = Turn {
            now,
            effects,
            timers: &mut self.timers,
        };
        self.inner.handle_with_context(event, &mut turn);
        for effect in &mut effects[first..] {
            if let Effect::Unexpected { phase: at, .. } = effect {
                *at = phase;
            }
        }
        self.arm_deadlines();
    }

    /// The two timers that follow from the open commands rather than from an event.
    fn arm_deadlines(&mut self) {
        let model = self.inner.inner();
        let state = self.inner.state();
        let waiting = model
            .aside
            .waiting
            .iter()
            .flat_map(|intent| &intent.commands);
        let attempt = state.attempt();
        let pursued = attempt.iter().flat_map(|attempt| &attempt.commands);
        let resumed = model
            .aside
            .resumed
            .iter()
            .flat_map(|attempt| &attempt.commands);
        let earliest = pursued
            .clone()
            .chain(waiting)
            .chain(resumed)
            .map(|open| open.deadline)
            .min();
        self.timers.put(Timer::Command, earliest);
        let look = pursued
            .map(|open| {
                let half = open.deadline.since(open.accepted) / 2;
                open.deadline.back(model.config.last_look.min(half))
            })
            .filter(|at| self.looked.is_none_or(|looked| *at > looked))
            .min();
        self.timers.put(Timer::LastLook, look);
        self.timers.put(Timer::Window, model.window_alarm(state));
        self.timers.tidy();
    }

    /// When to send the next [`Event::Tick`]; `None` when the call waits for nothing but events.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Every timer that is set, and when it goes off.
    pub fn armed(&self) -> impl Iterator<Item = (Timer, Time)> {
        self.timers.all()
    }

    /// The timer that goes off first, for who counts them.
    pub fn next_timer(&self) -> Option<Timer> {
        self.timers.first()
    }

    /// The state, without its details.
    pub fn phase(&self) -> Phase {
        self.inner.state().phase()
    }

    /// True once the call is terminated. What follows is at most a hang-up of a call that showed
    /// itself too late, and the verdicts of commands that came too late.
    pub fn is_over(&self) -> bool {
        self.phase() == Phase::Terminated
    }

    /// How the call ended.
    pub fn ending(&self) -> Option<&Ending> {
        match self.inner.state() {
            State::Terminated { ending } => Some(ending),
            _ => None,
        }
    }

    /// Whether something showed that the create or the answer took effect.
    pub fn took_effect(&self) -> bool {
        self.inner.inner().exists
    }

    /// Graph's own state of the call, as far as it was told.
    pub fn graph_state(&self) -> Option<CallState> {
        self.inner.inner().graph
    }

    /// What the call connects.
    pub fn kind(&self) -> CallKind {
        self.inner.inner().kind
    }

    /// `myParticipantId`.
    pub fn me(&self) -> Option<&ParticipantId> {
        self.inner.inner().me.as_ref()
    }

    /// The merged roster.
    pub fn roster(&self) -> &Arc<Roster> {
        self.inner.inner().merge.roster()
    }

    /// The roster as the machine holds it after [`Event::Quiet`], when it is small.
    pub fn packed_roster(&self) -> Option<&PackedRoster> {
        self.inner.inner().merge.packed()
    }

    /// Whether [`Event::Quiet`] may spare memory.
    pub fn may_be_packed(&self) -> bool {
        let model = self.inner.inner();
        model.merge.is_open() || model.aside.is_open()
    }

    /// The version last published; `seq` is 0 before the first.
    pub fn version(&self) -> Version {
        self.inner.inner().version
    }

    /// [`Config::post_limit`].
    pub fn post_limit(&self) -> Duration {
        self.inner.inner().config.post_limit
    }

    /// Whether the own roster entry was ever seen.
    pub fn own_entry_seen(&self) -> bool {
        self.inner.inner().own_muted().is_some()
    }

    /// Notifications about operations that wait for the answer to their POST; bounded.
    pub fn parked(&self) -> usize {
        self.inner.inner().aside.parked.len()
    }

    /// The mute or unmute under way; `None` while there is none.
    pub fn pursued(&self) -> Option<Pursued<'_>> {
        let resumed = || self.inner.inner().aside.resumed.as_deref();
        self.inner.state().attempt().or_else(resumed).map(Pursued)
    }

    /// The hang-up was given up: nothing told that the call is over, and it may still be up until
    /// Graph misses its keepAlive.
    pub fn was_left_open(&self) -> bool {
        self.inner.inner().aside.parting.given_up
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &State {
        self.inner.state()
    }

    #[cfg(test)]
    pub(crate) fn speaks_until(&self) -> Option<Time> {
        self.inner.inner().speaks_until()
    }

    #[cfg(test)]
    pub(crate) fn due(&self, timer: Timer) -> Option<Time> {
        self.timers.at(timer)
    }

    /// Muted or unmuted, with nothing under way and nothing that waits for it: whatever is settled
    /// at once then changes nothing of where the call stands.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.inner.state(), State::Muted | State::Unmuted)
            && self.pursued().is_none()
            && self.inner.inner().aside.waiting.is_none()
    }

    /// What the call waits for, in words for an operator. Empty when for nothing.
    pub fn waits_for(&self) -> Vec<&'static str> {
        let model = self.inner.inner();
        let mut waits = Vec::new();
        match self.inner.state() {
            State::Establishing if !model.is_up() => waits.push("established"),
            State::Establishing => waits.push("own roster entry"),
            State::Terminating { .. } => waits.push("terminated"),
            _ => {}
        }
        if let Some(attempt) = self.inner.state().attempt() {
            match attempt.http {
                Http::Pending => waits.push("answer to the POST"),
                Http::Backoff => waits.push("time to post again"),
                Http::Answered | Http::Ambiguous { .. } => {
                    if !matches!(attempt.op, Op::Completed | Op::Lost) {
                        waits.push("operation");
                    }
                    if !attempt.agrees() {
                        waits.push("fresh own roster entry");
                    }
                }
            }
        }
        if model.aside.waiting.is_some() {
            waits.push("outcome of an older POST");
        }
        waits
    }
}
