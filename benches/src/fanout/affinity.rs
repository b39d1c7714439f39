//! Which processors who may use.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of this process, divided between the server and its subscribers.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// One, so that "per core" means something.
    server: CpuSet,
    subscribers: CpuSet,
    /// There were two.
    apart: bool,
}

impl Cores {
    /// Of those this thread may use the first is the server's.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn divide() -> io::Result<Self> {
        let all = sched_getaffinity(None)?;
        let mut server = CpuSet::new();
        let mut subscribers = CpuSet::new();
        let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        for cpu in usable.by_ref().take(1) {
            server.set(cpu);
        }
        for cpu in usable {
            subscribers.set(cpu);
        }
        if subscribers.count() == 0 {
            subscribers = server;
        }
        Ok(Self {
            server,
            subscribers,
            apart: all.count() > 1,
        })
    }

    /// Whether server and subscribers have processors of their own.
    pub fn are_apart(&self) -> bool {
        self.apart
    }

    /// This thread, and those it starts, leave the server's processor alone.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn leave_the_servers(&self) -> io::Result<()> {
        keep_to(&self.subscribers)
    }

    /// What `start` starts runs on the server's processor; this thread then goes on on the others.
    ///
    /// # Errors
    /// When the system does not allow it, or those of `start`.
    pub(crate) fn on_the_servers<T>(
        &self,
        start: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        keep_to(&self.server)?;
        let started = start();
        keep_to(&self.subscribers)?;
        started
    }
}

/// This thread, and those it starts, run on `cores` from now on.
fn keep_to(cores: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(None, cores)?)
}
