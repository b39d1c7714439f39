//! Looks up what is durable.

use std::sync::Arc;

use openmic_model::{CallKey, WallTime};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Params, params};

use super::recent::Recent;
use super::row::{COLUMNS, read, signed};
use crate::error::StoreError;
use crate::store::rows::{Rows, latest};
use crate::store::{AnswerRow, Reader, Row};

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A connection of its own, and what is not filed.
#[derive(Debug)]
pub(super) struct SqliteReader {
    connection: Connection,
    recent: Arc<Mutex<Rows>>,
}

impl SqliteReader {
    pub(super) fn new(connection: Connection, recent: &Recent) -> Self {
        Self {
            connection,
            recent: recent.rows(),
        }
    }

    fn rows(&self, filter: &str, params: impl Params) -> Result<Vec<Row>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM records WHERE {filter}");
        let mut rows = self.connection.prepare_cached(&sql)?;
        let mut rows = rows.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            if let Ok(row) = read(row)? {
                found.push(row);
            }
        }
        Ok(found)
    }
}

/// Both, by call and number. A row that is filed meanwhile may be in both.
fn merged(mut filed: Vec<Row>, recent: Vec<Row>) -> Vec<Row> {
    if !recent.is_empty() {
        filed.extend(recent);
        filed.sort_by_key(Row::place);
        filed.dedup_by_key(|row| row.place());
    }
    filed
}

// What is recent is looked for first: what is filed before the second look is found by that.
impl Reader for SqliteReader {
    fn call(&mut self, call: CallKey, after: u64, limit: usize) -> Result<Vec<Row>, StoreError> {
        let recent = self.recent.lock().call(call, after, limit);
        let filed = self.rows(
            "call = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
            params![call.0.to_be_bytes(), signed(after), most(limit)],
        )?;
        let mut rows = merged(filed, recent);
        rows.truncate(limit);
        Ok(rows)
    }

    fn operation(&mut self, operation: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let recent = self.recent.lock().operation(operation, limit);
        let filed = self.rows("operation = ?1 LIMIT ?2", params![operation, most(limit)])?;
        let mut rows = merged(filed, recent);
        rows.truncate(limit);
        Ok(rows)
    }

    fn scope(&mut self, scope: &[u8; 32], limit: usize) -> Result<Vec<Row>, StoreError> {
        let recent = self.recent.lock().scope(scope, limit);
        let filed = self.rows(
            "scope = ?1 ORDER BY number DESC, at DESC LIMIT ?2",
            params![scope, most(limit)],
        )?;
        Ok(latest(merged(filed, recent), limit))
    }

    fn answer(&mut self, scope: &[u8; 32]) -> Result<Option<AnswerRow>, StoreError> {
        let sql = "SELECT print, at, body, sum FROM answers WHERE scope = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row([scope], |row| {
            Ok(AnswerRow {
                scope: *scope,
                print: row.get(0)?,
                at: WallTime(row.get::<_, i64>(1)?.cast_unsigned()),
                body: row.get(2)?,
                sum: row.get(3)?,
            })
        });
        Ok(found.optional()?)
    }
}
