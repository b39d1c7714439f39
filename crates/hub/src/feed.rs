use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use openmic_model::seeded::{self, Bug};
use openmic_model::{RosterVersion, Version};

use crate::frame::{CallFrame, Encoder, Hashed, Kind, hash};
use crate::topic::{Pending, Slot, Start};

mod batch;

pub(crate) use batch::{Batch, Key};

/// Deltas held for subscribers that resume or lag.
const MAX_DELTAS: usize = 256;
/// The same in bytes.
const MAX_DELTA_BYTES: usize = 256 * 1024;
/// Call and operation frames held for subscribers that lag.
const MAX_EVENTS: usize = 64;
/// Publications whose fan-out is timed at once; above that the newest are not.
const MAX_TIMED: usize = 1024;

/// How far a subscriber is in one feed; all that is kept of what is due to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The roster version it has.
    pub(crate) version: Option<Version>,
    /// Call and operation frames it has, counted from the feed's start.
    pub(crate) events: u64,
    /// It was not told the call's state yet.
    pub(crate) wants_call: bool,
}

/// The shard's side of one watched call: what its subscribers may still need, encoded once.
pub(crate) struct Feed {
    pub(crate) slot: Arc<Slot>,
    latest: Option<Stamped<RosterVersion>>,
    /// Of the latest roster.
    hash: u64,
    /// The latest as a snapshot, for who has nothing and for who has a version: encoded when the
    /// first needs it.
    snapshot: Option<Bytes>,
    reset: Option<Bytes>,
    /// Consecutive versions of one epoch, up to the latest.
    deltas: VecDeque<Stamped<Bytes>>,
    delta_bytes: usize,
    events: VecDeque<Stamped<(Kind, Bytes)>>,
    /// All events ever, also those that are not held any more.
    events_end: u64,
    call: Option<Bytes>,
    /// Orders what was published.
    clock: u64,
    pub(crate) ended: bool,
    batches: Vec<(Key, Batch)>,
    /// Connections, in no order.
    pub(crate) subscribers: Vec<u32>,
    /// How many of them wait for their sockets.
    pub(crate) lagging: usize,
    pub(crate) round: Round,
    /// Since when nobody watches.
    pub(crate) vacant: Option<Instant>,
    /// It stands in the shard's list of calls that nobody watches, or did when that was made.
    pub(crate) lingers: bool,
}

/// Something with its place in the order of publication.
struct Stamped<T> {
    at: u64,
    item: T,
}

/// The walk over a feed's subscribers, taken in turns with other feeds.
#[derive(Default)]
pub(crate) struct Round {
    cursor: usize,
    /// Subscribers still to be visited since something new came.
    left: usize,
    visited: u64,
    /// Number of visits at which a publication has reached all.
    due: VecDeque<(u64, Instant)>,
    /// It stands in the shard's list of work.
    pub(crate) queued: bool,
}

impl Feed {
    pub(crate) fn new(slot: Arc<Slot>, start: Start, encoder: &mut Encoder) -> Self {
        let call = start
            .call
            .map(|frame| encoder.call(slot.call.as_str(), &frame));
        let latest = start.latest.map(|item| Stamped { at: 0, item });
        Self {
            slot,
            hash: latest
                .as_ref()
                .map_or(0, |latest| hash::roster(&latest.item.roster)),
            latest,
            snapshot: None,
            reset: None,
            deltas: VecDeque::new(),
            delta_bytes: 0,
            events: VecDeque::new(),
            events_end: 0,
            call,
            clock: 0,
            ended: start.ended,
            batches: Vec::new(),
            subscribers: Vec::new(),
            lagging: 0,
            round: Round::default(),
            vacant: None,
            lingers: false,
        }
    }

    /// Where a subscriber begins that has `since`.
    pub(crate) fn entry(&self, since: Option<Version>) -> Position {
        Position {
            version: since,
            events: self.events_end,
            wants_call: true,
        }
    }

