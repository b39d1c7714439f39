//! The engine: builds calls, finds them, hands webhooks to them, drains.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openmic_graph::GraphClient;
use openmic_hub::Hub;
use openmic_machine::{Config, Machine, Phase, Time};
use openmic_model::{AppId, CallId, CallKind, CommandId, TenantId, Version};
use openmic_wire::create::{self, CreateCall, MediaConfig};
use openmic_wire::notification::{Item, Notification};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::actor::{Actor, supervise};
use crate::call::{Call, Owner, Shared, Status};
use crate::join::{Join, JoinError, Media};
use crate::mail::{CAPACITY, Mail};
use crate::metrics::EngineMetrics;
use crate::operations::Operations;
use crate::registry::Registry;
use crate::upstream::Upstream;

/// Calls hung up at the same time while draining.
const DRAIN_AT_ONCE: usize = 64;

/// Holds the calls of one upstream credential. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) upstream: Upstream,
    pub(crate) hub: Hub,
    pub(crate) registry: Registry,
    pub(crate) metrics: EngineMetrics,
    pub(crate) command_deadline: Duration,
    pub(crate) retention: Duration,
    owner: Owner,
    public_url: Url,
    join_muted: bool,
    max_calls: usize,
    tuning: Option<fn(&mut Config)>,
    origin: Instant,
    draining: AtomicBool,
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
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn time(&self, at: Instant) -> Time {
        Time::from_origin(at.saturating_duration_since(self.origin))
    }

    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.origin + at.since_origin()
    }
}

