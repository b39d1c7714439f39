use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Bot, Inbox, OTHER_APP, Rig, THREAD, config, entry_of};
use super::sound::{Phone, even_socket, offer};
use crate::config::{ALL_ROLES, DEV_APP, DEV_TENANT};

fn path(ring: &Value) -> String {
    format!(
        "/v1.0/communications/calls/{}",
        ring["id"].as_str().unwrap()
    )
}

fn service_hosted() -> Value {
    json!({ "@odata.type": "#microsoft.graph.serviceHostedMediaConfig" })
}

/// Rings the bot; the notification has been read.
async fn rung(bot: &mut Bot<'_>, mut asked: Value) -> (String, Value, String) {
    asked["appId"] = json!(DEV_APP);
    asked["callbackUri"] = json!(bot.inbox.url);
    let (ring, location) = bot.rig.ring(&asked).await;
    let got = bot.inbox.next().await;
    assert_eq!(got.entry()["changeType"], "created", "{}", got.body);
    assert_eq!(got.entry()["resourceData"]["id"], ring["id"]);
    (path(&ring), ring, location)
}

/// A service where nobody waits for anything but the deadline of a ring.
async fn hasty() -> Rig {
    ringing_for(Duration::from_millis(50)).await
}

async fn ringing_for(ring: Duration) -> Rig {
    let mut config = config();
    config.timing.ring = ring;
    Rig::start(config).await
}

#[tokio::test]
async fn the_bot_is_told_who_calls_as_graph_tells_it() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let asked = json!({
        "appId": DEV_APP, "callbackUri": bot.inbox.url, "threadId": THREAD, "displayName": "Ann B",
    });
    let (ring, location) = rig.ring(&asked).await;
    assert_eq!(ring["state"], "incoming");
    assert_eq!(ring["kind"], "group");
    assert_eq!(
        location,
        rig.url(&format!("/lab/v1/calls/{}", ring["id"].as_str().unwrap()))
    );

    let got = bot.inbox.next().await;
    let entry = got.entry();
    assert_eq!(entry["changeType"], "created");
    let url = format!("/communications/calls/{}", ring["id"].as_str().unwrap());
    assert_eq!(entry["resourceUrl"], url);
    let data = &entry["resourceData"];
    assert_eq!(data["@odata.type"], "#microsoft.graph.call");
    assert_eq!(data["state"], "incoming");
    assert_eq!(data["direction"], "incoming");
    assert_eq!(data["callbackUri"], bot.inbox.url);
    assert_eq!(data["source"]["identity"]["user"]["displayName"], "Ann B");
    assert_eq!(data["targets"][0]["identity"]["application"]["id"], DEV_APP);
    assert_eq!(data["chatInfo"]["threadId"], THREAD);
    assert_eq!(data["tenantId"], DEV_TENANT);
    assert!(data["myParticipantId"].is_string() && data["callChainId"].is_string());
    assert_eq!(
        got.header("x-microsoft-skype-chain-id"),
        data["callChainId"]
    );

    let read: Value = bot.get(&path(&ring)).await.json().await.unwrap();
    assert_eq!(read["state"], "incoming");
    assert_eq!(read["myParticipantId"], data["myParticipantId"]);
    assert_eq!(rig.metric("openmic_local_calls", None), 1);
}

