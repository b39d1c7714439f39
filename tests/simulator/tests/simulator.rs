//! Lives of calls, by the thousand.
//!
//! `UNMUTES=10000000 REPORT=report.json cargo test -p openmic-simulator --test simulator -- \
//! --ignored --nocapture` is the long run; `FIRST=n` begins at another seed, `THREADS=n` takes more
//! threads.

use std::collections::BTreeSet;

use openmic_simulator::{Report, Run, story};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lives until so many unmutes were accepted; tells the story of what breaks.
fn lives(unmutes: u64) -> Report {
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

/// Pairs of state and event that do not come, from the file that says why.
fn listed() -> BTreeSet<String> {
    let lines = include_str!("../unreachable.txt").lines();
    lines
        .filter(|line| line.starts_with("  "))
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn unmutes_under_every_fault_break_nothing() {
    let report = lives(30_000);
    assert_eq!(report.violations, 0);
}

#[test]
#[ignore = "a minute long: a step of its own in tests/run"]
fn a_million_unmutes_break_nothing_and_reach_everything() {
    let report = lives(number("UNMUTES").unwrap_or(1_000_000));
    if let Ok(path) = std::env::var("REPORT") {
        let text = serde_json::to_string_pretty(&report).expect("figures are JSON");
        std::fs::write(path, text).expect("REPORT names a file that can be written");
    }
    println!("simulator: {report}");
    for (word, (count, part)) in &report.verdicts {
        assert!(
            *part >= 0.001,
            "{word} is the verdict of {count} commands only"
        );
    }
    for (fault, hits) in &report.faults {
        assert!(*hits > 0, "{fault} never happened");
    }
    let missed: Vec<_> = report.missed.difference(&listed()).cloned().collect();
    assert!(
        missed.is_empty() || number("FIRST").is_some(),
        "pairs of state and event that never came; reach them, or say in unreachable.txt why \
         nobody can: {missed:#?}"
    );
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
