//! What the records of a call must be, whatever happens: each before what depends on it.

use std::collections::{BTreeMap, BTreeSet};

use openmic_model::{Action, CommandId, Record};

use crate::{Effect, Event};

/// Reads every effect of one call and panics at the first that its records do not carry.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Accepted, and whether they have their verdict.
    commands: BTreeMap<CommandId, (Action, bool)>,
    /// POSTs written down, and whether they were sent.
    attempts: BTreeMap<(CommandId, u8), (Action, bool)>,
    /// Outcomes written down.
    outcomes: BTreeSet<(CommandId, u8)>,
    /// Verdicts written down and not told.
    untold: BTreeSet<CommandId>,
    /// Asked and not accepted yet.
    asked: BTreeMap<CommandId, Action>,
    /// A record of the end has been written; nothing may follow.
    closed: bool,
}

impl Ledger {
    /// What a bot asks.
    pub(crate) fn event(&mut self, event: &Event) {
        if let Event::Command { id, action, .. } = event {
            self.asked.insert(*id, *action);
        }
    }

    pub(crate) fn effects(&mut self, effects: &[Effect]) {
        self.cut(effects);
        assert!(self.untold.is_empty(), "verdicts untold: {:?}", self.untold);
    }

    /// The same, where what was to follow may be lost.
    pub(crate) fn cut(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Record(record) => self.record(record),
            Effect::Post {
                action,
                context,
                command,
                ..
            } => {
                let name = CommandId::from_context(context).unwrap();
                assert_eq!(name.0, *command);
                let Some((written, sent)) = self.attempts.get_mut(&name) else {
                    panic!("a POST without its record: {name:?}");
                };
                assert_eq!(written, action);
                assert!(!*sent, "sent twice: {name:?}");
                *sent = true;
            }
            Effect::Settle {
                command, action, ..
            } => {
                if self.untold.remove(command) {
                    return;
                }
                // Refused at once: it was never accepted.
                let asked = self.asked.remove(command);
                assert_eq!(asked, Some(*action), "a verdict without its record");
            }
            Effect::Entered {
                to: crate::Phase::Terminated,
                ..
            } => {
                let open = self.commands.iter().find(|(_, (_, settled))| !settled);
                assert_eq!(open, None, "open at the end");
                self.closed = true;
            }
            _ => {}
        }
    }

    fn record(&mut self, record: &Record) {
        assert!(!self.closed, "after the last record: {record:?}");
        match record {
            Record::Accepted(accepted) => {
                let asked = self.asked.remove(&accepted.command);
                assert!(asked.is_none_or(|action| action == accepted.action));
                let fresh = self
                    .commands
                    .insert(accepted.command, (accepted.action, false));
                assert_eq!(fresh, None, "accepted twice");
                assert_eq!(accepted.asked, None);
            }
            Record::Attempt {
                lead,
                number,
                action,
            } => {
                assert!(self.commands.contains_key(lead), "not accepted: {lead}");
                let open = |(asked, settled): &(Action, bool)| asked == action && !settled;
                assert!(self.commands.values().any(open), "nobody waits for it");
                let fresh = self.attempts.insert((*lead, *number), (*action, false));
                assert_eq!(fresh, None, "a number twice");
                let before = number.checked_sub(1).filter(|before| *before > 0);
                assert!(
                    before.is_none_or(|before| self.attempts.contains_key(&(*lead, before))),
                    "a number left out"
                );
            }
            Record::Outcome { lead, number, .. } => {
                let post = self.attempts.get(&(*lead, *number));
                assert!(post.is_some_and(|(_, sent)| *sent), "never sent");
                assert!(self.outcomes.insert((*lead, *number)), "two outcomes");
            }
            Record::Verdict {
                command, action, ..
            } => {
                let Some((asked, settled)) = self.commands.get_mut(command) else {
                    panic!("a verdict of what was not accepted: {command}");
                };
                assert_eq!(asked, action);
                assert!(!*settled, "two verdicts");
                *settled = true;
                self.untold.insert(*command);
            }
            Record::Window { .. } | Record::Leaving => {}
            Record::Intent(_)
            | Record::Opened { .. }
            | Record::Epoch(_)
            | Record::Closed { .. } => {
                panic!("the shell's record: {record:?}")
            }
        }
    }

    /// The process ended: what was asked and not accepted is lost, what was written and not told
    /// is told by who comes after it.
    pub(crate) fn crash(&mut self) {
        self.untold.clear();
        self.asked.clear();
    }

    /// Commands that were accepted and have no verdict.
    pub(crate) fn open(&self) -> impl Iterator<Item = CommandId> {
        let open = self.commands.iter().filter(|(_, (_, settled))| !settled);
        open.map(|(id, _)| *id)
    }

    pub(crate) fn accepted(&self, command: CommandId) -> bool {
        self.commands.contains_key(&command)
    }
}
