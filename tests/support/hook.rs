//! A bot's own webhook.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use openmic_listen::{Limits, Listener, Running};
use serde_json::Value;
use tokio::sync::watch;

/// How long a notification may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One POST that a webhook got.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The last part of its path.
    pub key: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Value,
}

/// Takes every notification, 202 at once, as Microsoft's SDK does.
#[derive(Debug)]
pub struct Hook {
    got: watch::Receiver<Vec<Posted>>,
    base: String,
    _running: Running,
}

impl Hook {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub fn start() -> Self {
        let (sender, got) = watch::channel(Vec::new());
        let router = Router::new()
            .route("/hook/{key}", post(take))
            .with_state(Arc::new(sender));
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a port");
        Self {
            base: format!("http://{}", listener.local_addr()),
            got,
            _running: listener.serve(router, Limits::default()),
        }
    }

    /// The `callbackUri` whose POSTs are kept under `key`.
    pub fn url(&self, key: &str) -> String {
        format!("{}/hook/{key}", self.base)
    }

    /// Everything that came under `key`, in order.
    pub fn got(&self, key: &str) -> Vec<Posted> {
        let got = self.got.borrow();
        got.iter().filter(|post| post.key == key).cloned().collect()
    }

    /// Waits until `enough` of what came under `key`.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn until(&self, key: &str, what: &str, enough: impl Fn(&[Posted]) -> bool) {
        let mut got = self.got.clone();
        let all = got.wait_for(|got| {
            let of: Vec<_> = got.iter().filter(|post| post.key == key).cloned().collect();
            enough(&of)
        });
        let in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
        assert!(in_time, "{key}: {what} did not come: {:#?}", self.got(key));
    }
}

async fn take(
    State(sender): State<Arc<watch::Sender<Vec<Posted>>>>,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    sender.send_modify(|got| got.push(Posted { key, headers, body }));
    StatusCode::ACCEPTED
}
