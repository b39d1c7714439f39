//! Bad input and bad intent bounce off: one table of cases, both servers, real sockets.
//!
//! Each case asserts Graph's whole envelope, and that nothing changed by it.

mod hooks;
mod house;
mod requests;
pub(crate) mod signer;
mod tokens;
mod wire;

use std::time::Duration;

use futures_util::StreamExt as _;
use openmic::local::{DEV_APP, DEV_TENANT};
use openmic_tests::Server;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use house::{CALLS, House, OTHER_TENANT, Side, meeting};
use signer::{OURS, now};
use tokens::with;
use wire::{Reply, Request};

/// Sends one bad request; says what of the answer, or of the world after it, is not as it must be.
async fn bounces(house: &House, request: &Request, status: u16, code: &str) -> Vec<String> {
    let before = house.state().await;
    let reply = request.send(&house.host).await;
    let mut faults = reply.faults();
    if (reply.status, reply.code()) != (status, code) {
        faults.push(format!(
            "{} {} for {status} {code}",
            reply.status, reply.body
        ));
    }
    let after = house.state().await;
    if before.len() != after.len() {
        faults.push("there are more or fewer calls than before".to_owned());
    }
    for (before, after) in before.iter().zip(&after) {
        if before != after {
            faults.push(format!("it changed\n    {before}\n to {after}"));
        }
    }
    faults
}

/// The failures of a table, by the names of the rows.
#[derive(Default)]
struct Findings {
    cases: usize,
    wrong: Vec<String>,
}

impl Findings {
    fn add(&mut self, name: &str, faults: Vec<String>) {
        self.cases += 1;
        let named = faults.into_iter().map(|fault| format!("{name}: {fault}"));
        self.wrong.extend(named);
    }

