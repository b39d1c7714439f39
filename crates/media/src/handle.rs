//! What the control plane sees: joins, the gate, statistics. All async calls go through the bounded
//! queue of the meeting's thread; the gate's word does not.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::gate::Gate;
use crate::metrics::MediaMetrics;
use crate::shard::{self, Command, Entry, LegId, Link, Shards};
use crate::transport::plain::{Opened, PortPlan};

mod config;
mod error;
mod spec;

pub use config::MediaConfig;
pub use error::{FenceError, JoinError, LegGone, OpenError};
pub use spec::{Codec, JoinSpec, Joined, LegStats, Receive, SourceStats};

/// The media threads. Cheap to clone; dropping the last clone stops and joins them.
#[derive(Debug, Clone)]
pub struct Media {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: MediaConfig,
    ports: PortPlan,
    metrics: MediaMetrics,
    next_leg: AtomicU64,
    started: Instant,
    shards: Shards,
}

impl Media {
    /// Starts the threads. Binds nothing yet.
    ///
    /// # Errors
    /// When the system refuses a thread or an epoll descriptor.
    pub fn start(config: MediaConfig) -> io::Result<Self> {
        let metrics = MediaMetrics::new();
        let started = Instant::now();
        let shards = Shards::start(&config, &metrics, started)?;
        Ok(Self {
            inner: Arc::new(Inner {
                ports: PortPlan::new(config.bind, config.ports.clone()),
                next_leg: AtomicU64::new(1),
                config,
                metrics,
                started,
                shards,
            }),
        })
    }

    /// What the threads count.
    pub fn metrics(&self) -> &MediaMetrics {
        &self.inner.metrics
    }

    /// Binds ports for a participant and puts it into a meeting, which begins with its first and ends
    /// with its last participant. It hears whoever is in it, and whoever joins later.
    ///
    /// # Errors
    /// [`JoinError`]; nothing stays behind then.
    pub async fn join(&self, meeting: &str, spec: JoinSpec) -> Result<Joined, JoinError> {
        let inner = &*self.inner;
        spec.check(&inner.config)?;
        let slots = match &spec.receive {
            Receive::Split(to) => to.as_slice(),
            Receive::None | Receive::Multi => &[],
        };
        let Opened {
            transport,
            local_addr,
            split_addrs,
        } = inner.ports.open(spec.connects_to(), slots)?;
        let gate = Arc::new(Gate::new(spec.starts_open, inner.started.elapsed()));
        let id = LegId(inner.next_leg.fetch_add(1, Ordering::Relaxed));
        let link = inner
            .shards
            .of(shard_of(meeting, inner.config.shards.get()));
        // made before it joins: should this future be dropped halfway, its drop undoes the join
        let leg = Leg {
            inner: Arc::new(LegInner {
                id,
                gate: Arc::clone(&gate),
                link: Arc::clone(link),
                limit: inner.config.fence_limit,
                started: inner.started,
            }),
        };
        let (reply, answer) = oneshot::channel();
        let entry = Entry {
            id,
            meeting: meeting.into(),
            spec,
            gate,
            transport,
        };
        let command = Command::Join {
            entry: Box::new(entry),
            reply,
        };
        match leg.inner.ask(command, answer).await {
            Ok(joined) => joined?,
            Err(shard::AskError::Slow) => return Err(JoinError::TimedOut(leg.inner.limit)),
            Err(shard::AskError::Stopped) => return Err(JoinError::Stopped),
        }
        Ok(Joined {
            local_addr,
            split_addrs,
            leg,
        })
    }

    /// Stops and joins the threads; every leg is gone then. Blocks for one turn of a thread at most.
    /// Further calls do nothing.
    pub fn shutdown(&self) {
        self.inner.shards.stop();
    }
}

/// One meeting is always on one thread; which one only depends on its name.
fn shard_of(meeting: &str, shards: usize) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(meeting);
    usize::try_from(hash % shards as u64).expect("smaller than the number of shards")
}

/// One participant's place in a meeting. Clones are the same leg; when the last one is dropped the
/// participant is muted at once and leaves.
#[derive(Debug, Clone)]
pub struct Leg {
    inner: Arc<LegInner>,
}

#[derive(Debug)]
struct LegInner {
    id: LegId,
    gate: Arc<Gate>,
    link: Arc<Link>,
    limit: Duration,
    started: Instant,
}

