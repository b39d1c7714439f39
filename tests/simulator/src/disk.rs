//! The journal's store, in the simulator's terms: what is written, and what of it is on the disk.

use openmic_model::{Book, Contradiction, Record, WallTime};

/// Records of one call. A commit is there whole or not at all, as the journal's stores promise.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    durable: Vec<(WallTime, Record)>,
    /// In the commit under way.
    committing: Vec<(WallTime, Record)>,
    /// Waiting for the next one.
    waiting: Vec<(WallTime, Record)>,
    /// Records ever taken by this process, and of them durable.
    taken: u64,
    settled: u64,
    pub(crate) full: bool,
}

/// Durable once so many records are.
pub(crate) type Ticket = u64;

impl Disk {
    /// Takes a record; never waits.
    pub(crate) fn append(&mut self, at: WallTime, record: Record) -> Ticket {
        self.waiting.push((at, record));
        self.taken += 1;
        self.taken
    }

    /// Starts the next commit, when there is something to commit and none under way.
    pub(crate) fn begin(&mut self) -> bool {
        if !self.committing.is_empty() || self.waiting.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.committing, &mut self.waiting);
        true
    }

    /// The commit under way is durable. Returns how many records it had.
    pub(crate) fn commit(&mut self) -> usize {
        let count = self.committing.len();
        self.settled += count as u64;
        self.durable.append(&mut self.committing);
        count
    }

    pub(crate) fn is_durable(&self, ticket: Ticket) -> bool {
        ticket <= self.settled
    }

    /// The process is gone. What was being committed is there or not, as `kept` says. Returns how
    /// many records of it are.
    pub(crate) fn crash(&mut self, kept: bool) -> usize {
        let count = if kept { self.commit() } else { 0 };
        self.committing.clear();
        self.waiting.clear();
        self.taken = 0;
        self.settled = 0;
        count
    }

    /// What is found on start.
    pub(crate) fn book(&self) -> Result<Book, Contradiction> {
        Book::of(&self.durable)
    }

    /// The records that are found on start.
    pub(crate) fn records(&self) -> &[(WallTime, Record)] {
        &self.durable
    }
}
