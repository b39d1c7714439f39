//! The end of a call: hanging up, and what still comes afterwards.

use std::time::Duration;

use openmic_model::{CallState, EndCause, Verdict};
use statig::Outcome::{Handled, Super};
use statig::blocking::Outcome;

use crate::effect::{Effect, Ending};
use crate::event::{Ack, Event, PostOutcome, Read};
use crate::model::{Model, State, Turn, over};
use crate::time::{Time, Timer};

/// The longest pause before a DELETE is sent again.
const LONGEST: Duration = Duration::from_mins(1);

/// How long to wait after DELETE number `tries` before the next: twice as long each time, up to a
/// minute. A call must not be left open for want of trying, nor a Graph in trouble be stormed.
pub const fn hang_up_pause(tries: u8) -> Duration {
    if tries < 8 {
        Duration::from_millis(250 << tries)
    } else {
        LONGEST
    }
}

/// How far a hang-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parting {
    /// No DELETE from then on.
    until: Option<Time>,
    /// A DELETE succeeded.
    answered: bool,
    /// All were in vain.
    pub(crate) given_up: bool,
}

impl Parting {
    /// Not begun.
    pub(crate) const NONE: Self = Self {
        until: None,
        answered: false,
        given_up: false,
    };
}

impl Model {
    /// Begins to hang up.
    pub(crate) fn depart(&mut self, tries: &mut u8, context: &mut Turn<'_>) {
        self.aside.open().parting.until = Some(context.now + self.config.hang_up_patience);
        self.hang_up(tries, context);
    }

    /// Sends a DELETE; while no call is known to exist, waits for one to show itself.
    pub(crate) fn hang_up(&mut self, tries: &mut u8, context: &mut Turn<'_>) {
        let patience = if self.exists || self.rang {
            *tries = tries.saturating_add(1);
            context.effects.push(Effect::HangUp);
            self.config.post_limit.max(hang_up_pause(*tries))
        } else {
            self.config.orphan_patience
        };
        context.timers.set(Timer::Parting, context.now + patience);
    }

    /// There is a call after all. Ends it, when nothing was sent to do so.
    fn found(&mut self, tries: &mut u8, context: &mut Turn<'_>) {
        self.exists = true;
        if *tries == 0 {
            self.hang_up(tries, context);
        }
    }

    pub(crate) fn part(
        &mut self,
        tries: &mut u8,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        match event {
            Event::HungUp(Ack::Gone)
            | Event::KeptAlive(Ack::Gone)
            | Event::Posted {
                outcome: PostOutcome::Gone,
                ..
            }
            | Event::CallRead {
                read: Read::Gone, ..
            }
            | Event::OperationRead {
                read: Read::Gone, ..
            }
            | Event::SelfRead {
                read: Read::Gone, ..
            }
            | Event::RosterRead {
                read: Read::Gone, ..
            } => over(EndCause::HungUp, None),
            Event::HungUp(Ack::Done) => {
                self.aside.open().parting.answered = true;
                let patience = self.config.parting_patience;
                context.timers.set(Timer::Parting, context.now + patience);
                Handled
            }
            Event::HungUp(Ack::Failed) => {
                if !self.aside.parting.answered {
                    let pause = hang_up_pause(*tries);
                    context.timers.set(Timer::Parting, context.now + pause);
                }
                Handled
            }
            // Nothing showed that there is a call, or its end was not told.
            Event::Timer(Timer::Parting) if *tries == 0 || self.aside.parting.answered => {
                over(EndCause::HungUp, None)
            }
            // All was tried to end it, and without keepAlive it is no more.
            Event::Timer(Timer::Parting)
                if (self.aside.parting.until).is_some_and(|until| until <= context.now) =>
            {
                self.aside.open().parting.given_up = true;
                over(EndCause::HungUp, None)
            }
            Event::Timer(Timer::Parting) => {
                self.hang_up(tries, context);
                Handled
            }
            Event::CallNotice(facts) if !self.aside.parting.answered && self.is_rumour(facts) => {
                self.rumoured(facts, context);
                self.found(tries, context);
                Handled
            }
            Event::CallRead {
                read: Read::Found(facts),
                ..
            } if facts.state == Some(CallState::Terminated) => {
                over(EndCause::HungUp, facts.result.clone())
            }
            Event::Timer(Timer::Verify) => {
                self.verify(context);
                Handled
            }
            Event::CallRead { .. } => {
                self.note_read(event, context);
                Handled
            }
            Event::CallNotice(facts) => {
                self.absorb(facts);
                if self.is_terminated() {
                    return over(EndCause::HungUp, facts.result.clone());
                }
                self.found(tries, context);
                Handled
            }
            // The create was still under way when the bot hung up.
            Event::Created { .. } | Event::RosterNotice(_) | Event::OperationNotice(_) => {
                self.found(tries, context);
                Handled
            }
            Event::CreateFailed { definite: true, .. } if !self.exists && !self.rang => {
                over(EndCause::HungUp, None)
            }
            Event::CreateFailed { .. } => {
                // A call that rang has had its DELETE.
                if !self.exists && !self.rang {
                    let patience = self.config.orphan_patience;
                    context.timers.set(Timer::Parting, context.now + patience);
                }
                Handled
            }
            Event::Command {
                id,
                action,
                within,
                speak_for,
            } => {
                let open = self.take(*id, *action, *within, *speak_for, context.now);
                open.record(context);
                self.settle(open, Verdict::CallEnded { result: None }, false, context);
                Handled
            }
            // Answers to what was under way.
            Event::Posted { .. }
            | Event::OperationRead { .. }
            | Event::SelfRead { .. }
            | Event::RosterRead { .. }
            | Event::KeptAlive(_)
            | Event::Watched(_)
            | Event::HangUp => Handled,
            _ => Super,
        }
    }

    pub(crate) fn stay_over(
        &mut self,
        ending: &Ending,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        match event {
            // The call's last record is written: what comes now is no part of it any more.
            Event::Command {
                id,
                action,
                within,
                speak_for,
            } => {
                let verdict = Verdict::CallEnded {
                    result: ending.result.clone(),
                };
                self.take(*id, *action, *within, *speak_for, context.now)
                    .tell(verdict, context);
                Handled
            }
            // Given up as never created, and there it is: no microphone is left behind. Only a
            // call that is up has a roster.
            Event::Created { .. } | Event::RosterNotice(_) if !self.exists => {
                self.exists = true;
                context.effects.push(Effect::HangUp);
                Handled
            }
            Event::CallNotice(facts) if !self.exists => {
                let alive = facts
                    .state
                    .is_some_and(|state| state.rank() < CallState::Terminating.rank());
                if alive {
                    self.exists = true;
                    context.effects.push(Effect::HangUp);
                }
                Handled
            }
            // What was under way when the call ended, or told late.
            Event::HangUp
            | Event::Created { .. }
            | Event::CreateFailed { .. }
            | Event::Posted { .. }
            | Event::OperationRead { .. }
            | Event::SelfRead { .. }
            | Event::RosterRead { .. }
            | Event::CallRead { .. }
            | Event::KeptAlive(_)
            | Event::Watched(_)
            | Event::HungUp(_)
            | Event::CallNotice(_)
            | Event::RosterNotice(_)
            | Event::OperationNotice(_) => Handled,
            _ => Super,
        }
    }
}
