//! What a process stands in: the world, its disk and its peers, as far as one event may touch them.

use std::time::Duration;

use openmic_checker::{End, Gauge, Note, What};
use openmic_model::{Book, CommandId, Record, WallTime};

use crate::agenda::Millis;
use crate::coverage::Coverage;
use crate::disk::{Disk, Ticket};
use crate::faults::Fault;
use crate::graph::Graph;
use crate::hub::Hub;
use crate::tally::Tally;
use crate::world::{Doing, World};

/// Everything around the process that one event may touch.
pub(crate) struct Around<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) graph: &'a mut Graph,
    pub(crate) hub: &'a mut Hub,
    pub(crate) disk: &'a mut Disk,
    pub(crate) coverage: &'a mut Coverage,
    pub(crate) tally: &'a mut Tally,
    pub(crate) wall: WallTime,
    /// Ten thousandths: how likely the process dies at any point inside.
    pub(crate) fragile: u64,
}

/// The process died in the middle of something.
#[derive(Debug)]
pub(crate) struct Died;

pub(super) type Alive = Result<(), Died>;

impl Around<'_> {
    /// Hands a record to the journal.
    pub(super) fn write(&mut self, record: Record) -> Ticket {
        if let Record::Accepted(accepted) = &record {
            self.world.note(&What::Accepted {
                command: accepted.command,
                action: accepted.action,
                within: Millis::try_from(accepted.within.as_millis()).unwrap_or(Millis::MAX),
            });
            self.tally.accepted(accepted.action);
            self.world.note(&What::Level {
                gauge: Gauge::Open,
                value: u32::try_from(self.world.judge.checker.open()).unwrap_or(u32::MAX),
            });
        }
        let note = match &record {
            Record::Window { until } => {
                let left = until.map(|until| whole(until.since(self.wall)));
                let ends = left.map(|left| (self.world.now + left) * 1000);
                Note::Window { ends }
            }
            record => Note::from(record),
        };
        self.world.note(&What::Written(note));
        let ticket = self.disk.append(self.wall, record);
        self.commit();
        ticket
    }

    /// Starts a commit, when one is due.
    pub(crate) fn commit(&mut self) {
        if !self.disk.begin() {
            return;
        }
        let pause = if self.world.strikes(Fault::SlowDisk) {
            self.world.random.between(100, 8000)
        } else {
            self.world.random.below(4)
        };
        let life = self.world.life;
        self.world.later(pause, Doing::Synced(life));
    }

    /// After a restart whoever was promised a verdict asks for it.
    pub(super) fn ask_again(&mut self, book: &Book) {
        let promised: Vec<CommandId> = self.world.judge.checker.acknowledged().collect();
        for command in promised {
            if book.open().iter().any(|(_, open)| open.command == command) {
                continue;
            }
            let end = self
                .disk
                .records()
                .iter()
                .rev()
                .find_map(|(_, record)| match record {
                    Record::Verdict {
                        command: of,
                        verdict,
                        ..
                    } if *of == command => Some(End::from(verdict)),
                    _ => None,
                });
            self.world.note(&match end {
                Some(end) => What::Told { command, end },
                None => What::Forgotten { command },
            });
        }
    }

    pub(super) fn may_die(&mut self) -> Alive {
        if self.fragile > 0 && self.world.random.below(10_000) < self.fragile {
            return Err(Died);
        }
        Ok(())
    }
}

pub(super) fn whole(after: Duration) -> Millis {
    Millis::try_from(after.as_millis()).unwrap_or(Millis::MAX)
}
