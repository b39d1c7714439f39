//! The roster of a call as a stream inside the process.

use openmic_machine::Phase;
use openmic_model::{KeptVersion, RosterVersion};

use crate::call::Status;
use crate::watch;

/// A stream of one call's roster: a snapshot first, then each version.
///
/// It holds no queue. Whoever reads slower than the roster changes skips to the latest version,
/// which then comes as a snapshot; what comes as a change always follows what came before.
#[derive(Debug)]
pub struct RosterStream {
    versions: watch::Receiver<Option<KeptVersion>>,
    status: watch::Receiver<Status>,
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
    pub(crate) fn new(
        versions: watch::Receiver<Option<KeptVersion>>,
        status: watch::Receiver<Status>,
    ) -> Self {
        Self {
            versions,
            status,
            last: None,
        }
    }

    /// The next version, or `None` once the call is over and everything was read.
    ///
    /// Safe to cancel: nothing is lost.
    pub async fn next(&mut self) -> Option<RosterEvent> {
        loop {
            // Looked at first: a call publishes its last version before it is over.
            let over = self.phase() == Phase::Terminated;
            if let Some(event) = self.news() {
                return Some(event);
            }
            if over {
                return None;
            }
            tokio::select! {
                changed = self.versions.changed() => changed.ok()?,
                changed = self.status.changed() => changed.ok()?,
            }
        }
    }

    fn phase(&mut self) -> Phase {
        self.status.with_and_update(|status| status.phase)
    }

    fn news(&mut self) -> Option<RosterEvent> {
        let kept = |kept: &Option<KeptVersion>| kept.as_ref().map(KeptVersion::whole);
        let version = self.versions.with_and_update(kept)?;
        let last = self.last.replace(version.version);
        match last {
            Some(last) if version.version <= last => {
                self.last = Some(last);
                None
            }
            Some(last)
                if last.epoch == version.version.epoch && last.seq + 1 == version.version.seq =>
            {
                Some(RosterEvent::Delta(version))
            }
            _ => Some(RosterEvent::Snapshot(version)),
        }
    }
}