    fn end(self, what: &str, house: &House) {
        println!("cases: {what}, {:?}: {}", house.side, self.cases);
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

fn with_headers(mut request: Request, values: &[Vec<u8>]) -> Request {
    for value in values {
        request = request.header("authorization", value);
    }
    request
}

async fn tokens_of_callers(side: Side) {
    let house = House::furnished(side).await;
    let unmute = format!("{CALLS}/{}/unmute", house.calls.group);
    let request = || Request::new("POST", &unmute).json("{}");
    let mut findings = Findings::default();
    let rows = tokens::refused(&house.kid, &house.claims);
    assert!(rows.len() >= 40);
    for (name, values) in rows {
        let request = with_headers(request(), &values);
        let faults = bounces(&house, &request, 401, "InvalidAuthenticationToken").await;
        findings.add(&name, faults);
    }
    let sign = |claims: &Value| OURS.token(&house.kid, claims);
    let mut nobody = with(&house.claims, "appid", Value::Null);
    nobody = with(&nobody, "azp", Value::Null);
    let foreign = with(&house.claims, "tid", json!(OTHER_TENANT));
    let mut differ = house.claims.clone();
    differ["appid"] = json!(OTHER_TENANT);
    let delegated = with(&house.claims, "scp", json!("Calls.Initiate.All"));
    let delegated = with(&delegated, "roles", Value::Null);
    let token = "InvalidAuthenticationToken";
    // The engine has callers of several tenants, the local service knows each app's one.
    let elsewhere = match side {
        Side::Engine => (404, "8522"),
        Side::Local => (401, token),
    };
    for (name, claims, (status, code)) in [
        ("no application", &nobody, (401, token)),
        ("two applications", &differ, (401, token)),
        ("a user's token", &delegated, (403, "7500")),
        ("another tenant", &foreign, elsewhere),
    ] {
        let request = request().bearer(&sign(claims));
        findings.add(name, bounces(&house, &request, status, code).await);
    }
    let none = with(&house.claims, "roles", Value::Null);
    let few = with(&house.claims, "roles", json!(["Calls.AccessMedia.All"]));
    let spelt = with(&house.claims, "roles", json!(["calls.joingroupcall.all"]));
    for (name, claims) in [
        ("no roles", &none),
        ("another role", &few),
        ("a role in other letters", &spelt),
    ] {
        let create = Request::new("POST", CALLS).bearer(&sign(claims));
        let create = create.json(meeting("19:meeting_roles@thread.v2").to_string());
        findings.add(name, bounces(&house, &create, 403, "7504").await);
    }
    findings.end("callers' tokens", &house);

    // The table refuses because of what is bad: what is not gets in.
    let audiences = json!(["https://other.example", "https://graph.microsoft.com"]);
    let old = with(&house.claims, "exp", json!(now() - 30));
    for claims in [
        &house.claims,
        &with(&house.claims, "aud", audiences),
        &with(&house.claims, "azp", Value::Null),
        &old,
    ] {
        let reply = request().bearer(&sign(claims)).send(&house.host).await;
        assert_eq!(reply.status, 200, "{claims}: {reply:?}");
    }
    let lower = request().header("authorization", format!("bearer {}", house.token));
    assert_eq!(lower.send(&house.host).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bad_token_calls_the_engine() {
    tokens_of_callers(Side::Engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bad_token_calls_the_local_service() {
    tokens_of_callers(Side::Local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bad_token_brings_a_notification() {
    let house = House::furnished(Side::Engine).await;
    let claims = json!({
        "iss": "https://api.botframework.com", "aud": DEV_APP, "tid": DEV_TENANT,
        "nbf": now() - 60, "exp": now() + 3600,
    });
    let webhook = house.webhook().await;
    let resource = format!("/app/calls/{}", house.calls.group);
    // As dangerous as one can be: it says that the call is over.
    let body = json!({"value": [{
        "changeType": "deleted", "resource": resource, "resourceUrl": resource,
        "resourceData": {
            "@odata.type": "#microsoft.graph.call", "state": "terminated", "id": house.calls.group,
        },
    }]});
    let request = || Request::new("POST", &webhook).json(body.to_string());
    let mut findings = Findings::default();
    let token = "InvalidAuthenticationToken";
    let rows = tokens::refused(&house.kid, &claims);
    assert!(rows.len() >= 40);
    for (name, values) in rows {
        let request = with_headers(request(), &values);
        findings.add(&name, bounces(&house, &request, 401, token).await);
    }
    let caller = request().bearer(&house.token);
    findings.add(
        "a caller's token",
        bounces(&house, &caller, 401, token).await,
    );
    // A good token by a key that was never given out.
    let key = Request::new("POST", "/callbacks/00000000000000000000000000000000");
    let key = key
        .json(body.to_string())
        .bearer(&OURS.token(&house.kid, &claims));
    findings.add(
        "an unknown key",
        bounces(&house, &key, 404, "itemNotFound").await,
    );
    findings.end("notifications' tokens", &house);

    // Another tenant's notification is for nobody here; it is counted, so the state differs.
    let foreign = OURS.token(&house.kid, &with(&claims, "tid", json!(OTHER_TENANT)));
    let foreign = request().bearer(&foreign).send(&house.host).await;
    assert_eq!(
        (foreign.status, foreign.code()),
        (404, "itemNotFound"),
        "{foreign:?}"
    );
    let good = request().bearer(&OURS.token(&house.kid, &claims));
    assert_eq!(good.send(&house.host).await.status, 202);
}

async fn requests_of_callers(side: Side) {
    let house = House::furnished(side).await;
    let mut findings = Findings::default();
    for row in requests::all(&house) {
        let request = row.request.bearer(&house.token);
        let faults = bounces(&house, &request, row.status, row.code).await;
        findings.add(&row.name, faults);
    }
    findings.end("callers' requests", &house);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bad_request_moves_the_engine() {
    requests_of_callers(Side::Engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bad_request_moves_the_local_service() {
    requests_of_callers(Side::Local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_odd_but_right_is_taken_by_both() {
    for side in [Side::Engine, Side::Local] {
        let house = House::furnished(side).await;
        let rows = requests::taken(&house);
        println!("cases: odd but right, {side:?}: {}", rows.len());
        for (name, request) in rows {
            let reply = request.bearer(&house.token).send(&house.host).await;
            let seen = (reply.status, &reply.body["status"]);
            assert_eq!(
                seen,
                (200, &json!("completed")),
                "{side:?} {name}: {reply:?}"
            );
            assert_eq!(reply.header("client-request-id"), wire::ID, "{name}");
        }
    }
}

/// What of an answer does not tell one request from another.
fn plain(reply: &Reply) -> Value {
    let mut body = reply.body.clone();
    let inner = body["error"]["innerError"].as_object_mut().unwrap();
    inner.remove("request-id");
    inner.remove("date");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_call_is_as_unknown_as_none_is() {
    for side in [Side::Engine, Side::Local] {
        let house = House::furnished(side).await;
        let none = "0c1f5e00-0000-4000-8000-000000000009";
        let foreign = requests::of_a_call(&house.calls.foreign);
        for (foreign, unknown) in foreign.into_iter().zip(requests::of_a_call(none)) {
            let foreign = foreign.bearer(&house.token).send(&house.host).await;
            let unknown = unknown.bearer(&house.token).send(&house.host).await;
            assert_eq!(foreign.status, 404, "{side:?} {foreign:?}");
            assert_eq!(plain(&foreign), plain(&unknown), "{side:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_up_yet_is_not_muted() {
    for side in [Side::Engine, Side::Local] {
        let mut house = House::open(side, Duration::from_hours(1)).await;
        house.calls.group = house.create(&meeting("19:meeting_early@thread.v2")).await;
        let mut findings = Findings::default();
        for action in ["mute", "unmute"] {
            let path = format!("{CALLS}/{}/{action}", house.calls.group);
            let request = Request::new("POST", path).bearer(&house.token).json("{}");
            let reply = request.send(&house.host).await;
            let mut faults = reply.faults();
            if (reply.status, reply.code()) != (400, "8501") {
                faults.push(format!("{reply:?}"));
            }
            findings.add(action, faults);
        }
        findings.end("not established", &house);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_cut_off_changes_nothing() {
    for side in [Side::Engine, Side::Local] {
        let house = House::furnished(side).await;
        let before = house.state().await;
        let path = format!("{CALLS}/{}/unmute", house.calls.group);
        for (body, length) in [("", 2), ("{", 2), ("{}", 3), ("{}", 1000)] {
            let request = Request::new("POST", &path).bearer(&house.token);
            let request = request.json(body).claims_length(length);
            let answer = request.send_and_leave(&house.host).await;
            let answer = String::from_utf8_lossy(&answer);
            // Whoever leaves may get no answer; what there is of one is no success.
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
                "{side:?} {body} of {length}: {answer}"
            );
        }
        assert_eq!(house.state().await, before, "{side:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_cannot_be_read_is_refused_in_the_envelope() {
    for side in [Side::Engine, Side::Local] {
        let house = House::furnished(side).await;
        let before = house.state().await;
        let unmute = format!("{CALLS}/{}/unmute", house.calls.group);
        let request = || {
            Request::new("POST", &unmute)
                .bearer(&house.token)
                .json("{}")
        };
        let mut many = request();
        for number in 0..200 {
            many = many.header(&format!("x-{number}"), "a");
        }
        let long = format!("{CALLS}/{}/unmute", "a".repeat(20_000));
        for (name, request, status) in [
            (
                "20 KiB in one header",
                request().header("x", "a".repeat(20_000)),
                431,
            ),
            ("200 headers", many, 431),
            ("a path of 20 KB", Request::new("POST", long), 431),
            (
                "a zero byte in a header",
                request().header("x", b"a\0b"),
                400,
            ),
            ("a space in a name", request().header("x y", "a"), 400),
            (
                "a length that is none",
                request().header("content-length", "x"),
                400,
            ),
            ("two lengths", request().header("content-length", "3"), 400),
        ] {
            let reply = request.send(&house.host).await;
            assert_eq!(reply.status, status, "{side:?} {name}: {reply:?}");
            let error = &reply.body["error"];
            assert!(!reply.code().is_empty(), "{side:?} {name}: {reply:?}");
            let message = error["message"].as_str().unwrap_or("");
            assert!(message.len() > 20, "{side:?} {name}: {reply:?}");
            let id = reply.header("request-id");
            assert!(!id.is_empty(), "{side:?} {name}: {reply:?}");
            assert_eq!(error["innerError"]["request-id"], id, "{side:?} {name}");
        }
        assert_eq!(house.state().await, before, "{side:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_is_closed_when_its_token_expires() {
    let house = House::furnished(Side::Engine).await;
    let expires = now() + 2;
    let claims = with(&house.claims, "exp", json!(expires));
    let token = OURS.token(&house.kid, &claims);
    let path = format!("/v1/calls/{}/roster", house.calls.group);
    let url = format!("ws://{}{path}", house.host);
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = connect_async(request).await.unwrap();
    let closed = async {
        loop {
            if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
                return frame.unwrap();
            }
        }
    };
    let frame = tokio::time::timeout(Duration::from_secs(20), closed).await;
    let frame = frame.expect("closed in time");
    assert_eq!(u16::from(frame.code), openmic_hub::TOKEN_EXPIRED);
    assert!(now() >= expires, "not before its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_of_the_configuration_lets_its_caller_in() {
    let made = std::process::Command::new(Server::binary())
        .args(["auth", "new-key", "--role", "openmic.operator"])
        .output()
        .unwrap();
    let text = String::from_utf8(made.stdout).unwrap();
    let key = text
        .split_whitespace()
        .find(|word| word.starts_with("omk_"));
    let key = key.unwrap().to_owned();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let start = move || Server::start(&["serve", "--config", &path]);
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let list = Request::new("GET", "/v1/calls");
    let reply = list.clone().bearer(&key).send(server.public()).await;
    assert_eq!((reply.status, &reply.body["total"]), (200, &json!(0)));
    let mut other = key.clone();
    other.replace_range(5..6, if &key[5..6] == "A" { "B" } else { "A" });
    for bad in [&other, "omk_", &key[4..], &format!("{key}A")] {
        let reply = list.clone().bearer(bad).send(server.public()).await;
        assert_eq!(reply.faults(), Vec::<String>::new());
        assert_eq!(
            (reply.status, reply.code()),
            (401, "InvalidAuthenticationToken")
        );
    }
    // The local service knows no API keys.
    let call = Request::new("GET", format!("{CALLS}/x")).bearer(&key);
    assert_eq!(call.send(server.local()).await.status, 401);
}
