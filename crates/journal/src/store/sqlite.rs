mod look;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use openmic_model::{CallKey, WallTime};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Params, params};

use crate::config::Durability;
use crate::error::{OpenError, StoreError};
use crate::store::{AnswerRow, Change, Reader, Row, Scan, Space, Store, Unreadable};

pub use look::Look;

/// The format of the file, in `user_version`. What reads it must read all lower ones too.
const FORMAT: i64 = 1;

/// `application_id` of the file: "omjl".
const APPLICATION: i64 = 0x6f6d_6a6c;

/// Versions from 3.7.0 on, below this one, can damage the write-ahead log.
const MENDED: i32 = 3_051_003;

/// What a page takes in the log: SQLite's default, and a head.
const PAGE: u64 = 4096 + 24;

/// The write-ahead log, beside the file.
const LOG: &str = "journal.db-wal";

/// The log is copied into the file once so many bytes of it are not there and nothing else is to
/// do. Then it is written over from its beginning: to sync a file that grows costs twice as much.
const LOG_IDLE: u64 = 256 << 10;

/// The same at once, for so many.
const LOG_MOST: u64 = 16 << 20;

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

const COLUMNS: &str = "call, number, at, operation, scope, body, sum";

/// A store in a folder: SQLite with a write-ahead log, and a lock.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    file: PathBuf,
    folder: PathBuf,
    held: bool,
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
        Ok(Self {
            connection,
            file,
            folder: folder.to_owned(),
            held,
            _lock: lock,
        })
    }

    fn log_bytes(&self) -> u64 {
        let log = self.folder.join(LOG);
        std::fs::metadata(log).map_or(0, |log| log.len())
    }

    /// Bytes of the log that are not in the file.
    fn not_copied(&self) -> Result<u64, StoreError> {
        let frames = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)")?
            .query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))?;
        Ok(u64::try_from(frames).unwrap_or(0) * PAGE)
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
    if tables == 0 {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA}
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

/// SQLite's integers have a sign; ours are kept by their bits.
const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn key(bytes: &[u8]) -> Option<CallKey> {
    Some(CallKey(u128::from_be_bytes(bytes.try_into().ok()?)))
}

/// Text and blob alike, because a damaged row may say the one where it was the other.
fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

/// Reads a row in the order of [`COLUMNS`], as tolerantly as can be: the sum judges.
fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Row, Unreadable>> {
    let call = bytes(row.get_ref(0)?);
    let integer = |column| -> rusqlite::Result<Option<u64>> {
        Ok(match row.get_ref(column)? {
            ValueRef::Integer(number) => Some(number.cast_unsigned()),
            _ => None,
        })
    };
    let (number, at, sum) = (integer(1)?, integer(2)?, integer(6)?);
    let Some(call) = key(call) else {
        let mut padded = [0; 16];
        let whole = call.len().min(16);
        padded[..whole].copy_from_slice(&call[..whole]);
        return Ok(Err(Unreadable {
            call: CallKey(u128::from_be_bytes(padded)),
            why: "a row whose call cannot be read".to_owned(),
        }));
    };
    let unreadable = |what: &str| {
        Ok(Err(Unreadable {
            call,
            why: format!("row {}: {what}", number.unwrap_or(0)),
        }))
    };
    let (Some(number), Some(at), Some(sum)) = (number, at, sum) else {
        return unreadable("a number is none");
    };
    let operation = match row.get_ref(3)? {
        ValueRef::Null => None,
        other => match std::str::from_utf8(bytes(other)) {
            Ok(operation) => Some(operation.to_owned()),
            Err(_) => return unreadable("its operation is no text"),
        },
    };
    let scope = match row.get_ref(4)? {
        ValueRef::Null => None,
        other => match bytes(other).try_into() {
            Ok(scope) => Some(scope),
            Err(_) => return unreadable("its scope is no digest"),
        },
    };
    let Ok(sum) = u32::try_from(sum) else {
        return unreadable("its checksum is none");
    };
    Ok(Ok(Row {
        call,
        number,
        at: WallTime(at),
        operation,
        scope,
        body: bytes(row.get_ref(5)?).to_owned(),
        sum,
    }))
}

