//! What durability costs an unmute: the same way from acceptance to `Confirmed` on the local
//! service, without a journal and with one of each durability, in one run, round by round in turn.
//!
//! `cargo bench -p openmic-benches --bench journal` prints the median and the 99th percentile of the
//! time until the last of 1 and of 64 unmutes at once is done. The journals are in temporary folders:
//! `TMPDIR` names the disk to ask about.

use std::time::Duration;

use openmic::Durability;
use openmic_benches::Bots;
use tokio::runtime::Runtime;

/// Unmutes at once, and rounds of each way.
const RUNS: [(usize, usize); 2] = [(1, 1000), (64, 100)];

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    // as the other benches: `--test` tries it once, a name chooses among benches
    let arguments: Vec<_> = words.by_ref().collect();
    let mut names = arguments.iter().filter(|word| !word.starts_with('-'));
    if names.clone().next().is_some() && !names.any(|name| "journal".contains(name.as_str())) {
        return Ok(());
    }
    let once = arguments.iter().any(|word| word == "--test");
    let runtime = Runtime::new()?;
    println!("{:<24} {:>12} {:>12}", "journal/", "median", "p99");
    for (width, rounds) in RUNS {
        let rounds = if once { 1 } else { rounds };
        runtime.block_on(measure(width, rounds))?;
    }
    Ok(())
}

async fn measure(width: usize, rounds: usize) -> anyhow::Result<()> {
    let mut ways = vec![("without", Bots::join(width).await?, Vec::new())];
    for durability in Durability::ALL.into_iter().rev() {
        let bots = Bots::join_durable(width, durability).await?;
        ways.push((durability.as_str(), bots, Vec::new()));
    }
    for round in 0..rounds + rounds / 10 {
        for (_, bots, times) in &mut ways {
            let time = bots.unmute(1).await?;
            // the first tenth warms up
            if round >= rounds / 10 {
                times.push(time);
            }
        }
    }
    for (name, bots, mut times) in ways {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        let millis = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1000.0);
        println!(
            "{:<24} {:>12} {:>12}",
            format!("{name}/{width}"),
            millis(at(50)),
            millis(at(99))
        );
        bots.stop().await?;
    }
    Ok(())
}
