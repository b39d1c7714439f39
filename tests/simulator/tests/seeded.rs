//! Deliberate defects: each is found by the simulator, and nothing is found without one.
//!
//! `cargo test -p openmic-simulator --features seeded-bugs --test seeded -- --nocapture`

#![cfg(feature = "seeded-bugs")]

use openmic_model::seeded::{self, Bug};
use openmic_simulator::Run;

/// Those that live in what the simulator runs, and what finds them at the latest.
const HERE: [(Bug, &[&str]); 17] = [
    (Bug::ReuseContext, &["I-4", "I-29"]),
    (Bug::BlindRepeat, &["I-5"]),
    (Bug::IgnoreRetryAfter, &["I-23"]),
    (Bug::DropTombstones, &["I-15"]),
    (Bug::SecondVerdict, &["I-2"]),
    (Bug::EqualOpensSecond, &["I-5", "I-9"]),
    (Bug::VerdictConflated, &["I-3", "I-5", "I-8"]),
    (Bug::VerdictUnwritten, &["I-2"]),
    (Bug::SeqReset, &["I-10", "I-11"]),
    (Bug::UnboundedPark, &["I-19"]),
    (Bug::ForgetDoubt, &["I-6"]),
    (Bug::BlindRecovery, &["I-5"]),
    (Bug::ForgetWindow, &["W-1"]),
    (Bug::StaleTimer, &["S-1"]),
    (Bug::LowerEpoch, &["I-16"]),
    (Bug::EffectBeforeRecord, &["I-1", "I-2", "I-4", "I-16"]),
    (Bug::Overtake, &["I-1", "I-2", "I-10", "I-16"]),
];

fn run() -> Run {
    Run {
        seeds: 0..100_000,
        unmutes: 200_000,
        threads: 2,
    }
}

#[test]
fn each_planted_bug_is_found_and_none_without() {
    let mut missed = Vec::new();
    for (bug, invariants) in HERE {
        seeded::plant(Some(bug));
        match run().live() {
            Ok(_) => missed.push(format!("{} was not found", bug.as_str())),
            Err(failure) => {
                println!(
                    "{:22} {} (seed {})",
                    bug.as_str(),
                    failure.breach,
                    failure.seed
                );
                if !invariants.contains(&failure.breach.invariant) {
                    missed.push(format!("{}: {}", bug.as_str(), failure.breach));
                }
            }
        }
    }
    seeded::plant(None);
    let clean = Run {
        unmutes: 50_000,
        ..run()
    };
    assert!(clean.live().is_ok(), "and none is planted");
    assert!(missed.is_empty(), "{missed:#?}");
}
