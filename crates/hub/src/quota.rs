use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places one of those who take them may have, such as one caller. Clones share it.
#[derive(Debug, Clone)]
pub struct Quota {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

impl Quota {
    /// One of which nothing is taken.
    pub fn new(limit: usize) -> Self {
        Self {
            taken: Arc::default(),
            limit,
        }
    }

    /// A place; `None` when all are taken.
    pub fn take(&self) -> Option<Place> {
        let more = |now: usize| (now < self.limit).then_some(now + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Place {
            taken: Arc::clone(&self.taken),
        })
    }

    /// How many places are taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many there are.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// One place of a [`Quota`]; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Place {
    taken: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
