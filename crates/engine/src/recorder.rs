//! The flight recorder: what happened to the calls of late, in one bounded piece of memory.
//!
//! Every entry is packed when it happens (`packed.rs`; `redact.rs` has what is left out) and becomes
//! a line of JSON when it is read (`entry.rs` has its form). The lines of all calls share one arena
//! of [`SEGMENT`]s. A call writes to one of a few shards, so that calls hardly meet; a shard fills a
//! segment of its own and hands it to the arena's queue, where the oldest segment makes room for it.
//! So the oldest lines of the whole engine go first, give or take a segment, however many calls
//! there are.
//!
//! Writing never waits on a reader: the lock of a shard is held for the copy of one line by
//! writers, and for the copy of one segment by readers, who then read what nobody changes any more.

pub(crate) mod entry;
mod flight;
mod packed;
mod redact;
mod replay;
mod wall;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use openmic_machine::Time;
use openmic_model::CallId;
use parking_lot::Mutex;
use tokio::time::Instant;

pub use flight::{CallLog, Lines};
pub(crate) use flight::{Flight, Sent};
pub use replay::{Diverged, Replayed, Stopped, replay};

use crate::call::Owner;
use wall::Wall;

/// What a recorder holds where nothing else is said, in bytes.
pub(crate) const DEFAULT_BYTES: usize = 16 * 1024 * 1024;
/// The longest line, in bytes; of a longer one only the gist is kept.
pub(crate) const LONGEST: usize = 16 * 1024;

const SEGMENT: usize = 64 * 1024;
const SHARDS: usize = 8;
/// The least a recorder works with: each shard fills one segment while another is kept.
const LEAST: usize = 2 * SHARDS * SEGMENT;
/// Key, number and length in front of a line.
const HEAD: usize = 16 + 8 + 4;
/// Ended calls whose lines can be asked for by the call's id.
const DEPARTED: usize = 4096;

const _: () = assert!(LONGEST + HEAD <= SEGMENT);

/// The arena of one engine.
pub(crate) struct Recorder {
    shards: Box<[Mutex<Shard>]>,
    full: Mutex<VecDeque<Arc<Segment>>>,
    /// Segments in `full`, at most.
    room: usize,
    departed: Mutex<VecDeque<Departed>>,
    /// The moment that [`entry::Entry::at`] counts from; the machines' own.
    origin: Instant,
    wall: Wall,
    /// Makes of a name something that tells it from others and nothing more.
    salt: RandomState,
}

#[derive(Default)]
struct Shard {
    /// Lines since the last full segment; none at all before the first.
    filling: Vec<u8>,
}

struct Segment {
    shard: usize,
    lines: Vec<u8>,
}

/// A call that left the registry.
struct Departed {
    id: CallId,
    owner: Owner,
    key: u128,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = (self.room + SHARDS) * SEGMENT;
        f.debug_struct("Recorder")
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// One that holds at most `bytes`, or the least it works with (1 MiB); `None` for 0.
    pub(crate) fn new(bytes: usize, origin: Instant) -> Option<Arc<Self>> {
        if bytes == 0 {
            return None;
        }
        Some(Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            full: Mutex::default(),
            room: bytes.max(LEAST) / SEGMENT - SHARDS,
            departed: Mutex::default(),
            origin,
            wall: Wall::new(origin),
            salt: RandomState::new(),
        }))
    }

    fn time(&self, at: Instant) -> Time {
        Time::from_origin(at.saturating_duration_since(self.origin))
    }

    fn hash(&self, text: &str) -> u64 {
        self.salt.hash_one(text)
    }

    fn put(&self, key: u128, number: u64, line: &[u8]) {
        let at = shard_of(key);
        let mut shard = self.shards[at].lock();
        let filling = &mut shard.filling;
        if filling.len() + HEAD + line.len() > SEGMENT {
            let next = self.keep(Segment {
                shard: at,
                lines: std::mem::take(filling),
            });
            *filling = next;
        }
        if filling.capacity() < SEGMENT {
            filling.reserve_exact(SEGMENT);
        }
        let length = u32::try_from(line.len()).expect("a line is shorter than a segment");
        filling.extend_from_slice(&key.to_ne_bytes());
        filling.extend_from_slice(&number.to_ne_bytes());
        filling.extend_from_slice(&length.to_ne_bytes());
        filling.extend_from_slice(line);
    }

    /// Takes a full segment in and returns the memory of one that had to go for it, emptied.
    fn keep(&self, segment: Segment) -> Vec<u8> {
        let mut full = self.full.lock();
        full.push_back(Arc::new(segment));
        if full.len() <= self.room {
            return Vec::new();
        }
        let oldest = full.pop_front().and_then(Arc::into_inner);
        // One that is being read is its reader's.
        oldest.map_or_else(Vec::new, |segment| {
            let mut lines = segment.lines;
            lines.clear();
            lines
        })
    }

    /// Remembers whose the lines of `key` are once the call is known to nobody else.
    fn depart(&self, departed: Departed) {
        let mut all = self.departed.lock();
        if all.len() == DEPARTED {
            all.pop_front();
        }
        all.push_back(departed);
    }

    /// The lines of `key` above `since`, in their order.
    fn read(&self, key: u128, since: u64) -> Vec<(u64, Vec<u8>)> {
        let at = shard_of(key);
        let (segments, filling) = {
            let shard = self.shards[at].lock();
            let full = self.full.lock();
            let own = full.iter().filter(|segment| segment.shard == at);
            (
                own.map(Arc::clone).collect::<Vec<_>>(),
                shard.filling.clone(),
            )
        };
        let mut found = Vec::new();
        for lines in segments
            .iter()
            .map(|segment| &segment.lines)
            .chain([&filling])
        {
            let wanted = lines_of(lines).filter(|(of, number, _)| *of == key && *number > since);
            found.extend(wanted.map(|(_, number, line)| (number, line.to_vec())));
        }
        // Actor and webhook may write at one moment.
        found.sort_unstable_by_key(|(number, _)| *number);
        found
    }
}

fn shard_of(key: u128) -> usize {
    // The bits are random.
    usize::try_from(key % SHARDS as u128).expect("less than the number of shards")
}

/// The lines of a segment: key, number, text.
fn lines_of(mut segment: &[u8]) -> impl Iterator<Item = (u128, u64, &[u8])> {
    std::iter::from_fn(move || {
        let (key, rest) = segment.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_ne_bytes(*length) as usize;
        let (line, rest) = rest.split_at_checked(length)?;
        segment = rest;
        Some((u128::from_ne_bytes(*key), u64::from_ne_bytes(*number), line))
    })
}
