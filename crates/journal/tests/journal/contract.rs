//! One suite for all stores.

use openmic_journal::{
    AnswerRow, Change, Durability, Faults, FaultyStore, Keeping, Log, MemoryStore, Row, Scan,
    SqliteStore, Store, Unreadable,
};
use openmic_model::{CallKey, WallTime};
use tempfile::TempDir;

use crate::facts::{AT, accepted, at, begun, key, unmuting, verdict};

/// A disk on which a store can be opened again and again.
enum Disk {
    Folder(TempDir, Durability),
    Memory(MemoryStore),
    Faulty(MemoryStore),
    FaultyFolder(TempDir),
}

impl Disk {
    fn all() -> Vec<Self> {
        let mut all: Vec<_> = Durability::ALL
            .into_iter()
            .map(|durability| Self::Folder(tempfile::tempdir().unwrap(), durability))
            .collect();
        all.push(Self::Memory(MemoryStore::new()));
        all.push(Self::Faulty(MemoryStore::new()));
        all.push(Self::FaultyFolder(tempfile::tempdir().unwrap()));
        all
    }

    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Folder(folder, durability) => {
                Box::new(SqliteStore::open(folder.path(), *durability).unwrap())
            }
            Self::Memory(memory) => Box::new(memory.clone()),
            Self::Faulty(memory) => Box::new(FaultyStore::new(memory.clone(), Faults::new())),
            Self::FaultyFolder(folder) => {
                let store = SqliteStore::open(folder.path(), Durability::PowerLoss).unwrap();
                Box::new(FaultyStore::new(store, Faults::new()))
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    rows: Vec<Row>,
    answers: Vec<(WallTime, [u8; 32], u64)>,
}

impl Scan for Seen {
    fn row(&mut self, row: Result<Row, Unreadable>) {
        self.rows.push(row.unwrap());
    }