/// Puts an engine together. Made by [`Engine::builder`].
#[derive(Debug)]
pub struct EngineBuilder {
    graph: GraphClient,
    owner: Owner,
    public_url: Url,
    hub: Option<Hub>,
    join_muted: bool,
    command_deadline: Duration,
    max_calls: usize,
    retention: Duration,
    tuning: Option<fn(&mut Config)>,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The fan-out's threads could not be started.
    #[error("the roster fan-out cannot start its threads")]
    Hub(#[source] std::io::Error),
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

impl EngineBuilder {
    /// The fan-out to publish rosters to. Default: one of its own with default settings.
    #[must_use]
    pub fn hub(mut self, hub: Hub) -> Self {
        self.hub = Some(hub);
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

    /// How long an ended call and its operations stay readable. Default 60 s.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Changes the machine's own settings of every call: grace times, patience, limits.
    #[must_use]
    pub fn tune(mut self, tuning: fn(&mut Config)) -> Self {
        self.tuning = Some(tuning);
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
        let inner = Inner {
            upstream: Upstream::new(self.graph),
            hub,
            registry: Registry::default(),
            metrics: EngineMetrics::new(),
            command_deadline: self.command_deadline,
            retention: self.retention,
            owner: self.owner,
            public_url: self.public_url,
            join_muted: self.join_muted,
            max_calls: self.max_calls,
            tuning: self.tuning,
            origin: Instant::now(),
            draining: AtomicBool::new(false),
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
            join_muted: true,
            command_deadline: Duration::from_secs(30),
            max_calls: 100_000,
            retention: Duration::from_mins(1),
            tuning: None,
        }
    }

    /// Joins a meeting and returns once Graph accepted the call; it is established later, see
    /// [`Call::until`]. Dropping the future hangs the call up.
    ///
    /// # Errors
    /// [`JoinError`] says what to do.
    pub async fn join(&self, join: Join) -> Result<Call, JoinError> {
        let key = new_key();
        let callback = self.callback(&key);
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
        self.start(key, body, self.inner.owner.clone(), join_muted)
            .await
    }

    /// Creates a call as a body of Graph's own surface asks, its `callbackUri` replaced by ours.
    /// Unlike [`Engine::join`] it starts unmuted, as on Graph, unless `join_muted` says otherwise.
    ///
    /// # Errors
    /// [`JoinError`] says what to do.
    pub async fn create(
        &self,
        mut body: CreateCall,
        owner: Owner,
        join_muted: bool,
    ) -> Result<Call, JoinError> {
        let key = new_key();
        body.set_callback_uri(self.callback(&key).as_str());
        // The only documented order of rosters is that of delta rosters.
        body.set_delta_roster(true);
        self.start(key, body, owner, join_muted).await
    }

    async fn start(
        &self,
        key: Arc<str>,
        body: CreateCall,
        owner: Owner,
        join_muted: bool,
    ) -> Result<Call, JoinError> {
        let inner = &self.inner;
        if inner.is_draining() {
            return Err(JoinError::Draining);
        }
        if inner.registry.live_count() >= inner.max_calls {
            return Err(JoinError::Full(inner.max_calls));
        }
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let own_command = CommandId::new(Uuid::new_v4().as_u128());
        let mut config = Config::new(u64::try_from(epoch).unwrap_or(1), own_command);
        config.join_muted = join_muted;
        if let Some(tune) = inner.tuning {
            tune(&mut config);
        }
        let (mail, inbox) = mpsc::channel(CAPACITY);
        let (reply, created) = oneshot::channel();
        let status = Status {
            phase: Phase::Establishing,
            graph: None,
            kind: CallKind::Group,
            me: None,
            version: Version {
                epoch: config.epoch,
                seq: 0,
            },
            own_entry_seen: false,
            waits_for: Vec::new(),
            ending: None,
        };
        let shared = Arc::new(Shared {
            key,
            owner,
            id: OnceLock::new(),
            created: OnceLock::new(),
            mail,
            status: watch::Sender::new(status),
            roster: watch::Sender::new(None),
            operations: Operations::default(),
        });
        // Before the POST: a notification that beats its answer must find the mailbox.
        inner.registry.insert(&shared);
        inner
            .metrics
            .calls
            .with_label_values(&[Phase::Establishing.as_str()])
            .inc();
        let begun = Instant::now();
        let mut effects = Vec::new();
        let machine = Machine::start(config, inner.time(begun), &mut effects);
        let actor = Actor {
            engine: Arc::clone(inner),
            call: Arc::clone(&shared),
            machine,
            effects,
            inbox,
            body: Some(Box::new(body)),
            created: Some(reply),
            begun,
        };
        tokio::spawn(supervise(actor));
        created.await.map_err(|_| JoinError::Broken)??;
        Ok(Call {
            shared,
            engine: Arc::clone(inner),
        })
    }

    /// Hands the entries of one webhook to the call whose key it came by. All are queued, or none.
    /// Check the webhook's token first; `tenant` is its `tid`.
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
        let metrics = &self.inner.metrics;
        let count = |notification: &Notification, result| {
            let labels = [resource(&notification.item), result];
            metrics.notifications.with_label_values(&labels).inc();
        };
        let call = self.inner.registry.by_key(key);
        let Some(call) =
            call.filter(|call| tenant.is_none_or(|tenant| *tenant == call.owner.tenant))
        else {
            for notification in &notifications {
                count(notification, "unknown_call");
            }
            return Err(DeliverError::Unknown);
        };
        let bound = call.id.get().cloned();
        let ours = |id: &Option<CallId>| match (id, &bound) {
            (Some(id), Some(bound)) => id == bound,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let (mine, foreign): (Vec<_>, Vec<_>) = notifications
            .into_iter()
            .partition(|notification| ours(&notification.call));
        for notification in &foreign {
            count(notification, "unknown_call");
        }
        let permits = match call.mail.try_reserve_many(mine.len()) {
            Ok(permits) => permits,
            Err(mpsc::error::TrySendError::Full(())) => {
                for notification in &mine {
                    count(notification, "busy");
                }
                return Err(DeliverError::Busy);
            }
            Err(mpsc::error::TrySendError::Closed(())) => return Err(DeliverError::Unknown),
        };
        let delivered = Delivered {
            queued: mine.len(),
            foreign: foreign.len(),
        };
        for (permit, notification) in permits.zip(mine) {
            count(&notification, "queued");
            permit.send(Mail::Notice(Box::new(notification)));
        }
        Ok(delivered)
    }

    /// The call of that id, also for a while after its end.
    pub fn call(&self, id: &CallId) -> Option<Call> {
        let shared = self.inner.registry.by_id(id)?;
        Some(Call {
            shared,
            engine: Arc::clone(&self.inner),
        })
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

    /// Takes no new calls and commands, hangs up every call, 64 at a time, and returns how many
    /// were not over by `deadline`.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.inner.draining.store(true, Ordering::Release);
        self.inner.metrics.draining.set(1);
        let until = Instant::now() + deadline;
        let calls = self.inner.registry.live();
        let gate = Arc::new(tokio::sync::Semaphore::new(DRAIN_AT_ONCE));
        let mut ends = tokio::task::JoinSet::new();
        for call in calls {
            let gate = Arc::clone(&gate);
            ends.spawn(async move {
                let permit = gate.acquire_owned().await;
                let sent = call.mail.send(Mail::HangUp).await.is_ok();
                let mut status = call.status.subscribe();
                let over = status
                    .wait_for(|status| status.phase == Phase::Terminated)
                    .await
                    .is_ok();
                drop(permit);
                sent && over
            });
        }
        let all = async { while ends.join_next().await.is_some() {} };
        if tokio::time::timeout_at(until, all).await.is_err() {
            tracing::warn!(
                left = self.inner.registry.live_count(),
                "drain ended by its deadline"
            );
        }
        self.inner.registry.live_count()
    }

    fn callback(&self, key: &str) -> Url {
        let mut url = self.inner.public_url.clone();
        let path = format!("{}/callbacks/{key}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

/// 128 random bits in hex: a routing token that cannot be guessed.
fn new_key() -> Arc<str> {
    Uuid::new_v4().simple().to_string().into()
}

fn resource(item: &Item) -> &'static str {
    match item {
        Item::Call(_) | Item::Incoming(_) => "call",
        Item::Roster(_) => "participants",
        Item::Operation(_) => "operation",
        Item::Other => "other",
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
