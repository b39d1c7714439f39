use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Rig, THREAD, config, entry_of};

fn delta(mut body: Value) -> Value {
    body["callOptions"] = json!({
        "@odata.type": "#microsoft.graph.outgoingCallOptions", "isDeltaRosterEnabled": true });
    body
}

fn number(entry: &Value) -> u64 {
    entry["rosterSequenceNumber"].as_u64().unwrap()
}

#[tokio::test]
async fn every_call_of_the_meeting_sees_a_mute_also_when_nothing_changed() {
    let rig = Rig::start(config()).await;
    let (mut bot, mut other) = (rig.bot().await, rig.other_bot().await);
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let body = other.join(THREAD);
    let (_, theirs) = other.established(&body).await;
    let own = &created["myParticipantId"];
    let joined = bot.inbox.roster().await;
    assert_eq!(joined.as_array().unwrap().len(), 2, "the whole roster");
    assert!(number(entry_of(&joined, &theirs["myParticipantId"])) > number(entry_of(&joined, own)));

    let mut last = 0;
    for (action, muted) in [
        ("mute", true),
        ("mute", true),
        ("unmute", false),
        ("unmute", false),
    ] {
        bot.act(&call, action, "x").await;
        for inbox in [&mut bot.inbox, &mut other.inbox] {
            let roster = inbox.roster().await;
            assert_eq!(roster.as_array().unwrap().len(), 2);
            let entry = entry_of(&roster, own);
            assert_eq!(entry["isMuted"], muted);
            assert_eq!(entry["mediaStreams"][0]["serverMuted"], muted);
            assert!(number(entry) >= last);
            last = number(entry);
        }
        let path = format!("{call}/participants/{}", own.as_str().unwrap());
        let read: Value = bot.get(&path).await.json().await.unwrap();
        assert_eq!((number(&read), &read["isMuted"]), (last, &json!(muted)));
        last += 1;
    }
}

#[tokio::test]
async fn a_switch_keeps_unchanged_mutes_quiet() {
    let mut config = config();
    config.rules.announce_unchanged = false;
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    bot.act(&call, "unmute", "no change").await;
    bot.act(&call, "mute", "a change").await;
    let roster = bot.inbox.roster().await;
    assert_eq!(
        entry_of(&roster, &created["myParticipantId"])["isMuted"],
        true
    );
    assert_eq!(bot.inbox.waiting(), 0);
}

#[tokio::test]
async fn deltas_begin_with_everybody_and_count_up() {
    let rig = Rig::start(config()).await;
    let (mut bot, mut other) = (rig.bot().await, rig.other_bot().await);
    let (human, _) = rig.human(THREAD, None).await;
    let call = bot.create(&delta(bot.join(THREAD))).await;
    let path = format!(
        "/v1.0/communications/calls/{}",
        call["id"].as_str().unwrap()
    );
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    let snapshot = bot.inbox.roster().await;
    assert_eq!(snapshot["sequenceNumber"], 1);
    assert_eq!(snapshot["participants"].as_array().unwrap().len(), 2);
    let own = entry_of(&snapshot["participants"], &call["myParticipantId"]);
    let before = number(own);

    bot.act(&path, "unmute", "unchanged").await;
    let got = bot.inbox.roster().await;
    assert_eq!(got["sequenceNumber"], 2);
    assert_eq!(got["participants"].as_array().unwrap().len(), 1);
    assert_eq!(got["participants"][0]["id"], call["myParticipantId"]);
    assert!(
        number(&got["participants"][0]) > before,
        "fresh, though unchanged"
    );

    let theirs = other.create(&delta(other.join(THREAD))).await;
    let got = bot.inbox.roster().await;
    assert_eq!(got["sequenceNumber"], 3);
    assert_eq!(got["participants"][0]["id"], theirs["myParticipantId"]);
    other.inbox.state("establishing").await;
    other.inbox.state("established").await;
    let theirs_first = other.inbox.roster().await;
    assert_eq!(
        theirs_first["sequenceNumber"], 1,
        "each call counts for itself"
    );
    assert_eq!(theirs_first["participants"].as_array().unwrap().len(), 3);

    assert_eq!(rig.http.delete(&human).send().await.unwrap().status(), 204);
    for (inbox, expected) in [(&mut bot.inbox, 4), (&mut other.inbox, 2)] {
        let got = inbox.roster().await;
        assert_eq!(got["sequenceNumber"], expected);
        let gone = &got["participants"][0];
        assert!(human.ends_with(gone["id"].as_str().unwrap()));
        assert!(gone["removedState"]["reason"].is_string(), "{gone}");
    }
    let theirs = format!(
        "/v1.0/communications/calls/{}",
        theirs["id"].as_str().unwrap()
    );
    assert_eq!(
        other.send(Method::DELETE, &theirs, None).await.status(),
        204
    );
    let got = bot.inbox.roster().await;
    assert_eq!(got["sequenceNumber"], 5);
    assert!(got["participants"][0]["removedState"].is_object());
}