    /// True when one more event would push out one that not every ready subscriber has.
    pub(crate) fn events_full(&self) -> bool {
        self.events.len() >= MAX_EVENTS && self.round.left > 0
    }

    /// Takes one publication in.
    pub(crate) fn ingest(&mut self, pending: Pending, encoder: &mut Encoder) {
        self.clock += 1;
        self.batches.clear();
        match pending {
            Pending::Version(version, published) => {
                self.version(version, encoder);
                self.round.begin(self.subscribers.len());
                self.round.time(published);
            }
            Pending::Call(frame) => {
                let bytes = self.encode_call(&frame, encoder);
                self.event(Kind::Call, bytes);
            }
            Pending::Operation(frame) => {
                let bytes = encoder.operation(self.slot.call.as_str(), &frame);
                self.event(Kind::Operation, bytes);
            }
        }
    }

    fn encode_call(&mut self, frame: &CallFrame, encoder: &mut Encoder) -> Bytes {
        let bytes = encoder.call(self.slot.call.as_str(), frame);
        self.call = Some(bytes.clone());
        bytes
    }

    fn event(&mut self, kind: Kind, bytes: Bytes) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events_end += 1;
        self.events.push_back(Stamped {
            at: self.clock,
            item: (kind, bytes),
        });
        self.round.begin(self.subscribers.len());
    }

    /// Events went lost before they came here: nobody can be served as if nothing had happened.
    pub(crate) fn lose_events(&mut self) {
        self.batches.clear();
        self.events.clear();
        self.events_end += 1;
        self.round.begin(self.subscribers.len());
    }

    /// Ends the feed: every subscriber is visited once more, to be closed.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.round.begin(self.subscribers.len());
    }

    fn version(&mut self, version: RosterVersion, encoder: &mut Encoder) {
        if let Some(latest) = &self.latest {
            let (old, new) = (latest.item.version, version.version);
            if new <= old {
                return;
            }
            if new.epoch != old.epoch || new.seq != old.seq + 1 {
                self.deltas.clear();
                self.delta_bytes = 0;
                self.hash = hash::roster(&version.roster);
            } else {
                let before = Hashed {
                    roster: &latest.item.roster,
                    hash: self.hash,
                };
                let (bytes, hash) = encoder.delta(before, &version);
                self.hash = hash;
                self.delta_bytes += bytes.len();
                self.deltas.push_back(Stamped {
                    at: self.clock,
                    item: bytes,
                });
            }
        } else {
            self.hash = hash::roster(&version.roster);
        }
        while self.deltas.len() > MAX_DELTAS || self.delta_bytes > MAX_DELTA_BYTES {
            let Some(oldest) = self.deltas.pop_front() else {
                break;
            };
            self.delta_bytes -= oldest.item.len();
        }
        self.snapshot = None;
        self.reset = None;
        self.latest = Some(Stamped {
            at: self.clock,
            item: version,
        });
    }

    /// Forgets what no subscriber can need any more; called when a round is over.
    pub(crate) fn trim(&mut self) {
        self.batches = Vec::new();
        if self.lagging == 0 {
            self.events = VecDeque::new();
        }
    }
}

impl Round {
    fn begin(&mut self, subscribers: usize) {
        self.left = subscribers;
    }

    fn time(&mut self, published: Instant) {
        if self.due.len() < MAX_TIMED {
            self.due
                .push_back((self.visited + self.left as u64, published));
        }
    }

    /// The index of the next subscriber to visit.
    pub(crate) fn next(&mut self, subscribers: usize) -> Option<usize> {
        if self.left == 0 || subscribers == 0 {
            return None;
        }
        if self.cursor >= subscribers {
            self.cursor = 0;
        }
        let index = self.cursor;
        self.cursor += 1;
        self.left -= 1;
        self.visited += 1;
        Some(index)
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.left > 0
    }

    /// Subscribers changed places: begin again, so that none is left out. Those that were served
    /// cost a comparison.
    pub(crate) fn again(&mut self, subscribers: usize) {
        if self.left > 0 {
            self.left = subscribers;
        }
    }

