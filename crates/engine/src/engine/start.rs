//! How a call begins.

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock};

use openmic_journal::Journal;
use openmic_machine::{Config, Machine};
use openmic_model::{
    Book, CallFacts, CallId, CallIntent, CallKind, CommandId, NamedCallback, Record, Repeat,
    WallTime,
};
use openmic_wire::answer::AnswerCall;
use openmic_wire::create::CreateCall;
use openmic_wire::raw::Named;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Engine, Inner};
use crate::actor::{Actor, Beginning, Carried};
use crate::awake::Awake;
use crate::call::{Call, Owner, Shared, Webhook};
use crate::errand::Errands;
use crate::join::JoinError;
use crate::ledger::Ledger;
use crate::mail::{CAPACITY, Inbox, Mail, Mailbox};
use crate::operations::Operations;
use crate::outbox::Outbox;
use crate::recorder::Flight;
use crate::recorder::entry::How;
use crate::supervise::{Body, Jobs, Lanes, Replies};
use crate::told::Told;
use crate::watch;

/// The request that a call begins with.
pub(crate) enum First {
    /// It is made.
    Create(Box<CreateCall>),
    /// It rings, and is taken.
    Answer {
        id: CallId,
        body: Box<AnswerCall>,
        /// What the ring states.
        kind: CallKind,
        facts: CallFacts,
    },
}

impl Engine {
    pub(crate) async fn start(
        &self,
        key: Arc<str>,
        first: First,
        owner: Owner,
        named: Option<Named>,
        join_muted: bool,
        repeat: Option<Repeat>,
    ) -> Result<Call, JoinError> {
        self.recover();
        let inner = &self.inner;
        if inner.is_draining() {
            return Err(JoinError::Draining);
        }
        let place = Arc::clone(&inner.places)
            .try_acquire_owned()
            .map_err(|_| JoinError::Full(inner.max_calls))?;
        inner.admits()?;
        let config = inner.config(Journal::now().0, join_muted);
        let intent = CallIntent {
            app: owner.app.clone(),
            tenant: owner.tenant.clone(),
            kind: first.kind(),
            offered: first.offered().cloned(),
            join_muted,
            named: named.as_ref().map(kept).map(Box::new),
            repeat: repeat.map(Box::new),
        };
        let opening = vec![
            Record::Intent(Box::new(intent)),
            Record::Epoch(config.epoch),
        ];
        let begins = Begins {
            key,
            owner: inner.shared_owner(owner),
            named,
            rang: matches!(first, First::Answer { .. }),
            kind: first.kind(),
            epoch: config.epoch,
        };
        let (shared, inbox) = inner.shared(begins);
        let (reply, created) = oneshot::channel();
        // Before the POST: a notification that beats its answer must find the mailbox.
        inner.registry.insert(&shared);
        if inner.is_draining() {
            // The drain may have looked for calls before this one was there.
            inner.registry.remove(&shared);
            return Err(JoinError::Draining);
        }
        if let First::Answer { id, .. } = &first {
            // It has its id from the start: what comes by the app's key finds it.
            if !inner.registry.bind(id.clone(), &shared) {
                inner.registry.remove(&shared);
                let message = "a call of this engine that is not over has the same id".to_owned();
                return Err(JoinError::Invalid(message));
            }
            let fresh = shared.id.set(id.clone());
            debug_assert!(fresh.is_ok(), "nobody else has the call yet");
        }
        inner.metrics.begun();
        let unclaimed = Unclaimed(Some(Arc::clone(&shared)));
        let mut effects = Vec::new();
        let orphan_patience = config.orphan_patience;
        let at = inner.time(Instant::now());
        let noted = config.clone();
        let (machine, how) = match &first {
            First::Create(_) => (Machine::start(config, at, &mut effects), How::Created),
            First::Answer { kind, facts, .. } => {
                let machine = Machine::answer(config, facts, *kind, at, &mut effects);
                (machine, How::answered(facts, *kind))
            }
        };
        shared.flight.begun(&noted, how, &machine, &effects, at);
        let actor = Actor {
            engine: Arc::clone(inner),
            call: Arc::clone(&shared),
            machine,
            offered: matches!(first, First::Answer { .. }),
            beginning: Some(Box::new(Beginning {
                effects,
                records: opening,
                first: Some(first),
                created: Some(reply),
            })),
            begun: at,
            rested: false,
            carried: Carried::default(),
        };
        let lanes = Lanes {
            inbox,
            jobs: Jobs::default(),
            outbox: Outbox::default(),
            ledger: Ledger::new(inner.journal.clone(), shared.key(), Book::default()),
            replies: Replies::default(),
            place: Some(place),
            orphan_patience,
        };
        let body = Body::new(actor, lanes);
        Awake::begin(body, Arc::clone(&shared), &Handle::current());
        let outcome = created.await;
        unclaimed.claim();
        outcome.map_err(|_| {
            if inner.is_stuck() {
                // It may have been made already.
                let message = "the journal failed".to_owned();
                JoinError::Unknown { message }
            } else {
                JoinError::Broken
            }
        })??;
        Ok(Call {
            shared,
            engine: Arc::clone(inner),
        })
    }
}

