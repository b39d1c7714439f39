//! What waits for the writer, and how much more may come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use openmic_model::{CallKey, WallTime};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::codec::{Draft, Note};
use crate::error::Full;
use crate::ticket::Ticket;

/// Records that may wait before nothing new is accepted, those included that commands which were
/// accepted may still bring. About 80 MiB. What calls bring has a place besides.
const MOST_RECORDS: usize = 262_144;

/// Bytes that may wait before nothing new is accepted.
const MOST_BYTES: usize = 64 << 20;

/// What an open command may still bring: three attempts, their outcomes, a window, the verdict.
const OF_COMMAND: usize = 8;

/// What an open call may still bring besides: an epoch, its end. That place is kept for each, so that
/// it is not the journal that bounds how many there are.
const OF_CALL: usize = 2;

/// Bytes of one of these, and more.
const OF_CALL_BYTES: usize = 512;

/// One commit takes so many records, and ...
const BATCH_RECORDS: usize = 256;

/// ... so many bytes, except that an item is never divided.
const BATCH_BYTES: usize = 1 << 20;

/// One append.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) work: Work,
    pub(crate) load: Load,
    pub(crate) told: oneshot::Sender<()>,
}

#[derive(Debug)]
pub(crate) enum Work {
    Records(CallKey, Vec<Draft>),
    Answer {
        at: WallTime,
        scope: [u8; 32],
        print: [u8; 32],
        body: Vec<u8>,
    },
}

