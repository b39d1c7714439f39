mod ahead;
mod look;
mod reader;
mod recent;
mod row;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use openmic_model::WallTime;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use crate::config::Durability;
use crate::error::{OpenError, StoreError};
use crate::store::{Change, Reader, Row, Scan, Space, Store, Unreadable};

use ahead::Ahead;
pub use look::Look;
use reader::SqliteReader;
use recent::Recent;
use row::{COLUMNS, bytes, mends, read};

/// The format of the file, in `user_version`. What reads it must read all lower ones too.
const FORMAT: i64 = 2;

/// `application_id` of the file: "omjl".
const APPLICATION: i64 = 0x6f6d_6a6c;

/// Versions from 3.7.0 on, below this one, can damage the write-ahead log.
const MENDED: i32 = 3_051_003;

/// What a page takes in the log: SQLite's default, and a head.
const PAGE: u64 = 4096 + 24;

/// The write-ahead log, beside the file.
const LOG: &str = "journal.db-wal";

/// The log is copied into the file once so many bytes of it are not there and nothing else is to
/// do. Then it is written over from its beginning.
const LOG_IDLE: u64 = 256 << 10;

/// The same at once, for so many. No more than the reserve that is given up on a full disk: what is
/// not copied needs room in the file before a commit goes on there.
const LOG_MOST: u64 = 16 << 20;

