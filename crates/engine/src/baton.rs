//! What one runs at a time and nobody waits for.

use std::ops::ControlFlow;

use crate::sync::{AtomicUsize, Mutex, Ordering, PoisonError};

/// Whoever comes while another one runs it leaves word, and that one runs it once more.
#[derive(Debug)]
pub(crate) struct Baton<T> {
    /// Never waited for: the first who comes has it.
    held: Mutex<T>,
    /// How many came since nobody ran it.
    came: AtomicUsize,
}

impl<T> Baton<T> {
    pub(crate) fn new(held: T) -> Self {
        Self {
            held: Mutex::new(held),
            came: AtomicUsize::new(0),
        }
    }

    /// Has `run` see what was there before, here or wherever it runs just now; never waits. What it
    /// breaks off with, if it does so here: whoever left word meanwhile is not heard then.
    ///
    /// `run` must not panic: nobody would run it any more.
    pub(crate) fn run<B>(&self, mut run: impl FnMut(&mut T) -> ControlFlow<B>) -> Option<B> {
        if self.came.fetch_add(1, Ordering::AcqRel) > 0 {
            return None;
        }
        loop {
            let came = self.came.load(Ordering::Acquire);
            let ran = run(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner));
            if let ControlFlow::Break(broken) = ran {
                self.came.store(0, Ordering::Release);
                return Some(broken);
            }
            let left = self
                .came
                .compare_exchange(came, 0, Ordering::AcqRel, Ordering::Acquire);
            if left.is_ok() {
                return None;
            }
        }
    }
}
