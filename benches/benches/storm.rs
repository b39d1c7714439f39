//! A hundred bots and two hundred humans in one meeting: whenever a bot is muted or unmuted, each of
//! the hundred calls is notified. So many bots at a time unmute and mute, as fast as they can.
//!
//! `notices/s` are notifications that the engine took, by the clock; `/s and core` by its processor
//! time, everything else that it did included. `calls` is how many such calls a core would carry if
//! ten things changed in their meeting each second. The unmutes are timed to `Confirmed`, through the
//! local service, which is a process on the other processor and has its own share of the work.
//!
//! `cargo bench -p openmic-benches --bench storm` takes about half a minute.

use std::time::Duration;

use openmic_benches::fanout::Cores;
use openmic_benches::storm::{Gust, Storm, serve};
use tokio::runtime::Runtime;

const SERVE: &str = "--serve-local";
const BOTS: usize = 100;
const HUMANS: usize = 200;
const AT_ONCE: [usize; 3] = [1, 10, 100];
const LASTS: Duration = Duration::from_secs(6);
/// Changes in a meeting, per second, of a lively one.
const CHANGES: f64 = 10.0;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == SERVE) {
        return serve();
    }
    // Anything but `cargo bench` wants to know whether it works at all.
    let (bots, humans, lasts) = if arguments.iter().any(|word| word == "--bench") {
        (BOTS, HUMANS, LASTS)
    } else {
        (3, 3, Duration::from_millis(50))
    };
    let cores = Cores::divide()?;
    if !cores.are_apart() {
        println!("one processor only: the service is on the engine's, and in its way");
    }
    // the processor must be known before the runtime's threads start
    cores.leave_the_servers()?;
    Runtime::new()?.block_on(storm(bots, humans, lasts, &cores))
}

async fn storm(bots: usize, humans: usize, lasts: Duration, cores: &Cores) -> anyhow::Result<()> {
    let storm = Storm::gather(bots, humans, SERVE, cores).await?;
    println!(
        "{bots} bots and {humans} humans are in; a bot took {:.1} ms to join and be muted",
        storm.joined.as_secs_f64() * 1e3
    );
    println!(
        "{:>8} {:>9} {:>9} {:>9} {:>10} {:>12} {:>7} {:>8} {:>8} {:>9} {:>9}",
        "at once",
        "unmutes/s",
        "p50 ms",
        "p99 ms",
        "notices/s",
        "/s and core",
        "calls",
        "engine",
        "service",
        "MiB",
        "MiB"
    );
    for at_once in AT_ONCE.into_iter().filter(|at_once| *at_once <= bots) {
        storm.blow(at_once, lasts / 6).await?;
        row(at_once, &storm.blow(at_once, lasts).await?);
    }
    storm.stop().await
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn row(at_once: usize, gust: &Gust) {
    let (seconds, notices) = (gust.lasted.as_secs_f64(), gust.notices as f64);
    let millis = |percent| gust.unmutes.percentile(percent).as_secs_f64() * 1e3;
    let per_core = notices / gust.engine.as_secs_f64();
    let share = |time: Duration| format!("{:.0} %", time.as_secs_f64() / seconds * 100.0);
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{at_once:>8} {:>9.0} {:>9.2} {:>9.2} {:>10.0} {per_core:>12.0} {:>7.0} {:>8} {:>8} {:>9.1} {:>9.1}",
        gust.commands as f64 / seconds,
        millis(50),
        millis(99),
        notices / seconds,
        per_core / CHANGES,
        share(gust.engine),
        share(gust.service),
        mebibytes(gust.engine_memory),
        mebibytes(gust.service_memory),
    );
}
