//! The whole roster, gathered from deltas, with entries as they came.

use std::collections::HashMap;

use openmic_model::ParticipantId;
use serde_json::{Value, json};

use super::{RawEntry, is_removed};
use crate::MAX_ITEMS;
use crate::json;
use crate::notification::is_delta;

/// Whether the numbers of the deltas left anything out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Nothing is known to be missing.
    None,
    /// At least one delta was not seen: read the roster and hand it to [`RawRoster::read`].
    Hole,
}

/// Everybody in a call as upstream spells them, for a bot that did not ask for deltas.
///
/// Deltas merge by `rosterSequenceNumber`, in any order; who left stays known for a while, so
/// that an older delta does not bring them back.
#[derive(Debug, Default)]
pub struct RawRoster {
    pub(super) entries: Vec<Slot>,
    index: HashMap<ParticipantId, usize>,
    /// How many are there.
    there: usize,
    /// The highest `sequenceNumber` up to which nothing is missing.
    last: Option<u64>,
    /// The highest number in the latest read: whom it does not list and an older change brings was
    /// gone by then.
    floor: u64,
}

/// One participant, in the order they came.
#[derive(Debug)]
pub(super) struct Slot {
    id: ParticipantId,
    number: Option<u64>,
    /// `None` once they left.
    value: Option<Value>,
}

impl RawRoster {
    /// Takes in what `entry` says of the roster, and tells whether something before it is missing.
    pub fn apply(&mut self, entry: &RawEntry) -> Gap {
        let removed = json::text(&entry.object, "changeType")
            .is_some_and(|change| change.eq_ignore_ascii_case("deleted"));
        let (items, array): (&[Value], _) = match entry.data() {
            Some(Value::Array(items)) => (items, true),
            Some(one) => (std::slice::from_ref(one), false),
            None => return Gap::None,
        };
        let mut gap = Gap::None;
        let mut deltas = false;
        for delta in items.iter().filter_map(Value::as_object) {
            if !is_delta(delta) {
                continue;
            }
            deltas = true;
            if let Some(number) = sequence(delta)
                && self.skips(entry.since.unwrap_or(number), number)
            {
                gap = Gap::Hole;
            }
            for item in json::list(delta, "participants").unwrap_or_default() {
                self.merge(item, is_removed(item));
            }
        }
        if deltas {
            return gap;
        }
        let whole = array && entry.is_whole_roster();
        if whole {
            self.entries.clear();
            self.index.clear();
            self.there = 0;
            self.floor = 0;
        }
        for item in items.iter().take(MAX_ITEMS) {
            self.merge(item, is_removed(item) || (removed && !array));
        }
        Gap::None
    }

    /// Takes in the answer to a GET begun after everything applied so far. Who is not in it left,
    /// and stays known as such.
    pub fn read(&mut self, listing: Vec<Value>) {
        let mut before = std::mem::take(self);
        self.last = before.last;
        let floor = listing.iter().filter_map(number_of).max();
        for item in listing {
            let newer = id_of(&item).and_then(|id| before.take(&id)).filter(|held| {
                held.number
                    .is_some_and(|held| number_of(&item).is_some_and(|read| held > read))
            });
            match newer {
                Some(held) => self.push(held),
                None => self.merge(&item, is_removed(&item)),
            }
        }
        // What filled the hole may still come, and tell of them.
        let RawRoster { entries, index, .. } = before;
        for (at, slot) in entries.into_iter().enumerate() {
            if index.get(&slot.id) == Some(&at) {
                self.push(Slot {
                    value: None,
                    ..slot
                });
            }
        }
        self.floor = floor.unwrap_or(0);
    }

    /// The GET that a hole asked for failed: the next delta shows one again.
    pub fn doubt(&mut self) {
        self.last = None;
    }

