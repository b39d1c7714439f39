//! Faults of notifications.

use serde_json::{Value, json};

use super::super::harness::{Bot, Rig, THREAD, config, entry_of};
use super::{muted, truth};

const OPEN: &str = "roster 0 of 1 muted, delivered";
const BOTH: &str = "roster 0 of 2 muted, delivered";
const DONE: &str = "unmute by bot";

/// Unmutes under `fault`, then a human comes in; what was told, as the truth log has it.
async fn told(rig: &Rig, bot: &mut Bot<'_>, path: &str, fault: &str, wanted: &[&str]) {
    let before = rig.now().await;
    rig.afflict(path, &[fault]).await;
    bot.act(path, "unmute", "u").await;
    rig.human(THREAD, None).await;
    let all = [&[DONE][..], wanted].concat();
    let came = truth(rig, before, &all).await;
    assert_eq!(came[came.len() - all.len()..], all, "{fault}");
}

async fn start() -> Rig {
    Rig::start(config()).await
}

/// Whether the bot is muted, of a roster.
fn is_muted(roster: &Value, call: &Value) -> bool {
    let entry = entry_of(roster, &call["myParticipantId"]);
    entry["isMuted"].as_bool().unwrap()
}

#[tokio::test]
async fn dropped() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    let wanted = ["roster 0 of 1 muted, dropped", BOTH];
    told(&rig, &mut bot, &path, "drop on=told_roster nth=1", &wanted).await;
    assert_eq!(bot.inbox.roster().await.as_array().unwrap().len(), 2);
    let dropped = Some(("result", "dropped"));
    assert_eq!(rig.metric("openmic_local_notifications_total", dropped), 1);
    assert_eq!(
        rig.metric("openmic_local_faults_total", Some(("fault", "drop"))),
        1
    );
}

#[tokio::test]
async fn duplicated() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    let fault = "duplicate nth=1 times=2";
    told(&rig, &mut bot, &path, fault, &[OPEN, OPEN, OPEN, BOTH]).await;
    let id = "x-microsoft-skype-message-id";
    let first = bot.inbox.next().await;
    let second = bot.inbox.next().await;
    assert_eq!(first.body, second.body);
    assert_eq!(first.header(id), second.header(id));
}

#[tokio::test]
async fn delayed_and_overtaken() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    let fault = "delay on=told_roster nth=1 ms=2000..2100";
    told(&rig, &mut bot, &path, fault, &[BOTH, OPEN]).await;
}

#[tokio::test]
async fn swapped() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    told(&rig, &mut bot, &path, "swap nth=1 ms=60000", &[BOTH, OPEN]).await;
    // With nobody behind it, it goes alone.
    rig.afflict(&path, &["swap nth=1 ms=20"]).await;
    let before = rig.now().await;
    bot.act(&path, "mute", "m").await;
    truth(
        &rig,
        before,
        &["mute by bot", "roster 1 of 2 muted, delivered"],
    )
    .await;
}

#[tokio::test]
async fn batched() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    told(&rig, &mut bot, &path, "batch nth=1 ms=60000", &[OPEN, BOTH]).await;
    let got = bot.inbox.next().await;
    let entries = got.body["value"].as_array().unwrap();
    let sizes: Vec<_> = entries
        .iter()
        .map(|entry| entry["resourceData"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [1, 2]);
    rig.afflict(&path, &["batch nth=1 size=9 ms=20"]).await;
    bot.act(&path, "mute", "m").await;
    assert_eq!(bot.inbox.roster().await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn replayed_much_later() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    let fault = "replay nth=1 ms=2000";
    told(&rig, &mut bot, &path, fault, &[OPEN, BOTH, OPEN]).await;
    let first = bot.inbox.next().await;
    bot.inbox.next().await;
    assert_eq!(bot.inbox.next().await.body, first.body);
}

#[tokio::test]
async fn with_a_token_that_is_none_of_the_bot_s() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    for (fault, wrong) in [
        ("forged_token nth=1", "signature"),
        ("foreign_tenant nth=1", "another tenant's"),
    ] {
        let before = rig.now().await;
        rig.afflict(&path, &[fault]).await;
        bot.act(&path, "unmute", "u").await;
        let got = bot.inbox.whatever().await;
        let said = got.wrong.expect(fault);
        assert!(said.contains(wrong), "{fault}: {said}");
        let came = truth(&rig, before, &[DONE, "roster 0 of 1 muted, rejected"]).await;
        assert_eq!(came.last().unwrap(), "roster 0 of 1 muted, rejected");
    }
}

