//! The committed dashboard against the metrics that are really there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Stack, call, stack, token};

/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["instance", "job", "le"];

/// Series by name: label, values.
type Known = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a scrape of `/metrics` sees.
async fn scrape(stack: &Stack) -> Known {
    let url = format!("{}/metrics", stack.addresses().admin.unwrap());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let mut known = Known::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let seen = known.entry(name.to_owned()).or_default();
        let labels = labels.strip_suffix('}').unwrap();
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap();
            let value = value.trim_matches('"').to_owned();
            seen.entry(label.to_owned()).or_default().insert(value);
        }
    }
    known
}

fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(query) if name == "expr" => found.push(query.clone()),
                    other => queries(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

/// What is wrong with a query: metrics, labels or values of labels that do not exist.
fn faults(query: &str, known: &Known) -> Vec<String> {
    let mut faults = Vec::new();
    let mut grouped = BTreeSet::new();
    let not_name = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let mut rest = query;
    while let Some(start) = ["openmic_", "process_"]
        .iter()
        .filter_map(|prefix| rest.find(prefix))
        .min()
    {
        let tail = &rest[start..];
        let end = tail.find(not_name).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        rest = after;
        let Some(labels) = known.get(name) else {
            faults.push(format!("no metric {name}"));
            continue;
        };
        grouped.extend(labels.keys().cloned());
        let Some((selector, after)) = rest
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        else {
            continue;
        };
        rest = after;
        for matcher in selector.split(',') {
            let (label, value) = matcher.split_once(['=', '!']).unwrap_or((matcher, ""));
            if ADDED.contains(&label) {
                continue;
            }
            let Some(values) = labels.get(label) else {
                faults.push(format!("no label {label} at {name}"));
                continue;
            };
            let value = value.trim_start_matches(['=', '~']).trim_matches('"');
            for one in value.split('|').filter(|one| !values.contains(*one)) {
                faults.push(format!("no series {name} with {label}={one}"));
            }
        }
    }
    for by in query.split("by (").skip(1) {
        let list = by.split(')').next().unwrap_or_default();
        for label in list.split(',').map(str::trim) {
            if !ADDED.contains(&label) && !grouped.contains(label) {
                faults.push(format!("no label {label} to group by"));
            }
        }
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_is_answered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/grafana/openmic.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    assert!(found.len() > 30, "only {} queries", found.len());

    let stack = stack().await;
    let token = token(&stack.addresses()).await;
    // Some series appear with the first call only.
    call(&stack, &token).await;
    let known = scrape(&stack).await;
    for query in &found {
        assert!(
            query.contains("openmic_") || query.contains("process_"),
            "{query}"
        );
        assert_eq!(faults(query, &known), Vec::<String>::new(), "{query}");
    }
    stack.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_in_a_query_is_found() {
    let stack = stack().await;
    let known = scrape(&stack).await;
    let slips = [
        (
            "rate(openmic_command_total[5m])",
            "no metric openmic_command_total",
        ),
        (
            "openmic_calls{phase=\"muted\"}",
            "no label phase at openmic_calls",
        ),
        (
            "openmic_commands_total{command=\"unmute\",verdict=~\"confirmed|yes\"}",
            "no series openmic_commands_total with verdict=yes",
        ),
        (
            "sum by (kind) (openmic_subscribers)",
            "no label kind to group by",
        ),
    ];
    for (query, fault) in slips {
        assert_eq!(faults(query, &known), [fault], "{query}");
    }
    assert!(
        faults(
            "sum by (le, verdict) (openmic_command_seconds_bucket{instance=~\"a\"})",
            &known
        )
        .is_empty()
    );
    stack.drain().await;
}
