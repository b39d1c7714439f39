//! How faults are set, shown and taken away, and where there are none.

use serde_json::{Value, json};

use super::super::harness::{Rig, THREAD, config};
use crate::config::{ConfigError, LocalConfig};
use crate::faults::{Fault, FaultPlan};
use crate::service::{LocalService, StartError};

#[test]
fn every_fault_has_a_test_by_its_name() {
    let tests = [include_str!("asked.rs"), include_str!("told.rs")].concat();
    for (name, _) in Fault::all() {
        let word = |text: &str| text.trim_matches('"').split(' ').next() == Some(name);
        assert!(tests.split('"').any(word), "{name}");
    }
}

#[tokio::test]
async fn a_call_s_plan_is_shown_and_cleared() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (path, call) = bot.established(&bot.join(THREAD)).await;
    let at = format!("/calls/{}", call["id"].as_str().unwrap());
    let url = rig.url(&format!("/lab/v1{at}/faults"));
    let none = rig.http.get(&url).send().await.unwrap();
    assert_eq!(bot.refused(none).await, (404, "itemNotFound".to_owned()));
    let set = rig
        .put_faults(&at, &json!({"faults": ["conflict  nth=1"]}))
        .await;
    assert_eq!(set.status(), 200);
    let set: Value = set.json().await.unwrap();
    assert!(set["seed"].is_u64(), "one was chosen");
    assert_eq!(
        set["faults"],
        json!([{"fault": "conflict nth=1", "struck": 0}])
    );
    bot.post(&format!("{path}/unmute"), &json!({})).await;
    let shown = rig.look(&url).await;
    assert_eq!(shown["faults"][0]["struck"], 1);
    assert_eq!(shown["seed"], set["seed"]);
    rig.afflict(&path, &["conflict"]).await;
    assert_eq!(rig.http.delete(&url).send().await.unwrap().status(), 204);
    bot.act(&path, "unmute", "u").await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let (_, call) = bot.established(&bot.join(THREAD)).await;
    let at = format!("/calls/{}", call["id"].as_str().unwrap());
    for body in [
        json!({"faults": ["drip"]}),
        json!({"faults": "drop"}),
        json!({"faults": [], "sead": 1}),
        json!({"faults": [], "calls": 1}),
        json!(7),
    ] {
        let answer = rig.put_faults(&at, &body).await;
        assert_eq!(
            bot.refused(answer).await,
            (400, "8523".to_owned()),
            "{body}"
        );
    }
    let answer = rig
        .put_faults("/calls/nobody", &json!({"faults": []}))
        .await;
    assert_eq!(bot.refused(answer).await, (404, "8522".to_owned()));
    let url = rig.url(&format!("/lab/v1{at}/faults"));
    assert_eq!(rig.http.get(url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn calls_to_come_by_number_and_by_meeting() {
    let rig = Rig::start(config()).await;
    let mut bot = rig.bot().await;
    let body = json!({
        "faults": ["conflict"], "seed": 9, "calls": 1, "thread": THREAD,
    });
    assert_eq!(rig.put_faults("", &body).await.status(), 200);
    let shown = rig.look(&rig.url("/lab/v1/faults")).await;
    assert_eq!(shown["calls"], 1);
    assert_eq!(shown["thread"], THREAD);
    let mut fares = Vec::new();
    for thread in ["19:other@thread.v2", THREAD, THREAD] {
        let (path, _) = bot.established(&bot.join(thread)).await;
        let status = bot
            .post(&format!("{path}/unmute"), &json!({}))
            .await
            .status();
        fares.push(status.as_u16());
        while bot.inbox.waiting() > 0 {
            bot.inbox.next().await;
        }
        bot = rig.bot().await;
    }
    assert_eq!(fares, [200, 409, 200]);
    let url = rig.url("/lab/v1/faults");
    assert_eq!(rig.http.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(rig.http.get(&url).send().await.unwrap().status(), 404);
}

/// The fates of ten unmutes of each of two calls.
async fn fates(seed: u64) -> Vec<u16> {
    let mut config = config();
    let mut plan = FaultPlan::of(["conflict rate=0.5"]).unwrap();
    plan.seed = Some(seed);
    config.faults = Some(plan);
    let rig = Rig::start(config).await;
    let mut fates = Vec::new();
    for _ in 0..2 {
        let mut bot = rig.bot().await;
        let (path, _) = bot.established(&bot.join(THREAD)).await;
        for _ in 0..10 {
            let answer = bot.post(&format!("{path}/unmute"), &json!({})).await;
            fates.push(answer.status().as_u16());
        }
    }
    fates
}

#[tokio::test]
async fn the_same_seed_in_the_configuration_does_the_same() {
    let first = fates(42).await;
    assert_eq!(first, fates(42).await);
    assert_ne!(first, fates(43).await);
    assert!(first.contains(&409) && first.contains(&200));
    assert_ne!(first[..10], first[10..], "calls fare differently");
}

#[tokio::test]
async fn by_the_library_as_by_the_lab() {
    let rig = Rig::start(config()).await;
    let plan = FaultPlan::of(["conflict"]).unwrap();
    let seed = rig.service.set_faults(plan).unwrap();
    let shown = rig.look(&rig.url("/lab/v1/faults")).await;
    assert_eq!(shown["seed"], seed);
    rig.service.clear_faults();
    let url = rig.url("/lab/v1/faults");
    assert_eq!(rig.http.get(url).send().await.unwrap().status(), 404);
}

/// T-24: nobody but this machine, in the dev profile, can let anything go wrong.
#[tokio::test]
async fn outside_loopback_and_dev_there_is_no_such_route() {
    for bind in ["127.0.0.1:0", "0.0.0.0:0"] {
        let mut config = config();
        config.bind = bind.parse().unwrap();
        config.dev = false;
        config.apps.remove(0);
        let port = |rig: &Rig| rig.service.local_addr().port();
        let rig = Rig::start(config).await;
        let bot = rig.other_bot_at(port(&rig)).await;
        let base = format!("http://127.0.0.1:{}", port(&rig));
        for path in ["/lab/v1/faults", "/lab/v1/calls/c1/faults"] {
            for method in ["GET", "PUT", "DELETE"] {
                let method = method.parse::<reqwest::Method>().unwrap();
                let request = rig.http.request(method, format!("{base}{path}"));
                let request = request.bearer_auth(&bot).json(&json!({"faults": ["drop"]}));
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 404, "{bind} {path}");
                let body: Value = answer.json().await.unwrap();
                let message = body["error"]["message"].as_str().unwrap();
                assert!(
                    message.starts_with("No resource has this path"),
                    "{message}"
                );
            }
        }
        let refused = rig.service.set_faults(FaultPlan::of(["drop"]).unwrap());
        assert!(refused.is_err());
    }
}

/// T-24: configured, it does not start.
#[tokio::test]
async fn outside_dev_configured_faults_are_an_error() {
    let config = LocalConfig {
        dev: false,
        faults: Some(FaultPlan::of(["drop"]).unwrap()),
        ..config()
    };
    let error = LocalService::start(config, &prometheus::Registry::new()).await;
    let StartError::Config(ConfigError::FaultsOutside) = error.unwrap_err() else {
        panic!("another error")
    };
}
