//! The media threads. Each owns whole meetings: their sockets, routes and counters, alone.
//!
//! A thread sleeps in epoll until a packet or a command comes; the only timer is the one that
//! notices a sender gone silent, and it ends with that.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::gate::{Gate, Word};
use crate::handle::{JoinError, JoinSpec, LegStats, MediaConfig};
use crate::metrics::MediaMetrics;
use crate::transport::plain::Plain;

mod forward;
mod leg;
mod table;

use forward::Forwarder;
use table::Table;

/// Wakes the thread for commands; sockets have smaller tokens.
const COMMANDS: Token = Token(usize::MAX);

/// Commands taken between two rounds of packets, so that neither starves the other.
const COMMANDS_PER_TURN: usize = 64;

/// Names a leg for its whole life and never another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LegId(pub(crate) u64);

/// A participant about to join.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: LegId,
    pub(crate) meeting: Arc<str>,
    pub(crate) spec: JoinSpec,
    pub(crate) gate: Arc<Gate>,
    pub(crate) transport: Plain,
}

/// What the control plane asks of a thread. Each is done between two packets.
#[derive(Debug)]
pub(crate) enum Command {
    Join {
        entry: Box<Entry>,
        reply: oneshot::Sender<Result<(), JoinError>>,
    },
    Leave {
        id: LegId,
        reply: Option<oneshot::Sender<()>>,
    },
    /// Drop what has arrived, then open, unless the gate is no longer as it was `seen`. The answer
    /// is the epoch it is open in, or the one of the close that came first; `None` for no such leg.
    Open {
        id: LegId,
        seen: Word,
        reply: oneshot::Sender<Option<Result<u64, u64>>>,
    },
    /// Answer; every packet decided before has been handed to the kernel then.
    Fence {
        gate: Arc<Gate>,
        epoch: u64,
        reply: oneshot::Sender<()>,
    },
    Stats {
        id: LegId,
        reply: oneshot::Sender<Option<Box<LegStats>>>,
    },
}

/// Why a command has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskError {
    Slow,
    Stopped,
}

/// The way to one thread.
#[derive(Debug)]
pub(crate) struct Link {
    /// Bounded; when it is full, callers wait up to their limit.
    queue: mpsc::Sender<Command>,
    waker: Waker,
    stop: AtomicBool,
    /// Some gate is marked as abandoned.
    sweep: AtomicBool,
}

impl Link {
    pub(crate) async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<T>,
        limit: Duration,
    ) -> Result<T, AskError> {
        let work = async {
            let sent = self.queue.send(command).await;
            sent.map_err(|_| AskError::Stopped)?;
            self.wake();
            answer.await.map_err(|_| AskError::Stopped)
        };
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or(Err(AskError::Slow))
    }

    /// Has a leg leave without waiting.
    pub(crate) fn leave(&self, id: LegId, gate: &Gate) {
        match self.queue.try_send(Command::Leave { id, reply: None }) {
            Ok(()) => self.wake(),
            Err(mpsc::error::TrySendError::Full(_)) => self.abandon(gate),
            // no thread, no leg
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Has a leg leave without the queue.
    pub(crate) fn abandon(&self, gate: &Gate) {
        gate.abandon();
        self.sweep.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake a media thread");
        }
    }
}

