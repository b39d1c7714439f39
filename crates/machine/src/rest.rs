//! Calls with no attempt under way: establishing, muted, unmuted, and what waits meanwhile.

use std::time::Duration;

use openmic_model::seeded::{self, Bug};
use openmic_model::{Action, CallKind, CallState, EndCause, Verdict};
use statig::Outcome::{Handled, Super, Transition};
use statig::blocking::Outcome;

use crate::desk::{Intent, Open, not_a_group_call, overdue, too_many};
use crate::effect::{Effect, QueryId};
use crate::event::{Event, PostOutcome, Read};
use crate::merge::Merged;
use crate::model::{Model, State, Turn, base, over};
use crate::time::{Time, Timer};

/// When GETs look for the own entry, after Graph said established.
const PATIENCE: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1500),
    Duration::from_millis(3500),
];
/// How often a call that is not up yet is read, in case its notification was lost.
const UP_YET: Duration = Duration::from_secs(10);
/// How often a call is read whose answer's outcome was lost; it rings for seconds only.
const ANSWERED_YET: Duration = Duration::from_secs(1);
/// How long the mute on joining may take.
const JOIN_MUTED_WITHIN: Duration = Duration::from_secs(30);

impl Model {
    /// Established with no attempt under way: follow the roster, start what is asked.
    pub(crate) fn rest(
        &mut self,
        is: Action,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        match event {
            Event::Command {
                id,
                action,
                within,
                speak_for,
            } => {
                let open = self.take(*id, *action, *within, *speak_for, context.now);
                if self.kind == CallKind::PeerToPeer {
                    open.refuse(not_a_group_call(), context);
                    return Handled;
                }
                if self.aside.outstanding.is_none() && self.aside.waiting.is_none() {
                    open.record(context);
                    if !self.needs_post(open.action, is, context.now) {
                        self.settle(open, Verdict::Already, false, context);
                        return Handled;
                    }
                    return self.go(Intent::of(open), is, context);
                }
                self.wait(open, context);
                self.proceed(is, context)
            }
            Event::RosterNotice(update) => {
                let merged = self.roster_notice(update, context);
                self.follow(is, &merged)
            }
            Event::RosterRead {
                query,
                read: Read::Found(entries),
            } => {
                let merged = self.roster_read(*query, entries, context);
                self.forget_asked(*query);
                self.follow(is, &merged)
            }
            Event::SelfRead {
                query,
                read: Read::Found(entry),
            } => {
                let merged = self.self_read(*query, entry, context);
                self.forget_asked(*query);
                self.follow(is, &merged)
            }
            Event::Timer(Timer::Window) => {
                self.end_window(is, context);
                self.proceed(is, context)
            }
            Event::Posted { attempt, outcome }
                if self
                    .aside
                    .outstanding
                    .as_ref()
                    .is_some_and(|post| post.attempt == *attempt)
                    && *outcome != PostOutcome::Gone =>
            {
                context.effects.push(Effect::Late {
                    event: event.name(),
                });
                if self.outcome_known(outcome, false, context) {
                    self.look_later(context);
                }
                self.proceed(is, context)
            }
            _ => Super,
        }
    }

    /// Starts the waiting intent, when there is one and no POST is under way.
    pub(crate) fn proceed(&mut self, is: Action, context: &mut Turn<'_>) -> Outcome<State> {
        if self.aside.outstanding.is_some() {
            return Handled;
        }
        match self.aside.take(|rare| rare.waiting.take()) {
            Some(intent) => self.go(intent, is, context),
            None => Handled,
        }
    }

    /// Starts `intent`; nothing else is under way.
    fn go(&mut self, intent: Intent, is: Action, context: &mut Turn<'_>) -> Outcome<State> {
        match self.start(intent, is, context) {
            Some(state) => Transition(state),
            None => Handled,
        }
    }

    /// Whether the bot may be other than `action` asks. What the roster says is not enough while
    /// it is hearsay, or a POST against it may have acted unseen or may act yet.
    pub(crate) fn needs_post(&self, action: Action, is: Action, now: Time) -> bool {
        let against = action.opposite();
        action != is
            || self.blind
            || self.aside.hearsay.is_some()
            || self.aside.doubts.is_unproven(against)
            || self.aside.doubts.until(against, now).is_some()
    }

    /// What the roster states of the own entry decides whether the bot is muted.
    fn follow(&self, is: Action, merged: &Merged) -> Outcome<State> {
        match self.own_muted() {
            Some(muted) if merged.own_muted.is_some() && muted != is.wants_muted() => {
                Transition(base(muted))
            }
            _ => Handled,
        }
    }

    /// What the create asked for. A roster that came before says that it is a group call.
    pub(crate) fn connects(&mut self, kind: CallKind) {
        if self.merge.roster().is_empty() {
            self.kind = kind;
        }
    }

    /// The create's answer was lost. Should there be a call with a hot microphone, its
    /// notifications show it; the wait for them ends. A call that rang has an id to ask by.
    pub(crate) fn maybe_created(&mut self, context: &mut Turn<'_>) {
        if self.exists {
            return;
        }
        let until = context.now + self.config.orphan_patience;
        if self.rang {
            self.aside.open().lost_until.get_or_insert(until);
            self.read_call(context);
            context
                .timers
                .set(Timer::Patience, context.now + ANSWERED_YET);
        } else {
            context.timers.set(Timer::Patience, until);
        }
    }

    /// Nothing has shown yet that the answer took effect.
    pub(crate) fn still_rings(&self) -> bool {
        let held = self.graph.map_or(0, CallState::rank);
        self.rang && !self.exists && held == CallState::Incoming.rank()
    }

