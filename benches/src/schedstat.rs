//! Processor time as the scheduler counts it, the kernel's work for a thread included.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

/// A thread's, by its folder in `/proc`.
pub(crate) fn of_thread(folder: &Path) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(folder.join("schedstat"))?;
    let first = text.split_whitespace().next().context("no run time")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// Folders of a process's threads. A process is its number, or `self`.
pub(crate) fn threads(process: &str) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(format!("/proc/{process}/task"))?
        .map(|thread| Ok(thread?.path()))
        .collect()
}
