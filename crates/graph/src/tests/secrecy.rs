//! What must not be seen is not seen; what shall be counted is counted.

use std::io::Write;
use std::sync::{Arc, Mutex};

use openmic_model::Action;
use prometheus::{Registry, TextEncoder};
use tracing_subscriber::fmt::MakeWriter;

use super::server::{Reply, Server};
use super::{SECRET, call, chain, client, config, context, soon};
use crate::{GraphClient, Metrics};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn neither_secret_nor_token_is_printed() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // for the whole process: one for this thread would miss what other tests reach first
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::callsite::rebuild_interest_cache();

    let said_back = r#"{"error":{"code":"odd","message":"no: Bearer very-private-token"}}"#;
    let replies = [
        Reply::new(500, ""),
        Reply::Reset,
        Reply::new(200, "x"),
        Reply::new(403, said_back),
    ];
    let server = Server::start(replies).await;
    server.token(Reply::grant("very-private-token"));
    let config = config(&server.origin, &server.origin);
    let client = client(&server);
    let mut printed = vec![format!("{config:?} {client:?}")];
    for _ in 0..4 {
        match client
            .act(&call(), Action::Unmute, &context(), soon())
            .await
        {
            Ok(operation) => printed.push(format!("{operation:?}")),
            Err(error) => printed.push(format!("{error:?} {}", chain(&error))),
        }
    }

    // an endpoint that says back what it was sent
    let echo = format!(r#"{{"error":"invalid_client","error_description":"no: {SECRET}"}}"#);
    let server = Server::start([]).await;
    server.token(Reply::new(401, &echo));
    let client = super::client(&server);
    let error = client
        .act(&call(), Action::Unmute, &context(), soon())
        .await
        .unwrap_err();
    printed.push(format!("{error:?} {}", chain(&error)));

    printed.push(String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    let printed = printed.join("\n");
    assert!(printed.contains("invalid_client"), "{printed}");
    assert!(printed.contains("no: Bearer (withheld)"), "{printed}");
    assert!(printed.contains("no new token"), "the log was captured");
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(!printed.contains("very-private-token"), "{printed}");
}

#[test]
fn a_secret_is_found_as_a_form_has_it() {
    let secret = "a~b+c d".into();
    for text in [
        "no: a~b+c d",
        "bad form: client_id=x&client_secret=a%7Eb%2Bc+d&scope=y",
        "client_secret=a%7eb%2bc%20d",
    ] {
        assert!(crate::repeats_secret(text, &secret), "{text}");
    }
    assert!(!crate::repeats_secret("client_secret=", &secret));
}

#[tokio::test]
async fn a_long_refusal_of_a_token_is_cut() {
    let long = format!(
        r#"{{"error":"{0}","error_description":"{0}"}}"#,
        "x".repeat(5000)
    );
    let server = Server::start([]).await;
    server.token(Reply::new(400, &long));
    let result = client(&server)
        .act(&call(), Action::Mute, &context(), soon())
        .await;
    let text = chain(&result.unwrap_err());
    assert!(text.len() < 700, "{}", text.len());
}

#[tokio::test]
async fn requests_are_counted_by_route_and_class() {
    let metrics = Metrics::new();
    let registry = Registry::new();
    metrics.register(&registry).unwrap();
    let pause = Reply::new(429, "").with("Retry-After", "0.01");
    let server = Server::start([
        Reply::new(200, ""),
        Reply::Reset,
        pause,
        Reply::new(200, ""),
    ])
    .await;
    let client = GraphClient::new(&config(&server.origin, &server.origin), &metrics).unwrap();
    client
        .act(&call(), Action::Unmute, &context(), soon())
        .await
        .unwrap();
    client
        .act(&call(), Action::Unmute, &context(), soon())
        .await
        .unwrap_err();
    client.keep_alive(&call(), soon()).await.unwrap();

    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        r#"openmic_graph_requests_total{method="POST",route="unmute",status_class="2xx"} 1"#,
        r#"openmic_graph_requests_total{method="POST",route="unmute",status_class="none"} 1"#,
        r#"openmic_graph_requests_total{method="POST",route="keep_alive",status_class="4xx"} 1"#,
        r#"openmic_graph_requests_total{method="POST",route="keep_alive",status_class="2xx"} 1"#,
        r#"openmic_graph_requests_total{method="POST",route="token",status_class="2xx"} 1"#,
        r#"openmic_graph_request_seconds_count{route="unmute"} 2"#,
        "openmic_graph_throttled_total 1",
        "openmic_graph_retry_after_seconds_count 1",
        r#"openmic_token_refresh_total{result="ok"} 1"#,
        r#"openmic_token_refresh_total{result="failed"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let again = metrics.register(&registry);
    assert!(again.is_err(), "names are taken once");
}
