//! The diagram of the README, drawn from the table.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{compare, name, rows};
use crate::Phase;

const ESTABLISHED: [Phase; 4] = [Phase::Muted, Phase::Unmuting, Phase::Unmuted, Phase::Muting];

/// Phases in the order of a call's life.
fn order(phase: Phase) -> usize {
    Phase::ALL.iter().position(|one| *one == phase).unwrap()
}

type Arrows = BTreeMap<(usize, usize), BTreeSet<&'static str>>;

fn arrows() -> Arrows {
    let mut arrows = Arrows::new();
    for row in rows().iter().filter(|row| row.from != row.to) {
        arrows
            .entry((order(row.from), order(row.to)))
            .or_default()
            .insert(row.arrow);
    }
    arrows
}

/// Words that lead out of all of Established to `to`.
fn shared(arrows: &Arrows, to: usize) -> BTreeSet<&'static str> {
    let sets = ESTABLISHED.map(|from| arrows.get(&(order(from), to)).cloned().unwrap_or_default());
    let [first, rest @ ..] = sets;
    rest.iter()
        .fold(first, |all, set| all.intersection(set).copied().collect())
}

fn draw() -> String {
    let arrows = arrows();
    let mut inside = String::new();
    let mut outside = String::from("    [*] --> Establishing\n");
    let mut lines = Vec::new();
    for to in [Phase::Terminating, Phase::Terminated] {
        let words = shared(&arrows, order(to));
        assert!(!words.is_empty(), "nothing ends an established call");
        lines.push(line("Established", name(to), &words));
    }
    for ((from, to), words) in &arrows {
        let (source, target) = (Phase::ALL[*from], Phase::ALL[*to]);
        let mut words = words.clone();
        if ESTABLISHED.contains(&source) {
            words = &words - &shared(&arrows, *to);
        }
        if words.is_empty() {
            continue;
        }
        let text = line(name(source), name(target), &words);
        if ESTABLISHED.contains(&source) && ESTABLISHED.contains(&target) {
            inside.push_str("    ");
            inside.push_str(&text);
        } else {
            outside.push_str(&text);
        }
    }
    for text in lines {
        outside.push_str(&text);
    }
    format!(
        "stateDiagram-v2\n{outside}    Terminated --> [*]\n    state Established {{\n{inside}    }}\n"
    )
}

fn line(from: &str, to: &str, words: &BTreeSet<&str>) -> String {
    let words: Vec<&str> = words.iter().copied().collect();
    format!("    {from} --> {to} : {}\n", words.join("; "))
}

#[test]
fn the_diagram_is_as_committed() {
    compare("state_diagram.mmd", &draw());
}

#[test]
fn no_arrow_leaves_the_end() {
    let over = order(Phase::Terminated);
    let leaving = order(Phase::Terminating);
    for (from, to) in arrows().keys() {
        assert_ne!(*from, over);
        assert!(*from != leaving || *to == over);
    }
    assert!(arrows().values().all(|words| !words.contains("none")));
}
