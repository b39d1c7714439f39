//! The flight recorder: what it holds, what it leaves out, and that it replays.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openmic_machine::Phase;
use openmic_model::{Action, ClientContext};
use serde_json::{Value, json};

use super::graph::{Reply, Route};
use super::stage::{Leg, Stage, hasty, participant, patient, verdict, within};
use crate::flight::{Act, Diverged, Entry, Stopped, What, replay};
use crate::{Call, CallLog, CommandOptions};

fn entries(log: &CallLog) -> Vec<Entry> {
    let lines = log.read(0);
    assert_eq!(lines.more_after, None);
    let text = String::from_utf8(lines.ndjson).unwrap();
    let parsed = text.lines().map(serde_json::from_str);
    parsed.collect::<Result<_, _>>().unwrap()
}

fn log_of(call: &Call) -> Vec<Entry> {
    entries(&call.log().unwrap())
}

fn acts(entries: &[Entry]) -> impl Iterator<Item = &Act> {
    entries.iter().flat_map(|entry| match &entry.what {
        What::Begun(begun) => begun.stand.acts.iter(),
        What::Step(step) => step.stand.acts.iter(),
        _ => [].iter(),
    })
}

/// Unmutes, with the operation's end told by notification.
async fn unmute(leg: &mut Leg<'_>) {
    let pending = leg.command(Action::Unmute);
    let number = leg.stage.graph.count(Route::Unmute).max(1);
    leg.answered(Route::Unmute, number).await;
    leg.roster(false);
    assert!(verdict(pending).await.is_success());
}

#[tokio::test]
async fn a_log_tells_the_whole_way_of_an_unmute_and_replays() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    unmute(&mut leg).await;
    leg.end().await;

    keep("confirmed", &leg.call.log().unwrap());
    let log = log_of(&leg.call);
    let numbers: Vec<_> = log.iter().map(|entry| entry.n).collect();
    let counted: Vec<_> = (1..=log.len() as u64).collect();
    assert_eq!(numbers, counted);
    assert!(log.is_sorted_by_key(|entry| entry.at));
    let asked = |entry: &Entry| match &entry.what {
        What::Asked(asked) => Some(asked.command),
        _ => None,
    };
    let command = log.iter().find_map(asked).unwrap();
    let settled = |act: &Act| match act {
        Act::Settle {
            command, verdict, ..
        } => Some((*command, verdict.as_str())),
        _ => None,
    };
    let verdicts: Vec<_> = acts(&log).filter_map(settled).collect();
    assert_eq!(verdicts, [(command, "confirmed")]);
    let sent = |entry: &Entry| match &entry.what {
        What::Sent { request, .. } => Some(request.clone()),
        _ => None,
    };
    let requests: Vec<_> = log.iter().filter_map(sent).collect();
    let create = "POST /communications/calls".to_owned();
    let unmute = "POST /communications/calls/{call}/unmute".to_owned();
    let read = "GET /communications/calls/{call}".to_owned();
    assert_eq!(requests, [create, unmute, read], "its end is asked about");
    let took = log.iter().filter_map(|entry| match &entry.what {
        What::Step(step) => step.took.map(|took| (step.name.as_ref(), took)),
        _ => None,
    });
    let answers: Vec<_> = took.map(|(name, took)| (name, took > 0)).collect();
    assert_eq!(
        answers,
        [("Created", true), ("Posted", true), ("CallRead", true)]
    );
    let known =
        |entry: &Entry| matches!(&entry.what, What::Known { call } if call == leg.call.id());
    assert!(log.iter().any(known));
    let published = |entry: &&Entry| matches!(entry.what, What::Published { .. });
    assert_eq!(log.iter().filter(published).count(), 2);

    let replayed = replay(&log).unwrap();
    assert_eq!(replayed.phase, Phase::Terminated);
    assert_eq!(replayed.stopped, None);
    assert!(replayed.steps > 6, "{replayed:?}");
}

/// A committed log: what [`COMMITTED`] says of it was recorded by this test with `UPDATE=1`.
fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flight");
    folder.join(name).with_extension("ndjson")
}

