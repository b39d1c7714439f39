//! POSTs that come again after a restart, over one journal in one folder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use openmic_engine::Phase;
use openmic_engine::flight::{Entry, How, What, replay};
use openmic_listen::{Limits, Listener};
use openmic_model::CallId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use url::Url;

use crate::harness::{Answer, Between, Plan, Rig, meeting, pass_on, read};

/// Stands before the local service, counts POSTs to one place and can hold them or turn them down.
#[derive(Clone)]
struct Stile {
    to: String,
    place: &'static str,
    http: reqwest::Client,
    came: Arc<watch::Sender<usize>>,
    open: watch::Receiver<bool>,
    lacks_role: watch::Receiver<bool>,
}

async fn turn(State(stile): State<Stile>, request: Request) -> Response {
    if request.uri().path().ends_with(stile.place) {
        stile.came.send_modify(|count| *count += 1);
        let mut open = stile.open.clone();
        open.wait_for(|open| *open).await.unwrap();
        if *stile.lacks_role.borrow() {
            let error = json!({"error": {"code": "7503", "message": "A role is lacking."}});
            return Response::builder()
                .status(StatusCode::FORBIDDEN)
                .header("content-type", "application/json")
                .body(Body::from(error.to_string()))
                .unwrap();
        }
    }
    pass_on(&stile.http, &stile.to, request).await
}

struct Held {
    rig: Rig,
    came: watch::Receiver<usize>,
    open: watch::Sender<bool>,
    lacks_role: watch::Sender<bool>,
    _folder: TempDir,
}

impl Held {
    /// A rig with a journal, and a stile before POSTs to `place`.
    async fn at(place: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (came, count) = watch::channel(0);
        let (opener, open) = watch::channel(true);
        let (turner, lacks_role) = watch::channel(false);
        let came = Arc::new(came);
        let between: Between = Box::new(move |to| {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let url = Url::parse(&format!("http://{}/v1.0", listener.local_addr())).unwrap();
            let stile = Stile {
                to,
                place,
                http: reqwest::Client::new(),
                came,
                open,
                lacks_role,
            };
            let router = Router::new().fallback(turn).with_state(stile);
            (url, listener.serve(router, Limits::default()))
        });
        let rig = Rig::with(Plan {
            between: Some(between),
            journal: Some(folder.path().join("journal")),
            ..Plan::default()
        })
        .await;
        Self {
            rig,
            came: count,
            open: opener,
            lacks_role: turner,
            _folder: folder,
        }
    }

    fn came(&self) -> usize {
        *self.came.borrow()
    }

    async fn muted(&self, thread: &str) -> CallId {
        let call = self.rig.established(thread).await;
        let mute = format!("/v1.0/communications/calls/{}/mute", call.id());
        let muted = self.rig.post(&mute, json!({})).await;
        assert_eq!(muted.body["status"], "completed", "{muted:?}");
        call.id().clone()
    }
}

async fn keyed(rig: &Rig, path: &str, key: &str, body: &Value) -> Answer {
    let request = rig.request(Method::POST, path).json(body);
    read(request.header("idempotency-key", key)).await
}

fn again(answer: &Answer) -> bool {
    answer.header("idempotent-replay") == "true"
}

