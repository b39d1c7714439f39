//! One command in the ledger, in as little memory as may be: a call keeps up to 256 of them, mostly
//! of commands that have their verdict.

use openmic_model::{
    Action, ClientContext, CommandId, Evidence, OperationId, Repeat, RosterSeen, Verdict,
};
use tokio::time::Instant;

use super::{Given, OperationRecord};

/// One command in the ledger.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) command: CommandId,
    fate: Fate,
    /// What few commands have.
    rare: Option<Box<Rare>>,
    /// Its place among the commands of the call.
    pub(super) number: u32,
    pub(super) action: Action,
    /// The attempt that pursued it was named after itself.
    leads: bool,
}

/// A command that has its verdict, and of which there is nothing else to say than of most: three of
/// them take as much as one [`Entry`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain {
    command: CommandId,
    pub(super) number: u32,
    success: Success,
    action: Action,
    leads: bool,
}

#[derive(Debug, Clone, Copy)]
enum Success {
    Confirmed(Evidence, RosterSeen),
    Already,
}

#[derive(Debug)]
enum Fate {
    Open(Open),
    Success(Success),
    Other(Box<Verdict>),
}

/// What is of no use once there is a verdict.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) accepted: Instant,
    /// By what the request is known again.
    pub(super) repeat: Option<Box<Repeat>>,
    /// Its verdict is written down, and told once that is durable.
    pub(super) decided: Option<Box<Verdict>>,
}

#[derive(Debug, Default, PartialEq)]
struct Rare {
    client_context: Option<ClientContext>,
    /// Where that is not the GUID of the command's bits.
    operation: Option<OperationId>,
    /// The command that gave its attempt's client contexts their name, where that is another one.
    lead: Option<CommandId>,
}

impl Entry {
    /// A command of which nothing is known but what the bot asked for.
    pub(super) fn new(given: Given, accepted: Instant) -> Self {
        let Given {
            command,
            action,
            operation,
            client_context,
            repeat,
        } = given;
        let operation = operation.filter(|id| !id.is_guid(command.bits()));
        let is_rare = client_context.is_some() || operation.is_some();
        Self {
            command,
            fate: Fate::Open(Open {
                accepted,
                repeat: repeat.map(Box::new),
                decided: None,
            }),
            rare: is_rare.then(|| {
                Box::new(Rare {
                    client_context,
                    operation,
                    lead: None,
                })
            }),
            number: 0,
            action,
            leads: false,
        }
    }

    /// As one that takes less; `None` when that would lose something.
    pub(super) fn plain(&self) -> Option<Plain> {
        let Self {
            command,
            fate: Fate::Success(success),
            rare: None,
            number,
            action,
            leads,
        } = *self
        else {
            return None;
        };
        Some(Plain {
            command,
            number,
            success,
            action,
            leads,
        })
    }

    /// None once there is a verdict.
    pub(super) fn open(&self) -> Option<&Open> {
        match &self.fate {
            Fate::Open(open) => Some(open),
            _ => None,
        }
    }

    /// As [`Entry::open`].
    pub(super) fn open_mut(&mut self) -> Option<&mut Open> {
        match &mut self.fate {
            Fate::Open(open) => Some(open),
            _ => None,
        }
    }

    pub(super) fn settle(&mut self, verdict: &Verdict) {
        self.fate = match verdict {
            Verdict::Confirmed { evidence, roster } => {
                Fate::Success(Success::Confirmed(*evidence, *roster))
            }
            Verdict::Already => Fate::Success(Success::Already),
            other => Fate::Other(Box::new(other.clone())),
        };
    }

    fn verdict(&self) -> Option<Verdict> {
        match &self.fate {
            Fate::Open(_) => None,
            Fate::Success(Success::Confirmed(evidence, roster)) => Some(Verdict::Confirmed {
                evidence: *evidence,
                roster: *roster,
            }),
            Fate::Success(Success::Already) => Some(Verdict::Already),
            Fate::Other(verdict) => Some(Verdict::clone(verdict)),
        }
    }