/// How much something is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) const fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }

    const fn sub(&mut self, other: Self) {
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

impl Work {
    fn load(&self) -> Load {
        match self {
            Self::Records(_, drafts) => Load {
                records: drafts.len(),
                bytes: drafts.iter().map(|draft| draft.body.len()).sum(),
            },
            Self::Answer { body, .. } => Load {
                records: 1,
                bytes: body.len(),
            },
        }
    }
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// Somebody waits for one of the items.
    awaited: bool,
    /// Of the items, and of what the writer took and has not made durable.
    waiting: Load,
    open_commands: usize,
    open_calls: usize,
    /// The most that were open since nothing waited: what waits may be theirs.
    most_calls: usize,
    closed: bool,
}

/// The queue before the writer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

impl Queue {
    /// Counts what a recovery found open.
    pub(crate) fn expect(&self, calls: usize, commands: usize) {
        let mut state = self.state.lock();
        state.open_calls = calls;
        state.most_calls = calls;
        state.open_commands = commands;
    }

    /// Takes an append in, which goes with the next one that is awaited if it is not. Refused only
    /// when the journal was closed, or so much more waits than [`Queue::admits`] lets in that
    /// whoever brought it did not ask.
    pub(crate) fn push(&self, work: Work, awaited: bool) -> Ticket {
        let load = work.load();
        let (told, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        let of_calls = state.most_calls * OF_CALL;
        let most = state.waiting.records + load.records > 2 * MOST_RECORDS + of_calls
            || state.waiting.bytes + load.bytes > 4 * MOST_BYTES + of_calls * OF_CALL_BYTES;
        if state.closed || most {
            return Ticket::known(Err(crate::error::Lost));
        }
        if let Work::Records(_, drafts) = &work {
            for draft in drafts {
                state.count(&draft.note);
            }
        }
        state.waiting.add(load);
        state.items.push_back(Item { work, load, told });
        state.awaited |= awaited;
        drop(state);
        if awaited {
            self.more.notify_one();
        }
        Ticket::waiting(receiver)
    }

    /// Whether something new may be accepted, so that all it may bring finds room.
    pub(crate) fn admits(&self) -> Result<(), Full> {
        let state = self.state.lock();
        let to_come = state.open_commands * OF_COMMAND;
        let queued = state.waiting.records;
        if queued + to_come + OF_COMMAND > MOST_RECORDS || state.waiting.bytes > MOST_BYTES {
            return Err(Full::Behind { queued });
        }
        Ok(())
    }

    /// The next batch, in order. Blocks up to `patience` for one that is awaited; true when the queue
    /// is closed.
    pub(crate) fn take(&self, patience: Duration) -> (Vec<Item>, bool) {
        let until = Instant::now() + patience;
        let mut state = self.state.lock();
        while !state.awaited && !state.closed {
            if self.more.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        (state.batch(), state.closed)
    }

    /// The next batch, without waiting.
    pub(crate) fn take_now(&self) -> Vec<Item> {
        self.state.lock().batch()
    }

    /// Blocks for `pause`, or until the queue is closed; true then.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.closed && !self.more.wait_until(&mut state, until).timed_out() {}
        state.closed
    }

    /// So much became durable.
    pub(crate) fn done(&self, load: Load) {
        let mut state = self.state.lock();
        state.waiting.sub(load);
        if state.waiting.records == 0 {
            state.most_calls = state.open_calls;
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting.records
    }

    /// Takes nothing in any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.more.notify_all();
    }

    /// Takes nothing in any more, and forgets what waits: its tickets are lost.
    pub(crate) fn fail(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.items.clear();
        drop(state);
        self.more.notify_all();
    }
}

impl State {
    fn count(&mut self, note: &Note) {
        match note {
            Note::Intent { .. } => {
                self.open_calls += 1;
                self.most_calls = self.most_calls.max(self.open_calls);
            }
            Note::Accepted(_) => self.open_commands += 1,
            Note::Verdict(_) => self.open_commands = self.open_commands.saturating_sub(1),
            Note::Closed => self.open_calls = self.open_calls.saturating_sub(1),
            Note::Other => {}
        }
    }

    fn batch(&mut self) -> Vec<Item> {
        let mut load = Load::default();
        let mut batch = Vec::new();
        while let Some(next) = self.items.front() {
            let over = load.records + next.load.records > BATCH_RECORDS
                || load.bytes + next.load.bytes > BATCH_BYTES;
            if over && !batch.is_empty() {
                break;
            }
            load.add(next.load);
            batch.extend(self.items.pop_front());
        }
        self.awaited &= !self.items.is_empty();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize, note: impl Fn() -> Note) -> Work {
        let draft = || Draft {
            at: WallTime(0),
            body: vec![b' '; 300],
            note: note(),
        };
        Work::Records(
            CallKey(1),
            std::iter::repeat_with(draft).take(count).collect(),
        )
    }

    #[test]
    fn a_million_calls_may_be_open_and_all_end_while_the_disk_is_slow() {
        const CALLS: usize = 1_000_000;
        let queue = Queue::default();
        queue.expect(CALLS, 0);
        queue.admits().unwrap();
        for _ in 0..CALLS / 1000 {
            // nothing is taken out meanwhile
            let epochs = queue.push(records(1000, || Note::Other), true);
            let ends = queue.push(records(1000, || Note::Closed), true);
            assert!(
                [epochs, ends]
                    .iter_mut()
                    .all(|ticket| ticket.now().is_none())
            );
        }
        // what waits holds up what is new, and what was there had its place
        assert!(matches!(queue.admits(), Err(Full::Behind { .. })));
        for _ in 0..CALLS / 1000 {
            queue.done(Load {
                records: 2000,
                bytes: 600_000,
            });
        }
        queue.admits().unwrap();
    }

    #[test]
    fn what_nobody_waits_for_goes_with_what_somebody_does() {
        let queue = Queue::default();
        let mut passing = queue.push(records(1, || Note::Other), false);
        let mut awaited = queue.push(records(1, || Note::Other), true);
        // this one does not block, or the test would
        let (batch, _) = queue.take(Duration::from_hours(1));
        assert_eq!(batch.len(), 2);
        drop(batch);
        assert_eq!(passing.now(), awaited.now());
        // alone it waits for the writer's patience to end, and no longer
        let _passing = queue.push(records(1, || Note::Other), false);
        let (batch, _) = queue.take(Duration::ZERO);
        assert_eq!(batch.len(), 1);
        let (batch, _) = queue.take(Duration::ZERO);
        assert!(batch.is_empty());
    }

    #[test]
    fn who_does_not_ask_is_refused_in_the_end() {
        let queue = Queue::default();
        let mut refused = 0;
        for _ in 0..600 {
            let mut ticket = queue.push(records(1000, || Note::Other), true);
            refused += usize::from(ticket.now() == Some(Err(crate::error::Lost)));
        }
        assert_eq!(refused, 600 - 2 * MOST_RECORDS / 1000);
    }
}
