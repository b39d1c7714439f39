//! What is asked of the journal long after it was written.

use openmic_model::{
    Accepted, AppId, CallId, CallIntent, CallKey, OperationId, Record, Repeat, TenantId, Verdict,
    WallTime,
};

use crate::error::StoreError;
use crate::store::{AnswerRow, Reader, Row};

/// Rows at the head of a call among which its id is.
const HEAD: usize = 16;

/// Rows of one operation or scope that are looked at.
const FEW: usize = 64;

/// A command that was accepted, and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCommand {
    /// Whose.
    pub key: CallKey,
    /// The call's id, once it had one.
    pub call: Option<CallId>,
    /// The app and tenant whose call it was.
    pub owner: Option<(AppId, TenantId)>,
    /// When it was accepted.
    pub at: WallTime,
    /// As it was accepted.
    pub accepted: Accepted,
    /// When and how it ended; `None` while it runs.
    pub verdict: Option<(WallTime, Verdict)>,
}

/// A create or answer that was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCall {
    /// Its key.
    pub key: CallKey,
    /// Its id, once it had one.
    pub call: Option<CallId>,
    /// When it was about to be sent.
    pub at: WallTime,
    /// How it began.
    pub intent: CallIntent,
}

/// What a request that comes again came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeated {
    /// It was a command.
    Command(Box<KeptCommand>),
    /// It made a call.
    Call(Box<KeptCall>),
}

impl Repeated {
    /// By what the first request is known.
    pub fn repeat(&self) -> Option<Repeat> {
        match self {
            Self::Command(command) => command.accepted.asked.as_ref()?.repeat,
            Self::Call(call) => call.intent.repeat.as_deref().copied(),
        }
    }
}

/// A whole answer that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Of the request's method, path and body.
    pub print: [u8; 32],
    /// When it was kept.
    pub at: WallTime,
    /// The keeper's own bytes.
    pub body: Vec<u8>,
}

/// The operation of a command, if it is one of `call`.
pub(crate) fn operation(
    reader: &mut dyn Reader,
    call: &CallId,
    operation: &OperationId,
) -> Result<Option<KeptCommand>, StoreError> {
    let found = command(reader, operation)?;
    Ok(found.filter(|command| command.call.as_ref() == Some(call)))
}

fn command(
    reader: &mut dyn Reader,
    operation: &OperationId,
) -> Result<Option<KeptCommand>, StoreError> {
    let rows = reader.operation(operation.as_str(), FEW)?;
    let records: Vec<_> = rows.iter().filter_map(whole).collect();
    let accepted = records.iter().find_map(|(row, record)| match record {
        Record::Accepted(accepted) => Some((row, accepted)),
        _ => None,
    });
    let Some((row, accepted)) = accepted else {
        return Ok(None);
    };
    let verdict = records.iter().find_map(|(row, record)| match record {
        Record::Verdict {
            command, verdict, ..
        } if *command == accepted.command => Some((row.at, verdict.clone())),
        _ => None,
    });
    let Head { call, owner } = head(reader, row.call)?;
    Ok(Some(KeptCommand {
        key: row.call,
        call,
        owner,
        at: row.at,
        accepted: (**accepted).clone(),
        verdict,
    }))
}

/// The latest of what came under a scope. The clock may have been set back since.
pub(crate) fn repeated(
    reader: &mut dyn Reader,
    scope: &[u8; 32],
) -> Result<Option<Repeated>, StoreError> {
    let rows = reader.scope(scope, FEW)?;
    let latest = rows
        .iter()
        .filter_map(whole)
        .max_by_key(|(row, _)| (row.number, row.at));
    Ok(match latest {
        Some((_, Record::Accepted(accepted))) => {
            let Some(asked) = accepted.asked else {
                return Ok(None);
            };
            command(reader, &asked.operation)?.map(|found| Repeated::Command(Box::new(found)))
        }
        Some((row, Record::Intent(intent))) => Some(Repeated::Call(Box::new(KeptCall {
            key: row.call,
            call: head(reader, row.call)?.call,
            at: row.at,
            intent: *intent,
        }))),
        _ => None,
    })
}

pub(crate) fn answer(
    reader: &mut dyn Reader,
    scope: &[u8; 32],
) -> Result<Option<KeptAnswer>, StoreError> {
    let found = reader.answer(scope)?.filter(AnswerRow::is_whole);
    Ok(found.map(|answer| KeptAnswer {
        print: answer.print,
        at: answer.at,
        body: answer.body,
    }))
}

/// What the first rows of a call tell of it.
#[derive(Default)]
struct Head {
    call: Option<CallId>,
    owner: Option<(AppId, TenantId)>,
}

fn head(reader: &mut dyn Reader, key: CallKey) -> Result<Head, StoreError> {
    let rows = reader.call(key, 0, HEAD)?;
    let mut head = Head::default();
    for (_, record) in rows.iter().filter_map(whole) {
        match record {
            Record::Opened { id, .. } => {
                head.call = Some(id);
                break;
            }
            Record::Intent(intent) => {
                head.call = intent.offered;
                head.owner = Some((intent.app, intent.tenant));
            }
            _ => {}
        }
    }
    Ok(head)
}

fn whole(row: &Row) -> Option<(&Row, Record)> {
    Some((row, row.record().ok()?))
}
