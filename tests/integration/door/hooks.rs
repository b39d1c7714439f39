//! Attacks on the webhook of a call whose bot has just asked to be unmuted, and waits.

use std::time::Duration;

use http::Method;
use openmic::local::{DEV_APP, DEV_TENANT};
use openmic::{CallId, Phase};
use openmic_tests::{Passed, Stop};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::house::{CALLS, House, OTHER_TENANT, meeting};
use super::signer::{OURS, now};
use super::tokens::{self, with};
use super::wire::{Reply, Request};
use super::{Findings, with_headers};

const PATIENCE: Duration = Duration::from_secs(20);

/// How often a captured notification is sent again.
const TIMES: usize = 1_000;

fn claims() -> Value {
    json!({
        "iss": "https://api.botframework.com", "aud": DEV_APP, "tid": DEV_TENANT,
        "nbf": now() - 60, "exp": now() + 3600,
    })
}

/// Asks for an unmute and holds the POST before it reaches upstream: the command is open.
async fn pending(house: &House) -> JoinHandle<Reply> {
    house.upstream().hold(Method::POST, "/unmute", Stop::Before);
    let path = format!("{CALLS}/{}/unmute", house.calls.group);
    let request = Request::new("POST", path).bearer(&house.token).json("{}");
    let host = house.host.clone();
    let waiting = tokio::spawn(async move { request.send(&host).await });
    house.upstream().held(1).await;
    waiting
}

/// Lets the POST go on; the command ends as if nothing had been.
async fn confirmed(house: &House, waiting: JoinHandle<Reply>) {
    assert!(!waiting.is_finished(), "something ended it");
    house.upstream().release();
    let reply = waiting.await.unwrap();
    let said = (reply.status, &reply.body["status"]);
    assert_eq!(said, (200, &json!("completed")), "{reply:?}");
    assert_eq!(posts(house).len(), 1);
    assert_eq!(phase(house), Phase::Unmuted);
}

fn phase(house: &House) -> Phase {
    let id = CallId::parse(&house.calls.group).unwrap();
    house.engine().call(&id).unwrap().state().phase
}

fn posts(house: &House) -> Vec<Passed> {
    let passed = house.upstream().passed().into_iter();
    passed.filter(|one| one.path.ends_with("/unmute")).collect()
}

/// The client context that only upstream and the engine know.
fn context(house: &House) -> String {
    let body: Value = serde_json::from_slice(&posts(house)[0].body).unwrap();
    body["clientContext"].as_str().unwrap().to_owned()
}

/// The worst that could be said of the call: that it is over, that the unmute failed or worked,
/// that its bot is unmuted, or gone.
async fn lies(house: &House) -> Vec<(&'static str, Value)> {
    let call = &house.calls.group;
    let path = format!("{CALLS}/{call}/participants");
    let roster = Request::new("GET", path).bearer(&house.token);
    let roster = roster.send(&house.host).await.body;
    let mut entry = roster["value"][0].clone();
    entry["isMuted"] = json!(false);
    entry["rosterSequenceNumber"] = json!(1_000_000);
    let of = |what: &str| format!("/app/calls/{call}{what}");
    let entry_of = |change: &str, resource: String, data: Value| {
        json!({"value": [{
            "changeType": change, "resource": resource, "resourceUrl": resource, "resourceData": data,
        }]})
    };
    let operation = |status: &str| {
        json!({
            "@odata.type": "#microsoft.graph.unmuteParticipantOperation", "id": "forged",
            "status": status, "clientContext": context(house),
            "resultInfo": {"code": 400, "subcode": 8523, "message": "forged"},
        })
    };
    vec![
        (
            "terminated",
            entry_of(
                "deleted",
                of(""),
                json!({
                    "@odata.type": "#microsoft.graph.call", "state": "terminated", "id": call,
                }),
            ),
        ),
        (
            "failed",
            entry_of("deleted", of("/operations/forged"), operation("failed")),
        ),
        (
            "completed",
            entry_of("deleted", of("/operations/forged"), operation("completed")),
        ),
        (
            "unmuted",
            entry_of("updated", of("/participants"), json!([entry])),
        ),
        (
            "nobody",
            entry_of("updated", of("/participants"), json!([])),
        ),
    ]
}

