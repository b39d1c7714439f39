use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Rig, THREAD, config, entry_of};
use crate::config::{ALL_ROLES, DEV_APP};

#[tokio::test]
async fn a_created_call_says_what_it_is() {
    let rig = Rig::start(config()).await;
    let bot = rig.bot().await;
    let mut body = bot.join(THREAD);
    body["subject"] = json!("standup");
    body["unheardOf"] = json!({ "kept": true });
    let answer = bot.post("/v1.0/communications/calls", &body).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["odata-version"], "4.0");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let call: Value = answer.json().await.unwrap();
    let id = call["id"].as_str().unwrap();
    assert_eq!(
        location,
        format!("{}/communications/calls/{id}", rig.service.graph_url())
    );
    let context = format!("{}/$metadata#app/calls/$entity", rig.service.graph_url());
    assert_eq!(call["@odata.context"], context);
    assert_eq!(call["@odata.type"], "#microsoft.graph.call");
    assert_eq!(call["state"], "establishing");
    assert_eq!(call["direction"], "outgoing");
    assert_eq!(call["callbackUri"], bot.inbox.url);
    assert_eq!(call["chatInfo"]["threadId"], THREAD);
    assert_eq!(call["source"]["identity"]["application"]["id"], DEV_APP);
    assert_eq!(call["subject"], "standup");
    assert_eq!(call["unheardOf"]["kept"], true);
    assert!(call["myParticipantId"].is_string() && call["callChainId"].is_string());

    let got: Value = bot.get(&location).await.json().await.unwrap();
    let context = got["@odata.context"].as_str().unwrap();
    assert!(
        context.ends_with("#communications/calls/$entity"),
        "{context}"
    );
    assert_eq!(got["myParticipantId"], call["myParticipantId"]);
    assert_eq!(rig.metric("openmic_local_calls", None), 1);
    rig.service.stop().await;
}

#[tokio::test]
async fn an_empty_id_of_a_client_is_none() {
    let rig = Rig::start(config()).await;
    let url = rig.url("/v1.0/communications/calls/none");
    let request = rig.http.get(url).header("client-request-id", "");
    let answer = request.send().await.unwrap();
    let headers = answer.headers();
    assert_eq!(headers["client-request-id"], headers["request-id"]);
}

#[tokio::test]
async fn graphs_documented_unmute_works_to_the_letter() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let answer = rig
        .http
        .post(rig.url(&format!("{call}/unmute")))
        .bearer_auth(&bot.token)
        .header("content-type", "application/json")
        .header("client-request-id", "mine-1")
        .body(r#"{"clientContext": "clientContext-value"}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["client-request-id"], "mine-1");
    assert!(answer.headers().contains_key("request-id"));
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let operation: Value = answer.json().await.unwrap();
    let kind = "unmuteParticipantOperation";
    assert_eq!(operation["@odata.type"], format!("#microsoft.graph.{kind}"));
    let context = operation["@odata.context"].as_str().unwrap();
    assert!(
        context.ends_with(&format!("/v1.0/$metadata#{kind}")),
        "{context}"
    );
    assert_eq!(operation["status"], "completed");
    assert_eq!(operation["clientContext"], "clientContext-value");
    let id = operation["id"].as_str().unwrap();
    assert_eq!(location, rig.url(&format!("{call}/operations/{id}")));
    let read: Value = bot.get(&location).await.json().await.unwrap();
    assert_eq!(read, operation);
    let of = |action| ("action", action);
    assert_eq!(
        rig.metric("openmic_local_operations_total", Some(of("unmute"))),
        1
    );
}

#[tokio::test]
async fn answers_can_spell_a_status_with_a_capital() {
    let mut config = config();
    config.rules.pascal_case = true;
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let answer = bot.post(&format!("{call}/unmute"), &json!({})).await;
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let operation: Value = answer.json().await.unwrap();
    assert_eq!(operation["status"], "Completed");
    let read: Value = bot.get(&location).await.json().await.unwrap();
    assert_eq!(read["status"], "Completed");
}

#[tokio::test]
async fn every_spelling_of_a_path_is_one_call() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let id = created["id"].as_str().unwrap();
    for path in [
        format!("/beta/communications/calls/{id}/mute"),
        format!("/v1.0/app/calls/{id}/microsoft.graph.mute"),
        format!("/beta/app/calls('{id}')/mute"),
        format!("/v1.0/communications/calls/{}/mute", id.to_uppercase()),
        format!("{call}/mute/?x=y"),
    ] {
        let answer = bot.post(&path, &json!({})).await;
        assert_eq!(answer.status(), 200, "{path}");
        let version = if path.starts_with("/beta") {
            "/beta/"
        } else {
            "/v1.0/"
        };
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        assert!(location.contains(version), "{location}");
        assert_eq!(bot.get(&location).await.status(), 200, "{location}");
    }
}

#[tokio::test]
async fn the_context_is_echoed_or_null_and_an_empty_body_is_fine() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let longest = "\u{1f600}".repeat(128);
    bot.act(&call, "mute", &longest).await;
    for body in [
        None,
        Some(json!({})),
        Some(json!({ "clientContext": null })),
    ] {
        let answer = bot
            .send(Method::POST, &format!("{call}/unmute"), body.as_ref())
            .await;
        assert_eq!(answer.status(), 200);
        let operation: Value = answer.json().await.unwrap();
        assert!(operation["clientContext"].is_null());
    }
    let first = bot.act(&call, "mute", "same").await;
    let second = bot.act(&call, "mute", "same").await;
    assert_ne!(
        first["id"], second["id"],
        "a repeated context is a new operation"
    );
}

