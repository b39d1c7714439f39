//! Tests of the real actor against a scripted Graph over loopback sockets.

mod crash;
mod create;
mod errands;
mod graph;
mod house;
mod incoming;
mod journal;
mod life;
mod log;
mod mailbox;
mod panic;
mod records;
mod recovery;
mod relayed;
mod stage;
mod verdicts;
