//! The bot's handle of one call, and what it shares with the actor.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openmic_graph::relay::{Lane, Parcel};
use openmic_journal::Full;
use openmic_machine::{Ack, Ending, Phase};
use openmic_model::{
    Action, AppId, CallId, CallKind, CallState, ClientContext, CommandId, OperationId,
    ParticipantId, Repeat, RosterVersion, TenantId, Verdict, Version,
};
use openmic_wire::errand::{Body, Errand, Place};
use openmic_wire::raw::{Named, RawEntry};
use openmic_wire::resource::Resource;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::engine::{Came, Inner};
use crate::errand::{Errands, Passed};
use crate::join::Created;
use crate::mail::{CommandMail, Mail, RESERVED};
use crate::operations::{OperationRecord, Operations};
use crate::recorder::entry::Asked;
use crate::recorder::{CallLog, Flight};
use crate::roster::RosterStream;
use crate::upstream::{self, UpstreamError};

/// Shortest and longest time a command may be given for its verdict.
const WITHIN: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);

/// Shortest and longest time an unmute may speak.
const SPEAK_FOR: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);

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

/// Choices for one command.
#[derive(Debug, Clone, Default)]
pub struct CommandOptions {
    /// How long the verdict may take, 1 s to 5 min. `None`: as the engine is configured.
    pub within: Option<Duration>,
    /// The bot's own context, echoed in its operation.
    pub client_context: Option<ClientContext>,
    /// How long an unmute may speak, 1 s to 1 h, counted from its verdict: then the bot is muted
    /// again. Another unmute renews it. `None`: until it is muted. A mute has no use for it.
    pub speak_for: Option<Duration>,
    /// By what the request is known again, also after a crash.
    pub repeat: Option<Repeat>,
}

/// How a command ended and when what was known of it, counted from its acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// When.
    pub moments: Moments,
}

/// Moments of one command, counted from its acceptance. They tell of the last POST for it; what
/// never came, or came before this command joined the attempt, is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moments {
    /// The POST was handed to the client.
    pub posted: Option<Duration>,
    /// The POST was answered.
    pub answered: Option<Duration>,
    /// The operation was known to be completed.
    pub operation: Option<Duration>,
    /// A roster said so.
    pub roster: Option<Duration>,
    /// The verdict.
    pub verdict: Duration,
}

/// Why a command was not accepted. Nothing was sent and nothing will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The call's mailbox is full.
    #[error("the call has too much to do; try again in a second")]
    Busy,
    /// The engine is going down.
    #[error("the engine is draining and takes no new commands")]
    Draining,
    /// The disk of the journal has no room for what would have to be remembered.
    #[error("the journal's disk is full, so nothing new is accepted; make room on it")]
    StorageFull,
    /// The journal failed: what became of a command that was under way is found when the engine
    /// is started again.
    #[error("the journal failed, and nothing is accepted any more; start the engine again")]
    StorageFailed,
}

impl From<Full> for CommandError {
    fn from(full: Full) -> Self {
        match full {
            Full::Disk { .. } => Self::StorageFull,
            Full::Behind { .. } => Self::Busy,
            Full::Failed => Self::StorageFailed,
        }
    }
}

/// What the actor and every handle of a call share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) key: Arc<str>,
    pub(crate) owner: Owner,
    /// What somebody else's create said of callback and options.
    pub(crate) named: Option<Named>,
    /// The way to that callback.
    pub(crate) lane: Option<Lane>,
    /// It rang and was answered, so that news of it may come by the app's key too.
    pub(crate) rang: bool,
    pub(crate) id: OnceLock<CallId>,
    pub(crate) created: OnceLock<Created>,
    pub(crate) mail: mpsc::Sender<Mail>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) roster: watch::Sender<Option<RosterVersion>>,
    pub(crate) operations: Operations,
    pub(crate) errands: Errands,
    pub(crate) flight: Flight,
}

impl Shared {
    pub(crate) fn is_live(&self) -> bool {
        self.status.borrow().phase != Phase::Terminated
    }

