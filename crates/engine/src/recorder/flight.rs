//! One call's side of the recorder: what is noted, and the log that is read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openmic_machine::{Config, Effect, Event, Machine, Time};
use openmic_model::{Action, CallId, CallKey};
use serde::Serialize;
use tokio::time::Instant;

use super::entry::{Asked, Begun, FORMAT, How, Standing, What, nanos, since as since_origin};
use super::packed::{self, Line, Note};
use super::{Departed, LONGEST, Recorder};
use crate::call::Owner;

/// Bytes of one answer to [`CallLog::read`], give or take a line.
const AT_ONCE: usize = 4 * 1024 * 1024;

/// What a call notes. Nothing here waits; without a recorder nothing happens.
#[derive(Debug)]
pub(crate) struct Flight {
    recorder: Option<Arc<Recorder>>,
    key: CallKey,
    /// Lines so far.
    lines: AtomicU64,
}

/// Requests without an answer: since when.
#[derive(Debug, Default)]
pub(crate) struct Sent(Vec<(Awaited, Time)>);

impl Sent {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    First,
    Post(u32),
    Query(u32),
    KeepAlive,
    HangUp,
}

impl Awaited {
    /// The request that `effect` is, in words.
    fn of(effect: &Effect) -> Option<(Self, &'static str)> {
        Some(match effect {
            Effect::Create => (Self::First, "POST /communications/calls"),
            Effect::Answer => (Self::First, "POST /communications/calls/{call}/answer"),
            Effect::Post {
                attempt, action, ..
            } => {
                let request = match action {
                    Action::Mute => "POST /communications/calls/{call}/mute",
                    Action::Unmute => "POST /communications/calls/{call}/unmute",
                };
                (Self::Post(*attempt), request)
            }
            Effect::ReadOperation { query, .. } => (
                Self::Query(*query),
                "GET /communications/calls/{call}/operations/{operation}",
            ),
            Effect::ReadSelf { query, .. } => (
                Self::Query(*query),
                "GET /communications/calls/{call}/participants/{participant}",
            ),
            Effect::ReadRoster { query } => (
                Self::Query(*query),
                "GET /communications/calls/{call}/participants",
            ),
            Effect::ReadCall { query } => (Self::Query(*query), "GET /communications/calls/{call}"),
            Effect::KeepAlive => (
                Self::KeepAlive,
                "POST /communications/calls/{call}/keepAlive",
            ),
            Effect::HangUp => (Self::HangUp, "DELETE /communications/calls/{call}"),
            _ => return None,
        })
    }

    /// The request whose answer `event` is.
    fn answered_by(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Created { .. } | Event::CreateFailed { .. } => Self::First,
            Event::Posted { attempt, .. } => Self::Post(*attempt),
            Event::OperationRead { query, .. }
            | Event::SelfRead { query, .. }
            | Event::RosterRead { query, .. }
            | Event::CallRead { query, .. } => Self::Query(*query),
            Event::KeptAlive(_) => Self::KeepAlive,
            Event::HungUp(_) => Self::HangUp,
            _ => return None,
        })
    }

    const fn id(self) -> Option<u32> {
        match self {
            Self::Post(id) | Self::Query(id) => Some(id),
            Self::First | Self::KeepAlive | Self::HangUp => None,
        }
    }
}

impl Sent {
    /// How long the answer took that `event` is.
    fn answered(&mut self, event: &Event, now: Time) -> Option<Duration> {
        let awaited = Awaited::answered_by(event)?;
        let at = self.0.iter().position(|(sent, _)| *sent == awaited)?;
        let (_, sent) = self.0.swap_remove(at);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some(now.since(sent))
    }
}

impl Flight {
    /// For the call of that callback key, which no line shows.
    pub(crate) fn new(recorder: Option<&Arc<Recorder>>, key: &str) -> Self {
        Self {
            recorder: recorder.map(Arc::clone),
            // A key is 128 bits in hex.
            key: CallKey(u128::from_str_radix(key, 16).unwrap_or_default()),
            lines: AtomicU64::new(0),
        }
    }

    /// Of the call.
    pub(crate) const fn key(&self) -> &CallKey {
        &self.key
    }

