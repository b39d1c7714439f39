//! The arrows between the crates are those of the table in the README, and no others.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

use openmic_tests::root;

/// Reads the README's table: `| folder | what it is | may depend on |`.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let name = cells[0].trim_matches('`').to_owned();
            let last = cells.last().copied().unwrap_or_default();
            let arrows = last
                .split(", ")
                .filter(|name| *name != "–")
                .map(str::to_owned)
                .collect();
            (name, arrows)
        })
        .collect()
}

/// `openmic-hub` is `hub` in the table, the facade is itself.
fn short(package: &str) -> &str {
    package.strip_prefix("openmic-").unwrap_or(package)
}

#[test]
fn every_arrow_is_in_the_table() {
    let table = table();
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let crates = root().join("crates");
    let ours: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| package.manifest_path.as_std_path().starts_with(&crates))
        .collect();
    let names: BTreeSet<_> = ours
        .iter()
        .map(|package| short(&package.name).to_owned())
        .collect();
    assert_eq!(
        names,
        table.keys().cloned().collect(),
        "crates there are, and crates in the table"
    );
    for package in ours {
        let name = short(&package.name);
        let allowed = &table[name];
        if allowed.contains("all") {
            continue;
        }
        let arrows: BTreeSet<_> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .map(|dependency| short(&dependency.name).to_owned())
            .filter(|dependency| names.contains(dependency))
            .collect();
        let forbidden: Vec<_> = arrows.difference(allowed).collect();
        assert!(
            forbidden.is_empty(),
            "{name} may not depend on {forbidden:?}"
        );
        let unused: Vec<_> = allowed.difference(&arrows).collect();
        assert!(
            unused.is_empty(),
            "the table has arrows from {name} that are not there: {unused:?}"
        );
    }
}

#[test]
fn the_machine_knows_neither_tokio_nor_a_clock_nor_sockets() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .exec()
        .unwrap();
    let resolve = metadata.resolve.as_ref().unwrap();
    let name = |id: &cargo_metadata::PackageId| metadata[id].name.to_string();
    let mut todo: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| package.name.as_str() == "openmic-machine")
        .map(|package| package.id.clone())
        .collect();
    assert_eq!(todo.len(), 1);
    let mut reached = BTreeSet::new();
    while let Some(id) = todo.pop() {
        let node = resolve.nodes.iter().find(|node| node.id == id).unwrap();
        for dependency in &node.deps {
            let normal = |kind: &cargo_metadata::DepKindInfo| kind.kind == DependencyKind::Normal;
            if dependency.dep_kinds.iter().any(normal) && reached.insert(name(&dependency.pkg)) {
                todo.push(dependency.pkg.clone());
            }
        }
    }
    for impure in [
        "tokio", "mio", "socket2", "reqwest", "hyper", "time", "chrono", "rand",
    ] {
        assert!(
            !reached.contains(impure),
            "machine reaches {impure}: {reached:?}"
        );
    }
}

#[test]
fn the_readme_shows_the_machine_as_it_is() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let diagram = std::fs::read_to_string(root().join("crates/machine/state_diagram.mmd")).unwrap();
    let shown = format!("```mermaid\n{}\n```", diagram.trim_end());
    assert!(
        readme.contains(&shown),
        "copy crates/machine/state_diagram.mmd into the README"
    );
}

#[test]
fn no_file_is_a_maze() {
    let mut long = Vec::new();
    let mut todo = ["crates", "tests", "benches"]
        .map(|folder| root().join(folder))
        .to_vec();
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // cargo-fuzz builds beside its targets
                if !path.ends_with("target") {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                if lines > 620 {
                    long.push(format!("{} has {lines} lines", path.display()));
                }
            }
        }
    }
    assert!(
        long.is_empty(),
        "what second noun lives in there? {long:#?}"
    );
}

#[test]
fn no_build_has_planted_bugs_unless_it_is_asked_for_them() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .exec()
        .unwrap();
    let seeded = |features: &[String]| features.iter().any(|one| one.contains("seeded-bugs"));
    for node in &metadata.resolve.as_ref().unwrap().nodes {
        let features: Vec<_> = node.features.iter().map(ToString::to_string).collect();
        assert!(!seeded(&features), "{} has planted bugs", node.id);
    }
    let asks = |package: &&cargo_metadata::Package| {
        let depends = package.dependencies.iter().any(|one| seeded(&one.features));
        depends
            || package
                .features
                .keys()
                .any(|feature| feature == "seeded-bugs")
    };
    let names: BTreeSet<_> = metadata
        .workspace_packages()
        .into_iter()
        .filter(asks)
        .map(|package| package.name.to_string())
        .collect();
    assert_eq!(
        names,
        BTreeSet::from(["openmic-model".to_owned(), "openmic-simulator".to_owned()]),
        "the feature, and who can ask for it"
    );
}
