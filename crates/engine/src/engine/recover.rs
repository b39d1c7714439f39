//! Taking up the calls that outlived another process.
//!
//! All of them are known at once: their callback keys work, their operations can be read, their
//! commands and notifications wait in their mailboxes. Then each is looked at, in turn and no
//! faster than the upstream is to be asked: first those whose time to speak is over, then those for
//! which something came meanwhile, then those with open commands. A call that Graph still has is
//! adopted and goes on as any other, with what was under way settled by the machine; one that it has
//! not is closed.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use openmic_graph::Pace;
use openmic_hub::{CallFrame, Topic};
use openmic_journal::{Journal, RecoveredCall, Recovery};
use openmic_machine::{Event, Machine, Phase, Refusal};
use openmic_model::{Book, CallId, CallIntent, Record};
use openmic_wire::raw::Named;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::start::Begins;
use super::{Engine, Inner};
use crate::actor::{Actor, Beginning, Carried};
use crate::awake::Awake;
use crate::call::{Owner, Shared};
use crate::ledger::Ledger;
use crate::mail::Inbox;
use crate::outbox::Outbox;
use crate::recorder::Sent;
use crate::recorder::entry::How;
use crate::supervise::{Body, Jobs, Lanes, Replies, hang_up};

/// Calls that are looked at and have not been answered for.
const AT_ONCE: usize = 128;
/// How long a call that does not answer keeps the others waiting. What Graph then has to say of it
/// is waited for all the same, and asked for again by the call itself.
const SLOT: Duration = Duration::from_secs(2);
/// Turns after which it is looked who waits by now.
const LOOK_AGAIN: usize = 32;
/// Calls that may be looked at at once after a quiet time.
const BURST: NonZeroU32 = NonZeroU32::new(32).unwrap();

/// How far an engine is with the calls that outlived another process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Calls that had not ended, as the journal says.
    pub open: usize,
    /// Calls among them that have commands without a verdict and were not looked at yet.
    pub pending: usize,
    /// Calls that were looked at, or turned out to be over.
    pub probed: usize,
    /// Calls that Graph still has.
    pub adopted: usize,
    /// Calls that Graph has not any more.
    pub closed: usize,
    /// Calls whose create was sent, and nobody knows what became of it: should one show itself
    /// before its patience is over, it is hung up.
    pub lost: usize,
    /// Calls whose records cannot be used; the log says why, and nothing of them is deleted.
    pub quarantined: usize,
}

impl Recovered {
    /// Whether every call was looked at. Those whose create was lost are waited for besides.
    pub const fn is_done(&self) -> bool {
        self.probed + self.lost >= self.open
    }

    /// Whether the calls with open commands were looked at.
    pub const fn is_ready(&self) -> bool {
        self.pending == 0
    }
}

/// A call's place in the recovery, until it was looked at.
#[derive(Debug)]
pub(crate) struct Probe {
    progress: watch::Sender<Recovered>,
    pending: bool,
    looked: bool,
    /// Gone with it: its place among those that may be asked for at once is free.
    slot: Option<oneshot::Sender<()>>,
}

impl Probe {
    /// Graph answered for it.
    pub(crate) fn looked(&mut self) {
        self.slot = None;
        self.count(|progress| &mut progress.adopted);
    }

    fn count(&mut self, what: impl Fn(&mut Recovered) -> &mut usize) {
        if std::mem::replace(&mut self.looked, true) {
            return;
        }
        let pending = self.pending;
        self.progress.send_modify(|progress| {
            *what(progress) += 1;
            progress.probed += 1;
            progress.pending -= usize::from(pending);
        });
    }
}

/// It is over, or its actor broke.
impl Drop for Probe {
    fn drop(&mut self) {
        self.count(|progress| &mut progress.closed);
    }
}

/// A call that waits for its turn.
struct Waiting {
    call: Arc<Shared>,
    inbox: Inbox,
    topic: Option<Topic>,
    book: Book,
    epoch: u64,
    pending: bool,
    /// Its time to speak is over, and the bot may be heard.
    lapsed: bool,
}

impl Waiting {
    /// Its place among those that wait; the lowest goes first. A hot microphone before all else,
    /// then what somebody waits for.
    fn place(&self) -> (bool, bool, bool) {
        (!self.lapsed, self.inbox.is_empty(), !self.pending)
    }
}

impl Engine {
    /// Begins to take up the calls that outlived another process, as the journal has them, and
    /// returns how far that is, from now on. Once for an engine; it begins by itself with the first
    /// call or notification. Needs a tokio runtime.
    pub fn recover(&self) -> watch::Receiver<Recovered> {
        let inner = &self.inner;
        if let Some(found) = inner.found.lock().take() {
            inner.take_up(found);
        }
        inner.recovery.subscribe()
    }

    /// How far the recovery is, without beginning it.
    pub fn recovery(&self) -> watch::Receiver<Recovered> {
        self.inner.recovery.subscribe()
    }
}

