//! What one request learns of Graph, the others of the application heed.

use std::time::Duration;

use openmic_model::Action;
use prometheus::Registry;
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::server::{Reply, Server};
use super::{call, client, config, context, soon};
use crate::{ActError, GraphClient, Metrics, NotSent, RequestError};

const CALL: &str = r#"{"id":"c1","state":"established"}"#;
const COMPLETED: &str = r#"{"id":"o1","status":"completed"}"#;

/// A client whose counters can be read.
fn counted(server: &Server) -> (GraphClient, Registry) {
    let metrics = Metrics::new();
    let registry = Registry::new();
    metrics.register(&registry).unwrap();
    let config = config(&server.origin, &server.origin);
    (GraphClient::new(&config, &metrics).unwrap(), registry)
}

/// The value of a counter or gauge with this one label.
#[expect(
    clippy::cast_possible_truncation,
    reason = "counters of a test are small"
)]
fn value(registry: &Registry, name: &str, label: &str) -> i64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let mut metrics = family.unwrap().get_metric().iter();
    let found = metrics.find(|metric| {
        let labels = metric.get_label();
        label.is_empty() || labels.iter().any(|pair| pair.value() == label)
    });
    let found = found.unwrap();
    let sum = found.get_counter().get_value() + found.get_gauge().get_value();
    sum as i64
}

#[tokio::test]
async fn one_throttled_request_holds_all_others_but_hang_ups() {
    let busy = Reply::error(429, "8516", "Too many.").with("Retry-After", "30");
    let server = Server::start([busy, Reply::new(204, ""), Reply::new(200, COMPLETED)]).await;
    let (client, registry) = counted(&server);
    let near = Instant::now() + Duration::from_secs(5);
    let first = client.get_call(&call(), near).await.unwrap_err();
    assert!(matches!(first, RequestError::Throttled { .. }), "{first:?}");

    let held = client
        .act(&call(), Action::Unmute, &context(), soon())
        .await;
    let Err(ActError::Throttled {
        refusal,
        retry_after: Some(left),
    }) = held
    else {
        panic!("{held:?}");
    };
    assert_eq!(
        (refusal.status, refusal.message.as_str()),
        (429, "Too many.")
    );
    assert!(
        left > Duration::from_secs(20) && left <= Duration::from_secs(30),
        "{left:?}"
    );
    let held = client.keep_alive(&call(), near).await.unwrap_err();
    let RequestError::Throttled { refusal, .. } = held else {
        panic!("{held:?}");
    };
    assert_eq!(refusal.message, "Too many.", "it says what Graph said");
    client.delete_call(&call(), soon()).await.unwrap();
    let lines: Vec<_> = server
        .requests()
        .into_iter()
        .map(|seen| seen.line)
        .collect();
    let path = "/v1.0/communications/calls/c1";
    assert_eq!(lines, [format!("GET {path}"), format!("DELETE {path}")]);
    assert!(value(&registry, "openmic_graph_held_back_total", "throttled") >= 2);
}

