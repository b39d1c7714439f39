//! 10,000 notifications for a hundred calls, through a receiver that stalls, fails and recovers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode};
use openmic_graph::relay::{Parcel, Relay, RelayConfig, RelayMetrics};
use openmic_graph::{Credential, GraphClient, GraphConfig};
use openmic_listen::{Limits, Listener};
use openmic_model::{AppId, CallId, TenantId};
use openmic_wire::notification;
use openmic_wire::raw::Named;
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::sync::watch;

const CALLS: usize = 100;
const EACH: usize = 100;
const STALLS: Duration = Duration::from_millis(1500);
const FAILS: Duration = Duration::from_millis(1500);

/// What the receiver took, in the order in which it said 202: call, message id, number.
#[derive(Default)]
struct Taken {
    all: Vec<(usize, String, u64)>,
    stalled: usize,
    failed: usize,
}

struct Receiver {
    begun: Instant,
    taken: watch::Sender<Taken>,
}

/// Stalls at first, then fails in every way that is tried again, then takes everything.
async fn receive(
    State(receiver): State<Arc<Receiver>>,
    Path(call): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let age = receiver.begun.elapsed();
    if age < STALLS {
        receiver.taken.send_modify(|taken| taken.stalled += 1);
        return std::future::pending().await;
    }
    if age < STALLS + FAILS {
        receiver.taken.send_modify(|taken| taken.failed += 1);
        return match call % 4 {
            0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0.5")]).into_response(),
            2 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => StatusCode::REQUEST_TIMEOUT.into_response(),
        };
    }
    let message = headers["x-microsoft-skype-message-id"].to_str().unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let number = body["value"][0]["number"].as_u64().unwrap();
    let taken = (call, message.to_owned(), number);
    receiver.taken.send_modify(|all| all.all.push(taken));
    StatusCode::ACCEPTED.into_response()
}

/// One in three is a roster, one an operation, one a state.
fn parcel(call: usize, number: usize) -> Parcel {
    let (tail, data) = match number % 3 {
        0 => (
            "/participants".to_owned(),
            json!([{
            "@odata.type": "#microsoft.graph.deltaParticipants", "sequenceNumber": number / 3 + 1,
            "participants": [{"id": "me", "isMuted": false, "rosterSequenceNumber": number}]}]),
        ),
        1 => (
            format!("/operations/{number}"),
            json!({"id": number.to_string(), "status": "completed"}),
        ),
        _ => (String::new(), json!({"state": "established"})),
    };
    let url = format!("/communications/calls/call-{call}{tail}");
    let body = json!({"value": [{"changeType": "updated", "resourceUrl": url,
        "number": number, "resourceData": data}]})
    .to_string();
    let batch = notification::decode(body.as_bytes()).unwrap();
    let mut headers = HeaderMap::new();
    let message = format!("{call}-{number}");
    headers.insert(
        "x-microsoft-skype-message-id",
        HeaderValue::try_from(message).unwrap(),
    );
    Parcel::new(&headers, batch.raw.entries(|_| true), body.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_notifications_survive_a_receiver_that_stalls_fails_and_recovers() {
    let receiver = Arc::new(Receiver {
        begun: Instant::now(),
        taken: watch::Sender::default(),
    });
    let router = Router::new()
        .route("/{call}", post(receive))
        .with_state(Arc::clone(&receiver));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let base = format!("http://{}", listener.local_addr());
    let running = listener.serve(router, Limits::default());

    let url = url::Url::parse(&base).unwrap();
    let credential = Credential {
        tenant: TenantId::parse("t").unwrap(),
        app: AppId::parse("a").unwrap(),
        secret: "s".into(),
    };
    let graph = GraphConfig::new(url.clone(), url, credential);
    let graph = GraphClient::new(&graph, &openmic_graph::Metrics::new()).unwrap();
    let metrics = RelayMetrics::new();
    let registry = Registry::new();
    metrics.register(&registry).unwrap();
    // The default bounds and waits; only the time limit is shorter than what a person waits for.
    let config = RelayConfig {
        dev: true,
        timeout: Duration::from_millis(500),
        ..RelayConfig::default()
    };
    let relay = Relay::new(config, graph, &metrics).unwrap();

    let lanes: Vec<_> = (0..CALLS)
        .map(|call| {
            let id = CallId::parse(&format!("call-{call}")).unwrap();
            let lane = relay.lane(
                "https://engine.example/callbacks/key",
                Named {
                    callback_uri: format!("{base}/{call}"),
                    call_options: json!({"isDeltaRosterEnabled": true}).as_object().cloned(),
                },
            );
            lane.open(Some(&id));
            lane
        })
        .collect();
    let begun = Instant::now();
    for number in 0..EACH {
        for (call, lane) in lanes.iter().enumerate() {
            lane.push(parcel(call, number));
        }
    }
    let pushed = begun.elapsed();
    let mut taken = receiver.taken.subscribe();
    let all = taken.wait_for(|taken| {
        let messages: HashSet<_> = taken.all.iter().map(|(_, message, _)| message).collect();
        taken.all.len() >= CALLS * EACH && messages.len() == CALLS * EACH
    });
    let in_time = tokio::time::timeout(Duration::from_mins(1), all)
        .await
        .is_ok();
    let took = begun.elapsed();
    drop(lanes);
    relay.flush(Duration::from_secs(10)).await;
    let exposed = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    assert!(in_time, "not all came: {exposed}");

    // A POST that timed out as it was taken comes again under the same id.
    let taken = receiver.taken.borrow();
    let mut seen = HashSet::new();
    let mut orders: HashMap<usize, Vec<u64>> = HashMap::new();
    for (call, message, number) in &taken.all {
        if seen.insert(message) {
            orders.entry(*call).or_default().push(*number);
        }
    }
    let whole: Vec<u64> = (0..EACH as u64).collect();
    assert_eq!(orders.len(), CALLS);
    for (call, order) in orders {
        assert_eq!(order, whole, "call {call}");
    }
    assert!(
        taken.stalled >= CALLS,
        "it did not stall: {}",
        taken.stalled
    );
    assert!(taken.failed >= CALLS, "it did not fail: {}", taken.failed);
    let delivered = format!(
        "openmic_relay_notifications_total{{result=\"delivered\"}} {}",
        CALLS * EACH
    );
    assert!(exposed.contains(&delivered), "{exposed}");
    let lost = exposed.lines().filter(|line| {
        let fate = line.starts_with("openmic_relay_notifications_total") && !line.ends_with(" 0");
        fate && !line.starts_with("openmic_relay_notifications_total{result=\"delivered\"}")
    });
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(exposed.contains("\nopenmic_relay_waiting 0\n"), "{exposed}");
    println!(
        "{} notifications of {CALLS} calls pushed in {pushed:?}, all there after {took:?}; {} \
         attempts stalled, {} failed, {} were taken twice",
        CALLS * EACH,
        taken.stalled,
        taken.failed,
        taken.all.len() - seen.len(),
    );
    drop(taken);
    running.stop(Duration::from_secs(1)).await;
}