impl Inner {
    /// Makes every call known, then looks at one after the other.
    fn take_up(self: &Arc<Self>, found: Recovery) {
        let begun = Instant::now();
        let Recovery {
            calls,
            quarantined,
            adrift,
            ..
        } = found;
        let mut progress = Recovered {
            open: calls.len(),
            quarantined: quarantined.len(),
            ..Recovered::default()
        };
        let mut waiting = Vec::with_capacity(calls.len());
        for call in calls {
            if let Some(call) = self.know(call) {
                waiting.push(call);
            } else {
                progress.open -= 1;
                progress.quarantined += 1;
            }
        }
        progress.pending = waiting.iter().filter(|call| call.pending).count();
        progress.lost = waiting
            .iter()
            .filter(|call| call.book.id().is_none())
            .count();
        waiting.sort_by_key(Waiting::place);
        if progress.open + progress.quarantined > 0 {
            tracing::info!(
                open = progress.open,
                pending = progress.pending,
                lost = progress.lost,
                quarantined = progress.quarantined,
                seconds = begun.elapsed().as_secs_f64(),
                "calls outlived another process; looking at them"
            );
        }
        self.recovery.send_replace(progress);
        self.damaged.lock().extend(adrift.iter().map(|(key, id)| {
            let why = quarantined.iter().find(|(of, _)| of == key);
            (
                id.clone(),
                why.map_or_else(String::new, |(_, why)| why.clone()),
            )
        }));
        if !adrift.is_empty() {
            let adrift = adrift.into_iter().map(|(_, id)| id).collect();
            tokio::spawn(hang_up_adrift(Arc::clone(self), adrift));
        }
        if !waiting.is_empty() {
            tokio::spawn(look_at_all(Arc::clone(self), waiting.into()));
        }
    }

    /// Makes a call known: it can be found, told of and commanded from here on.
    fn know(&self, found: RecoveredCall) -> Option<Waiting> {
        let RecoveredCall {
            key, records, book, ..
        } = found;
        let intent = book.intent()?.clone();
        let now = Journal::now();
        let epoch = book.next_epoch(now);
        let id = book.id().cloned();
        let CallIntent {
            app, tenant, named, ..
        } = intent;
        let begins = Begins {
            key: format!("{:032x}", key.0).into(),
            owner: self.shared_owner(Owner { app, tenant }),
            // Nobody was told of a call whose create was lost.
            named: named.filter(|_| id.is_some()).map(|named| Named {
                callback_uri: named.callback_uri,
                call_options: named
                    .call_options
                    .and_then(|options| serde_json::from_str(&options).ok()),
            }),
            rang: intent.offered.is_some(),
            kind: book.restored().kind,
            epoch,
        };
        let (call, inbox) = self.shared(begins);
        call.status
            .send_modify(|status| status.recover(book.restored().me));
        let open = call.operations.restore(&records, now);
        for _ in 0..open {
            self.metrics.in_flight.inc();
        }
        let mut topic = None;
        if let Some(id) = id {
            if !self.registry.bind(id.clone(), &call) {
                tracing::error!("two calls in the journal have one id; the later one is left out");
                return None;
            }
            let fresh = call.id.set(id.clone());
            debug_assert!(fresh.is_ok(), "nobody else has the call yet");
            call.flight.known(&id, Instant::now());
            if let Some(lane) = call.lane() {
                lane.open(Some(&id));
            }
            let opened = self.hub.topic(id);
            opened.call_state(CallFrame {
                state: Phase::Establishing.as_str(),
                result: None,
            });
            topic = Some(opened);
        }
        self.registry.insert(&call);
        self.metrics.begun();
        let window = book.restored().window;
        Some(Waiting {
            call,
            inbox,
            topic,
            pending: !book.open().is_empty(),
            lapsed: window.is_some_and(|window| window.left(now).is_zero()),
            book,
            epoch,
        })
    }

    /// A call that cannot be taken up: nobody finds it, its records stay as they are.
    fn put_aside(&self, call: &Arc<Shared>) {
        let establishing = Phase::Establishing.as_str();
        let calls = &self.metrics.calls;
        calls.with_label_values(&[establishing]).dec();
        let ended = call.ended_verdict();
        let open = call.operations.broken(&ended).len();
        self.metrics
            .in_flight
            .sub(i64::try_from(open).unwrap_or_default());
        self.registry.remove(call);
        if let Some(lane) = call.lane() {
            lane.close();
        }
    }