#[tokio::test]
async fn an_answered_call_into_a_meeting_comes_up_with_its_roster() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    rig.human(THREAD, None).await;
    let asked = json!({ "threadId": THREAD, "displayName": "Caller C" });
    let (call, ring, _) = rung(&mut bot, asked).await;
    let list: Value = bot
        .get(&format!("{call}/participants"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list["value"], json!([]), "a ringing call sees nobody");

    // Its own callback takes over from the app's; the delta roster is the answer's to ask for.
    let mut own = Inbox::open(&rig, DEV_APP);
    let body = json!({
        "callbackUri": own.url,
        "acceptedModalities": ["audio"],
        "mediaConfig": service_hosted(),
        "callOptions": { "@odata.type": "#microsoft.graph.incomingCallOptions",
            "isDeltaRosterEnabled": true },
    });
    let answer = bot.post(&format!("{call}/answer"), &body).await;
    assert_eq!(answer.status(), 202);
    assert!(answer.headers().get("location").is_none());
    assert!(answer.bytes().await.unwrap().is_empty());
    own.state("establishing").await;
    own.state("established").await;
    let first = own.roster().await;
    assert_eq!(first["sequenceNumber"], 1);
    let second = own.roster().await;
    let caller = entry_of(&second["participants"], &ring["callerId"]);
    assert_eq!(
        caller["info"]["identity"]["user"]["displayName"],
        "Caller C"
    );

    let read: Value = bot.get(&call).await.json().await.unwrap();
    assert_eq!(read["state"], "established");
    assert_eq!(read["direction"], "incoming");
    assert_eq!(read["callbackUri"], own.url);
    assert_eq!(
        read["source"]["identity"]["user"]["displayName"],
        "Caller C"
    );
    let list: Value = bot
        .get(&format!("{call}/participants"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list["value"].as_array().unwrap().len(), 3);
    entry_of(&list["value"], &read["myParticipantId"]);

    bot.act(&call, "mute", "m").await;
    let delta = own.roster().await;
    let me = entry_of(&delta["participants"], &read["myParticipantId"]);
    assert_eq!(me["isMuted"], true);
    bot.act(&call, "unmute", "u").await;
    own.roster().await;
    let alive = bot.post(&format!("{call}/keepAlive"), &json!({})).await;
    assert_eq!(alive.status(), 200);
    bot.send(Method::DELETE, &call, None).await;
    own.state("terminating").await;
    let data = own.state("terminated").await;
    assert_eq!(data["resultInfo"]["subcode"], 7000);
    assert_eq!(
        bot.inbox.waiting(),
        0,
        "the app's callback heard of the ring only"
    );
    let humans = Some(("kind", "human"));
    assert_eq!(
        rig.metric("openmic_local_participants", humans),
        1,
        "the caller goes too"
    );
}

#[tokio::test]
async fn a_one_to_one_call_is_answered_without_a_role_and_has_no_mute() {
    let mut config = config();
    config.apps[0].roles = vec!["Calls.AccessMedia.All".to_owned()];
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let (call, ring, location) = rung(&mut bot, json!({})).await;
    assert_eq!(ring["kind"], "peerToPeer");
    // Without a callbackUri of its own, the app's keeps taking the notifications.
    let body = json!({ "mediaConfig": service_hosted(), "acceptedModalities": ["audio"] });
    let answer = bot.post(&format!("{call}/answer"), &body).await;
    assert_eq!(answer.status(), 202);
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    let answer = bot.post(&format!("{call}/mute"), &json!({})).await;
    assert_eq!(bot.refused(answer).await, (400, "8548".to_owned()));
    // The caller hangs up.
    assert_eq!(
        rig.http.delete(&location).send().await.unwrap().status(),
        204
    );
    bot.inbox.state("terminating").await;
    let data = bot.inbox.state("terminated").await;
    assert_eq!(data["resultInfo"]["subcode"], 4521);
    assert_eq!(rig.http.get(&location).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn roles_are_asked_for_at_the_answer_and_the_call_rings_on() {
    for (role, app_hosted) in [
        ("Calls.JoinGroupCall.All", false),
        ("Calls.AccessMedia.All", true),
    ] {
        let mut config = config();
        config.apps[0].roles = ALL_ROLES.map(str::to_owned).to_vec();
        config.apps[0]
            .roles
            .retain(|has| has != role && (app_hosted || !has.starts_with("Calls.JoinGroupCall")));
        let rig = Rig::start(config).await;
        let mut bot = rig.bot().await;
        let (call, ..) = rung(&mut bot, json!({ "threadId": THREAD })).await;
        let media = if app_hosted {
            json!({ "@odata.type": "#microsoft.graph.appHostedMediaConfig" })
        } else {
            service_hosted()
        };
        let body = json!({ "mediaConfig": media });
        let answer = bot.post(&format!("{call}/answer"), &body).await;
        assert_eq!(
            bot.refused(answer).await,
            (403, "7504".to_owned()),
            "{role}"
        );
        let read: Value = bot.get(&call).await.json().await.unwrap();
        assert_eq!(read["state"], "incoming", "{role}");
    }
}

#[tokio::test]
async fn an_offer_in_the_answer_is_answered_in_the_call_and_sound_goes_both_ways() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let socket = even_socket().await;
    let port = socket.local_addr().unwrap().port();
    let (_, answer) = rig.human(THREAD, Some(offer(port, "sendrecv"))).await;
    let mut human = Phone::new(socket, &answer);

    let (call, ..) = rung(&mut bot, json!({ "threadId": THREAD })).await;
    let socket = even_socket().await;
    let port = socket.local_addr().unwrap().port();
    let media = json!({ "@odata.type": "#microsoft.graph.appHostedMediaConfig",
        "blob": offer(port, "sendrecv") });
    let body = json!({ "mediaConfig": media });
    let answer = bot.post(&format!("{call}/answer"), &body).await;
    assert_eq!(answer.status(), 202);
    bot.inbox.state("establishing").await;
    let read: Value = bot.get(&call).await.json().await.unwrap();
    let blob = read["mediaConfig"]["blob"].as_str().unwrap();
    let mut phone = Phone::new(socket, blob);
    bot.inbox.state("established").await;
    phone.say(7, 5).await;
    assert_eq!(human.hear().await, 7);
    human.say(9, 5).await;
    assert_eq!(phone.hear().await, 9);
}

#[tokio::test]
async fn a_rejected_call_ends_where_the_rejection_says() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (call, ..) = rung(&mut bot, json!({ "threadId": THREAD })).await;
    let mut elsewhere = Inbox::open(&rig, DEV_APP);
    let body = json!({ "reason": "busy", "callbackUri": elsewhere.url });
    let answer = bot.post(&format!("{call}/reject"), &body).await;
    assert_eq!(answer.status(), 202);
    let got = elsewhere.next().await;
    assert_eq!(
        got.entry()["changeType"],
        "deleted",
        "no terminating comes first"
    );
    let text = &got.entry()["resourceData"]["resultInfo"]["message"];
    assert!(text.as_str().unwrap().contains("busy"), "{text}");
    assert_eq!(
        rig.metric("openmic_local_meetings", None),
        0,
        "an empty meeting goes"
    );

    let (call, ..) = rung(&mut bot, json!({})).await;
    let answer = bot
        .send(Method::POST, &format!("{call}/reject"), None)
        .await;
    assert_eq!(answer.status(), 202, "no body says no reason");
    bot.inbox.state("terminated").await;
}

#[tokio::test]
async fn a_call_nobody_takes_times_out() {
    let rig = hasty().await;
    let mut bot = rig.bot().await;
    let (call, ..) = rung(&mut bot, json!({ "threadId": THREAD })).await;
    let got = bot.inbox.next().await;
    assert_eq!(got.entry()["changeType"], "deleted");
    let result = &got.entry()["resourceData"]["resultInfo"];
    assert_eq!(
        (result["code"].as_i64(), result["subcode"].as_i64()),
        (Some(408), Some(1106))
    );
    for action in ["answer", "reject"] {
        let body = json!({ "mediaConfig": service_hosted() });
        let answer = bot.post(&format!("{call}/{action}"), &body).await;
        assert_eq!(
            bot.refused(answer).await,
            (404, "8522".to_owned()),
            "{action}"
        );
    }
    assert_eq!(rig.metric("openmic_local_calls", None), 0);
}

#[tokio::test]
async fn an_answered_call_does_not_time_out() {
    // Long enough for the answer to come in time on a busy machine.
    let rig = ringing_for(Duration::from_secs(2)).await;
    let mut bot = rig.bot().await;
    let (call, ..) = rung(&mut bot, json!({})).await;
    let body = json!({ "mediaConfig": service_hosted() });
    let answer = bot.post(&format!("{call}/answer"), &body).await;
    assert_eq!(answer.status(), 202);
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    tokio::time::sleep(rig.service.world.config.timing.ring * 3 / 2).await;
    let read: Value = bot.get(&call).await.json().await.unwrap();
    assert_eq!(read["state"], "established");
    assert_eq!(bot.inbox.waiting(), 0);
}

#[tokio::test]
async fn the_caller_can_give_up() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    for (asked, subcode) in [(json!({}), 4521), (json!({ "threadId": THREAD }), 4097)] {
        let (call, _, location) = rung(&mut bot, asked).await;
        assert_eq!(
            rig.http.delete(&location).send().await.unwrap().status(),
            204
        );
        let got = bot.inbox.next().await;
        assert_eq!(got.entry()["changeType"], "deleted");
        let result = &got.entry()["resourceData"]["resultInfo"];
        assert_eq!(result["subcode"], subcode);
        let body = json!({ "mediaConfig": service_hosted() });
        let answer = bot.post(&format!("{call}/answer"), &body).await;
        assert_eq!(bot.refused(answer).await, (404, "8522".to_owned()));
    }
    // Of a group call that was answered the caller leaves, and the bot stays.
    let (call, ring, location) = rung(&mut bot, json!({ "kind": "group" })).await;
    let body = json!({ "mediaConfig": service_hosted() });
    assert_eq!(
        bot.post(&format!("{call}/answer"), &body).await.status(),
        202
    );
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    bot.inbox.roster().await;
    entry_of(&bot.inbox.roster().await, &ring["callerId"]);
    assert_eq!(
        rig.http.delete(&location).send().await.unwrap().status(),
        204
    );
    let left = bot.inbox.roster().await;
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(rig.look(&location).await["state"], "established");
}

