//! The journal's logic over a store: no thread, no clock, so that a simulator can drive it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openmic_model::{Book, CallId, CallKey, CommandId, OperationId, Record, WallTime};

use crate::codec::{Draft, Note};
use crate::config::Keeping;
use crate::error::StoreError;
use crate::store::{AnswerRow, Change, Reader, Row, Scan, Space, Store, Unreadable};

mod needless;
mod sweep;

use sweep::Round;
pub use sweep::Swept;

/// What a kept answer costs besides its own bytes, roughly, in memory and on the disk. Some are a
/// single word.
const OF_ANSWER: u64 = 512;

/// Settled commands over [`Keeping::settled`] before a call is looked at for them.
const SLACK: usize = 256;

/// What was found when a journal was opened.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// Calls that had not ended, by their key.
    pub calls: Vec<RecoveredCall>,
    /// Calls whose records are damaged or contradict each other, and what is wrong. Their rows
    /// stay as they are.
    pub quarantined: Vec<(CallKey, String)>,
    /// Ids of those among the quarantined that are not over, as far as their records can be read:
    /// such a call may still be up, with nobody to mute it.
    pub adrift: Vec<(CallKey, CallId)>,
    /// How often this journal was opened, this time included.
    pub incarnation: u64,
}

/// A call that had not ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecoveredCall {
    /// Its callback key's bits.
    pub key: CallKey,
    /// All its records, in order.
    pub records: Vec<(WallTime, Record)>,
    /// What they add up to.
    pub book: Book,
}

/// What the log itself remembers of a call.
#[derive(Debug)]
struct Kept {
    next: u64,
    /// Commands without a verdict that have an operation.
    open: Vec<(CommandId, OperationId)>,
    /// Verdicts among its rows, and the time of the oldest.
    settled: usize,
    oldest: Option<WallTime>,
    quarantined: bool,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            next: 1,
            open: Vec::new(),
            settled: 0,
            oldest: None,
            quarantined: false,
        }
    }
}

