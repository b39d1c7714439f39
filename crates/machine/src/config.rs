use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use openmic_model::{CommandId, WallTime};
use serde::{Deserialize, Serialize};

/// How one call behaves. The defaults are those of [`Config::new`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Epoch of the call's roster versions; higher than any it had before.
    pub epoch: u64,
    /// Id of the command with which the machine itself mutes the bot on joining, and the seed of
    /// its jitter. Random.
    pub own_command: CommandId,
    /// What the wall clock showed at [`Time::ZERO`](crate::Time::ZERO): ends of times to speak in
    /// are written down in its terms. Default 1970, which is right where nothing is recovered.
    pub wall_origin: WallTime,
    /// Mute the bot as the first act of an established group call. Default true: Graph cannot
    /// create a muted call, and a bot's microphone should not be hot by accident.
    pub join_muted: bool,
    /// How long to wait for the own roster entry once Graph says established. Default 5 s.
    pub own_entry_patience: Duration,
    /// How long a create whose answer was lost may still show itself by a notification.
    /// Default 30 s.
    pub orphan_patience: Duration,
    /// How long one POST may still take effect after it was sent: the client's whole time limit.
    /// Default 10 s.
    pub post_limit: Duration,
    /// Wait for an operation's notification before asking. Default 5 s.
    pub operation_grace: Duration,
    /// Wait for the own roster entry's notification before asking. Default 2 s.
    pub roster_grace: Duration,
    /// How long before a command's deadline the last look begins. Default 2 s.
    pub last_look: Duration,
    /// How long the own entry must have stood unchanged after an ambiguous POST before a second
    /// one. Default 2 s.
    pub settle_time: Duration,
    /// POSTs for one command that may have reached Graph. Default 3.
    pub max_attempts: u8,
    /// Commands open at once. Default 32; one more is refused with 409.
    pub max_open: usize,
    /// Between keepAlives, give or take a tenth. Default 10 min; Graph ends a call after 45 min.
    pub keep_alive: Duration,
    /// Ask Graph before a notification that the call is over is believed. Default true: an old
    /// notification can be sent again by whoever got hold of it.
    pub verify_terminal: bool,
    /// While somebody watches the roster, it is read so often, in case the last notification was
    /// lost. Default 1 min; without watchers every `keep_alive`.
    pub roster_audit: Duration,
    /// How long a hole in the delta roster's numbers may take to fill. Default 500 ms.
    pub gap_patience: Duration,
    /// How long to wait for `terminated` after the hang-up was answered. Default 5 s.
    pub parting_patience: Duration,
    /// How long a hang-up that fails is tried again, with pauses that grow to a minute. Default
    /// 45 min: a call to which nobody sends a keepAlive for so long is ended by Graph.
    #[serde(default = "without_keep_alive")]
    pub hang_up_patience: Duration,
}

/// How long Graph keeps a call to which nobody sends a keepAlive.
const fn without_keep_alive() -> Duration {
    Duration::from_mins(45)
}

impl Config {
    /// The defaults, with the two values that every call must have of its own.
    pub const fn new(epoch: u64, own_command: CommandId) -> Self {
        Self {
            epoch,
            own_command,
            wall_origin: WallTime(0),
            join_muted: true,
            own_entry_patience: Duration::from_secs(5),
            orphan_patience: Duration::from_secs(30),
            post_limit: Duration::from_secs(10),
            operation_grace: Duration::from_secs(5),
            roster_grace: Duration::from_secs(2),
            last_look: Duration::from_secs(2),
            settle_time: Duration::from_secs(2),
            max_attempts: 3,
            max_open: 32,
            keep_alive: Duration::from_mins(10),
            verify_terminal: true,
            roster_audit: Duration::from_mins(1),
            gap_patience: Duration::from_millis(500),
            parting_patience: Duration::from_secs(5),
            hang_up_patience: without_keep_alive(),
        }
    }
}

/// What a call has of its own in its settings. The rest is the same in nearly all calls of a
/// process, and they share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// [`Config::own_command`], where [`Config::join_muted`] says so.
    pub(crate) join_mute: Option<CommandId>,
    /// [`Config::wall_origin`].
    pub(crate) wall_origin: WallTime,
}

thread_local! {
    /// The shared part of the call that began last on this thread.
    static LATEST: RefCell<Option<Arc<Config>>> = const { RefCell::new(None) };
}

impl Config {
    /// Takes apart what is the call's own, and what it shares with the one before it.
    pub(crate) fn share(self) -> (Own, Arc<Self>) {
        let own = Own {
            join_mute: self.join_muted.then_some(self.own_command),
            wall_origin: self.wall_origin,
        };
        let common = Self {
            epoch: 0,
            own_command: CommandId::new(0),
            wall_origin: WallTime(0),
            join_muted: false,
            ..self
        };
        let shared = LATEST.with_borrow_mut(|latest| {
            if latest.as_deref() != Some(&common) {
                *latest = None;
            }
            Arc::clone(latest.get_or_insert_with(|| Arc::new(common)))
        });
        (own, shared)
    }
}