    /// `entry` with the whole roster in the place of what it said of it.
    pub fn whole(&self, entry: &RawEntry) -> RawEntry {
        let everybody = self.entries.iter().filter_map(|slot| slot.value.clone());
        entry.with_data(everybody.collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.there
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes the numbers of a delta, from `first` to `number` where several were joined; true when
    /// they do not follow. The first is a snapshot when it is number 1, else its forerunners were
    /// missed.
    fn skips(&mut self, first: u64, number: u64) -> bool {
        let last = self.last.unwrap_or(0);
        self.last = Some(last.max(number));
        first > last + 1
    }

    fn merge(&mut self, item: &Value, mut removed: bool) {
        let Some(id) = id_of(item) else { return };
        let number = number_of(item);
        if let Some(&at) = self.index.get(&id) {
            let slot = &mut self.entries[at];
            let old = number.zip(slot.number).is_some_and(|(new, held)| {
                // Nobody comes back by the change that they left by, or one before it.
                new < held || (new == held && slot.value.is_none())
            });
            if old {
                return;
            }
            slot.number = number.or(slot.number);
            if removed {
                self.there -= usize::from(slot.value.take().is_some());
                return;
            }
            if slot.value.is_some() {
                slot.value = Some(item.clone());
                return;
            }
            // Back again: behind all others.
            self.index.remove(&id);
        } else if number.is_some_and(|number| number < self.floor) {
            removed = true;
        }
        self.push(Slot {
            id,
            number,
            value: (!removed).then(|| item.clone()),
        });
    }

    fn push(&mut self, slot: Slot) {
        // The oldest who left are forgotten first; a roster of nobody else is full.
        if self.there >= MAX_ITEMS {
            return;
        }
        self.there += usize::from(slot.value.is_some());
        if self.entries.len() >= 2 * MAX_ITEMS {
            self.compact();
        }
        self.index.insert(slot.id.clone(), self.entries.len());
        self.entries.push(slot);
    }

    fn take(&mut self, id: &ParticipantId) -> Option<Slot> {
        let at = self.index.remove(id)?;
        let slot = &mut self.entries[at];
        Some(Slot {
            id: slot.id.clone(),
            number: slot.number,
            value: slot.value.take(),
        })
    }

    fn compact(&mut self) {
        self.entries.retain(|slot| slot.value.is_some());
        self.index = self
            .entries
            .iter()
            .enumerate()
            .map(|(at, slot)| (slot.id.clone(), at))
            .collect();
    }
}

impl RawEntry {
    /// Whether its array is everybody: nobody in it is said to have left.
    fn is_whole_roster(&self) -> bool {
        let items = self.data().and_then(Value::as_array);
        items.is_some_and(|items| {
            items
                .iter()
                .all(|item| id_of(item).is_some() && !is_removed(item))
        })
    }

    /// Makes this entry say what `older` and it said of the roster, in this order. Where it is the
    /// whole roster it says that already.
    ///
    /// The deltas' participants are joined under the newer one's number, so a reader that looks
    /// for holes in the numbers finds one and reads the roster, which is never wrong.
    pub fn join(&mut self, older: &Self) {
        let delta = |entry: &Self| match entry.data() {
            Some(Value::Array(items)) => items
                .iter()
                .all(|item| item.as_object().is_some_and(is_delta)),
            _ => false,
        };
        if !delta(self) || !delta(older) {
            return;
        }
        let participants = |entry: &Self| -> Vec<Value> {
            let items = entry.data().and_then(Value::as_array).into_iter().flatten();
            items
                .filter_map(Value::as_object)
                .flat_map(|delta| {
                    json::list(delta, "participants")
                        .unwrap_or_default()
                        .to_vec()
                })
                .collect()
        };
        let mut joined = participants(older);
        let mut places: HashMap<_, _> = joined
            .iter()
            .enumerate()
            .filter_map(|(at, item)| Some((id_of(item)?, at)))
            .collect();
        for item in participants(self) {
            let id = id_of(&item);
            let Some(&at) = id.as_ref().and_then(|id| places.get(id)) else {
                places.extend(id.map(|id| (id, joined.len())));
                joined.push(item);
                continue;
            };
            let older = number_of(&item)
                .zip(number_of(&joined[at]))
                .is_some_and(|(new, held)| new < held);
            if !older {
                joined[at] = item;
            }
        }
        joined.truncate(MAX_ITEMS);
        let items = self.data().and_then(Value::as_array);
        let last = items.and_then(|items| items.last()).cloned();
        let mut last = last.unwrap_or_else(|| json!({}));
        last["participants"] = joined.into();
        let numbers = |entry: &Self| {
            let items = entry.data().and_then(Value::as_array).into_iter().flatten();
            let mut numbers = items.filter_map(Value::as_object).filter_map(sequence);
            let first = numbers.next()?;
            let last = numbers.next_back().unwrap_or(first);
            Some((entry.since.unwrap_or(first), last))
        };
        // A hole between the two must show: then the older one's numbers are left out.
        let since = match (numbers(older), numbers(self)) {
            (Some((since, last)), Some((first, _))) if first <= last + 1 => Some(since.min(first)),
            (_, Some((first, _))) => Some(first),
            _ => None,
        };
        *self = self.with_data(json!([last]));
        self.since = since;
    }
}

fn sequence(delta: &json::Object) -> Option<u64> {
    u64::try_from(json::number(delta, "sequenceNumber")?).ok()
}

fn id_of(item: &Value) -> Option<ParticipantId> {
    let raw = json::text(item.as_object()?, "id")?;
    ParticipantId::parse(raw).ok()
}

fn number_of(item: &Value) -> Option<u64> {
    let number = json::number(item.as_object()?, "rosterSequenceNumber")?;
    u64::try_from(number).ok()
}
