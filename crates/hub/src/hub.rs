use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::Bytes;
use mio::{Poll, Waker};
use openmic_model::{CallId, Version};
use parking_lot::Mutex;
use rustls::ServerConnection;

use crate::close::{SERVICE_RESTART, close_frame};
use crate::config::{HubConfig, Subscribe};
use crate::metrics::HubMetrics;
use crate::quota::{Place, Quota};
use crate::shard::{Shard, WAKE};
use crate::topic::{Slot, Topic};

/// Longest wait for subscribers to answer a close.
const MAX_SHUTDOWN: Duration = Duration::from_hours(1);

/// The fan-out: a handle, cheap to clone. Its threads end with [`Hub::shutdown`], or with the last
/// handle.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    links: Vec<Arc<Link>>,
    seats: Arc<AtomicUsize>,
    config: HubConfig,
    metrics: Arc<HubMetrics>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Why a subscriber was not taken. The socket is closed with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No topic of that id: the call is unknown or over.
    #[error("call {0} has no roster to watch; it is unknown or has ended")]
    UnknownCall(CallId),
    /// The hub is full.
    #[error("all {0} subscriber places are taken; try again later or raise max_subscribers")]
    Full(usize),
    /// The call is full.
    #[error(
        "the call has {0} subscribers, as many as it may have; try again later or raise \
         max_subscribers_per_call"
    )]
    CallFull(usize),
    /// The quota that the subscriber counts for is used up.
    #[error(
        "this caller has {0} roster WebSockets, as many as one may have; close some, or raise \
         callers.max_websockets"
    )]
    QuotaFull(usize),
    /// [`Hub::shutdown`] was called.
    #[error("the service is going down; connect again in a moment")]
    ShuttingDown,
    /// The socket could not be made non-blocking.
    #[error("the subscriber's socket cannot be set up")]
    Socket(#[source] io::Error),
}

impl Hub {
    /// Starts the shard threads.
    ///
    /// # Errors
    /// When the system gives no event queue or no thread.
    pub fn start(config: HubConfig) -> io::Result<Self> {
        let metrics = Arc::new(HubMetrics::new());
        let mut links = Vec::new();
        let mut threads = Vec::new();
        let seats: Arc<AtomicUsize> = Arc::default();
        for number in 0..config.shards.max(1) {
            let poll = Poll::new()?;
            let link = Arc::new(Link {
                inbox: Mutex::new(Inbox::default()),
                waker: Waker::new(poll.registry(), WAKE)?,
                topics: Mutex::default(),
                seats: Arc::clone(&seats),
            });
            let shard = Shard::new(
                poll,
                Arc::clone(&link),
                config.clone(),
                Arc::clone(&metrics),
            );
            let thread = thread::Builder::new()
                .name(format!("openmic-hub-{number}"))
                .spawn(move || shard.run());
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    for link in &links {
                        Link::stop(link, Duration::ZERO);
                    }
                    return Err(error);
                }
            }
            links.push(link);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                links,
                seats,
                config,
                metrics,
                threads: Mutex::new(threads),
            }),
        })
    }

    /// The topic of `call`, to be owned by the call's actor. A topic of the same id that is still
    /// there stays with its subscribers; new ones come to this one.
    pub fn topic(&self, call: CallId) -> Topic {
        let link = self.link(&call);
        let slot = Arc::new(Slot::new(call));
        link.topics.lock().replace(ByCall(Arc::clone(&slot)));
        Topic::new(slot, Arc::clone(link))
    }

    /// Reserves a place among the subscribers of `call`, so that a refusal can still be an HTTP
    /// answer. Dropping the seat gives it back.
    ///
    /// # Errors
    /// [`SubscribeError`]: unknown call, full, or going down.
    pub fn reserve(&self, call: &CallId) -> Result<Seat, SubscribeError> {
        let link = self.link(call);
        if link.inbox.lock().closed {
            return Err(SubscribeError::ShuttingDown);
        }
        let slot = link
            .topics
            .lock()
            .get(call)
            .map(|there| Arc::clone(&there.0));
        let slot = slot.ok_or_else(|| SubscribeError::UnknownCall(call.clone()))?;
        let config = &self.inner.config;
        if !take_one(&self.inner.seats, config.max_subscribers) {
            return Err(SubscribeError::Full(config.max_subscribers));
        }
        if !take_one(&slot.subscribers, config.max_subscribers_per_call) {
            self.inner.seats.fetch_sub(1, Ordering::Relaxed);
            return Err(SubscribeError::CallFull(config.max_subscribers_per_call));
        }
        Ok(Seat {
            link: Arc::clone(link),
            permit: Permit {
                all: Arc::clone(&self.inner.seats),
                slot,
                until: None,
                place: None,
            },
        })
    }

    /// Hands over a socket whose handshake is answered with 101. `leftover` is what was already
    /// read from it after the request. Same as [`Hub::reserve`] and [`Seat::attach`].
    ///
    /// # Errors
    /// [`SubscribeError`]; the socket is then closed.
    pub fn subscribe(
        &self,
        call: &CallId,
        socket: TcpStream,
        leftover: Bytes,
        options: Subscribe,
    ) -> Result<(), SubscribeError> {
        self.reserve(call)?.attach(socket, leftover, options)
    }

    /// How many subscribers there are, those included that are just arriving.
    pub fn subscribers(&self) -> usize {
        self.inner.seats.load(Ordering::Relaxed)
    }

    /// The hub's metrics, to be registered once.
    pub fn metrics(&self) -> &HubMetrics {
        &self.inner.metrics
    }

    /// Sends every present subscriber what is due to it and closes it with `code`. Returns at
    /// once; topics stay, new subscribers are taken. A reason over 123 bytes is cut.
    pub fn close_all(&self, code: u16, reason: &str) {
        let frame = close_frame(code, reason);
        for link in &self.inner.links {
            link.send(|inbox| inbox.close_all = Some(frame.clone()));
        }
    }

    /// Refuses new subscribers, sends the present ones what is due to them, closes them with
    /// [`SERVICE_RESTART`], waits at most `within` for their answers, and ends the threads.
    ///
    /// Blocks the calling thread: from async code call it inside `spawn_blocking`.
    pub fn shutdown(&self, within: Duration) {
        for link in &self.inner.links {
            Link::stop(link, within);
        }
        for thread in self.inner.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the roster fan-out ended by a panic");
            }
        }
    }

    fn link(&self, call: &CallId) -> &Arc<Link> {
        let mut hasher = DefaultHasher::new();
        call.hash(&mut hasher);
        let links = &self.inner.links;
        let count = links.len() as u64;
        let at = usize::try_from(hasher.finish() % count).expect("below the number of shards");
        &links[at]
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("shards", &self.inner.links.len())
            .field("subscribers", &self.subscribers())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for link in &self.links {
            Link::stop(link, Duration::ZERO);
        }
    }
}

