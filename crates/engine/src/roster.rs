//! The roster of a call as a stream inside the process.

use openmic_machine::Phase;
use openmic_model::{CallId, KeptVersion, RosterVersion};

use crate::told::Told;
use crate::watch;

/// A stream of one call's roster: a snapshot first, then each version.
///
/// It holds no queue. Whoever reads slower than the roster changes skips to the latest version,
/// which then comes as a snapshot; what comes as a change always follows what came before.
#[derive(Debug)]
pub struct RosterStream {
    call: CallId,
    told: watch::Receiver<Told>,
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
    pub(crate) fn new(call: CallId, told: watch::Receiver<Told>) -> Self {
        Self {
            call,
            told,
            last: None,
        }
    }

    /// The next version, or `None` once the call is over and everything was read.
    ///
    /// Safe to cancel: nothing is lost.
    pub async fn next(&mut self) -> Option<RosterEvent> {
        loop {
            let (event, over) = self.news();
            if event.is_some() || over {
                return event;
            }
            self.told.changed().await.ok()?;
        }
    }

    /// What was not read yet, and whether the call is over: then nothing follows.
    fn news(&mut self) -> (Option<RosterEvent>, bool) {
        let Self { call, told, last } = self;
        let newer = |kept: &&KeptVersion| last.is_none_or(|last| last < kept.version());
        let (version, over) = told.with_and_update(|told| {
            let version = told.roster.as_ref().filter(newer);
            let version = version.map(|kept| kept.whole(call));
            (version, told.phase == Phase::Terminated)
        });
        let event = version.map(|version| match last.replace(version.version) {
            Some(last)
                if last.epoch == version.version.epoch && last.seq + 1 == version.version.seq =>
            {
                RosterEvent::Delta(version)
            }
            _ => RosterEvent::Snapshot(version),
        });
        (event, over)
    }
}
