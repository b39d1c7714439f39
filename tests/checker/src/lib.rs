//! What must hold of a call whatever breaks, judged over a recorded history.
//!
//! One checker, many drivers: the simulator, the tests that kill the real program, a soak. Whoever
//! drives writes down what happened as [`Entry`]s, in the order in which it happened, and feeds
//! them to a [`Checker`]; each invariant is one function over what came before and the next event
//! ([`INVARIANTS`] lists them). Time is linear in the events, memory bounded per call.
//!
//! # Feeding it from a real run
//!
//! A history is NDJSON, one [`Entry`] a line, in the order of `at` (microseconds of one steady
//! clock; sort what comes from several files). Write down what you see and leave out what you do
//! not: an invariant that lacks its facts stays silent. From outside of the program that is
//!
//! | seen | event |
//! |---|---|
//! | a command's answer `running`, or its operation's id | [`What::Accepted`], then [`What::Acknowledged`] |
//! | its end, in an answer, by GET of the operation, in a frame | [`What::Told`] |
//! | GET of an acknowledged operation says 404 | [`What::Forgotten`] |
//! | the truth log: a POST was taken on; the gate moved; the roster changed | [`What::Reached`], [`What::Took`], [`What::Roster`] |
//! | a subscriber connects, reads a frame, is cut | [`What::Joined`], [`What::Frame`], [`What::Left`] |
//! | `kill -9`; `/readyz` is green again | [`What::Crashed`], [`What::Recovered`] |
//! | the faults are over and everything has had its time | [`What::Calm`], [`Checker::finish`] |
//!
//! A command's id is its operation's: the engine makes both of the same 128 bits
//! ([`command_of`]). A client context names command and number ([`CommandId::from_context`]).
//! Events of the journal ([`What::Written`], [`What::Durable`]) and of requests on their way
//! ([`What::Sent`], [`What::Asked`]) come from inside, such as a simulator.
//!
//! ```
//! use openmic_checker::{Checker, Entry, Limits};
//!
//! let history = r#"
//! {"at":0,"call":"a","what":{"accepted":{"command":"aaaaaaaaaaaaaaaaaaaaaaaaab","action":"unmute","within":30000}}}
//! {"at":20000,"call":"a","what":{"told":{"command":"aaaaaaaaaaaaaaaaaaaaaaaaab","end":"completed"}}}
//! {"at":30000,"call":"a","what":{"told":{"command":"aaaaaaaaaaaaaaaaaaaaaaaaab","end":"unconfirmed"}}}
//! "#;
//! let mut checker = Checker::new(Limits::default());
//! let mut broken = None;
//! for line in history.lines().filter(|line| !line.is_empty()) {
//!     let entry: Entry = line.parse().unwrap();
//!     broken = broken.or(checker.take(&entry).err());
//! }
//! assert_eq!(broken.unwrap().invariant, "I-2");
//! ```
//!
//! [`CommandId::from_context`]: openmic_model::CommandId::from_context

mod call;
mod checker;
mod history;
mod invariants;

pub use call::CallChecker;
pub use checker::Checker;
pub use history::{Answer, End, Entry, Gauge, NotAnEntry, Note, What, command_of};
pub use invariants::{Breach, INVARIANTS, Invariant, Limits};

#[cfg(test)]
mod tests;
