//! Calls that ring: offered by Graph through the app's own webhook, to be answered or rejected.
//!
//! | what | holds | when full |
//! |---|---|---|
//! | calls that ring | `max_ringing`, 1,024 | the ring is not acknowledged (503), Graph rings again |
//! | calls that rang lately | 4,096 with those that ring | the same |
//!
//! A call that nobody takes waits for its time, and goes with it. One told twice is one call.

mod rings;

use std::sync::Arc;

use openmic_model::{CallId, CallKind, Identity, IdentityKind, Repeat, ResultInfo, TenantId};
use openmic_wire::answer::{AnswerCall, RejectCall, RejectReason};
use openmic_wire::create::MediaConfig;
use openmic_wire::errand::{Body, Errand};
use openmic_wire::raw::Named;
use openmic_wire::resource::Resource;
use tokio::time::Instant;

use crate::call::Call;
use crate::engine::{Engine, First, Inner, new_key};
use crate::errand::Passed;
use crate::join::{JoinError, Media};
use crate::upstream::UpstreamError;

pub(crate) use rings::{RESULTS, Rings};
use rings::{Ring, Stand};

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
        self.take(AnswerCall::new("", media), None, join_muted, None)
            .await
    }

    /// Takes the call as a body of Graph's own surface asks, its `callbackUri` replaced by ours.
    /// What comes of the call is relayed where the body says, else to the bot's own webhook.
    /// Unlike [`Incoming::answer`] the call starts unmuted, as on Graph, unless `join_muted` says
    /// otherwise. `repeat` is what the request is known again by, also after a crash.
    ///
    /// # Errors
    /// As [`Incoming::answer`].
    pub async fn pass(
        &self,
        body: AnswerCall,
        join_muted: bool,
        repeat: Option<Repeat>,
    ) -> Result<Call, AnswerError> {
        let named = body.callback_uri().map(str::to_owned);
        let own = || self.named().map(|named| named.callback_uri);
        let callback = named.or_else(own);
        self.take(body, callback, join_muted, repeat).await
    }

    async fn take(
        &self,
        mut body: AnswerCall,
        callback: Option<String>,
        join_muted: bool,
        repeat: Option<Repeat>,
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
        let answered = engine.start(key, first, owner, named, join_muted, repeat);
        let answered = answered.await;
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
        let moved = self.ring.moves(&self.engine, callback);
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
            Err(error) => {
                let error = taken.fails(error);
                if matches!(error, AnswerError::Join(_)) {
                    moved.back(&self.ring);
                }
                Err(error)
            }
        }
    }

    /// Sends the call elsewhere. The notifications it is yet to get go on coming to the engine,
    /// wherever `body` wants them, so that its end is heard of here.
    ///
    /// # Errors
    /// [`UpstreamError`] as Graph answered; 502 when it may have taken effect.
    pub async fn redirect(&self, mut body: Body, beta: bool) -> Result<Passed, UpstreamError> {
        let callback = body.callback_uri().map(str::to_owned);
        let moved = self.ring.moves(&self.engine, callback);
        let ours = self.engine.callback(&self.engine.rings.key);
        body.set_callback_uri(ours.as_str());
        let place = openmic_wire::errand::Place::Call(self.ring.id.clone());
        let upstream = &self.engine.upstream;
        let passed = upstream.errand(Errand::Redirect, &place, Some(&body), beta);
        let passed = passed.await;
        // A 502 may have taken effect.
        if passed.as_ref().is_err_and(|error| error.status != 502) {
            moved.back(&self.ring);
        }
        passed
    }

    /// Where a bot that speaks HTTP is told of the call: at its own webhook, or where it wants the
    /// end of a call that it rejected.
    pub fn named(&self) -> Option<Named> {
        self.ring.named()
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
        match self.dropped.take() {
            Some(Stand::Rings) => self.ring.rings_on(),
            Some(stand) => drop(self.ring.pass(&Stand::Taken, stand)),
            None => {}
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