    /// The call exists. Leaves establishing once it is up and the own entry known, or not to be
    /// had.
    /// `seen` is the GET that may have shown it.
    pub(crate) fn establish(
        &mut self,
        seen: Option<(QueryId, &Merged)>,
        context: &mut Turn<'_>,
    ) -> Outcome<State> {
        if !self.exists {
            self.exists = true;
            self.arm_keep_alive(context);
            context.timers.set(Timer::Patience, context.now + UP_YET);
        }
        if !self.is_up() {
            return Handled;
        }
        let first = self.patience.is_none();
        if self.kind == CallKind::PeerToPeer {
            self.patience.get_or_insert(0);
            self.aside.take(|rare| rare.join_mute.take());
            let verdict = not_a_group_call().into_verdict();
            self.settle_waiting(&verdict, context);
            context.timers.clear(Timer::Patience);
            return Transition(State::Unmuted);
        }
        if first {
            self.await_own_entry(context);
            self.want_to_join_muted(context);
            if self.me.is_none() {
                self.read_call(context);
            }
        }
        match self.own_muted() {
            Some(muted) if !self.blind => self.leave_establishing(muted, seen, context),
            _ => Handled,
        }
    }

    /// From here on the own entry is waited for; while it is not known whether the call is up,
    /// that is.
    pub(crate) fn await_own_entry(&mut self, context: &mut Turn<'_>) {
        let pause = if self.is_up() {
            self.patience = Some(0);
            PATIENCE[0].min(self.config.own_entry_patience)
        } else {
            UP_YET
        };
        context.timers.set(Timer::Patience, context.now + pause);
    }

    fn leave_establishing(
        &mut self,
        muted: bool,
        seen: Option<(QueryId, &Merged)>,
        context: &mut Turn<'_>,
    ) -> Outcome<State> {
        if !seeded::is(Bug::StaleTimer) {
            context.timers.clear(Timer::Patience);
        }
        if let Some(attempt) = self.aside.take(|rare| rare.resumed.take()) {
            return self.resume(attempt, seen, context);
        }
        let is = if muted { Action::Mute } else { Action::Unmute };
        match self.proceed(is, context) {
            Transition(state) => Transition(state),
            _ => Transition(base(muted)),
        }
    }

    /// The first act of an established call; a bot's own command that came first outranks it.
    fn want_to_join_muted(&mut self, context: &mut Turn<'_>) {
        let id = self.aside.take(|rare| rare.join_mute.take());
        if let Some(id) = id.filter(|_| self.aside.waiting.is_none()) {
            let open = self.own_mute(id, JOIN_MUTED_WITHIN, context.now);
            open.record(context);
            self.aside.open().waiting = Some(Intent::of(open));
        }
    }

    pub(crate) fn lose_patience(&mut self, context: &mut Turn<'_>) -> Outcome<State> {
        if !self.exists {
            let Some(until) = self.aside.lost_until else {
                // Nothing showed that the create took effect.
                return over(EndCause::NotCreated, None);
            };
            if context.now >= until {
                // Nobody can tell whether the bot is in the call; it shall not be.
                return Transition(State::Terminating { tries: 0 });
            }
            self.read_call(context);
            let next = (context.now + ANSWERED_YET).min(until);
            context.timers.set(Timer::Patience, next);
            return Handled;
        }
        let Some(step) = self.patience else {
            self.read_call(context);
            context.timers.set(Timer::Patience, context.now + UP_YET);
            return Handled;
        };
        let whole = self.config.own_entry_patience;
        let Some(at) = PATIENCE
            .get(usize::from(step))
            .copied()
            .filter(|at| *at < whole)
        else {
            if self.blind {
                self.look_later(context);
            }
            // Never seen: Graph lets a bot in unmuted.
            let muted = self.own_muted().unwrap_or(false);
            return self.leave_establishing(muted, None, context);
        };
        if self.me.is_none() {
            self.read_call(context);
        }
        self.read_roster(context);
        self.patience = Some(step + 1);
        let next = PATIENCE
            .get(usize::from(step) + 1)
            .copied()
            .unwrap_or(whole)
            .min(whole);
        let pause = next.saturating_sub(at);
        context.timers.set(Timer::Patience, context.now + pause);
        Handled
    }

    /// Makes `open` the waiting intent, or part of it; an opposite one is overtaken.
    pub(crate) fn wait(&mut self, open: Open, context: &mut Turn<'_>) {
        match &mut self.aside.open().waiting {
            Some(intent) if intent.action == open.action => {
                if intent.commands.len() >= self.config.max_open {
                    open.refuse(too_many(), context);
                } else {
                    open.record(context);
                    intent.commands.push(open);
                }
            }
            _ => {
                open.record(context);
                self.settle_waiting(&Verdict::Superseded, context);
                self.aside.open().waiting = Some(Intent::of(open));
            }
        }
    }

    pub(crate) fn settle_waiting(&mut self, verdict: &Verdict, context: &mut Turn<'_>) {
        if let Some(mut intent) = self.aside.take(|rare| rare.waiting.take()) {
            self.settle_all(&mut intent.commands, verdict, false, context);
        }
    }

    /// The call ends: nobody waits for anything any more.
    pub(crate) fn settle_open(&mut self, verdict: &Verdict, context: &mut Turn<'_>) {
        self.settle_waiting(verdict, context);
        self.settle_resumed(verdict, context);
    }

    pub(crate) fn expire_waiting(&mut self, context: &mut Turn<'_>) {
        let Some(rare) = self.aside.get_mut() else {
            return;
        };
        let Some(intent) = &mut rare.waiting else {
            return;
        };
        let mut late = overdue(&mut intent.commands, context.now);
        if intent.commands.is_empty() {
            rare.waiting = None;
        }
        self.settle_all(&mut late, &Verdict::Expired, false, context);
    }
}
