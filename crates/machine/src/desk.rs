//! Commands that have no verdict yet.

use std::time::Duration;

use openmic_model::seeded::{self, Bug};
use openmic_model::{Accepted, Action, CommandId, Origin, Record, Verdict};

use crate::effect::Effect;
use crate::event::Refusal;
use crate::model::{Model, Turn};
use crate::time::Time;

/// One accepted command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// The later it was accepted, the higher.
    pub(crate) order: u32,
    pub(crate) id: CommandId,
    pub(crate) action: Action,
    pub(crate) origin: Origin,
    pub(crate) accepted: Time,
    /// How long it had been open when the process before this one ended.
    pub(crate) before: Duration,
    /// When its verdict is due.
    pub(crate) deadline: Time,
    /// Until when a POST may be sent for it. Only what was recovered has its verdict due later.
    pub(crate) send_until: Time,
    pub(crate) speak: Option<Speak>,
}

/// How long an unmute may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Speak {
    /// From its verdict on.
    pub(crate) length: Duration,
    /// Never later than this, whenever its verdict comes.
    pub(crate) latest: Time,
}

impl Open {
    pub(crate) const fn new(
        order: u32,
        id: CommandId,
        action: Action,
        origin: Origin,
        (accepted, deadline): (Time, Time),
    ) -> Self {
        Self {
            order,
            id,
            action,
            origin,
            accepted,
            before: Duration::ZERO,
            deadline,
            send_until: deadline,
            speak: None,
        }
    }

    /// Says no at once: the command was never accepted, and leaves no record.
    pub(crate) fn refuse(self, refusal: Refusal, context: &mut Turn<'_>) {
        self.tell(refusal.into_verdict(), context);
    }

    /// From here on the command must have a verdict.
    pub(crate) fn record(&self, context: &mut Turn<'_>) {
        let record = Record::Accepted(Box::new(Accepted {
            command: self.id,
            action: self.action,
            origin: self.origin,
            within: self.deadline.since(self.accepted),
            speak_for: self.speak.map(|speak| speak.length),
            asked: None,
        }));
        context.effects.push(Effect::Record(record));
    }

    /// Gives the command its verdict. Taking `self` makes a second one impossible. Use
    /// [`Model::settle`](crate::model::Model::settle), which knows what else rests on it.
    pub(crate) fn conclude(self, verdict: Verdict, context: &mut Turn<'_>) {
        if !seeded::is(Bug::VerdictUnwritten) {
            context.effects.push(Effect::Record(Record::Verdict {
                command: self.id,
                action: self.action,
                verdict: verdict.clone(),
            }));
        }
        self.tell(verdict, context);
    }

    /// Says how the command ended, where nothing need outlive a crash.
    pub(crate) fn tell(self, verdict: Verdict, context: &mut Turn<'_>) {
        context.effects.push(Effect::Settle {
            command: self.id,
            action: self.action,
            origin: self.origin,
            verdict,
            took: context.now.since(self.accepted) + self.before,
        });
    }
}

impl Model {
    /// What a bot asks at `now`.
    pub(crate) fn take(
        &mut self,
        id: CommandId,
        action: Action,
        within: Duration,
        speak_for: Option<Duration>,
        now: Time,
    ) -> Open {
        let deadline = now + within;
        let speak = speak_for.filter(|_| action == Action::Unmute);
        Open {
            speak: speak.map(|length| Speak {
                length,
                latest: deadline + length,
            }),
            ..Open::new(self.order(), id, action, Origin::Bot, (now, deadline))
        }
    }

    /// A mute of the machine's own.
    pub(crate) fn own_mute(&mut self, id: CommandId, within: Duration, now: Time) -> Open {
        let time = (now, now + within);
        Open::new(self.order(), id, Action::Mute, Origin::Machine, time)
    }

    pub(crate) fn order(&mut self) -> u32 {
        self.orders = self.orders.saturating_add(1);
        self.orders
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
