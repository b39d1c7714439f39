use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{CallId, Participant, ParticipantId};

/// All participants of a call, by id. Entries are shared, so that a version costs its changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    entries: BTreeMap<ParticipantId, Arc<Participant>>,
}

impl Roster {
    /// The entry of `id`.
    pub fn get(&self, id: &ParticipantId) -> Option<&Arc<Participant>> {
        self.entries.get(id)
    }

    /// All entries, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Participant>> {
        self.entries.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nobody is there.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes one change. Adding what is there replaces it; removing what is not there is nothing.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Upsert(participant) => {
                self.entries
                    .insert(participant.id.clone(), Arc::clone(participant));
            }
            Change::Remove(id) => {
                self.entries.remove(id);
            }
        }
    }
}

/// One visible change of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody came or changed.
    Upsert(Arc<Participant>),
    /// Somebody left.
    Remove(ParticipantId),
}

/// What one roster notification or GET says, before it is merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RosterUpdate {
    /// An array of participants that Graph means as the whole roster.
    Full(Vec<Participant>),
    /// `deltaParticipants`: what changed since the notification before.
    Delta {
        /// Orders the deltas of one call.
        sequence_number: Option<u64>,
        /// What changed.
        entries: Vec<DeltaEntry>,
    },
}

/// One entry of a delta roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct DeltaEntry {
    /// The entry as it is now, or as it was when it left.
    pub participant: Participant,
    /// It left: `removedState` was set.
    pub removed: bool,
}

/// A place in the history of a call's roster. Ordered: a higher epoch beats any number.
///
/// Both stay below 2^53, so that JavaScript reads them exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Version {
    /// New and higher after a recovery or a change of owner.
    pub epoch: u64,
    /// +1 per visible change, from 1.
    pub seq: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Reads `epoch:seq`, as in `?since=`.
    fn from_str(raw: &str) -> Result<Self, VersionError> {
        let (epoch, seq) = raw.split_once(':').ok_or(VersionError)?;
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            if plain {
                text.parse().map_err(|_| VersionError)
            } else {
                Err(VersionError)
            }
        };
        Ok(Self {
            epoch: number(epoch)?,
            seq: number(seq)?,
        })
    }
}

/// A version that is not `epoch:seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a roster version is two whole numbers, epoch:seq")]
pub struct VersionError;

/// One version of a call's roster, with the changes that led to it from the one before.
///
/// Cheap to clone; every subscriber shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterVersion {
    /// Whose roster.
    pub call: CallId,
    /// Where in its history.
    pub version: Version,
    /// Everybody, after the changes.
    pub roster: Arc<Roster>,
    /// From `(epoch, seq - 1)` to here; empty only when `seq` is 1 and nobody is there.
    pub changes: Arc<[Change]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_back_what_it_prints() {
        let version = Version {
            epoch: 1_764_000_000_000,
            seq: 7,
        };
        assert_eq!(version.to_string().parse(), Ok(version));
        for bad in [
            "",
            "1",
            ":",
            "1:",
            ":1",
            "-1:2",
            "+1:2",
            "1:2:3",
            "1:18446744073709551616",
        ] {
            assert_eq!(bad.parse::<Version>(), Err(VersionError), "{bad}");
        }
    }

    #[test]
    fn an_epoch_outweighs_any_number() {
        assert!(Version { epoch: 2, seq: 1 } > Version { epoch: 1, seq: 99 });
    }
}
