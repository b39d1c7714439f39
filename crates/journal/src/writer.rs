//! The one writer: group commit.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openmic_model::WallTime;
use tokio::sync::oneshot;

use crate::age::AgeClock;
use crate::error::StoreError;
use crate::journal::Shared;
use crate::log::Log;
use crate::queue::{Item, Load, Work};

/// How long the writer waits for work before it looks after its house.
const IDLE: Duration = Duration::from_millis(200);

/// Between two looks at the disk.
const LOOK: Duration = Duration::from_secs(1);

/// Between two sweeps, in milliseconds of the wall clock.
const SWEEP: Duration = Duration::from_mins(1);

/// Between two tries of a commit that found the disk full.
const AGAIN: Duration = Duration::from_millis(200);

/// How long a journal that is closed while its disk is full goes on trying.
const LAST_TRIES: u32 = 25;

/// The log, and who waits for its next commit.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Log,
    shared: Arc<Shared>,
    told: Vec<oneshot::Sender<()>>,
    staged: Load,
    looked: Option<Instant>,
    swept: Option<WallTime>,
    /// A sweep is not at its end.
    busy: bool,
}

/// What a commit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    Done,
    /// It waits for room on the disk.
    Full,
    Failed,
}

impl Writer {
    pub(crate) fn new(log: Log, shared: Arc<Shared>) -> Self {
        let mut writer = Self {
            log,
            shared,
            told: Vec::new(),
            staged: Load::default(),
            looked: None,
            swept: None,
            busy: false,
        };
        writer.look();
        writer
    }

    /// Makes a batch durable and tells who waits for it.
    pub(crate) fn write(&mut self, batch: Vec<Item>) -> Flushed {
        for item in batch {
            match item.work {
                Work::Records(call, drafts) => self.log.stage(call, drafts),
                Work::Answer {
                    at,
                    scope,
                    print,
                    body,
                } => self.log.keep_answer(at, scope, print, body),
            }
            self.staged.add(item.load);
            self.told.push(item.told);
        }
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> Flushed {
        let begun = Instant::now();
        match self.log.commit() {
            Ok(()) => {
                let metrics = &self.shared.metrics;
                if self.staged.records > 0 {
                    metrics.commit.observe(begun.elapsed().as_secs_f64());
                    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
                    metrics.batch.observe(self.staged.records as f64);
                    metrics.records.inc_by(self.staged.records as u64);
                    metrics.bytes.inc_by(self.staged.bytes as u64);
                }
                self.shared.queue.done(std::mem::take(&mut self.staged));
                for told in self.told.drain(..) {
                    // it fails where the ticket was dropped: nobody wants to know
                    told.send(()).unwrap_or_default();
                }
                if self.log.is_full() {
                    self.look();
                }
                Flushed::Done
            }
            Err(StoreError::Full) => {
                self.look();
                Flushed::Full
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &StoreError) -> Flushed {
        self.told.clear();
        self.shared.fail(error);
        Flushed::Failed
    }

    /// Looks at the disk, so that `admits` knows.
    fn look(&mut self) {
        self.looked = Some(Instant::now());
        match self.log.space() {
            Ok(space) => {
                let room = self.log.has_room(space);
                self.shared.saw(space, room);
            }
            Err(error) => drop(self.fail(&error)),
        }
    }

    /// What is to do between commits: the disk, a part of what is kept no longer, the store's own.
    pub(crate) fn keep_house(&mut self, now: WallTime, idle: bool) -> Flushed {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            self.look();
        }
        // Also between the parts of a long sweep, which write a lot.
        if let Err(error) = self.log.catch_up() {
            return self.fail(&error);
        }
        if self
            .swept
            .is_none_or(|at| now < at || now.since(at) >= SWEEP)
        {
            match self.log.sweep(now) {
                Ok(swept) => {
                    self.shared.metrics.dropped.inc_by(swept.dropped as u64);
                    self.busy = swept.more;
                    if !swept.more {
                        self.swept = Some(now);
                    }
                    // while there is other work it goes with the next commit
                    let flushed = if idle { self.flush() } else { Flushed::Done };
                    if flushed != Flushed::Done || swept.more {
                        return flushed;
                    }
                }
                Err(error) => return self.fail(&error),
            }
        }
        if idle && let Err(error) = self.log.idle() {
            return self.fail(&error);
        }
        Flushed::Done
    }

    /// Writes until the queue is closed and empty, or the disk fails.
    pub(crate) fn run(mut self) {
        let mut tries = 0;
        let mut clock = AgeClock::new(wall_clock());
        loop {
            let patience = if self.busy { Duration::ZERO } else { IDLE };
            let (batch, closed) = self.shared.queue.take(patience);
            let idle = batch.is_empty();
            let mut flushed = if idle {
                self.keep_house(clock.read(wall_clock()), true)
            } else {
                self.write(batch)
            };
            while flushed == Flushed::Full {
                if self.shared.queue.pause(AGAIN) {
                    tries += 1;
                    std::thread::sleep(AGAIN);
                }
                if tries > LAST_TRIES {
                    tracing::error!("the journal is closed with records that found no room");
                    return;
                }
                flushed = self.flush();
            }
            if flushed == Flushed::Failed || (idle && closed) {
                return;
            }
            if !idle {
                // a journal that is never idle is swept all the same
                if self.keep_house(clock.read(wall_clock()), false) == Flushed::Failed {
                    return;
                }
            }
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    WallTime(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}
