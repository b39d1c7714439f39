//! Roster fan-out to WebSocket subscribers on threads of its own.
//!
//! A call's actor owns a [`Topic`] and publishes into it; that is a few lines under a lock, never
//! waits and never fails. Every topic and all its subscribers live on one shard, a thread with an
//! event loop of its own, away from tokio. After the 101 answer a subscriber's socket belongs to
//! its shard, which is the only writer of it, pongs and closes included; so does its TLS, where it
//! came over TLS. Frames are encoded once for all and encrypted for each.
//!
//! # Frames
//!
//! JSON text, one message per frame, encoded once and shared by all subscribers of the call:
//!
//! - `{"type":"snapshot","call","epoch","seq","hash","participants":[..]}` replaces what the
//!   subscriber has; with `"reset":true` where it had something and what came between is not told.
//! - `{"type":"delta","call","epoch","seq","hash","changed":[..],"removed":[id,..]}` follows
//!   `seq - 1` of the same epoch.
//! - `{"type":"call","call","state","result"}` tells a new state of the call.
//! - `{"type":"operation","call","id","action","clientContext","status","verdict",..}` tells how a
//!   command stands or ended.
//!
//! The first roster frame is a snapshot, or, for a subscriber that resumes with
//! [`Subscribe::since`], the deltas after that version when they are still held; a frame of the
//! call's state follows it. While no roster was published yet, frames of the call may come first.
//! From then on versions strictly rise, and a delta always follows what the subscriber has.
//!
//! `hash` is of the roster that the frame leads to: the sum modulo 2^64, as 16 hexadecimal digits, of
//! the FNV-1a hashes (64 bits) of the entries, each as its JSON text stands in frames.
//! `JSON.stringify` of a parsed entry is that text again. A subscriber need not look at it.
//!
//! # Where a subscriber is
//!
//! Versions of a call rise over restarts of the service too: each gives it a higher epoch. So
//! whoever lost its connection comes back with the version it has and gets what followed, or a
//! snapshot with `reset`. Deltas are held while somebody watches and for [`HubConfig::linger`] after
//! the last one left, of at most 256 such calls a shard. Frames of operations are not told again:
//! they are read by GET.
//!
//! A ping's payload is `epoch:seq`, what the subscriber had been sent. It may say what it has, as a
//! text message `epoch:seq`; when that stays behind for two rounds of pings without progress it is
//! closed, 4010.
//!
//! # Full queues
//!
//! | queue | holds | when full |
//! |---|---|---|
//! | publisher to shard | 256 versions of a call | only the newest stays, subscribers get a snapshot |
//! | publisher to shard | 256 call and operation frames of a call | its subscribers are closed, 4010 |
//! | deltas of a call that is or was just watched | 256, at most 256 KiB | the oldest goes; who needed it gets a snapshot |
//! | call and operation frames | 64 a subscriber has not taken | that subscriber is closed, 4010 |
//! | subscriber's socket | what the kernel takes, the rest of one frame, and of TLS one record | the subscriber is a position; later it gets what is missing or the newest snapshot |
//! | pings of a subscriber | one | the newest is answered (RFC 6455, 5.5.3) |
//!
//! # Close codes
//!
//! The same as [`CLOSE_CODES`].
//!
//! | code | reason | what a subscriber does |
//! |--:|---|---|
//! | 1002 | the peer broke RFC 6455 | mend the client |
//! | 1007 | a text message was not UTF-8 | mend the client |
//! | 1008 | too many messages: 20 in a second by default | send less |
//! | 1009 | a message was over 16 KiB | send less |
//! | 1012 | the service restarts | reconnect with `since` after a random wait |
//! | 4004 | call ended | stop |
//! | 4010 | resync: too many frames were not taken, or the version it states stays behind | reconnect with `since`, read operations by GET |
//! | 4401 | the token expired | reconnect with `since` and a new token |
//!
//! A subscriber that was silent for two rounds of pings, or whose socket took no byte for
//! [`HubConfig::slow_after`], finds its connection gone without a close frame: its socket takes
//! none.

mod close;
mod config;
mod connection;
mod feed;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hub;
mod metrics;
mod quota;
mod reader;
#[cfg(feature = "schema")]
pub mod schema;
mod shard;
mod slab;
mod socket;
mod topic;

pub use close::{CALL_ENDED, CLOSE_CODES, CloseCode, RESYNC, SERVICE_RESTART, TOKEN_EXPIRED};
pub use config::{HubConfig, Subscribe};
pub use frame::{CallFrame, OperationFrame, snapshot_document};
pub use hub::{Hub, Seat, SubscribeError};
pub use metrics::HubMetrics;
pub use quota::{Place, Quota};
pub use topic::Topic;