#[tokio::test]
async fn an_end_that_is_none() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, _) = muted(&mut bot).await;
    let ended = "terminated, delivered";
    told(
        &rig,
        &mut bot,
        &path,
        "false_end nth=1",
        &[OPEN, ended, BOTH],
    )
    .await;
    bot.inbox.roster().await;
    let end = bot.inbox.state("terminated").await;
    assert_eq!(end["resultInfo"]["subcode"], 5001);
    assert_eq!(bot.get(&path).await.status(), 200, "it lives");
    rig.afflict(&path, &["false_end token=forged nth=1"]).await;
    bot.act(&path, "mute", "m").await;
    bot.inbox.roster().await;
    bot.inbox.roster().await;
    let forged = bot.inbox.whatever().await;
    assert_eq!(forged.entry()["resourceData"]["state"], "terminated");
    assert!(forged.wrong.is_some());
}

#[tokio::test]
async fn numbers_that_jump_and_rosters_that_are_old() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let mut join = bot.join(THREAD);
    join["callOptions"] = json!({
        "@odata.type": "#microsoft.graph.outgoingCallOptions",
        "isContentSharingNotificationEnabled": false,
        "isDeltaRosterEnabled": true,
    });
    let (path, call) = bot.established(&join).await;
    rig.afflict(&path, &["roster_gap nth=2", "stale_roster nth=3"])
        .await;
    let mut numbers = Vec::new();
    for (at, action) in ["mute", "unmute", "mute"].into_iter().enumerate() {
        bot.act(&path, action, "x").await;
        let delta = bot.inbox.roster().await;
        numbers.push(delta["sequenceNumber"].as_u64().unwrap());
        if at == 2 {
            assert_eq!(delta["participants"][0]["isMuted"], true);
        }
    }
    assert_eq!(numbers, [2, 4, 5], "the first came with the call");
    let old = bot.inbox.roster().await;
    assert_eq!(old["sequenceNumber"], 4);
    assert_eq!(old["participants"][0]["isMuted"], false);
    assert_eq!(old["participants"][0]["id"], call["myParticipantId"]);
}

#[tokio::test]
async fn rosters_whole_and_without_numbers() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    rig.afflict_all(&["full_rosters"]).await;
    let mut join = bot.join(THREAD);
    join["callOptions"] = json!({
        "@odata.type": "#microsoft.graph.outgoingCallOptions",
        "isDeltaRosterEnabled": true,
    });
    let (path, call) = bot.established(&join).await;
    bot.act(&path, "mute", "m").await;
    let roster = bot.inbox.roster().await;
    assert!(is_muted(&roster, &call));
    assert_eq!(roster[0]["rosterSequenceNumber"], Value::Null);
}

#[tokio::test]
async fn members_that_are_missing() {
    let rig = start().await;
    let mut bot = rig.bot().await;
    let (path, call) = muted(&mut bot).await;
    rig.afflict(&path, &["missing_numbers", "missing_server_muted"])
        .await;
    bot.act(&path, "unmute", "u").await;
    let roster = bot.inbox.roster().await;
    let entry = entry_of(&roster, &call["myParticipantId"]);
    assert_eq!(entry["isMuted"], false);
    assert_eq!(entry["rosterSequenceNumber"], Value::Null);
    assert_eq!(entry["mediaStreams"][0]["serverMuted"], Value::Null);

    let faults = [
        "running_first on=mute ms=1",
        "missing_context",
        "missing_id on=told_operation",
    ];
    rig.afflict(&path, &faults).await;
    let answer = bot
        .post(&format!("{path}/mute"), &json!({"clientContext": "m"}))
        .await;
    let running: Value = answer.json().await.unwrap();
    assert_eq!(running["status"], "running");
    bot.inbox.roster().await;
    let told = bot.inbox.next().await;
    let data = &told.entry()["resourceData"];
    assert_eq!(data["status"], "completed");
    assert_eq!(
        (&data["id"], &data["clientContext"]),
        (&Value::Null, &Value::Null)
    );

    rig.afflict(&path, &["missing_id"]).await;
    bot.send(reqwest::Method::DELETE, &path, None).await;
    assert_eq!(bot.inbox.state("terminating").await["id"], Value::Null);
}
