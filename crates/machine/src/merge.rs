//! The roster of one call, put together from updates that come late, twice or out of order.
//!
//! Each entry keeps the version with the higher `rosterSequenceNumber`; who left leaves a
//! tombstone, so that an older update does not bring them back. Numbered updates therefore give
//! the same roster in any order. Updates without numbers replace by arrival, and whatever is
//! doubtful is reported, so that the machine asks by GET.

use std::collections::VecDeque;
use std::sync::Arc;

use openmic_model::{Change, DeltaEntry, Participant, ParticipantId, Roster, RosterUpdate};

/// Tombstones kept; the oldest is forgotten first.
const TOMBSTONES: usize = 256;
/// Missing delta numbers remembered; over that the hole cannot fill and only a GET helps.
const MISSING: usize = 16;

/// The merged roster and what it knows of the numbers it saw.
#[derive(Debug, Clone, Default)]
pub struct Merge {
    roster: Arc<Roster>,
    tombstones: VecDeque<(ParticipantId, u64)>,
    highest: u64,
    last_delta: Option<u64>,
    missing: Vec<u64>,
    unnumbered_notices: u32,
}

/// What one update did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// Visible changes, in the order of the update.
    pub changes: Vec<Change>,
    /// `isMuted` of the own entry, as this update stated it.
    pub own_muted: Option<bool>,
    /// The number that orders the own entry's statement: its own, and the delta's.
    pub own_number: Option<u64>,
    /// The delta's `sequenceNumber`.
    pub delta_number: Option<u64>,
    /// A number is missing, or the update cannot be trusted alone: ask by GET.
    pub doubtful: bool,
    /// A full roster without numbers: it says nothing about when.
    pub unnumbered: bool,
}

/// How far the numbers had got at some moment; what is above it is news since then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    highest: u64,
    delta: u64,
}

/// What a GET must remember of the moment it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReadMark {
    highest: u64,
    unnumbered_notices: u32,
}

