use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use openmic_model::CallId;
use openmic_wire::notification;
use openmic_wire::raw::Named;
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Lane, Parcel, Relay, RelayConfig, RelayMetrics};
use crate::tests::config;
use crate::tests::server::{Reply, Request, Server};
use crate::{GraphClient, Metrics};

const OURS: &str = "https://engine.example/callbacks/0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay to a scripted bot; the roster is read from the same server.
struct Rig {
    bot: Server,
    relay: Relay,
    registry: Registry,
}

impl Rig {
    async fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(replies, |_| ()).await
    }

    async fn with(
        replies: impl IntoIterator<Item = Reply>,
        change: impl FnOnce(&mut RelayConfig),
    ) -> Self {
        let bot = Server::start(replies).await;
        let graph = config(&bot.origin, &bot.origin);
        let graph = GraphClient::new(&graph, &Metrics::new()).unwrap();
        let mut config = RelayConfig {
            dev: true,
            timeout: PATIENCE,
            retries: vec![Duration::from_millis(1); 3],
            ..RelayConfig::default()
        };
        change(&mut config);
        let metrics = RelayMetrics::new();
        let registry = Registry::new();
        metrics.register(&registry).unwrap();
        let relay = Relay::new(config, graph, &metrics).unwrap();
        Self {
            bot,
            relay,
            registry,
        }
    }

    /// A lane to the bot, already open.
    fn lane(&self, delta: bool) -> Lane {
        let lane = self.held(delta);
        lane.open(Some(&call()));
        lane
    }

    fn held(&self, delta: bool) -> Lane {
        let options = json!({"isDeltaRosterEnabled": delta});
        self.relay.lane(
            OURS,
            Named {
                callback_uri: format!("{}/bot?secret=1", self.bot.origin),
                call_options: options.as_object().cloned(),
            },
        )
    }

    /// By result, those that are not zero.
    fn fates(&self) -> HashMap<String, u64> {
        let text = self.exposed();
        let counts = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("openmic_relay_notifications_total{result=\"")?;
            let (result, count) = rest.split_once("\"} ")?;
            Some((result.to_owned(), count.parse().unwrap()))
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }

    fn gauge(&self, name: &str) -> String {
        let text = self.exposed();
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().to_owned()
    }

    fn exposed(&self) -> String {
        let families = self.registry.gather();
        TextEncoder::new().encode_to_string(&families).unwrap()
    }

    /// Waits until the lanes, which must be closed, have ended.
    async fn ended(&self) {
        let all = self.relay.flush(PATIENCE);
        tokio::time::timeout(PATIENCE, all).await.unwrap();
        assert_eq!(self.gauge("openmic_relay_waiting"), "0");
        assert_eq!(self.gauge("openmic_relay_lanes"), "0");
    }
}

fn call() -> CallId {
    CallId::parse("c1").unwrap()
}

fn ok() -> Reply {
    Reply::new(202, "")
}

fn headers(message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("authorization", "Bearer of-graph"),
        ("scenario-id", "s-1"),
        ("x-microsoft-skype-chain-id", "chain-1"),
        ("x-microsoft-skype-message-id", message),
        ("ms-teams-region", "emea"),
        ("user-agent", "Microsoft-Skype/3.0"),
        ("host", "engine.example"),
        ("connection", "close"),
        ("content-length", "1"),
        ("cookie", "no"),
        ("x-forwarded-for", "10.0.0.1"),
    ] {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn entry(tail: &str, data: &Value) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.commsNotification",
        "changeType": "updated",
        "resource": format!("/app/calls/c1{tail}"),
        "resourceUrl": format!("/communications/calls/c1{tail}"),
        "callbackUri": OURS,
        "unheardOf": {"kept": true},
        "resourceData": data,
    })
}

fn state(state: &str) -> Value {
    entry(
        "",
        &json!({"@odata.type": "#microsoft.graph.call", "id": "c1", "state": state}),
    )
}

