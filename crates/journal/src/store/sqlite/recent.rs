//! Rows on their way to where they are found.
//!
//! In `records` the rows of a call lie together, and two indexes know them: a commit of 64 calls would
//! write a page for each call and as many of the indexes. So rows go to `recent` first, one behind the
//! other as they come, and are durable there. Later they are filed: put into `records` many at once, by
//! call and number, while nothing else is to do, or little by little once there are many. Until then
//! they are in memory besides, for whoever looks for them.
//!
//! Filing goes round: it takes them by call and number, and at the end of a round what was in `recent`
//! when the round began goes from there. So after a crash a row may be in both.

use std::collections::BTreeMap;
use std::sync::Arc;

use openmic_model::CallKey;
use parking_lot::Mutex;
use rusqlite::Connection;

use super::row::{COLUMNS, PUT, apply, bytes, insert, key, mends, read, signed};
use crate::config::Durability;
use crate::error::StoreError;
use crate::store::rows::{Place, Rows};
use crate::store::{Change, Row};

/// Bytes of rows from which on some are filed with each commit.
const MOST: u64 = 8 << 20;

/// What a row takes besides its own bytes.
const OF_ROW: u64 = 64;

/// With so many rows they are filed while nothing else is to do, and ...
const IDLE: usize = 256;

/// ... so many at once.
const LOT: usize = 1024;

/// The least that is filed at once.
const LEAST: usize = 32;

/// Before every place of a row.
const START: Place = (CallKey(0), 0);

/// What is in `recent`, as the one who writes it knows it.
#[derive(Debug)]
pub(super) struct Recent {
    durability: Durability,
    /// Those that are not filed.
    rows: Arc<Mutex<Rows>>,
    ids: Option<Ids>,
    /// How far the round is.
    filed: Place,
    /// The last id when it began.
    until: i64,
    /// Rows of the latest commit.
    came: usize,
}

/// Numbers of rows in `recent`; none before the first commit.
#[derive(Debug, Clone, Copy)]
struct Ids {
    /// Up to here they are of an earlier process, and damaged: they stay.
    theirs: i64,
    last: i64,
}

impl Recent {
    pub(super) fn new(durability: Durability) -> Self {
        Self {
            durability,
            rows: Arc::default(),
            ids: None,
            filed: START,
            until: 0,
            came: 0,
        }
    }

    /// Those that are not filed, for readers.
    pub(super) fn rows(&self) -> Arc<Mutex<Rows>> {
        Arc::clone(&self.rows)
    }

    /// Makes a batch durable.
    pub(super) fn commit(
        &mut self,
        connection: &Connection,
        batch: &[Change],
    ) -> rusqlite::Result<()> {
        let mut ids = self.ids;
        transact(connection, || {
            let ids = match &mut ids {
                Some(ids) => ids,
                none => none.insert(take_over(connection)?),
            };
            let mut held = Held::new(ids.theirs);
            let sql = "INSERT INTO recent (call, number, at, operation, scope, body, sum, id) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let mut behind = connection.prepare_cached(sql)?;
            for change in batch {
                if let Change::Put(row) = change {
                    ids.last += 1;
                    insert(&mut behind, row, Some(ids.last))?;
                    held.put(row.place(), ids.last);
                } else {
                    apply(connection, change)?;
                    // what is dropped must not come back from here
                    held.drop(connection, change)?;
                }
            }
            Ok(())
        })?;
        self.ids = ids;
        self.came = batch.len();
        let mut rows = self.rows.lock();
        for change in batch {
            match change {
                Change::Put(row) => rows.put(row.clone()),
                Change::Drop { call, numbers } => {
                    for number in numbers {
                        rows.remove((*call, *number));
                    }
                }
                Change::DropCall(call) => rows.remove_call(*call),
                _ => {}
            }
        }
        Ok(())
    }

    /// Files a lot, if that pays.
    pub(super) fn file_idly(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.rows.lock().len() < IDLE {
            return Ok(());
        }
        self.file(connection, LOT)
    }

    /// Files more than came last, if there are many.
    pub(super) fn file_on(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let bytes = {
            let rows = self.rows.lock();
            rows.bytes() + rows.len() as u64 * OF_ROW
        };
        if bytes < MOST {
            return Ok(());
        }
        self.file(connection, (2 * self.came).max(LEAST))
    }

