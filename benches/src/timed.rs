use std::future::Future;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What many of one kind took.
#[derive(Debug, Clone, Default)]
pub struct Timed {
    each: Vec<Duration>,
    /// Processor time of the process for one of them.
    pub processor: Duration,
}

impl Timed {
    /// The time that so many percent of them kept within.
    ///
    /// # Panics
    /// When nothing was timed.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.each[(self.each.len() - 1) * percent / 100]
    }

    /// Of all together: `each` by themselves, `processor` in sum.
    pub(crate) fn of(mut each: Vec<Duration>, processor: Duration) -> Self {
        each.sort_unstable();
        let count = u32::try_from(each.len().max(1)).unwrap_or(u32::MAX);
        Self {
            each,
            processor: processor / count,
        }
    }
}

/// Processor time of all threads of this process.
pub(crate) fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default())
}

/// Rounds of work that are timed, after a run-in that is not.
pub(crate) struct Rounds {
    counts_from: Instant,
    left: usize,
    each: Vec<Duration>,
    processor: Duration,
}

impl Rounds {
    /// So many, counted once `run_in` is over.
    pub(crate) fn new(count: usize, run_in: Duration) -> Self {
        Self {
            counts_from: Instant::now() + run_in,
            left: count,
            each: Vec::new(),
            processor: Duration::ZERO,
        }
    }

    pub(crate) const fn are_over(&self) -> bool {
        self.left == 0
    }

    /// Waits for `pause`, then runs all of `work` at once, and takes in what each took from its
    /// beginning. The last of it runs here, as where a bot waits for its own command, and the others
    /// are tasks of their own. To be called on a worker thread.
    pub(crate) async fn run<F>(
        &mut self,
        work: impl IntoIterator<Item = F>,
        pause: Option<Duration>,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<Instant>> + Send + 'static,
    {
        let counts = Instant::now() >= self.counts_from;
        let mut work: Vec<F> = work.into_iter().collect();
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        let mut tasks = JoinSet::new();
        let before = processor();
        let last = work.pop();
        for one in work {
            let begun = Instant::now();
            tasks.spawn(async move { Ok::<_, anyhow::Error>(one.await?.duration_since(begun)) });
        }
        if let Some(last) = last {
            let begun = Instant::now();
            self.each.push(last.await?.duration_since(begun));
        }
        while let Some(done) = tasks.join_next().await {
            self.each.push(done??);
        }
        if counts {
            self.left -= 1;
            self.processor += processor().saturating_sub(before);
        } else {
            self.each.clear();
        }
        Ok(())
    }

    pub(crate) fn timed(self) -> Timed {
        Timed::of(self.each, self.processor)
    }
}
