//! One binary of all tests that cross crates.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod arrows;
mod bots;
mod canary;
mod cycles;
mod door;
mod encoders;
mod faults;
mod flood;
mod incoming;
mod readme;
mod relay;
mod relay_load;
mod scenarios;
mod security;
mod trickle;
