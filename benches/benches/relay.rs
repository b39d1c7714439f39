//! An unmute of a call while the relay of others is stuck, beside one without a relay.
//!
//! 2,000 notifications a second come in for a hundred other calls all the time. In the blocks
//! `stalled` they are relayed to a webhook that never answers, in the blocks `without` they are
//! read and thrown away. The blocks take turns in one run, because only their ratio holds on
//! another machine.

use std::time::{Duration, Instant};

use openmic_benches::{Bots, Stalled};
use tokio::runtime::Runtime;

const TURNS: usize = 4;
const BLOCK: Duration = Duration::from_secs(4);
/// For connections to be made and caches to fill.
const WARM: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<()> {
    // `cargo test --benches` asks whether it runs, not how fast.
    let tried = std::env::args().any(|argument| argument == "--test");
    let (turns, block) = if tried {
        (1, Duration::from_millis(200))
    } else {
        (TURNS, BLOCK)
    };
    let runtime = Runtime::new()?;
    let bots = runtime.block_on(Bots::join(1))?;
    let mut times = [Vec::new(), Vec::new()];
    let mut asked = 0;
    for turn in 0..2 * turns {
        let relayed = turn % 2 == 1;
        let others = {
            let _inside = runtime.enter();
            Stalled::start(relayed)?
        };
        let of = &mut times[usize::from(relayed)];
        measure(&runtime, &bots, WARM.min(block), &mut Vec::new())?;
        measure(&runtime, &bots, block, of)?;
        asked += others.asked();
        runtime.block_on(others.stop());
    }
    runtime.block_on(bots.stop())?;
    anyhow::ensure!(asked > 0, "nothing was relayed");

    let [without, stalled] = &mut times;
    println!("one unmute, accepted to confirmed, while notifications of 100 other calls come in");
    for (name, times) in [("without", &mut *without), ("stalled", &mut *stalled)] {
        times.sort_unstable();
        println!(
            "relay/{name}/1    median {:?}    p99 {:?}    {} unmutes",
            part(times, 50),
            part(times, 99),
            times.len(),
        );
    }
    for percent in [50, 99] {
        let ratio = part(stalled, percent).as_secs_f64() / part(without, percent).as_secs_f64();
        println!("relay/ratio/p{percent}    {ratio:.2}");
    }
    println!("{asked} POSTs were left without an answer");
    Ok(())
}

fn measure(
    runtime: &Runtime,
    bots: &Bots,
    block: Duration,
    times: &mut Vec<Duration>,
) -> anyhow::Result<()> {
    let until = Instant::now() + block;
    while Instant::now() < until {
        times.push(runtime.block_on(bots.unmute(1))?);
    }
    Ok(())
}

/// The value that `percent` of the sorted `times` do not exceed.
fn part(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}
