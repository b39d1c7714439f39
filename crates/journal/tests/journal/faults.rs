//! The disk fails: F-D1 to F-D5.

use openmic_journal::{
    Change, CommitFault, Durability, Faults, FaultyStore, Full, Journal, Keeping, Log, Lost,
    MemoryStore, Reader, Scan, Space, SqliteStore, Store, StoreError,
};
use openmic_model::CallKey;

use crate::facts::{AT, at, begun, call_id, closed, key, operation, unmuting, verdict};

fn keeping(min_free: u64, reserve: u64) -> Keeping {
    Keeping {
        min_free,
        reserve,
        ..Keeping::default()
    }
}

fn faulty(memory: &MemoryStore, faults: &Faults) -> Box<dyn Store> {
    Box::new(FaultyStore::new(memory.clone(), faults.clone()))
}

/// F-D1, I-34.
#[test]
fn a_full_disk_refuses_what_is_new_and_records_the_verdicts_of_what_was_accepted() {
    let (memory, faults) = (MemoryStore::new(), Faults::new());
    faults.set_free(Some(100_000));
    let keeping = keeping(20_000, 10_000);
    let (journal, _) = Journal::inline(faulty(&memory, &faults), keeping).unwrap();
    assert_eq!(journal.admits(), Ok(()));
    assert_eq!(journal.append(key(1), &unmuting(1, 10)).now(), Some(Ok(())));

    // somebody else fills the disk to the last byte
    faults.set_free(Some(0));
    let mut verdict = journal.append(key(1), &at(AT, &[verdict(10)]));
    assert_eq!(verdict.now(), Some(Ok(())), "the reserve takes it");
    let full = journal.admits().unwrap_err();
    assert!(matches!(full, Full::Disk { min: 20_000, .. }), "{full}");

    // the reserve is eaten up as well: it waits, and is not lost
    faults.set_free(Some(0));
    let mut closed = journal.append(key(1), &at(AT, &[closed()]));
    assert_eq!(closed.now(), None);
    faults.set_free(Some(1_000_000));
    let mut next = journal.append(key(2), &begun(2));
    assert_eq!((closed.now(), next.now()), (Some(Ok(())), Some(Ok(()))));

    let (_, recovery) = Log::open(faulty(&memory, &faults), keeping).unwrap();
    assert_eq!(recovery.quarantined, []);
    let open: Vec<_> = recovery.calls.iter().map(|call| call.key).collect();
    assert_eq!(open, [key(2)], "the first ended with its verdict");
}

/// F-D1.
#[tokio::test]
async fn a_disk_that_has_room_again_is_used_without_a_restart() {
    let (memory, faults) = (MemoryStore::new(), Faults::new());
    faults.set_free(Some(10_000));
    let keeping = keeping(20_000, 5_000);
    let (journal, _) = Journal::start(faulty(&memory, &faults), keeping).unwrap();
    assert!(matches!(journal.admits(), Err(Full::Disk { .. })));
    faults.set_free(Some(1_000_000));
    while journal.admits().is_err() {
        tokio::task::yield_now().await;
    }
    journal.append(key(1), &begun(1)).await.unwrap();
}

/// F-D2.
#[tokio::test]
async fn a_failed_sync_poisons_the_journal_and_is_not_tried_again() {
    let (memory, faults) = (MemoryStore::new(), Faults::new());
    let keeping = Keeping::default();
    let (journal, _) = Journal::start(faulty(&memory, &faults), keeping).unwrap();
    journal.append(key(1), &unmuting(1, 10)).await.unwrap();
    let before = faults.commits();

    faults.next_commit(CommitFault::SyncError);
    let lost = journal.append(key(1), &at(AT, &[verdict(10)])).await;
    assert_eq!(lost, Err(Lost));
    assert!(journal.failed().await.contains("sync"));
    assert_eq!(journal.admits(), Err(Full::Failed));
    assert_eq!(journal.append(key(2), &begun(2)).await, Err(Lost));
    journal.close().await;
    assert_eq!(faults.commits(), before, "nothing more was written");

    // what was acknowledged is there
    let (_, recovery) = Log::open(faulty(&memory, &faults), keeping).unwrap();
    let command = &recovery.calls[0].records[..5];
    assert_eq!(command, unmuting(1, 10));
}

/// A store with a mistake in it.
#[derive(Debug)]
struct Mistaken(MemoryStore, u32);

impl Store for Mistaken {
    fn scan(&mut self, into: &mut dyn Scan) -> Result<(), StoreError> {
        self.0.scan(into)
    }

    fn incarnation(&mut self) -> Result<u64, StoreError> {
        self.0.incarnation()
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        self.1 += 1;
        assert!(self.1 < 3, "a test asked for it");
        self.0.commit(batch)
    }

