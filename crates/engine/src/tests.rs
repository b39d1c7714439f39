//! Tests of the real actor against a scripted Graph over loopback sockets, and of the whole shell
//! against a simulated one on virtual time.

mod awake;
mod crash;
mod create;
mod errands;
mod graph;
mod house;
mod incoming;
mod journal;
mod layout;
mod life;
mod log;
mod mailbox;
mod panic;
mod records;
mod recovery;
mod relayed;
pub(crate) mod shell;
mod sleep;
mod stage;
mod verdicts;
