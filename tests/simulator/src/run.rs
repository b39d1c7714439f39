//! Many lives, on several threads.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use openmic_checker::Breach;

use crate::report::Report;
use crate::sim::{Books, live};

/// Lives that are counted together.
const LOT: u64 = 64;

/// What to live through.
#[derive(Debug, Clone)]
pub struct Run {
    /// The seeds, in order.
    pub seeds: Range<u64>,
    /// No more lives are begun once so many unmutes were accepted.
    pub unmutes: u64,
    /// Threads; each life is on one.
    pub threads: usize,
}

/// A seed that broke something.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// What.
    pub breach: Breach,
}

impl Run {
    /// Lives through all of them, or up to the first that breaks something.
    ///
    /// # Errors
    /// The failure with the lowest seed among those that were found.
    pub fn live(&self) -> Result<Report, Failure> {
        let begun = Instant::now();
        let next = AtomicU64::new(self.seeds.start);
        let unmutes = AtomicU64::new(0);
        let broken = AtomicBool::new(false);
        let sum = Mutex::new((Books::default(), 0_u64, None::<Failure>));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    let mut books = Books::default();
                    let mut lives = 0;
                    let mut failure = None;
                    while failure.is_none() && !broken.load(Ordering::Relaxed) {
                        let from = next.fetch_add(LOT, Ordering::Relaxed);
                        if from >= self.seeds.end || unmutes.load(Ordering::Relaxed) >= self.unmutes
                        {
                            break;
                        }
                        let before = books.tally.unmutes;
                        for seed in from..(from + LOT).min(self.seeds.end) {
                            lives += 1;
                            if let Some(breach) = live(seed, &mut books, false).breach {
                                failure = Some(Failure { seed, breach });
                                broken.store(true, Ordering::Relaxed);
                                break;
                            }
                        }
                        let more = books.tally.unmutes - before;
                        unmutes.fetch_add(more, Ordering::Relaxed);
                    }
                    let mut sum = sum.lock().expect("no life panics while it counts");
                    sum.0.add(&books);
                    sum.1 += lives;
                    let known = sum.2.as_ref().map_or(u64::MAX, |known| known.seed);
                    if let Some(failure) = failure.filter(|failure| failure.seed < known) {
                        sum.2 = Some(failure);
                    }
                });
            }
        });
        let (books, lives, failure) = sum.into_inner().expect("no life panics while it counts");
        match failure {
            Some(failure) => Err(failure),
            None => Ok(Report::new(self, &books, lives, begun.elapsed())),
        }
    }
}

/// The story of one life, and what it broke.
pub fn story(seed: u64) -> (Vec<String>, Option<Breach>) {
    let lived = live(seed, &mut Books::default(), true);
    (lived.story, lived.breach)
}
