use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use openmic_model::CallKey;
use parking_lot::Mutex;

use crate::error::StoreError;
use crate::store::rows::Rows;
use crate::store::{AnswerRow, Change, Reader, Row, Scan, Space, Store};

/// A store in memory. Clones are the same store, so that what was written can be opened again.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Image>>);

#[derive(Default)]
struct Image {
    rows: Rows,
    answers: BTreeMap<[u8; 32], AnswerRow>,
    incarnation: u64,
    /// Bytes of the answers.
    answer_bytes: u64,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self.0.lock();
        f.debug_struct("MemoryStore")
            .field("rows", &image.rows.len())
            .field("answers", &image.answers.len())
            .finish_non_exhaustive()
    }
}

impl Image {
    fn drop_answer(&mut self, scope: &[u8; 32]) {
        if let Some(answer) = self.answers.remove(scope) {
            self.answer_bytes -= answer.body.len() as u64;
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(row) => self.rows.put(row.clone()),
            Change::Drop { call, numbers } => {
                for number in numbers {
                    self.rows.remove((*call, *number));
                }
            }
            Change::DropCall(call) => self.rows.remove_call(*call),
            Change::PutAnswer(answer) => {
                self.drop_answer(&answer.scope);
                self.answer_bytes += answer.body.len() as u64;
                self.answers.insert(answer.scope, answer.clone());
            }
            Change::DropAnswer(scope) => self.drop_answer(scope),
            Change::Incarnation(number) => self.incarnation = *number,
        }
    }
}

impl Store for MemoryStore {
    fn scan(&mut self, into: &mut dyn Scan) -> Result<(), StoreError> {
        let image = self.0.lock();
        for row in image.rows.iter() {
            into.row(Ok(row.clone()));
        }
        for answer in image.answers.values() {
            into.answer(answer.at, answer.scope, answer.body.len() as u64);
        }
        Ok(())
    }

    fn incarnation(&mut self) -> Result<u64, StoreError> {
        Ok(self.0.lock().incarnation)
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        let mut image = self.0.lock();
        for change in batch {
            image.apply(change);
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn space(&mut self) -> Result<Space, StoreError> {
        let image = self.0.lock();
        Ok(Space {
            free: u64::MAX,
            used: image.rows.bytes() + image.answer_bytes,
        })
    }

    fn reserve(&mut self, _bytes: u64) -> bool {
        true
    }

    fn release(&mut self) -> bool {
        false
    }

    fn reader(&mut self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Reader for MemoryStore {
    fn call(&mut self, call: CallKey, after: u64, limit: usize) -> Result<Vec<Row>, StoreError> {
        Ok(self.0.lock().rows.call(call, after, limit))
    }

    fn operation(&mut self, operation: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        Ok(self.0.lock().rows.operation(operation, limit))
    }

    fn scope(&mut self, scope: &[u8; 32], limit: usize) -> Result<Vec<Row>, StoreError> {
        Ok(self.0.lock().rows.scope(scope, limit))
    }

    fn answer(&mut self, scope: &[u8; 32]) -> Result<Option<AnswerRow>, StoreError> {
        Ok(self.0.lock().answers.get(scope).cloned())
    }
}
