//! `/v1/calls/{call}/log` over HTTP; what the lines hold is the engine's own tests' business.

use std::time::Duration;

use openmic_engine::flight::{Entry, What, replay};
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Answer, Plan, Rig, read};

fn entries(answer: &Answer) -> Vec<Entry> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(answer.header("cache-control"), "no-store");
    let text = answer.body.as_str().unwrap();
    let parsed = text.lines().map(serde_json::from_str);
    parsed.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_call_s_log_is_read_whole_and_from_a_line_on() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_log@thread.v2").await;
    let id = call.id();
    let unmute = format!("/v1.0/communications/calls/{id}/unmute");
    let body = json!({"clientContext": "k4nar1 context"});
    assert_eq!(rig.post(&unmute, body).await.status, StatusCode::OK);
    let path = format!("/v1/calls/{id}/log");
    let answer = rig.get(&path).await;
    let log = entries(&answer);
    assert!(!answer.body.as_str().unwrap().contains("k4nar1"));
    assert_eq!(answer.header("link"), "");
    let asked = |entry: &&Entry| matches!(entry.what, What::Asked(_));
    assert_eq!(log.iter().filter(asked).count(), 1);
    assert_eq!(replay(&log).unwrap().stopped, None);
    let tail = entries(&rig.get(&format!("{path}?since=2")).await);
    assert_eq!(tail[0].n, 3);
    let refused = rig.get(&format!("{path}?since=x")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.code(), "invalidRequest");
}

#[tokio::test]
async fn a_forgotten_call_s_log_is_its_owner_s_alone() {
    let rig = Rig::with(Plan {
        retention: Duration::from_millis(1),
        ..Plan::default()
    })
    .await;
    let call = rig.established("19:meeting_gone@thread.v2").await;
    let id = call.id().clone();
    call.hang_up().await;
    let forgotten = async {
        while rig.engine.call(&id).is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, forgotten).await.unwrap();
    assert_eq!(
        rig.get(&format!("/v1/calls/{id}")).await.status,
        StatusCode::NOT_FOUND
    );
    let path = format!("/v1/calls/{id}/log");
    let log = entries(&rig.get(&path).await);
    assert_eq!(log.last().unwrap().what, What::Left);
    let url = format!("{}{path}", rig.base);
    let other = rig.http.get(url).bearer_auth(rig.other_app().await);
    let other = read(other).await;
    assert_eq!(
        (other.status, other.code()),
        (StatusCode::NOT_FOUND, "8522")
    );
}

#[tokio::test]
async fn without_a_recorder_the_answer_says_how_to_get_one() {
    let rig = Rig::with(Plan {
        recorder: 0,
        ..Plan::default()
    })
    .await;
    let call = rig.established("19:meeting_off@thread.v2").await;
    let answer = rig.get(&format!("/v1/calls/{}/log", call.id())).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("recorder.bytes"), "{message}");
}