impl Merge {
    /// Everybody, as merged so far.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// Whether every hole in the delta numbers has filled.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            highest: self.highest,
            delta: self.last_delta.unwrap_or(0),
        }
    }

    pub(crate) fn read_mark(&self) -> ReadMark {
        ReadMark {
            highest: self.highest,
            unnumbered_notices: self.unnumbered_notices,
        }
    }

    /// Merges a notification. `me` is `myParticipantId`: its absence is never taken for a leave.
    pub fn notice(&mut self, update: &RosterUpdate, me: Option<&ParticipantId>) -> Merged {
        let mut merged = Merged::default();
        match update {
            RosterUpdate::Delta {
                sequence_number,
                entries,
            } => {
                merged.delta_number = *sequence_number;
                merged.doubtful = self.track(*sequence_number);
                for entry in entries {
                    self.delta_entry(entry, me, &mut merged);
                }
            }
            RosterUpdate::Full(entries) => {
                let numbered = is_numbered(entries);
                if !numbered {
                    self.unnumbered_notices += 1;
                    merged.unnumbered = true;
                }
                let bound = if numbered { Some(top(entries)) } else { None };
                self.full(entries, bound, me, &mut merged);
                merged.doubtful |= me.is_some_and(|me| entries.iter().all(|p| p.id != *me));
            }
        }
        merged
    }

    /// Merges the answer to a GET of the roster that began at `mark`.
    pub(crate) fn read(
        &mut self,
        entries: &[Participant],
        mark: ReadMark,
        me: Option<&ParticipantId>,
    ) -> Merged {
        let mut merged = Merged::default();
        let numbered = is_numbered(entries);
        if !numbered && mark.unnumbered_notices != self.unnumbered_notices {
            // A notification came while the GET was under way and nothing tells which is newer.
            merged.doubtful = true;
            merged.own_muted = entries
                .iter()
                .find(|p| Some(&p.id) == me)
                .map(|p| p.is_muted);
            return merged;
        }
        let bound = if numbered {
            Some(mark.highest.max(top(entries)))
        } else {
            None
        };
        self.full(entries, bound, me, &mut merged);
        self.missing.clear();
        merged
    }

    /// Merges one entry that a GET brought.
    pub(crate) fn read_one(&mut self, entry: &Participant) -> Merged {
        let mut merged = Merged::default();
        self.upsert(entry, &mut merged);
        merged.own_muted = Some(entry.is_muted);
        merged
    }

    /// Whether `merged` states the own entry as it was after `mark`.
    pub(crate) fn is_fresh(merged: &Merged, mark: Mark) -> bool {
        let above = |number: Option<u64>, mark: u64| number.is_some_and(|number| number > mark);
        merged.own_muted.is_some()
            && (above(merged.own_number, mark.highest) || above(merged.delta_number, mark.delta))
    }

    fn delta_entry(&mut self, entry: &DeltaEntry, me: Option<&ParticipantId>, merged: &mut Merged) {
        let participant = &entry.participant;
        if entry.removed {
            let number = participant.roster_sequence_number;
            let held = self.held(&participant.id);
            if let (Some(number), Some(held)) = (number, held)
                && number < held
            {
                return;
            }
            self.bury(&participant.id, number.or(held).unwrap_or(self.highest));
            self.highest = self.highest.max(number.unwrap_or(0));
            self.remove(&participant.id, merged);
            return;
        }
        if Some(&participant.id) == me {
            merged.own_muted = Some(participant.is_muted);
            merged.own_number = participant.roster_sequence_number;
        }
        self.upsert(participant, merged);
    }

    /// Takes `entries` for everybody. `bound` is the highest number they know of; whoever is held
    /// above it came later and stays.
    fn full(
        &mut self,
        entries: &[Participant],
        bound: Option<u64>,
        me: Option<&ParticipantId>,
        merged: &mut Merged,
    ) {
        let gone: Vec<ParticipantId> = self
            .roster
            .iter()
            .filter(|held| Some(&held.id) != me)
            .filter(|held| match (bound, held.roster_sequence_number) {
                (Some(bound), Some(number)) => number <= bound,
                _ => true,
            })
            .filter(|held| entries.iter().all(|entry| entry.id != held.id))
            .map(|held| held.id.clone())
            .collect();
        for id in gone {
            if let Some(number) = self.held(&id) {
                self.bury(&id, number);
            }
            self.remove(&id, merged);
        }
        for entry in entries {
            if Some(&entry.id) == me {
                merged.own_muted = Some(entry.is_muted);
                merged.own_number = entry.roster_sequence_number;
            }
            self.upsert(entry, merged);
        }
    }

    fn upsert(&mut self, entry: &Participant, merged: &mut Merged) {
        let number = entry.roster_sequence_number;
        if let Some(number) = number {
            self.highest = self.highest.max(number);
            let buried = self
                .tombstones
                .iter()
                .any(|(id, at)| *id == entry.id && number <= *at);
            let older = self.held(&entry.id).is_some_and(|held| number < held);
            if buried || older {
                return;
            }
        }
        if self
            .roster
            .get(&entry.id)
            .is_some_and(|held| **held == *entry)
        {
            return;
        }
        self.change(Change::Upsert(Arc::new(entry.clone())), merged);
    }

    fn remove(&mut self, id: &ParticipantId, merged: &mut Merged) {
        if self.roster.get(id).is_some() {
            self.change(Change::Remove(id.clone()), merged);
        }
    }

    fn change(&mut self, change: Change, merged: &mut Merged) {
        Arc::make_mut(&mut self.roster).apply(&change);
        merged.changes.push(change);
    }

    /// The number of a held entry.
    fn held(&self, id: &ParticipantId) -> Option<u64> {
        self.roster.get(id)?.roster_sequence_number
    }

    fn bury(&mut self, id: &ParticipantId, number: u64) {
        if let Some((_, at)) = self.tombstones.iter_mut().find(|(buried, _)| buried == id) {
            *at = (*at).max(number);
            return;
        }
        if self.tombstones.len() == TOMBSTONES {
            self.tombstones.pop_front();
        }
        self.tombstones.push_back((id.clone(), number));
    }

    /// Follows the delta's numbers; true when one is newly missing.
    fn track(&mut self, number: Option<u64>) -> bool {
        let Some(number) = number else { return false };
        // The first delta is a snapshot when it is number 1; else its forerunners were missed.
        let last = self.last_delta.unwrap_or(0);
        if number <= last {
            self.missing.retain(|missing| *missing != number);
            return false;
        }
        self.last_delta = Some(number);
        let room = MISSING.saturating_sub(self.missing.len());
        self.missing.extend((last + 1..number).take(room));
        number > last + 1
    }
}

fn is_numbered(entries: &[Participant]) -> bool {
    !entries.is_empty()
        && entries
            .iter()
            .all(|entry| entry.roster_sequence_number.is_some())
}

fn top(entries: &[Participant]) -> u64 {
    entries
        .iter()
        .filter_map(|entry| entry.roster_sequence_number)
        .max()
        .unwrap_or(0)
}
