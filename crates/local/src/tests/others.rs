//! What a bot does to the others of its meeting: invite, remove, mute; and what is lacking.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Bot, Rig, THREAD, config, entry_of};
use crate::config::DEV_APP;

fn user(id: &str) -> Value {
    json!({"identity": {"user": {"id": id, "displayName": "Ann"}}, "new": 1})
}

/// Invites; gives the operation as it was answered and its path.
async fn invite(bot: &Bot<'_>, call: &str, whom: &[Value]) -> (Value, String) {
    let body = json!({"participants": whom, "clientContext": "inv"});
    let answer = bot
        .post(&format!("{call}/participants/invite"), &body)
        .await;
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["status"], "running");
    assert_eq!(body["clientContext"], "inv");
    let kind = "#microsoft.graph.inviteParticipantsOperation";
    assert_eq!(body["@odata.type"], kind);
    let path = format!("{call}/operations/{}", body["id"].as_str().unwrap());
    assert!(location.ends_with(&path), "{location}");
    (body, path)
}

/// The next notification, which must be of an operation's end.
async fn ended(bot: &mut Bot<'_>) -> Value {
    let got = bot.inbox.next().await;
    let entry = got.entry();
    assert_eq!(entry["changeType"], "deleted", "{}", got.body);
    let data = entry["resourceData"].clone();
    let tail = format!("/operations/{}", data["id"].as_str().unwrap());
    let url = entry["resourceUrl"].as_str().unwrap();
    assert!(url.ends_with(&tail), "{url}");
    data
}

async fn count(bot: &Bot<'_>, call: &str) -> usize {
    let list = bot.get(&format!("{call}/participants")).await;
    let list: Value = list.json().await.unwrap();
    list["value"].as_array().unwrap().len()
}

/// Far longer than a test: what is invited does not come by itself.
fn slow() -> crate::LocalConfig {
    let mut config = config();
    config.timing.invite = Duration::from_hours(1);
    config
}

#[tokio::test]
async fn whoever_is_invited_comes_in_and_the_operation_ends() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let mut named = user("u2");
    named["participantId"] = "p-2".into();
    let (begun, path) = invite(&bot, &call, &[user("u1"), named]).await;
    let shown = begun["participants"].as_array().unwrap();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0]["new"], 1);
    assert_eq!(shown[1]["participantId"], "p-2");

    let end = ended(&mut bot).await;
    assert_eq!(end["status"], "completed");
    assert_eq!(end["clientContext"], "inv");
    assert_eq!(end["participants"], begun["participants"]);
    assert_eq!(bot.inbox.roster().await.as_array().unwrap().len(), 2);
    let roster = bot.inbox.roster().await;
    for one in shown {
        let entry = entry_of(&roster, &one["participantId"]);
        assert_eq!(entry["info"]["identity"]["user"], {
            let mut user = one["identity"]["user"].clone();
            user["@odata.type"] = "#microsoft.graph.identity".into();
            user
        });
    }
    let read: Value = bot.get(&path).await.json().await.unwrap();
    assert_eq!(read["status"], "completed");
    let labels = Some(("action", "invite"));
    assert_eq!(rig.metric("openmic_local_operations_total", labels), 1);

    // Somebody who is in is not there twice.
    invite(&bot, &call, &[user("u1")]).await;
    assert_eq!(ended(&mut bot).await["status"], "completed");
    assert_eq!(count(&bot, &call).await, 3);
    // And may be muted and removed like everybody.
    bot.act(&call, "participants/p-2/mute", "x").await;
    assert_eq!(
        entry_of(&bot.inbox.roster().await, &json!("p-2"))["isMuted"],
        true
    );
    let whom = format!("{call}/participants/p-2");
    let gone = bot.send(Method::DELETE, &whom, None).await;
    assert_eq!(gone.status(), 204);
    assert_eq!(bot.inbox.roster().await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_invite_makes_a_group_call_of_a_call_to_one() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let created = bot.create(&bot.peer()).await;
    let me = &created["myParticipantId"];
    let call = format!(
        "/v1.0/communications/calls/{}",
        created["id"].as_str().unwrap()
    );
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    let answer = bot.post(&format!("{call}/mute"), &json!({})).await;
    assert_eq!(bot.refused(answer).await, (400, "8548".to_owned()));
    let two = json!({"participants": [user("u2"), user("u3")]});
    let answer = bot.post(&format!("{call}/participants/invite"), &two).await;
    assert_eq!(bot.refused(answer).await, (400, "8548".to_owned()));
    let whom = format!("{call}/participants/p");
    let nobody = bot.send(Method::DELETE, &whom, None).await;
    assert_eq!(bot.refused(nobody).await, (400, "8548".to_owned()));

    invite(&bot, &call, &[user("u2")]).await;
    assert_eq!(ended(&mut bot).await["status"], "completed");
    let first = bot.inbox.roster().await;
    assert_eq!(first.as_array().unwrap().len(), 1, "the bot itself");
    assert_eq!(entry_of(&first, me)["isMuted"], false);
    bot.inbox.roster().await;
    let roster = bot.inbox.roster().await;
    let ids: Vec<_> = roster
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let identity = &entry["info"]["identity"];
            identity["user"]["id"].as_str().unwrap_or("bot")
        })
        .collect();
    assert_eq!(
        ids,
        ["bot", "u1", "u2"],
        "whom it called first is there too"
    );

    bot.act(&call, "mute", "now").await;
    assert_eq!(entry_of(&bot.inbox.roster().await, me)["isMuted"], true);
    // It has a chat thread now, by which the lab finds it.
    let read: Value = bot.get(&call).await.json().await.unwrap();
    let thread = read["chatInfo"]["threadId"].as_str().unwrap();
    rig.human(thread, None).await;
    assert_eq!(bot.inbox.roster().await.as_array().unwrap().len(), 4);
    let two = [user("u3"), user("u4")];
    invite(&bot, &call, &two).await;
    assert_eq!(ended(&mut bot).await["status"], "completed");
}

