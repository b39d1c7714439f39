//! Faults of requests.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::harness::{Bot, Rig, THREAD, config};
use super::{ENOUGH, muted, seen, truth};
use crate::config::DEV_TENANT;

/// The roster that tells of an unmute.
const OPEN: &str = "roster 0 of 1 muted, delivered";
const SHUT: &str = "roster 1 of 1 muted, delivered";
const DONE: &str = "unmute by bot";

/// A fault, what the one who unmutes sees, and what came of it.
type Row = (&'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("effect_without_response", "cut", &[DONE, OPEN]),
    ("effect_then_silence", "nothing", &[DONE, OPEN]),
    ("error_with_effect", "504 generalException", &[DONE, OPEN]),
    (
        "error_with_effect status=500",
        "500 generalException",
        &[DONE, OPEN],
    ),
    (
        "error_with_effect status=502",
        "502 generalException",
        &[DONE, OPEN],
    ),
    (
        "notification_before_response",
        "200 completed",
        &[DONE, OPEN],
    ),
    ("slow ms=1..30", "200 completed", &[DONE, OPEN]),
    (
        "running_first ms=1",
        "200 running",
        &[DONE, OPEN, "operation completed, delivered"],
    ),
    ("never_completes", "200 running", &[DONE, OPEN]),
    ("never_completes effect=no", "200 running", &[]),
    ("response_without_effect", "200 completed", &[]),
    (
        "fails_after_running ms=1",
        "200 running",
        &["operation failed, delivered"],
    ),
    ("no_response", "cut", &[]),
    ("silence", "nothing", &[]),
    ("throttled", "429 tooManyRequests after 1", &[]),
    ("throttled retry=1.5", "429 tooManyRequests after 1.5", &[]),
    ("throttled retry=none code=8530", "429 8530", &[]),
    (
        "unavailable retry=2",
        "503 serviceNotAvailable after 2",
        &[],
    ),
    ("error", "500 generalException", &[]),
    ("error status=502", "502 generalException", &[]),
    ("unauthorized", "401 InvalidAuthenticationToken", &[]),
    ("forbidden", "403 8566", &[]),
    ("conflict", "409 conflict", &[]),
    ("gone", "404 8522", &[]),
    (
        "missing_id on=unmute",
        "200 nameless, location false",
        &[DONE, OPEN],
    ),
    (
        "missing_context on=unmute",
        "200 without context",
        &[DONE, OPEN],
    ),
    (
        "host_re_mute",
        "200 completed",
        &[DONE, "mute by host", OPEN, SHUT],
    ),
    (
        "host_re_mute when=after",
        "200 completed",
        &[DONE, "mute by host", OPEN, SHUT],
    ),
    (
        "host_re_mute when=before",
        "200 completed",
        &["mute by host", DONE, SHUT, OPEN],
    ),
];

/// Effects first, then what was told, each in its own order.
fn apart(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by_key(|line| !line.contains(" by ") && !line.starts_with("end"));
    lines
}

async fn unmute(bot: &Bot<'_>, path: &str) -> String {
    let url = bot.rig.url(&format!("{path}/unmute"));
    let request = bot
        .rig
        .http
        .post(url)
        .bearer_auth(&bot.token)
        .timeout(ENOUGH);
    seen(request.json(&json!({"clientContext": "u1"})).send().await).await
}

