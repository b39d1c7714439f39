//! A reverse proxy that remembers what passed and holds back what a test names.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use openmic_listen::{Limits, Listener, Running};
use tokio::sync::watch;

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Before it reaches the server: it has no effect yet.
    Before,
    /// With its answer: it took effect, and nobody was told.
    After,
}

/// One request that passed. `Debug` shows no header: a token is in them.
#[derive(Clone)]
pub struct Passed {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// As they came.
    pub headers: HeaderMap,
    /// As it came.
    pub body: Bytes,
    /// What the server answered; `None` while it has not.
    pub status: Option<u16>,
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inner {
    target: Mutex<String>,
    http: reqwest::Client,
    passed: Mutex<Vec<Passed>>,
    stop: watch::Sender<Option<(Method, &'static str, Stop)>>,
    held: watch::Sender<usize>,
    progress: watch::Sender<usize>,
}

/// The running proxy, on a free loopback port.
#[derive(Debug)]
pub struct Between {
    /// Its `host:port`.
    pub host: String,
    inner: Arc<Inner>,
    _running: Running,
}

impl Between {
    /// Starts it in front of `target`, a `host:port`; that may be given later.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(target: &str) -> Self {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let host = listener.local_addr().to_string();
        let inner = Arc::new(Inner {
            target: Mutex::new(target.to_owned()),
            http: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client"),
            passed: Mutex::default(),
            stop: watch::Sender::new(None),
            held: watch::Sender::new(0),
            progress: watch::Sender::new(0),
        });
        let routes = Router::new().fallback(pass).with_state(Arc::clone(&inner));
        let running = listener.serve(routes, Limits::default());
        Self {
            host,
            inner,
            _running: running,
        }
    }

    /// Names the server behind.
    pub fn leads_to(&self, target: &str) {
        target.clone_into(&mut locked(&self.inner.target));
    }

    /// Holds requests of this method whose path ends so, until [`Between::release`].
    pub fn hold(&self, method: Method, ending: &'static str, stop: Stop) {
        self.inner.stop.send_replace(Some((method, ending, stop)));
    }

    /// Lets go of what is held and holds nothing more.
    pub fn release(&self) {
        self.inner.stop.send_replace(None);
    }

    /// Waits until so many requests were held since the start.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn held(&self, count: usize) {
        reached(&self.inner.held, count).await;
    }

    /// Waits until so many requests were answered since the start.
    ///
    /// # Panics
    /// When they are not.
    pub async fn answered(&self, count: usize) {
        reached(&self.inner.progress, count).await;
    }

    /// What passed so far, in the order it came.
    pub fn passed(&self) -> Vec<Passed> {
        locked(&self.inner.passed).clone()
    }
}

async fn reached(count: &watch::Sender<usize>, number: usize) {
    let mut count = count.subscribe();
    let reached = count.wait_for(|count| *count >= number);
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "{number} requests did not come");
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // a test that panicked elsewhere says so itself
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pass(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let at = {
        let mut passed = locked(&inner.passed);
        passed.push(Passed {
            method: method.clone(),
            path: path.to_owned(),
            headers: headers.clone(),
            body: body.clone(),
            status: None,
        });
        passed.len() - 1
    };
    let hit = |stop| {
        let named = inner.stop.borrow();
        let named = named.as_ref().filter(|named| named.2 == stop);
        named.is_some_and(|(of, ending, _)| *of == method && uri.path().ends_with(ending))
    };
    if hit(Stop::Before) {
        free(&inner).await;
    }
    let url = format!("http://{}{path}", locked(&inner.target));
    let mut request = inner.http.request(method.clone(), url).body(body);
    for (name, value) in &headers {
        if name != http::header::HOST {
            request = request.header(name, value);
        }
    }
    let Ok(answer) = request.send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap_or_default();
    headers.remove(http::header::TRANSFER_ENCODING);
    if let Some(passed) = locked(&inner.passed).get_mut(at) {
        passed.status = Some(status.as_u16());
    }
    if hit(Stop::After) {
        free(&inner).await;
    }
    inner.progress.send_modify(|count| *count += 1);
    (status, headers, body).into_response()
}

/// Waits until nothing is held any more.
async fn free(inner: &Inner) {
    let mut stop = inner.stop.subscribe();
    inner.held.send_modify(|count| *count += 1);
    // the sender is held by whoever waits here
    drop(stop.wait_for(Option::is_none).await);
}
