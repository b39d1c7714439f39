use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{fmt, mem};

use openmic_model::{CallId, KeptVersion, PackedRoster, ResultInfo, RosterVersion, Version};
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
        if state.feed().is_none()
            && let Some(latest) = &mut state.latest
        {
            latest.pack(version, roster);
        }
    }

    /// Tells subscribers a new state of the call; it is also told to those who come later.
    pub fn call_state(&self, frame: CallFrame) {
        let wake = {
            let mut state = self.slot.state.lock();
            let wake = state.event(|| Pending::Call(frame.clone()));
            let CallFrame {
                state: word,
                result,
            } = frame;
            state.call = Some((word, result.map(Box::new)));
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
        // Where nobody watches any call, as in a bot without an edge, this call's own memory is not
        // touched: it is cold. Whoever takes a seat is counted there before.
        if self.link.seats.load(Ordering::Relaxed) == 0 {
            return 0;
        }
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

/// Where a call stands that most likely nobody watches: a million calls hold one.
#[derive(Default)]
pub(crate) struct State {
    latest: Option<KeptVersion>,
    /// The latest [`CallFrame`].
    call: Option<(&'static str, Option<Box<ResultInfo>>)>,
    /// From the first subscriber on until the last has left, and at the end.
    live: Option<Box<Live>>,
}

/// What a call has besides while somebody watches.
#[derive(Default)]
struct Live {
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
            done.replaced = Some(version.into());
            return done;
        }
        let kept = KeptVersion::from(version.clone());
        done.replaced = self.latest.replace(kept);
        let Some(live) = self.watched() else {
            return done;
        };
        if live.versions == MAX_VERSIONS {
            let all = mem::take(&mut live.pending);
            (done.skipped, live.pending) = all
                .into_iter()
                .partition(|pending| matches!(pending, Pending::Version(..)));
            live.versions = 0;
        }
        live.versions += 1;
        live.pending.push(Pending::Version(version, Instant::now()));
        done.wake = live.mark();
        done
    }

    fn event(&mut self, frame: impl FnOnce() -> Pending) -> bool {
        let Some(live) = self.watched().filter(|live| !live.events_lost) else {
            return false;
        };
        if live.events == MAX_EVENTS {
            live.events_lost = true;
        } else {
            live.events += 1;
            live.pending.push(frame());
        }
        live.mark()
    }

    fn end(&mut self) -> bool {
        let live = self.live.get_or_insert_default();
        live.ended = true;
        live.watched.is_some() && live.mark()
    }

    /// Of a call that somebody watches.
    fn watched(&mut self) -> Option<&mut Live> {
        let live = self.live.as_deref_mut();
        live.filter(|live| live.watched.is_some())
    }

    /// From now on everything published is kept for the shard, which knows the call, whose id is
    /// `call`, as `feed`.
    pub(crate) fn watch(&mut self, feed: u32, call: &CallId) -> Start {
        let live = self.live.get_or_insert_default();
        live.watched = Some(feed);
        let latest = self.latest.as_ref();
        Start {
            latest: latest.map(|latest| latest.whole(call)),
            call: self.call.as_ref().map(|(state, result)| CallFrame {
                state,
                result: result.as_deref().cloned(),
            }),
            ended: live.ended,
        }
    }

    /// The last subscriber left: only the newest version is kept.
    pub(crate) fn unwatch(&mut self) -> Vec<Pending> {
        let Some(live) = &mut self.live else {
            return Vec::new();
        };
        live.watched = None;
        let unsent = live.reset();
        self.tidy();
        unsent
    }

    /// The shard's index of the call while somebody watches.
    pub(crate) fn feed(&self) -> Option<u32> {
        self.live.as_ref()?.watched
    }

    /// Takes the call out of the shard's list, with what waits; nothing when nobody watches.
    pub(crate) fn take(&mut self) -> Option<Taken> {
        let live = self.live.as_mut()?;
        live.queued = false;
        let taken = live.take();
        self.tidy();
        taken
    }

    /// The same while the call stays in the shard's list, if it stands there.
    pub(crate) fn take_early(&mut self) -> Option<Taken> {
        self.live.as_mut()?.take()
    }

    /// Gives the memory back of what nobody watches.
    fn tidy(&mut self) {
        self.live
            .take_if(|live| live.watched.is_none() && !live.queued && !live.ended);
    }
}

impl Live {
    /// True when the call was not in the shard's list yet.
    fn mark(&mut self) -> bool {
        !mem::replace(&mut self.queued, true)
    }

    fn take(&mut self) -> Option<Taken> {
        let feed = self.watched?;
        let events_lost = self.events_lost;
        Some(Taken {
            feed,
            pending: self.reset(),
            events_lost,
            ended: self.ended,
        })
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
