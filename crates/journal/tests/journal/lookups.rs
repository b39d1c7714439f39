//! What is asked for long after, and what is kept how long.

use std::time::Duration;

use openmic_journal::{Journal, JournalConfig, Keeping, Log, MemoryStore, Repeated};
use openmic_model::{Record, WallTime};

use crate::facts::{
    AT, accepted, at, attempt, begun, call_id, closed, confirmed, intent, key, operation, scope,
    verdict,
};

const HOUR: u64 = 3_600_000;

fn later(hours: u64) -> WallTime {
    WallTime(AT.0 + hours * HOUR)
}

#[tokio::test]
async fn a_settled_command_is_found_by_its_operation_after_the_call_ended() {
    let folder = tempfile::tempdir().unwrap();
    let config = JournalConfig::new(folder.path());
    let (journal, _) = Journal::open(&config).unwrap();
    journal.append(key(1), &begun(1)).await.unwrap();
    let records = at(Journal::now(), &[accepted(10, None), attempt(10, 1)]);
    journal.append(key(1), &records).await.unwrap();
    let running = journal.operation(&call_id(1), &operation(10)).await;
    assert_eq!(running.unwrap().unwrap().verdict, None);
    let settled = Journal::now();
    let records = at(settled, &[verdict(10), closed()]);
    journal.append(key(1), &records).await.unwrap();
    journal.close().await;

    let (journal, recovery) = Journal::open(&config).unwrap();
    assert!(recovery.calls.is_empty());
    let found = journal.operation(&call_id(1), &operation(10)).await;
    let found = found.unwrap().unwrap();
    assert_eq!(found.verdict, Some((settled, confirmed())));
    assert_eq!(found.call, Some(call_id(1)));
    assert_eq!(
        Record::Accepted(Box::new(found.accepted)),
        accepted(10, None)
    );
    let of_another = journal.operation(&call_id(2), &operation(10)).await;
    assert_eq!(of_another.unwrap(), None, "it is no operation of that call");
}

#[tokio::test]
async fn a_verdict_after_a_restart_is_found_by_the_operation_of_before() {
    let memory = MemoryStore::new();
    let open = || Journal::inline(Box::new(memory.clone()), Keeping::default()).unwrap();
    let (journal, _) = open();
    let records = [begun(1), at(AT, &[accepted(10, None)])].concat();
    journal.append(key(1), &records).await.unwrap();
    let (journal, _) = open();
    let records = at(AT, &[verdict(10)]);
    journal.append(key(1), &records).await.unwrap();
    let found = journal.operation(&call_id(1), &operation(10)).await;
    assert_eq!(found.unwrap().unwrap().verdict, Some((AT, confirmed())));
}

#[tokio::test]
async fn the_latest_request_of_a_scope_is_found() {
    let journal = Journal::in_memory();
    let Record::Intent(mut first) = intent() else {
        unreachable!()
    };
    first.repeat = Some(Box::new(openmic_model::Repeat {
        scope: scope(1),
        print: [2; 32],
    }));
    let mut call = begun(1);
    call[0].1 = Record::Intent(first);
    journal.append(key(1), &call).await.unwrap();
    let found = journal.repeated(scope(1)).await.unwrap().unwrap();
    assert_eq!(found.repeat().unwrap().print, [2; 32]);
    let Repeated::Call(made) = found else {
        panic!("{found:?}")
    };
    assert_eq!(made.call, Some(call_id(1)));

    for (command, hours) in [(10, 1), (11, 2)] {
        let accepted = at(later(hours), &[accepted(command, Some(scope(5)))]);
        journal.append(key(1), &accepted).await.unwrap();
    }
    let done = at(later(3), &[verdict(11)]);
    journal.append(key(1), &done).await.unwrap();
    let found = journal.repeated(scope(5)).await.unwrap();
    let Some(Repeated::Command(command)) = found else {
        panic!("{found:?}")
    };
    assert_eq!(command.accepted.asked.unwrap().operation, operation(11));
    assert_eq!(command.verdict, Some((later(3), confirmed())));
    assert_eq!(journal.repeated(scope(6)).await.unwrap(), None);

    // Some callers send the same `client-request-id` with everything.
    for command in 100..300 {
        let accepted = [accepted(command, Some(scope(5))), verdict(command)];
        journal
            .append(key(1), &at(later(3), &accepted))
            .await
            .unwrap();
    }
    let found = journal.repeated(scope(5)).await.unwrap();
    let Some(Repeated::Command(command)) = found else {
        panic!("{found:?}")
    };
    assert_eq!(command.accepted.asked.unwrap().operation, operation(299));
}

#[tokio::test]
async fn an_answer_is_kept_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = JournalConfig::new(folder.path());
    let (journal, _) = Journal::open(&config).unwrap();
    let now = Journal::now();
    let kept = journal.keep_answer(now, scope(1), [2; 32], b"201 and so on".to_vec());
    kept.await.unwrap();
    journal.close().await;
    let (journal, _) = Journal::open(&config).unwrap();
    let answer = journal.answer(scope(1)).await.unwrap().unwrap();
    assert_eq!((answer.print, answer.at), ([2; 32], now));
    assert_eq!(answer.body, b"201 and so on");
    assert_eq!(journal.answer(scope(2)).await.unwrap(), None);
}

