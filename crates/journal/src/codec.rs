//! Records to rows and back.

use openmic_model::{CallKey, CommandId, OperationId, Record, WallTime};

use crate::store::{AnswerRow, Row};

/// A record on its way to the store: as JSON, and what the store is to know of it besides.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) at: WallTime,
    pub(crate) body: Vec<u8>,
    pub(crate) note: Note,
}

/// What of a record the journal itself looks at.
#[derive(Debug)]
pub(crate) enum Note {
    Intent { scope: Option<[u8; 32]> },
    Accepted(Box<Asked>),
    Verdict(CommandId),
    Closed,
    Other,
}

/// An accepted command, as far as it is looked up.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) command: CommandId,
    pub(crate) operation: Option<OperationId>,
    pub(crate) scope: Option<[u8; 32]>,
}

impl Draft {
    pub(crate) fn of(at: WallTime, record: &Record) -> Self {
        let note = match record {
            Record::Intent(intent) => Note::Intent {
                scope: intent.repeat.as_ref().map(|repeat| repeat.scope),
            },
            Record::Accepted(accepted) => {
                let asked = accepted.asked.as_ref();
                Note::Accepted(Box::new(Asked {
                    command: accepted.command,
                    operation: asked.map(|asked| asked.operation.clone()),
                    scope: asked.and_then(|asked| Some(asked.repeat?.scope)),
                }))
            }
            Record::Verdict { command, .. } => Note::Verdict(*command),
            Record::Closed { .. } => Note::Closed,
            _ => Note::Other,
        };
        Self {
            at,
            body: serde_json::to_vec(record).expect("a record is plain data with text keys"),
            note,
        }
    }
}

impl Row {
    /// A row whose sum is right.
    pub fn sealed(
        call: CallKey,
        number: u64,
        at: WallTime,
        operation: Option<String>,
        scope: Option<[u8; 32]>,
        body: Vec<u8>,
    ) -> Self {
        let mut row = Self {
            call,
            number,
            at,
            operation,
            scope,
            body,
            sum: 0,
        };
        row.sum = row.sum_as(call);
        row
    }

    /// The sum it would have as a row of `call`.
    pub(crate) fn sum_as(&self, call: CallKey) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&call.0.to_be_bytes());
        sum.update(&self.number.to_be_bytes());
        sum.update(&self.at.0.to_be_bytes());
        let operation = self.operation.as_deref().unwrap_or_default();
        sum.update(&(operation.len() as u64).to_be_bytes());
        sum.update(operation.as_bytes());
        sum.update(&[u8::from(self.scope.is_some())]);
        sum.update(self.scope.as_ref().map_or(&[][..], |scope| &scope[..]));
        sum.update(&self.body);
        sum.finalize()
    }

    /// Whether it is as it was written.
    pub(crate) fn is_whole(&self) -> bool {
        self.sum == self.sum_as(self.call)
    }

    /// Whose it is, and its number.
    pub(crate) const fn place(&self) -> (CallKey, u64) {
        (self.call, self.number)
    }

    /// The record in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn record(&self) -> Result<Record, String> {
        if !self.is_whole() {
            return Err(format!("row {} fails its checksum", self.number));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("row {} is no record: {error}", self.number))
    }

    /// Bytes of it that grow with what is in it.
    pub(crate) fn bytes(&self) -> u64 {
        let operation = self.operation.as_ref().map_or(0, String::len);
        (self.body.len() + operation + self.scope.map_or(0, |scope| scope.len())) as u64
    }
}

impl AnswerRow {
    /// An answer whose sum is right.
    pub(crate) fn sealed(scope: [u8; 32], print: [u8; 32], at: WallTime, body: Vec<u8>) -> Self {
        let mut row = Self {
            scope,
            print,
            at,
            body,
            sum: 0,
        };
        row.sum = row.right_sum();
        row
    }

    /// Whether it is as it was written.
    pub(crate) fn is_whole(&self) -> bool {
        self.sum == self.right_sum()
    }

    fn right_sum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.scope);
        sum.update(&self.print);
        sum.update(&self.at.0.to_be_bytes());
        sum.update(&self.body);
        sum.finalize()
    }
}
