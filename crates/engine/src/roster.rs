//! The roster of a call as a stream inside the process.

use openmic_model::RosterVersion;
use tokio::sync::watch;

/// A stream of one call's roster: a snapshot first, then each version.
///
/// It holds no queue. Whoever reads slower than the roster changes skips to the latest version,
/// which then comes as a snapshot; what comes as a change always follows what came before.
#[derive(Debug)]
pub struct RosterStream {
    versions: watch::Receiver<Option<RosterVersion>>,
    last: Option<openmic_model::Version>,
}

/// One item of a [`RosterStream`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterEvent {
    /// Take the roster as a whole.
    Snapshot(RosterVersion),
    /// Its `changes` follow the version before.
    Delta(RosterVersion),
}

impl RosterStream {
    pub(crate) fn new(versions: watch::Receiver<Option<RosterVersion>>) -> Self {
        Self {
            versions,
            last: None,
        }
    }

    /// The next version, or `None` once the call is over and everything was read.
    ///
    /// Safe to cancel: nothing is lost.
    pub async fn next(&mut self) -> Option<RosterEvent> {
        loop {
            let version = self.versions.borrow_and_update().clone();
            if let Some(version) = version
                && self.last.is_none_or(|last| version.version > last)
            {
                let follows = self.last.is_some_and(|last| {
                    last.epoch == version.version.epoch && last.seq + 1 == version.version.seq
                });
                self.last = Some(version.version);
                return Some(if follows {
                    RosterEvent::Delta(version)
                } else {
                    RosterEvent::Snapshot(version)
                });
            }
            self.versions.changed().await.ok()?;
        }
    }
}
