//! Putting an engine together.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openmic_graph::GraphClient;
use openmic_graph::relay::Relay;
use openmic_hub::Hub;
use openmic_journal::{Journal, Recovery};
use openmic_machine::Config;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use url::Url;

use super::{Engine, Inner, Recovered, new_key};
use crate::actor::QUIET;
use crate::call::Owner;
use crate::incoming::Rings;
use crate::kept::Answers;
use crate::metrics::EngineMetrics;
use crate::recorder::{self, Recorder};
use crate::registry::Registry;
use crate::sleep::Alarms;
use crate::upstream::{PATIENCE, Upstream};

/// Puts an engine together. Made by [`Engine::builder`].
pub struct EngineBuilder {
    graph: GraphClient,
    owner: Owner,
    public_url: Url,
    hub: Option<Hub>,
    relay: Option<Relay>,
    join_muted: bool,
    command_deadline: Duration,
    post_limit: Duration,
    max_calls: usize,
    retention: Duration,
    journal: Option<(Journal, Recovery)>,
    recovery_rate: NonZeroU32,
    incoming_key: Option<String>,
    incoming_callback: Option<String>,
    ring_deadline: Duration,
    max_ringing: usize,
    recorder_bytes: usize,
    tuning: Option<fn(&mut Config)>,
    quiet: Duration,
    #[cfg(test)]
    line: Option<crate::tests::shell::Line>,
}

/// Shortest and longest key of the app's own webhook.
const KEY: std::ops::RangeInclusive<usize> = 16..=128;

