//! A notification that says the call is over. Anybody who got hold of an old one can send it again,
//! so it is believed once Graph says so itself.

use std::time::Duration;

use openmic_model::{CallFacts, CallState, EndCause, ResultInfo};
use statig::blocking::Outcome;

use crate::effect::{Effect, Phase, QueryId};
use crate::event::{Event, Read};
use crate::model::{Model, State, Turn, over};
use crate::time::{Time, Timer};

/// Pause after a GET that did not tell; also after one that told otherwise, doubled each time, so
/// that a thousand of them make a handful of GETs.
const AGAIN: Duration = Duration::from_secs(1);

/// What was said, and what Graph was asked about it.
#[derive(Debug, Default)]
pub(crate) struct Rumour {
    told: bool,
    /// Why the call ended, as it was said.
    result: Option<ResultInfo>,
    /// The GET that is to tell.
    asked: Option<QueryId>,
    /// It was said again since that GET began.
    again: bool,
    /// How often it proved false.
    refuted: u32,
    /// No GET before this moment.
    not_before: Time,
}

impl Model {
    /// Whether `facts`, notified, are to be asked about first.
    pub(crate) fn is_rumour(&self, facts: &CallFacts) -> bool {
        let rank = facts.state.map_or(0, CallState::rank);
        self.config.verify_terminal && rank >= CallState::Terminating.rank()
    }

    /// Takes in what else `facts` state, and asks.
    pub(crate) fn rumoured(&mut self, facts: &CallFacts, context: &mut Turn<'_>) {
        let rest = CallFacts {
            state: None,
            ..facts.clone()
        };
        self.absorb(&rest);
        let rumour = self.aside.open().rumour.get_or_insert_default();
        rumour.told = true;
        if facts.result.is_some() {
            rumour.result.clone_from(&facts.result);
        }
        if rumour.asked.is_some() {
            rumour.again = true;
        } else if context.now < rumour.not_before {
            context.timers.hasten(Timer::Verify, rumour.not_before);
        } else {
            self.verify(context);
        }
    }

    pub(crate) fn verify(&mut self, context: &mut Turn<'_>) {
        context.timers.clear(Timer::Verify);
        let query = self.query(context.now);
        context.effects.push(Effect::ReadCall { query });
        let rumour = self.aside.open().rumour.get_or_insert_default();
        rumour.asked = Some(query);
        rumour.again = false;
    }

    pub(crate) fn note_read(&mut self, event: &Event, context: &mut Turn<'_>) {
        if let Event::CallRead { query, read } = event {
            self.forget_asked(*query);
            self.call_was_read(*query, read, context);
        }
    }

    /// A GET of the call ended. Whether it is over is for others to say; here it is seen to that
    /// Graph is asked again where it did not tell.
    fn call_was_read(&mut self, query: QueryId, read: &Read<CallFacts>, context: &mut Turn<'_>) {
        let rumour = self.aside.get_mut().and_then(|rare| rare.rumour.as_mut());
        let Some(rumour) = rumour.filter(|rumour| rumour.asked == Some(query)) else {
            return;
        };
        rumour.asked = None;
        let alive = match read {
            Read::Found(facts) => facts
                .state
                .is_none_or(|state| state.rank() < CallState::Terminating.rank()),
            Read::Gone | Read::Absent | Read::Failed => false,
        };
        if !alive {
            context.timers.set(Timer::Verify, context.now + AGAIN);
            return;
        }
        let pause = AGAIN * (1 << rumour.refuted.min(5));
        rumour.refuted = rumour.refuted.saturating_add(1);
        rumour.not_before = context.now + pause;
        context.effects.push(Effect::Unexpected {
            phase: Phase::Establishing,
            event: Event::CallNotice(CallFacts::default()).name(),
        });
        if rumour.again {
            context.timers.set(Timer::Verify, rumour.not_before);
        } else {
            rumour.told = false;
            rumour.result = None;
        }
    }

    /// Graph said itself that the call is over.
    pub(crate) fn ended(&self, facts: &CallFacts) -> Outcome<State> {
        let said = || self.aside.rumour.as_ref()?.result.clone();
        over(EndCause::Remote, facts.result.clone().or_else(said))
    }

    /// Graph does not know the call any more.
    pub(crate) fn gone(&self) -> Outcome<State> {
        match self.aside.rumour.as_ref().filter(|rumour| rumour.told) {
            Some(rumour) => over(EndCause::Remote, rumour.result.clone()),
            None => over(EndCause::Gone, None),
        }
    }
}
