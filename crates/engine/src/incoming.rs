//! Calls that ring: offered by Graph through the app's own webhook, to be answered or rejected.
//!
//! | what | holds | when full |
//! |---|---|---|
//! | calls that ring | `max_ringing`, 1,024 | the ring is not acknowledged (503), Graph rings again |
//! | calls that rang lately | 4,096 with those that ring | the same |
//!
//! A call that nobody takes waits for its time, and goes with it. One told twice is one call.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use openmic_graph::relay::{Lane, Parcel};
use openmic_model::{
    CallFacts, CallId, CallKind, CallState, Identity, IdentityKind, ResultInfo, TenantId,
};
use openmic_wire::answer::{AnswerCall, RejectCall, RejectReason};
use openmic_wire::create::MediaConfig;
use openmic_wire::errand::{Body, Errand};
use openmic_wire::notification::{Incoming as Offer, Item, Notification};
use openmic_wire::raw::Named;
use openmic_wire::resource::Resource;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::call::{Call, Shared};
use crate::engine::{Came, DeliverError, Delivered, Engine, First, Inner, new_key};
use crate::errand::Passed;
use crate::join::{JoinError, Media};
use crate::upstream::UpstreamError;

/// Calls remembered at a time, those that ring and those that rang lately.
const KNOWN: usize = 4096;

/// How a bot takes a call that rings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who handles the audio.
    pub media: Media,
    /// Mute as the first act of the established call. `None`: as the engine is configured. A 1:1
    /// call is never muted.
    pub join_muted: Option<bool>,
}

impl Answer {
    /// With audio handled by `media`, muted or not as the engine is configured.
    pub fn with(media: Media) -> Self {
        Self {
            media,
            join_muted: None,
        }
    }
}

impl Default for Answer {
    /// Service-hosted media.
    fn default() -> Self {
        Self::with(Media::ServiceHosted)
    }
}

/// Why a call that rang was not answered or rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Nobody rings any more.
    #[error("the call rings no more: its caller gave up, its time was over, or it was rejected")]
    Over,
    /// Somebody was faster.
    #[error("the call does not ring: it was answered, or it is being answered or rejected")]
    Taken,
    /// The call ended, or the engine gave it up, before anything told what became of the answer.
    #[error("nobody can tell whether it took effect ({message}); the call is not the bot's")]
    Lost {
        /// What happened.
        message: String,
    },
    /// It was refused or not sent; the call rings on.
    #[error(transparent)]
    Join(JoinError),
}

/// How a call stopped ringing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingEnd {
    /// The bot took it.
    Answered,
    /// The bot turned it down.
    Rejected,
    /// The caller gave up, or Graph did; its reason, where it gave one.
    GaveUp(Option<ResultInfo>),
    /// Nobody did anything in time.
    TimedOut,
}

impl RingEnd {
    const fn label(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Rejected => "rejected",
            Self::GaveUp(_) => "gave_up",
            Self::TimedOut => "timed_out",
        }
    }
}

