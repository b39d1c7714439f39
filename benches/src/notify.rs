//! Signed notifications over HTTP, taken by the engine's webhook or by a bare server.
//!
//! Whoever takes them is a process on a processor of its own. This one sends: a POST on each of some
//! connections, then the answers, and again. Each connection belongs to a call, so that what happens
//! to a call comes in order, and every notification mutes or unmutes somebody: all of them are
//! merged, and told to the subscribers.

mod sender;
mod signer;
mod stages;
mod taker;

pub use sender::{Burst, Sender};
pub use signer::Signer;
pub use stages::Stages;
pub use taker::{Takes, Taking, take};

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Calls, and connections to send on.
const CALLS: usize = 16;
const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const APP: &str = "22222222-2222-4222-8222-222222222222";
const ISSUER: &str = "https://api.botframework.com";

/// What a taker says first, as JSON on a line.
#[derive(Debug, Serialize, Deserialize)]
struct Door {
    /// Where notifications go.
    webhook: std::net::SocketAddr,
    /// Where subscribers connect: so many in a row watch the first call, then the second.
    seats: std::net::SocketAddr,
    /// The calls' ids.
    calls: Vec<String>,
}

/// Processor time of one, and how many of them a whole processor takes in a second.
#[derive(Debug, Clone, Copy)]
pub struct Cost(pub Duration);

impl Cost {
    /// Per second of processor time.
    pub fn per_second(self) -> f64 {
        1.0 / self.0.as_secs_f64()
    }
}
