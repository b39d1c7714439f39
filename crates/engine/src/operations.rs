//! The engine's own operations: one for each command, with an id of its own.

mod entry;

use std::collections::VecDeque;
use std::time::Duration;

use openmic_journal::KeptCommand;
use openmic_model::{
    Action, Asked, ClientContext, CommandId, Operation, OperationId, OperationStatus, Record,
    Repeat, ResultInfo, Verdict, WallTime,
};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::Instant;

use crate::actor::Served;
use entry::Entry;

/// Operations kept per call; the oldest that has its verdict is forgotten first.
const KEPT: usize = 256;

/// One command as the Graph surface shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRecord {
    /// The engine's id of it, not Graph's.
    pub id: OperationId,
    /// Mute or unmute.
    pub action: Action,
    /// The bot's own context, echoed.
    pub client_context: Option<ClientContext>,
    /// How it ended; `None` while it runs.
    pub verdict: Option<Verdict>,
}

impl OperationRecord {
    /// As the journal has it; `None` for a command of the machine's own.
    pub(crate) fn kept(kept: KeptCommand) -> Option<Self> {
        let asked = kept.accepted.asked?;
        Some(Self {
            id: asked.operation,
            action: kept.accepted.action,
            client_context: asked.client_context,
            verdict: kept.verdict.map(|(_, verdict)| verdict),
        })
    }

    /// As Graph would show it, by the verdict table of the design: confirmed and already are
    /// `completed`, everything else `failed` with the reason in `resultInfo`.
    pub fn to_operation(&self) -> Operation {
        let failed = |code: i32, subcode: i32, message: String| {
            (
                OperationStatus::Failed,
                Some(ResultInfo {
                    code,
                    subcode,
                    message: Some(message),
                }),
            )
        };
        let (status, result) = match &self.verdict {
            None => (OperationStatus::Running, None),
            Some(Verdict::Confirmed { .. } | Verdict::Already) => {
                (OperationStatus::Completed, None)
            }
            Some(Verdict::Refused {
                status,
                code,
                message,
            }) => failed(
                i32::from(*status),
                code.parse().unwrap_or(0),
                message.clone(),
            ),
            Some(Verdict::Unconfirmed) => failed(
                504,
                0,
                format!(
                    "Nobody can tell whether the {} took effect; read the roster.",
                    self.action
                ),
            ),
            Some(Verdict::Expired) => failed(
                408,
                0,
                format!("The {} could not be sent within its deadline.", self.action),
            ),
            Some(Verdict::Superseded) => failed(
                409,
                0,
                format!(
                    "A newer {} took the place of this command.",
                    self.action.opposite()
                ),
            ),
            Some(Verdict::CallEnded { .. }) => failed(
                404,
                8522,
                "The call ended before the command did.".to_owned(),
            ),
        };
        Operation {
            id: Some(self.id.clone()),
            status,
            client_context: self.client_context.clone(),
            result,
        }
    }
}

/// One of Graph's operations that an attempt began.
#[derive(Debug)]
struct Begun {
    operation: OperationId,
    lead: CommandId,
}

#[derive(Debug, Default)]
struct Ledger {
    entries: VecDeque<Entry>,
    begun: VecDeque<Begun>,
    /// The lead of the latest attempt that sent a POST.
    sent: Option<CommandId>,
}

/// A command without a verdict whose actor broke, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) command: CommandId,
    pub(crate) action: Action,
    pub(crate) verdict: Verdict,
}

/// All operations of one call, and the only judge of which verdict was a command's first.
#[derive(Debug, Default)]
pub(crate) struct Operations(
    /// None before the first command.
    Mutex<Option<Box<Ledger>>>,
);