#[tokio::test]
async fn an_invitation_can_be_taken_back() {
    let rig = Rig::start(slow()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let (begun, path) = invite(&bot, &call, &[user("u1"), user("u2")]).await;
    let ids = [0, 1].map(|at| begun["participants"][at]["participantId"].as_str().unwrap());
    let delete = async |id: &str| {
        let path = format!("{call}/participants/{id}");
        bot.send(Method::DELETE, &path, None).await.status()
    };
    assert_eq!(delete(ids[0]).await, 204);
    let read: Value = bot.get(&path).await.json().await.unwrap();
    assert_eq!(read["status"], "running", "one of them still comes");
    assert_eq!(delete(ids[1]).await, 204);
    assert_eq!(delete(ids[1]).await, 404);
    let end = ended(&mut bot).await;
    assert_eq!(end["status"], "failed");
    assert_eq!(end["resultInfo"]["code"], 400);
    assert_eq!(end["resultInfo"]["subcode"], 8508);
    let read: Value = bot.get(&path).await.json().await.unwrap();
    assert_eq!(read["resultInfo"], end["resultInfo"]);
    assert_eq!(count(&bot, &call).await, 1);
}

#[tokio::test]
async fn an_invite_ends_with_its_call() {
    let rig = Rig::start(slow()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let (_, path) = invite(&bot, &call, &[user("u1")]).await;
    let gone = bot.send(Method::DELETE, &call, None).await;
    assert_eq!(gone.status(), 204);
    bot.inbox.state("terminating").await;
    let end = ended(&mut bot).await;
    assert_eq!(
        (&end["status"], &end["resultInfo"]["subcode"]),
        (&json!("failed"), &json!(8522))
    );
    bot.inbox.state("terminated").await;
    let read: Value = bot.get(&path).await.json().await.unwrap();
    assert_eq!(read["status"], "failed", "kept longer than its call");
}

#[tokio::test]
async fn what_is_wrong_with_an_invite_is_said_and_changes_nothing() {
    let mut config = slow();
    config.limits.participants = 4;
    config.apps[1].roles = vec!["Calls.JoinGroupCall.All".to_owned()];
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let path = format!("{call}/participants/invite");
    let mut taken = user("u1");
    taken["participantId"] = created["myParticipantId"].clone();
    let app = json!({"identity": {"application": {"id": "a"}}});
    for body in [
        json!({}),
        json!({"participants": []}),
        json!({"participants": vec![user("u"); 6]}),
        json!({"participants": [{}]}),
        json!({"participants": [app]}),
        json!({"participants": [taken]}),
        json!({"participants": [user("u")], "clientContext": 7}),
    ] {
        let answer = bot.post(&path, &body).await;
        assert_eq!(
            bot.refused(answer).await,
            (400, "8523".to_owned()),
            "{body}"
        );
    }
    let many = json!({"participants": [user("1"), user("2"), user("3"), user("4")]});
    let answer = bot.post(&path, &many).await;
    assert_eq!(bot.refused(answer).await, (429, "8530".to_owned()));
    // Those on their way in take a place.
    invite(&bot, &call, &[user("1"), user("2"), user("3")]).await;
    let one = json!({"participants": [user("4")]});
    let answer = bot.post(&path, &one).await;
    assert_eq!(bot.refused(answer).await, (429, "8530".to_owned()));
    assert_eq!(count(&bot, &call).await, 1);

    let mut other = rig.other_bot().await;
    let body = other.join("19:meeting_other@thread.v2");
    let (theirs, _) = other.established(&body).await;
    let answer = other
        .post(&format!("{theirs}/participants/invite"), &one)
        .await;
    assert_eq!(other.refused(answer).await, (403, "7504".to_owned()));
    for (call, code) in [
        (&theirs, (404, "8522")),
        (&format!("{theirs}x"), (404, "8522")),
    ] {
        let answer = bot.post(&format!("{call}/participants/invite"), &one).await;
        assert_eq!(bot.refused(answer).await, (code.0, code.1.to_owned()));
    }
}

#[tokio::test]
async fn a_bot_that_does_not_listen_cannot_pile_invites_up() {
    let mut config = slow();
    config.limits.waiting = 2;
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    for id in ["u1", "u2"] {
        invite(&bot, &call, &[user(id)]).await;
    }
    let body = json!({"participants": [user("u3")]});
    let answer = bot
        .post(&format!("{call}/participants/invite"), &body)
        .await;
    assert_eq!(bot.refused(answer).await, (429, "8530".to_owned()));
}

#[tokio::test]
async fn a_call_whose_bot_is_removed_ends() {
    let rig = Rig::start(config()).await;
    let (mut bot, mut other) = (rig.bot().await, rig.other_bot().await);
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let body = other.join(THREAD);
    let (theirs, removed) = other.established(&body).await;
    bot.inbox.roster().await;
    let participants = format!("{call}/participants");
    let path = |whom: &Value| format!("{participants}/{}", whom.as_str().unwrap());

    let whom = path(&removed["myParticipantId"]);
    assert_eq!(bot.send(Method::DELETE, &whom, None).await.status(), 204);
    other.inbox.state("terminating").await;
    let last = other.inbox.state("terminated").await;
    assert_eq!(last["resultInfo"]["code"], 200);
    assert_eq!(last["resultInfo"]["subcode"], 5000);
    assert_eq!(other.get(&theirs).await.status(), 404);
    assert_eq!(bot.inbox.roster().await.as_array().unwrap().len(), 1);

    let me = path(&created["myParticipantId"]);
    assert_eq!(bot.send(Method::DELETE, &me, None).await.status(), 204);
    bot.inbox.state("terminating").await;
    let last = bot.inbox.state("terminated").await;
    assert_eq!(last["resultInfo"]["subcode"], 5000);
    assert_eq!(bot.get(&call).await.status(), 404);
}

#[tokio::test]
async fn participants_are_muted_by_id_and_only_in_a_group_call_that_is_up() {
    let mut slowly = config();
    slowly.timing.establish = Duration::from_hours(1);
    let rig = Rig::start(slowly).await;
    let bot = rig.bot().await;
    let call = bot.create(&bot.join(THREAD)).await;
    let call = format!(
        "/v1.0/communications/calls/{}",
        call["id"].as_str().unwrap()
    );
    for (method, tail, body) in [
        (Method::POST, "participants/p/mute", json!({})),
        (Method::DELETE, "participants/p", json!({})),
        (
            Method::POST,
            "participants/invite",
            json!({"participants": [user("u")]}),
        ),
    ] {
        let answer = bot
            .send(method, &format!("{call}/{tail}"), Some(&body))
            .await;
        assert_eq!(
            bot.refused(answer).await,
            (400, "8501".to_owned()),
            "{tail}"
        );
    }

    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let me = created["myParticipantId"].as_str().unwrap();
    let done = bot
        .act(&call, &format!("participants/{me}/mute"), "self")
        .await;
    assert_eq!(
        done["@odata.type"],
        "#microsoft.graph.muteParticipantOperation"
    );
    let roster = bot.inbox.roster().await;
    assert_eq!(
        entry_of(&roster, &created["myParticipantId"])["isMuted"],
        true
    );
    for tail in ["participants/nobody/mute", "participants/a%2Fb/mute"] {
        let answer = bot.post(&format!("{call}/{tail}"), &json!({})).await;
        assert_eq!(
            bot.refused(answer).await,
            (404, "8522".to_owned()),
            "{tail}"
        );
    }
    let peer = bot.create(&bot.peer()).await;
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    let peer = format!(
        "/v1.0/communications/calls/{}",
        peer["id"].as_str().unwrap()
    );
    let answer = bot
        .post(&format!("{peer}/participants/p/mute"), &json!({}))
        .await;
    assert_eq!(bot.refused(answer).await, (400, "8548".to_owned()));
}

#[tokio::test]
async fn several_are_muted_at_a_stroke_in_beta() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (human, _) = rig.human(THREAD, None).await;
    let human = human.rsplit('/').next().unwrap().to_owned();
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let path = format!("{call}/participants/muteAll");
    let me = created["myParticipantId"].as_str().unwrap();
    let body = json!({"participants": [me, human], "clientContext": "all"});
    let answer = bot.post(&path, &body).await;
    assert_eq!(bot.refused(answer).await, (404, "itemNotFound".to_owned()));
    let beta = path.replace("/v1.0/", "/beta/");
    let unknown = json!({"participants": [me, "nobody"]});
    let answer = bot.post(&beta, &unknown).await;
    assert_eq!(bot.refused(answer).await, (404, "8522".to_owned()));
    assert_eq!(bot.inbox.waiting(), 0, "nobody was muted");
    let done: Value = bot.post(&beta, &body).await.json().await.unwrap();
    assert_eq!(
        done["@odata.type"],
        "#microsoft.graph.muteParticipantsOperation"
    );
    assert_eq!(
        (&done["status"], &done["clientContext"]),
        (&json!("completed"), &json!("all"))
    );
    assert_eq!(done["participants"], json!([me, human]));
    bot.inbox.roster().await;
    let roster = bot.inbox.roster().await;
    let muted = roster
        .as_array()
        .unwrap()
        .iter()
        .all(|entry| entry["isMuted"] == true);
    assert!(muted, "{roster}");
}

#[tokio::test]
async fn what_the_service_lacks_says_so() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let calls = "/v1.0/communications/calls";
    let lacking = [
        "redirect",
        "transfer",
        "playPrompt",
        "recordResponse",
        "cancelMediaProcessing",
        "subscribeToTone",
        "sendDtmfTones",
        "updateRecordingStatus",
        "changeScreenSharingRole",
        "addLargeGalleryView",
        "participants/p/startHoldMusic",
        "participants/p/stopHoldMusic",
    ];
    for action in lacking {
        let answer = bot.post(&format!("{call}/{action}"), &json!({})).await;
        assert_eq!(
            bot.refused(answer).await,
            (501, "8520".to_owned()),
            "{action}"
        );
        let answer = bot
            .post(&format!("{calls}/unknown/{action}"), &json!({}))
            .await;
        assert_eq!(
            bot.refused(answer).await,
            (404, "8522".to_owned()),
            "{action}"
        );
    }
    let quality = format!("{calls}/logTeleconferenceDeviceQuality");
    let answer = bot.post(&quality, &json!({})).await;
    assert_eq!(bot.refused(answer).await, (501, "8520".to_owned()));

    // What SDKs are generated with and no API does.
    for (method, path, allow) in [
        (Method::GET, calls.to_owned(), "POST"),
        (Method::PATCH, call.clone(), "GET,HEAD,DELETE"),
        (Method::POST, format!("{call}/operations"), ""),
        (Method::GET, format!("{call}/operations"), ""),
        (Method::PATCH, format!("{call}/operations/o"), "GET,HEAD"),
        (Method::DELETE, format!("{call}/operations/o"), "GET,HEAD"),
        (Method::POST, format!("{call}/participants"), "GET,HEAD"),
        (
            Method::PATCH,
            format!("{call}/participants/p"),
            "GET,HEAD,DELETE",
        ),
        (Method::OPTIONS, call.clone(), "GET,HEAD,DELETE"),
        (Method::PUT, format!("{call}/unmute"), "POST"),
    ] {
        let answer = bot.send(method.clone(), &path, Some(&json!({}))).await;
        let mut allowed: Vec<_> = answer.headers()["allow"]
            .to_str()
            .unwrap()
            .split(',')
            .collect();
        let mut expected: Vec<_> = allow.split(',').collect();
        allowed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(allowed, expected, "{method} {path}");
        assert_eq!(
            bot.refused(answer).await,
            (405, "notAllowed".to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn queries_are_honoured_or_left_alone() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, created) = bot.established(&body).await;
    let read: Value = bot
        .get(&format!("{call}?$select=id,state"))
        .await
        .json()
        .await
        .unwrap();
    let names: Vec<_> = read
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["@odata.context", "@odata.type", "id", "state"]);
    let list =
        format!("{call}/participants?%24select=isMuted&$top=1&$filter=x%20eq%20'y'&$count=true");
    let read: Value = bot.get(&list).await.json().await.unwrap();
    assert_eq!(read["value"].as_array().unwrap().len(), 1);
    assert_eq!(read["value"][0]["isMuted"], false);
    assert_eq!(read["value"][0].get("id"), None);
    let me = created["myParticipantId"].as_str().unwrap();
    for path in [
        format!("{call}?$expand=operations,participants"),
        format!("{call}?&&=&$select"),
        format!("{call}/participants?$skip=a&$orderby=;&$search=%22x%22"),
        format!("{call}/participants/{me}?$select=*"),
    ] {
        assert_eq!(bot.get(&path).await.status(), 200, "{path}");
        let head = bot.send(Method::HEAD, &path, None).await;
        assert_eq!(head.status(), 200, "{path}");
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn whoever_rang_the_bot_is_in_the_group_call_it_makes() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let asked = json!({"appId": DEV_APP, "callbackUri": bot.inbox.url, "displayName": "Caller C"});
    let (ring, location) = rig.ring(&asked).await;
    let offered = bot.inbox.next().await;
    let me = &offered.entry()["resourceData"]["myParticipantId"];
    let call = format!(
        "/v1.0/communications/calls/{}",
        ring["id"].as_str().unwrap()
    );
    let body = json!({"mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"}});
    let answer = bot.post(&format!("{call}/answer"), &body).await;
    assert_eq!(answer.status(), 202);
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;

    invite(&bot, &call, &[user("u2")]).await;
    assert_eq!(ended(&mut bot).await["status"], "completed");
    entry_of(&bot.inbox.roster().await, me);
    let caller = bot.inbox.roster().await;
    let caller = entry_of(&caller, &ring["callerId"]);
    let name = &caller["info"]["identity"]["user"]["displayName"];
    assert_eq!(name, "Caller C");
    assert_eq!(bot.inbox.roster().await.as_array().unwrap().len(), 3);
    // The caller leaves a group call; the others stay.
    let gone = rig.http.delete(&location).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(bot.inbox.roster().await.as_array().unwrap().len(), 2);
    assert_eq!(bot.get(&call).await.status(), 200);
}
