//! What `SECURITY.md` names as proof is there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use openmic_tests::root;

/// Every Rust file of the project, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = ["crates", "tests"]
        .map(|folder| root().join(folder))
        .to_vec();
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// Names of all tests: functions whose attributes, in the lines just above, have the word `test`,
/// and those inside `proptest!`, whose attribute is the same.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in sources() {
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if let Some(attribute) = line.strip_prefix("#[") {
                let word = attribute.split(['(', ']']).next().unwrap_or_default();
                is_test |= word == "test" || word == "tokio::test";
            } else if let Some((_, rest)) = line.split_once("fn ") {
                let name = rest.split(['(', '<']).next().unwrap_or_default();
                if std::mem::take(&mut is_test) {
                    names.insert(name.to_owned());
                }
            } else if !line.starts_with("//") && !line.is_empty() && line != ")]" {
                // an attribute may go over several lines; code ends what it is for
                is_test &= !line.ends_with([';', '{', '}']);
            }
        }
    }
    names
}

/// The rows of the table: number and last column.
fn threats() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| T-"));
    rows.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{line}");
        (cells[0].to_owned(), cells[3].to_owned())
    })
    .collect()
}

/// What stands between backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What documents may name as proof.
pub(crate) struct Proofs {
    tests: BTreeSet<String>,
    run: String,
}

impl Proofs {
    pub(crate) fn collect() -> Self {
        let tests = tests();
        assert!(tests.contains("every_threat_names_tests_that_exist"));
        assert!(!tests.contains("named"), "helpers are no tests");
        let run = std::fs::read_to_string(root().join("tests/run")).unwrap();
        Self { tests, run }
    }

    /// How many proofs a cell names, and those that are not there.
    pub(crate) fn named_in<'a>(&self, cell: &'a str) -> (usize, Vec<&'a str>) {
        let names: Vec<_> = named(cell).filter(|name| *name != "tests/run").collect();
        let count = names.len();
        let missing = names.into_iter().filter(|name| !self.has(name));
        (count, missing.collect())
    }

    fn has(&self, name: &str) -> bool {
        if let Some(target) = name.strip_prefix("fuzz:") {
            let file = format!("tests/fuzz/fuzz_targets/{target}.rs");
            return root().join(file).is_file();
        }
        match name.strip_prefix("step:") {
            Some(step) => self.run.contains(&format!("step \"{step}\"")),
            None => self.tests.contains(name),
        }
    }
}

#[test]
fn every_threat_names_tests_that_exist() {
    let all = Proofs::collect();
    let mut missing = Vec::new();
    for (threat, proofs) in threats() {
        let (proved, absent) = all.named_in(&proofs);
        missing.extend(absent.iter().map(|name| format!("{threat}: {name}")));
        // honest about what is open, or proved by something
        assert!(
            proved > 0 || proofs.starts_with("No test yet"),
            "{threat}: {proofs}"
        );
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn every_threat_has_its_row_and_every_fuzz_target_its_threat() {
    let threats = threats();
    let numbers: Vec<_> = threats.iter().map(|(number, _)| number.clone()).collect();
    let wanted = (1..=25).filter(|number| *number != 17);
    let wanted: Vec<_> = wanted.map(|number| format!("T-{number}")).collect();
    assert_eq!(numbers, wanted);
    let all: String = threats.into_iter().map(|(_, proofs)| proofs).collect();
    // these read what trusted parties send, or no more than a number
    let harmless = ["grant", "path", "prefer", "retry_after", "since"];
    for entry in std::fs::read_dir(root().join("tests/fuzz/fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        let target = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let listed = all.contains(&format!("`fuzz:{target}`"));
        assert!(
            listed || harmless.contains(&target.as_str()),
            "{target} is in no row"
        );
    }
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let manifest = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    assert!(manifest("Cargo.toml").contains("unsafe_code = \"forbid\""));
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{}",
            manifest.display()
        );
    }
    let relaxed = |text: &str| {
        ["allow", "expect", "warn"]
            .iter()
            .any(|level| text.contains(&format!("{level}({}", "unsafe_code")))
    };
    for (path, text) in sources() {
        assert!(!relaxed(&text), "{}", path.display());
    }
}