fn delta(number: u64, participants: &[Value]) -> Value {
    let delta = json!([{
        "@odata.type": "#microsoft.graph.deltaParticipants",
        "sequenceNumber": number,
        "participants": participants,
    }]);
    entry("/participants", &delta)
}

fn somebody(id: &str, number: u64) -> Value {
    json!({"id": id, "isMuted": false, "rosterSequenceNumber": number, "unheardOf": id})
}

fn parcel(message: &str, entries: &[Value]) -> Parcel {
    let body = json!({"value": entries}).to_string();
    let batch = notification::decode(body.as_bytes()).unwrap();
    assert_eq!(batch.raw.len(), entries.len());
    Parcel::new(&headers(message), batch.raw.entries(|_| true), body.len())
}

/// `value` of each POST, in order.
fn told(requests: &[Request]) -> Vec<Vec<Value>> {
    let posts = requests
        .iter()
        .filter(|request| request.line.starts_with("POST"));
    posts
        .map(|request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            body["value"].as_array().unwrap().clone()
        })
        .collect()
}

/// What each POST was about: states, and who is in rosters.
fn gist(requests: &[Request]) -> Vec<String> {
    let ids = |people: &Value| {
        let people = people.as_array().unwrap();
        let ids: Vec<_> = people
            .iter()
            .map(|one| one["id"].as_str().unwrap())
            .collect();
        ids.join("+")
    };
    let one = |entry: &Value| {
        let data = &entry["resourceData"];
        match (data["state"].as_str(), data.as_array()) {
            (Some(state), _) => state.to_owned(),
            (None, Some(items)) if items.iter().any(|item| item["participants"].is_array()) => {
                let number = &items[0]["sequenceNumber"];
                format!("delta {number}: {}", ids(&items[0]["participants"]))
            }
            _ => format!("all: {}", ids(data)),
        }
    };
    told(requests)
        .iter()
        .map(|entries| entries.iter().map(one).collect::<Vec<_>>().join(", "))
        .collect()
}

