use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Rig, THREAD, config};

#[tokio::test]
async fn a_call_is_told_of_its_life_in_order() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let url = rig.url("/v1.0/communications/calls");
    let request = rig.http.post(url).bearer_auth(&bot.token);
    let request = request
        .header("Scenario-Id", "scenario-1")
        .json(&bot.join(THREAD));
    let call: Value = request.send().await.unwrap().json().await.unwrap();
    let id = call["id"].as_str().unwrap();

    let first = bot.inbox.next().await;
    assert_eq!(
        first.body["@odata.type"],
        "#microsoft.graph.commsNotifications"
    );
    let entry = first.entry();
    assert_eq!(entry["changeType"], "updated");
    assert_eq!(entry["resource"], format!("/app/calls/{id}"));
    assert_eq!(entry["resourceUrl"], format!("/communications/calls/{id}"));
    assert_eq!(entry["callbackUri"], bot.inbox.url);
    assert_eq!(entry["resourceData"]["id"], id);
    assert_eq!(entry["resourceData"]["state"], "establishing");
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.header("scenario-id"), "scenario-1");
    assert_eq!(
        first.header("x-microsoft-skype-chain-id"),
        call["callChainId"].as_str().unwrap()
    );

    let second = bot.inbox.next().await;
    assert_eq!(second.entry()["resourceData"]["state"], "established");
    assert_eq!(
        second.entry()["resourceData"]["mediaState"]["audio"],
        "active"
    );
    assert_eq!(
        first.header("authorization"),
        second.header("authorization"),
        "a token is used again while it lives"
    );
    let message = "x-microsoft-skype-message-id";
    assert_ne!(first.header(message), second.header(message));
    let roster = bot.inbox.roster().await;
    assert_eq!(roster[0]["id"], call["myParticipantId"]);

    let path = format!("/v1.0/communications/calls/{id}");
    let operation = bot.act(&path, "unmute", "kept").await;
    bot.inbox.roster().await;
    assert_eq!(bot.send(Method::DELETE, &path, None).await.status(), 204);
    assert_eq!(
        bot.inbox.state("terminating").await["resultInfo"],
        Value::Null
    );
    let last = bot.inbox.next().await;
    assert_eq!(last.entry()["changeType"], "deleted");
    let data = &last.entry()["resourceData"];
    assert_eq!(data["state"], "terminated");
    assert_eq!(data["resultInfo"]["code"], 200);
    assert_eq!(data["resultInfo"]["subcode"], 7000);

    for method in [Method::GET, Method::DELETE] {
        let answer = bot.send(method, &path, None).await;
        assert_eq!(bot.refused(answer).await, (404, "8522".to_owned()));
    }
    let kept = format!("{path}/operations/{}", operation["id"].as_str().unwrap());
    assert_eq!(
        bot.get(&kept).await.status(),
        200,
        "operations outlive their call"
    );
    let inbox = bot.inbox;
    rig.service.stop().await;
    assert_eq!(inbox.waiting(), 0, "nothing comes after the end");
}

#[tokio::test]
async fn a_busy_bot_is_asked_again_in_order_and_a_refusal_is_final() {
    let mut config = config();
    config.timing.redelivery = vec![std::time::Duration::from_millis(1); 5];
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    bot.inbox.will_answer(&[503, 429, 408, 202, 403]);
    bot.create(&bot.join(THREAD)).await;
    let mut messages = Vec::new();
    for _ in 0..4 {
        let got = bot.inbox.next().await;
        assert_eq!(got.entry()["resourceData"]["state"], "establishing");
        messages.push(got.header("x-microsoft-skype-message-id").to_owned());
    }
    messages.dedup();
    assert_eq!(
        messages.len(),
        1,
        "a repetition has the id of the first attempt"
    );
    bot.inbox.state("established").await;
    bot.inbox.roster().await;
    let result = |name| Some(("result", name));
    let name = "openmic_local_notifications_total";
    rig.until("the roster to be counted", async |rig: &Rig| {
        rig.metric(name, result("delivered")) == 2
    })
    .await;
    assert_eq!(rig.metric(name, result("rejected")), 1);
    assert_eq!(
        rig.metric("openmic_local_notification_retries_total", None),
        3
    );
}

#[tokio::test]
async fn retries_end() {
    let mut config = config();
    config.timing.redelivery = vec![std::time::Duration::from_millis(1); 2];
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    bot.inbox.will_answer(&[500; 3]);
    bot.create(&bot.join(THREAD)).await;
    for _ in 0..3 {
        bot.inbox.state("establishing").await;
    }
    bot.inbox.state("established").await;
    let failed = Some(("result", "failed"));
    assert_eq!(rig.metric("openmic_local_notifications_total", failed), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    bot.inbox.will_answer(&[307]);
    bot.create(&bot.join(THREAD)).await;
    bot.inbox.state("establishing").await;
    bot.inbox.state("established").await;
    let rejected = Some(("result", "rejected"));
    assert_eq!(rig.metric("openmic_local_notifications_total", rejected), 1);
}

#[tokio::test]
async fn callbacks_into_private_networks_are_refused_when_they_are_due() {
    let rig = Rig::start(config()).await;
    let bot = rig.bot().await;
    for (at, callback) in [
        "http://10.1.2.3/callbacks",
        "http://8.8.8.8/callbacks",
        "https://169.254.169.254/latest",
        "https://user:secret@bot.example/",
        "https://[fd00::1]/",
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = bot.join(THREAD);
        body["callbackUri"] = json!(callback);
        let call = bot.create(&body).await;
        rig.until("the refusal", async |rig: &Rig| {
            let refused = Some(("result", "refused"));
            rig.metric("openmic_local_notifications_total", refused)
                .cast_unsigned()
                > at as u64
        })
        .await;
        assert_eq!(call["callbackUri"], callback);
    }
}

#[tokio::test]
async fn outside_dev_even_loopback_is_refused_also_by_name() {
    let mut config = config();
    config.dev = false;
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let port = bot.inbox.url.split(':').nth(2).unwrap().to_owned();
    let https = format!("https://localhost:{port}");
    for callback in [bot.inbox.url.clone(), https] {
        let before = rig.metric(
            "openmic_local_notifications_total",
            Some(("result", "refused")),
        );
        bot.inbox.url = callback;
        bot.create(&bot.join(THREAD)).await;
        rig.until("the refusal", async |rig: &Rig| {
            let refused = Some(("result", "refused"));
            rig.metric("openmic_local_notifications_total", refused) >= before + 3
        })
        .await;
    }
    assert_eq!(bot.inbox.waiting(), 0);
    assert_eq!(
        rig.metric("openmic_local_notification_retries_total", None),
        0
    );
}
