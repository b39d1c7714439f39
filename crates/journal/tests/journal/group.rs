//! Many calls at once over one writer.

use openmic_journal::{Journal, JournalConfig};

use crate::facts::{AT, at, begun, closed, key, unmuting, verdict};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_write_at_once_keep_their_own_order() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    let tasks = (1..=64_u128).map(|number| {
        let journal = journal.clone();
        tokio::spawn(async move {
            journal.append(key(number), &begun(number)).await.unwrap();
            for command in 1..=10 {
                let unmute = &unmuting(number, command)[3..];
                // nobody waits for this one; the next vouches for it
                drop(journal.append(key(number), unmute));
                let verdict = at(AT, &[verdict(command)]);
                journal.append(key(number), &verdict).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    journal.close().await;
    let (_, recovery) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    assert_eq!(recovery.quarantined, []);
    assert_eq!(recovery.calls.len(), 64);
    for call in recovery.calls {
        assert_eq!(call.records.len(), 3 + 10 * 3);
        assert_eq!(call.book.open(), []);
    }
}

#[tokio::test]
async fn what_was_appended_before_the_close_is_durable_and_nothing_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    for number in 1..=500 {
        drop(journal.append(key(number), &begun(number)));
    }
    drop(journal.append(key(500), &at(AT, &[closed()])));
    journal.close().await;
    let late = journal.append(key(1), &at(AT, &[closed()])).await;
    late.unwrap_err();
    let (_, recovery) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    assert_eq!(recovery.calls.len(), 499);
}

#[test]
fn a_ticket_can_be_waited_for_on_a_thread() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&JournalConfig::new(folder.path())).unwrap();
    journal.append(key(1), &begun(1)).wait().unwrap();
}

#[test]
fn in_memory_a_ticket_is_ready_at_once() {
    let journal = Journal::in_memory();
    assert_eq!(journal.append(key(1), &begun(1)).now(), Some(Ok(())));
}
