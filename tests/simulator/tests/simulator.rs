//! Lives of calls, by the thousand.

use openmic_simulator::{Run, story};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lives until so many unmutes were accepted; tells the story of what breaks.
fn lives(unmutes: u64) -> openmic_simulator::Report {
    let first = number("FIRST").unwrap_or(0);
    let threads = number("THREADS").unwrap_or(2);
    let run = Run {
        seeds: first..u64::MAX,
        unmutes,
        threads: usize::try_from(threads).expect("a few threads"),
    };
    match run.live() {
        Ok(report) => report,
        Err(failure) => {
            let (lines, _) = story(failure.seed);
            let last = lines.len().saturating_sub(120);
            panic!(
                "{}\n{}\nSEED={} cargo test -p openmic-simulator one_life -- --nocapture",
                lines[last..].join("\n"),
                failure.breach,
                failure.seed
            );
        }
    }
}

#[test]
fn unmutes_under_every_fault_break_nothing() {
    let report = lives(number("UNMUTES").unwrap_or(100_000));
    println!("{}", serde_json::to_string_pretty(&report).unwrap());
}

/// `SEED=n` tells the story of one life.
#[test]
fn one_life() {
    let seed = number("SEED").unwrap_or(1);
    let (lines, breach) = story(seed);
    println!("{}", lines.join("\n"));
    assert_eq!(breach, None, "seed {seed}");
    assert!(!lines.is_empty());
}
