//! The truth log over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Bot, Rig, THREAD, config};

/// What all lines have is left out of comparisons: number and clocks.
fn short(line: &Value) -> String {
    let word = |key: &str| line[key].as_str().unwrap_or_default();
    let detail = match word("what") {
        "answered" => line["status"].to_string(),
        "told" => format!("{} {}", word("of"), word("state")),
        "effect" => format!("{} {}", word("act"), word("by")),
        _ => word("act").to_owned(),
    };
    let text = format!("{} {detail}", word("what"));
    text.trim_end().to_owned()
}

impl Rig {
    /// The lines above `since`, until `condition` holds of them.
    pub(super) async fn truth(
        &self,
        since: u64,
        what: &str,
        condition: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let mut lines = Vec::new();
        self.until(what, async |rig: &Rig| {
            let url = rig.url(&format!("/lab/v1/truth?since={since}"));
            let answer = rig.http.get(url).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
            let text = answer.text().await.unwrap();
            let line = |line| serde_json::from_str(line).unwrap();
            lines = text.lines().map(line).collect();
            condition(&lines)
        })
        .await;
        lines
    }
}

fn last_number(lines: &[Value]) -> u64 {
    lines.last().unwrap()["n"].as_u64().unwrap()
}

fn told(lines: &[Value]) -> usize {
    lines.iter().filter(|line| line["what"] == "told").count()
}

#[tokio::test]
async fn a_call_s_life_is_in_it_in_the_order_of_effects() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (path, call) = bot.established(&bot.join(THREAD)).await;
    let lines = rig.truth(0, "three told", |lines| told(lines) == 3).await;
    let own: Vec<_> = lines
        .iter()
        .filter(|line| line["what"] != "told")
        .map(short)
        .collect();
    assert_eq!(
        own,
        [
            "started",
            "asked create",
            "effect create",
            "answered 201",
            "effect establish"
        ]
    );
    for line in &lines[2..] {
        assert!(line["what"] != "effect" || line["call"] == call["id"]);
    }
    assert_eq!(lines[2]["participant"], call["myParticipantId"]);
    assert_eq!(lines[1]["request"], lines[2]["request"]);

    let before = last_number(&lines);
    let operation = bot.act(&path, "unmute", "ctx-1").await;
    let lines = rig.truth(before, "the roster", |l| told(l) == 1).await;
    let what: Vec<_> = lines.iter().map(short).collect();
    assert_eq!(what[..2], ["asked unmute", "effect unmute bot"]);
    let (asked, effect) = (&lines[0], &lines[1]);
    assert_eq!(asked["clientContext"], "ctx-1");
    assert_eq!(asked["call"], call["id"]);
    assert_eq!(effect["clientContext"], "ctx-1");
    assert_eq!(effect["operation"], operation["id"]);
    assert_eq!(effect["participant"], call["myParticipantId"]);
    assert_eq!(effect["changed"], false, "nobody had muted the bot");
    assert_eq!(effect["request"], asked["request"]);
    let roster = lines.iter().find(|line| line["what"] == "told").unwrap();
    assert_eq!(roster["of"], "roster");
    assert_eq!(roster["muted"], json!([]));
    assert_eq!(roster["result"], "delivered");
    assert_eq!(roster["attempts"], 1);

    let before = last_number(&lines);
    assert_eq!(bot.send(Method::DELETE, &path, None).await.status(), 204);
    let over = |lines: &[Value]| {
        let terminated = |line: &Value| line["state"] == "terminated";
        lines.iter().any(terminated)
    };
    let lines = rig.truth(before, "the end", over).await;
    let ends: Vec<_> = lines
        .iter()
        .filter(|line| line["what"] == "effect")
        .map(|line| (&line["act"], &line["code"], &line["subcode"]))
        .collect();
    assert_eq!(
        ends,
        [
            (&json!("end"), &json!(200), &json!(7000)),
            (&json!("gone"), &Value::Null, &Value::Null)
        ]
    );
}

#[tokio::test]
async fn who_muted_whom_and_what_had_no_effect() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (path, call) = bot.established(&bot.join(THREAD)).await;
    let (human, entry) = rig.human(THREAD, None).await;
    let entry: Value = serde_json::from_str(&entry).unwrap();
    let lines = rig.truth(0, "all told", |lines| told(lines) == 4).await;
    let before = last_number(&lines);
    rig.host(&human, true).await;
    let mute = format!("{path}/participants/{}/mute", entry["id"].as_str().unwrap());
    assert_eq!(bot.post(&mute, &json!({})).await.status(), 200);
    let nobody = format!("{path}/participants/nobody/mute");
    assert_eq!(bot.post(&nobody, &json!({})).await.status(), 404);
    assert_eq!(
        bot.post(&format!("{path}/mute"), &json!(7)).await.status(),
        400
    );
    let others = |bot: &Bot<'_>| bot.rig.http.post(bot.rig.url(&format!("{path}/unmute")));
    assert_eq!(others(&bot).send().await.unwrap().status(), 401);

    let lines = rig
        .truth(before, "four answers", |lines| told(lines) == 2)
        .await;
    let what: Vec<_> = lines
        .iter()
        .filter(|line| line["what"] != "told")
        .map(short)
        .collect();
    assert_eq!(
        what,
        [
            "effect mute host",
            "asked mute",
            "effect mute other",
            "answered 200",
            "asked mute",
            "answered 404",
            "asked mute",
            "answered 400",
        ],
        "strangers are not logged"
    );
    let effects: Vec<_> = lines
        .iter()
        .filter(|line| line["what"] == "effect")
        .collect();
    for effect in &effects {
        assert_eq!(effect["participant"], entry["id"]);
        assert_eq!(effect["call"], Value::Null, "a human has no call");
    }
    assert_eq!(effects[0]["changed"], true);
    assert_eq!(effects[1]["changed"], false);
    let asked = |at: usize| lines.iter().filter(|l| l["what"] == "asked").nth(at);
    assert_eq!(asked(1).unwrap()["participant"], "nobody");
    assert_eq!(asked(2).unwrap()["call"], call["id"]);
}

#[tokio::test]
async fn a_number_that_is_none_is_refused() {
    let rig = Rig::start(config()).await;
    let bot = rig.bot().await;
    for since in ["x", "", "-1", "1.5", "18446744073709551616"] {
        let answer = bot.get(&format!("/lab/v1/truth?since={since}")).await;
        assert_eq!(answer.status().as_u16(), 400, "{since}");
        let body: Value = answer.json().await.unwrap();
        let error = &body["error"];
        assert_eq!(error["code"], "invalidRequest");
        let message = error["message"].as_str().unwrap();
        let said = message.contains("since is no whole number. Give the n of the last line");
        assert!(said, "{since}: {message}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_had_is_named() {
    let mut config = config();
    config.truth_log = Some("/no/such/folder/truth.ndjson".into());
    let registry = prometheus::Registry::new();
    let error = crate::LocalService::start(config, &registry)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the truth log /no/such/folder/truth.ndjson cannot be appended to; name a file in a \
         folder that is there"
    );
}
