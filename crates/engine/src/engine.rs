//! The engine: makes calls, finds them, hands webhooks to them, drains.

mod builder;
mod recover;
mod start;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use openmic_graph::relay::Relay;
use openmic_hub::Hub;
use openmic_journal::{Full, Journal, LookupError, Recovery, Repeated};
use openmic_machine::{Config, Phase, Time};
use openmic_model::{AppId, CallId, OperationId, Repeat, TenantId};
use openmic_wire::create::{self, CreateCall, MediaConfig};
use openmic_wire::errand::{Body, Errand, Place};
use openmic_wire::notification::{Batch, Notification};
use openmic_wire::raw::{Named, RawEntries};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

pub use builder::{BuildError, EngineBuilder};
pub(crate) use recover::Probe;
pub use recover::Recovered;
pub(crate) use start::{First, new_key};

use crate::call::{Call, Owner, Shared};
use crate::errand::Passed;
use crate::incoming::Rings;
use crate::join::{Join, JoinError, Media};
use crate::kept::Answers;
use crate::mail::{ENTRIES, Mail};
use crate::metrics::EngineMetrics;
use crate::operations::OperationRecord;
use crate::recorder::{CallLog, Recorder};
use crate::registry::Registry;
use crate::sleep::Alarms;
use crate::upstream::{Upstream, UpstreamError, chain};

/// Calls hung up at the same time while draining.
const DRAIN_AT_ONCE: usize = 64;
/// How often an engine that leaves its calls looks whether commands are still open.
const OPEN_YET: Duration = Duration::from_millis(20);

/// Holds the calls of one upstream credential. Cheap to clone. Dropping it ends no call; see
/// [`Engine::drain`].
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) upstream: Upstream,
    pub(crate) hub: Hub,
    pub(crate) registry: Registry,
    pub(crate) metrics: EngineMetrics,
    pub(crate) relay: Option<Relay>,
    pub(crate) command_deadline: Duration,
    /// How long one mute or unmute may take to its answer.
    post_limit: Duration,
    pub(crate) retention: Duration,
    pub(crate) journal: Option<Journal>,
    /// What the journal had of other processes, until it is taken up.
    found: Mutex<Option<Recovery>>,
    recovery: watch::Sender<Recovered>,
    /// Calls that could not be taken up, and why; each was hung up.
    damaged: Mutex<HashMap<CallId, String>>,
    recovery_rate: NonZeroU32,
    /// What the creates were answered with.
    pub(crate) answers: Answers,
    pub(crate) rings: Rings,
    owner: Arc<Owner>,
    public_url: Url,
    pub(crate) join_muted: bool,
    max_calls: usize,
    places: Arc<Semaphore>,
    tuning: Option<fn(&mut Config)>,
    /// How long nothing happens in a call before it sleeps.
    pub(crate) quiet: Duration,
    pub(crate) alarms: Alarms,
    /// What calls run on, once one of them slept.
    pub(crate) runtime: OnceLock<Handle>,
    pub(crate) recorder: Option<Arc<Recorder>>,
    origin: Instant,
    draining: AtomicBool,
    /// The calls are left to the next process, and the journal is closed while they are up.
    leaving: AtomicBool,
    /// The journal failed.
    stuck: AtomicBool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("calls", &self.registry.live_count())
            .field("draining", &self.is_draining())
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether something new may be accepted.
    pub(crate) fn admits(&self) -> Result<(), Full> {
        match &self.journal {
            None => Ok(()),
            Some(_) if self.is_stuck() => Err(Full::Failed),
            Some(journal) => journal.admits(),
        }
    }

    /// Whether the journal failed: nobody is told of anything any more.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::SeqCst)
    }

    /// A record is lost: from now on nothing is accepted, sent or told.
    pub(crate) fn get_stuck(&self) {
        if !self.stuck.swap(true, Ordering::SeqCst) && !self.leaving.load(Ordering::SeqCst) {
            tracing::error!("the journal failed; nothing is accepted, sent or told any more");
        }
    }

    pub(crate) fn time(&self, at: Instant) -> Time {
        Time::from_origin(at.saturating_duration_since(self.origin))
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(self.time(at).since_origin().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.origin + at.since_origin()
    }

    /// Where Graph sends the notifications of the call that has `key`.
    pub(crate) fn callback(&self, key: &str) -> Url {
        let mut url = self.public_url.clone();
        let path = format!("{}/callbacks/{key}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    }

    /// Puts the notifications into a call's mailbox, all or none, and what they came in on its way
    /// to the call's bot.
    pub(crate) fn post(
        &self,
        call: &Shared,
        mut notifications: Vec<Notification>,
        came: Option<&Came<'_>>,
    ) -> Result<Delivered, DeliverError> {
        let metrics = &self.metrics;
        let refuse = |notifications: &[Notification], result, error| {
            metrics.notified(notifications, result);
            Err(error)
        };
        // The actor looks again: the id may become known while these wait.
        let bound = call.id.get();
        let is_ours = |notification: &Notification| match (&notification.call, bound) {
            (Some(id), Some(bound)) => id == bound,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let foreign: Vec<_> = notifications
            .extract_if(.., |notification| !is_ours(notification))
            .collect();
        metrics.notified(&foreign, "unknown_call");
        let delivered = Delivered {
            queued: notifications.len(),
            foreign: foreign.len(),
        };
        let letters = notifications.len().div_ceil(ENTRIES);
        match call.mail.try_reserve_many(letters) {
            Ok(mut places) => {
                metrics.notified(&notifications, "queued");
                if let Some(came) = came {
                    call.relay(came, self);
                }
                let mut rest = notifications.into_iter();
                while places.left() > 0 {
                    places.send(Mail::Notices(rest.by_ref().take(ENTRIES).collect()));
                }
                Ok(delivered)
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                refuse(&notifications, "busy", DeliverError::Busy)
            }
            // Graph sends it again, to the next process.
            Err(mpsc::error::TrySendError::Closed(())) if self.is_stuck() => {
                refuse(&notifications, "busy", DeliverError::Busy)
            }
            Err(mpsc::error::TrySendError::Closed(())) => {
                refuse(&notifications, "unknown_call", DeliverError::Unknown)
            }
        }
    }
}

/// A POST of notifications as it came.
#[derive(Debug)]
pub(crate) struct Came<'a> {
    pub(crate) raw: RawEntries<'a>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) length: usize,
}

/// Why a webhook was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    /// No call has that key, or not for that tenant.
    #[error("no call takes notifications here")]
    Unknown,
    /// The call's mailbox is full; the sender should come again.
    #[error("the call has too much to do; send it again in a second")]
    Busy,
}

/// What became of the entries of a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Queued for the call.
    pub queued: usize,
    /// About another call than the key's; left out.
    pub foreign: usize,
}

