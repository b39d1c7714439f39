//! The bot's handle of one call, and what it shares with the actor.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openmic_graph::relay::{Lane, Parcel};
use openmic_machine::{Ack, Ending, Phase};
use openmic_model::{
    AppId, CallId, CallKey, CallKind, CallState, OperationId, ParticipantId, RosterVersion,
    TenantId, Verdict, Version,
};
use openmic_wire::errand::{Body, Errand, Place};
use openmic_wire::raw::Named;
use openmic_wire::resource::Resource;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::engine::{Came, Inner};
use crate::errand::{Errands, Passed};
use crate::join::Created;
use crate::kept::Kept;
use crate::mail::{Mail, Mailbox};
use crate::mailbox::Holder;
use crate::operations::{Given, OperationRecord, Operations};
use crate::recorder::{CallLog, Flight};
use crate::roster::RosterStream;
use crate::sleep::Asleep;
use crate::told::Told;
use crate::upstream::{self, UpstreamError};
use crate::watch;

/// Whose call it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The bot's app.
    pub app: AppId,
    /// The tenant whose notifications it takes.
    pub tenant: TenantId,
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The machine's state.
    pub phase: Phase,
    /// Graph's own state.
    pub graph: Option<CallState>,
    /// What the call connects.
    pub kind: CallKind,
    /// `myParticipantId`.
    pub me: Option<ParticipantId>,
    /// The latest roster version; `seq` 0 before the first.
    pub version: Version,
    /// Whether the own roster entry was ever seen.
    pub own_entry_seen: bool,
    /// What the call waits for, in words.
    pub waits_for: Vec<&'static str>,
    /// How it ended.
    pub ending: Option<Ending>,
}

/// What the actor and every handle of a call share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) owner: Arc<Owner>,
    /// Whom else it is told to.
    pub(crate) webhook: Option<Box<Webhook>>,
    /// It rang and was answered, so that news of it may come by the app's key too.
    pub(crate) rang: bool,
    pub(crate) id: OnceLock<CallId>,
    pub(crate) created: OnceLock<Kept>,
    pub(crate) mail: Mailbox,
    /// A letter says that a subscriber came, and was not read yet.
    pub(crate) watch_told: AtomicBool,
    /// The second of its alarm while it sleeps; 0 is none.
    pub(crate) alarm: AtomicU32,
    pub(crate) status: watch::Sender<Told>,
    pub(crate) operations: Operations,
    pub(crate) errands: Errands,
    pub(crate) flight: Flight,
}

/// The callback that somebody else's create or answer named.
#[derive(Debug)]
pub(crate) struct Webhook {
    /// What that said of callback and options.
    pub(crate) named: Named,
    /// The way there, where an engine relays.
    pub(crate) lane: Option<Lane>,
}

impl Holder for Shared {
    type Letter = Mail;
    type Sleeper = Asleep;

    fn mailbox(&self) -> &Mailbox {
        &self.mail
    }
}

impl Shared {
    /// The routing token of its callback.
    pub(crate) fn key(&self) -> CallKey {
        *self.flight.key()
    }

    /// Keeps a command among the call's operations.
    ///
    /// A call in which nothing happened for a while is in no cache, and a processor waits at each lock for
    /// all memory that was asked for before it. So both locks come first, that of the mailbox only if it
    /// is free, and then the memory of the ledger and of what is going to read the command at one time.
    pub(crate) fn take_down(&self, given: Given, accepted: Instant) {
        self.operations
            .insert_with(given, accepted, || self.mail.fetch());
    }

    /// The way to the callback that somebody else named.
    pub(crate) fn lane(&self) -> Option<&Lane> {
        self.webhook.as_ref()?.lane.as_ref()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.status.with(|status| status.phase) != Phase::Terminated
    }

    /// Hands entries of a POST to the bot's own callback, if it named one. Never waits.
    ///
    /// Operations that the engine began are told as the bot knows them, once for each command they
    /// served; those that served none of its are left out.
    pub(crate) fn relay(&self, came: &Came<'_>, engine: &Inner) {
        let (Some(lane), Some(relay)) = (self.lane(), &engine.relay) else {
            return;
        };
        let bound = self.id.get();
        let is_ours = |named: Option<&CallId>| match (named, bound) {
            (Some(id), Some(bound)) => id == bound,
            // The lane looks again.
            (named, None) => named.is_some(),
            (None, _) => false,
        };
        let entries = came.raw.entries(is_ours);
        let mut told = Vec::with_capacity(entries.len());
        let mut internal = 0;
        for entry in entries {
            let behind = entry
                .operation()
                .and_then(|(context, id)| self.operations.behind(context.as_ref(), id.as_ref()));
            match behind {
                None => told.push(entry),
                Some(commands) => {
                    internal += usize::from(commands.is_empty());
                    let each = commands.iter();
                    told.extend(each.map(|(id, context)| entry.about(id, context.as_ref())));
                }
            }
        }
        relay.metrics().internal(internal);
        self.flight.relayed(told.len(), internal);
        if !told.is_empty() {
            lane.push(Parcel::new(came.headers, told, came.length));
        }
    }

