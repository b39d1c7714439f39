//! The surface over real sockets: a real engine behind it, the local calling service upstream.

#![expect(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod admin;
mod certificates;
mod errands;
mod harness;
mod incoming;
mod log;
mod paths;
mod refusals;
mod replay;
mod restart;
mod surface;
mod tenants;
mod upstream;
mod watch;
mod webhook;
