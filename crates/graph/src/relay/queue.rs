use std::collections::VecDeque;

use openmic_model::CallId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::metrics::{Fate, RelayMetrics};
use super::parcel::{Item, Parcel};

/// What one lane has yet to send, in order. Bounded as the table in [`super`] says.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Something may be taken, or the end came. For one taker.
    wake: Notify,
    /// Nothing more will come.
    closed: Notify,
    capacity: usize,
    bytes: usize,
    metrics: RelayMetrics,
}

#[derive(Debug, Default)]
struct Waiting {
    parcels: VecDeque<Parcel>,
    rosters: usize,
    others: usize,
    bytes: usize,
    open: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize, bytes: usize, metrics: RelayMetrics) -> Self {
        Self {
            waiting: Mutex::default(),
            wake: Notify::new(),
            closed: Notify::new(),
            capacity: capacity.max(1),
            bytes,
            metrics,
        }
    }

    /// Appends; never waits.
    pub(super) fn push(&self, parcel: Parcel) {
        let mut waiting = self.waiting.lock();
        let entries = parcel.items.len();
        if waiting.closed {
            self.metrics.ended(Fate::Abandoned, entries);
            return;
        }
        if entries == 0 {
            return;
        }
        self.metrics.waiting.add(signed(entries));
        waiting.append(parcel);
        while waiting.rosters > self.capacity || (waiting.bytes > self.bytes && waiting.rosters > 1)
        {
            waiting.conflate();
            self.dropped(Fate::Conflated, 1);
        }
        while waiting.others > self.capacity || (waiting.bytes > self.bytes && waiting.others > 1) {
            waiting.drop_oldest();
            self.dropped(Fate::Overflow, 1);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Lets go what waits for `call`, or for whomever.
    pub(super) fn open(&self, call: Option<&CallId>) {
        let mut waiting = self.waiting.lock();
        let foreign = waiting.keep(|item| call.is_none_or(|call| item.entry.call() == Some(call)));
        self.dropped(Fate::Unwanted, foreign);
        waiting.open = true;
        drop(waiting);
        self.wake.notify_one();
    }

    /// Forgets everything and ends.
    pub(super) fn discard(&self) {
        let mut waiting = self.waiting.lock();
        let all = waiting.keep(|_| false);
        self.dropped(Fate::Unwanted, all);
        drop(waiting);
        self.close();
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        if !waiting.open {
            let all = waiting.keep(|_| false);
            self.dropped(Fate::Unwanted, all);
        }
        drop(waiting);
        self.wake.notify_one();
        self.closed.notify_one();
    }

    /// Returns once nothing more will come. For one waiter.
    pub(super) async fn closing(&self) {
        self.closed.notified().await;
    }

    /// The next parcel, or `None` once the lane is closed and empty. Its entries still count as
    /// waiting: say [`Queue::sent`] in the end.
    pub(super) async fn pop(&self) -> Option<Parcel> {
        loop {
            let notified = self.wake.notified();
            {
                let mut waiting = self.waiting.lock();
                if waiting.open
                    && let Some(parcel) = waiting.parcels.pop_front()
                {
                    waiting.forget(&parcel);
                    return Some(parcel);
                }
                if waiting.closed {
                    return None;
                }
            }
            notified.await;
        }
    }

    /// Entries that were taken have come to their end.
    pub(super) fn sent(&self, fate: Fate, entries: usize) {
        self.dropped(fate, entries);
    }

    /// Gives up what still waits.
    pub(super) fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let all = waiting.keep(|_| false);
        self.dropped(Fate::Abandoned, all);
    }

    fn dropped(&self, fate: Fate, entries: usize) {
        self.metrics.waiting.sub(signed(entries));
        self.metrics.ended(fate, entries);
    }
}

impl Waiting {
    fn append(&mut self, parcel: Parcel) {
        let rosters = parcel.rosters();
        self.rosters += rosters;
        self.others += parcel.items.len() - rosters;
        self.bytes += parcel.size();
        self.parcels.push_back(parcel);
    }

    fn forget(&mut self, parcel: &Parcel) {
        let rosters = parcel.rosters();
        self.rosters -= rosters;
        self.others -= parcel.items.len() - rosters;
        self.bytes -= parcel.size();
    }

    /// Takes an item out of the parcel at `at`, and the parcel too once it is empty.
    fn take(&mut self, at: usize, item: usize) -> Item {
        let parcel = &mut self.parcels[at];
        let item = parcel.items.remove(item);
        if parcel.items.is_empty() {
            self.parcels.remove(at);
        }
        self.bytes -= item.size;
        if item.entry.is_roster() {
            self.rosters -= 1;
        } else {
            self.others -= 1;
        }
        item
    }

    /// Joins the last two rosters, in the place of the later one: nothing is told before its time.
    fn conflate(&mut self) {
        let mut places = self
            .parcels
            .iter()
            .enumerate()
            .rev()
            .flat_map(|(at, parcel)| {
                let rosters = parcel.items.iter().enumerate().rev();
                rosters
                    .filter(|(_, item)| item.entry.is_roster())
                    .map(move |(item, _)| (at, item))
            });
        let (Some(_), Some((at, item))) = (places.next(), places.next()) else {
            return;
        };
        drop(places);
        let older = self.take(at, item);
        let newest = self
            .parcels
            .iter_mut()
            .rev()
            .flat_map(|parcel| parcel.items.iter_mut().rev())
            .find(|item| item.entry.is_roster());
        if let Some(newest) = newest {
            newest.entry.join(&older.entry);
            let size = newest.entry.size();
            self.bytes = self.bytes - newest.size + size;
            newest.size = size;
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.parcels.iter().enumerate().find_map(|(at, parcel)| {
            let other = |item: &Item| !item.entry.is_roster();
            Some((at, parcel.items.iter().position(other)?))
        });
        if let Some((at, item)) = oldest {
            self.take(at, item);
        }
    }

    /// Keeps what is `wanted` and tells how many entries went.
    fn keep(&mut self, wanted: impl Fn(&Item) -> bool) -> usize {
        let before = self.rosters + self.others;
        let mut parcels = std::mem::take(&mut self.parcels);
        (self.rosters, self.others, self.bytes) = (0, 0, 0);
        for parcel in &mut parcels {
            parcel.items.retain(&wanted);
        }
        for parcel in parcels {
            if !parcel.items.is_empty() {
                self.append(parcel);
            }
        }
        before - self.rosters - self.others
    }
}

fn signed(entries: usize) -> i64 {
    i64::try_from(entries).unwrap_or(i64::MAX)
}
