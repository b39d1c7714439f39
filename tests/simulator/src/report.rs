//! What many lives came to, as a file to publish figures from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::faults::Fault;
use crate::run::Run;
use crate::sim::Books;
use crate::tally::WORDS;

/// Counts and rates of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// First and last seed, the last left out.
    pub seeds: (u64, u64),
    /// Calls lived through.
    pub lives: u64,
    /// Accepted commands that ask to unmute.
    pub unmutes: u64,
    /// Accepted commands that ask to mute, the machine's own among them.
    pub mutes: u64,
    /// Verdicts by their word, and of all verdicts each one's part.
    pub verdicts: BTreeMap<&'static str, (u64, f64)>,
    /// Said no to at once.
    pub declined: u64,
    /// Mutes and unmutes posted.
    pub posts: u64,
    /// Roster versions shown.
    pub published: u64,
    /// Crashes of the process.
    pub crashes: u64,
    /// Events simulated.
    pub events: u64,
    /// How often each fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// Pairs of state and event that came, of so many.
    pub pairs: (usize, usize),
    /// Pairs that never came.
    pub missed: BTreeSet<String>,
    /// Seconds of real time.
    pub seconds: f64,
    /// Threads.
    pub threads: usize,
    /// Unmutes per second of real time, on all threads.
    pub unmutes_per_second: f64,
    /// Broken invariants: a run ends with the first.
    pub violations: u64,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
impl Report {
    pub(crate) fn new(run: &Run, books: &Books, lives: u64, took: Duration) -> Self {
        let tally = &books.tally;
        let all: u64 = tally.verdicts.iter().sum();
        let part = |count: u64| count as f64 / (all.max(1)) as f64;
        let verdicts = WORDS.into_iter().zip(tally.verdicts);
        let missed = books.coverage.missed();
        let pairs = books.coverage.pairs().count();
        let seconds = took.as_secs_f64();
        Self {
            seeds: (run.seeds.start, run.seeds.end),
            lives,
            unmutes: tally.unmutes,
            mutes: tally.mutes,
            verdicts: verdicts
                .map(|(word, count)| (word, (count, part(count))))
                .collect(),
            declined: tally.declined,
            posts: tally.posts,
            published: tally.published,
            crashes: tally.crashes,
            events: tally.events,
            faults: Fault::ALL
                .iter()
                .zip(books.faults)
                .map(|(fault, hits)| (fault.as_str(), hits))
                .collect(),
            pairs: (pairs - missed.len(), pairs),
            missed,
            seconds,
            threads: run.threads,
            unmutes_per_second: tally.unmutes as f64 / seconds.max(1e-9),
            violations: 0,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hit, pairs) = self.pairs;
        write!(
            f,
            "{} unmutes in {} lives, {} crashes, {} violations, {:.0} unmutes/s on {} threads, \
             {hit} of {pairs} pairs of state and event;",
            self.unmutes,
            self.lives,
            self.crashes,
            self.violations,
            self.unmutes_per_second,
            self.threads
        )?;
        for (word, (_, part)) in &self.verdicts {
            write!(f, " {word} {:.2}%", part * 100.0)?;
        }
        Ok(())
    }
}
