//! Incoming calls over real sockets: the lab rings bots that embed the engine, and one that speaks
//! HTTP to the binary.

use std::time::Duration;

use axum::Router;
use openmic::local::{LocalConfig, LocalService};
use openmic::{
    Answer, AnswerError, Bot, BotConfig, Incoming, Phase, RejectReason, RingEnd, Verdict,
};
use openmic_listen::{Limits, Listener, Running};
use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};
use openmic_tests::{Hook, Posted, Server};
use reqwest::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const THREAD: &str = "19:meeting_incoming@thread.v2";
const KEY: &str = "0123456789abcdef0123456789abcdef";

async fn soon<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.expect("it takes too long")
}

/// A bot with a server of its own, and the service that its calls live on.
struct Embedded {
    bot: Bot,
    service: LocalService,
    _server: Running,
}

impl Embedded {
    async fn start(ring: Duration) -> Self {
        let mut config = LocalConfig::ephemeral();
        config.timing.ring = ring;
        let metrics = prometheus::Registry::new();
        let service = LocalService::start(config, &metrics).await.unwrap();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let public = format!("http://{}", listener.local_addr()).parse().unwrap();
        let config = BotConfig::local(&service, public);
        let bot = Bot::with(config, |engine| engine.incoming_key(KEY)).unwrap();
        let routes = Router::new().merge(bot.callback_routes());
        Self {
            bot,
            service,
            _server: listener.serve(routes, Limits::default()),
        }
    }

