use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};

use openmic_model::CallKey;

use crate::store::Row;

/// Rows in memory, found as a [`Reader`](crate::Reader) finds them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    by_place: BTreeMap<Place, Row>,
    /// By what a row's operation hashes to: thousands of texts, each somewhere else in memory, take
    /// longer to be compared than all else that is done with a row here.
    operations: BTreeSet<(u64, CallKey, u64)>,
    hasher: RandomState,
    scopes: BTreeSet<([u8; 32], CallKey, u64)>,
    bytes: u64,
}

/// Whose a row is, and its number.
pub(crate) type Place = (CallKey, u64);

impl Rows {
    pub(crate) fn put(&mut self, row: Row) {
        let (call, number) = (row.call, row.number);
        if let Some(operation) = &row.operation {
            let hash = self.hasher.hash_one(operation);
            self.operations.insert((hash, call, number));
        }
        if let Some(scope) = row.scope {
            self.scopes.insert((scope, call, number));
        }
        self.bytes += row.bytes();
        self.by_place.insert((call, number), row);
    }

    pub(crate) fn remove(&mut self, (call, number): Place) {
        let Some(row) = self.by_place.remove(&(call, number)) else {
            return;
        };
        self.bytes -= row.bytes();
        if let Some(operation) = row.operation {
            let hash = self.hasher.hash_one(&operation);
            self.operations.remove(&(hash, call, number));
        }
        if let Some(scope) = row.scope {
            self.scopes.remove(&(scope, call, number));
        }
    }

    pub(crate) fn remove_call(&mut self, call: CallKey) {
        let of_call = self.by_place.range((call, 0)..=(call, u64::MAX));
        let places: Vec<_> = of_call.map(|(place, _)| *place).collect();
        for place in places {
            self.remove(place);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_place.len()
    }

    /// Bytes of them that grow with what is in them.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of them, by call and number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.by_place.values()
    }

    /// Those behind a place.
    pub(crate) fn after(&self, (call, number): Place) -> impl Iterator<Item = &Row> {
        let from = (call, number.saturating_add(1));
        self.by_place.range(from..).map(|(_, row)| row)
    }

    pub(crate) fn call(&self, call: CallKey, after: u64, limit: usize) -> Vec<Row> {
        let of_call = self.after((call, after)).take_while(|row| row.call == call);
        of_call.take(limit).cloned().collect()
    }

    pub(crate) fn operation(&self, operation: &str, limit: usize) -> Vec<Row> {
        let hash = self.hasher.hash_one(operation);
        let of_hash = self.operations.range((hash, CallKey(0), 0)..);
        of_hash
            .take_while(|(is, ..)| *is == hash)
            .filter_map(|(_, call, number)| self.by_place.get(&(*call, *number)))
            .filter(|row| row.operation.as_deref() == Some(operation))
            .take(limit)
            .cloned()
            .collect()
    }

    pub(crate) fn scope(&self, scope: &[u8; 32], limit: usize) -> Vec<Row> {
        let of_scope = self.scopes.range((*scope, CallKey(0), 0)..);
        let rows = of_scope
            .take_while(|(is, ..)| is == scope)
            .filter_map(|(_, call, number)| self.by_place.get(&(*call, *number)).cloned());
        latest(rows.collect(), limit)
    }
}

/// The latest of the rows of one scope, at most `limit`, the latest first.
pub(crate) fn latest(mut rows: Vec<Row>, limit: usize) -> Vec<Row> {
    rows.sort_by_key(|row| Reverse((row.number, row.at)));
    rows.truncate(limit);
    rows
}

#[cfg(test)]
mod tests {
    use openmic_model::WallTime;

    use super::*;

    #[test]
    fn a_row_of_another_operation_with_the_same_hash_is_not_told() {
        let mut rows = Rows::default();
        for (number, operation) in [(1, "a"), (2, "b"), (3, "a")] {
            let (call, operation) = (CallKey(7), Some(operation.to_owned()));
            rows.put(Row::sealed(
                call,
                number,
                WallTime(0),
                operation,
                None,
                Vec::new(),
            ));
        }
        // As if both hashed alike.
        let hash = rows.hasher.hash_one("b");
        rows.operations.insert((hash, CallKey(7), 1));
        let numbers = |operation: &str, limit| -> Vec<u64> {
            let found = rows.operation(operation, limit);
            found.iter().map(|row| row.number).collect()
        };
        assert_eq!(numbers("b", 1), [2]);
        assert_eq!(numbers("a", 9), [1, 3]);
        assert_eq!(numbers("a", 1), [1]);
        assert!(numbers("c", 9).is_empty());
    }
}
