//! A look at a journal that nobody opens.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use super::{APPLICATION, FORMAT, Found, LOG};
use crate::error::{OpenError, StoreError};

/// What is at the place of a journal, found without touching it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Look {
    /// Nothing; it can be made.
    New,
    /// A journal that can be opened.
    Journal {
        /// Its size in bytes, without what is not yet copied from its log.
        bytes: u64,
    },
    /// A journal that a process has open.
    InUse,
}

impl Look {
    /// Looks at the place of a journal and changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] that opening it would meet; damage within the file is found by opening only.
    pub fn at(folder: &Path) -> Result<Self, OpenError> {
        let bad_folder = |cause| OpenError::Folder {
            folder: folder.to_owned(),
            cause,
        };
        // of a relative path without a folder the last ancestor is empty: where we are
        let there = folder.ancestors().find(|place| place.exists());
        let there = there.unwrap_or(Path::new("."));
        if !there.is_dir() {
            return Err(bad_folder(io::ErrorKind::NotADirectory.into()));
        }
        let rights = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(there, rights).map_err(|errno| bad_folder(errno.into()))?;
        let lock = there_is(&folder.join("lock")).map_err(bad_folder)?;
        let log = there_is(&folder.join(LOG)).map_err(bad_folder)?;
        let file = folder.join("journal.db");
        let Some(database) = there_is(&file).map_err(bad_folder)? else {
            return Ok(Self::New);
        };
        let bytes = database.metadata().map_err(bad_folder)?.len();
        // without anything to open it is held by whoever just makes it
        let held =
            lock.is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        if held {
            return Ok(Self::InUse);
        }
        if bytes == 0 {
            return Ok(Self::New);
        }
        header(database, log).map_err(|found| found.of(&file))?;
        Ok(Self::Journal { bytes })
    }
}

/// Opens a file as the store would, if it is there.
fn there_is(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks at the header of a database, as its log has it where it does.
/// Source: <https://www.sqlite.org/fileformat2.html>, 1.3.
fn header(mut database: File, log: Option<File>) -> Result<(), Found> {
    let damaged = |cause: &str| Found::Store(StoreError::Damaged(cause.to_owned()));
    let mut head = [0; 100];
    database
        .read_exact(&mut head)
        .map_err(|_| damaged("it is shorter than a header"))?;
    if !head.starts_with(b"SQLite format 3\0") {
        return Err(damaged("it is no database"));
    }
    // until it is first copied from the log the file has none of what we look for
    let head = log.and_then(logged_header).unwrap_or(head);
    let number = |at| i64::from(big_endian(&head, at).cast_signed());
    let (format, application) = (number(60), number(68));
    if format > FORMAT {
        return Err(Found::Newer(format));
    }
    if application != APPLICATION {
        return Err(Found::NotOurs);
    }
    Ok(())
}

/// The header as the last whole transaction in a write-ahead log left it; none where it did not touch
/// it. Source: <https://www.sqlite.org/fileformat2.html>, 4.1 and 4.2.
fn logged_header(mut log: File) -> Option<[u8; 100]> {
    let mut start = [0; 32];
    log.read_exact(&mut start).ok()?;
    let page = u64::from(big_endian(&start, 8));
    if page == 0 {
        return None;
    }
    let (mut found, mut open) = (None, None);
    let mut frame = [0; 24];
    while log.read_exact(&mut frame).is_ok() && frame[8..16] == start[16..24] {
        let mut rest = page;
        if big_endian(&frame, 0) == 1 {
            let mut head = [0; 100];
            log.read_exact(&mut head).ok()?;
            rest = page.checked_sub(100)?;
            open = Some(head);
        }
        log.seek_relative(rest.cast_signed()).ok()?;
        // the last frame of a transaction has the size of the database behind it
        if big_endian(&frame, 4) != 0 {
            found = open.take().or(found);
        }
    }
    found
}

fn big_endian(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_be_bytes(number.unwrap_or_default())
}
