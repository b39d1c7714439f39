use std::collections::BTreeMap;
use std::sync::Arc;

use openmic_model::{CallKey, WallTime};
use parking_lot::{Condvar, Mutex};

use crate::error::StoreError;
use crate::store::{AnswerRow, Change, Reader, Row, Scan, Space, Store, Unreadable};

/// Any store, with a disk under it that fails when told to.
///
/// Deterministic: it fails when [`Faults`] says so and never else. After a crash it refuses
/// everything; open the inner store anew to see what survived.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Faults,
}

/// What goes wrong with the disk of a [`FaultyStore`], told from outside.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Plan {
    next: Option<CommitFault>,
    free: Option<u64>,
    held: u64,
    flips: BTreeMap<(CallKey, u64), usize>,
    stalled: bool,
    waiting: usize,
    crashed: bool,
    commits: u64,
}

/// What happens to the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The sync reports an error. The batch was written, and is there after a restart.
    SyncError,
    /// The write reports an error. Nothing of the batch is there.
    WriteError,
    /// The process dies with a part of the batch written: none of it is there.
    Torn,
    /// The process dies before it learns that the batch is durable.
    CrashAfter,
}

impl Faults {
    /// None, until told.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next commit fail.
    pub fn next_commit(&self, fault: CommitFault) {
        self.0.plan.lock().next = Some(fault);
    }

    /// Gives the disk so many free bytes; what is written takes of them. `None`: without end.
    pub fn set_free(&self, free: Option<u64>) {
        self.0.plan.lock().free = free;
    }

    /// Flips a bit of a row's body, for all later reads of it; flipped again it is whole.
    pub fn flip(&self, call: CallKey, number: u64, bit: usize) {
        let flips = &mut self.0.plan.lock().flips;
        if flips.remove(&(call, number)).is_none() {
            flips.insert((call, number), bit);
        }
    }

    /// From now on a commit takes until [`Faults::resume`]. Blocks whoever commits; for stores
    /// with a thread of their own.
    pub fn stall(&self) {
        self.0.plan.lock().stalled = true;
    }

    /// Ends a stall.
    pub fn resume(&self) {
        self.0.plan.lock().stalled = false;
        self.0.moved.notify_all();
    }

    /// Blocks until a commit waits in a stall.
    pub fn until_stalled(&self) {
        let mut plan = self.0.plan.lock();
        while plan.waiting == 0 {
            self.0.moved.wait(&mut plan);
        }
    }

    /// Commits that succeeded.
    pub fn commits(&self) -> u64 {
        self.0.plan.lock().commits
    }
}

