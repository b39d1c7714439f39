//! `tests/FAULTS.md` has every fault, and what it names as proof is there.

use openmic_tests::root;

use crate::security::Proofs;

/// Every fault that has a row, in the order of the document.
fn wanted() -> Vec<String> {
    let numbered = |group: &'static str, last: u8, without: &'static [u8]| {
        let numbers = (1..=last).filter(move |number| !without.contains(number));
        numbers.map(move |number| format!("{group}{number}"))
    };
    // K10 and F-S4 come with more than one engine.
    let killed = (0..=11).filter(|number| *number != 10);
    numbered("F-A", 8, &[])
        .chain(killed.map(|number| format!("K{number}")))
        .chain(numbered("F-N", 8, &[]))
        .chain(numbered("F-G", 22, &[]))
        .chain(numbered("F-W", 15, &[]))
        .chain(numbered("F-S", 8, &[4]))
        .chain(numbered("F-D", 6, &[]))
        .collect()
}

#[test]
fn every_fault_names_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("tests/FAULTS.md")).unwrap();
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| F-") || line.starts_with("| K"));
    let all = Proofs::collect();
    let (mut found, mut wrong, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        let (fault, proofs) = (cells[0], cells[3]);
        let (proved, absent) = all.named_in(proofs);
        wrong.extend(
            absent
                .iter()
                .map(|name| format!("{fault}: there is no {name}")),
        );
        // honest about what is open, or proved by something
        if proofs.starts_with("not tested") {
            open.push(fault);
        } else if proved == 0 {
            wrong.push(format!("{fault}: nothing shows it"));
        }
        found.push(fault.to_owned());
    }
    assert_eq!(found, wanted());
    println!(
        "faults: {} of {} without a test: {open:?}",
        open.len(),
        found.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}