#[tokio::test]
async fn what_does_not_ring_can_be_neither_answered_nor_rejected() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = json!({ "mediaConfig": service_hosted() });
    let (call, ..) = rung(&mut bot, json!({ "threadId": THREAD })).await;
    for action in ["mute", "unmute"] {
        let answer = bot.post(&format!("{call}/{action}"), &json!({})).await;
        assert_eq!(
            bot.refused(answer).await,
            (400, "8501".to_owned()),
            "{action}"
        );
    }
    // Two at once: one of them takes the call.
    let path = format!("{call}/answer");
    let (one, other) = tokio::join!(bot.post(&path, &body), bot.post(&path, &body));
    let mut statuses = [one.status().as_u16(), other.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 400]);
    for action in ["answer", "reject"] {
        let answer = bot.post(&format!("{call}/{action}"), &body).await;
        assert_eq!(
            bot.refused(answer).await,
            (400, "8585".to_owned()),
            "{action}"
        );
    }
    let outgoing = bot.create(&bot.peer()).await;
    let answer = bot
        .post(&format!("{}/answer", self::path(&outgoing)), &body)
        .await;
    assert_eq!(bot.refused(answer).await, (400, "8585".to_owned()));
    let location = rig.url(&format!(
        "/lab/v1/calls/{}",
        outgoing["id"].as_str().unwrap()
    ));
    assert_eq!(
        rig.http.get(&location).send().await.unwrap().status(),
        404,
        "nobody rang"
    );
}

