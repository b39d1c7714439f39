//! An unmute from its acceptance to its verdict on the local service, beside the bare HTTP hops.
//!
//! `chain` is a POST and a webhook back on the same HTTP libraries, with the same sizes; `none` and
//! `power-loss` are the whole way by that durability: engine, POST, local service, answer and
//! signed webhook, verdict `Confirmed`. The signatures were checked before and are looked up.
//!
//! So many are under way at once, again and again; each is timed by itself, and the processor time
//! of the whole process is that of all of them. The three take turns. A cell is the median of the
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
    println!("in flight  what             p50 us     x     p99 us     x   cpu us     x");
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

/// All three at one width. `subscribers` watch each call.
async fn row(width: usize, subscribers: usize, rounds: usize, times: usize) -> anyhow::Result<()> {
    let chain = Chain::start(width, subscribers)?;
    let plain = Bots::join_watched(width, None, subscribers).await?;
    let durable = Bots::join_watched(width, Some(Durability::PowerLoss), subscribers).await?;
    let mut taken: [Vec<Timed>; 3] = Default::default();
    for round in 0..=rounds {
        let turn = [
            chain.timed(times).await?,
            plain.timed(times).await?,
            durable.timed(times).await?,
        ];
        // The first one makes connections and fills caches.
        if round > 0 {
            for (taken, timed) in taken.iter_mut().zip(turn) {
                taken.push(timed);
            }
        }
    }
    let names = if subscribers == 0 {
        ["chain", "none", "power-loss"]
    } else {
        ["chain, 10 writes", "none, watched", "power-loss, w."]
    };
    let (chain_taken, _) = taken.split_first().expect("there are three");
    let chain_taken = chain_taken.clone();
    for (name, taken) in names.into_iter().zip(&taken) {
        let cell = |read: &dyn Fn(&Timed) -> Duration| {
            let micros = median(taken.iter().map(|timed| micros(read(timed))));
            let both = taken.iter().zip(&chain_taken);
            let ratio = median(both.map(|(ours, its)| micros_ratio(read(ours), read(its))));
            format!("{micros:>9.1} {ratio:>5.2}")
        };
        println!(
            "{width:>9}  {name:<16}{}  {}{}",
            cell(&|timed| timed.percentile(50)),
            cell(&|timed| timed.percentile(99)),
            cell(&|timed| timed.processor),
        );
    }
    chain.stop().await;
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
