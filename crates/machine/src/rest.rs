//! Calls with no attempt under way: establishing, muted, unmuted, and what waits meanwhile.

use std::time::Duration;

use openmic_model::{Action, CallKind, CommandId, Verdict};
use statig::Outcome::{Handled, Super, Transition};
use statig::blocking::Outcome;

use crate::desk::{Intent, Open, overdue, settle_all};
use crate::effect::Effect;
use crate::effect::{EndCause, Origin};
use crate::event::{Event, PostOutcome, Read, Refusal};
use crate::model::{Model, State, Turn, base, not_a_group_call, over, refuse, too_many};
use crate::time::{Time, Timer};

/// GETs while establishing, and when after Graph said established.
const PATIENCE: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1500),
    Duration::from_millis(3500),
];

impl Model {
    /// Established with no attempt under way: follow the roster, start what is asked.
    pub(crate) fn rest(
        &mut self,
        is: Action,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        match event {
            Event::Command { id, action, within } => {
                let open = self.accept(*id, *action, *within, context.now);
                if self.kind == CallKind::PeerToPeer {
                    refuse(open, &not_a_group_call(), context);
                    return Handled;
                }
                self.wait(open, context);
                self.proceed(is, context)
            }
            Event::RosterNotice(update) => {
                self.roster_notice(update, context);
                self.follow(is)
            }
            Event::RosterRead {
                query,
                read: Read::Found(entries),
            } => {
                self.roster_read(*query, entries, context);
                self.follow(is)
            }
            Event::SelfRead {
                read: Read::Found(entry),
                ..
            } => {
                self.self_read(entry, context);
                self.follow(is)
            }
            Event::Posted { attempt, outcome }
                if self
                    .outstanding
                    .is_some_and(|post| post.attempt == *attempt)
                    && *outcome != PostOutcome::Gone =>
            {
                context.effects.push(Effect::Late {
                    event: event.name(),
                });
                self.outcome_known(outcome, context.now);
                self.proceed(is, context)
            }
            _ => Super,
        }
    }

    /// Starts the waiting intent, when there is one and no POST is under way.
    pub(crate) fn proceed(&mut self, is: Action, context: &mut Turn<'_>) -> Outcome<State> {
        if self.outstanding.is_some() {
            return Handled;
        }
        let Some(intent) = self.waiting.take() else {
            return self.follow(is);
        };
        let doubtful = self
            .doubt
            .is_some_and(|doubt| doubt.action != intent.action && doubt.until > context.now);
        if intent.action == is && !doubtful {
            let mut commands = intent.commands;
            settle_all(
                &mut commands,
                &Verdict::Already,
                context.now,
                context.effects,
            );
            return self.follow(is);
        }
        Transition(self.launch(intent, context))
    }

    /// The roster decides whether the bot is muted.
    pub(crate) fn follow(&self, is: Action) -> Outcome<State> {
        match self.own_muted() {
            Some(muted) if muted != is.wants_muted() => Transition(base(muted)),
            _ => Handled,
        }
    }

    /// Leaves establishing once the call is up and the own entry known, or not to be had.
    pub(crate) fn establish(&mut self, context: &mut Turn<'_>) -> Outcome<State> {
        if !self.is_up() {
            return Handled;
        }
        if self.kind == CallKind::PeerToPeer {
            self.settle_refused(&not_a_group_call(), context);
            context.timers.clear(Timer::Patience);
            return Transition(State::Unmuted);
        }
        if self.patience.is_none() {
            self.patience = Some(0);
            context
                .timers
                .set(Timer::Patience, context.now + PATIENCE[0]);
            self.want_to_join_muted(context.now);
            if self.me.is_none() {
                self.read_call(context);
            }
        }
        match self.own_muted() {
            Some(muted) => self.leave_establishing(muted, context),
            None => Handled,
        }
    }

    pub(crate) fn leave_establishing(
        &mut self,
        muted: bool,
        context: &mut Turn<'_>,
    ) -> Outcome<State> {
        context.timers.clear(Timer::Patience);
        let is = if muted { Action::Mute } else { Action::Unmute };
        match self.proceed(is, context) {
            Transition(state) => Transition(state),
            _ => Transition(base(muted)),
        }
    }

    /// The first act of an established call; a bot's own command that came first outranks it.
    pub(crate) fn want_to_join_muted(&mut self, now: Time) {
        if self.config.join_muted && self.waiting.is_none() {
            self.waiting = Some(Intent::of(Open {
                id: self.config.own_command,
                action: Action::Mute,
                origin: Origin::Machine,
                accepted: now,
                deadline: now + Duration::from_secs(30),
            }));
        }
    }

    pub(crate) fn lose_patience(&mut self, context: &mut Turn<'_>) -> Outcome<State> {
        let Some(step) = self.patience else {
            // Nothing showed that the create took effect.
            return over(EndCause::NotCreated, None);
        };
        let Some(at) = PATIENCE.get(step).copied() else {
            // Never seen: Graph lets a bot in unmuted.
            return self.leave_establishing(false, context);
        };
        if self.me.is_none() {
            self.read_call(context);
        }
        self.read_roster(context);
        self.patience = Some(step + 1);
        let next = PATIENCE.get(step + 1).copied();
        let pause = next
            .unwrap_or(self.config.own_entry_patience)
            .saturating_sub(at);
        context.timers.set(Timer::Patience, context.now + pause);
        Handled
    }

    pub(crate) fn accept(
        &self,
        id: CommandId,
        action: Action,
        within: Duration,
        now: Time,
    ) -> Open {
        Open {
            id,
            action,
            origin: Origin::Bot,
            accepted: now,
            deadline: now + within,
        }
    }

    /// Makes `open` the waiting intent, or part of it; an opposite one is overtaken.
    pub(crate) fn wait(&mut self, open: Open, context: &mut Turn<'_>) {
        match &mut self.waiting {
            Some(intent) if intent.action == open.action => {
                if intent.commands.len() >= self.config.max_open {
                    refuse(open, &too_many(), context);
                } else {
                    intent.commands.push(open);
                }
            }
            _ => {
                self.settle_waiting(&Verdict::Superseded, context);
                self.waiting = Some(Intent::of(open));
            }
        }
    }

    pub(crate) fn settle_waiting(&mut self, verdict: &Verdict, context: &mut Turn<'_>) {
        if let Some(mut intent) = self.waiting.take() {
            settle_all(&mut intent.commands, verdict, context.now, context.effects);
        }
    }

    pub(crate) fn settle_refused(&mut self, refusal: &Refusal, context: &mut Turn<'_>) {
        let Refusal {
            status,
            code,
            message,
        } = refusal.clone();
        self.settle_waiting(
            &Verdict::Refused {
                status,
                code,
                message,
            },
            context,
        );
    }

    pub(crate) fn expire_waiting(&mut self, context: &mut Turn<'_>) {
        if let Some(intent) = &mut self.waiting {
            for open in overdue(&mut intent.commands, context.now) {
                open.settle(Verdict::Expired, context.now, context.effects);
            }
            if intent.commands.is_empty() {
                self.waiting = None;
            }
        }
    }
}
