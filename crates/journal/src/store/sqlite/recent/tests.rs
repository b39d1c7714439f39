use std::fs;

use openmic_model::WallTime;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::SqliteStore;
use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{Scan, Store, Unreadable};

#[derive(Debug, Clone)]
enum Step {
    /// Rows of these calls.
    Puts(Vec<u8>),
    Drop(u8),
    DropCall(u8),
    File(usize),
    /// The store is closed and opened again.
    Restart,
    /// The process dies.
    Crash,
    /// The power fails, and of the log only a part is on the disk, in thousandths.
    PowerLoss(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => proptest::collection::vec(0..4_u8, 1..6).prop_map(Step::Puts),
        1 => (0..4_u8).prop_map(Step::Drop),
        1 => (0..4_u8).prop_map(Step::DropCall),
        6 => (1..6_usize).prop_map(Step::File),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        1 => (0..=1000_u64).prop_map(Step::PowerLoss),
    ];
    proptest::collection::vec(step, 1..40)
}

#[derive(Default)]
struct Seen(Vec<Row>);

impl Scan for Seen {
    fn row(&mut self, row: Result<Row, Unreadable>) {
        self.0.push(row.unwrap());
    }

    fn answer(&mut self, _at: WallTime, _scope: [u8; 32], _bytes: u64) {}
}

fn seen(store: &mut dyn Store) -> Vec<Row> {
    let mut seen = Seen::default();
    store.scan(&mut seen).unwrap();
    seen.0
}

fn open(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(folder.path(), Durability::PowerLoss).unwrap()
}

/// What a crash leaves.
fn left(folder: &TempDir) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    left
}

/// A row of a call, found by the operation of its call and by a scope of all calls.
fn row(call: u8, number: u64) -> Row {
    let key = CallKey(u128::from(call) + 1);
    let body = format!("{{\"{call}\":{number}}}").into_bytes();
    let (operation, scope) = (Some(format!("of {call}")), Some([7; 32]));
    Row::sealed(key, number, WallTime(number), operation, scope, body)
}