#[tokio::test]
async fn whoever_has_the_time_waits_for_the_pause_to_end() {
    let busy = Reply::error(503, "x", "x").with("Retry-After", "0.4");
    let server = Server::start([busy, Reply::new(200, CALL), Reply::new(200, CALL)]).await;
    let client = client(&server);
    let begun = Instant::now();
    let call = call();
    let (first, second) = tokio::join!(client.get_call(&call, soon()), async {
        server.received(2).await; // the token, and the first one
        client.unhindered().await;
        client.get_call(&call, soon()).await
    });
    assert!(first.is_ok() && second.is_ok());
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_graph_that_does_not_answer_is_left_alone_after_ten_requests() {
    let server = Server::start([]).await;
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let origin = format!("http://{}", closed.local_addr().unwrap());
    let metrics = Metrics::new();
    let registry = Registry::new();
    metrics.register(&registry).unwrap();
    let client = GraphClient::new(&config(&origin, &server.origin), &metrics).unwrap();
    for number in 0..12 {
        let result = client
            .act(&call(), Action::Unmute, &context(), soon())
            .await;
        let Err(ActError::NotSent(cause)) = result else {
            panic!("{number}: {result:?}");
        };
        let open = matches!(cause, NotSent::Circuit);
        assert_eq!(open, number >= 10, "{number}: {cause:?}");
    }
    assert_eq!(
        value(&registry, "openmic_graph_circuit_opened_total", "transport"),
        1
    );
    assert_eq!(value(&registry, "openmic_graph_circuit_open", ""), 1);
    assert_eq!(
        value(&registry, "openmic_graph_held_back_total", "circuit"),
        2
    );
}

#[tokio::test]
async fn a_graph_that_comes_back_is_found_by_one_probe() {
    let server = Server::start([]).await;
    for _ in 0..10 {
        server.then(Reply::Reset);
    }
    server.then(Reply::new(200, COMPLETED));
    server.then(Reply::new(200, CALL));
    let (client, registry) = counted(&server);
    for _ in 0..10 {
        let result = client.act(&call(), Action::Mute, &context(), soon()).await;
        assert!(matches!(result, Err(ActError::Ambiguous(_))), "{result:?}");
    }
    let result = client.act(&call(), Action::Mute, &context(), soon()).await;
    assert!(
        matches!(result, Err(ActError::NotSent(NotSent::Circuit))),
        "{result:?}"
    );
    assert_eq!(server.requests().len(), 10);
    client.unhindered().await;
    client
        .act(&call(), Action::Mute, &context(), soon())
        .await
        .unwrap();
    client.get_call(&call(), soon()).await.unwrap();
    assert_eq!(value(&registry, "openmic_graph_circuit_open", ""), 0);
}

#[tokio::test]
async fn a_second_401_opens_the_circuit_and_no_storm_of_tokens_follows() {
    let no = Reply::error(401, "InvalidAuthenticationToken", "no");
    let server = Server::start([no.clone(), no.clone(), no.clone(), no]).await;
    let (client, registry) = counted(&server);
    let result = client
        .act(&call(), Action::Unmute, &context(), soon())
        .await;
    assert!(
        matches!(&result, Err(ActError::Refused(no)) if no.status == 401),
        "{result:?}"
    );
    for _ in 0..20 {
        let result = client
            .act(&call(), Action::Unmute, &context(), soon())
            .await;
        assert!(
            matches!(result, Err(ActError::NotSent(NotSent::Circuit))),
            "{result:?}"
        );
    }
    assert_eq!(server.requests().len(), 2);
    assert_eq!(server.token_requests().len(), 2);
    assert_eq!(
        value(
            &registry,
            "openmic_graph_circuit_opened_total",
            "unauthorized"
        ),
        1
    );
}

#[tokio::test]
async fn an_errand_that_is_turned_down_stops_nobody_else() {
    let no = Reply::error(401, "Unauthorized", "not for this application");
    let server = Server::start([no.clone(), no, Reply::new(200, COMPLETED)]).await;
    let client = client(&server);
    let place = openmic_wire::errand::Place::Call(call());
    let errand = openmic_wire::errand::Errand::Transfer;
    let result = client.errand(errand, &place, None, false, soon()).await;
    assert!(
        matches!(result, Err(RequestError::Refused(_))),
        "{result:?}"
    );
    client
        .act(&call(), Action::Unmute, &context(), soon())
        .await
        .unwrap();
}

#[tokio::test]
async fn repeats_end_when_the_budget_is_used_up() {
    let server = Server::start((0..400).map(|_| Reply::new(503, ""))).await;
    let (client, registry) = counted(&server);
    let deadline = Instant::now() + Duration::from_secs(2);
    let many = (0..200).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.get_call(&call(), deadline).await })
    });
    for one in many.collect::<Vec<_>>() {
        let result = one.await.unwrap();
        assert!(
            matches!(result, Err(RequestError::Throttled { .. })),
            "{result:?}"
        );
    }
    // 200 first ones; 10 % of them and 10 a second over 10 s may be repeated
    let sent = server.requests().len();
    assert!(sent <= 200 + 200 / 10 + 100 + 20, "{sent} requests");
    assert!(value(&registry, "openmic_graph_held_back_total", "budget") > 0);
}
