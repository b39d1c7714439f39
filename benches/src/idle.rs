//! Idle calls and what they are measured against: each kind in a process of its own, so that its
//! memory is its own.

mod graph;
mod measure;
mod openmic;
mod task;

pub use graph::serve as serve_graph;
pub use measure::{Measured, Samples, resident};
pub use openmic::measure as measure_openmic;
pub(crate) use openmic::{Graph, bot, join};
pub use task::measure as measure_task;
