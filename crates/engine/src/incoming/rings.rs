//! Which calls ring, how each stands, and what the app's own webhook brings of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openmic_graph::relay::{Lane, Parcel};
use openmic_model::{CallFacts, CallId, CallState};
use openmic_wire::notification::{Incoming as Offer, Item, Notification};
use openmic_wire::raw::Named;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::RingEnd;
use crate::call::Shared;
use crate::engine::{Came, DeliverError, Delivered, Inner};

/// Calls remembered at a time, those that ring and those that rang lately.
const KNOWN: usize = 4096;

/// The labels of [`RingEnd`] and of a ring that found no room, for the metrics.
pub(crate) const RESULTS: [&str; 5] = ["answered", "rejected", "gave_up", "timed_out", "refused"];

/// Where a call that rang stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    Rings,
    /// Being answered or rejected.
    Taken,
    Over(RingEnd),
}

/// One call that rings.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(super) id: CallId,
    pub(super) offer: Offer,
    pub(super) until: Instant,
    pub(super) stand: watch::Sender<Stand>,
    /// How it ended, as told while it was being answered or rejected.
    ended: OnceLock<RingEnd>,
    webhook: Mutex<Webhook>,
}

/// Where a bot was told of a call that rings before somebody named another place; forgotten when
/// dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Moved(Option<Webhook>);

impl Moved {
    /// It came to nothing: what follows is told where it was.
    pub(super) fn back(self, ring: &Ring) {
        if let Some(before) = self.0 {
            *ring.webhook.lock() = before;
        }
    }
}

/// Where a bot that speaks HTTP is told of a call that rings.
#[derive(Debug, Default)]
struct Webhook {
    named: Option<Named>,
    /// The way there.
    lane: Option<Lane>,
}

impl Webhook {
    fn new(engine: &Inner, named: Named) -> Self {
        let ours = engine.callback(&engine.rings.key);
        let lane = engine.relay.as_ref().map(|relay| {
            let lane = relay.lane(ours.as_str(), named.clone());
            // The call is there before the bot does anything.
            lane.open(None);
            lane
        });
        Self {
            named: Some(named),
            lane,
        }
    }
}

impl Ring {
    /// Moves from `from`; false when it stands elsewhere.
    pub(super) fn pass(&self, from: &Stand, to: Stand) -> bool {
        self.stand.send_if_modified(|stand| {
            let passes = stand == from;
            if passes {
                *stand = to;
            }
            passes
        })
    }

    /// What follows is told there; [`Moved::back`] undoes it. What waits goes where it was to go.
    pub(super) fn moves(&self, engine: &Inner, callback: Option<String>) -> Moved {
        Moved(callback.map(|callback_uri| {
            let named = Named {
                callback_uri,
                call_options: None,
            };
            let there = Webhook::new(engine, named);
            std::mem::replace(&mut *self.webhook.lock(), there)
        }))
    }

    /// Tells the bot's webhook what came of this call. Once for each POST: all of it goes.
    fn relay(&self, came: Option<&Came<'_>>) {
        let webhook = self.webhook.lock();
        let (Some(lane), Some(came)) = (&webhook.lane, came) else {
            return;
        };
        let own = came.raw.entries(|named| named == Some(&self.id));
        lane.push(Parcel::new(came.headers, own, came.length));
    }

    /// Whether a bot's webhook is told of this call.
    fn tells(&self) -> bool {
        self.webhook.lock().lane.is_some()
    }

    /// Where its bot's webhook is.
    pub(super) fn named(&self) -> Option<Named> {
        self.webhook.lock().named.clone()
    }

    fn close_lane(&self) {
        if let Some(lane) = &self.webhook.lock().lane {
            lane.close();
        }
    }

    /// Over, unless it was before. A call that is being answered is that answer's to end.
    fn end(&self, end: RingEnd) {
        // First, so that whoever lets it ring again finds it.
        self.ended.get_or_init(|| end.clone());
        self.pass(&Stand::Rings, Stand::Over(end));
    }

    /// What was being done with it came to nothing: it rings again, unless it ended meanwhile.
    pub(super) fn rings_on(&self) {
        self.pass(&Stand::Taken, Stand::Rings);
        if let Some(end) = self.ended.get() {
            self.pass(&Stand::Rings, Stand::Over(end.clone()));
        }
    }
}

