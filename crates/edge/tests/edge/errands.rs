//! What the engine passes on: to an upstream that answers by a script, and to the local service.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http_body_util::BodyExt as _;
use openmic_auth::{ApiKey, ApiKeys, NewKey};
use openmic_engine::{Call, Phase};
use openmic_listen::{Limits, Listener, Running};
use openmic_local::{DEV_APP, DEV_TENANT};
use openmic_model::{AppId, CallKind, TenantId};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Answer, Plan, Rig, one_to_one, pass_on, read};

/// What upstream got: method and path, whose token, the body.
#[derive(Debug, Clone)]
struct Got {
    line: String,
    authorization: String,
    body: Value,
}

/// Status, headers and body of an answer.
type Scripted = (u16, Vec<(&'static str, String)>, String);

#[derive(Default)]
struct Script {
    answers: VecDeque<Scripted>,
    got: Vec<Got>,
}

/// Stands in front of the local service and answers errands and operations by itself.
#[derive(Clone)]
struct Upstream {
    script: Arc<Mutex<Script>>,
    to: String,
    http: reqwest::Client,
}

impl Upstream {
    /// The rig knows the bot by `key` too, where there is one.
    async fn start(key: Option<&NewKey>) -> (Rig, Arc<Mutex<Script>>) {
        let script = Arc::<Mutex<Script>>::default();
        let shared = Arc::clone(&script);
        let between = move |to: String| -> (Url, Running) {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let url = Url::parse(&format!("http://{}/v1.0", listener.local_addr())).unwrap();
            let upstream = Self {
                script: shared,
                to,
                http: reqwest::Client::new(),
            };
            let router = Router::new().fallback(forward).with_state(upstream);
            (url, listener.serve(router, Limits::default()))
        };
        let held = key.map(|key| ApiKey {
            name: "bot".to_owned(),
            sha256: key.sha256,
            app: AppId::parse(DEV_APP).unwrap(),
            tenant: TenantId::parse(DEV_TENANT).unwrap(),
            roles: Vec::new(),
        });
        let mut plan = Plan {
            between: Some(Box::new(between)),
            ..Plan::default()
        };
        plan.config.api_keys = ApiKeys::new(held.into_iter().collect()).unwrap();
        let rig = Rig::with(plan).await;
        (rig, script)
    }
}

async fn forward(State(upstream): State<Upstream>, request: Request) -> Response {
    let path = request.uri().path();
    let last = path.rsplit('/').next().unwrap();
    let own = ["calls", "keepAlive", "mute", "unmute"].contains(&last) && !path.contains("/p-1/");
    let operation = path.contains("/operations/");
    let errand = match request.method().as_str() {
        "POST" => !own,
        "DELETE" => path.contains("/participants/"),
        _ => operation,
    };
    if !errand {
        return pass_on(&upstream.http, &upstream.to, request).await;
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut script = upstream.script.lock();
    script.got.push(Got {
        line: format!("{} {}", parts.method, parts.uri),
        authorization: parts.headers["authorization"].to_str().unwrap().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    });
    let (status, headers, body) = script.answers.pop_front().unwrap();
    let mut response = Response::builder().status(status);
    response = response.header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

fn operation(call: &str, status: &str) -> Value {
    json!({"@odata.context": "https://graph.example/v1.0/$metadata#playPromptOperation",
        "@odata.type": "#microsoft.graph.playPromptOperation", "id": "op-9", "status": status,
        "clientContext": "ctx", "of": call, "unheardOf": 1})
}

#[tokio::test]
async fn an_errand_passes_through_and_its_operation_is_kept() {
    let key = NewKey::generate().unwrap();
    let (rig, script) = Upstream::start(Some(&key)).await;
    let call = rig.established("19:meeting_errand@thread.v2").await;
    let id = call.id().as_str();
    let begun = operation(id, "Running");
    let location = format!("https://graph.example/v1.0/communications/calls/{id}/operations/op-9");
    let answer = (200, vec![("location", location)], begun.to_string());
    script.lock().answers.push_back(answer);

    let path = format!("/v1.0/communications/calls/{id}");
    let body = json!({"clientContext": "ctx", "prompts": [{"mediaInfo":
        {"uri": "http://169.254.169.254/never-fetched-by-us.wav"}}], "unheardOf": {"a": 1}});
    let request = rig.http.post(format!("{}{path}/playPrompt", rig.base));
    let request = request
        .bearer_auth(&key.secret)
        .header("client-request-id", "mine")
        .header("scenario-id", "s-1");
    let passed = read(request.json(&body)).await;
    assert_eq!(passed.status, StatusCode::OK, "{passed:?}");
    let ours = format!("{}{path}/operations/op-9", rig.base);
    assert_eq!(passed.header("location"), ours);
    assert_eq!(passed.header("client-request-id"), "mine");
    let mut expected = begun.clone();
    expected["@odata.context"] = format!("{}/v1.0/$metadata#playPromptOperation", rig.base).into();
    assert_eq!(passed.body, expected);
    let got = script.lock().got.pop().unwrap();
    assert_eq!(got.line, format!("POST {path}/playPrompt"));
    assert_eq!(got.body, body);
    assert!(
        !got.authorization.contains(&key.secret),
        "the engine's own token"
    );

    // Read through while upstream has it, kept when it has not.
    let gone = json!({"error": {"code": "8522", "message": "gone"}}).to_string();
    let done = operation(id, "completed").to_string();
    for (status, body) in [(200, begun.to_string()), (200, done), (404, gone.clone())] {
        script.lock().answers.push_back((status, vec![], body));
    }
    for status in ["Running", "completed", "completed"] {
        let read = rig.get(&ours).await;
        assert_eq!(read.status, StatusCode::OK, "{read:?}");
        assert_eq!(read.body["status"], status);
        assert_eq!(read.body["unheardOf"], 1);
        assert_eq!(read.body["@odata.context"], expected["@odata.context"]);
    }
    // One that nobody saw is upstream's to know.
    script.lock().answers.push_back((404, vec![], gone));
    let never = rig.get(&format!("{path}/operations/op-1")).await;
    assert_eq!(
        (never.status, never.code()),
        (StatusCode::NOT_FOUND, "8522")
    );
    let seen = operation(id, "failed").to_string();
    script.lock().answers.push_back((200, vec![], seen));
    let other = rig.get(&format!("{path}/operations/op-2?$select=id")).await;
    assert_eq!(other.body["status"], "failed");
    let last = script.lock().got.pop().unwrap();
    assert_eq!(last.line, format!("GET {path}/operations/op-2?$select=id"));

    // The engine's own operations are its own as before.
    let muted = rig.post(&format!("{path}/mute"), json!({})).await;
    let asked = script.lock().got.len();
    let own = rig.get(muted.header("location")).await;
    assert_eq!(own.body, muted.body);
    assert_eq!(script.lock().got.len(), asked);
}

#[tokio::test]
async fn every_errand_reaches_upstream_under_its_own_name() {
    let (rig, script) = Upstream::start(None).await;
    let call = rig.established("19:meeting_all@thread.v2").await;
    let calls = "/communications/calls";
    let of = |tail: &str| format!("{calls}/{}/{tail}", call.id());
    let mut paths: Vec<_> = [
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
        "participants/invite",
        "participants/muteAll",
        "participants/p-1/mute",
        "participants/p-1/startHoldMusic",
        "participants/p-1/stopHoldMusic",
    ]
    .map(|tail| (Method::POST, of(tail)))
    .to_vec();
    paths.push((Method::DELETE, of("participants/p-1")));
    paths.push((
        Method::POST,
        format!("{calls}/logTeleconferenceDeviceQuality"),
    ));
    for version in ["v1.0", "beta"] {
        for (method, path) in &paths {
            let answer = if *method == Method::DELETE { 204 } else { 202 };
            script
                .lock()
                .answers
                .push_back((answer, vec![], String::new()));
            let body = json!({"clientContext": "c", "version": version});
            let line = format!("/{version}{path}");
            let request = rig.request(method.clone(), &line);
            let passed = read(request.json(&body)).await;
            assert_eq!(passed.status.as_u16(), answer, "{line} {passed:?}");
            assert_eq!(passed.body, Value::Null);
            let got = script.lock().got.pop().unwrap();
            assert_eq!(got.line, format!("{method} {line}"));
            let mut sent = got.body;
            if path.ends_with("/redirect") {
                // The call must go on telling the engine.
                let ours = sent.as_object_mut().unwrap().remove("callbackUri").unwrap();
                assert!(ours.as_str().unwrap().starts_with(&rig.base), "{ours}");
            }
            match *method {
                Method::DELETE => assert_eq!(sent, Value::Null),
                _ => assert_eq!(sent, body),
            }
        }
    }
}

type Row = (u16, &'static str, (u16, &'static str));

fn envelope(code: &str) -> String {
    json!({"error": {"code": code, "message": "Words."}}).to_string()
}

/// Answers an errand by each row in turn, and looks at what is said of it.
async fn says(rows: &[Row]) -> (Rig, Arc<Mutex<Script>>, Call) {
    let (rig, script) = Upstream::start(None).await;
    let call = rig.established("19:meeting_no@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{}/sendDtmfTones", call.id());
    for (status, code, expected) in rows {
        let wait = vec![("retry-after", "3".to_owned())];
        let answer = (*status, wait, envelope(code));
        script.lock().answers.push_back(answer);
        let passed = rig.post(&path, json!({"tones": ["tone1"]})).await;
        let seen = (passed.status.as_u16(), passed.code());
        assert_eq!(seen, *expected, "{status}: {passed:?}");
        let again = passed.header("retry-after");
        let may = matches!(status, 429 | 503);
        assert_eq!(again, if may { "3" } else { "" }, "{status}");
        let allow = passed.headers.contains_key("allow");
        assert_eq!(allow, *status == 405, "{status}");
        assert_eq!(script.lock().got.len(), 1, "{status}");
        script.lock().got.clear();
    }
    (rig, script, call)
}

#[tokio::test]
async fn what_upstream_says_is_said_and_nothing_is_repeated() {
    // Each alone: until its Retry-After has passed, nothing else is sent.
    says(&[(429, "TooManyRequests", (429, "TooManyRequests"))]).await;
    says(&[(503, "serviceNotAvailable", (503, "serviceNotAvailable"))]).await;
    let (rig, script, call) = says(&[
        (400, "8523", (400, "8523")),
        (403, "7504", (403, "7504")),
        (404, "8522", (404, "8522")),
        (405, "8520", (405, "8520")),
        (409, "8519", (409, "8519")),
        (501, "8520", (501, "8520")),
        (500, "x", (502, "generalException")),
        (504, "x", (502, "generalException")),
        (302, "x", (502, "x")),
    ])
    .await;
    let path = format!("/v1.0/communications/calls/{}/sendDtmfTones", call.id());
    // Our credential is not the caller's: a 401 after a fresh token is a fault of ours.
    for _ in 0..2 {
        let answer = (401, vec![], envelope("InvalidAuthenticationToken"));
        script.lock().answers.push_back(answer);
    }
    let passed = rig.post(&path, json!({})).await;
    assert_eq!(
        (passed.status.as_u16(), passed.code()),
        (502, "generalException")
    );
    assert_eq!(script.lock().got.len(), 2);
    script.lock().got.clear();

    // What is wrong with the request goes nowhere.
    let long = json!({"clientContext": "x".repeat(257)}).to_string();
    for (kind, body, expected) in [
        ("text/plain", "{}", (415, "notSupported")),
        ("application/json", "[]", (400, "invalidRequest")),
        ("application/json", "{", (400, "invalidRequest")),
        ("application/json", r#"{"clientContext": 1}"#, (400, "8523")),
        ("application/json", &long, (400, "8523")),
    ] {
        let request = rig
            .request(Method::POST, &path)
            .header("content-type", kind);
        let refused = read(request.body(body.to_owned())).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            expected,
            "{body}"
        );
    }
    assert!(script.lock().got.is_empty());
    assert_eq!(call.state().phase, Phase::Unmuted);
}

#[tokio::test]
async fn an_errand_needs_the_role_that_graph_asks_for() {
    let mut plan = Plan::default();
    plan.local.apps[0].roles = vec!["Calls.JoinGroupCall.All".to_owned()];
    let rig = Rig::with(plan).await;
    let call = rig.established("19:meeting_roles@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{}", call.id());
    for (tail, code) in [
        ("transfer", "7504"),
        ("redirect", "7504"),
        ("recordResponse", "7504"),
        ("subscribeToTone", "7504"),
        ("updateRecordingStatus", "7504"),
        ("changeScreenSharingRole", "7504"),
        ("participants/invite", "7504"),
        // Those are let through, and the local service lacks them.
        ("playPrompt", "8520"),
        ("addLargeGalleryView", "8520"),
        ("participants/p/startHoldMusic", "8520"),
    ] {
        let answer = rig.post(&format!("{path}/{tail}"), json!({})).await;
        assert_eq!(answer.code(), code, "{tail} {answer:?}");
        let status = if code == "7504" { 403 } else { 501 };
        assert_eq!(answer.status.as_u16(), status, "{tail}");
    }
}

fn user(id: &str) -> Value {
    json!({"identity": {"user": {"id": id, "displayName": "Ann"}}})
}

/// Asks again until `done`; the local service has told the engine by then, or will.
async fn until(rig: &Rig, path: &str, done: impl Fn(&Answer) -> bool) -> Answer {
    let again = async {
        loop {
            let answer = rig.get(path).await;
            if done(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, again).await.unwrap()
}

#[tokio::test]
async fn participants_come_and_go_through_the_engine() {
    let rig = Rig::start().await;
    let call = rig.established("19:meeting_others@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{}", call.id());
    let body = json!({"participants": [user("u1"), user("u2")], "clientContext": "inv"});
    let begun = rig.post(&format!("{path}/participants/invite"), body).await;
    assert_eq!(begun.status, StatusCode::OK, "{begun:?}");
    assert_eq!(begun.body["clientContext"], "inv");
    let location = begun.header("location").to_owned();
    assert!(
        location.starts_with(&format!("{}{path}/operations/", rig.base)),
        "{location}"
    );
    let done = until(&rig, &location, |read| read.body["status"] == "completed").await;
    assert_eq!(done.body["participants"], begun.body["participants"]);
    let roster = format!("/v1/calls/{}/roster", call.id());
    let size = |count: usize| {
        move |read: &Answer| read.body["participants"].as_array().unwrap().len() == count
    };
    until(&rig, &roster, size(3)).await;

    let ids = [0, 1].map(|at| {
        done.body["participants"][at]["participantId"]
            .as_str()
            .unwrap()
    });
    let muted = rig
        .post(&format!("{path}/participants/{}/mute", ids[0]), json!({}))
        .await;
    assert_eq!(muted.body["status"], "completed", "{muted:?}");
    let gone = rig.delete(&format!("{path}/participants/{}", ids[1])).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let left = until(&rig, &roster, size(2)).await;
    let entries = left.body["participants"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["id"] == ids[0]).unwrap();
    assert_eq!(entry["isMuted"], true);
    let again = rig.delete(&format!("{path}/participants/{}", ids[1])).await;
    assert_eq!(
        (again.status, again.code()),
        (StatusCode::NOT_FOUND, "8522")
    );

    let me = call.state().me.unwrap();
    let all = format!("{path}/participants/muteAll").replace("/v1.0/", "/beta/");
    let muted = rig.post(&all, json!({"participants": [me.as_str()]})).await;
    assert_eq!(muted.body["status"], "completed", "{muted:?}");
    call.until(|status| status.phase == Phase::Muted).await;
    // Whoever removes the bot itself ends its call.
    let gone = rig.delete(&format!("{path}/participants/{me}")).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let ended = call.until(|_| false).await;
    let result = ended.ending.unwrap().result.unwrap();
    assert_eq!((result.code, result.subcode), (200, 5000));
}

#[tokio::test]
async fn a_call_to_one_becomes_a_group_call_and_can_be_muted() {
    let rig = Rig::start().await;
    let created = rig.post("/v1.0/communications/calls", one_to_one()).await;
    let path = format!(
        "/v1.0/communications/calls/{}",
        created.body["id"].as_str().unwrap()
    );
    let call = rig
        .engine
        .call(&created.body["id"].as_str().unwrap().parse().unwrap());
    let call = call.unwrap();
    call.until(|status| status.phase == Phase::Unmuted).await;
    let refused = rig.post(&format!("{path}/mute"), json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "8548"));
    let body = json!({"participants": [user("u9")]});
    let begun = rig.post(&format!("{path}/participants/invite"), body).await;
    assert_eq!(begun.status, StatusCode::OK, "{begun:?}");
    call.until(|status| status.kind == CallKind::Group && status.own_entry_seen)
        .await;
    let muted = rig.post(&format!("{path}/mute"), json!({})).await;
    assert_eq!(muted.body["status"], "completed", "{muted:?}");
    assert_eq!(call.state().phase, Phase::Muted);
    let view = rig.get(&format!("/v1/calls/{}", call.id())).await;
    assert_eq!(view.body["kind"], "group");
}
