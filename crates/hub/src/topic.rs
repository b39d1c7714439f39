use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{fmt, mem};

use openmic_model::{CallId, KeptVersion, PackedRoster, RosterVersion, Version};
use parking_lot::Mutex;

use crate::frame::{CallFrame, OperationFrame};
use crate::hub::Link;

/// Versions that may wait for the shard.
const MAX_VERSIONS: usize = 256;
/// Call and operation frames that may wait for the shard.
const MAX_EVENTS: usize = 256;

/// The publishing side of one call, owned by the call's actor.
///
/// Nothing here waits or fails. Dropping it sends subscribers what is still due to them and then
/// closes them with [`crate::CALL_ENDED`].
pub struct Topic {
    slot: Arc<Slot>,
    link: Arc<Link>,
}

impl Topic {
    pub(crate) fn new(slot: Arc<Slot>, link: Arc<Link>) -> Self {
        Self { slot, link }
    }

    /// Makes `version` the newest one. One that is not above the newest is left out.
    ///
    /// With 256 versions unsent only the newest stays, and subscribers get a snapshot.
    pub fn publish(&self, version: RosterVersion) {
        let published = self.slot.state.lock().publish(version);
        self.signal(published.wake);
    }

    /// Nothing happens in the call: while nobody watches it takes less memory. `roster` is that of
    /// `version`, packed; when that is not the newest one, nothing is done.
    pub fn pack(&self, version: Version, roster: &PackedRoster) {
        let mut state = self.slot.state.lock();
        if state.watched.is_none()
            && let Some(latest) = &mut state.latest
            && latest.version() == version
        {
            latest.pack(roster);
        }
    }

    /// Tells subscribers a new state of the call; it is also told to those who come later.
    pub fn call_state(&self, frame: CallFrame) {
        let wake = {
            let mut state = self.slot.state.lock();
            let wake = state.event(|| Pending::Call(frame.clone()));
            state.call = Some(frame);
            wake
        };
        self.signal(wake);
    }

    /// Tells present subscribers how a command stands or ended.
    pub fn operation(&self, frame: OperationFrame) {
        let wake = self
            .slot
            .state
            .lock()
            .event(|| Pending::Operation(Box::new(frame)));
        self.signal(wake);
    }

    /// How many subscribers the call has, those included that are just arriving.
    pub fn subscribers(&self) -> usize {
        self.slot.subscribers.load(Ordering::Relaxed)
    }

    fn signal(&self, wake: bool) {
        if wake {
            self.link.dirty(&self.slot);
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.link.forget(&self.slot);
        let wake = self.slot.state.lock().end();
        self.signal(wake);
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("call", &self.slot.call)
            .finish_non_exhaustive()
    }
}

/// What publisher and shard share of one call.
pub(crate) struct Slot {
    pub(crate) call: CallId,
    /// Seats given out, see [`crate::Seat`].
    pub(crate) subscribers: AtomicUsize,
    pub(crate) state: Mutex<State>,
}

impl Slot {
    pub(crate) fn new(call: CallId) -> Self {
        Self {
            call,
            subscribers: AtomicUsize::new(0),
            state: Mutex::new(State::default()),
        }
    }
}

/// Something to be sent, in the order it was published.
pub(crate) enum Pending {
    Version(RosterVersion, Instant),
    Call(CallFrame),
    Operation(Box<OperationFrame>),
}

#[derive(Default)]
pub(crate) struct State {
    latest: Option<KeptVersion>,
    call: Option<CallFrame>,
    pending: Vec<Pending>,
    versions: usize,
    events: usize,
    events_lost: bool,
    ended: bool,
    /// The shard's index of this call while somebody watches.
    watched: Option<u32>,
    /// It stands in the shard's list of calls with something to send.
    queued: bool,
}

/// What the shard takes out of a slot in one go.
pub(crate) struct Taken {
    pub(crate) feed: u32,
    pub(crate) pending: Vec<Pending>,
    pub(crate) events_lost: bool,
    pub(crate) ended: bool,
}

/// Where a call stands when its first subscriber comes.
pub(crate) struct Start {
    pub(crate) latest: Option<RosterVersion>,
    pub(crate) call: Option<CallFrame>,
    pub(crate) ended: bool,
}

/// What a publication leaves behind. The rosters may take long to free, so they are dropped with
/// this, outside the lock.
#[derive(Default)]
struct Published {
    wake: bool,
    replaced: Option<KeptVersion>,
    skipped: Vec<Pending>,
}

impl State {
    fn publish(&mut self, version: RosterVersion) -> Published {
        let mut done = Published::default();
        if let Some(latest) = &self.latest
            && version.version <= latest.version()
        {
            done.replaced = Some(KeptVersion::Open(version));
            return done;
        }
        let kept = KeptVersion::Open(version.clone());
        done.replaced = self.latest.replace(kept);
        if self.watched.is_none() {
            return done;
        }
        if self.versions == MAX_VERSIONS {
            let all = mem::take(&mut self.pending);
            (done.skipped, self.pending) = all
                .into_iter()
                .partition(|pending| matches!(pending, Pending::Version(..)));
            self.versions = 0;
        }
        self.versions += 1;
        self.pending.push(Pending::Version(version, Instant::now()));
        done.wake = self.mark();
        done
    }

    fn event(&mut self, frame: impl FnOnce() -> Pending) -> bool {
        if self.watched.is_none() || self.events_lost {
            return false;
        }
        if self.events == MAX_EVENTS {
            self.events_lost = true;
        } else {
            self.events += 1;
            self.pending.push(frame());
        }
        self.mark()
    }

    fn end(&mut self) -> bool {
        self.ended = true;
        self.watched.is_some() && self.mark()
    }

    /// True when the call was not in the shard's list yet.
    fn mark(&mut self) -> bool {
        !mem::replace(&mut self.queued, true)
    }

    /// From now on everything published is kept for the shard, which knows the call as `feed`.
    pub(crate) fn watch(&mut self, feed: u32) -> Start {
        self.watched = Some(feed);
        Start {
            latest: self.latest.as_ref().map(KeptVersion::whole),
            call: self.call.clone(),
            ended: self.ended,
        }
    }

    /// The last subscriber left: only the newest version is kept.
    pub(crate) fn unwatch(&mut self) -> Vec<Pending> {
        self.watched = None;
        self.reset()
    }

    /// The shard's index of the call while somebody watches.
    pub(crate) fn feed(&self) -> Option<u32> {
        self.watched
    }

    /// Takes the call out of the shard's list, with what waits; nothing when nobody watches.
    pub(crate) fn take(&mut self) -> Option<Taken> {
        self.queued = false;
        let feed = self.watched?;
        let events_lost = self.events_lost;
        Some(Taken {
            feed,
            pending: self.reset(),
            events_lost,
            ended: self.ended,
        })
    }

    /// The same while the call stays in the shard's list, if it stands there.
    pub(crate) fn take_early(&mut self) -> Option<Taken> {
        let queued = self.queued;
        let taken = self.take();
        self.queued = queued;
        taken
    }

    fn reset(&mut self) -> Vec<Pending> {
        self.versions = 0;
        self.events = 0;
        self.events_lost = false;
        mem::take(&mut self.pending)
    }
}

#[cfg(test)]
mod tests;
