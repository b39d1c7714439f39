use std::fs;
use std::path::Path;

use openmic_engine::flight::{Entry, What};
use openmic_model::Verdict;

use super::page::page;
use super::parse;
use super::story::Story;

fn log(name: &str) -> Vec<Entry> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/flight");
    let text = fs::read_to_string(folder.join(name)).unwrap();
    parse(&text).unwrap()
}

fn says(page: &str, words: &[&str]) {
    for words in words {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
}

#[test]
fn a_confirmed_unmute_is_told_with_its_evidence() {
    let story = Story::of(&log("confirmed.ndjson"));
    assert_eq!(story.state, "terminated");
    assert_eq!(story.commands.len(), 1);
    let command = &story.commands[0];
    assert!(matches!(command.verdict, Some(Verdict::Confirmed { .. })));
    assert_eq!(command.posts, 1);
    let told = page(&story, false, false);
    says(
        &told,
        &[
            "the bot asks to be unmuted",
            "Graph answered the POST: operation completed (after",
            "the bot unmuted",
            "unmuting -> unmuted",
            "one try: confirmed, the roster came last",
            "Unusual\n  nothing\n",
        ],
    );
    assert!(!told.contains('\x1b'), "{told}");
    assert!(page(&story, false, true).contains('\x1b'));
}

#[test]
fn what_is_unusual_is_named() {
    let story = Story::of(&log("troubled.ndjson"));
    let told = page(&story, false, false);
    says(
        &told,
        &[
            "3 tries: unconfirmed",
            "Graph throttles: the POST is to come again after 50 ms",
            "try 2 of",
            "the POST's answer was lost",
            "time passed: the time to post again has come",
        ],
    );
    let told = serde_json::to_value(&story).unwrap();
    assert_eq!(told["commands"][0]["verdict"], "unconfirmed", "{told:#}");
    assert_eq!(told["state"], "terminated");
}

#[test]
fn a_call_in_the_middle_tells_what_it_waits_for_and_until_when() {
    let mut log = log("confirmed.ndjson");
    let posted = log.iter().position(
        |entry| matches!(&entry.what, What::Sent { request, .. } if request.ends_with("/unmute")),
    );
    log.truncate(posted.unwrap() + 1);
    let story = Story::of(&log);
    assert_eq!(story.state, "unmuting");
    assert_eq!(story.waits_for, ["answer to the POST"]);
    assert!(story.because.starts_with("the bot asks to be unmuted"));
    let told = page(&story, false, false);
    says(
        &told,
        &[
            "It waits for: answer to the POST.",
            "the deadline of a command: it has its verdict by then",
            "verdict due by",
            "not answered yet: POST /communications/calls/{call}/unmute",
        ],
    );
    let due = story.commands[0].due.unwrap();
    assert_eq!(due.since(story.commands[0].asked).as_secs(), 30);
}

#[test]
fn lines_that_are_missing_are_told() {
    let mut log = log("confirmed.ndjson");
    log.drain(..2);
    log.remove(3);
    let story = Story::of(&log);
    let texts: Vec<_> = story
        .unusual
        .iter()
        .map(|fact| fact.text.as_str())
        .collect();
    assert!(
        texts[0].starts_with("lines 1 to 2 are missing"),
        "{texts:?}"
    );
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("lines 6 to 6 are missing")),
        "{texts:?}"
    );
}

#[test]
fn a_file_that_is_no_log_is_refused_in_words() {
    let error = format!("{:#}", parse("{\"n\":1}\n").unwrap_err());
    assert!(
        error.starts_with("line 1 is none of a flight recorder's"),
        "{error}"
    );
    let error = format!("{:#}", parse("\n").unwrap_err());
    assert!(error.contains("recorder.bytes"), "{error}");
}

/// What the machine decided shows before anybody may be told of it.
#[test]
fn a_step_whose_records_are_not_durable_is_marked() {
    let held = |released: bool| {
        let mut log = log("confirmed.ndjson");
        let posted = log.iter().position(
            |entry| matches!(&entry.what, What::Sent { request, .. } if request.ends_with("/unmute")),
        );
        log.truncate(posted.unwrap());
        let last = log
            .iter_mut()
            .rev()
            .find_map(|entry| match &mut entry.what {
                What::Step(step) => Some(step),
                _ => None,
            });
        last.unwrap().held = true;
        if released {
            let mut entry = log.last().unwrap().clone();
            entry.n += 1;
            entry.what = What::Released { took: 0 };
            log.push(entry);
        }
        page(&Story::of(&log), true, false)
    };
    says(&held(false), &["[not durable yet"]);
    assert!(!held(true).contains("not durable"));
}
