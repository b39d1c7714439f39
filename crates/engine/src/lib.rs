//! The actor per call, the registry and the supervision: it performs the machine's effects.
//!
//! ```text
//!  bot ─▶ Call ─▶ mailbox ─▶ actor ─▶ Machine ─▶ effects ─▶ graph client ─▶ Graph
//!                    ▲         │                     └────▶ hub, operations, verdicts
//!      webhook ─▶ Engine::deliver
//! ```
//!
//! One tokio task holds one call while it has something to do; else the call lies in its mailbox
//! until a letter comes. It takes one event, steps the machine, performs every effect and
//! waits for the next event; requests run as jobs whose results come back as events, so the actor
//! never waits on a peer. Mailboxes are bounded: a command that finds no room is refused as
//! [`CommandError::Busy`], a webhook as [`DeliverError::Busy`] (the edge answers 503, and Graph
//! sends it again). A call that panics ends alone: what is open is settled, the call is hung up.
//! An ended call stays for a while, so that its state and operations can be read, and so that a
//! call whose create was given up is hung up should a notification show it after all.
//!
//! With a journal ([`EngineBuilder::journal`]) nothing is sent, told or shown before the record it
//! rests on is durable: a step of the machine waits in its call's outbox, in order, while the actor
//! goes on. After a crash [`Engine::recover`] takes the open calls up.
//!
//! | queue | holds | when full |
//! |---|---|---|
//! | mailbox of a call | 128 letters, 64 entries of a webhook are one | at 64 commands are refused, at 128 webhooks |
//! | outbox of a call | 1,024 effects that wait for the journal | no more letters are read, so that the mailbox fills |
//! | open commands of a call | 32 for one aim (the machine's `max_open`) | one more is refused, 409 |
//! | operations of a call | 256 | the oldest with a verdict is forgotten |
//! | operations of errands on a call | 256 | the oldest that is finished is forgotten, else the oldest |
//! | calls that ring | 1,024 (`max_ringing`), each for 15 s (`ring_deadline`) | not acknowledged, Graph rings again |
//! | flight recorder | 16 MiB of lines of all calls (`recorder`) | the oldest lines go |
//! | roster stream | the latest version | whoever is slower gets a snapshot |
//!
//! It knows no HTTP server and no media.

mod actor;
mod awake;
mod baton;
mod call;
mod command;
mod engine;
mod errand;
mod incoming;
mod join;
mod kept;
mod ledger;
mod mail;
mod mailbox;
mod metrics;
mod moments;
mod operations;
mod outbox;
mod recorder;
mod registry;
mod roster;
mod sleep;
mod supervise;
/// What the baton is made of; loom's in its place in `tests/loom`.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use std::sync::{Mutex, PoisonError};
}
mod told;
mod upstream;
mod watch;

/// The lines of the flight recorder, and stepping a machine through them anew.
pub mod flight {
    pub use openmic_machine::{Ack, Event, PostOutcome, Read, Timer};

    pub use crate::recorder::entry::{Act, Asked, Begun, Entry, FORMAT, How, Stand, Step, What};
    pub use crate::recorder::{Diverged, Replayed, Stopped, replay};
}

#[cfg(test)]
mod tests;

pub use call::{Call, Owner, Part, Status};
pub use command::{CommandError, CommandOptions, Moments, Outcome, Pending};
pub use engine::{BuildError, DeliverError, Delivered, Engine, EngineBuilder, Recovered};
pub use errand::Passed;
pub use incoming::{Answer, AnswerError, Incoming, IncomingStream, RingEnd};
pub use join::{Created, Join, JoinError, Media};
pub use metrics::EngineMetrics;
pub use openmic_machine::{EndCause, Ending, Phase};
pub use openmic_wire::answer::RejectReason;
pub use operations::OperationRecord;
pub use recorder::{CallLog, Lines};
pub use roster::{RosterEvent, RosterStream};
pub use upstream::UpstreamError;