/// The calls that ring, or rang lately, and the queue of those that nobody has been handed.
pub(crate) struct Rings {
    book: Mutex<Book>,
    pub(super) wake: Notify,
    /// The app's routing token: what its webhook is reached by.
    pub(crate) key: Arc<str>,
    max_ringing: usize,
    /// How long a call may be answered.
    patience: Duration,
    /// The webhook of a bot that speaks HTTP.
    named: Option<Named>,
}

#[derive(Debug, Default)]
struct Book {
    known: HashMap<CallId, Arc<Ring>>,
    ringing: usize,
    waiting: VecDeque<Arc<Ring>>,
}

impl Rings {
    pub(crate) fn new(
        key: Arc<str>,
        max_ringing: usize,
        patience: Duration,
        callback: Option<String>,
    ) -> Self {
        Self {
            book: Mutex::default(),
            wake: Notify::new(),
            key,
            max_ringing: max_ringing.min(KNOWN),
            patience,
            named: callback.map(|callback_uri| Named {
                callback_uri,
                call_options: None,
            }),
        }
    }

    pub(crate) fn find(&self, id: &CallId) -> Option<Arc<Ring>> {
        self.book.lock().known.get(id).cloned()
    }

    /// Whoever waits for a call that rings looks again.
    pub(crate) fn wake_all(&self) {
        self.wake.notify_waiters();
    }

    /// Nothing more is told of calls that ring; what waits is still sent.
    pub(crate) fn close_lanes(&self) {
        for ring in self.book.lock().known.values() {
            ring.close_lane();
        }
    }

    pub(super) fn first_waiting(&self) -> Option<Arc<Ring>> {
        self.book.lock().waiting.pop_front()
    }

    /// It rings no more; it stays known for a while, so that it does not ring again.
    fn quiet(&self, ring: &Arc<Ring>) {
        let mut book = self.book.lock();
        book.ringing -= 1;
        book.waiting.retain(|other| !Arc::ptr_eq(other, ring));
    }

    fn forget(&self, ring: &Arc<Ring>) {
        self.book.lock().known.remove(&ring.id);
    }
}

impl Inner {
    /// Takes what came by the app's own key: rings, and news of calls that ring or were answered.
    /// What is refused as busy comes again as a whole, which does no harm: a ring told twice is
    /// one, and notifications merge.
    pub(crate) fn deliver_to_app(
        self: &Arc<Self>,
        notifications: Vec<Notification>,
        came: Option<&Came<'_>>,
    ) -> Result<Delivered, DeliverError> {
        let mut delivered = Delivered::default();
        // A ring found no room. The rest is heard all the same: it may make some.
        let mut full = false;
        let mut calls: Vec<(Arc<Shared>, Vec<Notification>)> = Vec::new();
        // The rings whose bot has been told what this POST has of them.
        let mut told: Vec<Arc<Ring>> = Vec::new();
        let mut tell = |ring: Arc<Ring>| {
            if !told.iter().any(|other| Arc::ptr_eq(other, &ring)) {
                ring.relay(came);
                told.push(ring);
            }
        };
        for notice in notifications {
            let result = match self.place(&notice) {
                Place::Call(call, ring) => {
                    ring.into_iter().for_each(&mut tell);
                    match calls
                        .iter_mut()
                        .find(|(other, _)| Arc::ptr_eq(other, &call))
                    {
                        Some((_, notices)) => notices.push(notice),
                        None => calls.push((call, vec![notice])),
                    }
                    continue;
                }
                Place::New(id, offer) => match self.ring(id, offer) {
                    Some(ring) => {
                        tell(ring);
                        "queued"
                    }
                    None => "busy",
                },
                Place::Again => "duplicate",
                Place::Ring(ring, facts) => {
                    let ends = |state: CallState| state.rank() >= CallState::Terminating.rank();
                    if facts.is_some_and(|facts| facts.state.is_some_and(ends)) {
                        let result = facts.and_then(|facts| facts.result.clone());
                        ring.end(RingEnd::GaveUp(result));
                    }
                    tell(ring);
                    "queued"
                }
                Place::Nowhere => "unknown_call",
            };
            self.metrics.notified(std::slice::from_ref(&notice), result);
            match result {
                "busy" => full = true,
                "unknown_call" => delivered.foreign += 1,
                _ => delivered.queued += 1,
            }
        }
        for (call, notices) in calls {
            let ring = told.iter().find(|ring| call.id.get() == Some(&ring.id));
            let came = came.filter(|_| ring.is_none());
            match self.post(&call, notices, came) {
                Ok(taken) => {
                    delivered.queued += taken.queued;
                    delivered.foreign += taken.foreign;
                }
                Err(DeliverError::Unknown) => delivered.foreign += 1,
                Err(busy) => return Err(busy),
            }
        }
        if full {
            return Err(DeliverError::Busy);
        }
        Ok(delivered)
    }

