//! The journal over each of its stores, on real disks and on broken ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod contract;
mod facts;
mod faults;
mod folder;
mod golden;
mod group;
mod lookups;
mod properties;
mod scribe;
