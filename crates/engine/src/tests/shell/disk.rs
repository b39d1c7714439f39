//! The disk under the journal: what it was given is in the history.

use std::sync::Arc;

use openmic_checker::What;
use openmic_journal::{Change, MemoryStore, Reader, Row, Scan, Space, Store, StoreError};
use openmic_model::{Origin, Record};
use parking_lot::Mutex;

use super::world::World;

/// The disk: what it was given outlives the process, and stands in the history.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) store: MemoryStore,
    pub(super) world: Arc<Mutex<World>>,
}

/// What a machine's own command may have waited for the disk before it is noted, in milliseconds.
const DISK: u64 = 10_000;

impl Disk {
    fn noted(world: &mut World, row: &Row) {
        let key = format!("{:032x}", row.call.0);
        let record = row.record().expect("a whole row");
        if let Record::Accepted(accepted) = &record {
            world.journaled.insert(accepted.command);
            if accepted.origin == Origin::Machine {
                let within = u64::try_from(accepted.within.as_millis()).expect("minutes");
                let (command, action) = (accepted.command, accepted.action);
                let within = within.saturating_sub(DISK);
                world.note(
                    &key,
                    What::Accepted {
                        command,
                        action,
                        within,
                    },
                );
            }
        }
        if let Record::Opened { id, .. } = &record {
            world.opened(id);
        }
        world.note(&key, What::Written((&record).into()));
        world.note(&key, What::Durable { records: 1 });
    }
}

impl Store for Disk {
    fn scan(&mut self, into: &mut dyn Scan) -> Result<(), StoreError> {
        self.store.scan(into)
    }

    fn incarnation(&mut self) -> Result<u64, StoreError> {
        self.store.incarnation()
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        self.store.commit(batch)?;
        let mut world = self.world.lock();
        for change in batch {
            if let Change::Put(row) = change {
                Self::noted(&mut world, row);
            }
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<(), StoreError> {
        self.store.idle()
    }

    fn space(&mut self) -> Result<Space, StoreError> {
        self.store.space()
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        self.store.reserve(bytes)
    }

    fn release(&mut self) -> bool {
        self.store.release()
    }

    fn reader(&mut self) -> Result<Box<dyn Reader>, StoreError> {
        self.store.reader()
    }
}
