use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// So much is added at once.
const STEP: u64 = 4 << 20;

/// With less than that left of the file, more is added.
const LEAST: u64 = 512 << 10;

/// Nothing is added that would leave less room on the disk.
const ROOM: u64 = 64 << 20;

/// Keeps the file of the write-ahead log longer than what is in it.
///
/// Where the log is written into a file that is long enough, a sync has its pages to write and nothing
/// else. Where the file grows, or was made longer without being written, the file system writes down
/// besides where its new blocks are, and what others changed meanwhile: that takes longer than the pages.
/// What is behind the log's last frame SQLite does not look at, as after it began from the start again.
#[derive(Debug)]
pub(super) struct Ahead {
    log: PathBuf,
    /// The file was so long when it was last looked at.
    length: u64,
}

impl Ahead {
    pub(super) fn of(log: &Path) -> Self {
        Self {
            log: log.to_owned(),
            length: 0,
        }
    }

    /// To be called by who writes the log: it ends here.
    pub(super) fn keep(&mut self, end: u64) {
        // An empty log has a head to be written first; zeros for one say nothing.
        if end == 0 || end + LEAST <= self.length {
            return;
        }
        match self.extend(end) {
            Ok(length) => self.length = length,
            // it grows as it is written
            Err(error) => tracing::debug!(%error, "the journal's log cannot be made longer"),
        }
    }

    /// How long it is then.
    fn extend(&self, end: u64) -> io::Result<u64> {
        // SQLite's locks are not on this file, so that closing it here gives none of them up
        let file = OpenOptions::new().write(true).open(&self.log)?;
        let length = file.metadata()?.len();
        let disk = rustix::fs::fstatvfs(&file)?;
        let room = disk.f_bavail.saturating_mul(disk.f_frsize);
        if end + LEAST <= length || room < ROOM + STEP {
            return Ok(length);
        }
        zero(&file, length, length + STEP)?;
        Ok(length + STEP)
    }

    /// The file became shorter.
    pub(super) fn cut(&mut self) {
        self.length = 0;
    }
}

fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    for at in (from..to).step_by(ZEROS.len()) {
        file.write_all_at(&ZEROS, at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use openmic_model::{CallKey, WallTime};

    use super::*;
    use crate::config::Durability;
    use crate::store::sqlite::{LOG, SqliteStore};
    use crate::store::{Change, Row, Scan, Store, Unreadable};

    fn length(folder: &Path) -> u64 {
        folder.join(LOG).metadata().unwrap().len()
    }

    fn put(number: u64) -> Change {
        let body = vec![b' '; 3000];
        let row = Row::sealed(CallKey(1), number, WallTime(0), None, None, body);
        Change::Put(row)
    }

    #[derive(Default)]
    struct Count(u64);

    impl Scan for Count {
        fn row(&mut self, row: Result<Row, Unreadable>) {
            assert!(row.unwrap().is_whole());
            self.0 += 1;
        }

        fn answer(&mut self, _: WallTime, _: [u8; 32], _: u64) {}
    }

    #[test]
    fn the_log_is_written_into_what_is_there_already_and_read_up_to_its_end() {
        const ROWS: u64 = 2000;
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path(), Durability::PowerLoss).unwrap();
        store.commit(&[put(1)]).unwrap();
        store.catch_up().unwrap();
        let mut before = length(folder.path());
        assert!(before >= STEP);
        let mut grown = 0;
        for number in 2..=ROWS {
            store.commit(&[put(number)]).unwrap();
            assert_eq!(length(folder.path()), before, "a commit makes it longer");
            store.catch_up().unwrap();
            let now = length(folder.path());
            grown += usize::from(now != before);
            before = now;
        }
        assert!((1..=5).contains(&grown), "{grown}");
        // as a crash leaves it
        let after = tempfile::tempdir().unwrap();
        for name in ["journal.db", LOG] {
            std::fs::copy(folder.path().join(name), after.path().join(name)).unwrap();
        }
        let mut found = Count::default();
        let mut store = SqliteStore::open(after.path(), Durability::PowerLoss).unwrap();
        store.scan(&mut found).unwrap();
        assert_eq!(found.0, ROWS);
    }

    #[test]
    fn what_a_full_disk_needed_is_taken_again_later_and_nothing_where_no_commit_waits() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path(), Durability::PowerLoss).unwrap();
        store.commit(&[put(1)]).unwrap();
        store.idle().unwrap();
        store.make_room().unwrap();
        assert_eq!(length(folder.path()), 0);
        store.commit(&[put(2)]).unwrap();
        store.idle().unwrap();
        assert!(length(folder.path()) >= STEP);
        drop(store);
        let mut store = SqliteStore::open(folder.path(), Durability::ProcessCrash).unwrap();
        store.commit(&[put(3)]).unwrap();
        store.idle().unwrap();
        assert!(length(folder.path()) < STEP);
    }
}