#[tokio::test]
async fn each_of_an_unmute() {
    let rig = Rig::start(config()).await;
    for (fault, caller, wanted) in ROWS {
        let mut bot = rig.bot().await;
        let (path, _) = muted(&mut bot).await;
        let before = rig.truth(0, "the mute to be told", |lines| {
            let last = lines.iter().rfind(|line| line["what"] == "told");
            last.is_some_and(|line| line["muted"].as_array().is_some_and(|m| !m.is_empty()))
        });
        let before = before.await.last().unwrap()["n"].as_u64().unwrap();
        rig.afflict(&path, &[&format!("{fault} nth=1")]).await;
        assert_eq!(unmute(&bot, &path).await, *caller, "{fault}");
        let came = truth(&rig, before, wanted).await;
        assert_eq!(apart(came), *wanted, "{fault}");
        // The end of the call flushes what might still be on its way.
        let lines = rig.truth(before, "the fault", |lines| {
            lines.iter().any(|line| line["what"] == "fault")
        });
        let lines = lines.await;
        let struck: Vec<_> = lines.iter().filter(|l| l["what"] == "fault").collect();
        assert_eq!(struck.len(), 1);
        assert_eq!(struck[0]["fault"], fault.split(' ').next().unwrap());
        assert_eq!(struck[0]["on"], "unmute");
        let asked = lines.iter().find(|line| line["what"] == "asked").unwrap();
        assert_eq!(asked["clientContext"], "u1", "{fault}: it came in any case");
        assert_eq!(asked["request"], struck[0]["by"]);
        let answered = ["nothing", "cut"].iter().all(|word| caller != word);
        let said = |lines: &[Value]| {
            let answer = lines.iter().find(|line| line["what"] == "answered");
            answer.map(|line| line["status"].is_u64())
        };
        let lines = rig
            .truth(before, "the answer", |lines| said(lines).is_some())
            .await;
        assert_eq!(said(&lines), Some(answered), "{fault}");
        // The next one is as it should be.
        assert_eq!(unmute(&bot, &path).await, "200 completed", "{fault}");
        let rest = [wanted, &[DONE, OPEN][..]].concat();
        truth(&rig, before, &rest).await;
        assert_eq!(bot.send(Method::DELETE, &path, None).await.status(), 204);
        rig.truth(before, "the end", |lines| {
            lines.iter().any(|line| line["state"] == "terminated")
        })
        .await;
    }
}

#[tokio::test]
async fn told_before_the_answer() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    let before = rig.now().await;
    rig.afflict(&path, &["notification_before_response"]).await;
    assert_eq!(unmute(&bot, &path).await, "200 completed");
    let lines = rig.truth(before, "both", |lines| {
        lines.iter().any(|line| line["what"] == "answered")
    });
    let lines = lines.await;
    let at = |what: &str| lines.iter().rposition(|line| line["what"] == what);
    assert!(at("told").unwrap() < at("answered").unwrap(), "{lines:#?}");
}

#[tokio::test]
async fn a_create_that_is_told_first_and_one_that_is_ended_at_once() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    rig.afflict_all(&["notification_before_response on=create"])
        .await;
    let before = rig.now().await;
    bot.create(&bot.join(THREAD)).await;
    let lines = rig.truth(before, "the answer", |lines| {
        lines.iter().any(|line| line["what"] == "answered")
    });
    let lines = lines.await;
    let at = |what: &str| lines.iter().position(|line| line["what"] == what);
    assert!(at("told").unwrap() < at("answered").unwrap(), "{lines:#?}");
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    bot.inbox.roster().await;
    rig.afflict_all(&["remote_hang_up on=create subcode=5003"])
        .await;
    bot.create(&bot.join("19:another@thread.v2")).await;
    bot.inbox.state("establishing").await;
    bot.inbox.state("terminating").await;
    let end = bot.inbox.state("terminated").await;
    assert_eq!(end["resultInfo"]["subcode"], 5003);
}

#[tokio::test]
async fn a_retry_at_a_date() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    rig.afflict(&path, &["throttled retry=date+3600"]).await;
    let answer = bot.post(&format!("{path}/unmute"), &json!({})).await;
    let date = answer.headers()["retry-after"].to_str().unwrap();
    let wait = httpdate::parse_http_date(date).unwrap();
    let wait = wait.duration_since(std::time::SystemTime::now()).unwrap();
    assert!((3500..=3600).contains(&wait.as_secs()), "{date}");
}

#[tokio::test]
async fn the_other_side_hangs_up_at_each_step() {
    let over = [
        "end 200/5001",
        "terminating, delivered",
        "terminated, delivered",
    ];
    let rows: [(&str, &str, &[&str]); 3] = [
        ("remote_hang_up when=before", "400 8528", &[]),
        ("remote_hang_up", "200 completed", &[DONE, OPEN]),
        (
            "remote_hang_up when=after ms=1",
            "200 completed",
            &[DONE, OPEN],
        ),
    ];
    let rig = Rig::start(config()).await;
    for (fault, caller, first) in rows {
        let mut bot = rig.bot().await;
        let (path, _) = muted(&mut bot).await;
        let before = rig.truth(0, "the mute to be told", |lines| {
            let last = lines.iter().rfind(|line| line["what"] == "told");
            last.is_some_and(|line| line["muted"].as_array().is_some_and(|m| !m.is_empty()))
        });
        let before = before.await.last().unwrap()["n"].as_u64().unwrap();
        rig.afflict(&path, &[fault]).await;
        assert_eq!(unmute(&bot, &path).await, caller, "{fault}");
        let mut wanted = [first, &over[..]].concat();
        wanted.sort_unstable();
        let mut came = truth(&rig, before, &wanted).await;
        came.sort_unstable();
        assert_eq!(came, wanted, "{fault}");
        let answer = bot.get(&path).await;
        assert_eq!(bot.refused(answer).await.0, 404);
    }
}

