//! An unmute from its acceptance to its verdict on the local service, beside the bare HTTP hops.
//!
//! `chain` is a POST and a webhook back on the same HTTP libraries, with the same messages, header for
//! header and byte for byte as long; `none` and `power-loss` are the whole way by that durability:
//! engine, POST, local service, answer and signed webhook, verdict `Confirmed`. The signatures were
//! checked before and are looked up.
//!
//! `chain, 2 syncs` waits for the disk as a durable command must: before its POST, since it may not
//! be sent before it is written down, and before it ends. `to its chain` compares `power-loss` with it.
//!
//! Each has a runtime of its own, all of one shape: as the binary has it, with a worker for each
//! core, or with one worker. On several workers the hops of a lone exchange may stay on one worker or
//! go back and forth between two, whose waking up then takes as long as the hops; which of both a runtime
//! falls into is chance, and it lasts. So a row is measured in several sittings, each with new
//! runtimes for all. On one worker there is no such chance: what remains is the work.
//!
//! `apart` is one at a time with a millisecond before each, as a bot unmutes: tasks sleep and caches
//! have cooled, for the chain as well. The other rows begin the next one in the moment the last one
//! ends, in the task that waited for it: tokio polls three tasks in a row that wake each other and hands the
//! next to another worker, so a task more between two of them would be measured and not the unmute.
//! In its first fifty milliseconds after a sleep a runtime's second worker does not join in, and then it does: a
//! lone chain takes 70 us each time and then 120, an unmute 150 and then 210, on the machine of the README's table.
//! So a round without pauses has a run-in that is not counted, for all: what is compared is what lasts.
//! Nor are the first rounds of a sitting counted, for any: connections are made and caches filled, and what is kept of
//! the past, as the flight recorder, the truth log and the rows of the journal, grows to its bound. Until then there is
//! memory that nobody had before, of which the system clears 2 MiB at a stroke; that takes 5 ms on a virtual
//! machine, and all that are under way wait for it.
//!
//! So many are under way at once, again and again; each is timed by itself, and the processor time
//! of the whole process is that of all of them. They take turns. A cell is the median of the
//! rounds of all sittings, `x` the median of the rounds' own ratios to `chain`. The last rows are one
//! unmute until the last of ten subscribers has the roster that says so, beside the chain and ten writes.
//!
//! `cargo bench -p openmic-benches --bench unmute` takes about twelve minutes; a number chooses a width, `apart` those.

use std::time::Duration;

use openmic::Durability;
use openmic_benches::{Bots, Chain, Timed};
use tokio::runtime::{Builder, Runtime};

/// Workers, none for as many as there are cores, how many are under way at once, and what is before each.
const ROWS: [(Option<usize>, usize, Option<Duration>); 8] = [
    (None, 1, Some(APART)),
    (Some(1), 1, Some(APART)),
    (None, 1, None),
    (Some(1), 1, None),
    (None, 16, None),
    (None, 64, None),
    (Some(1), 64, None),
    (None, 256, None),
];
const APART: Duration = Duration::from_millis(1);
const SITTINGS: usize = 3;
/// Rounds of one sitting, and ...
const ROUNDS: usize = 5;
/// ... those before them, which are not counted.
const WARM: usize = 4;
/// Unmutes of one round, at least: what a 99th percentile needs.
const EACH: usize = 600;
/// Before them, in a row without a pause.
const RUN_IN: Duration = Duration::from_millis(150);
const SUBSCRIBERS: usize = 10;

/// One kind of row.
struct Row {
    workers: Option<usize>,
    width: usize,
    pause: Option<Duration>,
    /// Who watches each call.
    subscribers: usize,
}

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    // A test run of all targets only wants to know that it works.
    let once = std::env::args().any(|word| word == "--test");
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    println!(
        "workers  in flight  watched  what             p50 us     x     p99 us     x   cpu us     x"
    );
    for (workers, width, pause) in ROWS {
        let is_apart = pause.is_some() && is_wanted("apart");
        if is_wanted(&width.to_string()) || is_apart {
            let subscribers = 0;
            Row {
                workers,
                width,
                pause,
                subscribers,
            }
            .measure(once)?;
        }
    }
    if is_wanted("watched") {
        let subscribers = SUBSCRIBERS;
        Row {
            workers: None,
            width: 1,
            pause: None,
            subscribers,
        }
        .measure(once)?;
    }
    Ok(())
}