#[tokio::test]
async fn kinds_of_calls() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;

    let peer = bot.create(&bot.peer()).await;
    let path = format!(
        "/v1.0/communications/calls/{}",
        peer["id"].as_str().unwrap()
    );
    bot.inbox.state("establishing").await;
    let data = bot.inbox.state("established").await;
    assert_eq!(data["mediaState"]["audio"], "active");
    let list: Value = bot
        .get(&format!("{path}/participants"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list["value"], json!([]), "a 1:1 call has no roster");

    let mut group = bot.peer();
    group["targets"] = json!([
        { "identity": { "user": { "id": "u1", "displayName": "One" } } },
        { "identity": { "user": { "id": "u2" } } },
    ]);
    let (path, call) = bot.established(&group).await;
    let thread = call["chatInfo"]["threadId"].as_str().unwrap();
    assert!(thread.starts_with("19:meeting_"), "{thread}");
    let list: Value = bot
        .get(&format!("{path}/participants"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list["value"].as_array().unwrap().len(), 3);
    bot.inbox.roster().await;
    bot.inbox.roster().await;
    bot.send(Method::DELETE, &path, None).await;
    bot.inbox.state("terminating").await;
    bot.inbox.state("terminated").await;
    assert_eq!(
        rig.metric("openmic_local_meetings", None),
        0,
        "callees go with the bot"
    );
    let humans = Some(("kind", "human"));
    assert_eq!(rig.metric("openmic_local_participants", humans), 0);

    let mut by_id = bot.join("x");
    by_id.as_object_mut().unwrap().remove("chatInfo");
    by_id["meetingInfo"] = json!({
        "@odata.type": "#microsoft.graph.joinMeetingIdMeetingInfo",
        "joinMeetingId": "123 456 789", "passcode": null,
    });
    let (_, call) = bot.established(&by_id).await;
    assert_eq!(
        call["chatInfo"]["threadId"],
        "19:meeting_123456789@thread.v2"
    );
}

#[tokio::test]
async fn roles_are_asked_for_by_kind_and_only_at_creation() {
    for (kind, role, app_hosted) in [
        ("peer", "Calls.Initiate.All", false),
        ("join", "Calls.JoinGroupCall.All", false),
        ("join", "Calls.JoinGroupCalls.All", false),
        ("join", "Calls.JoinGroupCallAsGuest.All", false),
        ("join", "Calls.AccessMedia.All", true),
    ] {
        let mut config = config();
        config.apps[0].roles = ALL_ROLES.map(str::to_owned).to_vec();
        config.apps[0].roles.retain(|has| {
            let same_kind = kind == "join" && has.starts_with("Calls.JoinGroupCall");
            has != role && (app_hosted || !same_kind)
        });
        let mut without = Rig::start(config.clone()).await;
        let bot = without.bot().await;
        let mut body = if kind == "peer" {
            bot.peer()
        } else {
            bot.join(THREAD)
        };
        if app_hosted {
            body["mediaConfig"] = json!({ "@odata.type": "#microsoft.graph.appHostedMediaConfig" });
        }
        let answer = bot.post("/v1.0/communications/calls", &body).await;
        assert_eq!(
            bot.refused(answer).await,
            (403, "7504".to_owned()),
            "{role}"
        );
        drop(bot);

        config.apps[0].roles.push(role.to_owned());
        without = Rig::start(config).await;
        let mut bot = without.bot().await;
        body["callbackUri"] = json!(bot.inbox.url);
        let call = bot.create(&body).await;
        if kind == "join" {
            bot.inbox.state("establishing").await;
            bot.inbox.state("established").await;
            let path = format!(
                "/v1.0/communications/calls/{}",
                call["id"].as_str().unwrap()
            );
            bot.act(&path, "mute", "no role is asked for").await;
        }
    }
}

#[tokio::test]
async fn a_participant_is_read_alone_and_in_the_list() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    rig.human(THREAD, None).await;
    let body = bot.join(THREAD);
    let (path, call) = bot.established(&body).await;
    let list: Value = bot
        .get(&format!("{path}/participants"))
        .await
        .json()
        .await
        .unwrap();
    let id = call["id"].as_str().unwrap();
    let context = list["@odata.context"].as_str().unwrap();
    assert!(context.ends_with(&format!("#communications/calls('{id}')/participants")));
    assert_eq!(list["value"].as_array().unwrap().len(), 2);
    let own = entry_of(&list["value"], &call["myParticipantId"]);
    assert_eq!(
        own["info"]["identity"]["application"]["displayName"],
        "Local bot"
    );
    assert_eq!(own["isMuted"], false);
    assert_eq!(own["mediaStreams"][0]["serverMuted"], false);
    assert_eq!(own["mediaStreams"][0]["direction"], "sendReceive");
    let own_id = call["myParticipantId"].as_str().unwrap();
    let alone: Value = bot
        .get(&format!("{path}/participants/{own_id}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(alone["id"], own["id"]);
    assert_eq!(alone["rosterSequenceNumber"], own["rosterSequenceNumber"]);
}
