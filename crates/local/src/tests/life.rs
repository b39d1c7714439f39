use std::time::Duration;

use openmic_model::AppId;
use openmic_wire::create::CreateCall;
use serde_json::json;

use super::harness::{Rig, THREAD, config};
use crate::config::{DEV_APP, DEV_SECRET};

#[tokio::test]
async fn a_call_nobody_keeps_alive_ends() {
    let mut config = config();
    config.timing.keep_alive = Duration::from_millis(1);
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    bot.inbox.state("terminating").await;
    let data = bot.inbox.state("terminated").await;
    assert_eq!(data["resultInfo"]["code"], 408);
    assert_eq!(data["resultInfo"]["subcode"], 8537);
    let answer = bot.post(&format!("{call}/keepAlive"), &json!({})).await;
    assert_eq!(bot.refused(answer).await, (404, "8522".to_owned()));
}

#[tokio::test]
async fn keep_alive_is_answered_and_counts_from_its_own_time() {
    let rig = Rig::start(config()).await;
    let app = AppId::parse(DEV_APP).unwrap();
    let mut bot = rig.bot().await;
    let token = rig.token_of(DEV_APP, DEV_SECRET).await;
    let claims = rig.claims(&token).await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let answer = bot.post(&format!("{call}/keepAlive"), &json!({})).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-length"], "0");

    let request = CreateCall::decode(&serde_json::to_vec(&bot.join(THREAD)).unwrap()).unwrap();
    let world = &rig.service.world;
    // The clock stands still but for these steps; everybody's deadline is 45 minutes.
    tokio::time::pause();
    let new = world
        .create(&claims, &app, request, None, "r1")
        .await
        .unwrap();
    let id = new.id.as_str();
    let minutes = |minutes| tokio::time::advance(Duration::from_mins(minutes));
    minutes(44).await;
    world.keep_alive(&app, id).unwrap();
    minutes(44).await;
    world.keep_alive(&app, id).unwrap();
    minutes(46).await;
    rig.until("the call to be gone", async |_: &Rig| {
        world.keep_alive(&app, id).is_err()
    })
    .await;
}

#[tokio::test]
async fn operations_are_forgotten_in_the_end() {
    let mut config = config();
    config.timing.operations_kept = Duration::ZERO;
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let operation = bot.act(&call, "mute", "x").await;
    let operation = format!("{call}/operations/{}", operation["id"].as_str().unwrap());
    assert_eq!(bot.get(&operation).await.status(), 200);
    bot.inbox.roster().await;
    bot.send(reqwest::Method::DELETE, &call, None).await;
    bot.inbox.state("terminating").await;
    bot.inbox.state("terminated").await;
    assert_eq!(bot.get(&operation).await.status(), 404);
}

#[tokio::test]
async fn the_last_one_in_a_meeting_stays_unless_the_rules_say_otherwise() {
    for end_when_alone in [false, true] {
        let mut config = config();
        config.rules.end_when_alone = end_when_alone;
        let rig = Rig::start(config).await;
        let mut bot = rig.bot().await;
        let (human, _) = rig.human(THREAD, None).await;
        let body = bot.join(THREAD);
        let (call, _) = bot.established(&body).await;
        assert_eq!(rig.http.delete(&human).send().await.unwrap().status(), 204);
        let roster = bot.inbox.roster().await;
        assert_eq!(roster.as_array().unwrap().len(), 1);
        if end_when_alone {
            bot.inbox.state("terminating").await;
            let data = bot.inbox.state("terminated").await;
            assert_eq!(data["resultInfo"]["subcode"], 5002);
        } else {
            assert_eq!(bot.get(&call).await.status(), 200);
        }
    }
}

#[tokio::test]
async fn many_commands_at_once_each_have_their_operation_and_their_roster() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let commands = (0..20).map(|at| {
        let action = if at % 2 == 0 { "mute" } else { "unmute" };
        let (bot, call) = (&bot, &call);
        async move { bot.act(call, action, &at.to_string()).await }
    });
    let mut commands: Vec<_> = commands.map(Box::pin).collect();
    let mut ids = Vec::new();
    for command in &mut commands {
        let operation = command.await;
        ids.push(operation["id"].as_str().unwrap().to_owned());
    }
    drop(commands);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    let mut last = 0;
    for _ in 0..20 {
        let roster = bot.inbox.roster().await;
        let entry = super::harness::entry_of(&roster, &created["myParticipantId"]);
        let number = entry["rosterSequenceNumber"].as_u64().unwrap();
        assert!(number > last, "rosters come in the order of the changes");
        last = number;
    }
}

#[tokio::test]
async fn stopping_delivers_what_waits_and_starting_twice_in_one_registry_fails() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    bot.established(&body).await;
    let again = crate::LocalService::start(config(), &rig.registry).await;
    assert!(matches!(again, Err(crate::StartError::Metrics(_))));
    drop(bot);
    rig.service.stop().await;
}
