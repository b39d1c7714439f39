//! The roster of one call, put together from updates that come late, twice or out of order.
//!
//! Each entry keeps the version with the higher `rosterSequenceNumber`; who left leaves a
//! tombstone, so that an older update does not bring them back, and a whole roster leaves a floor:
//! somebody it does not list and an older update states was gone by then. Numbered updates
//! therefore give the same roster in any order. Updates without numbers replace by arrival, and
//! whatever is doubtful is reported, so that the machine asks by GET.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use openmic_model::seeded::{self, Bug};
use openmic_model::{
    Change, DeltaEntry, PackedRoster, Participant, ParticipantId, Roster, RosterUpdate,
};

/// Tombstones kept. Over that the oldest raises the floor, which may keep out somebody new whose
/// update comes late: only a GET tells.
const TOMBSTONES: usize = 256;
/// Missing delta numbers remembered; over that the hole cannot fill and only a GET helps.
const MISSING: usize = 16;

/// So many GETs in a row with numbers that went back: they count anew, and the GET is the truth.
/// One alone may come from a part of Graph that lags behind.
const COUNTED_ANEW: u8 = 2;

/// The merged roster and what it knows of the numbers it saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Merge {
    roster: Held,
    /// The highest number of any entry so far.
    highest: u64,
    /// The number up to which a whole roster was seen.
    floor: u64,
    last_delta: u64,
    /// Counts what came without numbers.
    plain: u32,
    /// GETs in a row that showed an entry with a lower number than was known before they began.
    lowered: u8,
    /// `isMuted` of the own entry of a packed roster, so that nobody need look for it.
    pub(crate) own_packed: Option<bool>,
    /// Nothing, in most calls.
    odd: Option<Box<Odd>>,
}

/// A roster that is packed while nothing happens, and opened when somebody looks.
#[derive(Debug, Clone)]
struct Held {
    open: OnceLock<Arc<Roster>>,
    /// The same.
    packed: Option<PackedRoster>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            open: OnceLock::from(Arc::default()),
            packed: None,
        }
    }
}

impl Held {
    fn get(&self) -> &Arc<Roster> {
        self.open.get_or_init(|| {
            let packed = self.packed.as_ref();
            Arc::new(packed.map(PackedRoster::unpack).unwrap_or_default())
        })
    }

    fn apply(&mut self, change: &Change) {
        let mut open = self
            .open
            .take()
            .unwrap_or_else(|| Arc::clone(Self::get(self)));
        self.packed = None;
        Arc::make_mut(&mut open).apply(change);
        self.open = OnceLock::from(open);
    }

    fn pack(&mut self) {
        if self.packed.is_none() {
            self.packed = PackedRoster::pack(self.get());
        }
        if self.packed.is_some() {
            self.open.take();
        }
    }

    fn is_muted(&self, id: &ParticipantId) -> Option<bool> {
        match (self.open.get(), &self.packed) {
            (None, Some(packed)) => packed.is_muted(id),
            _ => self.get().get(id).map(|entry| entry.is_muted),
        }
    }
}

/// What is not as it is when everybody stays and every number comes.
#[derive(Debug, Clone, Default)]
struct Odd {
    tombstones: VecDeque<(ParticipantId, u64)>,
    missing: Vec<u64>,
    /// Everything up to here is missing for all we know: more than could be remembered.
    lost_up_to: u64,
    /// Held entries whose number is of before the numbers went back, and means nothing.
    void: BTreeSet<ParticipantId>,
}

/// What one update did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Visible changes, in the order of the update.
    pub(crate) changes: Vec<Change>,
    /// `isMuted` of the own entry, when the update stated it: as it stands after the merge, since
    /// an older statement than the one held is no news.
    pub(crate) own_muted: Option<bool>,
    /// `isMuted` of the own entry as the update itself states it, old or new.
    pub(crate) own_told: Option<bool>,
    /// The `rosterSequenceNumber` of that statement.
    pub(crate) own_number: Option<u64>,
    /// The delta's `sequenceNumber`.
    pub(crate) delta_number: Option<u64>,
    /// A number is missing, or the update cannot be trusted alone: ask by GET.
    pub(crate) doubtful: bool,
    /// A full roster without numbers: it says nothing about when.
    pub(crate) unnumbered: bool,
}

/// How far the numbers had got at some moment; what is above it is news since then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    highest: u64,
    delta: u64,
}

impl Mark {
    /// Nothing is above it: no number tells what is news, only a GET does.
    pub(crate) const NEVER: Self = Self {
        highest: u64::MAX,
        delta: u64::MAX,
    };
}

