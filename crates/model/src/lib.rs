//! The values openmic talks about: ids, calls, participants, rosters, operations, verdicts.
//!
//! No I/O, no clock. What serde makes of these values is for openmic's own books, the journal and
//! the flight recorder, and renaming a field changes their format. The JSON twins that others see
//! live in `openmic-wire` (Graph's field names) and `openmic-hub` (WebSocket frames).
//!
//! # Words
//!
//! *call* a bot's leg in a meeting · *meeting* what calls and people meet in (a chat thread id) ·
//! *participant* one entry of the roster · *roster* all participants of a call · *operation*
//! Graph's record of an asynchronous action · *notification* one entry of a webhook POST ·
//! *command* what a bot asked of a call · *attempt* one POST for a command · *verdict* how a
//! command ended · *subscriber* one WebSocket that watches a roster · *gate* the switch between a
//! participant's audio and the others.

mod book;
mod call;
mod id;
mod operation;
mod packed;
mod participant;
mod record;
mod roster;
pub mod seeded;
mod verdict;

pub use book::{Book, Contradiction};
pub use call::{CallFacts, CallKind, CallState};
pub use id::{
    AppId, CallId, ClientContext, CommandId, IdError, OperationId, ParticipantId, TenantId,
};
pub use operation::{Action, Operation, OperationKind, OperationStatus, ResultInfo};
pub use packed::{KeptVersion, PackedRoster};
pub use participant::{Identity, IdentityKind, MediaStream, Participant};
pub use record::{
    Accepted, Asked, CallIntent, CallKey, EndCause, LastAttempt, NamedCallback, Origin, Posted,
    Record, Repeat, Restored, WallTime, Window,
};
pub use roster::{Change, DeltaEntry, Roster, RosterUpdate, RosterVersion, Version, VersionError};
pub use verdict::{Evidence, RosterSeen, Verdict};
