//! One meeting: who is in it, which calls watch it, and in which order its roster changed.
//!
//! ```text
//! join, leave, set_muted ─▶ roster sequence +1 ─▶ every established call's outbox, in one step
//! ```
//!
//! One mutex per meeting guards all of it for a few lines at a time; nothing waits inside. Because
//! a change and its way into every outbox are one step under that mutex, all calls of a meeting are
//! told of its changes in the same order. Lock order: registry, then meeting, then outbox.

mod invites;
mod operations;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openmic_model::{
    AppId, CallId, CallKind, CallState, DeltaEntry, Operation, OperationKind, Participant,
    ParticipantId, ResultInfo,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::create::Created;
use crate::deliver::{CallNews, Callback, Everybody, News, Outbox};
use crate::error::CallError;
use crate::faults::CallFaults;
use crate::leg::{MediaLeg, audio_stream};
use crate::sdp::Direction;
pub(crate) use invites::Invite;
pub(crate) use operations::Operations;

/// A meeting, or the two sides of a 1:1 call.
#[derive(Debug)]
pub(crate) struct Meeting {
    pub(crate) thread: String,
    /// Whether it has a roster. A 1:1 call gets one when somebody is invited, and keeps it.
    group: AtomicBool,
    pub(crate) state: Mutex<State>,
}

/// What the meeting's mutex guards.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Counts the roster's changes; the last one's number is on the entry it changed.
    sequence: u64,
    members: Vec<Member>,
    /// A few, mostly one: compared sooner than hashed.
    calls: BTreeMap<CallId, Call>,
    /// Who is invited and not in yet.
    invites: Vec<Invite>,
    snapshot: Option<Everybody>,
    /// The roster before its last change, as far as it was ever told.
    before: Option<Everybody>,
}

/// Somebody in the meeting.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) entry: Arc<Participant>,
    /// The call of a bot; humans have none.
    pub(crate) call: Option<CallId>,
    pub(crate) media: Option<Arc<MediaLeg>>,
    /// Whoever mutes or unmutes holds it from the gate to the roster, so that commands take effect
    /// in the order in which they were accepted.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Whom a bot called; it goes when the last bot has gone.
    pub(crate) simulated: bool,
}

/// A bot's call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) app: AppId,
    pub(crate) phase: CallState,
    pub(crate) created: Arc<Created>,
    pub(crate) result: Option<ResultInfo>,
    /// The id of the bot's own entry.
    pub(crate) participant: ParticipantId,
    /// The bot until it is seen in the roster; in a 1:1 call, which has none, to the end.
    pub(crate) waiting: Option<Member>,
    /// Of a call that somebody else began.
    pub(crate) ring: Option<Ring>,
    pub(crate) operations: Operations,
    pub(crate) kept_alive: Instant,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) faults: Arc<CallFaults>,
    /// Cancelled when the call begins to end.
    pub(crate) ends: CancellationToken,
}

/// What an incoming call has besides.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Whom the roster of a group call shows once it is answered.
    pub(crate) caller: ParticipantId,
    /// Cancelled when the bot has answered.
    pub(crate) answered: CancellationToken,
}

/// What an answer makes of a ringing call.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) created: Arc<Created>,
    pub(crate) media: Option<Arc<MediaLeg>>,
    pub(crate) direction: Direction,
    /// Where notifications go from now on, when the answer says so.
    pub(crate) callback: Option<Callback>,
}

/// An operation as it is kept and told. Its `Debug` shows no names.
#[derive(Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) kind: OperationKind,
    pub(crate) operation: Operation,
    /// What its kind has besides.
    pub(crate) extra: Map<String, Value>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

impl Record {
    pub(crate) fn new(kind: OperationKind, operation: Operation) -> Self {
        Self {
            kind,
            operation,
            extra: Map::new(),
        }
    }
}

impl Call {
    /// It has begun to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.phase.rank() >= CallState::Terminating.rank()
    }
}

/// What one change of the roster says to the calls that watch.
enum Changed {
    Entry(Arc<Participant>),
    Left(Arc<Participant>),
}

impl Meeting {
    pub(crate) fn new(thread: String, kind: CallKind) -> Self {
        Self {
            thread,
            group: AtomicBool::new(kind == CallKind::Group),
            state: Mutex::default(),
        }
    }

    pub(crate) fn kind(&self) -> CallKind {
        if self.group.load(Ordering::Acquire) {
            CallKind::Group
        } else {
            CallKind::PeerToPeer
        }
    }

