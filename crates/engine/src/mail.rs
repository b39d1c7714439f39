//! What a call's mailbox holds.

use std::time::Duration;

use openmic_model::{Action, CallFacts, CommandId};
use openmic_wire::notification::Notification;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::call::Shared;
use crate::command::Outcome;
use crate::mailbox;
use crate::sleep::Asleep;

/// A call's mailbox, and the side of it that letters come from.
pub(crate) type Mailbox = mailbox::Mailbox<Mail, Asleep>;
/// The side of its actor.
pub(crate) type Inbox = mailbox::Receiver<Shared>;

/// Letters a mailbox holds. Full: commands are refused, webhooks are not acknowledged.
pub(crate) const CAPACITY: usize = 128;
/// Entries of a webhook in one letter. The longest webhook there is must fit an empty mailbox:
/// refused, it would come again as it is.
pub(crate) const ENTRIES: usize = 64;
const _: () = assert!(openmic_wire::MAX_ITEMS.div_ceil(ENTRIES) <= CAPACITY);
/// Places kept for notifications and hang-ups: a command is refused before they are used up.
pub(crate) const RESERVED: usize = 64;

/// One letter. Small, as mailboxes move them.
pub(crate) enum Mail {
    Notices(Vec<Notification>),
    Command(Box<CommandMail>),
    HangUp,
    /// A subscriber came.
    Watched,
    /// A request of the bot's found the call gone.
    Gone,
    /// The bot was shown that the call is established.
    Shown(Box<CallFacts>),
    /// The actor panics.
    #[cfg(test)]
    Panic,
    /// Has the machine ask for these.
    #[cfg(test)]
    Wanted(Vec<openmic_machine::Effect>),
}

pub(crate) struct CommandMail {
    pub(crate) id: CommandId,
    pub(crate) action: Action,
    pub(crate) within: Duration,
    pub(crate) speak_for: Option<Duration>,
    pub(crate) accepted: Instant,
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// Told once the command is written down, where there is a journal.
    pub(crate) taken: Option<oneshot::Sender<()>>,
}
