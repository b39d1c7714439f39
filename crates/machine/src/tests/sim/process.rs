//! The process around the machine: its journal, its wall clock, and its ends.

use openmic_model::{
    AppId, Book, CallId, CallIntent, CallKind, CommandId, Record, Restored, TenantId, WallTime,
};

use super::super::rig::{OWN_COMMAND, me};
use super::graph::Random;
use crate::{Config, Time};

/// What the wall clock shows at first.
const WALL: u64 = 1_764_000_000_000;
/// How far it jumps.
pub(super) const DAY: u64 = 24 * 3600 * 1000;

pub(super) fn config(epoch: u64, join_muted: bool, ahead: u64) -> Config {
    // Every process draws another.
    let own = CommandId::new(u128::from(epoch - 1) << 100);
    Config {
        join_muted,
        wall_origin: WallTime(WALL + ahead),
        ..Config::new(epoch, if epoch == 1 { OWN_COMMAND } else { own })
    }
}

/// One process after the other, and what they leave each other.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) dying: bool,
    up: bool,
    book: Book,
    opened: bool,
    /// Written and not yet durable.
    lazy: Vec<(WallTime, Record)>,
    /// How far the wall clock has jumped.
    ahead: u64,
    config: Config,
}

impl Process {
    pub(super) fn new(config: Config) -> Self {
        Self {
            dying: false,
            up: true,
            book: Book::default(),
            opened: false,
            lazy: Vec::new(),
            ahead: DAY,
            config,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    pub(super) fn is_opened(&self) -> bool {
        self.opened
    }

    /// Commands of the bot have small numbers.
    pub(super) fn is_bots(&self, id: CommandId) -> bool {
        (1..1000).any(|number| CommandId::new(number) == id)
    }

    fn wall(&self, now: Time) -> WallTime {
        WallTime(WALL + self.ahead).after(now.since_origin())
    }

    /// The create was answered.
    pub(super) fn opened(&mut self, random: &mut Random) {
        if std::mem::replace(&mut self.opened, true) {
            return;
        }
        let at = self.wall(Time::ZERO);
        let intent = Record::Intent(Box::new(CallIntent {
            app: AppId::parse("app").unwrap(),
            tenant: TenantId::parse("tenant").unwrap(),
            kind: CallKind::Group,
            offered: None,
            join_muted: self.config.join_muted,
            named: None,
            repeat: None,
        }));
        let opened = Record::Opened {
            id: CallId::parse("call").unwrap(),
            kind: CallKind::Group,
            me: random.chance(50).then(me),
        };
        for record in [intent, opened] {
            self.book.apply(at, &record).unwrap();
        }
    }

    pub(super) fn write(&mut self, now: Time, record: &Record) {
        let at = self.wall(now);
        self.lazy.push((at, record.clone()));
        if !matches!(record, Record::Outcome { .. }) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        for (at, record) in self.lazy.drain(..) {
            self.book.apply(at, &record).unwrap();
        }
    }

    /// `keeps` what it had written and not made durable.
    pub(super) fn crash(&mut self, keeps: bool) {
        if keeps {
            self.sync();
        }
        self.lazy.clear();
        self.dying = false;
        self.up = false;
    }

    /// A day ahead, or back to where it was.
    pub(super) fn clock_jumps(&mut self, random: &mut Random) {
        self.ahead = if random.chance(50) {
            self.ahead + DAY
        } else {
            self.ahead.saturating_sub(DAY)
        };
    }

    pub(super) fn restart(&mut self, now: Time) -> (Config, Restored, WallTime) {
        self.up = true;
        let Config {
            epoch, join_muted, ..
        } = self.config;
        self.config = config(epoch + 1, join_muted, self.ahead);
        (self.config.clone(), self.book.restored(), self.wall(now))
    }
}
