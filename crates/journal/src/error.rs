use std::io;
use std::path::PathBuf;

/// Why a journal cannot be opened. Nothing was changed by the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be made, or not be written to.
    #[error(
        "the journal's folder {} cannot be written: {cause}. Give a folder that this user may \
         write, on a local disk", .folder.display()
    )]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another process holds it.
    #[error(
        "the journal in {} is in use by another process. Stop that one, or give each its own \
         folder", .folder.display()
    )]
    InUse {
        /// Which.
        folder: PathBuf,
    },
    /// A newer version of the program wrote it.
    #[error(
        "the journal {} has format {found}, and this version reads up to {known}. Start the \
         version that wrote it, or give another folder; nothing was changed", .file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// It is a database of something else.
    #[error("{} is no journal of openmic. Give another folder; nothing was changed", .file.display())]
    NotOurs {
        /// The file.
        file: PathBuf,
    },
    /// Where it lies there can be no write-ahead log.
    #[error(
        "the file system of the journal {} cannot keep a write-ahead log (SQLite answers \"{mode}\"), \
         as some of a network cannot. Give a folder on a local disk", .file.display()
    )]
    NoLog {
        /// The file.
        file: PathBuf,
        /// How SQLite would keep it instead.
        mode: String,
    },
    /// The file as a whole is damaged, not only rows in it.
    #[error(
        "the journal {} is damaged: {cause}. Nothing was changed. Copy the folder, then \
         `sqlite3 journal.db .recover | sqlite3 new.db` saves what can be read; or give an empty \
         folder, which forgets the open calls", .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The SQLite in this program has a known bug that damages journals.
    #[error(
        "SQLite {version} can damage its write-ahead log (mended in 3.51.3). Build openmic with \
         the bundled one"
    )]
    OldSqlite {
        /// Its version.
        version: &'static str,
    },
    /// The disk refused.
    #[error("the journal {} cannot be opened: {cause}", .file.display())]
    Store {
        /// The file.
        file: PathBuf,
        /// What was said.
        #[source]
        cause: StoreError,
    },
}

/// Why a store did not do as told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room. Nothing of the batch is there; it may be written again.
    #[error("the disk is full")]
    Full,
    /// A read, a write or a sync failed. What the batch came to is unknown until the store is
    /// opened anew, and it must not be written again here.
    #[error("the disk failed: {0}")]
    Failed(String),
    /// What was read makes no sense.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// The records of a ticket are not durable and will not be: the journal failed, or was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal failed, so the record is not durable")]
pub struct Lost;

/// Why nothing new may be accepted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The disk has too little room.
    #[error("the disk of the journal has {free} bytes free, fewer than {min}")]
    Disk {
        /// Bytes free when last looked.
        free: u64,
        /// [`Keeping::min_free`](crate::Keeping::min_free).
        min: u64,
    },
    /// The disk is slower than what comes.
    #[error("the journal is behind: {queued} records wait for the disk")]
    Behind {
        /// Records that wait.
        queued: usize,
    },
    /// The journal failed; the process is about to end.
    #[error("the journal failed")]
    Failed,
}

/// Why a lookup has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Too many lookups wait.
    #[error("too many lookups wait for the journal")]
    Busy,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}