    /// What a notification that came by the app's key is about.
    fn place<'a>(&self, notice: &'a Notification) -> Place<'a> {
        let Some(id) = &notice.call else {
            return Place::Nowhere;
        };
        let ring = self.rings.find(id);
        let call = self.registry.by_id(id);
        match (&notice.item, ring, call) {
            (Item::Incoming(offer), None, None) => Place::New(id, offer),
            (Item::Incoming(_), ..) => Place::Again,
            // The key of a call that the bot made itself is the only way to it.
            (_, None, Some(call)) if call.rang => Place::Call(call, None),
            (_, None, _) => Place::Nowhere,
            (item, Some(ring), call) => {
                let stand = ring.stand.borrow().clone();
                let taken = matches!(stand, Stand::Taken | Stand::Over(RingEnd::Answered));
                match (call, item) {
                    (Some(call), _) if taken => {
                        let rings = stand == Stand::Taken && ring.tells();
                        Place::Call(call, rings.then_some(ring))
                    }
                    (_, Item::Call(facts)) => Place::Ring(ring, Some(facts)),
                    _ => Place::Ring(ring, None),
                }
            }
        }
    }

    /// A call rings. Told twice at once, it is the same call. `None` when there is no room for it.
    fn ring(self: &Arc<Self>, id: &CallId, offer: &Offer) -> Option<Arc<Ring>> {
        let rings = &self.rings;
        let ring = {
            let mut book = rings.book.lock();
            if let Some(ring) = book.known.get(id) {
                return Some(Arc::clone(ring));
            }
            let full = book.ringing >= rings.max_ringing || book.known.len() >= KNOWN;
            if full || self.is_draining() {
                self.metrics.rang("refused");
                return None;
            }
            let ring = Arc::new(Ring {
                id: id.clone(),
                offer: offer.clone(),
                until: Instant::now() + rings.patience,
                stand: watch::Sender::new(Stand::Rings),
                ended: OnceLock::new(),
                webhook: Mutex::new(match &rings.named {
                    Some(named) => Webhook::new(self, named.clone()),
                    None => Webhook::default(),
                }),
            });
            book.known.insert(id.clone(), Arc::clone(&ring));
            book.ringing += 1;
            book.waiting.push_back(Arc::clone(&ring));
            ring
        };
        self.metrics.ringing.inc();
        rings.wake.notify_one();
        tracing::info!(call = %id, "a call rings");
        tokio::spawn(look_after(Arc::clone(self), Arc::clone(&ring)));
        Some(ring)
    }
}

/// What a notification that came by the app's key is about.
enum Place<'a> {
    /// A call that was not heard of before.
    New(&'a CallId, &'a Offer),
    /// A call that rang before.
    Again,
    /// A call that rings or rang, and what is stated of it.
    Ring(Arc<Ring>, Option<&'a CallFacts>),
    /// A call that the bot is in, or is about to be. While it is being answered its bot is told
    /// as of a ring: should the answer fail, it is none of the bot's calls.
    Call(Arc<Shared>, Option<Arc<Ring>>),
    Nowhere,
}

/// Ends a ring whose time is over, and forgets it in the end.
async fn look_after(engine: Arc<Inner>, ring: Arc<Ring>) {
    let mut stand = ring.stand.subscribe();
    let over = stand.wait_for(|stand| matches!(stand, Stand::Over(_)));
    let in_time = tokio::time::timeout_at(ring.until, over).await.is_ok();
    if !in_time {
        // What is being answered at the last moment has its answer first.
        drop(stand.wait_for(|stand| *stand != Stand::Taken).await);
        ring.end(RingEnd::TimedOut);
    }
    let end = match &*ring.stand.borrow() {
        Stand::Over(end) => end.label(),
        _ => "timed_out",
    };
    engine.metrics.rang(end);
    engine.metrics.ringing.dec();
    engine.rings.quiet(&ring);
    tracing::info!(call = %ring.id, end, "a call rings no more");
    tokio::time::sleep(engine.retention).await;
    ring.close_lane();
    engine.rings.forget(&ring);
}
