//! The journal: opened before anything else is started, its calls taken up, its failure told.

use std::time::Duration;

use anyhow::Context as _;
use openmic_edge::Readiness;
use openmic_engine::Recovered;
use openmic_journal::{Durability, Journal, JournalConfig, Look, Recovery};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{self, Instant};

use crate::resolve::Records;

/// How long calls with open commands may hold up that the process is ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open journal.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) found: Recovery,
    /// The folder that goes with the process.
    pub(crate) temporary: Option<TempDir>,
}

/// Opens the journal as planned.
///
/// # Errors
/// Says what is wrong with the folder and what to do.
pub(crate) async fn open(records: Records) -> anyhow::Result<Opened> {
    let (config, temporary) = match records {
        Records::Kept(config) => (config, None),
        Records::Temporary => {
            let folder = TempDir::with_prefix("openmic-").context("a folder for the journal")?;
            (JournalConfig::new(folder.path()), Some(folder))
        }
    };
    if config.durability == Durability::None {
        tracing::warn!(
            "journal.durability is \"none\": a crash of the system or a loss of power can damage \
             the whole journal; it is for tests"
        );
    }
    let folder = config.folder.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Journal::open(&config)).await?;
    let (journal, found) = opened.context("journal.folder")?;
    if temporary.is_none() {
        tracing::info!(
            folder,
            open_calls = found.calls.len(),
            quarantined = found.quarantined.len(),
            incarnation = found.incarnation,
            "the journal is open"
        );
    }
    Ok(Opened {
        journal,
        found,
        temporary,
    })
}

/// Looks at the journal's folder without touching it; says what is there.
///
/// # Errors
/// What opening it would meet.
pub(crate) fn look(records: &Records) -> anyhow::Result<String> {
    let Records::Kept(config) = records else {
        return Ok("journal in a temporary folder".to_owned());
    };
    let seen = Look::at(&config.folder).context("journal.folder")?;
    let what = match seen {
        Look::New => "new",
        Look::InUse => "in use by a running process",
        _ => "there",
    };
    Ok(format!(
        "journal in {} ({what}), durability {}",
        config.folder.display(),
        config.durability.as_str()
    ))
}

/// The process is not ready while the journal's disk has no room, as far as that is known now; the
/// future goes on with it.
pub(crate) fn watch_room(
    mut room: watch::Receiver<bool>,
    readiness: Readiness,
) -> impl Future<Output = ()> + Send + 'static {
    let tell = move |has_room: bool| {
        if has_room {
            readiness.clear("journal");
        } else {
            readiness.block(
                "journal",
                "storage_full: its disk has less than journal.min_free left; new calls and commands \
                 are answered 507 until there is room again",
            );
        }
    };
    tell(*room.borrow_and_update());
    async move {
        while room.changed().await.is_ok() {
            tell(*room.borrow_and_update());
        }
    }
}

/// Tells how the calls of before are taken up. The process is not ready until those with open
/// commands were looked at, or a while is over.
pub(crate) async fn take_up(mut progress: watch::Receiver<Recovered>, readiness: Readiness) {
    let begun = Instant::now();
    let until = begun + PATIENCE;
    let open = progress.borrow().open;
    if open == 0 {
        return;
    }
    let ready = time::timeout_at(until, async {
        until_all(&mut progress, |now| {
            if now.is_ready() {
                return true;
            }
            let words = format!(
                "taking up {} calls of before: {} are looked at, {} with open commands are not",
                now.open, now.probed, now.pending
            );
            readiness.block("recovery", words);
            false
        })
        .await;
    });
    if ready.await.is_err() {
        tracing::warn!(
            "calls with open commands are not all looked at; taking requests all the same"
        );
    }
    readiness.clear("recovery");
    until_all(&mut progress, Recovered::is_done).await;
    let done = *progress.borrow();
    tracing::info!(
        open,
        adopted = done.adopted,
        closed = done.closed,
        lost = done.lost,
        seconds = begun.elapsed().as_secs_f32(),
        "the calls of before are taken up"
    );
}

/// Waits until `done` says so, asked at each step of the recovery.
async fn until_all(
    progress: &mut watch::Receiver<Recovered>,
    mut done: impl FnMut(&Recovered) -> bool,
) {
    loop {
        if done(&progress.borrow_and_update()) {
            return;
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_room_it_is_not_ready_and_with_room_again_it_is() {
        let (has_room, room) = watch::channel(false);
        let readiness = Readiness::new();
        let watching = tokio::spawn(watch_room(room, readiness.clone()));
        for now in [true, false, true] {
            has_room.send_replace(now);
            let until = async {
                while readiness.is_ready() != now {
                    tokio::task::yield_now().await;
                }
            };
            let told = time::timeout(PATIENCE, until).await;
            assert!(told.is_ok(), "{now}");
        }
        drop(has_room);
        watching.await.unwrap();
    }

    #[tokio::test]
    async fn a_recovery_says_how_far_it_is_and_is_ready_before_it_is_done() {
        let step = |pending, probed| {
            let mut now = Recovered::default();
            (now.open, now.pending, now.probed) = (3, pending, probed);
            now
        };
        let (looked, progress) = watch::channel(step(2, 0));
        let readiness = Readiness::new();
        let taking_up = tokio::spawn(take_up(progress, readiness.clone()));
        let says = async |words: &str| {
            let until = async {
                while !format!("{readiness:?}").contains(words) {
                    tokio::task::yield_now().await;
                }
            };
            let told = time::timeout(PATIENCE, until).await;
            assert!(told.is_ok(), "not {words} but {readiness:?}");
        };
        says("taking up 3 calls of before: 0 are looked at, 2 with open commands are not").await;
        looked.send_replace(step(1, 1));
        says("taking up 3 calls of before: 1 are looked at, 1 with open commands are not").await;
        assert!(!readiness.is_ready());
        looked.send_replace(step(0, 2));
        says("{}").await;
        assert!(readiness.is_ready());
        assert!(
            !taking_up.is_finished(),
            "one call is still to be looked at"
        );
        looked.send_replace(step(0, 3));
        assert!(time::timeout(PATIENCE, taking_up).await.is_ok());
    }
}