/// Calls looked at in a second after a crash.
const RECOVERY_RATE: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The fan-out's threads could not be started.
    #[error("the roster fan-out cannot start its threads")]
    Hub(#[source] std::io::Error),
    /// The app's key cannot stand in a path, or can be guessed.
    #[error(
        "the key of the app's own webhook is not of 16 to 128 letters, digits, - and _; take 32 \
         random hex digits"
    )]
    IncomingKey,
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// The fan-out to publish rosters to. Default: one of its own with default settings.
    #[must_use]
    pub fn hub(mut self, hub: Hub) -> Self {
        self.hub = Some(hub);
        self
    }

    /// Passes notifications of calls made by [`Engine::create`] on to the callback that their
    /// creator named. Default: they end here.
    #[must_use]
    pub fn relay(mut self, relay: Relay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// Whether [`Engine::join`] mutes the bot as the first act of an established call.
    /// Default true.
    #[must_use]
    pub fn join_muted(mut self, join_muted: bool) -> Self {
        self.join_muted = join_muted;
        self
    }

    /// How long a verdict may take. Default 30 s, 1 s to 5 min.
    #[must_use]
    pub fn command_deadline(mut self, deadline: Duration) -> Self {
        self.command_deadline = deadline;
        self
    }

    /// Calls at one time. Default 100,000.
    #[must_use]
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.max_calls = calls;
        self
    }

    /// How long a mute or unmute may be on its way to Graph and back, at most 10 s: the time limit
    /// of the client's requests. After a crash one that was under way may still act for so long,
    /// and what undoes it is not believed before. Default 10 s.
    #[must_use]
    pub fn post_limit(mut self, limit: Duration) -> Self {
        self.post_limit = limit.min(PATIENCE);
        self
    }

    /// How long an ended call and its operations stay readable, and how long its late
    /// notifications are still taken. Default 60 s.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Where accepted commands, attempts and verdicts are written down, so that each command has
    /// its one verdict also over a crash; and what was found in it when it was opened, which
    /// [`Engine::recover`] takes up. Default: nowhere, and nothing waits for a disk.
    #[must_use]
    pub fn journal(mut self, journal: Journal, found: Recovery) -> Self {
        self.journal = Some((journal, found));
        self
    }

    /// Calls that [`Engine::recover`] looks at in a second, two GETs each. Default 500.
    #[must_use]
    pub fn recovery_rate(mut self, calls: NonZeroU32) -> Self {
        self.recovery_rate = calls;
        self
    }

    /// The routing token of the app's own webhook, by which calls ring: the last part of
    /// [`Engine::incoming_callback`]. Give the one that stands in the settings of the bot's Teams
    /// channel. Default: a random one for this engine.
    #[must_use]
    pub fn incoming_key(mut self, key: &str) -> Self {
        self.incoming_key = Some(key.to_owned());
        self
    }

    /// The webhook of a bot that speaks HTTP: calls that ring are relayed there, and those that it
    /// answers without naming another. Default: none.
    #[must_use]
    pub fn relay_incoming(mut self, callback_uri: &str) -> Self {
        self.incoming_callback = Some(callback_uri.to_owned());
        self
    }

    /// How long a call may ring before it is forgotten. Default 15 s, which is what Graph gives a
    /// bot to answer.
    #[must_use]
    pub fn ring_deadline(mut self, deadline: Duration) -> Self {
        self.ring_deadline = deadline;
        self
    }

    /// Calls that may ring at one time; above it a ring is not acknowledged, so that Graph rings
    /// again. Default 1,024, at most 4,096.
    #[must_use]
    pub fn max_ringing(mut self, calls: usize) -> Self {
        self.max_ringing = calls;
        self
    }

    /// How much memory the flight recorder may take for what [`Engine::log`] shows: the oldest lines
    /// of all calls go first. Default 16 MiB, 1 MiB at least; 0: nothing is recorded.
    #[must_use]
    pub fn recorder(mut self, bytes: usize) -> Self {
        self.recorder_bytes = bytes;
        self
    }

    /// Changes the machine's own settings of every call: grace times, patience, limits.
    #[must_use]
    pub fn tune(mut self, tuning: fn(&mut Config)) -> Self {
        self.tuning = Some(tuning);
        self
    }

    /// A simulated Graph in the place of the client.
    #[cfg(test)]
    pub(crate) fn line(mut self, line: crate::tests::shell::Line) -> Self {
        self.line = Some(line);
        self
    }

    /// The engine.
    ///
    /// # Errors
    /// [`BuildError`] when a part cannot start.
    pub fn build(self) -> Result<Engine, BuildError> {
        let hub = match self.hub {
            Some(hub) => hub,
            None => Hub::start(openmic_hub::HubConfig::default()).map_err(BuildError::Hub)?,
        };
        let fits = |key: &String| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            KEY.contains(&key.len()) && key.bytes().all(plain)
        };
        let key = match self.incoming_key {
            None => new_key(),
            Some(key) if fits(&key) => key.into(),
            Some(_) => return Err(BuildError::IncomingKey),
        };
        let origin = Instant::now();
        let (journal, found) = self.journal.unzip();
        let upstream = Upstream::new(self.graph);
        #[cfg(test)]
        let upstream = upstream.over(self.line);
        let inner = Inner {
            rings: Rings::new(
                key,
                self.max_ringing,
                self.ring_deadline,
                self.incoming_callback,
            ),
            upstream,
            hub,
            registry: Registry::default(),
            answers: Answers::default(),
            metrics: EngineMetrics::new(),
            relay: self.relay,
            command_deadline: self.command_deadline,
            post_limit: self.post_limit,
            retention: self.retention,
            journal,
            found: Mutex::new(found),
            recovery: watch::Sender::new(Recovered::default()),
            damaged: Mutex::default(),
            leaving: AtomicBool::new(false),
            recovery_rate: self.recovery_rate,
            owner: Arc::new(self.owner),
            public_url: self.public_url,
            join_muted: self.join_muted,
            max_calls: self.max_calls,
            places: Arc::new(Semaphore::new(self.max_calls.min(Semaphore::MAX_PERMITS))),
            tuning: self.tuning,
            quiet: self.quiet,
            alarms: Alarms::default(),
            runtime: OnceLock::new(),
            recorder: Recorder::new(self.recorder_bytes, origin),
            origin,
            draining: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
        };
        Ok(Engine {
            inner: Arc::new(inner),
        })
    }
}

impl Engine {
    /// Begins an engine for the bot `owner` that reaches Graph through `graph`. Graph must reach
    /// the engine's webhook under `public_url`.
    pub fn builder(graph: GraphClient, owner: Owner, public_url: Url) -> EngineBuilder {
        EngineBuilder {
            graph,
            owner,
            public_url,
            hub: None,
            relay: None,
            join_muted: true,
            command_deadline: Duration::from_secs(30),
            post_limit: PATIENCE,
            max_calls: 100_000,
            retention: Duration::from_mins(1),
            journal: None,
            recovery_rate: RECOVERY_RATE,
            incoming_key: None,
            incoming_callback: None,
            ring_deadline: Duration::from_secs(15),
            max_ringing: 1024,
            recorder_bytes: recorder::DEFAULT_BYTES,
            tuning: None,
            // In tests calls sleep whenever they can.
            quiet: if cfg!(test) { Duration::ZERO } else { QUIET },
            #[cfg(test)]
            line: None,
        }
    }
}