impl Engine {
    /// Joins a meeting and returns once Graph accepted the call; it is established later, see
    /// [`Call::until`]. Dropping the future hangs the call up.
    ///
    /// # Errors
    /// [`JoinError`] says what to do.
    pub async fn join(&self, join: Join) -> Result<Call, JoinError> {
        let key = new_key();
        let callback = self.inner.callback(&key);
        let media = match join.media {
            Media::ServiceHosted => MediaConfig::ServiceHosted,
            Media::AppHosted { blob } => MediaConfig::AppHosted { blob: Some(blob) },
        };
        let body = CreateCall::join(&create::Join {
            callback_uri: callback.as_str(),
            thread_id: &join.thread_id,
            organizer: &join.organizer,
            tenant: &join.tenant,
            media,
            display_name: None,
        })
        .map_err(|error| JoinError::Invalid(chain(&error)))?;
        let join_muted = join.join_muted.unwrap_or(self.inner.join_muted);
        let owner = (*self.inner.owner).clone();
        let first = First::Create(Box::new(body));
        self.start(key, first, owner, None, join_muted, None).await
    }

    /// Creates a call as a body of Graph's own surface asks, its `callbackUri` replaced by ours.
    /// Unlike [`Engine::join`] it starts unmuted, as on Graph, unless `join_muted` says otherwise.
    /// `repeat` is what the request is known again by, also after a crash.
    ///
    /// # Errors
    /// [`JoinError`] says what to do.
    pub async fn create(
        &self,
        mut body: CreateCall,
        owner: Owner,
        join_muted: bool,
        repeat: Option<Repeat>,
    ) -> Result<Call, JoinError> {
        let key = new_key();
        let named = Named {
            callback_uri: body.callback_uri().to_owned(),
            call_options: body.call_options().cloned(),
        };
        body.set_callback_uri(self.inner.callback(&key).as_str());
        // The only documented order of rosters is that of delta rosters.
        body.set_delta_roster(true);
        let first = First::Create(Box::new(body));
        self.start(key, first, owner, Some(named), join_muted, repeat)
            .await
    }

    /// Hands the entries of one webhook to the call whose key it came by. All are queued, or none.
    /// What comes by the app's own key rings, or goes to the calls it is about.
    ///
    /// Check the webhook's token first; `tenant` is its `tid`, `None` when it has none.
    ///
    /// # Errors
    /// [`DeliverError::Unknown`] for a key that no call of that tenant has,
    /// [`DeliverError::Busy`] when the mailbox is full.
    pub fn deliver(
        &self,
        key: &str,
        tenant: Option<&TenantId>,
        notifications: Vec<Notification>,
    ) -> Result<Delivered, DeliverError> {
        self.take(key, tenant, notifications, None)
    }

