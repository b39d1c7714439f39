//! The real program, killed with SIGKILL wherever it is, and started again on its folder.
//!
//! Bots, subscribers and a calling service of its own process stand around it. What they see, and
//! what the service says truly took effect, is judged by the checker after each cycle. `SEED=n`
//! replays a run as far as real processes allow, `CYCLES=n` makes more of it, `WORLDS=n` are under
//! way at a time, `REPORT=file` gets the figures as JSON.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod bot;
mod crowd;
mod cycle;
mod history;
mod house;
mod road;
mod watcher;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use openmic_tests::{Random, Server};

use cycle::{Tally, World, report};
use road::Point;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_it_keeps_every_promise() {
    Server::binary();
    let seed = number("SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::from(now.unwrap().subsec_nanos())
    });
    let cycles = number("CYCLES").unwrap_or(65);
    let worlds = number("WORLDS").unwrap_or(5).clamp(1, cycles);
    println!("SEED={seed} CYCLES={cycles} WORLDS={worlds} replays it");
    let start = Instant::now();
    let running: Vec<_> = (0..worlds)
        .map(|world| {
            let share = cycles / worlds + u64::from(world < cycles % worlds);
            tokio::spawn(run(seed.wrapping_add(world), world, share))
        })
        .collect();
    let (mut tallies, mut failed) = (Vec::new(), Vec::new());
    for world in running {
        let (tally, judged) = world.await.unwrap();
        tallies.push(tally);
        failed.extend(judged.err());
    }
    let report = report(seed, &tallies, start.elapsed(), &failed);
    let text = serde_json::to_string_pretty(&report).unwrap();
    if let Some(file) = std::env::var_os("REPORT") {
        std::fs::write(file, &text).unwrap();
    }
    println!("{text}");
    println!(
        "{} cycles: {} commands, {} verdicts lost or doubled, {} s",
        report["cycles"],
        report["commands"],
        failed.len(),
        start.elapsed().as_secs()
    );
    assert!(failed.is_empty(), "SEED={seed}:\n{}", failed.join("\n\n"));
}

/// One house through its cycles; each point comes as often as any other.
async fn run(seed: u64, world: u64, cycles: u64) -> (Tally, Result<(), String>) {
    let mut house = World::begin(seed).await;
    let mut random = Random::new(seed ^ 0x5eed);
    let offset = random.below(Point::ALL.len() as u64);
    let mut judged = Ok(());
    for cycle in 0..cycles {
        let at = (cycle + offset) % Point::ALL.len() as u64;
        let at = usize::try_from(at).unwrap();
        judged = house.cycle(Point::ALL[at]).await;
        if let Err(why) = &judged {
            let point = Point::ALL[at];
            let said = house.house.said("engine.log");
            println!("world {world}, cycle {cycle}: something does not hold; more at the end");
            judged = Err(format!(
                "world {world}, cycle {cycle}, killed at {point:?}: {why}\nthe engine said:\n{said}"
            ));
            break;
        }
        if (cycle + 1) % 25 == 0 {
            println!("world {world}: {} of {cycles} cycles", cycle + 1);
        }
    }
    if judged.is_ok() {
        judged = house.finish().await;
    }
    (house.tally.clone(), judged)
}