    /// It has a roster from now on. Call it with the state locked.
    pub(crate) fn open_up(&self) {
        self.group.store(true, Ordering::Release);
    }
}

impl State {
    /// Everybody who is in, in the order they came.
    pub(crate) fn everybody(&mut self) -> Everybody {
        let members = &self.members;
        Arc::clone(
            self.snapshot
                .get_or_insert_with(|| members.iter().map(|m| Arc::clone(&m.entry)).collect()),
        )
    }

    /// Everybody as it was before the last change.
    pub(crate) fn everybody_before(&mut self) -> Everybody {
        match &self.before {
            Some(before) => Arc::clone(before),
            None => self.everybody(),
        }
    }

    pub(crate) fn member(&self, id: &ParticipantId) -> Option<&Member> {
        self.members.iter().find(|member| member.entry.id == *id)
    }

    pub(crate) fn call(&self, id: &CallId) -> Option<&Call> {
        self.calls.get(id)
    }

    pub(crate) fn call_mut(&mut self, id: &CallId) -> Option<&mut Call> {
        self.calls.get_mut(id)
    }

    /// How many are in or on their way in.
    pub(crate) fn size(&self) -> usize {
        let pending = self.calls.values().filter(|call| call.phase.rank() < 2);
        let invited = self.invites.iter().map(|invite| invite.members.len());
        self.members.len() + pending.count() + invited.sum::<usize>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.calls.is_empty()
    }

    /// Somebody without a call comes in: a human of the lab, or whom a bot called.
    pub(crate) fn join(&mut self, mut member: Member) {
        Arc::make_mut(&mut member.entry).roster_sequence_number = Some(self.next());
        let entry = Arc::clone(&member.entry);
        self.members.push(member);
        self.publish(&Changed::Entry(entry), None);
    }

    /// A call that is being set up or rings, and the first its bot is told; nobody sees it yet.
    pub(crate) fn admit(&mut self, id: CallId, call: Call, first: News) {
        call.outbox.push(first);
        self.calls.insert(id, call);
    }

    /// The call, if it rings.
    pub(crate) fn ringing(&mut self, id: &CallId) -> Result<&mut Call, CallError> {
        let call = self.calls.get_mut(id).ok_or(CallError::NoCall)?;
        match call.phase {
            CallState::Incoming => Ok(call),
            phase if phase.rank() < CallState::Terminating.rank() => Err(CallError::NotRinging),
            _ => Err(CallError::Terminating),
        }
    }

    /// The bot takes a ringing call, which is then being set up. Later notifications go where the
    /// answer says; those that wait go where they were to go.
    pub(crate) fn answer(&mut self, id: &CallId, answered: Answered) -> Result<(), CallError> {
        let call = self.ringing(id)?;
        call.phase = CallState::Establishing;
        call.kept_alive = Instant::now();
        call.created = answered.created;
        if let Some(member) = &mut call.waiting {
            member.media = answered.media;
            Arc::make_mut(&mut member.entry).streams = vec![audio_stream(1, answered.direction)];
        }
        if let Some(callback) = answered.callback {
            call.outbox.push(News::Moved(callback));
        }
        call.outbox.push(News::Call(CallNews::of(call.phase)));
        if let Some(ring) = &call.ring {
            ring.answered.cancel();
        }
        Ok(())
    }

    /// A call is up: it is told so, then who is there; the others are told of it.
    ///
    /// False when it is no longer being set up.
    pub(crate) fn establish(&mut self, id: &CallId, kind: CallKind) -> bool {
        let Some(call) = self.calls.get_mut(id) else {
            return false;
        };
        if call.phase != CallState::Establishing {
            return false;
        }
        call.phase = CallState::Established;
        call.outbox.push(News::Call(CallNews {
            state: CallState::Established,
            audio_active: Some(true),
            result: None,
        }));
        if kind == CallKind::PeerToPeer {
            return true;
        }
        self.open_up(id);
        true
    }

    /// A 1:1 call becomes a group call: its bot comes into the roster, and is told of it.
    pub(crate) fn open_up(&mut self, id: &CallId) {
        let number = self.sequence + 1;
        let waiting = self.calls.get_mut(id).and_then(|call| call.waiting.take());
        let Some(mut member) = waiting else { return };
        Arc::make_mut(&mut member.entry).roster_sequence_number = Some(number);
        let entry = Arc::clone(&member.entry);
        self.members.push(member);
        self.sequence = number;
        self.publish(&Changed::Entry(entry), Some(id));
    }