    pub(super) fn client_context(&self) -> Option<&ClientContext> {
        self.rare.as_ref()?.client_context.as_ref()
    }

    pub(super) fn operation(&self) -> OperationId {
        let other = self.rare.as_ref().and_then(|rare| rare.operation.clone());
        other.unwrap_or_else(|| OperationId::of_guid(self.command.bits()))
    }

    pub(super) fn is_operation(&self, id: &OperationId) -> bool {
        match self.rare.as_ref().and_then(|rare| rare.operation.as_ref()) {
            Some(other) => other == id,
            None => id.is_guid(self.command.bits()),
        }
    }

    /// The command that gave its attempt's client contexts their name, once one pursued it.
    pub(super) fn lead(&self) -> Option<CommandId> {
        if self.leads {
            return Some(self.command);
        }
        self.rare.as_ref()?.lead
    }

    pub(super) fn pursued_as(&mut self, lead: CommandId) {
        self.leads = lead == self.command;
        let other = (!self.leads).then_some(lead);
        if other.is_some() || self.rare.is_some() {
            self.rare.get_or_insert_default().lead = other;
        }
        let is_empty = |rare: &mut Box<Rare>| **rare == Rare::default();
        drop(self.rare.take_if(is_empty));
    }

    pub(super) fn record(&self) -> OperationRecord {
        OperationRecord {
            id: self.operation(),
            action: self.action,
            client_context: self.client_context().cloned(),
            verdict: self.verdict(),
        }
    }
}

impl From<Plain> for Entry {
    fn from(plain: Plain) -> Self {
        Self {
            command: plain.command,
            fate: Fate::Success(plain.success),
            rare: None,
            number: plain.number,
            action: plain.action,
            leads: plain.leads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_a_cache_line_and_most_a_third_of_one() {
        assert!(size_of::<Entry>() <= 64, "{}", size_of::<Entry>());
        assert!(size_of::<Plain>() <= 24, "{}", size_of::<Plain>());
    }

    #[test]
    fn what_an_entry_was_given_it_tells() {
        let command = CommandId::new(7);
        let verdicts = [
            Verdict::Already,
            Verdict::Superseded,
            Verdict::Confirmed {
                evidence: Evidence::Http,
                roster: RosterSeen::Unseen,
            },
            Verdict::Refused {
                status: 403,
                code: "8541".to_owned(),
                message: "no".to_owned(),
            },
        ];
        let ids = [OperationId::of_guid(7), OperationId::of_guid(8)];
        let contexts = [None, ClientContext::parse("mine").ok()];
        for (id, client_context) in ids.iter().zip(contexts) {
            for verdict in &verdicts {
                let mut record = OperationRecord {
                    id: id.clone(),
                    action: Action::Mute,
                    client_context: client_context.clone(),
                    verdict: None,
                };
                let given = Given {
                    command,
                    action: record.action,
                    // The GUID of its bits need not be named.
                    operation: (!id.is_guid(7)).then(|| id.clone()),
                    client_context: record.client_context.clone(),
                    repeat: None,
                };
                let mut entry = Entry::new(given, Instant::now());
                assert_eq!(entry.record(), record);
                assert!(entry.is_operation(id));
                assert!(!entry.is_operation(&OperationId::of_guid(9)));
                assert!(entry.open().is_some());
                for lead in [command, CommandId::new(3), command] {
                    entry.pursued_as(lead);
                    assert_eq!(entry.lead(), Some(lead));
                }
                entry.settle(verdict);
                record.verdict = Some(verdict.clone());
                assert_eq!(entry.record(), record);
                assert!(entry.open().is_none());
                let is_plain = verdict.is_success() && client_context.is_none();
                let plain = entry.plain();
                assert_eq!(plain.is_some(), is_plain && id.is_guid(7));
                if let Some(again) = plain.map(Entry::from) {
                    assert_eq!(again.record(), record);
                    assert_eq!(again.lead(), entry.lead());
                    assert_eq!((again.command, again.number), (command, 0));
                }
            }
        }
    }
}