#[tokio::test]
async fn anybody_may_be_muted_as_the_host_would() {
    let rig = Rig::start(config()).await;
    let (mut bot, mut other) = (rig.bot().await, rig.other_bot().await);
    let (human, _) = rig.human(THREAD, None).await;
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let body = other.join(THREAD);
    let (_, theirs) = other.established(&body).await;
    bot.inbox.roster().await;

    let whom = theirs["myParticipantId"].as_str().unwrap();
    let operation = bot
        .act(&call, &format!("participants/{whom}/mute"), "host")
        .await;
    assert_eq!(
        operation["@odata.type"],
        "#microsoft.graph.muteParticipantOperation"
    );
    for inbox in [&mut bot.inbox, &mut other.inbox] {
        let roster = inbox.roster().await;
        assert_eq!(
            entry_of(&roster, &theirs["myParticipantId"])["isMuted"],
            true
        );
    }

    let mine = human.rsplit_once('/').unwrap().0;
    let mine = format!("{mine}/{}", created["myParticipantId"].as_str().unwrap());
    for (location, muted) in [(&mine, true), (&mine, false), (&human, true)] {
        rig.host(location, muted).await;
        let id = json!(location.rsplit_once('/').unwrap().1);
        for inbox in [&mut bot.inbox, &mut other.inbox] {
            let roster = inbox.roster().await;
            assert_eq!(entry_of(&roster, &id)["isMuted"], muted);
            assert_eq!(
                entry_of(&roster, &id)["mediaStreams"][0]["serverMuted"],
                muted
            );
        }
    }
    assert_eq!(rig.look(&human).await["displayName"], "Ann B");
    let answer = rig
        .http
        .patch(&mine)
        .json(&json!({ "muted": true }))
        .send()
        .await
        .unwrap();
    assert_eq!(bot.refused(answer).await, (400, "8523".to_owned()));
}

#[tokio::test]
async fn the_host_removes_a_bot() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (human, _) = rig.human(THREAD, None).await;
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let me = created["myParticipantId"].as_str().unwrap();
    let mine = format!("{}/{me}", human.rsplit_once('/').unwrap().0);
    let answer = rig.http.delete(&mine).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    bot.inbox.state("terminating").await;
    let last = bot.inbox.state("terminated").await;
    let result = &last["resultInfo"];
    assert_eq!(
        (&result["code"], &result["subcode"]),
        (&json!(200), &json!(5000))
    );
    assert_eq!(bot.get(&call).await.status(), 404);
    let again = rig.http.delete(&mine).send().await.unwrap();
    assert_eq!(again.status(), 404);
    assert_eq!(rig.look(&human).await["isMuted"], false);
}

#[tokio::test]
async fn the_lab_needs_a_token_outside_dev() {
    let mut config = config();
    config.dev = false;
    let rig = Rig::start(config).await;
    let bot = rig.bot().await;
    let path = "/lab/v1/meetings/19%3Ax/participants";
    let answer = rig.http.post(rig.url(path)).send().await.unwrap();
    assert_eq!(
        bot.refused(answer).await,
        (401, "InvalidAuthenticationToken".to_owned())
    );
    assert_eq!(bot.send(Method::POST, path, None).await.status(), 201);
}