    /// The times of publications that have reached all by now.
    pub(crate) fn reached(&mut self) -> impl Iterator<Item = Instant> {
        let done = if self.left == 0 {
            u64::MAX
        } else {
            self.visited
        };
        std::iter::from_fn(move || {
            let (due, _) = self.due.front()?;
            if *due > done {
                return None;
            }
            self.due.pop_front().map(|(_, published)| published)
        })
    }
}

/// A subscriber missed an event that may not be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed;

impl Feed {
    /// What a subscriber at `key` needs next; shared by all who stand at the same place.
    pub(crate) fn batch(
        &mut self,
        key: Key,
        encoder: &mut Encoder,
    ) -> Result<Option<&Batch>, Missed> {
        if self.is_current(key.position) {
            return Ok(None);
        }
        let found = self.batches.iter().position(|(at, _)| *at == key);
        let index = if let Some(index) = found {
            index
        } else {
            let batch = self.build(key, encoder)?;
            if self.batches.len() == batch::MAX_CACHED {
                self.batches.remove(0);
            }
            self.batches.push((key, batch));
            self.batches.len() - 1
        };
        Ok(Some(&self.batches[index].1))
    }

    fn is_current(&self, position: Position) -> bool {
        let latest = self.latest.as_ref().map(|latest| latest.item.version);
        position.events == self.events_end
            && (latest.is_none() || position.version == latest)
            && !(position.wants_call && self.call.is_some())
    }

    fn build(&mut self, key: Key, encoder: &mut Encoder) -> Result<Batch, Missed> {
        let position = key.position;
        let first = self.events_end - self.events.len() as u64;
        if position.events < first {
            return Err(Missed);
        }
        let mut plan = batch::Plan::new(position);
        self.plan_roster(key, &mut plan, encoder);
        let skip = usize::try_from(position.events - first).unwrap_or(usize::MAX);
        let mut told = false;
        for event in self.events.iter().skip(skip) {
            let (kind, bytes) = &event.item;
            told |= *kind == Kind::Call;
            plan.event(event.at, *kind, bytes.clone());
        }
        if let (true, Some(call)) = (position.wants_call, &self.call) {
            let at = self.latest.as_ref().map_or(0, |latest| latest.at);
            plan.call(at, (!told).then(|| call.clone()));
        }
        Ok(plan.finish())
    }

    fn plan_roster(&mut self, key: Key, plan: &mut batch::Plan, encoder: &mut Encoder) {
        let Some(latest) = &self.latest else { return };
        let now = latest.item.version;
        let missing = match key.position.version {
            Some(had) if had == now => return,
            Some(had) if had.epoch == now.epoch => now.seq.checked_sub(had.seq),
            _ => None,
        };
        let missing = missing.and_then(|missing| usize::try_from(missing).ok());
        let missing = if seeded::is(Bug::SkipDelta) {
            missing.map(|missing| missing.min(1))
        } else {
            missing
        };
        let few = if key.lagging {
            batch::MAX_CATCH_UP
        } else {
            MAX_DELTAS
        };
        if let Some(missing) = missing.filter(|n| *n <= self.deltas.len().min(few)) {
            let held = self.deltas.iter().skip(self.deltas.len() - missing);
            for (delta, seq) in held.zip(now.seq - missing as u64 + 1..) {
                let version = Version { seq, ..now };
                plan.delta(delta.at, version, delta.item.clone());
            }
            return;
        }
        let had = key.position.version.is_some();
        let (hash, held) = if had {
            (self.hash, &mut self.reset)
        } else {
            (self.hash, &mut self.snapshot)
        };
        let bytes = held
            .get_or_insert_with(|| encoder.snapshot(&latest.item, hash, had))
            .clone();
        plan.snapshot(latest.at, now, bytes, missing);
    }
}

#[cfg(test)]
mod tests;