    fn idle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn space(&mut self) -> Result<Space, StoreError> {
        self.0.space()
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        self.0.reserve(bytes)
    }

    fn release(&mut self) -> bool {
        self.0.release()
    }

    fn reader(&mut self) -> Result<Box<dyn Reader>, StoreError> {
        self.0.reader()
    }
}

#[tokio::test]
async fn a_writer_that_panics_fails_the_journal_and_nobody_waits_for_ever() {
    let store = Box::new(Mistaken(MemoryStore::new(), 0));
    let (journal, _) = Journal::start(store, Keeping::default()).unwrap();
    journal.append(key(1), &begun(1)).await.unwrap();
    let lost = journal.append(key(1), &at(AT, &[closed()])).await;
    assert_eq!(lost, Err(Lost));
    assert!(journal.failed().await.contains("panicked"));
    assert_eq!(journal.admits(), Err(Full::Failed));
    let late = journal.append(key(2), &begun(2)).await;
    assert_eq!(late, Err(Lost));
    journal.close().await;
}

#[test]
fn a_log_that_failed_stays_failed() {
    let (memory, faults) = (MemoryStore::new(), Faults::new());
    let (mut log, _) = Log::open(faulty(&memory, &faults), Keeping::default()).unwrap();
    faults.next_commit(CommitFault::WriteError);
    log.append(key(1), &begun(1));
    let failed = log.commit().unwrap_err();
    assert!(matches!(failed, StoreError::Failed(_)));
    assert_eq!(log.commit(), Err(failed));
}

/// F-D3.
#[test]
fn a_torn_batch_is_not_there_and_one_that_was_not_acknowledged_may_be() {
    for (fault, there) in [(CommitFault::Torn, 0), (CommitFault::CrashAfter, 1)] {
        let (memory, faults) = (MemoryStore::new(), Faults::new());
        let keeping = Keeping::default();
        let (mut log, _) = Log::open(faulty(&memory, &faults), keeping).unwrap();
        log.append(key(1), &begun(1));
        log.commit().unwrap();
        faults.next_commit(fault);
        log.append(key(1), &unmuting(1, 10)[3..]);
        log.commit().unwrap_err();
        let dead = log.commit().unwrap_err();
        assert!(matches!(dead, StoreError::Failed(_)), "{dead}");

        let (_, recovery) = Log::open(faulty(&memory, &Faults::new()), keeping).unwrap();
        assert_eq!(recovery.calls[0].book.open().len(), there, "{fault:?}");
    }
}

/// F-D3, on a real log cut at every place.
#[test]
fn a_write_ahead_log_cut_anywhere_keeps_whole_batches_from_the_front() {
    let whole = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(whole.path(), Durability::ProcessCrash).unwrap();
    let (mut log, _) = Log::open(Box::new(store), Keeping::default()).unwrap();
    for number in 1..=6 {
        log.append(key(number), &unmuting(number, number));
        log.commit().unwrap();
    }
    let names = ["journal.db", "journal.db-wal"];
    let files = names.map(|name| std::fs::read(whole.path().join(name)).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..=files[1].len()).rev().step_by(1021) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(names[0]), &files[0]).unwrap();
        std::fs::write(folder.path().join(names[1]), &files[1][..cut]).unwrap();
        let Ok(store) = SqliteStore::open(folder.path(), Durability::PowerLoss) else {
            panic!("cut at {cut}");
        };
        let (_, recovery) = Log::open(Box::new(store), Keeping::default()).unwrap();
        assert_eq!(recovery.quarantined, [], "cut at {cut}");
        let calls = recovery.calls.len();
        for (call, number) in recovery.calls.iter().zip(1..) {
            assert_eq!(call.records, unmuting(number, number), "cut at {cut}");
        }
        seen.insert(calls);
    }
    assert!(seen.contains(&6) && seen.len() >= 6, "{seen:?}");
}

/// What is written over the log's beginning counts, also where the process died before more of it
/// was written over.
#[test]
fn a_log_that_was_copied_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), Durability::PowerLoss).unwrap();
    let (mut log, _) = Log::open(Box::new(store), Keeping::default()).unwrap();
    let names = ["journal.db", "journal.db-wal"];
    // it is longer than what was written into it
    let bytes = || {
        let log = std::fs::read(folder.path().join(names[1])).unwrap();
        let written = |block: &[u8]| block != &[0; 4096][..block.len()];
        log.chunks(4096)
            .rposition(written)
            .map_or(0, |last| last + 1)
            * 4096
    };
    let mut number = 0;
    let mut write = |log: &mut Log| {
        number += 1;
        log.append(key(number), &unmuting(number, number));
        log.commit().unwrap();
        number
    };
    while bytes() <= 256 << 10 {
        write(&mut log);
        assert_eq!(log.idle(), Ok(()));
    }
    for _ in 0..200 {
        let written = write(&mut log);
        assert_eq!(log.idle(), Ok(()));
        assert!(bytes() < 512 << 10, "{}", bytes());
        if written % 25 == 0 {
            let left = tempfile::tempdir().unwrap();
            for name in names {
                std::fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
            }
            let store = SqliteStore::open(left.path(), Durability::PowerLoss).unwrap();
            let (_, recovery) = Log::open(Box::new(store), Keeping::default()).unwrap();
            assert_eq!(recovery.quarantined, []);
            assert_eq!(recovery.calls.len() as u128, written);
            for (call, number) in recovery.calls.iter().zip(1..) {
                assert_eq!(call.records, unmuting(number, number));
            }
        }
    }
}