    /// The machine was made: `acts` is what it did first.
    pub(crate) fn begun(
        &self,
        config: &Config,
        mut how: How,
        machine: &Machine,
        acts: &[Effect],
        now: Time,
    ) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        if let How::Recovered { restored, .. } = &mut how {
            for (_, accepted) in &mut restored.open {
                // What the bot knows it by is no business of the machine's.
                accepted.asked = None;
            }
        }
        let begun = Line::<(), _, ()>::Begun(Box::new(Begun {
            format: FORMAT,
            openmic: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            config: config.clone(),
            how,
            stand: Standing { acts, machine },
        }));
        self.write(self.number(), recorder, now, &begun);
    }

    /// One event was taken, and the machine did `acts` on it; all that is `held` until the records
    /// are durable which it rests on.
    pub(crate) fn step(
        &self,
        event: &Event,
        (now, held): (Time, bool),
        machine: &Machine,
        acts: &[Effect],
        sent: &mut Sent,
    ) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        let took = sent.answered(event, now).map(nanos);
        let number = self.number();
        let line = |redacted| Line::<_, _, ()>::Step {
            name: Cow::Borrowed(event.name()),
            event: redacted,
            took,
            held,
            stand: Standing { acts, machine },
        };
        let redacted = recorder.redacted(event);
        let redacted = redacted.as_deref();
        let whole = redacted.is_some() && self.write(number, recorder, now, &line(redacted));
        if !whole {
            self.write(number, recorder, now, &line(None));
        }
    }

    /// An effect is performed. `subscribers` is how many watch.
    pub(crate) fn performed(
        &self,
        effect: &Effect,
        subscribers: usize,
        now: Instant,
        sent: &mut Sent,
    ) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        let now = recorder.time(now);
        let what = if let Effect::Publish {
            version, roster, ..
        } = effect
        {
            What::Published {
                version: *version,
                participants: roster.len(),
                subscribers,
            }
        } else if let Some((awaited, request)) = Awaited::of(effect) {
            sent.0.push((awaited, now));
            What::Sent {
                request: request.to_owned(),
                id: awaited.id(),
            }
        } else {
            return;
        };
        self.write(self.number(), recorder, now, &Note::Note(&what));
    }

    /// A command of the bot's is about to be put into the mailbox.
    pub(crate) fn asked(&self, at: Instant, asked: impl FnOnce(&Recorder) -> Asked) {
        self.note_at(|| at, |recorder| What::Asked(asked(recorder)));
    }

    /// A command of the bot's was turned away.
    pub(crate) fn turned_away(&self, action: Action, why: &str) {
        self.note(|_| What::TurnedAway {
            action,
            why: why.to_owned(),
        });
    }

    /// The call has its id.
    pub(crate) fn known(&self, call: &CallId, now: Instant) {
        self.note_at(|| now, |_| What::Known { call: call.clone() });
    }

    /// A request of the bot's was passed on and answered.
    pub(crate) fn passed(&self, errand: &str, status: u16, took: Duration) {
        self.note(|_| What::Passed {
            errand: errand.to_owned(),
            status,
            took: nanos(took),
        });
    }

    /// A step that waited for its records, or behind one that did, is performed.
    pub(crate) fn released(&self, took: Duration, now: Instant) {
        self.note_at(|| now, |_| What::Released { took: nanos(took) });
    }

    /// Entries are on their way to the bot's own callback.
    pub(crate) fn relayed(&self, entries: usize, internal: usize) {
        if entries + internal > 0 {
            self.note(|_| What::Relayed { entries, internal });
        }
    }

    /// The actor panicked.
    pub(crate) fn broken(&self) {
        self.note(|_| What::Broken);
    }

    /// The call leaves the registry; from here on its log is found by its id.
    pub(crate) fn left(&self, id: Option<&CallId>, owner: &Owner) {
        self.note(|_| What::Left);
        if let (Some(recorder), Some(id)) = (&self.recorder, id) {
            recorder.depart(Departed {
                id: id.clone(),
                owner: owner.clone(),
                key: self.key.0,
            });
        }
    }

    fn note(&self, what: impl FnOnce(&Recorder) -> What) {
        self.note_at(Instant::now, what);
    }

    fn note_at(&self, at: impl FnOnce() -> Instant, what: impl FnOnce(&Recorder) -> What) {
        if let Some(recorder) = &self.recorder {
            let what = what(recorder);
            let at = recorder.time(at());
            self.write(self.number(), recorder, at, &Note::Note(&what));
        }
    }

    fn number(&self) -> u64 {
        self.lines.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Writes one line; false, and nothing written, when it is too long.
    fn write<E, S, W>(&self, n: u64, recorder: &Recorder, at: Time, what: &Line<E, S, W>) -> bool
    where
        Line<E, S, W>: Serialize,
    {
        LINE.with_borrow_mut(|line| {
            line.resize(LONGEST, 0);
            let at = since_origin(at);
            match packed::put((at, recorder.wall.at(at)), what, line) {
                Ok(line) => {
                    recorder.put(self.key.0, n, line);
                    true
                }
                Err(_) => false,
            }
        })
    }

    pub(crate) fn log(&self, owner: &Owner) -> Option<CallLog> {
        Some(CallLog {
            recorder: Arc::clone(self.recorder.as_ref()?),
            owner: owner.clone(),
            key: self.key.0,
        })
    }
}

thread_local! {
    /// Room for the longest line, once a thread wrote one.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the flight recorder holds of one call, see [`crate::Engine::log`].
#[derive(Clone)]
pub struct CallLog {
    recorder: Arc<Recorder>,
    owner: Owner,
    key: u128,
}

impl fmt::Debug for CallLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallLog")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// Some lines of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// One entry in JSON on each line.
    pub ndjson: Vec<u8>,
    /// There are more: read on after the line of this number.
    pub more_after: Option<u64>,
}

impl CallLog {
    /// Whose call it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The oldest lines above the number `since` that the recorder still holds, about 4 MiB at
    /// once. It looks through memory and writes text for some ten milliseconds at worst: not for a
    /// task that must not be held up.
    pub fn read(&self, since: u64) -> Lines {
        let mut lines = Lines {
            ndjson: Vec::new(),
            more_after: None,
        };
        let mut last = since;
        for (number, line) in self.recorder.read(self.key, since) {
            if lines.ndjson.len() >= AT_ONCE {
                lines.more_after = Some(last);
                break;
            }
            last = number;
            let text = packed::text(number, &line);
            debug_assert!(text.is_some(), "line {number} was written by this process");
            lines.ndjson.extend(text.into_iter().flatten());
            lines.ndjson.push(b'\n');
        }
        lines
    }
}

impl Recorder {
    /// The log of a call that left the registry, while any of its lines are there.
    pub(crate) fn departed(self: &Arc<Self>, id: &CallId) -> Option<CallLog> {
        let departed = self.departed.lock();
        let call = departed.iter().rev().find(|call| call.id == *id)?;
        Some(CallLog {
            recorder: Arc::clone(self),
            owner: call.owner.clone(),
            key: call.key,
        })
    }
}
