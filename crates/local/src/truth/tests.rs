use serde_json::{Value, json};

use super::*;

fn numbers(text: &str) -> Vec<u64> {
    let line = |line| serde_json::from_str::<Value>(line).unwrap();
    let number = |line| line_number(&line);
    text.lines().map(line).map(number).collect()
}

fn line_number(line: &Value) -> u64 {
    line["n"].as_u64().unwrap()
}

fn gone(truth: &Truth, call: &str) {
    truth.write(&Fact::life(Act::Gone, &CallId::parse(call).unwrap()));
}

#[test]
fn the_newest_lines_are_kept_and_a_gap_shows() {
    let truth = Truth::begin(3, None, "http://here").unwrap();
    assert_eq!(numbers(&truth.since(0)), [1]);
    for call in ["a", "b", "c"] {
        gone(&truth, call);
    }
    assert_eq!(numbers(&truth.since(0)), [2, 3, 4]);
    assert_eq!(numbers(&truth.since(3)), [4]);
    assert_eq!(truth.since(4), "");
    assert_eq!(truth.since(u64::MAX), "");
}

#[test]
fn a_line_has_what_is_promised() {
    let truth = Truth::begin(9, None, "http://here").unwrap();
    let first: Value = serde_json::from_str(&truth.since(0)).unwrap();
    assert_eq!(first["what"], "started");
    assert_eq!(first["format"], 1);
    assert_eq!(first["baseUrl"], "http://here");
    assert!(first["us"].is_u64());
    let at = first["at"].as_str().unwrap();
    assert_eq!(at.len(), "2026-11-25T21:09:04.123456Z".len(), "{at}");
    gone(&truth, "c1");
    let second: Value = serde_json::from_str(&truth.since(1)).unwrap();
    let members: Vec<_> = second.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["act", "at", "call", "n", "us", "what"]);
    assert_eq!(second["act"], "gone");
    assert_eq!(second["call"], "c1");
}

#[test]
fn the_file_is_appended_to_and_has_a_line_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("truth.ndjson");
    let read = || std::fs::read_to_string(&file).unwrap();
    for _ in 0..2 {
        let truth = Truth::begin(1, Some(&file), "http://here").unwrap();
        gone(&truth, "c1");
        let text = read();
        assert!(text.ends_with('\n'));
        let last = text.lines().last().unwrap();
        assert!(last.contains("\"gone\""), "{last}");
    }
    assert_eq!(numbers(&read()), [1, 2, 1, 2]);
    let nowhere = folder.path().join("no/such/folder");
    assert!(Truth::begin(1, Some(&nowhere), "").is_err());
}

#[test]
fn whoever_goes_before_the_answer_is_logged_as_unanswered() {
    let truth = std::sync::Arc::new(Truth::begin(9, None, "").unwrap());
    let ask = |request: &str| {
        let about = (Some("c1"), None);
        Exchange::begin(&truth, &request.into(), Act::Unmute, about, None)
    };
    ask("r1").answered(429, Some("8530"));
    drop(ask("r2"));
    let lines = truth.since(1);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["what"].as_str().unwrap(), &line["status"]))
        .collect();
    assert_eq!(
        told,
        [
            ("asked", &Value::Null),
            ("answered", &Value::from(429)),
            ("asked", &Value::Null),
            ("answered", &Value::Null),
        ]
    );
    assert_eq!(lines[1]["code"], "8530");
    assert_eq!(lines[3]["request"], "r2");
}

#[test]
fn every_member_stands_where_it_belongs_and_any_text_is_a_json_text() {
    let truth = Truth::begin(9, None, "").unwrap();
    let odd = "\"quoted\\\" \n\u{1} \u{e4}";
    let context = ClientContext::parse(odd).unwrap();
    let call = CallId::parse("c1").unwrap();
    let bot = ParticipantId::parse("p1").unwrap();
    let operation = OperationId::parse("o1").unwrap();
    truth.write(&Fact::Effect {
        act: Act::Unmute,
        by: By::Bot,
        call: Some(&call),
        participant: &bot,
        changed: true,
        request: None,
        operation: Some(&operation),
        client_context: Some(&context),
    });
    truth.write(&Fact::Told {
        call: &call,
        told: Told::Roster {
            sequence_number: Some(7),
            entries: 2,
            muted: vec![&bot, &bot],
        },
        message: "m1",
        result: "delivered",
        attempts: 1,
    });
    let lines = truth.since(1);
    let members = |line: &str| {
        let Value::Object(mut object) = serde_json::from_str(line).unwrap() else {
            panic!("{line}");
        };
        for common in ["n", "at", "us"] {
            assert!(object.remove(common).is_some(), "{line}");
        }
        Value::from(object)
    };
    let lines: Vec<Value> = lines.lines().map(members).collect();
    let effect = json!({
        "what": "effect", "act": "unmute", "by": "bot", "call": "c1", "participant": "p1",
        "changed": true, "operation": "o1", "clientContext": odd,
    });
    let told = json!({
        "what": "told", "call": "c1", "of": "roster", "sequenceNumber": 7, "entries": 2,
        "muted": ["p1", "p1"], "message": "m1", "result": "delivered", "attempts": 1,
    });
    assert_eq!(lines, [effect, told]);
}