    /// The same for a whole POST of notifications, which is relayed as well where the call's bot
    /// named a callback of its own. `headers` are the POST's, `length` is that of its body.
    ///
    /// # Errors
    /// As [`Engine::deliver`]; nothing is relayed then.
    pub fn deliver_post(
        &self,
        key: &str,
        tenant: Option<&TenantId>,
        batch: Batch<'_>,
        headers: &HeaderMap,
        length: usize,
    ) -> Result<Delivered, DeliverError> {
        let Batch {
            notifications, raw, ..
        } = batch;
        let came = Came {
            raw,
            headers,
            length,
        };
        self.take(key, tenant, notifications, Some(&came))
    }

    fn take(
        &self,
        key: &str,
        tenant: Option<&TenantId>,
        notifications: Vec<Notification>,
        came: Option<&Came<'_>>,
    ) -> Result<Delivered, DeliverError> {
        self.recover();
        let inner = &self.inner;
        let refuse = |result| {
            inner.metrics.notified(&notifications, result);
            Err(DeliverError::Unknown)
        };
        let for_app = *key == *inner.rings.key;
        let call = inner.registry.by_key(key);
        let owner = call.as_ref().map_or(&inner.owner, |call| &call.owner);
        if call.is_none() && !for_app {
            return refuse("unknown_call");
        }
        if tenant.is_some_and(|tenant| *tenant != owner.tenant) {
            return refuse("wrong_tenant");
        }
        match call {
            Some(call) => inner.post(&call, notifications, came),
            None => inner.deliver_to_app(notifications, came),
        }
    }

    /// Whether a call takes webhooks by `key`, so that a long body for nobody need not be read.
    pub fn awaits(&self, key: &str) -> bool {
        let call = self.inner.registry.by_key(key);
        call.is_some_and(|call| !call.mail.is_closed()) || *key == *self.inner.rings.key
    }

    /// The call of that id, also for a while after its end.
    pub fn call(&self, id: &CallId) -> Option<Call> {
        let shared = self.inner.registry.by_id(id)?;
        // Its actor makes it known by the id a moment before the call itself has the id.
        shared.id.get()?;
        Some(Call {
            shared,
            engine: Arc::clone(&self.inner),
        })
    }

    /// What is wrong with the records of a call that outlived another process, where it could not
    /// be taken up for that: it is hung up, since nobody could mute it, and its records stay as
    /// they are. Whose call it was cannot be known for sure.
    pub fn damaged(&self, id: &CallId) -> Option<String> {
        self.inner.damaged.lock().get(id).cloned()
    }

    /// What the flight recorder holds of a call: also of one that [`Engine::call`] does not find
    /// any more, while any of its lines are there. `None` without a recorder too.
    pub fn log(&self, id: &CallId) -> Option<CallLog> {
        match self.call(id) {
            Some(call) => call.log(),
            None => self.inner.recorder.as_ref()?.departed(id),
        }
    }

    /// One of the engine's own operations on a call: from the call itself, or from the journal, which
    /// keeps them for a day, also after the call's end and over a crash. Whose call it was, the
    /// caller knows.
    ///
    /// # Errors
    /// [`LookupError`] when the journal cannot be asked.
    pub async fn operation(
        &self,
        call: &CallId,
        operation: &OperationId,
    ) -> Result<Option<OperationRecord>, LookupError> {
        let live = self.call(call);
        if let Some(record) = live.and_then(|call| call.operation(operation)) {
            return Ok(Some(record));
        }
        let Some(journal) = &self.inner.journal else {
            return Ok(None);
        };
        let kept = journal.operation(call, operation).await?;
        Ok(kept.and_then(OperationRecord::kept))
    }

    /// The same of a call that is forgotten here, and whose call it was: as long as the journal keeps
    /// it.
    ///
    /// # Errors
    /// [`LookupError`] when the journal cannot be asked.
    pub async fn kept_operation(
        &self,
        call: &CallId,
        operation: &OperationId,
    ) -> Result<Option<(Owner, OperationRecord)>, LookupError> {
        let Some(journal) = &self.inner.journal else {
            return Ok(None);
        };
        let kept = journal.operation(call, operation).await?;
        Ok(kept.and_then(|kept| {
            let (app, tenant) = kept.owner.clone()?;
            Some((Owner { app, tenant }, OperationRecord::kept(kept)?))
        }))
    }