    /// Takes a call up: its actor begins.
    fn adopt(self: &Arc<Self>, waiting: Waiting, permit: OwnedSemaphorePermit) {
        let Waiting {
            call,
            inbox,
            topic,
            book,
            epoch,
            pending,
            ..
        } = waiting;
        let lost = book.id().is_none();
        let intent = book.intent();
        let join_muted = intent.is_some_and(|intent| intent.join_muted);
        let mut effects = Vec::new();
        let at = self.time(Instant::now());
        let flight = &call.flight;
        let taken = catch_unwind(AssertUnwindSafe(|| {
            let config = self.config(epoch, join_muted);
            let noted = config.clone();
            if !lost {
                let (restored, wall) = (book.restored(), Journal::now());
                let how = How::Recovered {
                    restored: Box::new(restored.clone()),
                    wall,
                };
                let machine = Machine::recover(config, restored, at, wall, &mut effects);
                flight.begun(&noted, how, &machine, &effects, at);
                return (machine, noted);
            }
            // Its create may have been made; the request itself is gone with the other process.
            let mut machine = Machine::start(config, at, &mut effects);
            flight.begun(&noted, How::Created, &machine, &effects, at);
            effects.clear();
            let refusal = Refusal::new(504, "timeout", "the engine was started anew meanwhile");
            let failed = Event::CreateFailed {
                refusal,
                definite: false,
            };
            machine.handle(&failed, at, &mut effects);
            flight.step(
                &failed,
                (at, false),
                &machine,
                &effects,
                &mut Sent::default(),
            );
            (machine, noted)
        }));
        let probe = (!lost).then(|| Probe {
            progress: self.recovery.clone(),
            pending,
            looked: false,
            slot: Some(slot(permit)),
        });
        let Ok((machine, config)) = taken else {
            tracing::error!("a call's records break the machine; it is put aside, nothing is lost");
            if let Some(mut probe) = probe {
                probe.count(|progress| &mut progress.quarantined);
            }
            self.put_aside(&call);
            if let Some(id) = call.id.get().cloned() {
                let why = "its records break the machine".to_owned();
                self.damaged.lock().insert(id.clone(), why);
                tokio::spawn(hang_up_adrift(Arc::clone(self), vec![id]));
            }
            return;
        };
        let orphan_patience = config.orphan_patience;
        let carried = Carried {
            topic,
            unwanted: lost,
            unproven: !book.is_opened(),
            probe: probe.map(Box::new),
            ..Carried::default()
        };
        // Of a lost one too: should it show, whoever watches it sees versions of this epoch.
        let beginning = Beginning {
            effects,
            records: vec![Record::Epoch(epoch)],
            ..Beginning::default()
        };
        let lanes = Lanes {
            inbox,
            jobs: Jobs::default(),
            outbox: Outbox::default(),
            ledger: Ledger::new(self.journal.clone(), call.key(), book),
            replies: Replies::default(),
            // More than `max_calls` may be up for a while.
            place: Arc::clone(&self.places).try_acquire_owned().ok(),
            orphan_patience,
        };
        let actor = Actor {
            engine: Arc::clone(self),
            call: Arc::clone(&call),
            machine,
            beginning: Some(Box::new(beginning)),
            offered: false,
            begun: self.time(Instant::now()),
            rested: false,
            carried,
        };
        Awake::begin(Body::new(actor, lanes), call, &Handle::current());
    }
}

/// Holds `permit` until the other end is gone, but not for ever.
fn slot(permit: OwnedSemaphorePermit) -> oneshot::Sender<()> {
    let (slot, mut freed) = oneshot::channel();
    tokio::spawn(async move {
        let answered = tokio::time::timeout(SLOT, &mut freed).await;
        if answered.is_err() {
            tracing::debug!("a call gives no sign of itself; the others go on");
        }
        drop(permit);
    });
    slot
}

/// Ends calls whose records cannot be read: nobody finds them here any more, so that a microphone
/// left open in one would stay so, its time to speak over or not.
async fn hang_up_adrift(engine: Arc<Inner>, calls: Vec<CallId>) {
    let pace = Pace::new(engine.recovery_rate, BURST);
    for call in calls {
        pace.turn().await;
        tracing::warn!(
            call = call.as_str(),
            "hanging up a call whose records cannot be read: it may be heard, and nobody can mute it"
        );
        // One that cannot be hung up keeps no other one waiting.
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { hang_up(&engine, &call).await });
    }
}

/// Looks at one call after the other, as fast as the upstream is to be asked.
async fn look_at_all(engine: Arc<Inner>, mut waiting: VecDeque<Waiting>) {
    let begun = Instant::now();
    let pace = Pace::new(engine.recovery_rate, BURST);
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut turns = 1_usize;
    loop {
        // Somebody waits for these by now, or something is told of them.
        if turns.is_multiple_of(LOOK_AGAIN) {
            waiting.make_contiguous().sort_by_key(Waiting::place);
        }
        turns += 1;
        let Some(call) = waiting.pop_front() else {
            break;
        };
        let permit = Arc::clone(&gate).acquire_owned().await;
        pace.turn().await;
        engine.upstream.unhindered().await;
        if engine.is_stuck() {
            return;
        }
        engine.adopt(call, permit.expect("nobody closes it"));
    }
    let mut progress = engine.recovery.subscribe();
    // Its sender is held here.
    if let Ok(done) = progress.wait_for(Recovered::is_done).await {
        tracing::info!(
            adopted = done.adopted,
            closed = done.closed,
            lost = done.lost,
            seconds = begun.elapsed().as_secs_f64(),
            "every call that outlived another process was looked at"
        );
    }
}