    /// Hands entries of a POST to the bot's own callback, if it named one. Never waits.
    ///
    /// Operations that the engine began are told as the bot knows them, once for each command they
    /// served; those that served none of its are left out.
    pub(crate) fn relay(&self, came: Came<'_>, engine: &Inner) {
        let (Some(lane), Some(relay)) = (&self.lane, &engine.relay) else {
            return;
        };
        let bound = self.id.get();
        let is_ours = |entry: &RawEntry| match (entry.call(), bound) {
            (Some(id), Some(bound)) => id == bound,
            // The lane looks again.
            (named, None) => named.is_some(),
            (None, _) => false,
        };
        let mut told = Vec::with_capacity(came.raw.len());
        let mut internal = 0;
        for entry in came.raw.into_iter().filter(is_ours) {
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
        let status = self.status.borrow();
        let result = status.ending.as_ref().and_then(|end| end.result.clone());
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
        self.shared.created.get()
    }

    /// Callback and options of the body that [`crate::Engine::create`] was given, which its bot is
    /// to be shown in the place of ours; `None` for a call joined by [`crate::Engine::join`].
    pub fn named(&self) -> Option<&Named> {
        self.shared.named.as_ref()
    }

    /// Asks Graph to send the bot's audio to the others again and waits for the verdict.
    ///
    /// # Errors
    /// [`CommandError`] when the command was not accepted.
    pub async fn unmute(&self) -> Result<Verdict, CommandError> {
        let pending = self.command(Action::Unmute, CommandOptions::default())?;
        Ok(pending.outcome().await?.verdict)
    }

    /// Unmutes for so long, 1 s to 1 h counted from the verdict, and waits for that; then the bot is
    /// muted again, whoever asked for what meanwhile. While it speaks, another `unmute_for` gives
    /// it a new time, longer or shorter, [`Call::unmute`] takes the end away and [`Call::mute`]
    /// ends it.
    ///
    /// With a journal the time ends also when the process dies: an engine that recovers the call
    /// mutes a bot whose time is over before it does anything else.
    ///
    /// # Errors
    /// [`CommandError`] when the command was not accepted.
    pub async fn unmute_for(&self, time: Duration) -> Result<Verdict, CommandError> {
        let options = CommandOptions {
            speak_for: Some(time),
            ..CommandOptions::default()
        };
        let pending = self.command(Action::Unmute, options)?;
        Ok(pending.outcome().await?.verdict)
    }

    /// Asks Graph to drop the bot's audio and waits for the verdict.
    ///
    /// # Errors
    /// [`CommandError`] when the command was not accepted.
    pub async fn mute(&self) -> Result<Verdict, CommandError> {
        let pending = self.command(Action::Mute, CommandOptions::default())?;
        Ok(pending.outcome().await?.verdict)
    }

    /// Accepts a command and returns at once; the verdict comes through [`Pending`]. Dropping that
    /// does not take the command back.
    ///
    /// # Errors
    /// [`CommandError`] when the command was not accepted.
    pub fn command(
        &self,
        action: Action,
        options: CommandOptions,
    ) -> Result<Pending, CommandError> {
        if self.engine.is_draining() {
            return Err(CommandError::Draining);
        }
        let bits = Uuid::new_v4();
        let id = CommandId::new(bits.as_u128());
        let operation = OperationId::parse(&bits.to_string()).expect("a GUID is an id");
        let within = options.within.unwrap_or(self.engine.command_deadline);
        let within = within.clamp(*WITHIN.start(), *WITHIN.end());
        let speak_for = options
            .speak_for
            .filter(|_| action == Action::Unmute)
            .map(|time| time.clamp(*SPEAK_FOR.start(), *SPEAK_FOR.end()));
        self.engine.admits()?;
        let metrics = &self.engine.metrics;
        let busy = || {
            metrics.busy.inc();
            self.shared.flight.turned_away(action, "busy");
            CommandError::Busy
        };
        if self.shared.mail.capacity() <= RESERVED && !self.shared.mail.is_closed() {
            return Err(busy());
        }
        let accepted = Instant::now();
        let (reply, outcome) = oneshot::channel();
        // Without a journal there is nothing to wait for.
        let (taken, written) = match &self.engine.journal {
            Some(_) => {
                let (taken, written) = oneshot::channel();
                (Some(taken), Some(written))
            }
            None => (None, None),
        };
        let mail = Mail::Command(Box::new(CommandMail {
            id,
            action,
            within,
            speak_for,
            accepted,
            reply,
            taken,
        }));
        let record = OperationRecord {
            id: operation.clone(),
            action,
            client_context: options.client_context,
            verdict: None,
        };
        self.shared.flight.asked(|recorder| Asked {
            command: id,
            action,
            operation: operation.clone(),
            within,
            speak_for,
            context: record
                .client_context
                .as_ref()
                .map(|context| recorder.context(context).into()),
        });
        let pending = |outcome, written| Pending {
            operation,
            call: self.clone(),
            outcome,
            written,
        };
        // Before the command is sent, so that its verdict finds them.
        self.shared
            .operations
            .insert(id, record, options.repeat, accepted);
        metrics.in_flight.inc();
        match self.shared.mail.try_send(mail) {
            Ok(()) => Ok(pending(outcome, written)),
            Err(mpsc::error::TrySendError::Closed(_)) if self.engine.is_stuck() => {
                if self.shared.operations.take_back(id) {
                    metrics.in_flight.dec();
                }
                Err(CommandError::StorageFailed)
            }
            // The call is over: the command is accepted and has its verdict.
            Err(mpsc::error::TrySendError::Closed(_)) => {
                let verdict = self.shared.ended_verdict();
                if let Some(took) = self.shared.operations.settle(id, &verdict) {
                    metrics.closed(action, &verdict, took);
                }
                Ok(pending(outcome, None))
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                if self.shared.operations.take_back(id) {
                    metrics.in_flight.dec();
                }
                Err(busy())
            }
        }
    }

    /// Where the call stands now.
    pub fn state(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Waits until the state is as wanted and returns it; returns also once the call is over.
    pub async fn until(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.shared.status.subscribe();
        let over = |status: &Status| status.phase == Phase::Terminated;
        match status
            .wait_for(|status| wanted(status) || over(status))
            .await
        {
            Ok(status) => status.clone(),
            Err(_) => self.state(),
        }
    }

    /// What the flight recorder holds of it; `None` without a recorder.
    pub fn log(&self) -> Option<CallLog> {
        self.shared.flight.log(&self.shared.owner)
    }

    /// The roster as a stream: a snapshot, then deltas.
    pub fn roster(&self) -> RosterStream {
        RosterStream::new(
            self.shared.roster.subscribe(),
            self.shared.status.subscribe(),
        )
    }

    /// The latest roster version; `None` before the first.
    pub fn roster_now(&self) -> Option<RosterVersion> {
        self.shared.roster.borrow().clone()
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

    /// One of the engine's own operations on this call.
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
            body.set_callback_uri(self.engine.callback(&self.shared.key).as_str());
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
            .field("phase", &self.shared.status.borrow().phase)
            .finish_non_exhaustive()
    }
}

/// A command that was handed in.
#[derive(Debug)]
pub struct Pending {
    operation: OperationId,
    call: Call,
    outcome: oneshot::Receiver<Outcome>,
    /// Comes once the command is written down; `None` when there is nothing to wait for.
    written: Option<oneshot::Receiver<()>>,
}

impl Pending {
    /// The engine's operation for it. Tell nobody before it is [`Pending::accepted`].
    pub fn operation(&self) -> &OperationId {
        &self.operation
    }

    /// Waits until the command is accepted for good: from then on it has one verdict, whatever
    /// breaks. Without a journal that is at once. Safe to cancel.
    ///
    /// # Errors
    /// [`CommandError::StorageFailed`] when it could not be written down.
    pub async fn accepted(&mut self) -> Result<(), CommandError> {
        if let Some(written) = &mut self.written {
            let written = written.await;
            self.written = None;
            // Else its call broke, and its supervisor sees to the verdict.
            if written.is_err() && self.call.engine.is_stuck() {
                return Err(CommandError::StorageFailed);
            }
        }
        Ok(())
    }

    /// Waits for the verdict. It comes within the command's deadline.
    ///
    /// # Errors
    /// [`CommandError::StorageFailed`] when the journal failed meanwhile. Where the command had
    /// been written down, its verdict is found when the engine is started again.
    pub async fn outcome(self) -> Result<Outcome, CommandError> {
        if let Ok(outcome) = self.outcome.await {
            return Ok(outcome);
        }
        if self.call.engine.is_stuck() {
            return Err(CommandError::StorageFailed);
        }
        // It came at the very end of the call and was never read.
        let shared = &self.call.shared;
        let record = shared.operations.get(&self.operation);
        let verdict = record.and_then(|record| record.verdict);
        Ok(Outcome {
            verdict: verdict.unwrap_or_else(|| shared.ended_verdict()),
            moments: Moments::default(),
        })
    }
}