/// What format 1 had, and has to the letter.
const SCHEMA: &str = "
CREATE TABLE records (
    call BLOB NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    operation TEXT,
    scope BLOB,
    body TEXT NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (call, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX by_operation ON records (operation) WHERE operation IS NOT NULL;
CREATE INDEX by_scope ON records (scope) WHERE scope IS NOT NULL;
CREATE TABLE answers (
    scope BLOB NOT NULL PRIMARY KEY,
    print BLOB NOT NULL,
    at INTEGER NOT NULL,
    body BLOB NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
CREATE TABLE facts (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// What format 2 has besides: see [`recent`].
const SINCE_2: &str = "
CREATE TABLE recent (
    id INTEGER NOT NULL PRIMARY KEY,
    call BLOB NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    operation TEXT,
    scope BLOB,
    body TEXT NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
";

/// A store in a folder: SQLite with a write-ahead log, and a lock.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    file: PathBuf,
    folder: PathBuf,
    held: bool,
    /// What is not filed yet.
    recent: Recent,
    /// None where no commit waits for the disk.
    ahead: Option<Ahead>,
    /// Locked as long as it is open.
    _lock: File,
}

impl SqliteStore {
    /// Opens the journal in `folder`, or makes one.
    ///
    /// # Errors
    /// [`OpenError`]; nothing in the folder was changed then.
    pub fn open(folder: &Path, durability: Durability) -> Result<Self, OpenError> {
        if rusqlite::version_number() < MENDED {
            let version = rusqlite::version();
            return Err(OpenError::OldSqlite { version });
        }
        let bad_folder = |cause| OpenError::Folder {
            folder: folder.to_owned(),
            cause,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(bad_folder)?;
        let lock = private(&folder.join("lock")).map_err(bad_folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let folder = folder.to_owned();
                return Err(OpenError::InUse { folder });
            }
            Err(TryLockError::Error(cause)) => return Err(bad_folder(cause)),
        }
        let file = folder.join("journal.db");
        // made here, because SQLite would make it readable for everybody; its log takes after it
        private(&file).map_err(bad_folder)?;
        let connection = connect(&file, durability).map_err(|error| error.of(&file))?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(bad_folder)?;
        let held = folder.join("reserve").exists();
        let ahead = (durability == Durability::PowerLoss).then(|| Ahead::of(&folder.join(LOG)));
        Ok(Self {
            connection,
            file,
            folder: folder.to_owned(),
            held,
            recent: Recent::new(durability),
            ahead,
            _lock: lock,
        })
    }

    fn log_bytes(&self) -> u64 {
        let log = self.folder.join(LOG);
        std::fs::metadata(log).map_or(0, |log| log.len())
    }

    /// Bytes of the log, and of these what is not in the file.
    fn log(&self) -> Result<(u64, u64), StoreError> {
        let (written, copied) = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)")?
            .query_row([], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
        let bytes = |frames| u64::try_from(frames).unwrap_or(0) * PAGE;
        Ok((bytes(written), bytes(written - copied)))
    }

    /// Sees that there is room for the log to go on, and copies it once `most` bytes are not in the file.
    fn tend_log(&mut self, most: u64) -> Result<(), StoreError> {
        let (written, not_copied) = self.log()?;
        if not_copied > most {
            self.checkpoint("PASSIVE")?;
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.keep(written);
        }
        Ok(())
    }

    /// Copies the log into the file; `how` is a mode of SQLite's. What a reader holds up is done
    /// next time.
    fn checkpoint(&self, how: &str) -> Result<(), StoreError> {
        let done = self
            .connection
            .query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()));
        match done.map_err(StoreError::from) {
            // there is no room to copy the log into the file: the log still has it all
            Ok(()) | Err(StoreError::Full) => Ok(()),
            failed => failed,
        }
    }
}

/// Opens a file for writing that only this user may read.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

/// Takes `bytes` of the disk for a file.
fn hold(mut file: File, bytes: u64) -> io::Result<()> {
    let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
    match allocated {
        // a file system that cannot allocate takes what is written
        Err(rustix::io::Errno::OPNOTSUPP) => {
            io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
            Ok(())
        }
        done => Ok(done?),
    }
}

/// What was found wrong before the file's name is known.
enum Found {
    Newer(i64),
    NotOurs,
    /// What SQLite does instead.
    NoLog(String),
    Store(StoreError),
}

impl Found {
    fn of(self, file: &Path) -> OpenError {
        let file = file.to_owned();
        match self {
            Self::Newer(found) => OpenError::Newer {
                file,
                found,
                known: FORMAT,
            },
            Self::NotOurs => OpenError::NotOurs { file },
            Self::NoLog(mode) => OpenError::NoLog { file, mode },
            Self::Store(StoreError::Damaged(cause)) => OpenError::Damaged { file, cause },
            Self::Store(cause) => OpenError::Store { file, cause },
        }
    }
}

impl From<rusqlite::Error> for Found {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

fn connect(file: &Path, durability: Durability) -> Result<Connection, Found> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    set_up(Connection::open_with_flags(file, flags)?, durability)
}

fn set_up(connection: Connection, durability: Durability) -> Result<Connection, Found> {
    connection.busy_timeout(Duration::from_secs(5))?;
    let number = |name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
    };
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (application, format) = (number("application_id")?, number("user_version")?);
    if tables > 0 && application != APPLICATION {
        return Err(Found::NotOurs);
    }
    if format > FORMAT {
        return Err(Found::Newer(format));
    }
    let synchronous = match durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessCrash => "NORMAL",
        Durability::None => "OFF",
    };
    // SQLite says what it does in the end, and calls nothing an error
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Found::NoLog(mode));
    }
    connection.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous};
         PRAGMA wal_autocheckpoint = 0; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;"
    ))?;
    if tables == 0 || format < FORMAT {
        let schema = if tables == 0 { SCHEMA } else { "" };
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {schema} {SINCE_2}
             PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; COMMIT"
        ))?;
    }
    Ok(connection)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        match code {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Store for SqliteStore {
    fn scan(&mut self, into: &mut dyn Scan) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, 0 FROM records UNION ALL SELECT {COLUMNS}, 1 FROM recent \
             ORDER BY call, number, 8"
        );
        let mut rows = self.connection.prepare(&sql)?;
        let mut rows = rows.query([])?;
        let mut last: Option<(bool, Result<Row, Unreadable>)> = None;
        while let Some(row) = rows.next()? {
            let (recent, row) = (row.get(7)?, read(row)?);
            let passed = match (&last, &row) {
                // filed, and still among the recent ones
                (Some((_, last)), row) if last == row => true,
                (Some((false, Ok(filed))), Ok(row)) => recent && mends(row, filed),
                _ => false,
            };
            if let Some((_, last)) = last.replace((recent, row))
                && !passed
            {
                into.row(last);
            }
        }
        if let Some((_, last)) = last {
            into.row(last);
        }
        let mut answers = self
            .connection
            .prepare("SELECT scope, at, length(body) FROM answers")?;
        let mut answers = answers.query([])?;
        while let Some(row) = answers.next()? {
            if let Ok(scope) = bytes(row.get_ref(0)?).try_into() {
                let (at, length): (i64, i64) = (row.get(1)?, row.get(2)?);
                into.answer(WallTime(at.cast_unsigned()), scope, length.cast_unsigned());
            }
        }
        Ok(())
    }

    fn incarnation(&mut self) -> Result<u64, StoreError> {
        let found = self
            .connection
            .query_row(
                "SELECT value FROM facts WHERE name = 'incarnation'",
                [],
                |row| row.get::<_, i64>(0),
            )
            .optional()?;
        Ok(found.unwrap_or(0).cast_unsigned())
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        Ok(self.recent.commit(&self.connection, batch)?)
    }

    fn idle(&mut self) -> Result<(), StoreError> {
        self.recent.file_idly(&self.connection)?;
        self.tend_log(LOG_IDLE)
    }

    fn catch_up(&mut self) -> Result<(), StoreError> {
        self.recent.file_on(&self.connection)?;
        self.tend_log(LOG_MOST)
    }

    fn make_room(&mut self) -> Result<(), StoreError> {
        // the log has a page as often as it was written, the file once
        self.checkpoint("TRUNCATE")?;
        if let Some(ahead) = &mut self.ahead {
            ahead.cut();
        }
        Ok(())
    }

    fn space(&mut self) -> Result<Space, StoreError> {
        let failed = |error: io::Error| StoreError::Failed(error.to_string());
        let disk = rustix::fs::statvfs(&self.folder).map_err(|error| failed(error.into()))?;
        let file = std::fs::metadata(&self.file).map_err(failed)?.len();
        Ok(Space {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            used: file + self.log_bytes(),
        })
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        if self.held || bytes == 0 {
            return true;
        }
        let path = self.folder.join("reserve");
        let held = private(&path).and_then(|file| hold(file, bytes));
        self.held = held.is_ok();
        if let Err(error) = held {
            tracing::debug!(%error, "the journal's reserve cannot be held");
            std::fs::remove_file(&path).unwrap_or_default();
        }
        self.held
    }

    fn release(&mut self) -> bool {
        let held = std::mem::take(&mut self.held);
        held && std::fs::remove_file(self.folder.join("reserve")).is_ok()
    }

    fn reader(&mut self) -> Result<Box<dyn Reader>, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        Ok(Box::new(SqliteReader::new(connection, &self.recent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has no memory to share among those that have the file open, as some file systems of
    /// a network: of these SQLite tells by this answer only.
    #[test]
    fn where_no_write_ahead_log_can_be_kept_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("journal.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = Connection::open_with_flags_and_vfs(&file, flags, "unix-none").unwrap();
        let found = set_up(connection, Durability::PowerLoss).err().unwrap();
        let said = found.of(&file).to_string();
        assert!(
            said.contains("cannot keep a write-ahead log") && said.contains("on a local disk"),
            "{said}"
        );
        assert_eq!(file.metadata().unwrap().len(), 0, "nothing was written");
    }
}