fn take_one(count: &AtomicUsize, limit: usize) -> bool {
    let more = |now: usize| (now < limit).then_some(now + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .is_ok()
}

/// A reserved place among the subscribers of one call.
pub struct Seat {
    link: Arc<Link>,
    permit: Permit,
}

impl Seat {
    /// Counts it for `quota` too.
    ///
    /// # Errors
    /// [`SubscribeError::QuotaFull`]; the seat is then given back.
    pub fn within(mut self, quota: &Quota) -> Result<Self, SubscribeError> {
        let place = quota.take();
        let place = place.ok_or_else(|| SubscribeError::QuotaFull(quota.limit()))?;
        self.permit.place = Some(place);
        Ok(self)
    }

    /// Whoever takes it may stay until then; it is closed with [`TOKEN_EXPIRED`] within one
    /// [`HubConfig::ping_interval`] after.
    ///
    /// [`TOKEN_EXPIRED`]: crate::TOKEN_EXPIRED
    #[must_use]
    pub fn until(mut self, when: Instant) -> Self {
        self.permit.until = Some(when);
        self
    }

    /// Hands over a socket whose handshake is answered with 101. `leftover` is what was already
    /// read from it after the request, in clear.
    ///
    /// # Errors
    /// [`SubscribeError::Socket`] or [`SubscribeError::ShuttingDown`]; the socket is then closed.
    pub fn attach(
        self,
        socket: TcpStream,
        leftover: Bytes,
        options: Subscribe,
    ) -> Result<(), SubscribeError> {
        self.arrive(socket, None, leftover, options)
    }

    /// The same for a socket that speaks TLS: `tls` has its handshake behind it, and what it read
    /// or has to write goes along.
    ///
    /// # Errors
    /// As of [`Seat::attach`].
    pub fn attach_tls(
        self,
        socket: TcpStream,
        tls: Box<ServerConnection>,
        leftover: Bytes,
        options: Subscribe,
    ) -> Result<(), SubscribeError> {
        self.arrive(socket, Some(tls), leftover, options)
    }

    fn arrive(
        self,
        socket: TcpStream,
        tls: Option<Box<ServerConnection>>,
        leftover: Bytes,
        options: Subscribe,
    ) -> Result<(), SubscribeError> {
        socket
            .set_nonblocking(true)
            .and_then(|()| socket.set_nodelay(true))
            .map_err(SubscribeError::Socket)?;
        let arrival = Arrival {
            socket,
            tls,
            leftover,
            since: options.since,
            permit: self.permit,
        };
        if self.link.send(|inbox| inbox.arrivals.push(arrival)) {
            Ok(())
        } else {
            Err(SubscribeError::ShuttingDown)
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("call", &self.permit.slot.call)
            .finish_non_exhaustive()
    }
}

/// One counted subscriber; dropping it makes room.
pub(crate) struct Permit {
    all: Arc<AtomicUsize>,
    pub(crate) slot: Arc<Slot>,
    /// What let it in is good until then.
    pub(crate) until: Option<Instant>,
    place: Option<Place>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.slot.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A subscriber on its way to its shard.
pub(crate) struct Arrival {
    pub(crate) socket: TcpStream,
    pub(crate) tls: Option<Box<ServerConnection>>,
    pub(crate) leftover: Bytes,
    pub(crate) since: Option<Version>,
    pub(crate) permit: Permit,
}

/// How the rest of the process talks to one shard.
pub(crate) struct Link {
    inbox: Mutex<Inbox>,
    waker: Waker,
    topics: Mutex<HashSet<ByCall>>,
    /// Seats given out, of all calls of all shards.
    pub(crate) seats: Arc<AtomicUsize>,
}

/// A topic as its call tells it from others.
struct ByCall(Arc<Slot>);

impl Borrow<CallId> for ByCall {
    fn borrow(&self) -> &CallId {
        &self.0.call
    }
}

impl Hash for ByCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.call.hash(state);
    }
}

impl PartialEq for ByCall {
    fn eq(&self, other: &Self) -> bool {
        self.0.call == other.0.call
    }
}

impl Eq for ByCall {}

/// What waits for one shard. Bounded: a topic stands in `dirty` at most once, an arrival has a
/// seat.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) dirty: Vec<Arc<Slot>>,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) close_all: Option<Bytes>,
    pub(crate) stop: Option<Stop>,
    /// The shard was woken for what is in here.
    signalled: bool,
    /// No more subscribers are taken.
    closed: bool,
}