fn same(store: &mut SqliteStore, model: &MemoryStore) {
    let mut model = model.clone();
    assert_eq!(seen(store), seen(&mut model));
    let (mut reader, mut expected) = (store.reader().unwrap(), model.reader().unwrap());
    for call in 0..4_u8 {
        let key = CallKey(u128::from(call) + 1);
        for (after, limit) in [(0, 3), (2, 99)] {
            let found = reader.call(key, after, limit).unwrap();
            assert_eq!(found, expected.call(key, after, limit).unwrap());
        }
        let operation = format!("of {call}");
        let mut found = reader.operation(&operation, 99).unwrap();
        found.sort_by_key(Row::place);
        assert_eq!(found, expected.operation(&operation, 99).unwrap());
    }
    let numbers = |rows: Vec<Row>| rows.iter().map(|row| row.number).collect::<Vec<_>>();
    for limit in [2, 99] {
        let found = reader.scope(&[7; 32], limit).unwrap();
        let expected = expected.scope(&[7; 32], limit).unwrap();
        assert_eq!(numbers(found), numbers(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However rows are filed and whatever cuts it short: each is there once, and what was dropped is
    /// not. After a loss of power it is as it was after one of the commits.
    #[test]
    fn every_row_is_there_once(steps in steps()) {
        let mut folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder);
        let mut model = MemoryStore::new();
        let mut numbers = [0; 4];
        let mut incarnation = 0;
        // as each commit left it since the log began
        let mut history = vec![seen(&mut model)];
        for step in steps {
            let batch = match step {
                Step::Puts(calls) => {
                    let put = |call: u8| {
                        let number = &mut numbers[usize::from(call)];
                        *number += 1;
                        Change::Put(row(call, *number))
                    };
                    calls.into_iter().map(put).collect()
                }
                Step::Drop(call) => {
                    let last = numbers[usize::from(call)];
                    let call = CallKey(u128::from(call) + 1);
                    vec![Change::Drop { call, numbers: vec![1, last] }]
                }
                Step::DropCall(call) => vec![Change::DropCall(CallKey(u128::from(call) + 1))],
                Step::File(most) => {
                    store.recent.file(&store.connection, most).unwrap();
                    same(&mut store, &model);
                    continue;
                }
                Step::PowerLoss(thousandths) => {
                    let left = left(&folder);
                    let log = left.path().join("journal.db-wal");
                    let log = fs::OpenOptions::new().write(true).open(log).unwrap();
                    let bytes = log.metadata().unwrap().len();
                    log.set_len(bytes * thousandths / 1000).unwrap();
                    let found = seen(&mut open(&left));
                    prop_assert!(history.contains(&found), "{found:?}");
                    continue;
                }
                Step::Restart | Step::Crash => {
                    if matches!(step, Step::Crash) {
                        let left = left(&folder);
                        drop(std::mem::replace(&mut store, open(&left)));
                        folder = left;
                    } else {
                        drop(store);
                        store = open(&folder);
                        history.clear();
                        history.push(seen(&mut model));
                    }
                    prop_assert_eq!(seen(&mut store), seen(&mut model));
                    incarnation += 1;
                    vec![Change::Incarnation(incarnation)]
                }
            };
            store.commit(&batch).unwrap();
            model.commit(&batch).unwrap();
            history.push(seen(&mut model));
            same(&mut store, &model);
        }
    }
}

/// Of an earlier process, in the file itself: it stays where its call is known by it.
#[test]
fn a_damaged_row_is_not_filed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let batch = [1, 2, 3].map(|number| Change::Put(row(0, number)));
    store.commit(&batch).unwrap();
    let damage = "UPDATE recent SET body = '{}' WHERE number = 2";
    store.connection.execute_batch(damage).unwrap();
    drop(store);

    for incarnation in 1..4 {
        let mut store = open(&folder);
        let found = seen(&mut store);
        let damaged: Vec<_> = found.iter().filter(|row| !row.is_whole()).collect();
        assert_eq!(damaged.len(), 1);
        store.commit(&[Change::Incarnation(incarnation)]).unwrap();
        store.commit(&[Change::Put(row(1, incarnation))]).unwrap();
        store.recent.file(&store.connection, 99).unwrap();
        let sql = "SELECT group_concat(number) FROM recent";
        let left = store.connection.query_row(sql, [], |row| row.get(0));
        assert_eq!(left, Ok("2".to_owned()));
    }
}

/// What a crash left in both is mended from where it is whole, or stays in both.
#[test]
fn a_damaged_row_that_was_filed_is_mended_by_the_one_that_was_not_forgotten() {
    for (damage, mended) in [
        ("UPDATE records SET body = '{}' WHERE number = 2", true),
        ("UPDATE records SET at = 77 WHERE number = 2", true),
        ("UPDATE records SET operation = 'x' WHERE number = 2", false),
        ("UPDATE records SET sum = -1 WHERE number = 2", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder);
        let rows = [1, 2, 3].map(|number| row(0, number));
        store.commit(&rows.clone().map(Change::Put)).unwrap();
        // not to the end of the round, at which they are forgotten
        store.recent.file(&store.connection, 2).unwrap();
        store.connection.execute_batch(damage).unwrap();
        let left = left(&folder);
        for incarnation in 1..4 {
            let mut store = open(&left);
            let mut found = Found::default();
            store.scan(&mut found).unwrap();
            assert_eq!(
                found.0 == rows && found.1 == 0,
                mended,
                "{damage}: {found:?}"
            );
            assert_eq!(found.0.len() + found.1, if mended { 3 } else { 4 });
            store.commit(&[Change::Incarnation(incarnation)]).unwrap();
            let sql = "SELECT group_concat(number) FROM recent";
            let stay: Option<String> = store
                .connection
                .query_row(sql, [], |row| row.get(0))
                .unwrap();
            assert_eq!(stay.as_deref(), (!mended).then_some("2"), "{damage}");
            // such a call is dropped one day as any other
            if mended && incarnation == 3 {
                store.commit(&[Change::DropCall(rows[0].call)]).unwrap();
            }
        }
    }
}

/// Rows that can be read, and how many cannot.
#[derive(Debug, Default)]
struct Found(Vec<Row>, usize);

impl Scan for Found {
    fn row(&mut self, row: Result<Row, Unreadable>) {
        match row {
            Ok(row) => self.0.push(row),
            Err(_) => self.1 += 1,
        }
    }

    fn answer(&mut self, _at: WallTime, _scope: [u8; 32], _bytes: u64) {}
}

/// What a commit writes does not grow with the calls that it is of.
#[test]
fn a_commit_of_many_calls_takes_few_pages() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let round =
        |number| -> Vec<Change> { (0..64).map(|call| Change::Put(row(call, number))).collect() };
    // enough that each call has pages of its own where it is found
    for number in 1..200 {
        store.commit(&round(number)).unwrap();
        store.recent.file(&store.connection, usize::MAX).unwrap();
    }
    let (_, before) = store.log().unwrap();
    store.commit(&round(200)).unwrap();
    let pages = (store.log().unwrap().1 - before) / super::super::PAGE;
    assert!(pages <= 6, "{pages}");
}
