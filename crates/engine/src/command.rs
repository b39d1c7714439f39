//! Mute and unmute as a bot asks for them.

use std::sync::OnceLock;
use std::time::Duration;

use openmic_journal::Full;
use openmic_model::{Action, ClientContext, CommandId, OperationId, Repeat, Verdict};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use crate::call::Call;
use crate::mail::{CommandMail, Mail, RESERVED};
use crate::operations::Given;
use crate::recorder::entry::Asked;

/// Shortest and longest time a command may be given for its verdict.
const WITHIN: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);

/// Shortest and longest time an unmute may speak.
const SPEAK_FOR: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);

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

impl Call {
    /// Asks Graph to send the bot's audio to the others again and waits for the verdict.
    ///
    /// # Errors
    /// [`CommandError`] when the command was not accepted.
    pub async fn unmute(&self) -> Result<Verdict, CommandError> {
        let given = self.give(Action::Unmute, CommandOptions::default())?;
        Ok(given.outcome(self).await?.verdict)
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
        let given = self.give(Action::Unmute, options)?;
        Ok(given.outcome(self).await?.verdict)
    }

    /// Asks Graph to drop the bot's audio and waits for the verdict.
    ///
    /// # Errors
    /// [`CommandError`] when the command was not accepted.
    pub async fn mute(&self) -> Result<Verdict, CommandError> {
        let given = self.give(Action::Mute, CommandOptions::default())?;
        Ok(given.outcome(self).await?.verdict)
    }

    /// Accepts a command and returns at once; the verdict comes through [`Pending`]. Dropping that
    /// does not take the command back. What the call does about it first, it does here, on the
    /// caller's thread: some ten microseconds, and nothing that waits.
    ///
    /// # Errors
    /// [`CommandError`] when the command was not accepted.
    pub fn command(
        &self,
        action: Action,
        options: CommandOptions,
    ) -> Result<Pending, CommandError> {
        let given = self.give(action, options)?;
        Ok(Pending {
            operation: OnceLock::new(),
            call: self.clone(),
            given,
        })
    }

    /// As [`Call::command`], for who has the call at hand until the verdict.
    fn give(&self, action: Action, options: CommandOptions) -> Result<InHand, CommandError> {
        if self.engine.is_draining() {
            return Err(CommandError::Draining);
        }
        let bits = Uuid::new_v4().as_u128();
        let id = CommandId::new(bits);
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
        let given = Given {
            command: id,
            action,
            operation: None,
            client_context: options.client_context,
            repeat: options.repeat,
        };
        self.shared.flight.asked(accepted, |recorder| Asked {
            command: id,
            action,
            operation: None,
            within,
            speak_for,
            context: given
                .client_context
                .as_ref()
                .map(|context| recorder.context(context).into()),
        });
        let in_hand = |outcome, written| InHand {
            command: id,
            outcome,
            written,
        };
        // Before the command is sent, so that its verdict finds them.
        self.shared.take_down(given, accepted);
        metrics.in_flight.inc();
        match self.shared.mail.try_send(mail) {
            Ok(()) => Ok(in_hand(outcome, written)),
            Err(mpsc::error::TrySendError::Closed(_)) if self.engine.is_stuck() => {
                if self.shared.operations.take_back(id) {
                    metrics.in_flight.dec();
                }
                Err(CommandError::StorageFailed)
            }
            // The call is over: the command is accepted and has its verdict.
            Err(mpsc::error::TrySendError::Closed(_)) => {
                let verdict = self.shared.ended_verdict();
                if let Some(took) = self.shared.operations.settle(id, &verdict, Instant::now()) {
                    metrics.closed(action, &verdict, took);
                }
                Ok(in_hand(outcome, None))
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                if self.shared.operations.take_back(id) {
                    metrics.in_flight.dec();
                }
                Err(busy())
            }
        }
    }
}

/// A command that was handed in.
#[derive(Debug)]
pub struct Pending {
    /// Of the command, once somebody asked.
    operation: OnceLock<OperationId>,
    call: Call,
    given: InHand,
}

/// What whoever gave a command holds of it.
#[derive(Debug)]
struct InHand {
    command: CommandId,
    outcome: oneshot::Receiver<Outcome>,
    /// Comes once the command is written down; `None` when there is nothing to wait for.
    written: Option<oneshot::Receiver<()>>,
}

impl Pending {
    /// The engine's operation for it. Tell nobody before it is [`Pending::accepted`].
    pub fn operation(&self) -> &OperationId {
        let bits = self.given.command.bits();
        self.operation.get_or_init(|| OperationId::of_guid(bits))
    }

    /// Waits until the command is accepted for good: from then on it has one verdict, whatever
    /// breaks. Without a journal that is at once. Safe to cancel.
    ///
    /// # Errors
    /// [`CommandError::StorageFailed`] when it could not be written down.
    pub async fn accepted(&mut self) -> Result<(), CommandError> {
        if let Some(written) = &mut self.given.written {
            let written = written.await;
            self.given.written = None;
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
        self.given.outcome(&self.call).await
    }
}

impl InHand {
    async fn outcome(self, call: &Call) -> Result<Outcome, CommandError> {
        if let Ok(outcome) = self.outcome.await {
            return Ok(outcome);
        }
        if call.engine.is_stuck() {
            return Err(CommandError::StorageFailed);
        }
        // It came at the very end of the call and was never read.
        let shared = &call.shared;
        let record = shared.operations.of(self.command);
        let verdict = record.and_then(|record| record.verdict);
        Ok(Outcome {
            verdict: verdict.unwrap_or_else(|| shared.ended_verdict()),
            moments: Moments::default(),
        })
    }
}