impl<S> FaultyStore<S> {
    /// `inner` on a disk that does as `faults` says.
    pub const fn new(inner: S, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl Plan {
    fn alive(&self) -> Result<(), StoreError> {
        if self.crashed {
            return Err(StoreError::Failed("the process died".to_owned()));
        }
        Ok(())
    }

    fn damage(&self, mut row: Row) -> Row {
        if let Some(bit) = self.flips.get(&(row.call, row.number)) {
            let bits = (row.body.len() * 8).max(1);
            let bit = bit % bits;
            if let Some(byte) = row.body.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        row
    }
}

/// What a batch takes of the disk, roughly.
fn cost(batch: &[Change]) -> u64 {
    let cost = |change: &Change| match change {
        Change::Put(row) => 64 + row.bytes(),
        Change::PutAnswer(answer) => 128 + answer.body.len() as u64,
        _ => 16,
    };
    batch.iter().map(cost).sum()
}

struct Damaging<'a> {
    plan: &'a Plan,
    into: &'a mut dyn Scan,
}

impl Scan for Damaging<'_> {
    fn row(&mut self, row: Result<Row, Unreadable>) {
        self.into.row(row.map(|row| self.plan.damage(row)));
    }

    fn answer(&mut self, at: WallTime, scope: [u8; 32], bytes: u64) {
        self.into.answer(at, scope, bytes);
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn scan(&mut self, into: &mut dyn Scan) -> Result<(), StoreError> {
        let plan = self.faults.0.plan.lock();
        plan.alive()?;
        self.inner.scan(&mut Damaging { plan: &plan, into })
    }

    fn incarnation(&mut self) -> Result<u64, StoreError> {
        self.faults.0.plan.lock().alive()?;
        self.inner.incarnation()
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        let mut plan = self.faults.0.plan.lock();
        if plan.stalled {
            plan.waiting += 1;
            self.faults.0.moved.notify_all();
            while plan.stalled {
                self.faults.0.moved.wait(&mut plan);
            }
            plan.waiting -= 1;
        }
        plan.alive()?;
        let cost = cost(batch);
        if plan.free.is_some_and(|free| free < cost) {
            return Err(StoreError::Full);
        }
        let failed = |what: &str| Err(StoreError::Failed(what.to_owned()));
        match plan.next.take() {
            Some(CommitFault::WriteError) => return failed("input/output error of a write"),
            Some(CommitFault::Torn) => {
                plan.crashed = true;
                return failed("the process died in a write");
            }
            Some(CommitFault::SyncError) => {
                self.inner.commit(batch)?;
                return failed("input/output error of a sync");
            }
            Some(CommitFault::CrashAfter) => {
                self.inner.commit(batch)?;
                plan.crashed = true;
                return failed("the process died after a sync");
            }
            None => {}
        }
        self.inner.commit(batch)?;
        plan.commits += 1;
        if let Some(free) = &mut plan.free {
            *free -= cost;
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<(), StoreError> {
        self.faults.0.plan.lock().alive()?;
        self.inner.idle()
    }

    fn catch_up(&mut self) -> Result<(), StoreError> {
        self.faults.0.plan.lock().alive()?;
        self.inner.catch_up()
    }

    fn make_room(&mut self) -> Result<(), StoreError> {
        self.faults.0.plan.lock().alive()?;
        self.inner.make_room()
    }

    fn space(&mut self) -> Result<Space, StoreError> {
        let plan = self.faults.0.plan.lock();
        plan.alive()?;
        let inner = self.inner.space()?;
        Ok(Space {
            free: plan.free.unwrap_or(inner.free),
            used: inner.used,
        })
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        let plan = &mut *self.faults.0.plan.lock();
        let Some(free) = &mut plan.free else {
            return self.inner.reserve(bytes);
        };
        if plan.held == 0 && *free >= bytes {
            *free -= bytes;
            plan.held = bytes;
        }
        plan.held > 0
    }

    fn release(&mut self) -> bool {
        let plan = &mut *self.faults.0.plan.lock();
        let Some(free) = &mut plan.free else {
            return self.inner.release();
        };
        *free += plan.held;
        std::mem::take(&mut plan.held) > 0
    }

    fn reader(&mut self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(FaultyReader {
            inner: self.inner.reader()?,
            faults: self.faults.clone(),
        }))
    }
}

#[derive(Debug)]
struct FaultyReader {
    inner: Box<dyn Reader>,
    faults: Faults,
}

impl FaultyReader {
    fn damage(&self, rows: Vec<Row>) -> Vec<Row> {
        let plan = self.faults.0.plan.lock();
        rows.into_iter().map(|row| plan.damage(row)).collect()
    }
}

impl Reader for FaultyReader {
    fn call(&mut self, call: CallKey, after: u64, limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.inner.call(call, after, limit)?;
        Ok(self.damage(rows))
    }

    fn operation(&mut self, operation: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.inner.operation(operation, limit)?;
        Ok(self.damage(rows))
    }

    fn scope(&mut self, scope: &[u8; 32], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.inner.scope(scope, limit).map(|rows| self.damage(rows))
    }

    fn answer(&mut self, scope: &[u8; 32]) -> Result<Option<AnswerRow>, StoreError> {
        self.inner.answer(scope)
    }
}
