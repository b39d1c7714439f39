//! What the tests that cross crates share: a running service, a bot that sends numbered audio, a
//! human that listens, and the real programs of the machine.

mod audio;
mod between;
mod hook;
mod program;
mod random;
mod roster;
mod server;
mod service;

pub use audio::{Ear, Packet, Voice, offer, service_address};
pub use between::{Between, Passed, Stop};
pub use hook::{Hook, Posted};
pub use program::{Program, missing_gst_elements, missing_programs, silences};
pub use random::Random;
pub use roster::HeldRoster;
pub use server::{Said, Server};
pub use service::{Bot, Person, Service};

use std::path::{Path, PathBuf};

/// Stands in every secret of these tests. `tests/run` looks for it, and for bearer tokens, in all
/// that any step prints.
pub const CANARY: &str = "k4nar1";

/// The repository's root.
///
/// # Panics
/// Never: the manifest of this package lies in a folder of the root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the root")
        .to_owned()
}
