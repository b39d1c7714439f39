//! POSTs that may have acted unseen, or may still act.

use openmic_model::Action;
use openmic_model::seeded::{self, Bug};

use crate::event::AttemptId;
use crate::time::Time;

/// POSTs remembered one by one; over that those of one action count as one.
const KEPT: usize = 8;

/// A POST that may still take effect, long after its outcome was settled otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doubt {
    /// `None` once several were made one: only time ends it then.
    attempt: Option<AttemptId>,
    action: Action,
    until: Time,
}

/// What the roster may not show yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubts {
    open: Vec<Doubt>,
    /// A mute, an unmute may have acted since a fresh own entry was last seen.
    mute_unproven: bool,
    unmute_unproven: bool,
}

impl Doubts {
    pub(crate) const NONE: Self = Self {
        open: Vec::new(),
        mute_unproven: false,
        unmute_unproven: false,
    };

    /// A POST of `action` may have acted, and no fresh own entry shows it yet.
    pub(crate) const fn unprove(&mut self, action: Action) {
        match action {
            Action::Mute => self.mute_unproven = true,
            Action::Unmute => self.unmute_unproven = true,
        }
    }

    /// A fresh own entry was seen: what acted before shows in the roster.
    pub(crate) const fn prove(&mut self) {
        self.mute_unproven = false;
        self.unmute_unproven = false;
    }

    /// A GET begun at `begun` showed the own entry: what could act only before shows in it.
    pub(crate) fn saw(&mut self, begun: Time) {
        self.open.retain(|doubt| doubt.until > begun);
    }

    /// Whether a POST of `action` may have acted without the roster showing it. Its time alone
    /// proves nothing: it may have acted at the last moment.
    pub(crate) fn is_unproven(&self, action: Action) -> bool {
        let unproven = match action {
            Action::Mute => self.mute_unproven,
            Action::Unmute => self.unmute_unproven,
        };
        unproven || self.open.iter().any(|doubt| doubt.action == action)
    }

    /// The POST of `attempt` may act at any moment before `until`. Of one from before a crash only
    /// its time says that it is over.
    pub(crate) fn raise(
        &mut self,
        attempt: Option<AttemptId>,
        action: Action,
        until: Time,
        now: Time,
    ) {
        if seeded::is(Bug::ForgetDoubt) {
            return;
        }
        let over: Vec<Doubt> = self.open.extract_if(.., |one| one.until <= now).collect();
        for doubt in over {
            self.unprove(doubt.action);
        }
        if until <= now {
            self.unprove(action);
            return;
        }
        if self.open.len() >= KEPT
            && let Some(older) = self.open.iter_mut().find(|doubt| doubt.action == action)
        {
            older.attempt = None;
            older.until = older.until.max(until);
            return;
        }
        self.open.push(Doubt {
            attempt,
            action,
            until,
        });
    }

    /// The POST of `attempt` is known to have run its course.
    pub(crate) fn end(&mut self, attempt: AttemptId) {
        self.open.retain(|doubt| doubt.attempt != Some(attempt));
    }

    /// Until when a POST of `action` may still act, when it may.
    pub(crate) fn until(&self, action: Action, now: Time) -> Option<Time> {
        self.open
            .iter()
            .filter(|doubt| doubt.action == action && doubt.until > now)
            .map(|doubt| doubt.until)
            .max()
    }

    /// Until when any POST may still act.
    pub(crate) fn last(&self, now: Time) -> Option<Time> {
        let open = self.open.iter().map(|doubt| doubt.until);
        open.filter(|until| *until > now).max()
    }
}