/// All threads.
#[derive(Debug)]
pub(crate) struct Shards {
    links: Vec<Arc<Link>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shards {
    pub(crate) fn start(
        config: &MediaConfig,
        metrics: &MediaMetrics,
        started: Instant,
    ) -> io::Result<Self> {
        let mut shards = Self {
            links: Vec::new(),
            threads: Mutex::new(Vec::new()),
        };
        for nth in 0..config.shards.get() {
            let (link, shard) = Shard::new(config, metrics, started)?;
            let thread = std::thread::Builder::new()
                .name(format!("media-{nth}"))
                .spawn(move || shard.run())?;
            // from here on a failure of a later one stops this one, by drop
            shards.links.push(link);
            shards.threads.get_mut().push(thread);
        }
        Ok(shards)
    }

    pub(crate) fn of(&self, nth: usize) -> &Arc<Link> {
        &self.links[nth]
    }

    pub(crate) fn stop(&self) {
        for link in &self.links {
            link.stop.store(true, Ordering::Release);
            link.wake();
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a media thread had panicked");
            }
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Shard {
    poll: Poll,
    commands: mpsc::Receiver<Command>,
    link: Arc<Link>,
    table: Table,
    forwarder: Forwarder,
    /// Sockets that may still hold packets; epoll reports each only once.
    ready: Vec<Token>,
    /// When to look whether a sender has gone silent.
    silences: BinaryHeap<Reverse<(Instant, LegId)>>,
    relatch_after: Duration,
    metrics: MediaMetrics,
    started: Instant,
}

impl Shard {
    fn new(
        config: &MediaConfig,
        metrics: &MediaMetrics,
        started: Instant,
    ) -> io::Result<(Arc<Link>, Self)> {
        let poll = Poll::new()?;
        let (queue, commands) = mpsc::channel(config.queue.get());
        let link = Arc::new(Link {
            queue,
            waker: Waker::new(poll.registry(), COMMANDS)?,
            stop: AtomicBool::new(false),
            sweep: AtomicBool::new(false),
        });
        let shard = Self {
            table: Table::new(poll.registry().try_clone()?, config),
            forwarder: Forwarder::new(metrics.clone(), started),
            poll,
            commands,
            link: Arc::clone(&link),
            ready: Vec::new(),
            silences: BinaryHeap::new(),
            relatch_after: config.relatch_after,
            metrics: metrics.clone(),
            started,
        };
        Ok((link, shard))
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let mut busy = false;
        loop {
            let timeout = self.timeout(busy);
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "a media thread cannot wait for packets and ends");
                    return;
                }
            }
            let now = Instant::now();
            if self.link.stop.load(Ordering::Acquire) {
                return;
            }
            for event in &events {
                let token = event.token();
                if token != COMMANDS && self.table.mark_ready(token) {
                    self.ready.push(token);
                }
            }
            busy = self.commands(now);
            self.packets(now);
            busy |= !self.ready.is_empty();
            self.silences(now);
            self.metrics.turn.observe(now.elapsed().as_secs_f64());
        }
    }

    /// Until when there is nothing to do; `None` for as long as nothing comes.
    fn timeout(&self, busy: bool) -> Option<Duration> {
        if busy {
            return Some(Duration::ZERO);
        }
        let Reverse((at, _)) = self.silences.peek()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Whether more are waiting.
    fn commands(&mut self, now: Instant) -> bool {
        if self.link.sweep.swap(false, Ordering::AcqRel) {
            for id in self.table.abandoned() {
                self.table.leave(id);
            }
        }
        for _ in 0..COMMANDS_PER_TURN {
            match self.commands.try_recv() {
                Ok(command) => self.command(command, now),
                Err(_) => return false,
            }
        }
        true
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            // who gave up may have been swept already: nothing would take it out again
            Command::Join { reply, .. } if reply.is_closed() => {}
            Command::Join { entry, reply } => {
                let id = entry.id;
                let joined = self.table.join(*entry, now);
                if joined.is_ok() {
                    self.watch(id);
                }
                answer(reply, joined);
            }
            Command::Leave { id, reply } => {
                self.table.leave(id);
                if let Some(reply) = reply {
                    answer(reply, ());
                }
            }
            Command::Open { id, seen, reply } => {
                answer(reply, self.open(id, seen, now));
            }
            Command::Fence { gate, epoch, reply } => {
                gate.fenced(epoch);
                answer(reply, ());
            }
            Command::Stats { id, reply } => {
                answer(reply, self.table.stats(id).map(Box::new));
            }
        }
    }

    fn open(&mut self, id: LegId, seen: Word, now: Instant) -> Option<Result<u64, u64>> {
        let at = self.table.position(id)?;
        self.forwarder.drain(&mut self.table, at, now);
        self.watch(id);
        let gate = self.table.gate(at)?;
        Some(match gate.open_from(seen, self.started.elapsed()) {
            Ok(epoch) => Ok(epoch),
            Err(word) if word.is_open() => Ok(word.epoch()),
            Err(word) => Err(word.epoch()),
        })
    }

    /// One round over the sockets that have something.
    fn packets(&mut self, now: Instant) {
        let mut nth = 0;
        while nth < self.ready.len() {
            let token = self.ready[nth];
            let read = self.forwarder.read(&mut self.table, token, now);
            if let Some(id) = read.watch {
                self.watch(id);
            }
            if read.more {
                nth += 1;
            } else {
                self.table.unmark_ready(token);
                self.ready.swap_remove(nth);
            }
        }
    }

    /// Looks at a leg again when it could have been silent for long enough.
    fn watch(&mut self, id: LegId) {
        if let Some(due) = self.table.watch(id, self.relatch_after) {
            self.silences.push(Reverse((due, id)));
        }
    }

    fn silences(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.silences.peek().copied() {
            if at > now {
                return;
            }
            self.silences.pop();
            if let Some(due) = self.table.look(id, self.relatch_after, now) {
                self.silences.push(Reverse((due, id)));
            }
        }
    }
}

/// An asker who went away needs no answer: what it asked for has been done all the same.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}

#[cfg(test)]
mod tests;