/// A journal without its threads: what is appended is staged, and durable once committed.
///
/// It is what the writer thread of a [`Journal`](crate::Journal) drives, and what a simulator
/// drives itself: a crash before [`Log::commit`] returned is to drop it and to open its store anew.
pub struct Log {
    store: Box<dyn Store>,
    reader: Box<dyn Reader>,
    keeping: Keeping,
    calls: BTreeMap<CallKey, Kept>,
    ended: BTreeSet<(WallTime, CallKey)>,
    answers: BTreeMap<[u8; 32], (WallTime, u64)>,
    oldest_answers: BTreeSet<(WallTime, [u8; 32])>,
    answer_bytes: u64,
    staged: Vec<Change>,
    /// How far the sweeping is.
    round: Round,
    failed: Option<StoreError>,
    full: bool,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("store", &self.store)
            .field("calls", &self.calls.len())
            .field("staged", &self.staged.len())
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Reads all of `store` and counts this opening.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        mut store: Box<dyn Store>,
        keeping: Keeping,
    ) -> Result<(Self, Recovery), StoreError> {
        let mut found = Found::default();
        store.scan(&mut found)?;
        let incarnation = store.incarnation()? + 1;
        let reader = store.reader()?;
        let mut log = Self {
            store,
            reader,
            keeping,
            calls: BTreeMap::new(),
            ended: BTreeSet::new(),
            answers: BTreeMap::new(),
            oldest_answers: BTreeSet::new(),
            answer_bytes: 0,
            staged: vec![Change::Incarnation(incarnation)],
            round: Round::default(),
            failed: None,
            full: false,
        };
        let mut recovery = log.take_in(found);
        recovery.incarnation = incarnation;
        log.commit()?;
        if !log.store.reserve(keeping.reserve) {
            log.full = log.space()?.free < keeping.min_free.saturating_add(keeping.reserve);
            if !log.full {
                tracing::warn!(
                    "the journal's reserve cannot be held: should its disk fill up, verdicts wait \
                     for room"
                );
            }
        }
        Ok((log, recovery))
    }

    fn take_in(&mut self, found: Found) -> Recovery {
        let mut recovery = Recovery::default();
        let moved = found.moved();
        for (key, of_call) in found.calls {
            let mut kept = Kept {
                next: of_call.last + 1,
                ..Kept::default()
            };
            let folded = match (of_call.damage, moved.get(&key)) {
                (Some(why), _) => Err(why),
                (None, Some(why)) => Err(why.clone()),
                (None, None) => Book::of(&of_call.records).map_err(|error| error.to_string()),
            };
            for (at, record) in &of_call.records {
                kept.see(*at, record);
            }
            match folded {
                Err(why) => {
                    kept.quarantined = true;
                    recovery.quarantined.push((key, why));
                    let adrift = adrift(&of_call.records).into_iter().map(|id| (key, id));
                    recovery.adrift.extend(adrift);
                }
                Ok(book) => {
                    if let Some((at, _)) = book.ended() {
                        self.ended.insert((at, key));
                    } else {
                        recovery.calls.push(RecoveredCall {
                            key,
                            records: of_call.records,
                            book,
                        });
                    }
                }
            }
            self.calls.insert(key, kept);
        }
        for (at, scope, bytes) in found.answers {
            self.remember_answer(at, scope, bytes);
        }
        let Recovery { calls, adrift, .. } = &mut recovery;
        adrift.retain(|(_, id)| calls.iter().all(|call| call.book.id() != Some(id)));
        recovery
    }

    fn remember_answer(&mut self, at: WallTime, scope: [u8; 32], bytes: u64) {
        self.forget_answer(&scope);
        let bytes = bytes + OF_ANSWER;
        self.answers.insert(scope, (at, bytes));
        self.oldest_answers.insert((at, scope));
        self.answer_bytes += bytes;
    }

    fn forget_answer(&mut self, scope: &[u8; 32]) {
        if let Some((at, bytes)) = self.answers.remove(scope) {
            self.oldest_answers.remove(&(at, *scope));
            self.answer_bytes -= bytes;
        }
    }

    /// Stages records of a call; they are durable after the next [`Log::commit`].
    pub fn append(&mut self, call: CallKey, records: &[(WallTime, Record)]) {
        let drafts = records.iter().map(|(at, record)| Draft::of(*at, record));
        self.stage(call, drafts.collect());
    }

    pub(crate) fn stage(&mut self, call: CallKey, drafts: Vec<Draft>) {
        let kept = self.calls.entry(call).or_default();
        for draft in drafts {
            let (mut operation, mut scope) = (None, None);
            match draft.note {
                Note::Intent { scope: of_intent } => scope = of_intent,
                Note::Accepted(asked) => {
                    scope = asked.scope;
                    if let Some(of_command) = asked.operation {
                        operation = Some(of_command.as_str().to_owned());
                        kept.open.push((asked.command, of_command));
                    }
                }
                Note::Verdict(command) => {
                    operation = kept.settle(command, draft.at);
                }
                Note::Closed => {
                    self.ended.insert((draft.at, call));
                }
                Note::Other => {}
            }
            let row = Row::sealed(call, kept.next, draft.at, operation, scope, draft.body);
            kept.next += 1;
            self.staged.push(Change::Put(row));
        }
    }

    /// Stages a whole answer, to be repeated.
    pub fn keep_answer(&mut self, at: WallTime, scope: [u8; 32], print: [u8; 32], body: Vec<u8>) {
        self.remember_answer(at, scope, body.len() as u64);
        let answer = AnswerRow::sealed(scope, print, at, body);
        self.staged.push(Change::PutAnswer(answer));
        while self.answer_bytes > self.keeping.answers && self.answers.len() > 1 {
            let Some((_, oldest)) = self.oldest_answers.first().copied() else {
                break;
            };
            self.forget_answer(&oldest);
            self.staged.push(Change::DropAnswer(oldest));
        }
    }

    /// Makes durable what is staged. On a full disk the reserve is given up first.
    ///
    /// # Errors
    /// [`StoreError::Full`]: it stays staged, and may be committed later. Any other error stays:
    /// what the batch came to is known only once the store is opened anew.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.staged.is_empty() {
            return Ok(());
        }
        let mut result = self.store.commit(&self.staged);
        if result == Err(StoreError::Full) {
            result = self.commit_to_full_disk();
        }
        match result {
            Ok(()) => self.staged.clear(),
            Err(StoreError::Full) => return Err(StoreError::Full),
            Err(error) => return Err(self.fail(error)),
        }
        Ok(())
    }

    fn commit_to_full_disk(&mut self) -> Result<(), StoreError> {
        self.full = true;
        self.store.make_room()?;
        let result = self.store.commit(&self.staged);
        if result != Err(StoreError::Full) || !self.store.release() {
            return result;
        }
        tracing::warn!(
            "the disk of the journal is full; its reserve is given up for the verdicts of what was \
             accepted"
        );
        self.store.make_room()?;
        self.store.commit(&self.staged)
    }

    fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed = Some(error.clone());
        error
    }

    /// Looks at the disk, and takes the reserve back when there is room for it again.
    ///
    /// # Errors
    /// [`StoreError`], which stays.
    pub fn space(&mut self) -> Result<Space, StoreError> {
        let keeping = self.keeping;
        let space = self.store.space().map_err(|error| self.fail(error))?;
        if self.full && space.free >= keeping.min_free.saturating_add(keeping.reserve) {
            self.store.reserve(keeping.reserve);
            self.full = false;
            return self.store.space().map_err(|error| self.fail(error));
        }
        Ok(space)
    }

    /// Whether the disk was found full and its reserve is not held again.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether something new may be accepted with so much `space`.
    pub fn has_room(&self, space: Space) -> bool {
        !self.full && space.free >= self.keeping.min_free
    }

    /// Does what can be done while nothing else is to do.
    ///
    /// # Errors
    /// [`StoreError`], which stays.
    pub fn idle(&mut self) -> Result<(), StoreError> {
        match self.store.idle() {
            Ok(()) | Err(StoreError::Full) => Ok(()),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Does a small part of what was put off, after a commit that others may follow at once.
    ///
    /// # Errors
    /// [`StoreError`], which stays.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        self.store.catch_up().map_err(|error| self.fail(error))
    }

    /// Another way in, for lookups.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn reader(&mut self) -> Result<Box<dyn Reader>, StoreError> {
        self.store.reader()
    }
}

