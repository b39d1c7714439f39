//! The state machine of one call. Events go in, effects come out; nothing else happens here.
//!
//! There is no tokio, no clock and no I/O in this crate: the shell (`openmic-engine`, or a
//! simulator) passes the time in with every event, performs the effects, and feeds their results
//! back as events. The rule is: one event, then every effect, then the next event.
//!
//! ```text
//!  any ── counts what nobody wanted
//!  ├── live ── termination, hang-up, keepAlive, roster merge
//!  │    ├── Establishing        not up yet, or up and the own roster entry not yet seen
//!  │    └── established
//!  │         ├── Muted          nobody hears the bot
//!  │         ├── Unmuting       one attempt in flight, evidence being collected
//!  │         ├── Unmuted        everybody hears the bot
//!  │         └── Muting
//!  ├── Terminating
//!  └── Terminated              absorbing
//! ```
//!
//! What it deliberately lacks: ids of calls and tenants, JSON, retries of single requests, and any
//! way to reach it but [`Machine::handle`].
//!
//! ```
//! use openmic_machine::{Config, Effect, Event, Machine, Phase, Time};
//! use openmic_model::{CallFacts, CallKind, CommandId};
//!
//! let config = Config { join_muted: false, ..Config::new(1, CommandId::new(7)) };
//! let mut effects = Vec::new();
//! let mut machine = Machine::start(config, Time::ZERO, &mut effects);
//! assert!(matches!(effects[..], [Effect::Create]));
//! let created = Event::Created { facts: CallFacts::default(), kind: CallKind::Group };
//! machine.handle(&created, Time::from_millis(20), &mut effects);
//! assert_eq!(machine.phase(), Phase::Establishing);
//! ```

mod aside;
mod attempt;
mod config;
mod desk;
mod doubt;
mod effect;
mod event;
mod facts;
mod gather;
mod held;
mod machine;
mod merge;
mod model;
mod part;
mod pursue;
mod recover;
mod rest;
mod rumour;
mod time;
mod window;

pub use attempt::Pursued;
pub use config::Config;
pub use effect::{Effect, Ending, Phase, QueryId};
pub use event::{Ack, AttemptId, Event, PostOutcome, Read, Refusal};
pub use machine::Machine;
pub use openmic_model::{EndCause, Origin};
pub use part::hang_up_pause;
pub use time::{Time, Timer};

#[cfg(test)]
mod tests;
