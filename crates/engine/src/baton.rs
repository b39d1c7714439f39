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

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran<B> {
    /// It has seen what was there before, or will where it runs just now.
    Seen,
    /// Somebody left word, and it ran so often already: somebody is to run it once more.
    Due,
    /// It broke off, and whoever left word is not heard.
    Broke(B),
}

impl<T> Baton<T> {
    pub(crate) fn new(held: T) -> Self {
        Self {
            held: Mutex::new(held),
            came: AtomicUsize::new(0),
        }
    }

    /// Has `run` see what was there before, here or wherever it runs just now; never waits. It runs
    /// here at most `rounds` times, however many come meanwhile.
    pub(crate) fn run<B>(
        &self,
        rounds: usize,
        mut run: impl FnMut(&mut T) -> ControlFlow<B>,
    ) -> Ran<B> {
        if self.came.fetch_add(1, Ordering::AcqRel) > 0 {
            return Ran::Seen;
        }
        let held = Held(&self.came);
        for _ in 0..rounds {
            let came = self.came.load(Ordering::Acquire);
            let ran = run(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner));
            if let ControlFlow::Break(broken) = ran {
                return Ran::Broke(broken);
            }
            let left = self
                .came
                .compare_exchange(came, 0, Ordering::AcqRel, Ordering::Acquire);
            if left.is_ok() {
                std::mem::forget(held);
                return Ran::Seen;
            }
        }
        Ran::Due
    }
}

/// Dropped, the next who comes runs it; also after a panic.
struct Held<'a>(&'a AtomicUsize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // So that the next one sees what everybody saw who left word.
        self.0.swap(0, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn nobody_runs_it_for_others_without_end() {
        let baton = Baton::new(0);
        let often = |rounds| {
            baton.run(rounds, |runs| {
                *runs += 1;
                // Somebody comes in every run.
                let other = baton.run(rounds, |_| ControlFlow::Break(()));
                assert_eq!(other, Ran::Seen, "it is running");
                ControlFlow::<()>::Continue(())
            })
        };
        assert_eq!(often(4), Ran::Due);
        assert_eq!(often(3), Ran::Due, "whoever had it has it no more");
        let runs = baton.run(1, |runs| ControlFlow::Break(*runs));
        assert_eq!(runs, Ran::Broke(7));
    }

    #[test]
    fn a_panic_leaves_it_to_the_next() {
        let baton = Baton::new(0);
        let broken = catch_unwind(AssertUnwindSafe(|| {
            baton.run(1, |_| -> ControlFlow<()> { panic!("a test asked for it") })
        }));
        assert!(broken.is_err());
        let ran = baton.run(1, |runs| ControlFlow::Break(*runs));
        assert_eq!(ran, Ran::Broke(0));
    }
}