impl Kept {
    fn see(&mut self, at: WallTime, record: &Record) {
        match record {
            Record::Accepted(accepted) => {
                if let Some(asked) = &accepted.asked {
                    self.open.push((accepted.command, asked.operation.clone()));
                }
            }
            Record::Verdict { command, .. } => drop(self.settle(*command, at)),
            _ => {}
        }
    }

    /// Takes a verdict in; the operation it is about, if it has one.
    fn settle(&mut self, command: CommandId, at: WallTime) -> Option<String> {
        self.count(at);
        let place = self.open.iter().position(|(open, _)| *open == command)?;
        Some(self.open.remove(place).1.as_str().to_owned())
    }

    fn count(&mut self, at: WallTime) {
        self.settled += 1;
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
    }
}

/// What a scan came across.
#[derive(Debug, Default)]
struct Found {
    calls: BTreeMap<CallKey, FoundCall>,
    /// Rows that fail their checksum.
    broken: Vec<Row>,
    answers: Vec<(WallTime, [u8; 32], u64)>,
}

#[derive(Debug, Default)]
struct FoundCall {
    records: Vec<(WallTime, Record)>,
    last: u64,
    /// The first that is wrong.
    damage: Option<String>,
}

/// The ids that a call's whole records give it, unless they also tell its end.
fn adrift(records: &[(WallTime, Record)]) -> Vec<CallId> {
    let mut ids = Vec::new();
    for (_, record) in records {
        match record {
            Record::Opened { id, .. } if !ids.contains(id) => ids.push(id.clone()),
            Record::Closed { .. } => return Vec::new(),
            _ => {}
        }
    }
    ids
}

impl Scan for Found {
    fn row(&mut self, row: Result<Row, Unreadable>) {
        let row = match row {
            Ok(row) => row,
            Err(Unreadable { call, why }) => {
                self.calls
                    .entry(call)
                    .or_default()
                    .damage
                    .get_or_insert(why);
                return;
            }
        };
        let of_call = self.calls.entry(row.call).or_default();
        of_call.last = of_call.last.max(row.number);
        match row.record() {
            Ok(record) => of_call.records.push((row.at, record)),
            Err(why) => {
                of_call.damage.get_or_insert(why);
                self.broken.push(row);
            }
        }
    }

    fn answer(&mut self, at: WallTime, scope: [u8; 32], bytes: u64) {
        self.answers.push((at, scope, bytes));
    }
}

impl Found {
    /// A row whose damage is in the call's key lies with another call. The sum tells which one
    /// misses it, so that a call is not taken for whole.
    fn moved(&self) -> BTreeMap<CallKey, String> {
        let mut moved = BTreeMap::new();
        for row in &self.broken {
            for key in self.calls.keys() {
                if *key != row.call && row.sum_as(*key) == row.sum {
                    moved.insert(*key, format!("row {} lies with another call", row.number));
                }
            }
        }
        moved
    }
}