/// The labels of [`RingEnd`] and of a ring that found no room, for the metrics.
pub(crate) const RESULTS: [&str; 5] = ["answered", "rejected", "gave_up", "timed_out", "refused"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stand {
    Rings,
    /// Being answered or rejected.
    Taken,
    Over(RingEnd),
}

/// One call that rings.
#[derive(Debug)]
pub(crate) struct Ring {
    id: CallId,
    offer: Offer,
    until: Instant,
    stand: watch::Sender<Stand>,
    webhook: Mutex<Webhook>,
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
    fn pass(&self, from: &Stand, to: Stand) -> bool {
        self.stand.send_if_modified(|stand| {
            let passes = stand == from;
            if passes {
                *stand = to;
            }
            passes
        })
    }

    /// What follows is told there. What waits still goes where it was to go.
    fn moves(&self, engine: &Inner, callback: Option<String>) {
        if let Some(callback_uri) = callback {
            let named = Named {
                callback_uri,
                call_options: None,
            };
            *self.webhook.lock() = Webhook::new(engine, named);
        }
    }

    /// Tells the bot's webhook what came of this call.
    fn relay(&self, came: Option<&Came<'_>>) {
        let webhook = self.webhook.lock();
        let (Some(lane), Some(came)) = (&webhook.lane, came) else {
            return;
        };
        let entries = came.raw.iter();
        let own = entries.filter(|entry| entry.call() == Some(&self.id));
        lane.push(Parcel::new(
            came.headers,
            own.cloned().collect(),
            came.length,
        ));
    }

    fn close_lane(&self) {
        if let Some(lane) = &self.webhook.lock().lane {
            lane.close();
        }
    }

    /// Over, unless it was before. A call that is being answered is that answer's to end.
    fn end(&self, end: RingEnd) -> bool {
        self.pass(&Stand::Rings, Stand::Over(end))
    }
}

/// The calls that ring, or rang lately, and the queue of those that nobody has been handed.
pub(crate) struct Rings {
    book: Mutex<Book>,
    wake: Notify,
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

    fn first_waiting(&self) -> Option<Arc<Ring>> {
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
        let mut calls: Vec<(Arc<Shared>, Vec<Notification>)> = Vec::new();
        for notice in notifications {
            let result = match self.place(&notice) {
                Place::Call(call) => {
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
                        ring.relay(came);
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
                    ring.relay(came);
                    "queued"
                }
                Place::Nowhere => "unknown_call",
            };
            self.metrics.notified(std::slice::from_ref(&notice), result);
            match result {
                "busy" => return Err(DeliverError::Busy),
                "unknown_call" => delivered.foreign += 1,
                _ => delivered.queued += 1,
            }
        }
        for (call, notices) in calls {
            match self.post(&call, notices, came.cloned()) {
                Ok(taken) => {
                    delivered.queued += taken.queued;
                    delivered.foreign += taken.foreign;
                }
                Err(DeliverError::Unknown) => delivered.foreign += 1,
                Err(busy) => return Err(busy),
            }
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
            (_, None, None) => Place::Nowhere,
            (_, None, Some(call)) => Place::Call(call),
            (item, Some(ring), call) => {
                let stand = ring.stand.borrow().clone();
                let taken = matches!(stand, Stand::Taken | Stand::Over(RingEnd::Answered));
                match (call, item) {
                    (Some(call), _) if taken => Place::Call(call),
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
    /// A call that the bot is in, or is about to be.
    Call(Arc<Shared>),
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

impl Engine {
    /// The calls that ring, each handed out once: with several streams, to one of them. A call
    /// that nobody takes waits here until its time is over.
    pub fn incoming(&self) -> IncomingStream {
        IncomingStream {
            engine: Arc::clone(&self.inner),
        }
    }

    /// The call of that id while it rings.
    pub fn ringing(&self, id: &CallId) -> Option<Incoming> {
        let ring = self.inner.rings.find(id)?;
        let rings = !matches!(*ring.stand.borrow(), Stand::Over(_));
        rings.then(|| Incoming {
            ring,
            engine: Arc::clone(&self.inner),
        })
    }

    /// Where Graph is to send the app's incoming calls: `public_url` with `/callbacks/` and the
    /// app's key. It goes into the calling settings of the bot's Teams channel. The key is a
    /// routing token, as that of each call is: not the only credential, but not for logs.
    pub fn incoming_callback(&self) -> url::Url {
        self.inner.callback(&self.inner.rings.key)
    }
}

/// The calls that ring.
#[derive(Debug)]
pub struct IncomingStream {
    engine: Arc<Inner>,
}

impl IncomingStream {
    /// The next call that rings; `None` once the engine drains.
    pub async fn next(&mut self) -> Option<Incoming> {
        loop {
            let rung = self.engine.rings.wake.notified();
            if self.engine.is_draining() {
                return None;
            }
            while let Some(ring) = self.engine.rings.first_waiting() {
                if *ring.stand.borrow() == Stand::Rings {
                    return Some(Incoming {
                        ring,
                        engine: Arc::clone(&self.engine),
                    });
                }
            }
            rung.await;
        }
    }
}

/// A call that rings. Cheap to clone; dropping it lets it ring on until its time is over.
#[derive(Clone)]
pub struct Incoming {
    ring: Arc<Ring>,
    engine: Arc<Inner>,
}

impl Incoming {
    /// Its id, which it keeps when it is answered.
    pub fn id(&self) -> &CallId {
        &self.ring.id
    }

    /// Who calls, where Graph says so.
    pub fn caller(&self) -> Option<&Identity> {
        self.ring.offer.source.as_ref()
    }

    /// Whether the bot is called into a meeting, or by one other side.
    pub fn kind(&self) -> CallKind {
        self.ring.offer.kind
    }

    /// The meeting's chat thread.
    pub fn thread_id(&self) -> Option<&str> {
        self.ring.offer.thread_id.as_deref()
    }

    /// The caller's tenant.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.ring.offer.tenant.as_ref()
    }

    /// Until when it may be answered.
    pub fn deadline(&self) -> Instant {
        self.ring.until
    }

    /// Waits until it rings no more and tells why.
    pub async fn over(&self) -> RingEnd {
        let mut stand = self.ring.stand.subscribe();
        let over = stand
            .wait_for(|stand| matches!(stand, Stand::Over(_)))
            .await;
        match over.as_deref() {
            Ok(Stand::Over(end)) => end.clone(),
            // Its sender is held here.
            _ => RingEnd::TimedOut,
        }
    }

    /// Takes the call and returns once Graph accepted that; it is established later, see
    /// [`Call::until`]. Dropping the future hangs the call up.
    ///
    /// With app-hosted media the call is read once, so that [`Call::created`] has what the local
    /// service answered to the offer.
    ///
    /// # Errors
    /// [`AnswerError`]; after [`AnswerError::Join`] it rings on and may be answered otherwise.
    pub async fn answer(&self, answer: Answer) -> Result<Call, AnswerError> {
        let media = match answer.media {
            Media::ServiceHosted => MediaConfig::ServiceHosted,
            Media::AppHosted { blob } => MediaConfig::AppHosted { blob: Some(blob) },
        };
        let join_muted = answer.join_muted.unwrap_or(self.engine.join_muted);
        self.take(AnswerCall::new("", media), None, join_muted)
            .await
    }

    /// Takes the call as a body of Graph's own surface asks, its `callbackUri` replaced by ours.
    /// What comes of the call is relayed where the body says, else to the bot's own webhook.
    /// Unlike [`Incoming::answer`] the call starts unmuted, as on Graph, unless `join_muted` says
    /// otherwise.
    ///
    /// # Errors
    /// As [`Incoming::answer`].
    pub async fn pass(&self, body: AnswerCall, join_muted: bool) -> Result<Call, AnswerError> {
        let named = body.callback_uri().map(str::to_owned);
        let own = || self.named().map(|named| named.callback_uri);
        let callback = named.or_else(own);
        self.take(body, callback, join_muted).await
    }

    async fn take(
        &self,
        mut body: AnswerCall,
        callback: Option<String>,
        join_muted: bool,
    ) -> Result<Call, AnswerError> {
        // A future that is dropped hangs the call up, so nobody is to answer it again.
        let taken = self.taken(RingEnd::Rejected)?;
        let key = new_key();
        let call_options = body.call_options().cloned();
        body.set_callback_uri(self.engine.callback(&key).as_str());
        // The only documented order of rosters is that of delta rosters.
        body.set_delta_roster(true);
        let named = callback.map(|callback_uri| Named {
            callback_uri,
            call_options,
        });
        let first = First::Answer {
            id: self.ring.id.clone(),
            body: Box::new(body),
            kind: self.ring.offer.kind,
            facts: self.ring.offer.facts.clone(),
        };
        let engine = Engine {
            inner: Arc::clone(&self.engine),
        };
        let owner = engine.owner().clone();
        let answered = engine.start(key, first, owner, named, join_muted).await;
        match answered {
            Ok(call) => {
                taken.ends(RingEnd::Answered);
                Ok(call)
            }
            Err(error) => Err(taken.fails(error)),
        }
    }

    /// Turns the call down. `callback` is where whoever does so wants the notification of its end.
    ///
    /// # Errors
    /// [`AnswerError`]; after [`AnswerError::Join`] and [`AnswerError::Lost`] it may ring on.
    pub async fn reject(
        &self,
        reason: RejectReason,
        callback: Option<String>,
    ) -> Result<(), AnswerError> {
        let taken = self.taken(RingEnd::Rejected)?;
        // Before it is sent: the notification of the end may come before the answer.
        self.ring.moves(&self.engine, callback);
        // Graph tells of the end where the ring came in, so that it is heard of here.
        let how = RejectCall {
            reason,
            callback_uri: None,
        };
        let upstream = &self.engine.upstream;
        match upstream.reject(&self.ring.id, &how).await {
            Ok(()) => {
                taken.ends(RingEnd::Rejected);
                Ok(())
            }
            Err(error) => Err(taken.fails(error)),
        }
    }

    /// Sends the call elsewhere. The notifications it is yet to get go on coming to the engine,
    /// wherever `body` wants them, so that its end is heard of here.
    ///
    /// # Errors
    /// [`UpstreamError`] as Graph answered; 502 when it may have taken effect.
    pub async fn redirect(&self, mut body: Body, beta: bool) -> Result<Passed, UpstreamError> {
        let callback = body.callback_uri().map(str::to_owned);
        self.ring.moves(&self.engine, callback);
        let ours = self.engine.callback(&self.engine.rings.key);
        body.set_callback_uri(ours.as_str());
        let place = openmic_wire::errand::Place::Call(self.ring.id.clone());
        let upstream = &self.engine.upstream;
        upstream
            .errand(Errand::Redirect, &place, Some(&body), beta)
            .await
    }

    /// Where a bot that speaks HTTP is told of the call: at its own webhook, or where it wants the
    /// end of a call that it rejected.
    pub fn named(&self) -> Option<Named> {
        self.ring.webhook.lock().named.clone()
    }

    /// The call as Graph shows it, members unknown to openmic included. `query` is what stands
    /// behind `?`, passed on as it is.
    ///
    /// # Errors
    /// [`UpstreamError`] as Graph answered.
    pub async fn read(&self, query: Option<&str>) -> Result<serde_json::Value, UpstreamError> {
        let resource = Resource::Call(self.ring.id.clone());
        self.engine.upstream.raw(&resource, query).await
    }

    fn taken(&self, dropped: RingEnd) -> Result<Taken<'_>, AnswerError> {
        if self.ring.pass(&Stand::Rings, Stand::Taken) {
            return Ok(Taken {
                ring: &self.ring,
                dropped: Some(Stand::Over(dropped)),
            });
        }
        Err(match &*self.ring.stand.borrow() {
            Stand::Over(end) if *end != RingEnd::Answered => AnswerError::Over,
            _ => AnswerError::Taken,
        })
    }
}

/// A ring that is being answered or rejected.
struct Taken<'a> {
    ring: &'a Ring,
    /// Where it stands when nobody says otherwise.
    dropped: Option<Stand>,
}

impl Taken<'_> {
    fn ends(mut self, end: RingEnd) {
        self.dropped = Some(Stand::Over(end));
    }

    /// What a failure makes of the ring.
    fn fails(mut self, error: JoinError) -> AnswerError {
        let (stand, error) = match error {
            JoinError::Refused {
                status: 404 | 410, ..
            } => (Stand::Over(RingEnd::GaveUp(None)), AnswerError::Over),
            JoinError::Unknown { message } => (
                Stand::Over(RingEnd::GaveUp(None)),
                AnswerError::Lost { message },
            ),
            JoinError::Broken => (
                Stand::Over(RingEnd::Rejected),
                AnswerError::Join(JoinError::Broken),
            ),
            error => (Stand::Rings, AnswerError::Join(error)),
        };
        self.dropped = Some(stand);
        error
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(stand) = self.dropped.take() {
            self.ring.pass(&Stand::Taken, stand);
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let caller = self.caller().map(|identity| identity.kind);
        f.debug_struct("Incoming")
            .field("id", &self.ring.id)
            .field("kind", &self.ring.offer.kind)
            .field("caller", &caller.unwrap_or(IdentityKind::Other))
            .finish_non_exhaustive()
    }
}
