//! Whole lives of calls on virtual time: the real machine, the real fold of the journal and the
//! real queue behind it, against a Graph, a network, a disk, a clock and subscribers that do
//! everything to them that the failure model knows. The checker judges every life.
//!
//! One seed is one life: nothing else decides what happens. A seed that breaks something is lived
//! through once more, and its story told:
//!
//! ```text
//! SEED=4711 cargo test -p openmic-simulator one_life -- --nocapture
//! ```
//!
//! Real are `openmic-machine`, `openmic-model`'s book and the engine's outbox. The shell around
//! them, which obeys the outbox, and the rest of the world are the simulator's own.
//!
//! Taken for granted of Graph: no POST takes effect later than the client's time limit after it
//! was wanted, and a GET shows what is so at some moment while it is served.

mod agenda;
mod coverage;
mod disk;
mod faults;
mod graph;
mod hub;
// The engine's own file: it has neither tokio nor a clock, and is crate-private there.
#[path = "../../../crates/engine/src/outbox.rs"]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "a simulated actor does not panic")
)]
mod outbox;
mod process;
mod random;
mod report;
mod run;
mod sim;
mod tally;
mod world;

pub use report::Report;
pub use run::{Failure, Run, story};
