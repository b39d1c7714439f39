//! What is kept no longer goes, a bounded part of it at a time: the writer sweeps between commits that
//! somebody waits for.

use std::collections::VecDeque;
use std::ops::Bound;

use openmic_model::{CallKey, WallTime};

use super::needless::Sieve;
use super::{Kept, Log, SLACK};
use crate::config::Keeping;
use crate::error::StoreError;
use crate::store::Change;

/// Rows of open calls that one sweep reads, and ...
const READ: usize = 1024;

/// ... of those how many it drops; the rows of a command go together.
const DROPPED: usize = 512;

/// Rows, roughly, of the ended calls that it drops, but one call at least.
const OF_ENDED: u64 = 4096;

/// Answers that it drops.
const ANSWERS: usize = 256;

/// Open calls that it looks at in memory.
const LOOKED_AT: usize = 4096;

/// What one [`Log::sweep`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Rows it read.
    pub read: usize,
    /// Rows, answers and whole calls that it staged to be dropped.
    pub dropped: usize,
    /// Whether the next one has something to do at once.
    pub more: bool,
}

/// How far the round over all open calls is.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The last call that was looked at.
    after: Option<CallKey>,
    thinning: Option<Thinning>,
}

/// One call whose needless rows go.
#[derive(Debug)]
enum Thinning {
    /// Its rows are read.
    Reads {
        call: CallKey,
        after: u64,
        sieve: Sieve,
    },
    /// They are dropped, in these lots.
    Drops {
        call: CallKey,
        lots: VecDeque<Vec<u64>>,
    },
}

impl Log {
    /// Stages the deletion of what is kept no longer, a bounded part of it at a time. What is
    /// quarantined stays. Commit before the next one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sweep(&mut self, now: WallTime) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        self.drop_ended(now, &mut swept);
        self.drop_answers(now, &mut swept);
        self.thin(now, &mut swept)?;
        Ok(swept)
    }

    fn drop_ended(&mut self, now: WallTime, swept: &mut Swept) {
        let mut rows = 0;
        while let Some((at, call)) = self.ended.first().copied()
            && now.since(at) > self.keeping.retention
        {
            if rows >= OF_ENDED {
                swept.more = true;
                return;
            }
            self.ended.remove(&(at, call));
            rows += self.calls.remove(&call).map_or(0, |kept| kept.next);
            self.staged.push(Change::DropCall(call));
            swept.dropped += 1;
        }
    }

    fn drop_answers(&mut self, now: WallTime, swept: &mut Swept) {
        let mut answers = 0;
        while let Some((at, scope)) = self.oldest_answers.first().copied()
            && now.since(at) > self.keeping.retention
        {
            if answers >= ANSWERS {
                swept.more = true;
                return;
            }
            self.forget_answer(&scope);
            self.staged.push(Change::DropAnswer(scope));
            answers += 1;
        }
        swept.dropped += answers;
    }

    /// Goes on with the round, up to what one sweep may do.
    fn thin(&mut self, now: WallTime, swept: &mut Swept) -> Result<(), StoreError> {
        let (mut looked, mut dropped) = (0, 0);
        loop {
            match self.round.thinning.take() {
                None => {
                    if looked >= LOOKED_AT {
                        swept.more = true;
                        return Ok(());
                    }
                    let Some(call) = self.next_due(now, &mut looked) else {
                        // all the way round, or up to what one sweep looks at
                        swept.more |= self.round.after.is_some();
                        return Ok(());
                    };
                    self.round.thinning = Some(Thinning::Reads {
                        call,
                        after: 0,
                        sieve: Sieve::default(),
                    });
                }
                Some(Thinning::Reads { call, after, sieve }) => {
                    if swept.read >= READ {
                        self.round.thinning = Some(Thinning::Reads { call, after, sieve });
                        swept.more = true;
                        return Ok(());
                    }
                    self.round.thinning = self.read(call, after, sieve, now, swept)?;
                }
                Some(Thinning::Drops { call, mut lots }) => {
                    let mut numbers = Vec::new();
                    while dropped < DROPPED
                        && let Some(lot) = lots.pop_front()
                    {
                        dropped += lot.len();
                        numbers.extend(lot);
                    }
                    swept.dropped += numbers.len();
                    if !numbers.is_empty() {
                        self.staged.push(Change::Drop { call, numbers });
                    }
                    if !lots.is_empty() {
                        self.round.thinning = Some(Thinning::Drops { call, lots });
                        swept.more = true;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The next open call that holds settled commands which are kept no longer. At the end of the
    /// round there is none, and the next one begins with the first call.
    fn next_due(&mut self, now: WallTime, looked: &mut usize) -> Option<CallKey> {
        let from = self.round.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut calls = self.calls.range((from, Bound::Unbounded));
        while *looked < LOOKED_AT {
            let Some((call, kept)) = calls.next() else {
                self.round.after = None;
                return None;
            };
            *looked += 1;
            self.round.after = Some(*call);
            if kept.is_due(now, &self.keeping) {
                return Some(*call);
            }
        }
        None
    }

    /// Reads on, and knows at the end of the call what of it may go.
    fn read(
        &mut self,
        call: CallKey,
        mut after: u64,
        mut sieve: Sieve,
        now: WallTime,
        swept: &mut Swept,
    ) -> Result<Option<Thinning>, StoreError> {
        let rows = self.reader.call(call, after, READ - swept.read)?;
        swept.read += rows.len();
        for row in &rows {
            after = row.number;
            match row.record() {
                Ok(record) => sieve.see(row.number, row.at, &record),
                Err(why) => {
                    // what became unreadable while it was open stays as it is for whoever mends it
                    tracing::error!(%why, "a call's records in the journal are damaged");
                    self.calls.entry(call).or_default().quarantined = true;
                    return Ok(None);
                }
            }
        }
        if !rows.is_empty() {
            return Ok(Some(Thinning::Reads { call, after, sieve }));
        }
        let Some(kept) = self.calls.get_mut(&call) else {
            return Ok(None);
        };
        let sifted = sieve.sift(now, &self.keeping);
        (kept.settled, kept.oldest) = (0, None);
        for at in sifted.stays {
            // those that stay although they are old are no reason to look again
            if now.since(at) <= self.keeping.retention {
                kept.count(at);
            }
        }
        let lots = sifted.lots.into();
        Ok(Some(Thinning::Drops { call, lots }))
    }
}

impl Kept {
    fn is_due(&self, now: WallTime, keeping: &Keeping) -> bool {
        let old = |at| now.since(at) > keeping.retention;
        !self.quarantined
            && (self.oldest.is_some_and(old) || self.settled > keeping.settled + SLACK)
    }
}
