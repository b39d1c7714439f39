//! Every fault by its name, over HTTP: what the caller sees, what the webhook gets, and what the
//! truth log says.

mod asked;
mod plans;
mod told;

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::harness::{Bot, Rig, THREAD};

/// What a caller waits for an answer that does not come.
const ENOUGH: Duration = Duration::from_millis(400);

impl Rig {
    async fn put_faults(&self, at: &str, body: &Value) -> Response {
        let url = self.url(&format!("/lab/v1{at}/faults"));
        self.http.put(url).json(body).send().await.unwrap()
    }

    /// Lets `faults` happen in a call.
    async fn afflict(&self, path: &str, faults: &[&str]) {
        let id = path.rsplit('/').next().unwrap();
        let body = json!({ "faults": faults, "seed": 1 });
        let answer = self.put_faults(&format!("/calls/{id}"), &body).await;
        let status = answer.status();
        assert_eq!(status, 200, "{faults:?}: {}", answer.text().await.unwrap());
    }

    /// Lets `faults` happen in calls to come.
    async fn afflict_all(&self, faults: &[&str]) {
        let answer = self
            .put_faults("", &json!({ "faults": faults, "seed": 1 }))
            .await;
        assert_eq!(answer.status(), 200);
    }

    /// Number of the newest line.
    async fn now(&self) -> u64 {
        let lines = self.truth(0, "the truth", |_| true).await;
        lines.last().unwrap()["n"].as_u64().unwrap()
    }
}

/// A bot in a meeting, muted, told of all of it.
async fn muted(bot: &mut Bot<'_>) -> (String, Value) {
    let (path, call) = bot.established(&bot.join(THREAD)).await;
    bot.act(&path, "mute", "first").await;
    bot.inbox.roster().await;
    (path, call)
}

/// Status, what it says, and `Retry-After`; or that there was none.
async fn seen(sent: Result<Response, reqwest::Error>) -> String {
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return "nothing".to_owned(),
        Err(error) => {
            assert!(error.is_request() && !error.is_connect(), "{error:?}");
            return "cut".to_owned();
        }
    };
    let status = answer.status();
    let retry = answer.headers().get("retry-after");
    let retry = retry.map(|text| format!(" after {}", text.to_str().unwrap()));
    let location = answer.headers().contains_key("location");
    let body: Value = answer.json().await.unwrap_or_default();
    let word = match status {
        StatusCode::OK if body["id"].is_null() => format!("nameless, location {location}"),
        StatusCode::OK if body["clientContext"].is_null() => "without context".to_owned(),
        StatusCode::OK => body["status"].as_str().unwrap_or_default().to_owned(),
        _ => body["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    format!("{} {word}{}", status.as_u16(), retry.unwrap_or_default())
}

/// An effect or something told, of a truth log's line.
fn shown(line: &Value) -> Option<String> {
    let word = |key: &str| line[key].as_str().unwrap_or_default();
    match (word("what"), word("of")) {
        ("effect", _) if line["code"].is_i64() => Some(format!(
            "{} {}/{}",
            word("act"),
            line["code"],
            line["subcode"]
        )),
        ("effect", _) if word("act") == "gone" => None,
        ("effect", _) => Some(format!("{} by {}", word("act"), word("by"))),
        ("told", "roster") => {
            let muted = line["muted"].as_array().unwrap().len();
            Some(format!(
                "roster {} of {} muted, {}",
                muted,
                line["entries"],
                word("result")
            ))
        }
        ("told", "call") => Some(format!("{}, {}", word("state"), word("result"))),
        ("told", _) => Some(format!("operation {}, {}", word("status"), word("result"))),
        _ => None,
    }
}

/// What took effect and what was told since `since`, once there is as much as is wanted.
async fn truth(rig: &Rig, since: u64, wanted: &[&str]) -> Vec<String> {
    let enough = |lines: &[Value]| lines.iter().filter_map(shown).count() >= wanted.len();
    let what = format!("{wanted:?}");
    let lines = rig.truth(since, &what, enough).await;
    lines.iter().filter_map(shown).collect()
}