#[test]
fn ended_calls_and_answers_go_after_the_retention_and_not_before() {
    let memory = MemoryStore::new();
    let open = || Log::open(Box::new(memory.clone()), Keeping::default()).unwrap();
    let (mut log, _) = open();
    log.append(key(1), &begun(1));
    log.append(key(1), &at(later(1), &[closed()]));
    log.append(key(2), &begun(2));
    log.keep_answer(later(1), scope(1), [0; 32], vec![1; 10]);
    log.commit().unwrap();
    assert_eq!(log.sweep(later(25)).unwrap().dropped, 0);
    // as after a restart
    let (mut log, _) = open();
    assert_eq!(log.sweep(later(25)).unwrap().dropped, 0);
    assert_eq!(log.sweep(WallTime(later(25).0 + 1)).unwrap().dropped, 2);
    log.commit().unwrap();
    let (_, recovery) = open();
    assert_eq!(recovery.calls.len(), 1, "a call that is open stays");
    assert_eq!(
        format!("{memory:?}"),
        "MemoryStore { rows: 3, answers: 0, .. }"
    );
}

#[test]
fn answers_are_bounded_by_their_bytes() {
    let memory = MemoryStore::new();
    let keeping = Keeping {
        answers: 3000,
        ..Keeping::default()
    };
    let (mut log, _) = Log::open(Box::new(memory.clone()), keeping).unwrap();
    for number in 0..20 {
        log.keep_answer(later(1), scope(number), [0; 32], vec![1; 300]);
        log.commit().unwrap();
    }
    assert_eq!(
        format!("{memory:?}"),
        "MemoryStore { rows: 0, answers: 3, .. }"
    );
    log.keep_answer(later(2), scope(99), [0; 32], vec![1; 5000]);
    log.commit().unwrap();
    assert_eq!(
        format!("{memory:?}"),
        "MemoryStore { rows: 0, answers: 1, .. }",
        "one that is larger is alone"
    );
    for number in 0..20 {
        log.keep_answer(later(3), scope(number), [0; 32], vec![1]);
        log.commit().unwrap();
    }
    assert_eq!(
        format!("{memory:?}"),
        "MemoryStore { rows: 0, answers: 5, .. }",
        "those of a word cost something, too"
    );
}

#[test]
fn settled_commands_of_an_open_call_go_after_the_retention() {
    let memory = MemoryStore::new();
    let (mut log, _) = Log::open(Box::new(memory.clone()), Keeping::default()).unwrap();
    log.append(key(1), &begun(1));
    for command in 1..=10 {
        let unmute = [
            accepted(command, None),
            attempt(command, 1),
            verdict(command),
        ];
        log.append(key(1), &at(later(u64::try_from(command).unwrap()), &unmute));
    }
    log.commit().unwrap();
    assert_eq!(log.sweep(later(25)).unwrap().dropped, 0);
    // the retention of the first five is over
    assert_eq!(log.sweep(WallTime(later(29).0 + 1)).unwrap().dropped, 15);
    log.commit().unwrap();
    // that of all; the last one stays, and the one before it, whose POST is not known to have ended
    assert_eq!(log.sweep(later(100)).unwrap().dropped, 9);
    log.commit().unwrap();
    assert_eq!(log.sweep(later(100)).unwrap().dropped, 0);
    let (_, recovery) = Log::open(Box::new(memory), Keeping::default()).unwrap();
    assert!(recovery.calls[0].book.restored().commanded);
    assert_eq!(recovery.calls[0].book.restored().last.unwrap().number, 1);
}

#[test]
fn only_so_many_settled_commands_are_kept_of_a_call() {
    let keeping = Keeping {
        settled: 100,
        retention: Duration::from_hours(10_000),
        ..Keeping::default()
    };
    let memory = MemoryStore::new();
    let (mut log, _) = Log::open(Box::new(memory.clone()), keeping).unwrap();
    log.append(key(1), &begun(1));
    for command in 1..=1000 {
        let unmute = [
            accepted(command, None),
            attempt(command, 1),
            verdict(command),
        ];
        log.append(key(1), &at(AT, &unmute));
        log.commit().unwrap();
        log.sweep(AT).unwrap();
    }
    log.commit().unwrap();
    let (_, recovery) = Log::open(Box::new(memory), keeping).unwrap();
    let kept = recovery.calls[0].records.len();
    assert!((300..1200).contains(&kept), "{kept}");
}

/// A commit that somebody waits for does not wait for all of a long call to be read and thinned.
#[test]
fn a_long_call_is_thinned_in_parts_and_whole_after_each() {
    let keeping = Keeping {
        settled: 10,
        ..Keeping::default()
    };
    let memory = MemoryStore::new();
    let (mut log, _) = Log::open(Box::new(memory.clone()), keeping).unwrap();
    log.append(key(1), &begun(1));
    for command in 1..=1000 {
        let unmute = [
            accepted(command, None),
            attempt(command, 1),
            verdict(command),
        ];
        log.append(key(1), &at(later(1), &unmute));
    }
    log.commit().unwrap();
    let whole = |memory: &MemoryStore| {
        let (_, mut recovery) = Log::open(Box::new(memory.clone()), keeping).unwrap();
        assert_eq!(recovery.quarantined, []);
        recovery.calls.remove(0).book.restored()
    };
    let (before, mut sweeps, mut dropped) = (whole(&memory), 0, 0);
    loop {
        let swept = log.sweep(later(2)).unwrap();
        log.commit().unwrap();
        assert!(swept.read <= 1024 && swept.dropped < 520, "{swept:?}");
        assert_eq!(whole(&memory), before, "after {sweeps} sweeps");
        (sweeps, dropped) = (sweeps + 1, dropped + swept.dropped);
        if !swept.more {
            break;
        }
    }
    assert!((3..20).contains(&sweeps), "{sweeps}");
    assert!((2900..=2970).contains(&dropped), "{dropped}");
    assert_eq!(log.sweep(later(2)).unwrap().dropped, 0, "the round is over");
}
