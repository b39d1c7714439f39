//! The end of a call: hanging up, and what still comes afterwards.

use std::time::Duration;

use openmic_model::{CallState, EndCause, Verdict};
use statig::Outcome::{Handled, Super};
use statig::blocking::Outcome;

use crate::effect::{Effect, Ending};
use crate::event::{Ack, Event, PostOutcome, Read};
use crate::model::{Model, State, Turn, over};
use crate::time::Timer;

/// DELETEs before the call is given up as hung up.
const HANG_UPS: u8 = 5;

impl Model {
    /// Sends a DELETE; while no call is known to exist, waits for one to show itself.
    pub(crate) fn hang_up(&mut self, tries: &mut u8, context: &mut Turn<'_>) {
        let patience = if self.exists || self.offer.is_some() {
            *tries = tries.saturating_add(1);
            context.effects.push(Effect::HangUp);
            self.config.post_limit
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
                *tries = HANG_UPS;
                let patience = self.config.parting_patience;
                context.timers.set(Timer::Parting, context.now + patience);
                Handled
            }
            Event::HungUp(Ack::Failed) => {
                let pause = Duration::from_millis(250 << (*tries).min(4));
                context.timers.set(Timer::Parting, context.now + pause);
                Handled
            }
            // Nothing showed that there is a call, or all was tried to end it.
            Event::Timer(Timer::Parting) if *tries == 0 || *tries >= HANG_UPS => {
                over(EndCause::HungUp, None)
            }
            Event::Timer(Timer::Parting) => {
                self.hang_up(tries, context);
                Handled
            }
            Event::CallNotice(facts) if *tries < HANG_UPS && self.is_rumour(facts) => {
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
            Event::CreateFailed { definite: true, .. } if !self.exists && self.offer.is_none() => {
                over(EndCause::HungUp, None)
            }
            Event::CreateFailed { .. } => {
                // A call that rang has had its DELETE.
                if !self.exists && self.offer.is_none() {
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