#[tokio::test]
async fn a_post_leaves_as_it_came_but_for_our_address() {
    let rig = Rig::new([ok()]).await;
    let lane = rig.lane(true);
    let mut created = state("established");
    created["resourceData"]["callbackUri"] = OURS.into();
    created["resourceData"]["callOptions"] =
        json!({"isDeltaRosterEnabled": true, "hideBotAfterEscalation": false});
    created["resourceData"]["deep"] = json!([{"er": OURS}]);
    lane.push(parcel(
        "m-1",
        &[created.clone(), delta(1, &[somebody("a", 1)])],
    ));
    lane.close();
    rig.ended().await;

    let requests = rig.bot.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(request.line, "POST /bot?secret=1");
    for (name, value) in [
        ("authorization", "Bearer of-graph"),
        ("scenario-id", "s-1"),
        ("x-microsoft-skype-chain-id", "chain-1"),
        ("x-microsoft-skype-message-id", "m-1"),
        ("ms-teams-region", "emea"),
        ("user-agent", "Microsoft-Skype/3.0"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert_ne!(request.header("host"), Some("engine.example"));
    for dropped in ["cookie", "x-forwarded-for", "connection"] {
        assert_eq!(request.header(dropped), None, "{dropped}");
    }
    assert!(!request.body.contains("engine.example"), "{}", request.body);
    let theirs: Value = format!("{}/bot?secret=1", rig.bot.origin).into();
    let mut expected = created;
    expected["callbackUri"] = theirs.clone();
    expected["resourceData"]["callbackUri"] = theirs.clone();
    expected["resourceData"]["deep"][0]["er"] = theirs.clone();
    let mut second = delta(1, &[somebody("a", 1)]);
    second["callbackUri"] = theirs;
    assert_eq!(told(&requests), [[expected, second]]);
    assert_eq!(rig.fates(), HashMap::from([("delivered".to_owned(), 2)]));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_under_the_same_id_and_nothing_overtakes_it() {
    let again = [
        Reply::new(500, ""),
        Reply::new(503, "").with("Retry-After", "0.001"),
        Reply::Reset,
    ];
    let rig = Rig::new(again.into_iter().chain([ok(), ok()])).await;
    let lane = rig.lane(true);
    lane.push(parcel("m-1", &[state("establishing")]));
    lane.push(parcel("m-2", &[state("established")]));
    lane.close();
    rig.ended().await;
    let requests = rig.bot.requests();
    let ids: Vec<_> = requests
        .iter()
        .map(|request| request.header("x-microsoft-skype-message-id").unwrap())
        .collect();
    assert_eq!(ids, ["m-1", "m-1", "m-1", "m-1", "m-2"]);
    assert_eq!(rig.fates(), HashMap::from([("delivered".to_owned(), 2)]));
}

#[tokio::test]
async fn what_cannot_pass_is_dropped_and_the_rest_goes_on() {
    let refused = [400, 401, 404, 410].map(|status| Reply::new(status, ""));
    let failing = [408, 429, 502, 500].map(|status| Reply::new(status, ""));
    let rig = Rig::new(refused.into_iter().chain(failing).chain([ok()])).await;
    let lane = rig.lane(true);
    for number in 0..6 {
        lane.push(parcel(&number.to_string(), &[state("established")]));
    }
    lane.close();
    rig.ended().await;
    let count = |name: &str, count| (name.to_owned(), count);
    assert_eq!(
        rig.fates(),
        HashMap::from([
            count("rejected", 4),
            count("failed", 1),
            count("delivered", 1)
        ])
    );
    assert_eq!(rig.bot.requests().len(), 9);
}

#[tokio::test]
async fn a_retry_after_is_waited_for() {
    let busy = Reply::new(429, "").with("Retry-After", "0.3");
    let rig = Rig::new([busy, ok()]).await;
    let lane = rig.lane(true);
    let begun = tokio::time::Instant::now();
    lane.push(parcel("m", &[state("established")]));
    lane.close();
    rig.ended().await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(rig.fates(), HashMap::from([("delivered".to_owned(), 1)]));
}

#[tokio::test]
async fn a_bot_that_hangs_costs_the_time_limit_and_is_asked_again() {
    let limit = |config: &mut RelayConfig| config.timeout = Duration::from_millis(200);
    let rig = Rig::with([Reply::Hang, ok()], limit).await;
    let lane = rig.lane(true);
    lane.push(parcel("m", &[state("established")]));
    lane.close();
    rig.ended().await;
    assert_eq!(rig.bot.requests().len(), 2);
    assert_eq!(rig.fates(), HashMap::from([("delivered".to_owned(), 1)]));
}

#[tokio::test]
async fn the_guard_looks_at_every_callback() {
    let rig = Rig::with([], |config| config.dev = false).await;
    let lanes = [
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data/",
        "http://bot.example/",
        "https://localhost/",
        "no url",
    ]
    .map(|uri| {
        let lane = rig.relay.lane(
            OURS,
            Named {
                callback_uri: uri.to_owned(),
                call_options: None,
            },
        );
        lane.open(Some(&call()));
        lane.push(parcel("m", &[state("established")]));
        lane
    });
    drop(lanes);
    rig.ended().await;
    assert_eq!(rig.fates(), HashMap::from([("refused".to_owned(), 5)]));
    assert_eq!(rig.bot.connections(), 0);
}

#[tokio::test]
async fn nothing_is_told_before_the_call_is_known_to_be() {
    let rig = Rig::new([ok(), ok()]).await;
    let early = rig.held(true);
    let other = json!({"changeType": "updated", "resourceUrl": "/communications/calls/c9",
        "resourceData": {"state": "established"}});
    early.push(parcel("m-1", &[state("establishing"), other]));
    let never = rig.held(true);
    never.push(parcel("m-2", &[state("established")]));
    never.discard();
    never.push(parcel("m-3", &[state("established")]));
    let forgotten = rig.held(true);
    forgotten.push(parcel("m-4", &[state("established")]));
    drop(forgotten);
    assert_eq!(rig.bot.requests().len(), 0);
    early.open(Some(&call()));
    early.push(parcel("m-5", &[state("established")]));
    early.close();
    rig.ended().await;
    assert_eq!(gist(&rig.bot.requests()), ["establishing", "established"]);
    let count = |name: &str, count| (name.to_owned(), count);
    assert_eq!(
        rig.fates(),
        HashMap::from([
            count("delivered", 2),
            count("unwanted", 3),
            count("abandoned", 1)
        ])
    );
}

#[tokio::test]
async fn a_full_lane_joins_rosters_and_drops_the_oldest_of_the_rest() {
    let gate = std::sync::Arc::new(Notify::new());
    let held = Reply::Held(std::sync::Arc::clone(&gate), Box::new(ok()));
    let rig = Rig::with([held].into_iter().chain((0..9).map(|_| ok())), |config| {
        config.queue = 2;
    })
    .await;
    let lane = rig.lane(true);
    lane.push(parcel("first", &[state("establishing")]));
    rig.bot.received(1).await;
    let roster = |number, who: &str| parcel("r", &[delta(number, &[somebody(who, number)])]);
    lane.push(roster(1, "a"));
    lane.push(parcel("s", &[state("one")]));
    lane.push(roster(2, "b"));
    lane.push(parcel("s", &[state("two")]));
    lane.push(roster(3, "a"));
    lane.push(parcel("s", &[state("three")]));
    lane.push(roster(4, "c"));
    lane.close();
    gate.notify_one();
    rig.ended().await;
    assert_eq!(
        gist(&rig.bot.requests()),
        [
            "establishing",
            "delta 1: a",
            "two",
            "three",
            "delta 4: b+a+c",
        ]
    );
    let count = |name: &str, count| (name.to_owned(), count);
    assert_eq!(
        rig.fates(),
        HashMap::from([
            count("delivered", 5),
            count("conflated", 2),
            count("overflow", 1)
        ])
    );
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let gate = std::sync::Arc::new(Notify::new());
    let held = Reply::Held(std::sync::Arc::clone(&gate), Box::new(ok()));
    let rig = Rig::with([held].into_iter().chain((0..9).map(|_| ok())), |config| {
        config.bytes = 3000;
    })
    .await;
    let lane = rig.lane(true);
    lane.push(parcel("first", &[state("establishing")]));
    rig.bot.received(1).await;
    let long = "x".repeat(1000);
    for number in 1..=8 {
        let mut who = somebody("a", number);
        who["metadata"] = long.as_str().into();
        lane.push(parcel("r", &[delta(number, &[who])]));
    }
    lane.close();
    gate.notify_one();
    rig.ended().await;
    let gist = gist(&rig.bot.requests());
    assert_eq!(gist.last().unwrap(), "delta 8: a");
    assert!(gist.len() <= 4, "{gist:?}");
    assert!(rig.fates()["conflated"] >= 5);
}

#[tokio::test]
async fn after_the_end_a_lane_drains_within_its_time_and_goes() {
    let rig = Rig::with([Reply::Hang], |config| {
        config.drain = Duration::from_millis(100);
    })
    .await;
    let lane = rig.lane(true);
    lane.push(parcel("m-1", &[state("terminating")]));
    lane.push(parcel("m-2", &[state("terminated")]));
    rig.bot.received(1).await;
    drop(lane);
    rig.ended().await;
    assert_eq!(rig.fates(), HashMap::from([("abandoned".to_owned(), 2)]));
}

#[tokio::test]
async fn a_flush_ends_what_does_not_end() {
    let rig = Rig::new([Reply::Hang]).await;
    let lane = rig.lane(true);
    lane.push(parcel("m", &[state("terminated")]));
    rig.bot.received(1).await;
    lane.close();
    rig.relay.flush(Duration::from_millis(50)).await;
    assert_eq!(rig.fates(), HashMap::from([("abandoned".to_owned(), 1)]));
    assert_eq!(rig.gauge("openmic_relay_waiting"), "0");
}

#[tokio::test]
async fn a_bot_without_deltas_gets_everybody() {
    let rig = Rig::new((0..9).map(|_| ok())).await;
    let lane = rig.lane(false);
    let mut gone = somebody("a", 4);
    gone["removedState"] = json!({"reason": "left"});
    for entry in [
        delta(1, &[somebody("a", 1), somebody("b", 1)]),
        delta(2, &[somebody("c", 2)]),
        // an older word of somebody, and one who left
        delta(3, &[somebody("c", 1), gone]),
        delta(4, &[somebody("a", 3)]),
        delta(5, &[somebody("a", 5)]),
    ] {
        lane.push(parcel("m", &[entry]));
    }
    lane.close();
    rig.ended().await;
    let requests = rig.bot.requests();
    assert_eq!(
        gist(&requests),
        [
            "all: a+b",
            "all: a+b+c",
            "all: b+c",
            "all: b+c",
            "all: b+c+a"
        ]
    );
    // Members that nobody here knows reach the bot, in the entries and around them.
    let last = told(&requests).pop().unwrap().pop().unwrap();
    assert_eq!(last["unheardOf"], json!({"kept": true}));
    assert_eq!(last["resourceData"][2], somebody("a", 5));
    assert!(
        requests
            .iter()
            .all(|request| request.line.starts_with("POST"))
    );
}

#[tokio::test]
async fn a_hole_in_the_numbers_is_filled_by_reading_the_roster() {
    let list = |people: &[Value]| Reply::new(200, &json!({"value": people}).to_string());
    let everybody = [somebody("a", 1), somebody("b", 2), somebody("c", 3)];
    let rig = Rig::new([
        ok(),
        list(&everybody),
        ok(),
        Reply::error(404, "8522", "gone"),
        ok(),
        list(&[somebody("b", 2)]),
        ok(),
    ])
    .await;
    let lane = rig.lane(false);
    for entry in [
        delta(1, &[somebody("a", 1)]),
        delta(3, &[somebody("c", 3)]), // 2 is missing
        delta(5, &[somebody("d", 5)]), // 4 is missing, and nothing can be read
        delta(6, &[somebody("d", 6)]), // so it is tried again
    ] {
        lane.push(parcel("m", &[entry]));
    }
    lane.close();
    rig.ended().await;
    let requests = rig.bot.requests();
    let lines: Vec<_> = requests
        .iter()
        .map(|request| request.line.split(' ').next().unwrap())
        .collect();
    assert_eq!(lines, ["POST", "GET", "POST", "GET", "POST", "GET", "POST"]);
    assert_eq!(
        requests[1].line,
        "GET /v1.0/communications/calls/c1/participants"
    );
    assert_eq!(
        gist(&requests),
        ["all: a", "all: a+b+c", "all: a+b+c+d", "all: b"]
    );
}

#[tokio::test]
async fn joined_deltas_are_no_hole() {
    let gate = std::sync::Arc::new(Notify::new());
    let held = Reply::Held(std::sync::Arc::clone(&gate), Box::new(ok()));
    let rig = Rig::with([held, ok()], |config| config.queue = 1).await;
    let lane = rig.lane(false);
    lane.push(parcel("m", &[delta(1, &[somebody("a", 1)])]));
    rig.bot.received(1).await;
    for number in 2..=5 {
        let who = format!("p{number}");
        lane.push(parcel("m", &[delta(number, &[somebody(&who, number)])]));
    }
    lane.close();
    gate.notify_one();
    rig.ended().await;
    let requests = rig.bot.requests();
    assert_eq!(gist(&requests), ["all: a", "all: a+p2+p3+p4+p5"]);
    assert_eq!(rig.fates()["conflated"], 3);
}