/// The end of a shard.
pub(crate) struct Stop {
    pub(crate) deadline: Instant,
    pub(crate) close: Bytes,
}

impl Link {
    /// Puts something into the inbox and wakes the shard unless it is awake for it already. False
    /// when the hub is going down; `put` was not called then.
    fn send(&self, put: impl FnOnce(&mut Inbox)) -> bool {
        let wake = {
            let mut inbox = self.inbox.lock();
            if inbox.closed {
                return false;
            }
            put(&mut inbox);
            !std::mem::replace(&mut inbox.signalled, true)
        };
        if wake {
            self.wake();
        }
        true
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake a thread of the roster fan-out");
        }
    }

    /// Puts a topic into the list of those that have something to send.
    pub(crate) fn dirty(&self, slot: &Arc<Slot>) {
        self.send(|inbox| inbox.dirty.push(Arc::clone(slot)));
    }

    /// No new subscribers for the topic.
    pub(crate) fn forget(&self, slot: &Arc<Slot>) {
        let mut topics = self.topics.lock();
        // a newer topic of the same call may have taken the place
        if topics
            .get(&slot.call)
            .is_some_and(|there| Arc::ptr_eq(&there.0, slot))
        {
            topics.remove(&slot.call);
        }
    }

    fn stop(link: &Arc<Self>, within: Duration) {
        let stop = Stop {
            deadline: Instant::now() + within.min(MAX_SHUTDOWN),
            close: close_frame(SERVICE_RESTART, "the service restarts"),
        };
        link.send(|inbox| {
            inbox.stop = Some(stop);
            inbox.closed = true;
        });
    }

    /// Nothing is taken any more; returns what waited.
    pub(crate) fn close(&self) -> Inbox {
        self.inbox.lock().closed = true;
        self.take()
    }

    /// Takes all that waits; the next thing put in wakes the shard again.
    pub(crate) fn take(&self) -> Inbox {
        let mut inbox = self.inbox.lock();
        let closed = inbox.closed;
        let taken = std::mem::take(&mut *inbox);
        inbox.closed = closed;
        taken
    }
}
