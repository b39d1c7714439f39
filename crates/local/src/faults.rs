//! Faults on purpose: what a network and a service do to a bot on a bad day, on demand and the
//! same each time.
//!
//! ```text
//! text ─▶ Fault (what, on which events) ─▶ Active (one call's counters and dice) ─▶ Twist
//! ```
//!
//! Everything in here is a pure decision: [`Active`] counts events and throws its own dice, and
//! [`Asking`] and [`Telling`] say what is to be done. `http` and `deliver` do it, and the truth log
//! has a line of each fault that came to pass. Not there at all unless the service is bound to
//! loopback in the dev profile.

mod active;
mod event;
mod fault;
mod names;
#[cfg(test)]
mod tests;
mod twist;

pub(crate) use active::{CallFaults, Defaults, Scope, Shown};
pub(crate) use event::Event;
pub use fault::{Fault, FaultError, FaultPlan};
pub(crate) use twist::{Act, Answering, Asking, End, Hold, How, Instead, Retry, Telling, Token};