impl Leg {
    /// Unmutes: drops what arrived until now, then opens the gate. The first payload that arrives
    /// after the answer is forwarded, within the rate limit. Returns the epoch.
    ///
    /// An open gate stays as it is. Should the media thread not answer within the fence limit, the
    /// gate is opened without it, and what waits in the socket's buffer is heard as well.
    ///
    /// # Errors
    /// [`OpenError::Overtaken`] when the leg was closed meanwhile: it is closed.
    pub async fn open(&self) -> Result<u64, OpenError> {
        let inner = &*self.inner;
        let seen = inner.gate.read();
        if seen.is_open() {
            return Ok(seen.epoch());
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Open {
            id: inner.id,
            seen,
            reply,
        };
        match inner.ask(command, answer).await {
            Ok(Some(opened)) => opened.map_err(OpenError::Overtaken),
            Ok(None) | Err(shard::AskError::Stopped) => Err(OpenError::Gone),
            Err(shard::AskError::Slow) => {
                tracing::warn!(limit = ?inner.limit, "media thread is slow, opening a gate without it");
                self.open_now(seen)
            }
        }
    }

    fn open_now(&self, seen: crate::gate::Word) -> Result<u64, OpenError> {
        let inner = &*self.inner;
        match inner.gate.open_from(seen, inner.started.elapsed()) {
            Ok(epoch) => Ok(epoch),
            // the thread was late rather than absent: our own command opened it
            Err(now) if now.is_open() => Ok(now.epoch()),
            Err(now) => Err(OpenError::Overtaken(now.epoch())),
        }
    }

    /// Mutes: closes the gate, then waits until the media thread has passed it. No payload that
    /// arrives after the answer is forwarded until the next open. Returns the epoch.
    ///
    /// The gate is closed as soon as this is first polled, also when it is then abandoned.
    ///
    /// # Errors
    /// [`FenceError`] when the thread does not answer in time. The gate is closed even then; only a
    /// packet that was being handed over may still leave.
    pub async fn close(&self) -> Result<u64, FenceError> {
        let inner = &*self.inner;
        let epoch = inner.gate.close();
        let (reply, answer) = oneshot::channel();
        let command = Command::Fence {
            gate: Arc::clone(&inner.gate),
            epoch,
            reply,
        };
        match inner.ask(command, answer).await {
            Ok(()) => Ok(epoch),
            Err(shard::AskError::Slow) => Err(FenceError::TimedOut(inner.limit)),
            Err(shard::AskError::Stopped) => Err(FenceError::Stopped),
        }
    }

    /// Whether the gate is open right now.
    pub fn is_open(&self) -> bool {
        self.inner.gate.read().is_open()
    }

    /// Everything known about this leg.
    ///
    /// # Errors
    /// [`LegGone`] when it has left, or the thread does not answer.
    pub async fn stats(&self) -> Result<LegStats, LegGone> {
        let (reply, answer) = oneshot::channel();
        let id = self.inner.id;
        match self.inner.ask(Command::Stats { id, reply }, answer).await {
            Ok(stats) => stats.map(|stats| *stats).ok_or(LegGone),
            Err(_) => Err(LegGone),
        }
    }

    /// Leaves the meeting and frees the ports. Harmless when it has left already.
    pub async fn leave(&self) {
        let (reply, answer) = oneshot::channel();
        self.inner.gate.close();
        let command = Command::Leave {
            id: self.inner.id,
            reply: Some(reply),
        };
        if let Err(shard::AskError::Slow) = self.inner.ask(command, answer).await {
            self.inner.link.abandon(&self.inner.gate);
        }
    }
}

impl LegInner {
    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, shard::AskError> {
        self.link.ask(command, answer, self.limit).await
    }
}

impl Drop for LegInner {
    fn drop(&mut self) {
        self.gate.close();
        let id = self.id;
        self.link.leave(id, &self.gate);
    }
}

/// The address a participant declared, when it is one to send to at once (RFC 863's port 9 says
/// that it does not know yet).
pub(crate) const DISCARD_PORT: u16 = 9;

/// Whether `addr` can be sent to at all.
fn is_unicast(addr: SocketAddr) -> bool {
    let ip = addr.ip();
    let broadcast = matches!(ip, std::net::IpAddr::V4(v4) if v4.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests;
