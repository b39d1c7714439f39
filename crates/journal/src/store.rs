//! What a journal is kept in.

use std::fmt;

use openmic_model::{CallKey, WallTime};

use crate::error::StoreError;

pub(crate) mod faulty;
pub(crate) mod memory;
mod rows;
pub(crate) mod sqlite;

/// One record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub call: CallKey,
    /// Its place among the call's rows, from 1; rows that are no longer needed leave gaps.
    pub number: u64,
    /// When it was written.
    pub at: WallTime,
    /// The engine's operation it is about: of an accepted command and of its verdict.
    pub operation: Option<String>,
    /// By what the request is known again: of an intent and of an accepted command.
    pub scope: Option<[u8; 32]>,
    /// The record, as JSON.
    pub body: Vec<u8>,
    /// CRC-32 of all of the above.
    pub sum: u32,
}

/// A whole answer that is repeated to whoever asks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerRow {
    /// By what the request is known again.
    pub scope: [u8; 32],
    /// Of the request's method, path and body.
    pub print: [u8; 32],
    /// When it was kept.
    pub at: WallTime,
    /// The keeper's own bytes.
    pub body: Vec<u8>,
    /// CRC-32 of all of the above.
    pub sum: u32,
}

/// A row that cannot be read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Whose it says to be.
    pub call: CallKey,
    /// What is wrong with it.
    pub why: String,
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new row.
    Put(Row),
    /// Rows of a call that are not needed any more.
    Drop {
        /// Whose.
        call: CallKey,
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// All rows of a call.
    DropCall(CallKey),
    /// An answer; in the place of an older one of the same scope.
    PutAnswer(AnswerRow),
    /// An answer that is not needed any more.
    DropAnswer([u8; 32]),
    /// How often the journal was opened.
    Incarnation(u64),
}

/// Takes what a scan comes across.
pub trait Scan {
    /// A row, by call and number in rising order.
    fn row(&mut self, row: Result<Row, Unreadable>);
    /// An answer, without its body: when it was kept, and its bytes.
    fn answer(&mut self, at: WallTime, scope: [u8; 32], bytes: u64);
}

/// What a journal is kept in. One contract for SQLite, memory and what injects faults, tested by
/// one suite.
///
/// A batch is there whole or not at all, also when the process or the system died in the middle
/// of it; once `commit` returned `Ok` it is there.
pub trait Store: fmt::Debug + Send {
    /// Everything there is.
    ///
    /// # Errors
    /// [`StoreError`]; a row that cannot be read is no error.
    fn scan(&mut self, into: &mut dyn Scan) -> Result<(), StoreError>;

    /// How often the journal was opened before; 0 for a new one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn incarnation(&mut self) -> Result<u64, StoreError>;

    /// Makes a batch durable.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing of it is there. Any other: the store must not be used again.
    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError>;

    /// Does what can be done while nothing else is to do.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn idle(&mut self) -> Result<(), StoreError>;

    /// Does a small part of what it put off, after a commit that others may follow at once.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn catch_up(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Gives back what room it can without losing anything: the disk is full.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn make_room(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Bytes free, and bytes the journal takes.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn space(&mut self) -> Result<Space, StoreError>;

    /// Holds `bytes` back. False when there is no room for them.
    fn reserve(&mut self, bytes: u64) -> bool;

    /// Gives back what was held back. False when nothing was.
    fn release(&mut self) -> bool;

    /// Another way in, for lookups while the store is written.
    ///
    /// # Errors
    /// [`StoreError`].
    fn reader(&mut self) -> Result<Box<dyn Reader>, StoreError>;
}

/// Room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes free.
    pub free: u64,
    /// Bytes the journal takes.
    pub used: u64,
}

/// Reads what is durable while the store is written.
pub trait Reader: fmt::Debug + Send {
    /// The first rows of a call with a number above `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn call(&mut self, call: CallKey, after: u64, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Rows about an operation, at most `limit`, in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn operation(&mut self, operation: &str, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// The latest rows of a scope, at most `limit`, by their number and then by their time: all of
    /// them are of one call, or begin one. The latest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scope(&mut self, scope: &[u8; 32], limit: usize) -> Result<Vec<Row>, StoreError>;

    /// The answer of a scope.
    ///
    /// # Errors
    /// [`StoreError`].
    fn answer(&mut self, scope: &[u8; 32]) -> Result<Option<AnswerRow>, StoreError>;
}
