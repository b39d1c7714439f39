use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use openmic_model::CallKey;
use parking_lot::Mutex;

use crate::error::StoreError;
use crate::store::{AnswerRow, Change, Reader, Row, Scan, Space, Store};

/// A store in memory. Clones are the same store, so that what was written can be opened again.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Image>>);

#[derive(Default)]
struct Image {
    rows: BTreeMap<(CallKey, u64), Row>,
    operations: BTreeSet<(String, CallKey, u64)>,
    scopes: BTreeSet<([u8; 32], CallKey, u64)>,
    answers: BTreeMap<[u8; 32], AnswerRow>,
    incarnation: u64,
    used: u64,
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
    fn put(&mut self, row: &Row) {
        let (call, number) = (row.call, row.number);
        if let Some(operation) = &row.operation {
            self.operations.insert((operation.clone(), call, number));
        }
        if let Some(scope) = row.scope {
            self.scopes.insert((scope, call, number));
        }
        self.used += row.bytes();
        self.rows.insert((call, number), row.clone());
    }

    fn drop_row(&mut self, call: CallKey, number: u64) {
        let Some(row) = self.rows.remove(&(call, number)) else {
            return;
        };
        self.used -= row.bytes();
        if let Some(operation) = row.operation {
            self.operations.remove(&(operation, call, number));
        }
        if let Some(scope) = row.scope {
            self.scopes.remove(&(scope, call, number));
        }
    }

    fn drop_answer(&mut self, scope: &[u8; 32]) {
        if let Some(answer) = self.answers.remove(scope) {
            self.used -= answer.body.len() as u64;
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(row) => self.put(row),
            Change::Drop { call, numbers } => {
                for number in numbers {
                    self.drop_row(*call, *number);
                }
            }
            Change::DropCall(call) => {
                let of_call = self.rows.range((*call, 0)..=(*call, u64::MAX));
                let numbers: Vec<_> = of_call.map(|((_, number), _)| *number).collect();
                for number in numbers {
                    self.drop_row(*call, number);
                }
            }
            Change::PutAnswer(answer) => {
                self.drop_answer(&answer.scope);
                self.used += answer.body.len() as u64;
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
        for row in image.rows.values() {
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
        Ok(Space {
            free: u64::MAX,
            used: self.0.lock().used,
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
        let image = self.0.lock();
        let from = (call, after.saturating_add(1));
        let of_call = image.rows.range(from..=(call, u64::MAX));
        Ok(of_call.take(limit).map(|(_, row)| row.clone()).collect())
    }

    fn operation(&mut self, operation: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let image = self.0.lock();
        let from = (operation.to_owned(), CallKey(0), 0);
        let of_operation = image.operations.range(from..).take(limit);
        Ok(of_operation
            .take_while(|(is, ..)| is == operation)
            .filter_map(|(_, call, number)| image.rows.get(&(*call, *number)).cloned())
            .collect())
    }

    fn scope(&mut self, scope: &[u8; 32], limit: usize) -> Result<Vec<Row>, StoreError> {
        let image = self.0.lock();
        let of_scope = image.scopes.range((*scope, CallKey(0), 0)..);
        let mut rows: Vec<_> = of_scope
            .take_while(|(is, ..)| is == scope)
            .filter_map(|(_, call, number)| image.rows.get(&(*call, *number)).cloned())
            .collect();
        rows.sort_by_key(|row| Reverse((row.number, row.at)));
        rows.truncate(limit);
        Ok(rows)
    }

    fn answer(&mut self, scope: &[u8; 32]) -> Result<Option<AnswerRow>, StoreError> {
        Ok(self.0.lock().answers.get(scope).cloned())
    }
}