/// What a GET must remember of the moment it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReadMark {
    highest: u64,
    delta: u64,
    plain: u32,
}

/// Where an entry comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Notice,
    Read(ReadMark),
}

impl Merge {
    /// Everybody, as merged so far.
    pub(crate) fn roster(&self) -> &Arc<Roster> {
        self.roster.get()
    }

    /// `isMuted` of an entry.
    pub(crate) fn is_muted(&self, id: &ParticipantId) -> Option<bool> {
        self.roster.is_muted(id)
    }

    /// Nothing happens: what is held is held in less memory, if it is little. `own` is the
    /// `isMuted` of the own entry.
    pub(crate) fn pack(&mut self, own: Option<bool>) {
        self.own_packed = own;
        self.roster.pack();
    }

    /// The roster as it is held while nothing happens.
    pub(crate) const fn packed(&self) -> Option<&PackedRoster> {
        self.roster.packed.as_ref()
    }

    /// Whether [`Merge::pack`] may spare something.
    pub(crate) fn is_open(&self) -> bool {
        self.roster.open.get().is_some()
    }

    /// Whether every hole in the delta numbers has filled.
    pub(crate) fn is_whole(&self) -> bool {
        let odd = self.odd.as_ref();
        odd.is_none_or(|odd| odd.missing.is_empty() && odd.lost_up_to == 0)
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            highest: self.highest,
            delta: self.last_delta,
        }
    }

    pub(crate) fn read_mark(&self) -> ReadMark {
        ReadMark {
            highest: self.highest,
            delta: self.last_delta,
            plain: self.plain,
        }
    }

    /// Merges a notification. `me` is `myParticipantId`: its absence is never taken for a leave.
    pub(crate) fn notice(&mut self, update: &RosterUpdate, me: Option<&ParticipantId>) -> Merged {
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
                let bound = is_numbered(entries).then(|| top(entries));
                if bound.is_none() {
                    self.plain = self.plain.wrapping_add(1);
                    merged.unnumbered = true;
                }
                let (gone, kept) = self.full(entries, bound, Source::Notice, me, &mut merged);
                // Graph does not say that such an array is never shortened to what changed; one
                // that lacks several, or everybody else, may be.
                let shortened = gone > 1 || (gone == 1 && entries.len() == 1);
                let without_me = me.is_some_and(|me| entries.iter().all(|p| p.id != *me));
                // Somebody with a higher number may have come after this array or left before it.
                merged.doubtful = shortened || without_me || kept > 0;
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
        let (mark, doubtful) = self.look_for_restart(entries, mark);
        merged.doubtful = doubtful;
        let numbered = is_numbered(entries);
        if !numbered {
            if self.plain != mark.plain && !self.is_as(entries) {
                // Something came while the GET was under way; nothing tells which is newer.
                merged.doubtful = true;
                if let Some(own) = entries.iter().find(|one| Some(&one.id) == me) {
                    self.state_own(own, Source::Read(mark), &mut merged);
                }
                return merged;
            }
            self.plain = self.plain.wrapping_add(1);
        }
        let listed = if numbered { top(entries) } else { 0 };
        let bound = Some(mark.highest.max(listed));
        self.full(entries, bound, Source::Read(mark), me, &mut merged);
        if let Some(odd) = &mut self.odd {
            odd.missing.retain(|missing| *missing > mark.delta);
            if odd.lost_up_to <= mark.delta {
                odd.lost_up_to = 0;
            }
        }
        merged
    }

    /// Merges the own entry that a GET begun at `mark` brought.
    pub(crate) fn read_one(&mut self, entry: &Participant, mark: ReadMark) -> Merged {
        let mut merged = Merged::default();
        let (mark, doubtful) = self.look_for_restart(std::slice::from_ref(entry), mark);
        merged.doubtful = doubtful;
        let source = Source::Read(mark);
        if entry.roster_sequence_number.is_none() {
            if self.plain != mark.plain && !self.holds(entry) {
                merged.doubtful = true;
                return merged;
            }
            self.plain = self.plain.wrapping_add(1);
        }
        self.upsert(entry, source, &mut merged);
        self.state_own(entry, source, &mut merged);
        merged
    }

    /// Notices when the roster's numbers went back, as when a meeting moves to another server:
    /// without that, everything new would be taken for old for ever. Returns the mark to go on
    /// with, and whether another GET is needed to tell.
    fn look_for_restart(&mut self, entries: &[Participant], mark: ReadMark) -> (ReadMark, bool) {
        let went_back = |entry: &Participant| {
            let held = self.held(&entry.id).filter(|held| *held <= mark.highest);
            matches!((entry.roster_sequence_number, held), (Some(now), Some(held)) if now < held)
        };
        if !entries.iter().any(went_back) {
            self.lowered = 0;
            return (mark, false);
        }
        self.lowered += 1;
        if self.lowered < COUNTED_ANEW {
            return (mark, true);
        }
        self.lowered = 0;
        (self.highest, self.floor) = (0, 0);
        let void = self.roster().iter().map(|held| held.id.clone()).collect();
        let odd = self.odd.get_or_insert_default();
        odd.tombstones.clear();
        odd.void = void;
        // One entry alone says nothing of the others.
        (
            ReadMark { highest: 0, ..mark },
            entries.len() < self.roster().len(),
        )
    }

    /// Whether `merged` states the own entry as it was after `mark`: by the entry's own number, and
    /// by the delta's only where it has none.
    pub(crate) fn is_fresh(merged: &Merged, mark: Mark) -> bool {
        let fresh = match merged.own_number {
            Some(number) => number > mark.highest,
            None => merged
                .delta_number
                .is_some_and(|number| number > mark.delta),
        };
        merged.own_muted.is_some() && fresh
    }

    /// Whether `entry` is held as it is, numbers aside.
    fn holds(&self, entry: &Participant) -> bool {
        self.roster().get(&entry.id).is_some_and(|held| {
            let mut held = (**held).clone();
            held.roster_sequence_number = entry.roster_sequence_number;
            held == *entry
        })
    }

    /// Whether `entries` are everybody as held, numbers aside.
    fn is_as(&self, entries: &[Participant]) -> bool {
        entries.len() == self.roster().len() && entries.iter().all(|entry| self.holds(entry))
    }

    fn delta_entry(&mut self, entry: &DeltaEntry, me: Option<&ParticipantId>, merged: &mut Merged) {
        let participant = &entry.participant;
        if !entry.removed {
            self.upsert(participant, Source::Notice, merged);
            if Some(&participant.id) == me {
                self.state_own(participant, Source::Notice, merged);
            }
            return;
        }
        let number = participant.roster_sequence_number;
        let held = self.held(&participant.id);
        if let (Some(number), Some(held)) = (number, held)
            && number < held
        {
            return;
        }
        self.highest = self.highest.max(number.unwrap_or(0));
        let unnumbered = held.is_none() && self.roster().get(&participant.id).is_some();
        if let Some(number) = number
            && unnumbered
            && number <= self.floor
        {
            // A whole roster that began after this leave still listed it.
            return;
        }
        let at = number.or(held).unwrap_or(self.highest);
        self.bury(&participant.id, at, merged);
        self.remove(&participant.id, merged);
    }

    /// Takes `entries` for everybody, and returns how many others were removed and how many kept.
    /// `bound` is the highest number they know of; whoever is held above it came later and stays.
    fn full(
        &mut self,
        entries: &[Participant],
        bound: Option<u64>,
        source: Source,
        me: Option<&ParticipantId>,
        merged: &mut Merged,
    ) -> (usize, usize) {
        let old_news = bound.is_some_and(|bound| bound < self.floor);
        let is_later = |held: &Participant| match (bound, self.held(&held.id)) {
            (Some(bound), Some(number)) => number > bound,
            _ => false,
        };
        let (kept, gone): (Vec<&Arc<Participant>>, Vec<_>) = self
            .roster()
            .iter()
            .filter(|held| Some(&held.id) != me)
            .filter(|held| entries.iter().all(|entry| entry.id != held.id))
            .partition(|held| old_news || is_later(held));
        let kept = kept.len();
        let gone: Vec<ParticipantId> = gone.iter().map(|held| held.id.clone()).collect();
        for id in &gone {
            self.remove(id, merged);
        }
        for entry in entries {
            self.upsert(entry, source, merged);
            if Some(&entry.id) == me {
                self.state_own(entry, source, merged);
            }
        }
        self.floor = self.floor.max(bound.unwrap_or(0));
        (gone.len(), kept)
    }

    fn upsert(&mut self, entry: &Participant, source: Source, merged: &mut Merged) {
        let stale = self.is_stale(entry, source);
        self.highest = self
            .highest
            .max(entry.roster_sequence_number.unwrap_or_default());
        let same = |held: &Arc<Participant>| **held == *entry;
        if !stale {
            self.counts(&entry.id);
        }
        if self.roster().get(&entry.id).is_some_and(same) {
            return;
        }
        if !stale {
            self.change(Change::Upsert(Arc::new(entry.clone())), merged);
        } else if is_guess(entry, source) {
            merged.doubtful = true;
        }
    }

    /// Whether what is known is newer than `entry`.
    fn is_stale(&self, entry: &Participant, source: Source) -> bool {
        let held = self.held(&entry.id);
        let buried = self.buried(&entry.id);
        match (entry.roster_sequence_number, source) {
            (Some(number), source) => {
                let below_floor = number <= self.floor
                    && match source {
                        Source::Notice => true,
                        Source::Read(mark) => mark.highest < self.floor,
                    };
                buried.is_some_and(|at| number <= at)
                    || held.is_some_and(|held| number < held)
                    || (held.is_none() && below_floor)
            }
            (None, Source::Read(mark)) => {
                mark.highest < self.floor
                    || held.is_some_and(|held| held > mark.highest)
                    || buried.is_some_and(|at| at > mark.highest)
            }
            (None, Source::Notice) => false,
        }
    }

    /// Notes what `entry`, the own one, came to. A guess that did not win states nothing.
    fn state_own(&self, entry: &Participant, source: Source, merged: &mut Merged) {
        merged.own_told = Some(entry.is_muted);
        let held = self.roster().get(&entry.id);
        if is_guess(entry, source) && held.is_none_or(|held| held.is_muted != entry.is_muted) {
            return;
        }
        merged.own_muted = held.map(|held| held.is_muted);
        merged.own_number = held.and_then(|held| held.roster_sequence_number);
    }

    fn remove(&mut self, id: &ParticipantId, merged: &mut Merged) {
        self.counts(id);
        if self.roster().get(id).is_some() {
            self.change(Change::Remove(id.clone()), merged);
        }
    }

    /// The number that the entry has from here on means something.
    fn counts(&mut self, id: &ParticipantId) {
        if let Some(odd) = &mut self.odd {
            odd.void.remove(id);
        }
    }

    fn change(&mut self, change: Change, merged: &mut Merged) {
        self.roster.apply(&change);
        merged.changes.push(change);
    }

    /// The number of a held entry.
    fn held(&self, id: &ParticipantId) -> Option<u64> {
        let held = self.roster().get(id)?;
        held.roster_sequence_number
            .filter(|_| !self.odd.as_ref().is_some_and(|odd| odd.void.contains(id)))
    }

    fn buried(&self, id: &ParticipantId) -> Option<u64> {
        let mut tombstones = self.odd.as_ref()?.tombstones.iter();
        let (_, at) = tombstones.find(|(buried, _)| buried == id)?;
        Some(*at)
    }

    fn bury(&mut self, id: &ParticipantId, number: u64, merged: &mut Merged) {
        if seeded::is(Bug::DropTombstones) {
            return;
        }
        let tombstones = &mut self.odd.get_or_insert_default().tombstones;
        if let Some((_, at)) = tombstones.iter_mut().find(|(buried, _)| buried == id) {
            *at = (*at).max(number);
            return;
        }
        // Whoever is not held and whose number is up to the floor does not come back anyhow.
        if tombstones.len() == TOMBSTONES {
            let floor = self.floor;
            tombstones.retain(|(_, at)| *at > floor);
        }
        if tombstones.len() == TOMBSTONES
            && let Some((_, forgotten)) = tombstones.pop_front()
        {
            self.floor = self.floor.max(forgotten);
            merged.doubtful = true;
        }
        tombstones.push_back((id.clone(), number));
    }

    /// Follows the delta's numbers; true when one is newly missing.
    fn track(&mut self, number: Option<u64>) -> bool {
        let Some(number) = number else { return false };
        // The first delta is a snapshot when it is number 1; else its forerunners were missed.
        let last = self.last_delta;
        if number <= last {
            if let Some(odd) = &mut self.odd {
                odd.missing.retain(|missing| *missing != number);
            }
            return false;
        }
        self.last_delta = number;
        let hole = last + 1..number;
        if hole.is_empty() {
            return false;
        }
        let odd = self.odd.get_or_insert_default();
        let room = MISSING.saturating_sub(odd.missing.len());
        if hole.end - hole.start > room as u64 {
            odd.lost_up_to = number - 1;
        }
        odd.missing.extend(hole.take(room));
        true
    }
}

/// Whether only the moments of a GET tell how old `entry` is: something that came while the GET
/// was under way may be older or newer.
const fn is_guess(entry: &Participant, source: Source) -> bool {
    entry.roster_sequence_number.is_none() && matches!(source, Source::Read(_))
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