    fn answer(&mut self, at: WallTime, scope: [u8; 32], bytes: u64) {
        self.answers.push((at, scope, bytes));
    }
}

fn scan(store: &mut dyn Store) -> Seen {
    let mut seen = Seen::default();
    store.scan(&mut seen).unwrap();
    seen
}

fn row(call: CallKey, number: u64, operation: Option<&str>, scope: Option<[u8; 32]>) -> Row {
    Row {
        call,
        number,
        at: WallTime(u64::MAX - number),
        operation: operation.map(str::to_owned),
        scope,
        body: format!("{{\"é\":{number}}}").into_bytes(),
        sum: u32::MAX,
    }
}

#[test]
fn what_was_committed_is_there_when_it_is_opened_again_in_order() {
    for disk in Disk::all() {
        let (low, high) = (CallKey(3), CallKey(u128::MAX));
        let rows = [
            row(high, 2, Some("b"), None),
            row(low, 300, None, Some([7; 32])),
            row(high, 1, None, None),
            row(low, 2, Some("a"), Some([8; 32])),
        ];
        let mut store = disk.open();
        store.commit(&rows.clone().map(Change::Put)).unwrap();
        drop(store);
        let expected = [3, 1, 2, 0].map(|at: usize| rows[at].clone());
        assert_eq!(scan(&mut *disk.open()).rows, expected);
    }
}

#[test]
fn rows_and_calls_are_dropped() {
    for disk in Disk::all() {
        let mut store = disk.open();
        let put = |call, number| Change::Put(row(key(call), number, Some("o"), Some([1; 32])));
        let batch = [put(1, 1), put(1, 2), put(1, 3), put(2, 1)];
        store.commit(&batch).unwrap();
        let drop = Change::Drop {
            call: key(1),
            numbers: vec![1, 3, 99],
        };
        store.commit(&[drop, Change::DropCall(key(2))]).unwrap();
        let numbers: Vec<_> = scan(&mut *store)
            .rows
            .iter()
            .map(|row| (row.call, row.number))
            .collect();
        assert_eq!(numbers, [(key(1), 2)]);
        let mut reader = store.reader().unwrap();
        assert_eq!(reader.operation("o", 9).unwrap().len(), 1);
        assert_eq!(reader.scope(&[1; 32], 9).unwrap().len(), 1);
        assert_eq!(reader.call(key(2), 0, 9).unwrap(), []);
    }
}

#[test]
fn a_reader_sees_each_commit() {
    for disk in Disk::all() {
        let mut store = disk.open();
        let mut reader = store.reader().unwrap();
        assert_eq!(reader.call(key(1), 0, 9).unwrap(), []);
        let rows = [
            row(key(1), 1, Some("o"), None),
            row(key(1), 2, None, Some([2; 32])),
            row(key(1), 3, Some("o"), Some([2; 32])),
        ];
        for row in &rows {
            store.commit(&[Change::Put(row.clone())]).unwrap();
        }
        assert_eq!(reader.call(key(1), 0, 2).unwrap(), rows[..2]);
        assert_eq!(reader.call(key(1), rows[0].number, 9).unwrap(), rows[1..]);
        let mut found = reader.operation("o", 9).unwrap();
        found.sort_by_key(|row| row.number);
        assert_eq!(found, [rows[0].clone(), rows[2].clone()]);
        let latest = reader.scope(&[2; 32], 1).unwrap();
        assert_eq!(latest, rows[2..], "the latest first");
        assert_eq!(reader.scope(&[3; 32], 9).unwrap(), []);
    }
}

#[test]
fn an_answer_is_replaced_and_dropped() {
    for disk in Disk::all() {
        let mut store = disk.open();
        let answer = |body: &str| AnswerRow {
            scope: [4; 32],
            print: [5; 32],
            at: AT,
            body: body.into(),
            sum: 6,
        };
        store.commit(&[Change::PutAnswer(answer("first"))]).unwrap();
        store.commit(&[Change::PutAnswer(answer("later"))]).unwrap();
        drop(store);
        let mut store = disk.open();
        assert_eq!(scan(&mut *store).answers, [(AT, [4; 32], 5)]);
        let mut reader = store.reader().unwrap();
        assert_eq!(reader.answer(&[4; 32]).unwrap(), Some(answer("later")));
        store.commit(&[Change::DropAnswer([4; 32])]).unwrap();
        assert_eq!(reader.answer(&[4; 32]).unwrap(), None);
    }
}

#[test]
fn each_opening_is_counted() {
    for disk in Disk::all() {
        for expected in 1..4 {
            let (_, recovery) = Log::open(disk.open(), Keeping::default()).unwrap();
            assert_eq!(recovery.incarnation, expected);
        }
    }
}

#[test]
fn a_log_goes_on_where_it_was() {
    for disk in Disk::all() {
        let (mut log, _) = Log::open(disk.open(), Keeping::default()).unwrap();
        log.append(key(1), &unmuting(1, 10));
        log.append(key(2), &begun(2));
        log.commit().unwrap();
        // staged, and never durable
        log.append(key(1), &at(AT, &[verdict(10)]));
        drop(log);

        let (mut log, recovery) = Log::open(disk.open(), Keeping::default()).unwrap();
        assert_eq!(recovery.quarantined, []);
        let calls: Vec<_> = recovery
            .calls
            .iter()
            .map(|call| (call.key, call.records.clone()))
            .collect();
        assert_eq!(calls, [(key(1), unmuting(1, 10)), (key(2), begun(2))]);
        assert_eq!(recovery.calls[0].book.open().len(), 1);

        log.append(key(1), &at(AT, &[verdict(10), accepted(11, None)]));
        log.commit().unwrap();
        drop(log);
        let (_, recovery) = Log::open(disk.open(), Keeping::default()).unwrap();
        assert_eq!(recovery.quarantined, []);
        let open = recovery.calls[0].book.open();
        assert_eq!(open.len(), 1);
        assert_eq!(recovery.calls[0].records.len(), 7);
    }
}

#[test]
fn a_store_knows_what_it_takes() {
    for disk in Disk::all() {
        let mut store = disk.open();
        let before = store.space().unwrap();
        assert!(before.free > 0);
        let rows = (1..200).map(|number| Change::Put(row(key(1), number, None, None)));
        store.commit(&rows.collect::<Vec<_>>()).unwrap();
        assert!(store.space().unwrap().used > before.used);
        store.idle().unwrap();
    }
}
