//! Whatever stands in a journal, each call is recovered or quarantined, and a record that was read
//! is written as one that reads the same.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use openmic_journal::{Change, Keeping, Log, MemoryStore, Row, Store as _};
use openmic_model::{Book, CallKey, Record, WallTime};

// The input: a record in each line, after a character that chooses its call and whether its
// checksum is right.
fuzz_target!(|data: &[u8]| {
    let memory = MemoryStore::new();
    let at = WallTime(1_764_000_000_000);
    for (number, line) in (1..).zip(data.split(|byte| *byte == b'\n').take(256)) {
        let Some((choice, body)) = line.split_first() else {
            continue;
        };
        let call = CallKey(u128::from(choice % 4));
        let mut row = Row::sealed(call, number, at, None, None, body.to_owned());
        if choice & 0x80 != 0 {
            row.sum ^= 1;
            assert!(row.record().is_err());
        }
        if let Ok(record) = row.record() {
            let text = serde_json::to_vec(&record).expect("a record is plain data");
            let again: Record = serde_json::from_slice(&text).expect("it was written by us");
            assert_eq!(again, record);
        }
        memory
            .clone()
            .commit(&[Change::Put(row)])
            .expect("memory takes everything");
    }
    let keeping = Keeping {
        settled: 0,
        retention: Duration::ZERO,
        ..Keeping::default()
    };
    let open = || Log::open(Box::new(memory.clone()), keeping).expect("memory is never broken");
    let (mut log, recovery) = open();
    for call in &recovery.calls {
        assert!(recovery.quarantined.iter().all(|(key, _)| *key != call.key));
        let book = Book::of(&call.records).expect("it was recovered");
        assert_eq!(book, call.book);
        assert!(book.ended().is_none());
    }
    log.sweep(at.after(Duration::from_millis(1))).expect("memory is never broken");
    log.commit().expect("memory takes everything");
    let (_, again) = open();
    for (key, why) in &recovery.quarantined {
        assert!(again.quarantined.contains(&(*key, why.clone())), "nothing of it is deleted");
    }
});