    /// The verdict of a command that comes after the end, or is open when it comes.
    pub(crate) fn ended_verdict(&self) -> Verdict {
        let result = self.status.with(|status| status.ending()?.result.clone());
        Verdict::CallEnded { result }
    }
}

/// What can be read of a call through [`Call::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// The call resource.
    Call,
    /// All participants.
    Participants,
    /// One participant.
    Participant(&'a ParticipantId),
}

/// One call of the bot. Cheap to clone; dropping it does not hang up.
#[derive(Clone)]
pub struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) engine: Arc<Inner>,
}

impl Call {
    /// Its id.
    ///
    /// # Panics
    /// Never: handles are given out once the id is known.
    pub fn id(&self) -> &CallId {
        self.shared
            .id
            .get()
            .expect("a handle is given out once the id is known")
    }

    /// Whose call it is.
    pub fn owner(&self) -> &Owner {
        &self.shared.owner
    }

    /// What the create was answered with; `None` while a notification, but not yet the answer,
    /// showed the call.
    pub fn created(&self) -> Option<&Created> {
        let kept = self.shared.created.get()?;
        Some(kept.whole(self.id(), self.shared.key()))
    }

    /// The same, made for the caller: the call keeps the answer as text, and [`Call::created`] has
    /// it keep the tree as well.
    pub fn created_anew(&self) -> Option<Created> {
        let kept = self.shared.created.get()?;
        Some(kept.anew(self.id(), self.shared.key()))
    }

    /// Callback and options of the body that [`crate::Engine::create`] was given, which its bot is
    /// to be shown in the place of ours; `None` for a call joined by [`crate::Engine::join`].
    pub fn named(&self) -> Option<&Named> {
        self.shared.webhook.as_ref().map(|webhook| &webhook.named)
    }

    /// Where the call stands now.
    pub fn state(&self) -> Status {
        self.shared.status.with(Told::status)
    }

    /// Waits until the state is as wanted and returns it; returns also once the call is over.
    pub async fn until(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.shared.status.subscribe();
        let over = |status: &Told| status.phase == Phase::Terminated;
        let waited = status.wait_for(|status| wanted(&status.status()) || over(status));
        let found = waited.await.map(|status| status.status());
        found.unwrap_or_else(|_| self.state())
    }

    /// What the flight recorder holds of it; `None` without a recorder.
    pub fn log(&self) -> Option<CallLog> {
        self.shared.flight.log(&self.shared.owner)
    }

    /// The roster as a stream: a snapshot, then deltas.
    pub fn roster(&self) -> RosterStream {
        RosterStream::new(self.id().clone(), self.shared.status.subscribe())
    }

    /// The latest roster version; `None` before the first.
    pub fn roster_now(&self) -> Option<RosterVersion> {
        let status = &self.shared.status;
        status.with(|told| Some(told.roster.as_ref()?.whole(self.id())))
    }

    /// Hangs up and waits until the call is over. The others stay in the meeting.
    pub async fn hang_up(&self) -> Status {
        self.request_hang_up().await;
        self.until(|_| false).await
    }

    /// Hangs up without waiting for the end.
    pub async fn request_hang_up(&self) {
        if self.shared.mail.send(Mail::HangUp).await.is_err() {
            tracing::debug!(call = %self.id(), "hang-up of a call that is over");
        }
    }

    /// Tells the call that a subscriber came to its topic: while any is there, its roster is looked
    /// at now and then, so that a lost notification is made up for.
    pub fn watched(&self) {
        let told = &self.shared.watch_told;
        // One letter for however many come at once.
        if !told.swap(true, Ordering::AcqRel) && self.shared.mail.try_send(Mail::Watched).is_err() {
            told.store(false, Ordering::Relaxed);
            tracing::debug!(call = %self.id(), "no room to say that somebody watches");
        }
    }

    /// One of the engine's own operations on this call. [`Engine::operation`] finds those as well
    /// that are kept no longer than in the journal.
    ///
    /// [`Engine::operation`]: crate::Engine::operation
    pub fn operation(&self, id: &OperationId) -> Option<OperationRecord> {
        self.shared.operations.get(id)
    }

    /// Sends a keepAlive now, besides those the engine sends by itself. A call that turns out to
    /// be gone is over.
    ///
    /// # Errors
    /// [`UpstreamError`] as Graph answered.
    pub async fn keep_alive(&self) -> Result<(), UpstreamError> {
        let result = self.engine.upstream.keep_alive(self.id()).await;
        let ack = upstream::ack(&result);
        self.engine.metrics.kept_alive(ack);
        if ack == Ack::Gone && self.shared.mail.send(Mail::Gone).await.is_err() {
            tracing::debug!(call = %self.id(), "gone, and known to be");
        }
        Ok(result?)
    }