/// Keeps `log` as the committed one of that name when it is asked for.
fn keep(name: &str, log: &CallLog) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file(name), log.read(0).ndjson).unwrap();
    }
}

/// The committed logs, where they lead, and their verdicts.
const COMMITTED: [(&str, Phase, &[&str]); 2] = [
    ("confirmed", Phase::Terminated, &["confirmed"]),
    ("troubled", Phase::Terminated, &["unconfirmed", "confirmed"]),
];

#[test]
fn the_committed_logs_replay() {
    for (name, phase, verdicts) in COMMITTED {
        let text = fs::read_to_string(file(name)).unwrap();
        let renew = "when the machine is meant to do something else now, renew it by UPDATE=1 \
                     cargo test -p openmic-engine --lib log";
        let parsed = text.lines().map(serde_json::from_str);
        let log: Vec<Entry> = parsed
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{name}: {error}; {renew}"));
        let replayed = replay(&log).unwrap_or_else(|error| panic!("{name}: {error}; {renew}"));
        assert_eq!((replayed.phase, replayed.stopped), (phase, None), "{name}");
        let settled: Vec<_> = acts(&log)
            .filter_map(|act| match act {
                Act::Settle { verdict, .. } => Some(verdict.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(settled, verdicts, "{name}");
    }
}

#[tokio::test]
async fn a_call_with_retries_polls_and_timers_replays_too() {
    let stage = Stage::new(hasty).await;
    let leg = stage.established(true).await;
    let throttled = Reply::throttled("0.05");
    stage.graph.once(Route::Unmute, throttled);
    stage.graph.once(Route::Unmute, Reply::reset());
    stage.graph.set_muted(true);
    let unconfirmed = leg.hurried(Action::Unmute);
    verdict(unconfirmed).await;
    stage.graph.set_muted(false);
    let pending = leg.command(Action::Unmute);
    verdict(pending).await;
    within(leg.call.hang_up()).await;

    keep("troubled", &leg.call.log().unwrap());
    let log = log_of(&leg.call);
    let ticks = |entry: &&Entry| matches!(&entry.what, What::Step(step) if step.name == "Tick");
    assert!(log.iter().filter(ticks).count() > 2);
    let replayed = replay(&log).unwrap();
    assert_eq!(replayed.phase, Phase::Terminated);
    assert_eq!(replayed.stopped, None);
}

#[tokio::test]
async fn a_log_that_was_tampered_with_does_not_replay() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    unmute(&mut leg).await;
    let log = log_of(&leg.call);
    replay(&log).unwrap();

    assert_eq!(replay(&log[1..]), Err(Diverged::NoBeginning));
    let mut holed = log.clone();
    let last = holed.len() - 1;
    holed.remove(last - 1);
    let stopped = replay(&holed).unwrap().stopped;
    assert_eq!(stopped, Some(Stopped::Hole(log[last].n)));
    let mut other = log;
    let told = other.iter_mut().find_map(|entry| match &mut entry.what {
        What::Step(step) if step.stand.phase == Phase::Unmuting => Some(&mut step.stand.phase),
        _ => None,
    });
    *told.unwrap() = Phase::Unmuted;
    let diverged = replay(&other).unwrap_err();
    assert!(matches!(diverged, Diverged::Elsewhere { .. }), "{diverged}");
}

#[tokio::test]
async fn a_log_holds_no_name_key_token_or_context() {
    let stage = Stage::new(patient).await;
    let mut leg = stage.established(true).await;
    let mut human = participant("human", false, Some(500));
    human["info"] = json!({"identity": {"user": {"id": "k4nar1-directory",
        "displayName": "k4nar1 of a name"}}});
    let renamed = {
        let mut renamed = human.clone();
        renamed["info"]["identity"]["user"]["displayName"] = "k4nar1 renamed".into();
        renamed["rosterSequenceNumber"] = 501.into();
        renamed
    };
    leg.tell(&[leg.delta_of(2, &[human]), leg.delta_of(3, &[renamed])]);
    within(leg.call.until(|status| status.version.seq == 3)).await;
    let mut foreign = leg.operation("foreign", Some("k4nar1 context"), "failed");
    foreign["resourceData"]["resultInfo"]["message"] = Value::from("x".repeat(5000));
    leg.tell(&[foreign]);
    let options = CommandOptions {
        client_context: ClientContext::parse("k4nar1 own context").ok(),
        ..CommandOptions::default()
    };
    let pending = leg.call.command(Action::Unmute, options).unwrap();
    leg.answered(Route::Unmute, 1).await;
    leg.roster(false);
    // The roster's numbers went on meanwhile.
    leg.tell(&[leg.delta_of(4, &[participant("me", false, Some(900))])]);
    verdict(pending).await;

    let log = leg.call.log().unwrap();
    let text = String::from_utf8(log.read(0).ndjson).unwrap();
    assert!(!text.contains("k4nar1"), "{text}");
    assert!(!text.contains(&leg.key), "{text}");
    assert!(!text.contains(&"x".repeat(300)));
    assert!(text.contains("18 bytes #"), "{text}");
    // The rename is seen without the names.
    assert_eq!(replay(&entries(&log)).unwrap().stopped, None);
}

#[tokio::test]
async fn a_roster_too_long_for_a_line_leaves_its_gist() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let many: Vec<_> = (0..90)
        .map(|number| {
            let mut entry = participant(&format!("p{number}"), false, Some(200));
            let stream = json!({"mediaType": "audio", "label": "main-audio", "sourceId": "7",
                "direction": "sendReceive", "serverMuted": false});
            entry["mediaStreams"] = json!(vec![stream; 6]);
            entry
        })
        .collect();
    leg.tell(&[leg.delta_of(2, &many)]);
    within(leg.call.until(|status| status.version.seq == 2)).await;
    leg.tell(&[leg.delta_of(3, &vec![participant("q", true, Some(300)); 200])]);
    within(leg.call.until(|status| status.version.seq == 3)).await;

    let log = log_of(&leg.call);
    let cut = |entry: &&Entry| matches!(&entry.what, What::Step(step) if step.event.is_none());
    let cut: Vec<_> = log.iter().filter(cut).collect();
    assert_eq!(cut.len(), 2, "{log:?}");
    let What::Step(step) = &cut[0].what else {
        unreachable!()
    };
    assert_eq!(step.name, "RosterNotice");
    let published = |act: &Act| matches!(act, Act::Publish { changes: 90, .. });
    assert!(step.stand.acts.iter().any(published));
    assert_eq!(replay(&log).unwrap().stopped, Some(Stopped::Cut(cut[0].n)));
}

#[tokio::test]
async fn an_ended_call_s_log_outlives_the_call() {
    let stage = Stage::with(
        |builder| builder.tune(patient).retention(Duration::from_millis(1)),
        |_| (),
    )
    .await;
    let leg = stage.established(true).await;
    let id = leg.call.id().clone();
    leg.end().await;
    let gone = async {
        while stage.engine.call(&id).is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(gone).await;
    let log = stage.engine.log(&id).unwrap();
    assert_eq!(log.owner(), leg.call.owner());
    let log = entries(&log);
    assert_eq!(log.last().unwrap().what, What::Left);
    assert_eq!(replay(&log).unwrap().phase, Phase::Terminated);
}

#[tokio::test]
async fn without_a_recorder_there_is_no_log() {
    let stage = Stage::with(|builder| builder.tune(patient).recorder(0), |_| ()).await;
    let mut leg = stage.established(true).await;
    unmute(&mut leg).await;
    assert!(leg.call.log().is_none());
    assert!(stage.engine.log(leg.call.id()).is_none());
}

#[tokio::test]
async fn a_log_is_read_on_from_where_one_was() {
    let stage = Stage::new(patient).await;
    let leg = stage.established(true).await;
    let log = leg.call.log().unwrap();
    let all = entries(&log);
    let tail = String::from_utf8(log.read(3).ndjson).unwrap();
    let first: Entry = serde_json::from_str(tail.lines().next().unwrap()).unwrap();
    assert_eq!(first.n, 4);
    assert_eq!(tail.lines().count() + 3, all.len());
    assert!(log.read(all.len() as u64).ndjson.is_empty());
}
