use std::path::PathBuf;
use std::time::Duration;

/// Where the journal is and what it promises.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// The folder, made with mode 0700 when it is missing. One process at a time, on a local disk.
    pub folder: PathBuf,
    /// What an acknowledged record survives. Default [`Durability::PowerLoss`].
    pub durability: Durability,
    /// What is kept, and for how long.
    pub keeping: Keeping,
}

impl JournalConfig {
    /// The defaults, in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            durability: Durability::default(),
            keeping: Keeping::default(),
        }
    }
}

/// What an acknowledged record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// `kill -9`, a crash of the system and loss of power; not the loss of the disk.
    #[default]
    PowerLoss,
    /// `kill -9`. After a crash of the system the latest records may be gone, never a part of one.
    ProcessCrash,
    /// What [`Durability::ProcessCrash`] does, as long as the system lives; after a crash of it the
    /// whole journal may be damaged. For tests and benches.
    None,
}

impl Durability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PowerLoss, Self::ProcessCrash, Self::None];

    /// The word of it in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PowerLoss => "power-loss",
            Self::ProcessCrash => "process-crash",
            Self::None => "none",
        }
    }
}

/// What a journal keeps, and when it says no.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// Below so much free space, in bytes, nothing new is accepted. Default 64 MiB.
    pub min_free: u64,
    /// Bytes held back on the disk, and given up when it is full so that the verdicts of what was
    /// accepted can still be written. Default 16 MiB.
    pub reserve: u64,
    /// How long ended calls, settled commands and kept answers are found. Default 24 h.
    pub retention: Duration,
    /// Settled commands kept of one open call; the oldest go first. Default 4,096.
    pub settled: usize,
    /// Bytes of kept answers, each with some 512 besides its own; the oldest go first. Default
    /// 256 MiB.
    pub answers: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            min_free: 64 << 20,
            reserve: 16 << 20,
            retention: Duration::from_hours(24),
            settled: 4096,
            answers: 256 << 20,
        }
    }
}
