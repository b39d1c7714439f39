//! What holds for any records that a call can bring about.

use std::time::Duration;

use openmic_journal::{Journal, Keeping, Log, MemoryStore};
use openmic_model::{Book, CallKey, EndCause, Record, WallTime};
use proptest::prelude::*;

use crate::facts::{call_id, key};
use crate::scribe::{Scribe, Step, steps};

fn open(memory: &MemoryStore, keeping: Keeping) -> (Log, openmic_journal::Recovery) {
    Log::open(Box::new(memory.clone()), keeping).unwrap()
}

proptest! {
    /// A crash may cut the records anywhere.
    #[test]
    fn any_prefix_folds(steps in steps(), end in any::<bool>()) {
        let mut scribe = Scribe::of(1, &steps);
        if end {
            scribe.end(EndCause::Gone);
        }
        let mut book = Book::default();
        for (at, record) in &scribe.records {
            book.apply(*at, record).unwrap();
        }
        prop_assert_eq!(book.ended().is_some(), end);
        prop_assert_eq!(&Book::of(&scribe.records).unwrap(), &book);
    }

    /// What is written is read, to the last character.
    #[test]
    fn records_come_back_as_they_went(calls in proptest::collection::vec(steps(), 1..5)) {
        let memory = MemoryStore::new();
        let (mut log, _) = open(&memory, Keeping::default());
        let calls: Vec<_> = (1..)
            .zip(&calls)
            .map(|(number, steps)| (key(number), Scribe::of(number, steps).records))
            .collect();
        // in turns, as the writer gets them
        let longest = calls.iter().map(|(_, records)| records.len()).max().unwrap_or(0);
        for at in 0..longest {
            for (key, records) in &calls {
                log.append(*key, records.get(at..=at).unwrap_or_default());
            }
            log.commit().unwrap();
        }
        let (_, recovery) = open(&memory, Keeping::default());
        prop_assert_eq!(recovery.quarantined, []);
        let found: Vec<_> = recovery.calls.into_iter().map(|call| (call.key, call.records)).collect();
        prop_assert_eq!(found, calls);
    }

    /// What is deleted is not missed: neither by a recovery nor, of what is young, by who asks.
    #[test]
    fn compaction_changes_nothing_that_a_call_is_recovered_from(
        steps in steps(),
        settled in 0..6_usize,
        hours in 1..72_u64,
        sweeps in proptest::collection::vec(0..120_usize, 0..4),
    ) {
        let keeping = Keeping {
            settled,
            retention: Duration::from_hours(hours),
            ..Keeping::default()
        };
        let memory = MemoryStore::new();
        let (mut log, _) = open(&memory, keeping);
        let mut scribe = Scribe::new(1);
        let mut written = 0;
        for (at, step) in steps.iter().enumerate() {
            scribe.step(1, step);
            log.append(key(1), &scribe.records[written..]);
            written = scribe.records.len();
            log.commit().unwrap();
            if sweeps.contains(&at) {
                log.sweep(scribe.now()).unwrap();
                log.commit().unwrap();
            }
        }
        while log.sweep(scribe.now()).unwrap().more {
            log.commit().unwrap();
        }
        log.commit().unwrap();
        let whole = Book::of(&scribe.records).unwrap();
        let (_, recovery) = open(&memory, keeping);
        prop_assert_eq!(recovery.quarantined, []);
        if written == 0 {
            return Ok(());
        }
        let book = &recovery.calls[0].book;
        prop_assert_eq!(book.restored(), whole.restored());
        prop_assert_eq!(book.epoch(), whole.epoch());
        prop_assert_eq!(book.id(), whole.id());
    }

    /// Every command of the last 24 h is found, with its verdict if it has one.
    #[test]
    fn every_command_is_found_by_its_operation(steps in steps()) {
        let memory = MemoryStore::new();
        let mut scribe = Scribe::new(1);
        scribe.step(1, &Step::Opened { me: false });
        for step in steps.iter().filter(|step| !matches!(step, Step::Wait { .. })) {
            scribe.step(1, step);
        }
        let (journal, _) = Journal::inline(Box::new(memory), Keeping::default()).unwrap();
        assert_eq!(journal.append(CallKey(1), &scribe.records).now(), Some(Ok(())));
        let verdict = |command| scribe.records.iter().find_map(|(at, record)| match record {
            Record::Verdict { command: of, verdict, .. } if *of == command => {
                Some((*at, verdict.clone()))
            }
            _ => None,
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (at, record) in &scribe.records {
            let Record::Accepted(accepted) = record else { continue };
            let Some(asked) = &accepted.asked else { continue };
            let found = runtime
                .block_on(journal.operation(&call_id(1), &asked.operation))
                .unwrap()
                .unwrap();
            prop_assert_eq!(found.at, *at);
            prop_assert_eq!(found.verdict, verdict(accepted.command));
            prop_assert_eq!(&found.accepted, &**accepted);
        }
    }
}

/// The order of records of the same moment is that of their numbers.
#[test]
fn a_clock_that_is_set_back_changes_no_order() {
    let memory = MemoryStore::new();
    let (mut log, _) = open(&memory, Keeping::default());
    let mut scribe = Scribe::of(1, &[Step::Opened { me: true }, Step::Epoch]);
    for (at, (time, _)) in scribe.records.iter_mut().enumerate() {
        *time = WallTime(1000 - at as u64);
    }
    log.append(key(1), &scribe.records);
    log.commit().unwrap();
    let (_, recovery) = open(&memory, Keeping::default());
    assert_eq!(recovery.calls[0].records, scribe.records);
}