/// F-D4: any bit of any row.
#[test]
fn a_call_with_a_flipped_bit_is_quarantined_and_the_others_start() {
    let (memory, faults) = (MemoryStore::new(), Faults::new());
    let (mut log, _) = Log::open(faulty(&memory, &faults), Keeping::default()).unwrap();
    for number in 1..=3 {
        log.append(key(number), &unmuting(number, number));
    }
    log.commit().unwrap();
    for number in 1..=5 {
        for bit in (0..4096).step_by(37) {
            faults.flip(key(2), number, bit);
            let (_, recovery) = Log::open(faulty(&memory, &faults), Keeping::default()).unwrap();
            faults.flip(key(2), number, bit);
            let (quarantined, why) = &recovery.quarantined[0];
            assert_eq!(*quarantined, key(2));
            assert!(why.contains(&format!("row {number}")), "{why}");
            let named = recovery.adrift.first().map(|(key, id)| (*key, id.as_str()));
            let known = (number != 2).then_some((key(2), "call-2"));
            assert_eq!(named, known, "row 2 has its id");
            let open: Vec<_> = recovery.calls.iter().map(|call| call.key).collect();
            assert_eq!(open, [key(1), key(3)]);
        }
    }
    let (_, recovery) = Log::open(faulty(&memory, &faults), Keeping::default()).unwrap();
    assert_eq!(recovery.calls.len(), 3, "nothing was deleted");
}

/// F-D4.
#[test]
fn records_that_contradict_each_other_are_quarantined() {
    let memory = MemoryStore::new();
    let (mut log, _) = Log::open(Box::new(memory.clone()), Keeping::default()).unwrap();
    log.append(key(1), &begun(1));
    log.append(key(1), &at(AT, &[verdict(10)]));
    log.append(key(2), &begun(2));
    log.commit().unwrap();
    let (_, recovery) = Log::open(Box::new(memory), Keeping::default()).unwrap();
    assert_eq!(recovery.calls.len(), 1);
    let (quarantined, why) = &recovery.quarantined[0];
    assert_eq!(*quarantined, key(1));
    assert!(why.contains("not open"), "{why}");
}

/// F-D5.
#[tokio::test]
async fn while_the_disk_is_slow_appends_return_at_once_and_share_the_next_commit() {
    let (memory, faults) = (MemoryStore::new(), Faults::new());
    let (journal, _) = Journal::start(faulty(&memory, &faults), Keeping::default()).unwrap();
    faults.stall();
    let mut tickets = vec![journal.append(key(0), &begun(0))];
    faults.until_stalled();
    tickets.extend(
        (1..=100).map(|number| journal.append(key(number), &unmuting(number, number)[..3])),
    );
    assert!(tickets.iter_mut().all(|ticket| ticket.now().is_none()));
    let before = faults.commits();
    faults.resume();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    // 300 records, 256 of them in one commit
    assert_eq!(faults.commits() - before, 3);
}

/// F-D5: what waits is bounded, and what was accepted keeps its place.
#[tokio::test]
async fn a_journal_that_is_behind_admits_nothing_new_before_accepted_commands_lack_room() {
    let (memory, faults) = (MemoryStore::new(), Faults::new());
    let (journal, _) = Journal::start(faulty(&memory, &faults), Keeping::default()).unwrap();
    faults.stall();
    let mut accepted = 0;
    let mut tickets = Vec::new();
    while journal.admits().is_ok() {
        accepted += 1;
        tickets.push(journal.append(CallKey(accepted), &unmuting(accepted, accepted)));
    }
    assert!(matches!(journal.admits(), Err(Full::Behind { .. })));
    assert!((10_000..100_000).contains(&accepted), "{accepted}");
    for number in 1..=accepted {
        let rest = at(AT, &[verdict(number), closed()]);
        tickets.push(journal.append(CallKey(number), &rest));
    }
    faults.resume();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    assert_eq!(journal.admits(), Ok(()));
    let found = journal.operation(&call_id(7), &operation(7)).await.unwrap();
    assert!(found.unwrap().verdict.is_some());
}