#[tokio::test]
async fn what_takes_long_is_done_though_nobody_waits() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    let before = rig.now().await;
    rig.afflict(&path, &["slow ms=600"]).await;
    assert_eq!(unmute(&bot, &path).await, "nothing");
    let wanted = [DONE, OPEN];
    let came = truth(&rig, before, &wanted).await;
    assert!(came.ends_with(&wanted.map(str::to_owned)), "{came:?}");
}

#[tokio::test]
async fn reads_that_mislead() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (path, call) = muted(&mut bot).await;
    let own = call["myParticipantId"].as_str().unwrap();
    let list = format!("{path}/participants");
    let one = format!("{list}/{own}");
    let read = async |path: &str| -> Value { bot.get(path).await.json().await.unwrap() };

    let good = read(&list).await;
    assert_eq!(good["value"].as_array().unwrap().len(), 1);
    let entry = &good["value"][0];
    assert!(entry["rosterSequenceNumber"].is_u64());
    assert_eq!(entry["mediaStreams"][0]["serverMuted"], true);

    rig.afflict(&path, &["partial_participants"]).await;
    assert_eq!(read(&list).await["value"], json!([]));

    rig.afflict(&path, &["stale_participants"]).await;
    for place in [&list, &one] {
        let shown = read(place).await;
        let entry = if shown["value"].is_array() {
            &shown["value"][0]
        } else {
            &shown
        };
        assert_eq!(entry["isMuted"], false, "{place}: as before the mute");
    }

    let missing = [
        "missing_numbers on=participants",
        "missing_server_muted on=participants",
    ];
    rig.afflict(&path, &missing).await;
    let entry = &read(&list).await["value"][0];
    assert_eq!(entry["id"], own);
    assert_eq!(entry["rosterSequenceNumber"], Value::Null);
    assert_eq!(entry["mediaStreams"][0]["serverMuted"], Value::Null);

    let operation = bot.act(&path, "unmute", "u").await;
    let operation = format!("{path}/operations/{}", operation["id"].as_str().unwrap());
    for (fault, wanted) in [
        ("operation_unreadable", (404, "8522")),
        (
            "operation_unreadable status=405 code=notAllowed",
            (405, "notAllowed"),
        ),
    ] {
        rig.afflict(&path, &[fault]).await;
        let (status, code) = bot.refused(bot.get(&operation).await).await;
        assert_eq!((status, &*code), wanted);
    }
    rig.afflict(&path, &["keep_alive_404"]).await;
    let answer = bot.post(&format!("{path}/keepAlive"), &json!({})).await;
    assert_eq!(bot.refused(answer).await, (404, "8522".to_owned()));
    rig.afflict(&path, &["error on=get_call nth=1"]).await;
    assert_eq!(bot.get(&path).await.status(), 500);
    assert_eq!(bot.get(&path).await.status(), 200);
}

#[tokio::test]
async fn before_there_is_a_call() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    // Nobody can be muted in a call that is not up.
    let early = json!({"faults": ["host_re_mute on=create"]});
    assert_eq!(rig.put_faults("", &early).await.status(), 400);
    let faults = [
        "unavailable on=create nth=1 retry=1.5",
        "effect_without_response on=create nth=2",
        "token_endpoint_down nth=1",
    ];
    rig.afflict_all(&faults).await;
    let form = [("grant_type", "client_credentials")];
    let answer = rig.token_answer(DEV_TENANT, &form).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    let answer = bot
        .post("/v1.0/communications/calls", &bot.join(THREAD))
        .await;
    assert_eq!(answer.headers()["retry-after"], "1.5");
    assert_eq!(answer.status(), 503);
    let url = rig.url("/v1.0/communications/calls");
    let create = rig.http.post(url).bearer_auth(&bot.token);
    let lost = create.json(&bot.join(THREAD)).send().await;
    assert_eq!(seen(lost).await, "cut");
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    bot.inbox.roster().await;
    bot.established(&bot.join("19:another@thread.v2")).await;
}