/// What only a notification's being counted changes is left out.
async fn state(house: &House) -> Vec<String> {
    let mut state = house.state().await;
    state.retain(|line| !line.starts_with("openmic_notifications_total"));
    state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_forged_webhook_moves_a_pending_command() {
    let house = House::watched().await;
    let waiting = pending(&house).await;
    let webhook = house.webhook().await;
    let mut findings = Findings::default();
    let refused = tokens::refused(&house.kid, &claims());
    assert!(refused.len() >= 40);
    for (what, body) in lies(&house).await {
        let before = house.state().await;
        for (name, values) in &refused {
            let request = Request::new("POST", &webhook).json(body.to_string());
            let reply = with_headers(request, values).send(&house.host).await;
            let mut faults = reply.faults();
            if (reply.status, reply.code()) != (401, "InvalidAuthenticationToken") {
                faults.push(format!("{} for 401", reply.status));
            }
            findings.add(&format!("{what}: {name}"), faults);
        }
        assert_eq!(house.state().await, before, "{what}");
    }
    findings.end("forged webhooks", &house);
    confirmed(&house, waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_webhook_of_another_tenant_or_call_moves_a_pending_command() {
    let house = House::watched().await;
    let waiting = pending(&house).await;
    let ours = house.webhook().await;
    let of_another_call = house.webhook_of(&house.calls.peer).await;
    let of_another_tenant = house.webhook_of(&house.calls.foreign).await;
    let good = OURS.token(&house.kid, &claims());
    let foreign = OURS.token(&house.kid, &with(&claims(), "tid", json!(OTHER_TENANT)));
    let before = state(&house).await;
    for (what, body) in lies(&house).await {
        for (webhook, token, status) in [
            (&ours, &foreign, 404),
            (&of_another_tenant, &good, 404),
            // Both are that tenant's own: it may say what it likes, and not of others' calls.
            (&of_another_tenant, &foreign, 202),
            (&of_another_call, &good, 202),
            (&of_another_call, &foreign, 404),
        ] {
            let request = Request::new("POST", webhook).json(body.to_string());
            let reply = request.bearer(token).send(&house.host).await;
            assert_eq!(reply.status, status, "{what}: {reply:?}");
        }
    }
    assert_eq!(state(&house).await, before);
    confirmed(&house, waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_replays_of_what_was_true_once_change_nothing() {
    let house = House::watched().await;
    let webhook = house.webhook().await;
    let captured = || {
        let passed = house.hooks().passed().into_iter();
        let ours = passed.filter(|one| one.path == webhook);
        ours.collect::<Vec<_>>()
    };
    let earlier = captured();
    assert!(earlier.len() >= 3, "the call came up and was muted");
    let waiting = pending(&house).await;
    let before = state(&house).await;
    replay(&house, &earlier).await;
    assert_eq!(state(&house).await, before);
    confirmed(&house, waiting).await;

    // And all of it again once it is unmuted: the roster that showed it muted is an old one.
    let settled = settled(&house).await;
    replay(&house, &captured()).await;
    assert_eq!(state(&house).await, settled);
    assert_eq!(phase(&house), Phase::Unmuted);
}

/// The state once nothing changes it any more: the last notifications may come after the verdict.
async fn settled(house: &House) -> Vec<String> {
    let mut last = state(house).await;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let next = state(house).await;
        if next == last {
            return last;
        }
        last = next;
    }
}

/// Sends captured notifications again and again, token and all, until each was told often enough.
async fn replay(house: &House, captured: &[Passed]) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..TIMES.div_ceil(captured.len()) {
        for one in captured {
            let url = format!("http://{}{}", house.host, one.path);
            let send = || async {
                let request = http.post(&url).headers(one.headers.clone());
                request
                    .body(one.body.clone())
                    .send()
                    .await
                    .unwrap()
                    .status()
            };
            let taken = async {
                // A mailbox that is full says so, and is asked again.
                while send().await == http::StatusCode::SERVICE_UNAVAILABLE {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, taken).await.expect("taken");
        }
    }
}

/// Reads of the call itself, that its end is asked about by.
fn reads(house: &House) -> usize {
    let path = format!("{CALLS}/{}", house.calls.group);
    let passed = house.upstream().passed().into_iter();
    passed
        .filter(|one| one.method == Method::GET && one.path == path)
        .count()
}

/// A real `terminated`, as it came for the call that ended, with its token, made one of the group
/// call's.
fn altered(house: &House, webhook: &str) -> Passed {
    let passed = house.hooks().passed().into_iter();
    let mut ends = passed.filter(|one| {
        let text = String::from_utf8_lossy(&one.body);
        text.contains("\"terminated\"") && text.contains(&house.calls.ended)
    });
    let mut real = ends.next().expect("a call ended");
    let text = String::from_utf8(real.body.to_vec()).unwrap();
    real.body = text.replace(&house.calls.ended, &house.calls.group).into();
    webhook.clone_into(&mut real.path);
    // its body is as long as it was: ids are
    real
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_ends_that_are_not_true_end_no_call() {
    let house = House::watched().await;
    let webhook = house.webhook().await;
    let end = altered(&house, &webhook);
    let waiting = pending(&house).await;
    let before = reads(&house);
    replay(&house, std::slice::from_ref(&end)).await;
    let asked = async {
        while reads(&house) == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .expect("upstream is asked");
    assert!(!waiting.is_finished(), "the command is still open");
    assert_eq!(phase(&house), Phase::Unmuting);
    confirmed(&house, waiting).await;
    replay(&house, std::slice::from_ref(&end)).await;
    assert_eq!(phase(&house), Phase::Unmuted);
    // One read answers for all that came meanwhile.
    let asked = reads(&house) - before;
    assert!(
        asked < TIMES,
        "{asked} reads for {} notifications",
        2 * TIMES
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_true_end_ends_the_call_and_its_open_command() {
    let house = House::watched().await;
    let waiting = pending(&house).await;
    let upstream = house
        .local()
        .base_url()
        .trim_start_matches("http://")
        .to_owned();
    let path = format!("{CALLS}/{}", house.calls.group);
    let gone = Request::new("DELETE", path).bearer(&house.token);
    assert_eq!(gone.send(&upstream).await.status, 204);
    let begun = tokio::time::Instant::now();
    let reply = waiting.await.unwrap();
    assert_eq!((reply.status, reply.code()), (404, "8522"), "{reply:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "the POST is still held"
    );
    house.upstream().release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_clock_is_wrong_is_served_like_any_other() {
    let house = House::watched().await;
    for (date, action) in [
        ("Thu, 01 Jan 1970 00:00:00 GMT", "unmute"),
        ("Fri, 31 Dec 2099 23:59:59 GMT", "mute"),
    ] {
        let path = format!("{CALLS}/{}/{action}", house.calls.group);
        let request = Request::new("POST", path).bearer(&house.token).json("{}");
        let request = request
            .header("date", date)
            .header("if-unmodified-since", date);
        let request = request.header("prefer", "wait=20");
        let reply = request.send(&house.host).await;
        let said = (reply.status, &reply.body["status"]);
        assert_eq!(said, (200, &json!("completed")), "{date}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_that_beat_the_creates_answer_are_kept_for_it() {
    let mut house = House::watched().await;
    let told = house.hooks().passed().len();
    house.upstream().hold(Method::POST, "/calls", Stop::After);
    let host = house.host.clone();
    let body = meeting("19:meeting_raced@thread.v2").to_string();
    let create = Request::new("POST", CALLS).bearer(&house.token).json(body);
    let waiting = tokio::spawn(async move { create.send(&host).await });
    house.upstream().held(1).await;
    // Established and a roster at the least.
    let early = async {
        loop {
            let passed = house.hooks().passed();
            let taken = passed[told..].iter().filter(|one| one.status == Some(202));
            if taken.count() >= 2 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, early)
        .await
        .expect("told early");
    assert!(!waiting.is_finished());
    house.upstream().release();
    let call = waiting.await.unwrap();
    assert_eq!(call.status, 201, "{call:?}");
    call.body["id"]
        .as_str()
        .unwrap()
        .clone_into(&mut house.calls.group);
    let unmute = format!("{CALLS}/{}/unmute", house.calls.group);
    let unmute = Request::new("POST", unmute).bearer(&house.token).json("{}");
    let reply = unmute.send(&house.host).await;
    assert_eq!(
        (reply.status, &reply.body["status"]),
        (200, &json!("completed")),
        "{reply:?}"
    );
}
