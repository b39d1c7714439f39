//! The fan-out bench: servers in processes of their own, subscribers in this one.
//!
//! Every server, ours, the bare loop or a peer, is started by [`Server::start`] on a processor that
//! the subscribers do not use, and told what to publish by one byte each; so its processor time and
//! memory are those of its process, and the same clients measure all.

mod affinity;
mod crowd;
mod frames;
mod history;
mod house;
mod load;
mod peers;
mod report;
mod rivals;
mod server;
mod stall;
mod wire;

pub use affinity::Cores;
pub use crowd::{Crowd, Manners};
pub use history::delta_frame;
pub(crate) use history::{History, read_frame};
pub use house::{Role, serve};
pub use load::{Load, Pace, Run};
pub(crate) use peers::runs;
pub use report::{Row, Table, keep};
pub use server::{Contender, Door, Server, Setting, Usage};
pub use stall::{Stall, stall};
