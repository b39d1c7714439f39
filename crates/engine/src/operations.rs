//! The engine's own operations: one for each command, with an id of its own.

use std::collections::VecDeque;
use std::time::Duration;

use openmic_model::{
    Action, ClientContext, CommandId, Operation, OperationId, OperationStatus, ResultInfo, Verdict,
};
use parking_lot::Mutex;
use tokio::time::Instant;

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

/// One command in the ledger.
#[derive(Debug)]
struct Entry {
    command: CommandId,
    accepted: Instant,
    record: OperationRecord,
}

/// All operations of one call, and the only judge of which verdict was a command's first.
#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<VecDeque<Entry>>);

impl Operations {
    /// Takes a command in. There are never more than [`KEPT`] open ones: mailbox and machine hold
    /// fewer, so that room is made by what has its verdict.
    pub(crate) fn insert(&self, command: CommandId, record: OperationRecord, accepted: Instant) {
        let mut kept = self.0.lock();
        if kept.len() >= KEPT
            && let Some(at) = kept.iter().position(|entry| entry.record.verdict.is_some())
        {
            kept.remove(at);
        }
        kept.push_back(Entry {
            command,
            accepted,
            record,
        });
    }

    /// Takes a command back that was not accepted after all. False when it has its verdict
    /// already, and stays: the call broke meanwhile.
    pub(crate) fn take_back(&self, command: CommandId) -> bool {
        let mut kept = self.0.lock();
        let before = kept.len();
        kept.retain(|entry| entry.command != command || entry.record.verdict.is_some());
        kept.len() < before
    }

    /// Writes the verdict down and returns the time since acceptance; `None` when there was a
    /// verdict before, or no such command.
    pub(crate) fn settle(&self, command: CommandId, verdict: &Verdict) -> Option<Duration> {
        let mut kept = self.0.lock();
        let entry = kept.iter_mut().find(|entry| entry.command == command)?;
        if entry.record.verdict.is_some() {
            return None;
        }
        entry.record.verdict = Some(verdict.clone());
        Some(entry.accepted.elapsed())
    }

    /// Gives everything still open the same verdict, and returns what and after which time.
    pub(crate) fn settle_rest(&self, verdict: &Verdict) -> Vec<(Action, Duration)> {
        let mut kept = self.0.lock();
        let open = kept
            .iter_mut()
            .filter(|entry| entry.record.verdict.is_none());
        open.map(|entry| {
            entry.record.verdict = Some(verdict.clone());
            (entry.record.action, entry.accepted.elapsed())
        })
        .collect()
    }

    pub(crate) fn of(&self, command: CommandId) -> Option<OperationRecord> {
        self.find(|entry| entry.command == command)
    }

    pub(crate) fn get(&self, id: &OperationId) -> Option<OperationRecord> {
        self.find(|entry| entry.record.id == *id)
    }

    fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Option<OperationRecord> {
        let kept = self.0.lock();
        let entry = kept.iter().rev().find(|entry| wanted(entry))?;
        Some(entry.record.clone())
    }
}
