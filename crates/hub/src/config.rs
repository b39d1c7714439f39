use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use openmic_model::Version;

/// How the hub behaves. The default is good for one machine.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Threads that subscribers are spread over, by call; 0 counts as 1. Default: one per
    /// processor, at most 2.
    pub shards: usize,
    /// Subscribers of all calls together. Default 20 000.
    pub max_subscribers: usize,
    /// Subscribers of one call. Default 20 000.
    pub max_subscribers_per_call: usize,
    /// Time between two pings of a subscriber; one that sent nothing for two of them is dropped.
    /// Default 25 s.
    pub ping_interval: Duration,
    /// How long a subscriber may take no byte of what is due to it. Default 10 s.
    pub slow_after: Duration,
    /// How long a subscriber may take to answer a close. Default 5 s.
    pub close_timeout: Duration,
    /// How long the deltas of a call are held after its last subscriber left, so that one that was
    /// cut off and comes back resumes where it was. Default 30 s.
    pub linger: Duration,
    /// Messages, parts of messages, and pings a subscriber may send within a second. Default 20.
    pub max_inbound_per_second: u16,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            shards: thread::available_parallelism()
                .map_or(1, NonZeroUsize::get)
                .min(2),
            max_subscribers: 20_000,
            max_subscribers_per_call: 20_000,
            ping_interval: Duration::from_secs(25),
            slow_after: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(30),
            max_inbound_per_second: 20,
        }
    }
}

/// What a subscriber asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subscribe {
    /// The version it has; it then gets only what came after it, if that is still held.
    pub since: Option<Version>,
}
