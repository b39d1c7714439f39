//! An unmute from its acceptance to its verdict on the local service, beside the bare HTTP hops.
//!
//! `chain` is a POST and a webhook back on the same HTTP libraries, with the same sizes; `none` and
//! `power-loss` are the whole way by that durability: engine, POST, local service, answer and
//! signed webhook, verdict `Confirmed`. The signatures were checked before and are looked up.
//!
//! `chain, 2 syncs` waits for the disk as a durable command must: before its POST, since it may not
//! be sent before it is written down, and before it ends. `to its chain` compares `power-loss` with it.
//!
//! So many are under way at once, again and again; each is timed by itself, and the processor time
//! of the whole process is that of all of them. They take turns. A cell is the median of the
//! rounds, `x` the median of the rounds' own ratios to `chain`. The last rows are one unmute until
//! the last of ten subscribers has the roster that says so, beside the chain and ten writes.
//!
//! `cargo bench -p openmic-benches --bench unmute` takes about a minute; a number chooses a row.

use std::time::Duration;

use openmic::Durability;
use openmic_benches::{Bots, Chain, Timed};
use tokio::runtime::Runtime;

const WIDTHS: [usize; 4] = [1, 16, 64, 256];
const ROUNDS: usize = 7;
/// Unmutes of one round, at least: what a 99th percentile needs.
const EACH: usize = 300;
const SUBSCRIBERS: usize = 10;

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    // A test run of all targets only wants to know that it works.
    let once = std::env::args().any(|word| word == "--test");
    let (rounds, each) = if once { (1, 1) } else { (ROUNDS, EACH) };
    let runtime = Runtime::new()?;
    println!("in flight  watched  what             p50 us     x     p99 us     x   cpu us     x");
    for width in WIDTHS {
        if wanted.is_empty() || wanted.contains(&width.to_string()) {
            runtime.block_on(row(width, 0, rounds, each.div_ceil(width)))?;
        }
    }
    if wanted.is_empty() || wanted.iter().any(|word| word == "watched") {
        runtime.block_on(row(1, SUBSCRIBERS, rounds, each))?;
    }
    Ok(())
}

/// All of them at one width. `subscribers` watch each call.
async fn row(width: usize, subscribers: usize, rounds: usize, times: usize) -> anyhow::Result<()> {
    let chain = Chain::start(width, subscribers)?;
    let plain = Bots::join_watched(width, None, subscribers).await?;
    let synced = Chain::start_durable(width, subscribers)?;
    let durable = Bots::join_watched(width, Some(Durability::PowerLoss), subscribers).await?;
    let mut taken: [Vec<Timed>; 4] = Default::default();
    for round in 0..=rounds {
        let turn = [
            chain.timed(times).await?,
            plain.timed(times).await?,
            synced.timed(times).await?,
            durable.timed(times).await?,
        ];
        // The first one makes connections and fills caches.
        if round > 0 {
            for (taken, timed) in taken.iter_mut().zip(turn) {
                taken.push(timed);
            }
        }
    }
    let [bare, ours, bare_synced, ours_synced] = &taken;
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
            "{width:>9}  {subscribers:>7}  {name:<14}{}  {}{}",
            cell(&|timed| timed.percentile(50)),
            cell(&|timed| timed.percentile(99)),
            cell(&|timed| timed.processor),
        );
    }
    chain.stop().await;
    synced.stop().await;
    plain.stop().await?;
    durable.stop().await
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