/// What is known of a call before anything of it happens here.
pub(crate) struct Begins {
    pub(crate) key: Arc<str>,
    pub(crate) owner: Arc<Owner>,
    pub(crate) named: Option<Named>,
    pub(crate) rang: bool,
    pub(crate) kind: CallKind,
    pub(crate) epoch: u64,
}

impl Inner {
    /// What actor and handles of a call will share, and the call's mailbox.
    pub(crate) fn shared(&self, begins: Begins) -> (Arc<Shared>, Inbox) {
        let Begins {
            key,
            owner,
            named,
            rang,
            kind,
            epoch,
        } = begins;
        let webhook = named.map(|named| {
            let relay = self.relay.as_ref();
            let lane = relay.map(|relay| relay.lane(self.callback(&key).as_str(), named.clone()));
            Box::new(Webhook { named, lane })
        });
        let shared = Arc::new(Shared {
            flight: Flight::new(self.recorder.as_ref(), &key),
            owner,
            webhook,
            rang,
            id: OnceLock::new(),
            created: OnceLock::new(),
            mail: Mailbox::new(CAPACITY),
            watch_told: AtomicBool::new(false),
            alarm: AtomicU32::new(0),
            status: watch::Sender::new(Told::new(kind, epoch)),
            operations: Operations::default(),
            errands: Errands::default(),
        });
        let inbox = Inbox::new(Arc::clone(&shared));
        (shared, inbox)
    }

    /// Nearly all calls are the engine's own bot's.
    pub(super) fn shared_owner(&self, owner: Owner) -> Arc<Owner> {
        if owner == *self.owner {
            Arc::clone(&self.owner)
        } else {
            Arc::new(owner)
        }
    }

    /// How a call's machine behaves.
    pub(crate) fn config(&self, epoch: u64, join_muted: bool) -> Config {
        let own_command = CommandId::new(Uuid::new_v4().as_u128());
        let mut config = Config::new(epoch, own_command);
        config.join_muted = join_muted;
        config.post_limit = self.post_limit;
        let since = self.millis(Instant::now());
        config.wall_origin = WallTime(Journal::now().0.saturating_sub(since));
        if let Some(tune) = self.tuning {
            tune(&mut config);
        }
        config
    }
}

/// As it is written down.
fn kept(named: &Named) -> NamedCallback {
    let options = named.call_options.as_ref();
    NamedCallback {
        callback_uri: named.callback_uri.clone(),
        call_options: options.and_then(|options| serde_json::to_string(options).ok()),
    }
}

/// 128 random bits in hex: a routing token that cannot be guessed.
pub(crate) fn new_key() -> Arc<str> {
    Uuid::new_v4().simple().to_string().into()
}

impl First {
    const fn kind(&self) -> CallKind {
        match self {
            Self::Create(_) => CallKind::Group,
            Self::Answer { kind, .. } => *kind,
        }
    }

    /// The id of a call that rings.
    const fn offered(&self) -> Option<&CallId> {
        match self {
            Self::Create(_) => None,
            Self::Answer { id, .. } => Some(id),
        }
    }
}

/// A call that nobody has a handle of yet. Dropped before it is claimed, it hangs the call up.
struct Unclaimed(Option<Arc<Shared>>);

impl Unclaimed {
    fn claim(mut self) {
        self.0 = None;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let Some(call) = self.0.take() else { return };
        if let Err(mpsc::error::TrySendError::Full(mail)) = call.mail.try_send(Mail::HangUp)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { call.mail.send(mail).await });
        }
    }
}
