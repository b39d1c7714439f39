//! The engine's own operations: one for each command, with an id of its own.

use std::collections::VecDeque;

use openmic_model::{
    Action, ClientContext, CommandId, Operation, OperationId, OperationStatus, ResultInfo, Verdict,
};
use parking_lot::Mutex;

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

/// All operations of one call.
#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<VecDeque<(CommandId, OperationRecord)>>);

impl Operations {
    pub(crate) fn insert(&self, command: CommandId, record: OperationRecord) {
        let mut kept = self.0.lock();
        if kept.len() >= KEPT
            && let Some(at) = kept.iter().position(|(_, record)| record.verdict.is_some())
        {
            kept.remove(at);
        }
        kept.push_back((command, record));
    }

    pub(crate) fn remove(&self, command: CommandId) {
        self.0.lock().retain(|(id, _)| *id != command);
    }

    /// Writes the verdict down, once, and returns the record.
    pub(crate) fn settle(&self, command: CommandId, verdict: &Verdict) -> Option<OperationRecord> {
        let mut kept = self.0.lock();
        let (_, record) = kept.iter_mut().find(|(id, _)| *id == command)?;
        record.verdict.get_or_insert_with(|| verdict.clone());
        Some(record.clone())
    }

    /// Gives everything still open the same verdict and returns those records.
    pub(crate) fn settle_rest(&self, verdict: &Verdict) -> Vec<OperationRecord> {
        let mut kept = self.0.lock();
        let open = kept
            .iter_mut()
            .filter(|(_, record)| record.verdict.is_none());
        open.map(|(_, record)| {
            record.verdict = Some(verdict.clone());
            record.clone()
        })
        .collect()
    }

    pub(crate) fn get(&self, id: &OperationId) -> Option<OperationRecord> {
        self.0
            .lock()
            .iter()
            .find(|(_, record)| record.id == *id)
            .map(|(_, record)| record.clone())
    }
}