#[tokio::test]
async fn bad_answers_and_rings_are_refused_and_the_call_rings_on() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (call, ..) = rung(&mut bot, json!({ "threadId": THREAD })).await;
    let hosted = service_hosted();
    let offer = json!({ "@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": "no sdp" });
    for (action, body) in [
        ("answer", json!({})),
        (
            "answer",
            json!({ "mediaConfig": hosted, "callbackUri": "not a url" }),
        ),
        ("answer", json!({ "mediaConfig": hosted, "callbackUri": 7 })),
        ("answer", json!({ "mediaConfig": offer })),
        ("reject", json!({ "reason": "tired" })),
        ("reject", json!({ "callbackUri": "ftp://x/" })),
    ] {
        let answer = bot.post(&format!("{call}/{action}"), &body).await;
        assert_eq!(
            bot.refused(answer).await,
            (400, "8523".to_owned()),
            "{body}"
        );
    }
    let other = rig.other_bot().await;
    for action in ["answer", "reject"] {
        let body = json!({ "mediaConfig": hosted });
        let answer = other.post(&format!("{call}/{action}"), &body).await;
        assert_eq!(
            other.refused(answer).await,
            (404, "8522".to_owned()),
            "another app's call"
        );
    }
    let read: Value = bot.get(&call).await.json().await.unwrap();
    assert_eq!(read["state"], "incoming");

    let url = bot.inbox.url.clone();
    for (status, asked) in [
        (400, json!({})),
        (400, json!({ "appId": DEV_APP, "callbackUri": "nowhere" })),
        (
            400,
            json!({ "appId": DEV_APP, "callbackUri": url, "typo": 1 }),
        ),
        (
            400,
            json!({ "appId": DEV_APP, "callbackUri": url, "kind": "peerToPeer", "threadId": THREAD }),
        ),
        (
            404,
            json!({ "appId": "99999999-9999-4999-8999-999999999999", "callbackUri": url }),
        ),
    ] {
        let answer = rig
            .http
            .post(rig.url("/lab/v1/calls"))
            .json(&asked)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{asked}");
    }
    assert_eq!(bot.inbox.waiting(), 0);
}

#[tokio::test]
async fn a_ring_counts_against_the_limit_of_calls_and_is_for_its_app_alone() {
    let mut config = config();
    config.limits.calls = 1;
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    rung(&mut bot, json!({})).await;
    let asked = json!({ "appId": OTHER_APP, "callbackUri": bot.inbox.url });
    let answer = rig
        .http
        .post(rig.url("/lab/v1/calls"))
        .json(&asked)
        .send()
        .await
        .unwrap();
    assert_eq!(bot.refused(answer).await, (429, "8530".to_owned()));
}