    /// Rings the bot; the ring as it has it, and the lab's `Location`.
    async fn rung(&self, mut asked: Value) -> (Incoming, String) {
        asked["appId"] = json!(DEV_APP);
        asked["callbackUri"] = json!(self.bot.incoming_callback());
        let url = format!("{}/lab/v1/calls", self.service.base_url());
        let answer = reqwest::Client::new().post(url).json(&asked).send();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 201);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let incoming = soon(self.bot.incoming().next()).await;
        (incoming.unwrap(), location)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_is_rung_answers_is_heard_and_hangs_up() {
    let embedded = Embedded::start(PATIENCE).await;
    for round in 0..5 {
        let asked = json!({"threadId": THREAD, "displayName": format!("Ann {round}")});
        let (incoming, _) = embedded.rung(asked).await;
        let caller = incoming.caller().unwrap().display_name.clone();
        assert_eq!(caller, Some(format!("Ann {round}")));
        let call = soon(incoming.answer(Answer::default())).await.unwrap();
        let up = soon(call.until(|status| status.phase == Phase::Muted)).await;
        assert_eq!(up.phase, Phase::Muted, "no hot microphone");
        let verdict = soon(call.unmute()).await.unwrap();
        assert!(matches!(verdict, Verdict::Confirmed { .. }), "{verdict}");
        let me = call.state().me.unwrap();
        let roster = call.roster_now().unwrap().roster;
        assert!(!roster.get(&me).unwrap().is_muted);
        assert_eq!(roster.len(), 2, "the caller is there");
        assert_eq!(soon(call.hang_up()).await.phase, Phase::Terminated);
    }
    embedded.service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rings_end_without_a_call_in_every_way() {
    let embedded = Embedded::start(PATIENCE).await;
    let (incoming, location) = embedded.rung(json!({})).await;
    soon(incoming.reject(RejectReason::Busy, None))
        .await
        .unwrap();
    assert_eq!(soon(incoming.over()).await, RingEnd::Rejected);
    let gone = async {
        while reqwest::get(&location).await.unwrap().status() != 404 {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;

    let (incoming, location) = embedded.rung(json!({"kind": "group"})).await;
    reqwest::Client::new()
        .delete(location)
        .send()
        .await
        .unwrap();
    let end = soon(incoming.over()).await;
    assert!(matches!(end, RingEnd::GaveUp(Some(_))), "{end:?}");
    embedded.service.stop().await;

    let hasty = Embedded::start(Duration::from_millis(50)).await;
    let (incoming, _) = hasty.rung(json!({})).await;
    let end = soon(incoming.over()).await;
    let RingEnd::GaveUp(Some(result)) = end else {
        panic!("{end:?}");
    };
    assert_eq!((result.code, result.subcode), (408, 1106));
    let late = soon(incoming.answer(Answer::default())).await;
    assert!(matches!(late, Err(AnswerError::Over)), "{late:?}");
    assert!(hasty.bot.calls().is_empty());
    hasty.service.stop().await;
}

/// A bot that speaks HTTP to the binary.
struct Remote {
    server: Server,
    hook: Hook,
    http: reqwest::Client,
    token: String,
}

impl Remote {
    async fn start() -> Self {
        let hook = Hook::start();
        let key = format!("calls.incoming_key={KEY}");
        let callback = format!("calls.incoming_callback_uri={}", hook.url("app"));
        let server = Server::start(&["serve", "--set", &key, "--set", &callback]);
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let url = format!("http://{}/{DEV_TENANT}/oauth2/v2.0/token", server.local());
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", DEV_APP),
            ("client_secret", DEV_SECRET),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let answer = http.post(url).form(&form).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        Self {
            token: body["access_token"].as_str().unwrap().to_owned(),
            server,
            hook,
            http,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}{path}", self.server.public());
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// The lab rings; the `created` notification as the bot's own webhook got it.
    async fn rung(&self, before: usize) -> (String, Posted) {
        let asked = json!({
            "appId": DEV_APP, "threadId": THREAD, "displayName": "Ann",
            "callbackUri": format!("http://{}/callbacks/{KEY}", self.server.public()),
        });
        let lab = format!("http://{}/lab/v1/calls", self.server.local());
        let rung = self.http.post(lab).json(&asked).send().await.unwrap();
        assert_eq!(rung.status(), 201);
        let ring: Value = rung.json().await.unwrap();
        let told = |posts: &[Posted]| posts.len() > before;
        self.hook.until("app", "a ring", told).await;
        let post = self.hook.got("app").swap_remove(before);
        let data = &post.body["value"][0]["resourceData"];
        assert_eq!(data["id"], ring["id"], "the call keeps its id");
        (ring["id"].as_str().unwrap().to_owned(), post)
    }

    async fn told(&self, key: &str, what: &str, enough: impl Fn(&Value) -> bool) {
        let any = |posts: &[Posted]| posts.iter().any(|post| enough(&post.body["value"][0]));
        self.hook.until(key, what, any).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_speaks_http_is_rung_at_its_own_webhook_answers_and_rejects() {
    let bot = Remote::start().await;
    let (id, ring) = bot.rung(0).await;
    let entry = &ring.body["value"][0];
    assert_eq!(entry["changeType"], "created");
    assert_eq!(entry["resourceData"]["state"], "incoming");
    assert_eq!(entry["resourceData"]["callbackUri"], bot.hook.url("app"));
    assert!(!ring.body.to_string().contains(KEY), "ours is never shown");
    let token = ring.headers["authorization"].to_str().unwrap();
    assert!(token.starts_with("Bearer "), "Graph's own");

    let call = format!("/v1.0/communications/calls/{id}");
    let (status, read) = bot.ask(Method::GET, &call, None).await;
    assert_eq!((status, &read["state"]), (200, &json!("incoming")));
    assert_eq!(read["callbackUri"], bot.hook.url("app"));
    let body = json!({
        "callbackUri": bot.hook.url("call"), "acceptedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
    });
    let (status, _) = bot
        .ask(Method::POST, &format!("{call}/answer"), Some(body))
        .await;
    assert_eq!(status, 202);
    let up = |entry: &Value| entry["resourceData"]["state"] == "established";
    bot.told("call", "established", up).await;
    // It did not ask for deltas, so it is told of everybody.
    let both = |entry: &Value| {
        entry["resourceData"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    };
    bot.told("call", "a roster", both).await;
    for action in ["mute", "unmute"] {
        let context = json!({"clientContext": action});
        let path = format!("{call}/{action}");
        let (status, done) = bot.ask(Method::POST, &path, Some(context)).await;
        assert_eq!(
            (status, &done["status"]),
            (200, &json!("completed")),
            "{done}"
        );
    }
    let (status, read) = bot.ask(Method::GET, &call, None).await;
    assert_eq!(
        (status, &read["callbackUri"]),
        (200, &json!(bot.hook.url("call")))
    );
    let (status, _) = bot.ask(Method::DELETE, &call, None).await;
    assert_eq!(status, 204);
    let over = |entry: &Value| entry["changeType"] == "deleted";
    bot.told("call", "the end", over).await;
    assert_eq!(
        bot.hook.got("app").len(),
        1,
        "the app's webhook heard of the ring only"
    );

    let (id, _) = bot.rung(1).await;
    let path = format!("/v1.0/communications/calls/{id}/reject");
    let body = json!({"reason": "busy", "callbackUri": bot.hook.url("end")});
    let (status, _) = bot.ask(Method::POST, &path, Some(body)).await;
    assert_eq!(status, 202);
    bot.told("end", "the end", over).await;
    let (status, late) = bot.ask(Method::POST, &path, None).await;
    assert_eq!((status, &late["error"]["code"]), (404, &json!("8522")));
    assert_eq!(bot.server.stops(PATIENCE), Some(0));
}