    /// What a request came to that is known by `scope`, also before a crash: the latest command or
    /// call under it.
    ///
    /// # Errors
    /// [`LookupError`] when the journal cannot be asked.
    pub async fn repeated(&self, scope: [u8; 32]) -> Result<Option<Repeated>, LookupError> {
        match &self.inner.journal {
            Some(journal) => journal.repeated(scope).await,
            None => Ok(None),
        }
    }

    /// Where accepted commands outlive a crash, if anywhere.
    pub fn journal(&self) -> Option<&Journal> {
        self.inner.journal.as_ref()
    }

    /// Every call that is not over and has its id.
    pub fn calls(&self) -> Vec<Call> {
        let live = self.inner.registry.live().into_iter();
        live.filter(|shared| shared.id.get().is_some())
            .map(|shared| Call {
                shared,
                engine: Arc::clone(&self.inner),
            })
            .collect()
    }

    /// Passes on what is of no call in particular: [`Errand::LogDeviceQuality`]. `beta` as for
    /// [`Call::errand`].
    ///
    /// # Errors
    /// [`UpstreamError`] as Graph answered.
    pub async fn errand(
        &self,
        errand: Errand,
        body: &Body,
        beta: bool,
    ) -> Result<Passed, UpstreamError> {
        let upstream = &self.inner.upstream;
        upstream
            .errand(errand, &Place::Calls, Some(body), beta)
            .await
    }

    /// The bot this engine speaks for.
    pub fn owner(&self) -> &Owner {
        &self.inner.owner
    }

    /// Whether `app` is the bot that this engine has an upstream credential for.
    pub fn serves(&self, app: &AppId) -> bool {
        self.inner.owner.app == *app
    }

    /// The fan-out.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// The metrics of calls and commands, to be registered once.
    pub fn metrics(&self) -> &EngineMetrics {
        &self.inner.metrics
    }

    /// Whether it takes no new calls and commands any more.
    pub fn is_draining(&self) -> bool {
        self.inner.is_draining()
    }

    /// Takes no new calls and commands, hangs up every call, 64 at a time, sends what is on its way
    /// to bots' own callbacks, and returns how many calls were not over by `deadline`.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.inner.draining.store(true, Ordering::SeqCst);
        self.inner.metrics.draining.set(1);
        self.inner.rings.wake_all();
        let until = Instant::now() + deadline;
        let calls = self.inner.registry.live();
        let gate = Arc::new(Semaphore::new(DRAIN_AT_ONCE));
        let mut ends = JoinSet::new();
        for call in calls {
            let gate = Arc::clone(&gate);
            ends.spawn(async move {
                let permit = gate.acquire_owned().await;
                // A call whose actor broke takes no mail and is being hung up already.
                if call.mail.send(Mail::HangUp).await.is_err() {
                    tracing::debug!("a call to be drained takes no mail");
                }
                let mut status = call.status.subscribe();
                let over = status.wait_for(|status| status.phase == Phase::Terminated);
                drop(over.await);
                drop(permit);
            });
        }
        // What is stuck does not come to an end here.
        let all = async { while !self.inner.is_stuck() && ends.join_next().await.is_some() {} };
        if tokio::time::timeout_at(until, all).await.is_err() {
            tracing::warn!(
                left = self.inner.registry.live_count(),
                "drain ended by its deadline"
            );
        }
        self.flush(until).await;
        self.inner.registry.live_count()
    }

    /// Takes no new calls and commands, gives the open commands time until `deadline` to come to
    /// their verdicts, sends what is on its way to bots' own callbacks, and returns how many calls
    /// are up. They stay so: the next engine on the same journal adopts them, and settles what is
    /// open then by what it finds. Close the journal next, before the runtime ends.
    pub async fn leave(&self, deadline: Duration) -> usize {
        self.inner.leaving.store(true, Ordering::SeqCst);
        self.inner.draining.store(true, Ordering::SeqCst);
        self.inner.metrics.draining.set(1);
        self.inner.rings.wake_all();
        let until = Instant::now() + deadline;
        let open = &self.inner.metrics.in_flight;
        while open.get() > 0 && !self.inner.is_stuck() && Instant::now() < until {
            tokio::time::sleep(OPEN_YET).await;
        }
        if open.get() > 0 {
            let open = open.get();
            tracing::info!(open, "commands are left to the next process");
        }
        self.flush(until).await;
        self.inner.registry.live_count()
    }

    /// Sends what is on its way to bots' own callbacks.
    async fn flush(&self, until: Instant) {
        if let Some(relay) = &self.inner.relay {
            for call in self.inner.registry.all() {
                if let Some(lane) = call.lane() {
                    lane.close();
                }
            }
            self.inner.rings.close_lanes();
            relay
                .flush(until.saturating_duration_since(Instant::now()))
                .await;
        }
    }
}