    fn file(&mut self, connection: &Connection, most: usize) -> Result<(), StoreError> {
        let Some(ids) = self.ids else {
            return Ok(());
        };
        if self.filed == START {
            self.until = ids.last;
        }
        let lot: Vec<_> = {
            let rows = self.rows.lock();
            rows.after(self.filed).take(most).cloned().collect()
        };
        let ends = lot.len() < most;
        let file = || {
            transact(connection, || {
                let mut put = connection.prepare_cached(PUT)?;
                for row in &lot {
                    insert(&mut put, row, None)?;
                }
                if ends {
                    forget(connection, ids.theirs, self.until)?;
                }
                Ok(())
            })
        };
        // The next commit's sync is this one's too. Until then nothing rests on it.
        let filed = match self.durability {
            Durability::PowerLoss => {
                connection.execute_batch("PRAGMA synchronous = NORMAL")?;
                let filed = file();
                connection.execute_batch("PRAGMA synchronous = FULL")?;
                filed
            }
            Durability::ProcessCrash | Durability::None => file(),
        };
        match filed.map_err(StoreError::from) {
            Ok(()) => {}
            // they are where they were
            Err(StoreError::Full) => return Ok(()),
            failed => return failed,
        }
        let mut rows = self.rows.lock();
        for row in &lot {
            rows.remove(row.place());
        }
        self.filed = match lot.last() {
            Some(row) if !ends => row.place(),
            _ => START,
        };
        Ok(())
    }
}

/// Which row of `recent` has which place, looked up when something is dropped.
struct Held {
    behind: i64,
    ids: Option<BTreeMap<Place, i64>>,
}

impl Held {
    /// Of the rows behind an id.
    const fn new(behind: i64) -> Self {
        Self { behind, ids: None }
    }

    fn put(&mut self, place: Place, id: i64) {
        if let Some(ids) = &mut self.ids {
            ids.insert(place, id);
        }
    }

    /// Takes what `change` drops out of `recent`.
    fn drop(&mut self, connection: &Connection, change: &Change) -> rusqlite::Result<()> {
        let places: Vec<_> = match change {
            Change::Drop { call, numbers } => numbers
                .iter()
                .map(|number| (*call, *number)..=(*call, *number))
                .collect(),
            Change::DropCall(call) => vec![(*call, 0)..=(*call, u64::MAX)],
            _ => return Ok(()),
        };
        let ids = match &mut self.ids {
            Some(ids) => ids,
            none => none.insert(places_of(connection, self.behind)?),
        };
        for place in places {
            let gone: Vec<_> = ids.range(place).map(|(place, id)| (*place, *id)).collect();
            for (place, id) in gone {
                forget(connection, id - 1, id)?;
                ids.remove(&place);
            }
        }
        Ok(())
    }
}

/// The places of the rows behind an id.
fn places_of(connection: &Connection, behind: i64) -> rusqlite::Result<BTreeMap<Place, i64>> {
    let sql = "SELECT call, number, id FROM recent WHERE id > ?1";
    let mut rows = connection.prepare_cached(sql)?;
    let mut rows = rows.query([behind])?;
    let mut places = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(1)?;
        // of this process, and so whole
        if let Some(call) = key(bytes(row.get_ref(0)?)) {
            places.insert((call, number.cast_unsigned()), row.get(2)?);
        }
    }
    Ok(places)
}

/// Files what an earlier process left. A row that is damaged stays, so that its call is known for it; so
/// does a whole one whose place has a damaged one that it cannot take.
fn take_over(connection: &Connection) -> rusqlite::Result<Ids> {
    let found = {
        let sql = format!("SELECT {COLUMNS}, id FROM recent ORDER BY call, number");
        let mut rows = connection.prepare(&sql)?;
        let mut rows = rows.query([])?;
        let mut found: Vec<(i64, Row)> = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get(7)?;
            if let Ok(row) = read(row)?
                && row.is_whole()
            {
                found.push((id, row));
            }
        }
        found
    };
    let or = |else_do: &str| PUT.replacen("INSERT", &format!("INSERT OR {else_do}"), 1);
    let mut put = connection.prepare(&or("IGNORE"))?;
    let mut replace = connection.prepare(&or("REPLACE"))?;
    for (id, row) in &found {
        if insert(&mut put, row, None)? == 0 {
            match filed(connection, row.place())? {
                Some(filed) if filed.is_whole() => {}
                Some(filed) if mends(row, &filed) => drop(insert(&mut replace, row, None)?),
                _ => continue,
            }
        }
        forget(connection, id - 1, *id)?;
    }
    let sql = "SELECT coalesce(max(id), 0) FROM recent";
    let theirs = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(Ids {
        theirs,
        last: theirs,
    })
}

/// What is filed at a place, as far as it can be read.
fn filed(connection: &Connection, (call, number): Place) -> rusqlite::Result<Option<Row>> {
    let sql = format!("SELECT {COLUMNS} FROM records WHERE call = ?1 AND number = ?2");
    let place = (call.0.to_be_bytes(), signed(number));
    let found = connection.prepare_cached(&sql)?.query_row(place, read)?;
    Ok(found.ok())
}

/// Takes the rows behind one id, up to another, out of `recent`.
fn forget(connection: &Connection, behind: i64, until: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM recent WHERE id > ?1 AND id <= ?2";
    connection
        .prepare_cached(sql)?
        .execute([behind, until])
        .map(drop)
}

fn transact(
    connection: &Connection,
    work: impl FnOnce() -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
    let done = run("BEGIN IMMEDIATE")
        .and_then(|()| work())
        .and_then(|()| run("COMMIT"));
    // some failures have rolled it back already
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    done
}

#[cfg(test)]
mod tests;