    /// A part of the call as Graph shows it, members unknown to openmic included. `query` is what stands behind `?`, passed on as it
    /// is: `$select`, or where a list goes on.
    ///
    /// # Errors
    /// [`UpstreamError`] as Graph answered.
    pub async fn read(&self, part: Part<'_>, query: Option<&str>) -> Result<Value, UpstreamError> {
        let call = self.id().clone();
        let resource = match part {
            Part::Call => Resource::Call(call),
            Part::Participants => Resource::Participants(call),
            Part::Participant(participant) => Resource::Participant(call, participant.clone()),
        };
        let read = self.engine.upstream.raw(&resource, query).await?;
        if let (Part::Call, Some(shown)) = (part, read.as_object()) {
            self.shown(shown);
        }
        Ok(read)
    }

    /// A bot that sees its call established may unmute at once, also before the notification of it
    /// has come here: the actor hears of it before the command.
    fn shown(&self, call: &Map<String, Value>) {
        if self.state().phase != Phase::Establishing {
            return;
        }
        let facts = openmic_wire::call::from_object(call).map(|answer| answer.facts);
        if let Ok(facts) = facts
            && facts.state == Some(CallState::Established)
            && self
                .shared
                .mail
                .try_send(Mail::Shown(facts.into()))
                .is_err()
        {
            tracing::debug!(call = %self.id(), "no room to say that it is established");
        }
    }

    /// Passes an errand on to Graph and tracks the operation it begins. It is sent once, and runs
    /// to its end when the future is dropped. `participant` is for those about one, `body` for all
    /// but [`Errand::RemoveParticipant`]; `beta` sends it to that version of Graph.
    ///
    /// The notifications that a redirected call is yet to get go on coming to the engine, wherever
    /// `body` wants them: it must see how its call ends.
    ///
    /// # Errors
    /// [`UpstreamError`] as Graph answered; 502 when it may have taken effect, 503 and nothing sent
    /// while the engine drains.
    pub async fn errand(
        &self,
        errand: Errand,
        participant: Option<ParticipantId>,
        mut body: Option<Body>,
        beta: bool,
    ) -> Result<Passed, UpstreamError> {
        if self.engine.is_draining() {
            return Err(UpstreamError {
                status: 503,
                code: "serviceNotAvailable".to_owned(),
                message: "The engine is going down; nothing was sent.".to_owned(),
                retry_after: Some(Duration::from_secs(5)),
            });
        }
        if let (Errand::Redirect, Some(body)) = (errand, &mut body) {
            let key = format!("{:032x}", self.shared.key().0);
            body.set_callback_uri(self.engine.callback(&key).as_str());
        }
        let call = self.id().clone();
        let place = match participant {
            None => Place::Call(call),
            Some(participant) => Place::Participant(call, participant),
        };
        let (engine, shared) = (Arc::clone(&self.engine), Arc::clone(&self.shared));
        let run = async move {
            let _under_way = shared.errands.begin();
            let upstream = &engine.upstream;
            let begun = Instant::now();
            let passed = upstream.errand(errand, &place, body.as_ref(), beta).await;
            let status = passed
                .as_ref()
                .map_or_else(|error| error.status, |passed| passed.status);
            shared
                .flight
                .passed(errand.labels().1, status, begun.elapsed());
            let passed = passed?;
            if let Some(body) = &passed.body {
                shared.errands.answered(body);
            }
            Ok(passed)
        };
        match tokio::spawn(run.in_current_span()).await {
            Ok(passed) => passed,
            Err(error) => {
                tracing::error!(%error, "an errand broke off");
                Err(UpstreamError {
                    status: 500,
                    code: "generalException".to_owned(),
                    message: "The errand broke off by a fault of openmic; it may have been sent."
                        .to_owned(),
                    retry_after: None,
                })
            }
        }
    }

    /// An operation of Graph's as Graph shows it, members unknown to openmic included. Where Graph
    /// has forgotten one that an errand began, its end as it was last seen. `query` is what stands
    /// behind `?`.
    ///
    /// # Errors
    /// [`UpstreamError`] as Graph answered.
    pub async fn read_operation(
        &self,
        id: &OperationId,
        query: Option<&str>,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let resource = Resource::Operation(self.id().clone(), Some(id.clone()));
        match self.engine.upstream.raw(&resource, query).await {
            Ok(Value::Object(body)) => {
                if query.is_none() {
                    self.shared.errands.read(id, &body);
                }
                Ok(body)
            }
            Ok(_) => Err(UpstreamError {
                status: 502,
                code: "generalException".to_owned(),
                message: "Graph's answer is no JSON object.".to_owned(),
                retry_after: None,
            }),
            Err(error) => {
                // 405 and 501: there is no such GET, so nothing but the notification tells.
                let lost = matches!(error.status, 404 | 405 | 501);
                let held = self.shared.errands.finished(id).filter(|_| lost);
                held.ok_or(error)
            }
        }
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.shared.id.get())
            .field("phase", &self.shared.status.with(|status| status.phase))
            .finish_non_exhaustive()
    }
}
