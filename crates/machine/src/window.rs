//! The time to speak in: an unmute may say how long it is for, and then the bot is muted again,
//! whatever became of everything else.

use std::time::Duration;

use openmic_model::seeded::{self, Bug};
use openmic_model::{Action, CommandId, Record, Verdict, WallTime};

use crate::desk::{Intent, Open};
use crate::effect::Effect;
use crate::model::{Model, State, Turn};
use crate::time::Time;

/// How long the mute at the end may take.
const MUTED_WITHIN: Duration = Duration::from_secs(30);
/// Pause before the mute is tried again; doubled each time, up to 32 s.
const AGAIN: Duration = Duration::from_secs(1);

/// A time to speak in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    until: Time,
    /// When to see to it: at the end, and again while the bot may still be heard.
    next: Time,
    tries: u8,
}

impl Window {
    const fn ending(until: Time) -> Self {
        Self {
            until,
            next: until,
            tries: 0,
        }
    }
}

impl Model {
    /// Gives `open` its verdict, and its time to speak in, or ends that. `acted` when something
    /// that was sent for it may have acted.
    pub(crate) fn settle(
        &mut self,
        open: Open,
        verdict: Verdict,
        acted: bool,
        context: &mut Turn<'_>,
    ) {
        let success = verdict.is_success();
        let over = matches!(verdict, Verdict::CallEnded { .. });
        match open.action {
            Action::Unmute if success || (acted && !over) => {
                self.may_speak(&open, success, context);
            }
            // Written down after the verdict: until then the mute is still to be seen to.
            Action::Mute if success && self.aside.window.is_some() => {
                open.conclude(verdict, context);
                self.close_window(context);
                return;
            }
            _ => {}
        }
        open.conclude(verdict, context);
    }

    /// Gives all of `commands` the same verdict.
    pub(crate) fn settle_all(
        &mut self,
        commands: &mut Vec<Open>,
        verdict: &Verdict,
        acted: bool,
        context: &mut Turn<'_>,
    ) {
        if seeded::is(Bug::VerdictConflated) {
            commands.truncate(1);
        }
        if seeded::is(Bug::SecondVerdict)
            && let Some(first) = commands.first()
        {
            self.settle(first.clone(), Verdict::Unconfirmed, acted, context);
        }
        for open in commands.drain(..) {
            self.settle(open, verdict.clone(), acted, context);
        }
    }

    /// The bot may be heard on behalf of `open`. The newest unmute says how long, and one that may
    /// have failed takes no end away.
    fn may_speak(&mut self, open: &Open, success: bool, context: &mut Turn<'_>) {
        if self.spoken > open.order {
            return;
        }
        if let Some(speak) = open.speak {
            self.spoken = open.order;
            let until = (context.now + speak.length).min(speak.latest);
            self.aside.open().window = Some(Window::ending(until));
            let until = self.wall_origin.after(until.since_origin());
            let until = Some(until);
            context
                .effects
                .push(Effect::Record(Record::Window { until }));
        } else if success {
            self.spoken = open.order;
            self.close_window(context);
        }
    }

    fn close_window(&mut self, context: &mut Turn<'_>) {
        if self.aside.take(|rare| rare.window.take()).is_some() {
            let until = None;
            context
                .effects
                .push(Effect::Record(Record::Window { until }));
        }
    }

    #[cfg(test)]
    pub(crate) fn speaks_until(&self) -> Option<Time> {
        self.aside.window.map(|window| window.until)
    }

    /// When to see to the end of the time to speak in. While something is under way its verdict
    /// is awaited: a mute ends the matter, and a newer unmute says anew how long.
    pub(crate) fn window_alarm(&self, state: &State) -> Option<Time> {
        let window = self.aside.window?;
        let free = matches!(state, State::Muted | State::Unmuted) && self.aside.waiting.is_none();
        free.then_some(window.next)
    }

    /// The time to speak in is over: wants the bot muted, unless it certainly is.
    pub(crate) fn end_window(&mut self, is: Action, context: &mut Turn<'_>) {
        let now = context.now;
        let due = self.aside.window.is_some_and(|window| window.next <= now);
        if !due || self.aside.waiting.is_some() {
            return;
        }
        // What is under way may unmute the bot yet: the mute waits for its outcome.
        if self.aside.outstanding.is_some() || self.needs_post(Action::Mute, is, now) {
            self.want_muted(context);
        } else {
            self.close_window(context);
        }
    }

    fn want_muted(&mut self, context: &mut Turn<'_>) {
        if let Some(window) = &mut self.aside.open().window {
            window.next = context.now + AGAIN * (1 << window.tries.min(5));
            window.tries = window.tries.saturating_add(1);
        }
        let id = self.fresh_command();
        let open = self.own_mute(id, MUTED_WITHIN, context.now);
        open.record(context);
        self.aside.open().waiting = Some(Intent::of(open));
    }

    fn fresh_command(&mut self) -> CommandId {
        let [high, low] = [self.random(), self.random()].map(u128::from);
        CommandId::new(high << 64 | low)
    }

    /// Commands that were accepted before it was written down are older than the one that set it,
    /// for all that is known.
    pub(crate) fn restore_window(
        &mut self,
        window: openmic_model::Window,
        wall: WallTime,
        now: Time,
    ) {
        if seeded::is(Bug::ForgetWindow) {
            return;
        }
        self.spoken = self.order();
        self.aside.open().window = Some(Window::ending(now + window.left(wall)));
    }

    /// Nothing newer was asked, and the time to speak in ended meanwhile: the mute goes first.
    pub(crate) fn mute_if_lapsed(&mut self, context: &mut Turn<'_>) {
        let window = self.aside.window;
        let lapsed = window.is_some_and(|window| window.until <= context.now);
        if lapsed && self.aside.waiting.is_none() && self.aside.resumed.is_none() {
            self.want_muted(context);
        }
    }
}