impl Row {
    fn measure(&self, once: bool) -> anyhow::Result<()> {
        let (sittings, rounds, each, run_in) = match (once, self.pause) {
            (true, _) => (1, [1, 1], 1, Duration::ZERO),
            (false, None) => (SITTINGS, [WARM, ROUNDS], EACH, RUN_IN),
            (false, Some(_)) => (SITTINGS, [1, ROUNDS], EACH, Duration::ZERO),
        };
        let mut taken = Default::default();
        for _ in 0..sittings {
            self.sit(rounds, each.div_ceil(self.width), run_in, &mut taken)?;
        }
        self.print(&taken);
        Ok(())
    }

    /// All four in turns, each in a new runtime: for as long as `run_in`, and then `times` that count. So for
    /// some rounds that do not count, and some that do.
    fn sit(
        &self,
        [warm, rounds]: [usize; 2],
        times: usize,
        run_in: Duration,
        taken: &mut [Vec<Timed>; 4],
    ) -> anyhow::Result<()> {
        let (width, subscribers) = (self.width, self.subscribers);
        let runtimes = [(); 4].map(|()| self.runtime());
        let [for_chain, for_plain, for_synced, for_durable] = runtimes;
        let (for_chain, for_plain) = (for_chain?, for_plain?);
        let (for_synced, for_durable) = (for_synced?, for_durable?);
        let chain = for_chain.block_on(async { Chain::start(width, subscribers) })?;
        let plain = for_plain.block_on(Bots::join_watched(width, None, subscribers))?;
        let synced = for_synced.block_on(async { Chain::start_durable(width, subscribers) })?;
        let durability = Some(Durability::PowerLoss);
        let durable = for_durable.block_on(Bots::join_watched(width, durability, subscribers))?;
        for round in 0..warm + rounds {
            let turn = [
                for_chain.block_on(chain.timed(times, run_in, self.pause))?,
                for_plain.block_on(plain.timed(times, run_in, self.pause))?,
                for_synced.block_on(synced.timed(times, run_in, self.pause))?,
                for_durable.block_on(durable.timed(times, run_in, self.pause))?,
            ];
            if round >= warm {
                for (taken, timed) in taken.iter_mut().zip(turn) {
                    taken.push(timed);
                }
            }
        }
        for_chain.block_on(chain.stop());
        for_synced.block_on(synced.stop());
        for_plain.block_on(plain.stop())?;
        for_durable.block_on(durable.stop())
    }

    fn runtime(&self) -> std::io::Result<Runtime> {
        let mut runtime = Builder::new_multi_thread();
        if let Some(workers) = self.workers {
            runtime.worker_threads(workers);
        }
        runtime.enable_all().build()
    }

    fn print(&self, taken: &[Vec<Timed>; 4]) {
        let workers = self
            .workers
            .map_or("cores".to_owned(), |count| count.to_string());
        let subscribers = self.subscribers;
        let width = match self.pause {
            Some(_) => format!("{} apart", self.width),
            None => self.width.to_string(),
        };
        let [bare, ours, bare_synced, ours_synced] = taken;
        let rows = [
            ("chain", bare, bare),
            ("none", ours, bare),
            ("chain, 2 syncs", bare_synced, bare),
            ("power-loss", ours_synced, bare),
            ("  to its chain", ours_synced, bare_synced),
        ];
        for (name, taken, base) in rows {
            let cell = |read: &dyn Fn(&Timed) -> Duration| {
                let micros = median(taken.iter().map(|timed| micros(read(timed))));
                let both = taken.iter().zip(base);
                let ratio = median(both.map(|(ours, its)| micros_ratio(read(ours), read(its))));
                format!("{micros:>9.1} {ratio:>5.2}")
            };
            println!(
                "{workers:>7}  {width:>9}  {subscribers:>7}  {name:<14}{}  {}{}",
                cell(&|timed| timed.percentile(50)),
                cell(&|timed| timed.percentile(99)),
                cell(&|timed| timed.processor),
            );
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn micros_ratio(ours: Duration, its: Duration) -> f64 {
    ours.as_secs_f64() / its.as_secs_f64()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
