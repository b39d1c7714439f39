use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::close::Reason;
use crate::config::HubConfig;
use crate::connection::{Connection, Step, Tools};
use crate::feed::Feed;
use crate::frame::Encoder;
use crate::hub::{Arrival, Inbox, Link, Stop};
use crate::metrics::{HubMetrics, Tally};
use crate::slab::Slab;
use crate::socket::Socket;
use crate::topic::{Pending, Slot, Taken};

/// The token of the waker; connections have their number.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// Subscribers served before sockets and the inbox are looked at again.
const TURN: usize = 1024;
/// Of these, those of one call in a row.
const SLICE: usize = 256;
/// Parts that a round of pings is spread over.
const PHASES: u32 = 32;
/// Calls that nobody watches any more whose deltas are held all the same.
const MAX_LINGERING: usize = 256;
/// Bytes read at once, for all connections of the shard.
const SCRATCH: usize = 16 * 1024;

/// One thread of the hub: its calls, their subscribers, their sockets.
pub(crate) struct Shard {
    poll: Poll,
    link: Arc<Link>,
    metrics: Arc<HubMetrics>,
    tools: Tools,
    connections: Slab<Connection>,
    births: u32,
    feeds: Slab<Feed>,
    /// Feeds with subscribers to visit.
    work: VecDeque<u32>,
    /// When to look at which connection; entries may be outdated.
    calendar: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    /// Calls whose last subscriber left, and when to look at them again.
    lingering: VecDeque<(Instant, u32)>,
    next_beat: Instant,
    phase: u32,
    stop: Option<Stop>,
}

