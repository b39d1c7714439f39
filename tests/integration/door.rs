//! Bad input and bad intent bounce off: one table of cases, both servers, real sockets.
//!
//! Each case asserts Graph's whole envelope, and that nothing changed by it.

mod house;
mod requests;
mod signer;
mod tokens;
mod wire;

use std::time::Duration;

use openmic::local::{DEV_APP, DEV_TENANT};
use serde_json::{Value, json};

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
