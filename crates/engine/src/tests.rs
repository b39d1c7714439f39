//! Tests of the real actor against a scripted Graph over loopback sockets.

mod graph;
mod stage;
mod verdicts;
