use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::DEV_TENANT;

use super::harness::{Rig, THREAD, config};

#[tokio::test]
async fn refusals_have_graphs_codes() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let peer = bot.create(&bot.peer()).await;
    let peer = format!(
        "/v1.0/communications/calls/{}",
        peer["id"].as_str().unwrap()
    );
    let unknown = "/v1.0/communications/calls/0c1f5e00-0000-4000-8000-000000000001";
    let long = "a".repeat(257);
    let post = Method::POST;
    let get = Method::GET;
    let none = json!({});
    let cases = [
        (
            post.clone(),
            format!("{unknown}/unmute"),
            none.clone(),
            404,
            "8522",
        ),
        (
            post.clone(),
            format!("{unknown}/keepAlive"),
            none.clone(),
            404,
            "8522",
        ),
        (get.clone(), unknown.to_owned(), none.clone(), 404, "8522"),
        (
            get.clone(),
            format!("{unknown}/participants"),
            none.clone(),
            404,
            "8522",
        ),
        (
            get.clone(),
            format!("{call}/participants/nobody"),
            none.clone(),
            404,
            "8522",
        ),
        (
            get.clone(),
            format!("{call}/operations/none"),
            none.clone(),
            404,
            "8522",
        ),
        (
            post.clone(),
            format!("{call}/participants/nobody/mute"),
            none.clone(),
            404,
            "8522",
        ),
        (
            post.clone(),
            format!("{peer}/unmute"),
            none.clone(),
            400,
            "8548",
        ),
        (
            post.clone(),
            format!("{peer}/mute"),
            none.clone(),
            400,
            "8548",
        ),
        (
            post.clone(),
            format!("{peer}/participants/x/mute"),
            none.clone(),
            400,
            "8548",
        ),
        (
            post.clone(),
            format!("{call}/unmute"),
            json!({ "clientContext": long }),
            400,
            "8523",
        ),
        (
            post.clone(),
            format!("{call}/unmute"),
            json!({ "clientContext": 7 }),
            400,
            "8523",
        ),
        (
            post.clone(),
            format!("{call}/unmute"),
            json!([]),
            400,
            "invalidRequest",
        ),
        (
            get.clone(),
            "/v1.0/me".to_owned(),
            none.clone(),
            404,
            "itemNotFound",
        ),
        (
            get.clone(),
            format!("{call}/nothing"),
            none.clone(),
            404,
            "itemNotFound",
        ),
        (
            get.clone(),
            format!("{call}/unmute"),
            none.clone(),
            405,
            "notAllowed",
        ),
        (
            get,
            "/v1.0/communications/calls".to_owned(),
            none.clone(),
            405,
            "notAllowed",
        ),
        (Method::PATCH, call.clone(), none, 405, "notAllowed"),
    ];
    let bad = "/v1.0/communications/calls/%ff";
    assert_eq!(
        bot.refused(bot.get(bad).await).await,
        (400, "invalidRequest".to_owned())
    );
    for (method, path, body, status, code) in cases {
        let body = (method == Method::POST).then_some(&body);
        let answer = bot.send(method.clone(), &path, body).await;
        if status == 405 {
            assert!(answer.headers().contains_key("allow"), "{path}");
        }
        assert_eq!(
            bot.refused(answer).await,
            (status, code.to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn bodies_are_checked_before_anything_happens() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = bot.join(THREAD);
    let (call, _) = bot.established(&body).await;
    let send = async |kind: &str, body: String| {
        let request = rig.http.post(rig.url(&format!("{call}/unmute")));
        let request = request.bearer_auth(&bot.token).header("content-type", kind);
        bot.refused(request.body(body).send().await.unwrap()).await
    };
    assert_eq!(
        send("application/json", "{".into()).await,
        (400, "invalidRequest".into())
    );
    assert_eq!(
        send("text/plain", "{}".into()).await,
        (415, "notSupported".into())
    );
    let huge = format!("{{\"clientContext\":\"{}\"}}", "a".repeat(300 * 1024));
    assert_eq!(
        send("application/json", huge).await,
        (413, "invalidRequest".into())
    );
    assert_eq!(bot.inbox.waiting(), 0, "nothing was done");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let mut config = config();
    config.timing.body = Duration::from_millis(50);
    let rig = Rig::start(config).await;
    let mut slow = TcpStream::connect(rig.service.local_addr()).await.unwrap();
    let head = format!(
        "POST /{DEV_TENANT}/oauth2/v2.0/token HTTP/1.1\r\nHost: a\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ngrant"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(20), slow.read_exact(&mut answer));
    read.await.expect("an answer comes").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn creates_that_cannot_be_are_refused_in_clear_words() {
    let rig = Rig::start(config()).await;
    let bot = rig.bot().await;
    let hosted = |blob: &str| json!({ "@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": blob });
    let cases = [
        ("callbackUri", json!(null), "8523", "callbackUri"),
        ("callbackUri", json!("not a url"), "8523", "callbackUri"),
        (
            "callbackUri",
            json!("ftp://bot.example/"),
            "8523",
            "callbackUri",
        ),
        ("mediaConfig", json!(null), "8523", "mediaConfig"),
        (
            "mediaConfig",
            json!({ "@odata.type": "x" }),
            "8523",
            "mediaConfig",
        ),
        ("mediaConfig", hosted("nonsense"), "8523", "SDP"),
        (
            "mediaConfig",
            hosted("v=0\r\nm=audio 9 RTP/SAVPF 0\r\n"),
            "8523",
            "RTP/AVP",
        ),
        (
            "mediaConfig",
            hosted("v=0\r\nc=IN IP6 ::1\r\nm=audio 4000 RTP/AVP 0\r\n"),
            "8523",
            "family",
        ),
        ("chatInfo", json!(null), "8523", "chatInfo.threadId"),
        ("tenantId", json!(5), "8523", "tenantId"),
    ];
    for (member, value, code, word) in cases {
        let mut body = bot.join(THREAD);
        body[member] = value.clone();
        let answer = bot.post("/v1.0/communications/calls", &body).await;
        let status = answer.status();
        let error: serde_json::Value = answer.json().await.unwrap();
        let error = &error["error"];
        assert_eq!(
            (status.as_u16(), error["code"].as_str()),
            (400, Some(code)),
            "{value}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
    let mut token = bot.join("x");
    token.as_object_mut().unwrap().remove("chatInfo");
    token["meetingInfo"] =
        json!({ "@odata.type": "#microsoft.graph.tokenMeetingInfo", "token": "t" });
    let answer = bot.post("/v1.0/communications/calls", &token).await;
    assert_eq!(bot.refused(answer).await, (400, "8526".to_owned()));
    assert_eq!(rig.metric("openmic_local_calls", None), 0);
    assert_eq!(rig.metric("openmic_local_meetings", None), 0);
}

#[tokio::test]
async fn a_foreign_call_is_as_unknown_as_none() {
    let rig = Rig::start(config()).await;
    let mut owner = rig.bot().await;
    let stranger = rig.other_bot().await;
    let body = owner.join(THREAD);
    let (call, _) = owner.established(&body).await;
    let operation = owner.act(&call, "mute", "mine").await;
    let operation = format!("{call}/operations/{}", operation["id"].as_str().unwrap());
    owner.inbox.roster().await;
    for (method, path) in [
        (Method::GET, call.clone()),
        (Method::DELETE, call.clone()),
        (Method::POST, format!("{call}/keepAlive")),
        (Method::POST, format!("{call}/mute")),
        (Method::POST, format!("{call}/unmute")),
        (Method::GET, format!("{call}/participants")),
        (Method::GET, operation.clone()),
    ] {
        let answer = stranger.send(method, &path, None).await;
        assert_eq!(
            stranger.refused(answer).await,
            (404, "8522".to_owned()),
            "{path}"
        );
    }
    assert_eq!(owner.get(&operation).await.status(), 200);
    assert_eq!(owner.inbox.waiting(), 0, "nothing changed");
}

#[tokio::test]
async fn mute_waits_for_established_and_ends_with_terminating() {
    let mut config = config();
    config.timing.establish = Duration::from_hours(1);
    config.timing.terminate = Duration::from_hours(1);
    let rig = Rig::start(config).await;
    let mut bot = rig.bot().await;
    let call = bot.create(&bot.join(THREAD)).await;
    let call = format!(
        "/v1.0/communications/calls/{}",
        call["id"].as_str().unwrap()
    );
    let answer = bot.post(&format!("{call}/unmute"), &json!({})).await;
    assert_eq!(bot.refused(answer).await, (400, "8501".to_owned()));
    let list: serde_json::Value = bot
        .get(&format!("{call}/participants"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list["value"], json!([]));

    assert_eq!(bot.send(Method::DELETE, &call, None).await.status(), 204);
    bot.inbox.state("establishing").await;
    bot.inbox.state("terminating").await;
    let answer = bot.post(&format!("{call}/unmute"), &json!({})).await;
    assert_eq!(bot.refused(answer).await, (400, "8528".to_owned()));
    let answer = bot.post(&format!("{call}/keepAlive"), &json!({})).await;
    assert_eq!(bot.refused(answer).await, (404, "8522".to_owned()));
    let held: serde_json::Value = bot.get(&call).await.json().await.unwrap();
    assert_eq!(held["state"], "terminating");
}

#[tokio::test]
async fn limits_refuse_by_name() {
    let mut config = config();
    config.limits.calls = 1;
    config.limits.meetings = 1;
    config.limits.participants = 2;
    let rig = Rig::start(config).await;
    let bot = rig.bot().await;
    let call = bot.create(&bot.join(THREAD)).await;
    let answer = bot
        .post("/v1.0/communications/calls", &bot.join(THREAD))
        .await;
    assert_eq!(answer.headers()["retry-after"], "5");
    assert_eq!(bot.refused(answer).await, (429, "8530".to_owned()));

    rig.human(THREAD, None).await;
    for thread in [THREAD, "19%3Aanother"] {
        let url = rig.url(&format!("/lab/v1/meetings/{thread}/participants"));
        let answer = rig.http.post(url).send().await.unwrap();
        assert_eq!(
            bot.refused(answer).await,
            (429, "8530".to_owned()),
            "{thread}"
        );
    }
    let call = format!(
        "/v1.0/communications/calls/{}",
        call["id"].as_str().unwrap()
    );
    assert_eq!(bot.send(Method::DELETE, &call, None).await.status(), 204);
    rig.until("the call's place to be free", async |rig: &Rig| {
        rig.metric("openmic_local_calls", None) == 0
    })
    .await;
    bot.create(&bot.join(THREAD)).await;
}