impl Operations {
    fn ledger(&self) -> MappedMutexGuard<'_, Ledger> {
        MutexGuard::map(self.0.lock(), |kept| &mut **kept.get_or_insert_default())
    }

    /// Takes a command in. There are never more than [`KEPT`] open ones: mailbox and machine hold
    /// fewer, so that room is made by what has its verdict.
    pub(crate) fn insert(
        &self,
        command: CommandId,
        record: OperationRecord,
        repeat: Option<Repeat>,
        accepted: Instant,
    ) {
        let kept = &mut self.ledger().entries;
        if kept.len() >= KEPT
            && let Some(at) = kept.iter().position(|entry| entry.open().is_none())
        {
            kept.remove(at);
        }
        if kept.is_empty() {
            // Most calls are muted or unmuted a few times.
            kept.reserve_exact(1);
        }
        kept.push_back(Entry::new(command, record, repeat, accepted));
    }

    /// Takes in what another process wrote down of a call, and returns how many commands are open.
    pub(crate) fn restore(&self, records: &[(WallTime, Record)], now: WallTime) -> usize {
        for (at, record) in records {
            match record {
                Record::Accepted(accepted) => {
                    let Some(asked) = &accepted.asked else {
                        continue;
                    };
                    let record = OperationRecord {
                        id: asked.operation.clone(),
                        action: accepted.action,
                        client_context: asked.client_context.clone(),
                        verdict: None,
                    };
                    let here = Instant::now();
                    let since = here.checked_sub(now.since(*at)).unwrap_or(here);
                    self.insert(accepted.command, record, asked.repeat, since);
                    self.write_down(accepted.command);
                }
                Record::Attempt { lead, .. } => self.ledger().sent = Some(*lead),
                Record::Verdict {
                    command, verdict, ..
                } => drop(self.settle(*command, verdict, Instant::now())),
                _ => {}
            }
        }
        let kept = self.ledger();
        let open = kept.entries.iter();
        open.filter(|entry| entry.open().is_some()).count()
    }

    /// The command's acceptance is being written down; returns what its bot knows it by.
    pub(crate) fn write_down(&self, command: CommandId) -> Option<Asked> {
        let kept = &mut self.ledger().entries;
        let entry = kept.iter_mut().rev();
        let entry = entry.into_iter().find(|entry| entry.command == command)?;
        Some(Asked {
            operation: entry.operation(),
            client_context: entry.client_context().cloned(),
            repeat: entry.open().and_then(|open| open.repeat),
        })
    }

    /// The command's verdict is being written down: it can be no other any more.
    pub(crate) fn decide(&self, command: CommandId, verdict: &Verdict) {
        let kept = &mut self.ledger().entries;
        let mut latest = kept.iter_mut().rev();
        let entry = latest.find(|entry| entry.command == command);
        if let Some(open) = entry.and_then(Entry::open_mut) {
            open.decided.get_or_insert_with(|| verdict.clone());
        }
    }

    /// What becomes of the commands without a verdict when the actor broke: what was decided, else
    /// nobody knows what a POST came to, else `ended`.
    pub(crate) fn broken(&self, ended: &Verdict) -> Vec<Broken> {
        let kept = self.ledger();
        let entries = kept.entries.iter();
        let open = entries.filter_map(|entry| Some((entry, entry.open()?)));
        open.map(|(entry, open)| {
            let lead = entry.lead();
            let sent = lead.is_some() && lead == kept.sent;
            let rest = || {
                if sent {
                    Verdict::Unconfirmed
                } else {
                    ended.clone()
                }
            };
            Broken {
                command: entry.command,
                action: entry.action,
                verdict: open.decided.clone().unwrap_or_else(rest),
            }
        })
        .collect()
    }

    /// Takes a command back that was not accepted after all. False when it has its verdict
    /// already, and stays: the call broke meanwhile.
    pub(crate) fn take_back(&self, command: CommandId) -> bool {
        let kept = &mut self.ledger().entries;
        let before = kept.len();
        kept.retain(|entry| entry.command != command || entry.open().is_none());
        kept.len() < before
    }

    /// Writes the verdict down and returns the time from acceptance to `now`; `None` when there was
    /// a verdict before, or no such command.
    pub(crate) fn settle(
        &self,
        command: CommandId,
        verdict: &Verdict,
        now: Instant,
    ) -> Option<Duration> {
        let kept = &mut self.ledger().entries;
        let mut latest = kept.iter_mut().rev();
        let entry = latest.find(|entry| entry.command == command)?;
        let took = now.saturating_duration_since(entry.open()?.accepted);
        entry.settle(verdict);
        Some(took)
    }

    /// Notes whom the attempt under way serves, so that [`Operations::behind`] can tell, and
    /// whether a POST of it leaves.
    pub(crate) fn pursue(&self, served: &Served, posts: bool) {
        let lead = served.lead;
        let mut kept = self.ledger();
        let Ledger {
            entries,
            begun,
            sent,
        } = &mut *kept;
        if posts {
            *sent = Some(lead);
        }
        for command in &served.commands {
            let entry = entries.iter_mut().rev();
            if let Some(entry) = entry.into_iter().find(|entry| entry.command == *command) {
                entry.pursued_as(lead);
            }
        }
        if let Some(operation) = &served.operation
            && begun.iter().all(|begun| begun.operation != *operation)
        {
            if begun.len() >= KEPT {
                begun.pop_front();
            }
            begun.push_back(Begun {
                operation: operation.clone(),
                lead,
            });
        }
    }

    /// The commands behind one of Graph's operations, by its context first and its id second, as
    /// their bot knows them. `None` when no attempt of the engine's began it; empty when it served
    /// none of the bot's.
    pub(crate) fn behind(
        &self,
        context: Option<&ClientContext>,
        operation: Option<&OperationId>,
    ) -> Option<Vec<(OperationId, Option<ClientContext>)>> {
        let kept = self.ledger();
        let named = context.and_then(CommandId::from_context);
        let lead = named.map(|(lead, _)| lead).or_else(|| {
            let mut begun = kept.begun.iter();
            let known = begun.find(|begun| Some(&begun.operation) == operation)?;
            Some(known.lead)
        })?;
        let served = kept
            .entries
            .iter()
            .filter(|entry| entry.lead() == Some(lead));
        let known = |entry: &Entry| (entry.operation(), entry.client_context().cloned());
        Some(served.map(known).collect())
    }

    pub(crate) fn of(&self, command: CommandId) -> Option<OperationRecord> {
        self.find(|entry| entry.command == command)
    }

    pub(crate) fn get(&self, id: &OperationId) -> Option<OperationRecord> {
        self.find(|entry| entry.is_operation(id))
    }

    fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Option<OperationRecord> {
        let kept = self.ledger();
        let entry = kept.entries.iter().rev().find(|entry| wanted(entry))?;
        Some(entry.record())
    }
}