fn apply(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
        connection.prepare_cached(sql)?.execute(params).map(|_| ())
    };
    match change {
        Change::Put(row) => {
            // the body is JSON: text, so that a person can read it in the file
            let body = rusqlite::types::ToSqlOutput::Borrowed(ValueRef::Text(&row.body));
            run(
                "INSERT INTO records (call, number, at, operation, scope, body, sum) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                &[
                    &row.call.0.to_be_bytes(),
                    &signed(row.number),
                    &signed(row.at.0),
                    &row.operation,
                    &row.scope,
                    &body,
                    &row.sum,
                ],
            )
        }
        Change::Drop { call, numbers } => {
            for number in numbers {
                run(
                    "DELETE FROM records WHERE call = ?1 AND number = ?2",
                    &[&call.0.to_be_bytes(), &signed(*number)],
                )?;
            }
            Ok(())
        }
        Change::DropCall(call) => run(
            "DELETE FROM records WHERE call = ?1",
            &[&call.0.to_be_bytes()],
        ),
        Change::PutAnswer(answer) => run(
            "INSERT OR REPLACE INTO answers (scope, print, at, body, sum) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            &[
                &answer.scope,
                &answer.print,
                &signed(answer.at.0),
                &answer.body,
                &answer.sum,
            ],
        ),
        Change::DropAnswer(scope) => run("DELETE FROM answers WHERE scope = ?1", &[scope]),
        Change::Incarnation(number) => run(
            "INSERT OR REPLACE INTO facts (name, value) VALUES ('incarnation', ?1)",
            &[&signed(*number)],
        ),
    }
}

impl Store for SqliteStore {
    fn scan(&mut self, into: &mut dyn Scan) -> Result<(), StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM records ORDER BY call, number");
        let mut rows = self.connection.prepare(&sql)?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            into.row(read(row)?);
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
        let run = |sql: &str| self.connection.prepare_cached(sql)?.execute([]).map(|_| ());
        let written = run("BEGIN IMMEDIATE").and_then(|()| {
            for change in batch {
                apply(&self.connection, change)?;
            }
            run("COMMIT")
        });
        if let Err(error) = written {
            // some failures have rolled it back already
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK")?;
            }
            return Err(error.into());
        }
        if self.not_copied()? > LOG_MOST {
            self.checkpoint("PASSIVE")?;
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<(), StoreError> {
        if self.not_copied()? > LOG_IDLE {
            self.checkpoint("PASSIVE")?;
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), StoreError> {
        // the log has a page as often as it was written, the file once
        self.checkpoint("TRUNCATE")
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
        Ok(Box::new(SqliteReader { connection }))
    }
}

#[derive(Debug)]
struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    fn rows(&self, filter: &str, params: impl Params) -> Result<Vec<Row>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM records WHERE {filter}");
        let mut rows = self.connection.prepare_cached(&sql)?;
        let mut rows = rows.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            if let Ok(row) = read(row)? {
                found.push(row);
            }
        }
        Ok(found)
    }
}

impl Reader for SqliteReader {
    fn call(&mut self, call: CallKey, after: u64, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.rows(
            "call = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
            params![call.0.to_be_bytes(), signed(after), most(limit)],
        )
    }

    fn operation(&mut self, operation: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.rows("operation = ?1 LIMIT ?2", params![operation, most(limit)])
    }

    fn scope(&mut self, scope: &[u8; 32], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.rows(
            "scope = ?1 ORDER BY number DESC, at DESC LIMIT ?2",
            params![scope, most(limit)],
        )
    }

    fn answer(&mut self, scope: &[u8; 32]) -> Result<Option<AnswerRow>, StoreError> {
        let sql = "SELECT print, at, body, sum FROM answers WHERE scope = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row([scope], |row| {
            Ok(AnswerRow {
                scope: *scope,
                print: row.get(0)?,
                at: WallTime(row.get::<_, i64>(1)?.cast_unsigned()),
                body: row.get(2)?,
                sum: row.get(3)?,
            })
        });
        Ok(found.optional()?)
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