/// I-1: also after the call's end and a restart, and to its own application only.
#[tokio::test]
async fn an_operation_of_an_ended_call_is_read_after_a_restart() {
    let mut held = Held::at("/unmute").await;
    let id = held.muted("19:meeting_kept@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{id}");
    let body = json!({"clientContext": "mine"});
    let first = held.rig.post(&format!("{path}/unmute"), body).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    let call = held.rig.engine.call(&id).unwrap();
    let ended = held.rig.delete(&path).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{ended:?}");
    call.until(|status| status.phase == Phase::Terminated).await;
    drop(call);
    held.rig.crash().await;

    assert!(held.rig.engine.call(&id).is_none());
    let operation = first.body["id"].as_str().unwrap();
    let place = format!("{path}/operations/{operation}");
    let kept = held.rig.get(&place).await;
    assert_eq!(kept.status, StatusCode::OK, "{kept:?}");
    for member in ["id", "status", "clientContext"] {
        assert_eq!(kept.body[member], first.body[member]);
    }
    let unknown = held.rig.get(&format!("{path}/operations/{id}")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{unknown:?}");
    let url = format!("{}{place}", held.rig.base);
    let foreign = held.rig.http.get(url);
    let foreign = read(foreign.bearer_auth(held.rig.other_app().await)).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{foreign:?}");
    assert_eq!(
        foreign.body["error"]["message"],
        unknown.body["error"]["message"]
    );
}

#[tokio::test]
async fn a_repeated_unmute_gets_its_first_operation_and_verdict() {
    let mut held = Held::at("/unmute").await;
    let id = held.muted("19:meeting_again@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{id}/unmute");
    let body = json!({"clientContext": "mine"});
    let first = keyed(&held.rig, &path, "key-1", &body).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    assert_eq!(held.came(), 1);
    held.rig.crash().await;

    let second = keyed(&held.rig, &path, "key-1", &body).await;
    assert!(again(&second), "{second:?}");
    assert_eq!(second.status, first.status);
    for member in ["id", "status", "clientContext"] {
        assert_eq!(second.body[member], first.body[member]);
    }
    let third = keyed(&held.rig, &path, "key-1", &body).await;
    assert!(again(&third), "{third:?}");
    let operation = first.body["id"].as_str().unwrap();
    let operation = format!("/v1.0/communications/calls/{id}/operations/{operation}");
    let operation = held.rig.get(&operation).await;
    assert_eq!(operation.body["status"], "completed", "{operation:?}");
    let other = json!({"clientContext": "other"});
    let mismatch = keyed(&held.rig, &path, "key-1", &other).await;
    assert_eq!(mismatch.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(mismatch.code(), "idempotency_mismatch");
    assert_eq!(held.came(), 1, "nothing was posted anew");
    // Another caller's key of the same words is another key.
    let url = format!("{}{path}", held.rig.base);
    let foreign = held.rig.http.post(url).json(&body);
    let foreign = foreign.bearer_auth(held.rig.other_app().await);
    let foreign = read(foreign.header("idempotency-key", "key-1")).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{foreign:?}");
    // What the second process made of it is told from its beginning, and replays.
    let log = held.rig.get(&format!("/v1/calls/{id}/log")).await;
    let lines = log.body.as_str().unwrap().lines();
    let log: Vec<Entry> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let recovered = |entry: &Entry| matches!(&entry.what, What::Begun(begun) if matches!(begun.how, How::Recovered { .. }));
    assert!(log.iter().any(recovered), "{log:?}");
    assert_eq!(replay(&log).unwrap().stopped, None);
    // A new key is a new command.
    let fresh = keyed(&held.rig, &path, "key-2", &body).await;
    assert!(!again(&fresh), "{fresh:?}");
    assert_ne!(fresh.body["id"], first.body["id"]);
}

#[tokio::test]
async fn a_middleware_s_repeat_is_known_too() {
    let mut held = Held::at("/unmute").await;
    let id = held.muted("19:meeting_middleware@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{id}/unmute");
    let post = |rig: &Rig, attempt: Option<&str>| {
        let request = rig.request(Method::POST, &path).json(&json!({}));
        let request = request.header("client-request-id", "0a5bf461-cd35-4835-b86d-a8b6e13700c0");
        match attempt {
            Some(attempt) => request.header("retry-attempt", attempt),
            None => request,
        }
    };
    let first = read(post(&held.rig, None)).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    held.rig.crash().await;
    let second = read(post(&held.rig, Some("1"))).await;
    assert!(again(&second), "{second:?}");
    assert_eq!(second.body["id"], first.body["id"]);
    assert_eq!(held.came(), 1);
}

#[tokio::test]
async fn the_repeat_of_one_that_a_crash_cut_short_waits_for_its_verdict() {
    let mut held = Held::at("/unmute").await;
    let id = held.muted("19:meeting_cut@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{id}/unmute");
    let body = json!({});
    held.open.send_replace(false);
    let cut = held.rig.request(Method::POST, &path).json(&body);
    let cut = tokio::spawn(cut.header("idempotency-key", "cut").send());
    held.came.wait_for(|count| *count == 1).await.unwrap();
    held.rig.crash().await;
    cut.abort();
    let repeated = {
        let request = held.rig.request(Method::POST, &path).json(&body);
        tokio::spawn(read(request.header("idempotency-key", "cut")))
    };
    // The POST of the first process reaches the service only now.
    held.open.send_replace(true);
    let limit = Duration::from_secs(30);
    let repeated = tokio::time::timeout(limit, repeated)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(repeated.status, StatusCode::OK, "{repeated:?}");
    assert!(again(&repeated), "{repeated:?}");
    assert_eq!(repeated.body["status"], "completed", "{repeated:?}");
    let call = held.rig.engine.call(&id).unwrap();
    assert_eq!(call.state().phase, Phase::Unmuted);
}

#[tokio::test]
async fn a_repeated_create_gets_the_call_it_made() {
    let mut held = Held::at("/calls").await;
    let body = meeting("19:meeting_create@thread.v2");
    let calls = "/v1.0/communications/calls";
    let first = keyed(&held.rig, calls, "create", &body).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    held.rig.crash().await;
    let second = keyed(&held.rig, calls, "create", &body).await;
    assert!(again(&second), "{second:?}");
    assert_eq!((second.status, &second.body), (first.status, &first.body));
    assert_eq!(second.header("location"), first.header("location"));
    let other = meeting("19:meeting_other@thread.v2");
    let mismatch = keyed(&held.rig, calls, "create", &other).await;
    assert_eq!(mismatch.code(), "idempotency_mismatch", "{mismatch:?}");
    assert_eq!(held.came(), 1, "no second call was created");
}

#[tokio::test]
async fn a_create_that_a_crash_cut_short_is_in_doubt() {
    let mut held = Held::at("/calls").await;
    let body = meeting("19:meeting_doubt@thread.v2");
    let calls = "/v1.0/communications/calls";
    held.open.send_replace(false);
    let cut = held.rig.request(Method::POST, calls).json(&body);
    let cut = tokio::spawn(cut.header("idempotency-key", "doubt").send());
    held.came.wait_for(|count| *count == 1).await.unwrap();
    held.rig.crash().await;
    cut.abort();
    let second = keyed(&held.rig, calls, "doubt", &body).await;
    assert_eq!(second.status, StatusCode::BAD_GATEWAY, "{second:?}");
    let message = second.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("Use a new key"), "{message}");
    assert_eq!(held.came(), 1, "nothing was sent");
}

#[tokio::test]
async fn a_create_that_was_told_to_come_again_may_come_again() {
    let mut held = Held::at("/calls").await;
    let body = meeting("19:meeting_anew@thread.v2");
    let calls = "/v1.0/communications/calls";
    held.lacks_role.send_replace(true);
    for (restarts, came) in [(false, 1), (false, 2), (true, 3)] {
        if restarts {
            held.rig.crash().await;
        }
        let turned_down = keyed(&held.rig, calls, "anew", &body).await;
        assert_eq!(turned_down.code(), "7503", "{turned_down:?}");
        assert_eq!(held.came(), came, "it was asked anew");
    }
    let other = meeting("19:meeting_mended@thread.v2");
    let mended = keyed(&held.rig, calls, "anew", &other).await;
    assert_eq!(mended.code(), "7503", "nothing has the key: {mended:?}");
    // One that a crash cuts short is in doubt, whatever became of those before it.
    held.lacks_role.send_replace(false);
    held.open.send_replace(false);
    let cut = held.rig.request(Method::POST, calls).json(&body);
    let cut = tokio::spawn(cut.header("idempotency-key", "anew").send());
    held.came.wait_for(|count| *count == 5).await.unwrap();
    held.rig.crash().await;
    cut.abort();
    let doubt = keyed(&held.rig, calls, "anew", &body).await;
    assert_eq!(doubt.status, StatusCode::BAD_GATEWAY, "{doubt:?}");
    assert_eq!(held.came(), 5, "nothing was sent");
}

#[tokio::test]
async fn an_errand_s_answer_is_kept_and_one_begun_is_not_sent_again() {
    let mut held = Held::at("/playPrompt").await;
    let call = held.rig.established("19:meeting_errand@thread.v2").await;
    let path = format!("/v1.0/communications/calls/{}/playPrompt", call.id());
    let body = json!({"prompts": [], "clientContext": "p"});
    let first = keyed(&held.rig, &path, "done", &body).await;
    assert_eq!(held.came(), 1, "{first:?}");
    held.open.send_replace(false);
    let cut = held.rig.request(Method::POST, &path).json(&body);
    let cut = tokio::spawn(cut.header("idempotency-key", "begun").send());
    held.came.wait_for(|count| *count == 2).await.unwrap();
    held.rig.crash().await;
    cut.abort();
    held.open.send_replace(true);

    let second = keyed(&held.rig, &path, "done", &body).await;
    assert!(again(&second), "{second:?}");
    assert_eq!(second.status, first.status);
    let message = |answer: &Answer| answer.body["error"]["message"].clone();
    assert_eq!(message(&second), message(&first));
    let doubt = keyed(&held.rig, &path, "begun", &body).await;
    assert_eq!(doubt.status, StatusCode::BAD_GATEWAY, "{doubt:?}");
    assert_eq!(held.came(), 2, "nothing was sent again");
}

#[tokio::test]
async fn a_time_to_speak_ends_by_itself_also_after_a_restart() {
    let mut held = Held::at("/mute").await;
    let id = held.muted("19:meeting_speak@thread.v2").await;
    let path = |action: &str| format!("/v1.0/communications/calls/{id}/{action}");
    let speak = |rig: &Rig, action: &str, time: &str| {
        let request = rig.request(Method::POST, &path(action)).json(&json!({}));
        read(request.header("prefer", format!("speak={time}")))
    };
    let first = speak(&held.rig, "unmute", "1").await;
    assert_eq!(first.body["status"], "completed", "{first:?}");
    assert_eq!(first.header("preference-applied"), "speak=1");
    let call = held.rig.engine.call(&id).unwrap();
    let limit = Duration::from_secs(20);
    let muted = call.until(|status| status.phase == Phase::Muted);
    let muted = tokio::time::timeout(limit, muted).await.unwrap();
    assert_eq!(muted.phase, Phase::Muted);

    let again = speak(&held.rig, "unmute", "2").await;
    assert_eq!(again.header("preference-applied"), "speak=2", "{again:?}");
    held.rig.crash().await;
    let call = held.rig.engine.call(&id).unwrap();
    let muted = call.until(|status| status.phase == Phase::Muted);
    let muted = tokio::time::timeout(limit, muted).await.unwrap();
    assert_eq!(muted.phase, Phase::Muted);

    let came = held.came();
    for (action, time) in [
        ("unmute", "0"),
        ("unmute", "3601"),
        ("unmute", "x"),
        ("mute", "5"),
    ] {
        let refused = speak(&held.rig, action, time).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
        assert_eq!(refused.code(), "invalidRequest");
        let message = refused.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("Nothing was done"), "{message}");
    }
    assert_eq!(held.came(), came);
}
