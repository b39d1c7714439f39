//! Commands that have no verdict yet.

use openmic_model::{Action, CommandId, Origin, Verdict};

use crate::effect::Effect;
use crate::event::Refusal;
use crate::time::Time;

/// One accepted command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) id: CommandId,
    pub(crate) action: Action,
    pub(crate) origin: Origin,
    pub(crate) accepted: Time,
    pub(crate) deadline: Time,
}

impl Open {
    /// Gives the command its verdict. Taking `self` makes a second one impossible.
    pub(crate) fn settle(self, verdict: Verdict, now: Time, effects: &mut Vec<Effect>) {
        effects.push(Effect::Settle {
            command: self.id,
            action: self.action,
            origin: self.origin,
            verdict,
            took: now.since(self.accepted),
        });
    }
}

/// Commands that ask for the same thing and wait to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) action: Action,
    pub(crate) commands: Vec<Open>,
}

impl Intent {
    pub(crate) fn of(open: Open) -> Self {
        Self {
            action: open.action,
            commands: vec![open],
        }
    }
}

/// Gives all of `commands` the same verdict.
pub(crate) fn settle_all(
    commands: &mut Vec<Open>,
    verdict: &Verdict,
    now: Time,
    effects: &mut Vec<Effect>,
) {
    for open in commands.drain(..) {
        open.settle(verdict.clone(), now, effects);
    }
}

/// Takes out those whose deadline has passed.
pub(crate) fn overdue(commands: &mut Vec<Open>, now: Time) -> Vec<Open> {
    commands
        .extract_if(.., |open| open.deadline <= now)
        .collect()
}

pub(crate) fn not_established() -> Refusal {
    Refusal::new(
        400,
        "8501",
        "The call is not established yet; wait for its state to be established.",
    )
}

pub(crate) fn not_a_group_call() -> Refusal {
    Refusal::new(
        400,
        "8548",
        "Mute and unmute work in group calls only, and this call is one to one. Use a meeting.",
    )
}

pub(crate) fn too_many() -> Refusal {
    Refusal::new(
        409,
        "8519",
        "Too many mute and unmute commands are open on this call; wait for their verdicts.",
    )
}