    /// Sets what the roster says of one participant's mute and tells every call of the meeting,
    /// also when nothing changed, unless `announce_unchanged` is off.
    ///
    /// False when the participant is not there.
    pub(crate) fn set_muted(
        &mut self,
        id: &ParticipantId,
        muted: bool,
        announce_unchanged: bool,
    ) -> bool {
        let number = self.sequence + 1;
        let Some(member) = self.members.iter_mut().find(|m| m.entry.id == *id) else {
            return false;
        };
        if member.entry.is_muted == muted && !announce_unchanged {
            return true;
        }
        let entry = Arc::make_mut(&mut member.entry);
        entry.is_muted = muted;
        entry.roster_sequence_number = Some(number);
        for stream in &mut entry.streams {
            if stream.media_type == "audio" {
                stream.server_muted = Some(muted);
            }
        }
        let entry = Arc::clone(&member.entry);
        self.sequence = number;
        self.publish(&Changed::Entry(entry), None);
        true
    }

    /// Somebody goes; the calls that stay are told. The one who went is given back.
    pub(crate) fn leave(&mut self, id: &ParticipantId) -> Option<Member> {
        let at = self.members.iter().position(|m| m.entry.id == *id)?;
        let mut gone = self.members.remove(at);
        Arc::make_mut(&mut gone.entry).roster_sequence_number = Some(self.next());
        self.publish(&Changed::Left(Arc::clone(&gone.entry)), None);
        Some(gone)
    }

    /// A call begins to end: it is told, and it leaves the roster. Who was in it is given back.
    ///
    /// `None` when there is no such call or it is ending already.
    pub(crate) fn terminate(&mut self, id: &CallId, result: ResultInfo) -> Option<Member> {
        let call = self.calls.get_mut(id)?;
        if call.is_ending() {
            return None;
        }
        // A call that only rang goes without being taken down first.
        if call.phase != CallState::Incoming {
            call.outbox
                .push(News::Call(CallNews::of(CallState::Terminating)));
        }
        call.phase = CallState::Terminating;
        call.result = Some(result);
        call.ends.cancel();
        let waiting = call.waiting.take();
        let participant = call.participant.clone();
        self.drop_invites(id);
        waiting.or_else(|| self.leave(&participant))
    }

    /// The last word of a call: it is told that it has ended, and it is gone. With the last call go
    /// the simulated participants; how many is given back.
    pub(crate) fn remove(&mut self, id: &CallId) -> Option<(Call, usize)> {
        let call = self.calls.remove(id)?;
        call.outbox.push(News::Call(CallNews {
            state: CallState::Terminated,
            audio_active: None,
            result: call.result.clone(),
        }));
        call.outbox.close();
        let before = self.members.len();
        if self.calls.is_empty() {
            self.members.retain(|member| !member.simulated);
            self.snapshot = None;
        }
        Some((call, before - self.members.len()))
    }

    /// The one established call of a meeting in which nobody else is left.
    pub(crate) fn alone(&self) -> Option<CallId> {
        match self.members.as_slice() {
            [only] => only.call.clone(),
            _ => None,
        }
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Puts a change into the outbox of every established call. `newcomer` gets everybody: its
    /// first roster, whatever its mode.
    fn publish(&mut self, change: &Changed, newcomer: Option<&CallId>) {
        self.before = self.snapshot.take().or(self.before.take());
        if self.calls.is_empty() {
            return;
        }
        let everybody = self.everybody();
        let (entry, removed) = match change {
            Changed::Entry(entry) => (entry, false),
            Changed::Left(entry) => (entry, true),
        };
        let delta = Arc::new(DeltaEntry {
            participant: Participant::clone(entry),
            removed,
        });
        for (id, call) in &self.calls {
            if call.phase != CallState::Established {
                continue;
            }
            let news = if !call.created.delta_roster || call.faults.full_rosters() {
                News::Full(Arc::clone(&everybody))
            } else if newcomer == Some(id) {
                News::Delta(
                    everybody
                        .iter()
                        .map(|entry| {
                            Arc::new(DeltaEntry {
                                participant: Participant::clone(entry),
                                removed: false,
                            })
                        })
                        .collect(),
                )
            } else {
                News::Delta(vec![Arc::clone(&delta)])
            };
            call.outbox.push(news);
        }
    }
}
