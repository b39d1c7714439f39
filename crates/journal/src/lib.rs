//! The records of calls that outlive a crash.
//!
//! ```text
//!  call actor ── append ─▶ queue ─▶ writer thread: one transaction, one sync ─▶ SQLite
//!       ▲                                │
//!       └────────── Ticket ◀─────────────┘
//! ```
//!
//! A call's facts ([`Record`](openmic_model::Record)) go in by [`Journal::append`], which never
//! waits; the [`Ticket`] resolves once they are durable. All calls share the writer's commits: what
//! comes while the disk syncs goes together into the next one. [`Journal::open`] reads what is
//! there and hands out the calls that had not ended.
//!
//! # What it promises
//!
//! With [`Durability::PowerLoss`], the default, an acknowledged record survives `kill -9`, a crash
//! of the system and loss of power; not the loss of the disk. A batch is there whole or not at all.
//! Each record has a checksum; a call with a damaged one, or whose records contradict each other, is
//! quarantined with its reason, the others start, nothing is deleted.
//!
//! # Bounds, and what happens when they are reached
//!
//! | what | bound | when reached |
//! |---|---|---|
//! | records that wait for the disk, and all that open commands may still bring | 262,144, 64 MiB | [`Journal::admits`] says no, so nothing new is accepted; what was accepted is always taken |
//! | free space | 64 MiB ([`Keeping::min_free`]) | [`Journal::admits`] says no; once it is gone altogether the reserve of 16 MiB is given up for the records of what was accepted |
//! | a commit | 256 records, 1 MiB | the rest goes into the next |
//! | rows written down in the order they came, and in memory until they are filed where they are found | 8 MiB | with each commit more are filed than came; fewer than 256 wait for others |
//! | write-ahead log | 16 MiB, its file up to 21 MiB, also when little is in it | it is copied into the file and written over from its beginning |
//! | settled commands of an open call | 4,096, 24 h | the oldest are deleted |
//! | ended calls | 24 h | deleted |
//! | answers kept | 256 MiB, 24 h | the oldest are deleted |
//! | lookups that wait | 1,024 | [`LookupError::Busy`] |
//!
//! A write or sync that fails is never tried again: all tickets are lost, [`Journal::failed`]
//! resolves, and the process is to end.

mod age;
mod codec;
mod config;
mod error;
mod journal;
mod log;
mod lookup;
mod metrics;
mod queue;
mod store;
mod ticket;
mod writer;

pub use config::{Durability, JournalConfig, Keeping};
pub use error::{Full, LookupError, Lost, OpenError, StoreError};
pub use journal::Journal;
pub use log::{Log, RecoveredCall, Recovery, Swept};
pub use lookup::{KeptAnswer, KeptCall, KeptCommand, Repeated};
pub use metrics::JournalMetrics;
pub use store::faulty::{CommitFault, Faults, FaultyStore};
pub use store::memory::MemoryStore;
pub use store::sqlite::{Look, SqliteStore};
pub use store::{AnswerRow, Change, Reader, Row, Scan, Space, Store, Unreadable};
pub use ticket::Ticket;