impl Shard {
    pub(crate) fn new(
        poll: Poll,
        link: Arc<Link>,
        config: HubConfig,
        metrics: Arc<HubMetrics>,
    ) -> Self {
        let started = Instant::now();
        Self {
            poll,
            link,
            metrics,
            tools: Tools {
                config,
                encoder: Encoder::default(),
                tally: Tally::default(),
                moved: false,
                scratch: vec![0; SCRATCH].into(),
                started,
            },
            connections: Slab::new(),
            births: 0,
            feeds: Slab::new(),
            work: VecDeque::new(),
            calendar: BinaryHeap::new(),
            lingering: VecDeque::new(),
            next_beat: started,
            phase: 0,
            stop: None,
        }
    }

    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "a thread of the roster fan-out has to end");
                    return;
                }
            }
            for event in &events {
                if event.token() != WAKE {
                    self.ready(event);
                }
            }
            // arrivals come after the events, so that no event meets a number given anew
            let inbox = self.link.take();
            self.take_in(inbox);
            self.beat();
            self.expire();
            self.forget();
            self.work();
            self.metrics.add(&mut self.tools.tally);
            if let Some(stop) = &self.stop
                && (self.connections.is_empty() || Instant::now() >= stop.deadline)
            {
                break;
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.work.is_empty() {
            return Some(Duration::ZERO);
        }
        let beat = (!self.connections.is_empty()).then_some(self.next_beat);
        let entry = self.calendar.peek().map(|Reverse((when, ..))| *when);
        let linger = self.lingering.front().map(|(when, _)| *when);
        let stop = self.stop.as_ref().map(|stop| stop.deadline);
        let next = [beat, entry, linger, stop].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn ready(&mut self, event: &mio::event::Event) {
        let Ok(id) = u32::try_from(event.token().0) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let woken = event.is_writable() && connection.writable();
        let read = event.is_readable() || event.is_read_closed() || event.is_error();
        if read {
            self.read(id);
        } else if woken {
            self.advance(id);
        }
    }

    /// Reads what one connection sent, and writes what is due to it then.
    fn read(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match connection.receive(&mut self.tools) {
            Step::Drop(reason) => self.remove(id, reason),
            _ => self.advance(id),
        }
    }

    fn take_in(&mut self, inbox: Inbox) {
        for slot in inbox.dirty {
            let taken = slot.state.lock().take();
            self.ingest(taken);
        }
        for arrival in inbox.arrivals {
            self.arrive(arrival);
        }
        if let Some(frame) = inbox.close_all {
            self.close_all(&frame);
        }
        if let Some(stop) = inbox.stop {
            self.close_all(&stop.close);
            self.stop = Some(stop);
        }
    }

    fn ingest(&mut self, taken: Option<Taken>) {
        let Some(taken) = taken else { return };
        let id = taken.feed;
        for pending in taken.pending {
            let Some(feed) = self.feeds.get_mut(id) else {
                return;
            };
            if feed.events_full() && !matches!(pending, Pending::Version(..)) {
                self.visit(id, usize::MAX);
            }
            let Some(feed) = self.feeds.get_mut(id) else {
                return;
            };
            feed.ingest(pending, &mut self.tools.encoder);
        }
        let Some(feed) = self.feeds.get_mut(id) else {
            return;
        };
        if taken.events_lost {
            feed.lose_events();
        }
        if taken.ended {
            feed.end();
            if feed.subscribers.is_empty() {
                self.retire(id);
                return;
            }
        }
        if !std::mem::replace(&mut feed.round.queued, true) {
            self.work.push_back(id);
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let slot = Arc::clone(&arrival.permit.slot);
        let feed_id = self.feed_of(&slot);
        if self.connections.is_empty() {
            self.next_beat = Instant::now() + self.beat_period();
        }
        let tls = arrival.tls;
        let mut socket = TcpStream::from_std(arrival.socket);
        let id = self.connections.next();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self
            .poll
            .registry()
            .register(&mut socket, Token(id as usize), interest);
        let feed = self
            .feeds
            .get_mut(feed_id)
            .expect("made above, or there with other subscribers");
        if let Err(error) = registered {
            tracing::warn!(%error, "a subscriber's socket cannot be watched");
            self.metrics.closed(Reason::Gone);
            self.vacate(feed_id);
            return;
        }
        let place = u32::try_from(feed.subscribers.len()).unwrap_or(u32::MAX);
        self.births = self.births.wrapping_add(1);
        let mut connection = Connection::new(
            Socket::new(socket, tls),
            feed_id,
            place,
            self.births,
            feed.entry(arrival.since),
            arrival.permit,
        );
        if !arrival.leftover.is_empty() {
            let mut data = arrival.leftover.to_vec();
            connection.take_in(&mut data, 0, &self.tools.config);
        }
        let held = connection.socket.may_hold_input();
        feed.subscribers.push(id);
        feed.vacant = None;
        feed.round.again(feed.subscribers.len());
        self.connections.insert(connection);
        self.metrics.subscribers.inc();
        if held {
            self.read(id);
        } else {
            self.advance(id);
        }
    }

    /// The feed of a call, up to what was published until now.
    fn feed_of(&mut self, slot: &Arc<Slot>) -> u32 {
        let mut state = slot.state.lock();
        if let Some(id) = state.feed() {
            // the subscriber may resume from a version that is still on its way here
            let taken = state.take_early();
            drop(state);
            self.ingest(taken);
            if self.feeds.get_mut(id).is_some() {
                return id;
            }
            state = slot.state.lock();
        }
        let id = self.feeds.next();
        let start = state.watch(id, &slot.call);
        drop(state);
        let feed = Feed::new(Arc::clone(slot), start, &mut self.tools.encoder);
        self.feeds.insert(feed)
    }

    fn close_all(&mut self, frame: &Bytes) {
        for id in 0..self.connections.bound() {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.leave(frame.clone(), true, Reason::Closed);
                self.advance(id);
            }
        }
    }

    /// Serves feeds in turns.
    fn work(&mut self) {
        let mut left = TURN;
        while left > 0
            && let Some(id) = self.work.pop_front()
        {
            let slice = left.min(SLICE);
            left -= self.visit(id, slice).clamp(1, left);
            if let Some(feed) = self.feeds.get_mut(id) {
                feed.round.queued = feed.round.is_under_way();
                if feed.round.queued {
                    self.work.push_back(id);
                }
            }
        }
    }

    /// Serves at most `most` subscribers of a feed; how many it did.
    fn visit(&mut self, id: u32, most: usize) -> usize {
        let mut visited = 0;
        while visited < most {
            let Some(feed) = self.feeds.get_mut(id) else {
                return visited;
            };
            let mut found = None;
            while visited < most
                && let Some(index) = feed.round.next(feed.subscribers.len())
            {
                visited += 1;
                let number = feed.subscribers[index];
                let connection = self
                    .connections
                    .get_mut(number)
                    .expect("a feed lists only connections that are there");
                let step = connection.advance(feed, &mut self.tools);
                if step != Step::Rest {
                    found = Some((number, step));
                    break;
                }
            }
            match found {
                Some((number, step)) => self.settle(number, step),
                None => break,
            }
        }
        if let Some(feed) = self.feeds.get_mut(id) {
            let now = Instant::now();
            for published in feed.round.reached() {
                self.metrics.fanned_out(now - published);
            }
            if !feed.round.is_under_way() {
                feed.trim();
            }
        }
        visited
    }

    /// Writes to one connection what it can take.
    fn advance(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(feed) = self.feeds.get_mut(connection.feed) else {
            return;
        };
        let step = connection.advance(feed, &mut self.tools);
        if !feed.round.is_under_way() {
            feed.trim();
        }
        self.settle(id, step);
    }

    fn settle(&mut self, id: u32, step: Step) {
        match step {
            Step::Rest => {}
            Step::Drop(reason) => self.remove(id, reason),
            Step::Arm(after) => {
                let Some(connection) = self.connections.get_mut(id) else {
                    return;
                };
                let when = Instant::now() + after;
                connection.deadline = Some(when);
                if !std::mem::replace(&mut connection.alarmed, true) {
                    self.calendar.push(Reverse((when, id, connection.birth)));
                }
            }
        }
    }

    fn remove(&mut self, id: u32, reason: Reason) {
        let Some(connection) = self.connections.remove(id) else {
            return;
        };
        self.metrics.subscribers.dec();
        self.metrics.closed(reason);
        let Some(feed) = self.feeds.get_mut(connection.feed) else {
            return;
        };
        feed.lagging -= usize::from(connection.is_lagging());
        feed.subscribers.swap_remove(connection.place as usize);
        if let Some(moved) = feed.subscribers.get(connection.place as usize)
            && let Some(moved) = self.connections.get_mut(*moved)
        {
            moved.place = connection.place;
        }
        feed.round.again(feed.subscribers.len());
        self.vacate(connection.feed);
    }

    /// Holds what a feed without subscribers has for a while, as one of them may be back soon.
    fn vacate(&mut self, id: u32) {
        let linger = self.tools.config.linger;
        let Some(feed) = self.feeds.get_mut(id) else {
            return;
        };
        if !feed.subscribers.is_empty() {
            return;
        }
        if feed.ended || linger.is_zero() {
            self.retire(id);
            return;
        }
        let now = Instant::now();
        feed.vacant = Some(now);
        feed.trim();
        if std::mem::replace(&mut feed.lingers, true) {
            return;
        }
        self.lingering.push_back((now + linger, id));
        if self.lingering.len() > MAX_LINGERING {
            self.unlinger();
        }
    }

    /// Takes the first call off the list of those that nobody watches, and forgets it if that is
    /// still so.
    fn unlinger(&mut self) {
        let Some((_, id)) = self.lingering.pop_front() else {
            return;
        };
        if let Some(feed) = self.feeds.get_mut(id) {
            feed.lingers = false;
            if feed.vacant.is_some() {
                self.retire(id);
            }
        }
    }

    /// Forgets the calls that nobody came back to.
    fn forget(&mut self) {
        let now = Instant::now();
        let linger = self.tools.config.linger;
        while let Some((when, id)) = self.lingering.front().copied()
            && when <= now
        {
            // somebody was there in between and left later
            let vacant = self.feeds.get_mut(id).and_then(|feed| feed.vacant);
            match vacant {
                Some(since) if since + linger > now => {
                    self.lingering.pop_front();
                    self.lingering.push_back((since + linger, id));
                }
                _ => self.unlinger(),
            }
        }
    }

    /// Forgets a feed that has no subscribers.
    fn retire(&mut self, id: u32) {
        let Some(feed) = self.feeds.remove(id) else {
            return;
        };
        if feed.lingers {
            self.lingering.retain(|(_, other)| *other != id);
        }
        let unsent = feed.slot.state.lock().unwatch();
        drop(unsent);
    }

    fn beat_period(&self) -> Duration {
        (self.tools.config.ping_interval / PHASES).max(Duration::from_millis(1))
    }

    /// Pings the part of the connections whose turn it is.
    fn beat(&mut self) {
        let now = Instant::now();
        if self.connections.is_empty() || now < self.next_beat {
            return;
        }
        self.next_beat = now + self.beat_period();
        let part = (self.phase..self.connections.bound()).step_by(PHASES as usize);
        self.phase = (self.phase + 1) % PHASES;
        for id in part {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            match connection.beat() {
                Step::Rest => self.advance(id),
                step => self.settle(id, step),
            }
        }
    }

    /// Looks at connections whose deadline came.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((when, id, birth))) = self.calendar.peek().copied() {
            if when > now {
                return;
            }
            self.calendar.pop();
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            if connection.birth != birth {
                continue;
            }
            match connection.deadline {
                None => connection.alarmed = false,
                Some(later) if later > now => {
                    self.calendar.push(Reverse((later, id, birth)));
                }
                Some(_) => {
                    connection.alarmed = false;
                    connection.deadline = None;
                    let Some(feed) = self.feeds.get_mut(connection.feed) else {
                        continue;
                    };
                    let step = connection.expire(feed, &mut self.tools);
                    self.settle(id, step);
                }
            }
        }
    }
}

impl Drop for Shard {
    /// Also after a panic: nobody may wait for a thread that is gone.
    fn drop(&mut self) {
        let unheard = self.link.close();
        drop(unheard);
        for id in 0..self.connections.bound() {
            self.remove(id, Reason::Closed);
        }
    }
}
