//! Frames for all subscribers that stand at one position, joined where that saves writes.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use openmic_model::Version;

use super::Position;
use crate::frame::Kind;
use crate::metrics::Tally;

/// Batches kept at once per feed; most subscribers stand at the same place.
pub(super) const MAX_CACHED: usize = 4;
/// Deltas sent to a subscriber that lagged; above that the snapshot is the shorter way.
pub(super) const MAX_CATCH_UP: usize = 64;
/// Frames are copied together up to this many bytes; longer ones are written as they are.
const MAX_JOINED: usize = 64 * 1024;

/// Who needs the same frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) position: Position,
    /// Its socket was full since it was last up to date.
    pub(crate) lagging: bool,
}

/// Everything due to subscribers at one position.
pub(crate) struct Batch {
    /// What to write, one write each.
    pub(crate) writes: Vec<Write>,
    pub(crate) pieces: Vec<Piece>,
    /// Where a subscriber is that took all of it.
    pub(crate) after: Position,
    /// What is counted for a subscriber that took all of it.
    pub(crate) whole: Tally,
    /// What is counted besides with the snapshot in here.
    snapshot: Tally,
}

impl Batch {
    /// What is counted for a subscriber that took the first `pieces` of it; bytes are not.
    pub(crate) fn part(&self, pieces: usize) -> Tally {
        let mut part = Tally::default();
        for piece in &self.pieces[..pieces] {
            part.frames[piece.kind as usize] += 1;
            if piece.kind == Kind::Snapshot {
                part += self.snapshot;
            }
        }
        part
    }
}

/// One or several frames in a row.
pub(crate) struct Write {
    pub(crate) bytes: Bytes,
    /// Which of the batch's pieces.
    pub(crate) pieces: Range<usize>,
}

/// One frame.
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    pub(crate) kind: Kind,
    /// Where a subscriber is that has it.
    pub(crate) after: Position,
}

/// What moves when a piece is sent.
enum Step {
    Roster(Version),
    Event,
    Call,
}

/// Collects the frames of a batch, to be put in the order they were published.
pub(super) struct Plan {
    from: Position,
    items: Vec<(u64, Kind, Step, Bytes)>,
    told: bool,
    snapshot: Tally,
}

impl Plan {
    pub(super) fn new(from: Position) -> Self {
        Self {
            from,
            items: Vec::new(),
            told: false,
            snapshot: Tally::default(),
        }
    }

    pub(super) fn delta(&mut self, at: u64, version: Version, bytes: Bytes) {
        self.items
            .push((at, Kind::Delta, Step::Roster(version), bytes));
    }

    /// `missing` is the number of versions it stands for, when that can be told.
    pub(super) fn snapshot(
        &mut self,
        at: u64,
        version: Version,
        bytes: Bytes,
        missing: Option<usize>,
    ) {
        self.snapshot.resyncs = u64::from(self.from.version.is_some());
        self.snapshot.conflated = missing.unwrap_or(0) as u64;
        self.items
            .push((at, Kind::Snapshot, Step::Roster(version), bytes));
    }

    pub(super) fn event(&mut self, at: u64, kind: Kind, bytes: Bytes) {
        self.items.push((at, kind, Step::Event, bytes));
    }

    /// The state of the call for a subscriber that just came, after the roster of `at`; nothing
    /// when an event tells it anyway.
    pub(super) fn call(&mut self, at: u64, bytes: Option<Bytes>) {
        match bytes {
            Some(bytes) => self.items.push((at, Kind::Call, Step::Call, bytes)),
            None => self.told = true,
        }
    }

    pub(super) fn finish(mut self) -> Batch {
        // stable: the call's state was put in after the roster of the same place
        self.items.sort_by_key(|(at, ..)| *at);
        let mut after = self.from;
        let mut pieces = Vec::with_capacity(self.items.len());
        for (_, kind, step, bytes) in self.items {
            match step {
                Step::Roster(version) => after.version = Some(version),
                Step::Event => {
                    after.events += 1;
                    // a later state of the call makes telling the first one needless
                    after.wants_call &= !(self.told && kind == Kind::Call);
                }
                Step::Call => after.wants_call = false,
            }
            pieces.push(Piece { bytes, kind, after });
        }
        let mut batch = Batch {
            writes: join(&pieces),
            pieces,
            after,
            whole: Tally::default(),
            snapshot: self.snapshot,
        };
        batch.whole = batch.part(batch.pieces.len());
        batch.whole.bytes = batch.writes.iter().map(|w| w.bytes.len() as u64).sum();
        batch
    }
}

fn join(pieces: &[Piece]) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut start = 0;
    while start < pieces.len() {
        let mut end = start + 1;
        let mut length = pieces[start].bytes.len();
        while end < pieces.len() && length + pieces[end].bytes.len() <= MAX_JOINED {
            length += pieces[end].bytes.len();
            end += 1;
        }
        let bytes = if let [piece] = &pieces[start..end] {
            piece.bytes.clone()
        } else {
            let mut joined = BytesMut::with_capacity(length);
            for piece in &pieces[start..end] {
                joined.extend_from_slice(&piece.bytes);
            }
            joined.freeze()
        };
        writes.push(Write {
            bytes,
            pieces: start..end,
        });
        start = end;
    }
    writes
}
