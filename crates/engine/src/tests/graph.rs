//! A Graph on loopback that answers by a script and remembers what it was asked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What can be asked of Graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    Token,
    Create,
    Read,
    Delete,
    Answer,
    Reject,
    KeepAlive,
    Mute,
    Unmute,
    List,
    Entry,
    Operation,
    Other,
}

/// Holds an answer back until it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn passed(&self) {
        let mut open = self.0.subscribe();
        open.wait_for(|open| *open)
            .await
            .expect("the gate is held here");
    }
}

/// One answer. In its body stand `$call` for the call of the request (a new one for a create),
/// `$op` for the operation of the request (a new one for a POST), `$context` for the client
/// context sent last, `$muted` for what [`Graph::set_muted`] said.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    gate: Option<Gate>,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    /// The connection is reset instead.
    Reset,
    /// The connection is reset in the middle of the body.
    Cut,
    /// Nothing comes.
    Silent,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            gate: None,
            way: Way::Whole,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string())
    }

    /// Graph's error envelope.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(
            status,
            &json!({"error": {"code": code, "message": message}}),
        )
    }

    /// What Graph says of a call that does not exist.
    pub(crate) fn gone() -> Self {
        Self::error(404, "8522", "Call not found.")
    }

    /// An operation as mute and unmute are answered with.
    pub(crate) fn operation(status: &str) -> Self {
        let body = json!({"id": "$op", "status": status, "clientContext": "$context"});
        Self::json(200, &body)
    }

    /// 429.
    pub(crate) fn throttled(after: &str) -> Self {
        Self::error(429, "TooManyRequests", "slow down").with("retry-after", after)
    }

    /// The bot's own entry.
    pub(crate) fn entry(muted: bool) -> Self {
        Self::new(
            200,
            own_entry().to_string().replace("\"$muted\"", word(muted)),
        )
    }

    pub(crate) fn reset() -> Self {
        Self {
            way: Way::Reset,
            ..Self::new(200, "")
        }
    }

    pub(crate) fn cut() -> Self {
        Self {
            way: Way::Cut,
            ..Self::new(200, r#"{"id":"$op","status":"#)
        }
    }

    pub(crate) fn silent() -> Self {
        Self {
            way: Way::Silent,
            ..Self::new(200, "")
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The answer waits until `gate` is open.
    pub(crate) fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

fn own_entry() -> Value {
    json!({"id": "me", "isMuted": "$muted", "isInLobby": false, "info": {"identity": {
        "application": {"id": "22222222-2222-4222-8222-222222222222", "displayName": "Bot"}}}})
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) route: Route,
    /// Method and path.
    pub(crate) line: String,
    pub(crate) call: String,
    pub(crate) query: Option<String>,
    pub(crate) body: Value,
    /// Place in the order of everything received and answered.
    pub(crate) received: usize,
    /// The same of its answer; `None` while it has none.
    pub(crate) answered: Option<usize>,
}

impl Seen {
    /// The client context that the request named.
    pub(crate) fn context(&self) -> &str {
        self.body["clientContext"].as_str().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Script {
    once: HashMap<Route, VecDeque<Reply>>,
    always: HashMap<Route, Reply>,
    seen: Vec<Seen>,
    clock: usize,
    calls: usize,
    operations: usize,
    /// Calls that are over: a GET knows them no more.
    ended: HashSet<String>,
    context: String,
    muted: bool,
}

#[derive(Debug)]
struct Inner {
    script: Mutex<Script>,
    progress: watch::Sender<usize>,
}

/// The running server; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    pub(crate) origin: String,
    inner: Arc<Inner>,
}

impl Graph {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            script: Mutex::default(),
            progress: watch::Sender::new(0),
        });
        let shared = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { origin, inner }
    }

    /// The next answer of `route`, after those given before.
    pub(crate) fn once(&self, route: Route, reply: Reply) {
        let mut script = self.inner.script.lock();
        script.once.entry(route).or_default().push_back(reply);
    }

    /// Every further answer of `route`.
    pub(crate) fn always(&self, route: Route, reply: Reply) {
        self.inner.script.lock().always.insert(route, reply);
    }

    /// The call is over.
    pub(crate) fn end(&self, call: &str) {
        self.inner.script.lock().ended.insert(call.to_owned());
    }

    /// What GETs say of the bot from here on.
    pub(crate) fn set_muted(&self, muted: bool) {
        self.inner.script.lock().muted = muted;
    }

    /// Requests of one kind, in the order they came.
    pub(crate) fn seen(&self, route: Route) -> Vec<Seen> {
        let script = self.inner.script.lock();
        let seen = script.seen.iter().filter(|seen| seen.route == route);
        seen.cloned().collect()
    }

    pub(crate) fn count(&self, route: Route) -> usize {
        self.seen(route).len()
    }

    /// Waits for the `number`th request of `route`, counted from 1.
    pub(crate) async fn received(&self, route: Route, number: usize) -> Seen {
        self.when(route, number, |_| true).await
    }

    /// Waits until the `number`th request of `route` was answered.
    pub(crate) async fn answered(&self, route: Route, number: usize) -> Seen {
        self.when(route, number, |seen| seen.answered.is_some())
            .await
    }

    async fn when(&self, route: Route, number: usize, good: impl Fn(&Seen) -> bool) -> Seen {
        let mut progress = self.inner.progress.subscribe();
        let found = || self.seen(route).into_iter().nth(number - 1).filter(&good);
        let waited = progress.wait_for(|_| found().is_some());
        let came = tokio::time::timeout(PATIENCE, waited).await.is_ok();
        assert!(came, "{route:?} number {number} did not come");
        found().expect("it was there")
    }
}

fn route(method: &Method, path: &str) -> (Route, String) {
    if path.ends_with("/oauth2/v2.0/token") {
        return (Route::Token, String::new());
    }
    let tail = path.trim_start_matches("/v1.0/communications/calls");
    let mut parts = tail.split('/').skip(1);
    let call = parts.next().unwrap_or_default().to_owned();
    let rest: Vec<_> = parts.collect();
    let route = match (method.as_str(), call.as_str(), &rest[..]) {
        ("POST", "", []) => Route::Create,
        ("GET", _, []) => Route::Read,
        ("DELETE", _, []) => Route::Delete,
        ("POST", _, ["answer"]) => Route::Answer,
        ("POST", _, ["reject"]) => Route::Reject,
        ("POST", _, ["keepAlive"]) => Route::KeepAlive,
        ("POST", _, ["mute"]) => Route::Mute,
        ("POST", _, ["unmute"]) => Route::Unmute,
        ("GET", _, ["participants"]) => Route::List,
        ("GET", _, ["participants", _]) => Route::Entry,
        ("GET", _, ["operations", _]) => Route::Operation,
        _ => Route::Other,
    };
    (route, call)
}

/// What Graph answers when the script says nothing.
fn usual(route: Route) -> Reply {
    match route {
        Route::Token => Reply::new(
            200,
            r#"{"token_type":"Bearer","expires_in":3599,"access_token":"a-token-of-the-scripted-graph"}"#,
        ),
        Route::Create => Reply::json(
            201,
            &json!({"id": "$call", "state": "establishing", "direction": "outgoing",
                "callbackUri": "https://elsewhere/", "unheardOf": 7}),
        ),
        Route::Read => Reply::json(
            200,
            &json!({"id": "$call", "state": "established", "myParticipantId": "me"}),
        ),
        Route::Delete => Reply::new(204, ""),
        Route::Answer | Route::Reject => Reply::new(202, ""),
        Route::KeepAlive => Reply::new(200, ""),
        Route::Mute | Route::Unmute | Route::Operation => Reply::operation("completed"),
        Route::List => {
            let human = json!({"id": "human", "isMuted": false, "isInLobby": false, "info": {}});
            Reply::json(200, &json!({"value": [own_entry(), human]}))
        }
        Route::Entry => Reply::json(200, &own_entry()),
        Route::Other => Reply::error(400, "BadRequest", "nobody asks this"),
    }
}

async fn serve(stream: TcpStream, inner: Arc<Inner>) {
    // So that a connection given up is reset.
    stream.set_zero_linger().unwrap();
    let service = service_fn(|request| answer(request, &inner));
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // Resets that the script asked for, and clients that left.
    drop(served);
}

type Answer = Result<Response<BoxBody<Bytes, Broken>>, Broken>;

async fn answer(request: Request<Incoming>, inner: &Inner) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let (route, mut call) = route(&head.method, head.uri.path());
    let (at, reply, body) = {
        let mut script = inner.script.lock();
        script.clock += 1;
        let queued = script.once.get_mut(&route).and_then(VecDeque::pop_front);
        let always = || script.always.get(&route).cloned();
        let over = route == Route::Read && script.ended.contains(&call);
        let gone = || over.then(Reply::gone);
        let reply = queued.or_else(gone).or_else(always);
        let reply = reply.unwrap_or_else(|| usual(route));
        if route == Route::Create && reply.status == 201 {
            script.calls += 1;
            call = format!("call-{}", script.calls);
        }
        let mut operation = head
            .uri
            .path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let seen = Seen {
            route,
            line: format!("{} {}", head.method, head.uri.path()),
            call: call.clone(),
            query: head.uri.query().map(str::to_owned),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            received: script.clock,
            answered: None,
        };
        if matches!(route, Route::Mute | Route::Unmute) {
            script.operations += 1;
            operation = format!("op-{}", script.operations);
            seen.context().clone_into(&mut script.context);
        }
        let body = reply
            .body
            .replace("$call", &call)
            .replace("$op", &operation)
            .replace("$context", &script.context)
            .replace("\"$muted\"", word(script.muted));
        script.seen.push(seen);
        (script.seen.len() - 1, reply, body)
    };
    inner.progress.send_modify(|count| *count += 1);
    if let Some(gate) = &reply.gate {
        gate.passed().await;
    }
    if reply.way == Way::Silent {
        return std::future::pending().await;
    }
    {
        let mut script = inner.script.lock();
        script.clock += 1;
        script.seen[at].answered = Some(script.clock);
    }
    inner.progress.send_modify(|count| *count += 1);
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let body = match reply.way {
        Way::Reset => return Err(Broken),
        Way::Cut => BodyExt::boxed(Torn(Some(body.into()))),
        _ => http_body_util::Full::from(body)
            .map_err(|error: Infallible| match error {})
            .boxed(),
    };
    Ok(response.body(body).expect("the script's headers are good"))
}

/// The script wants the connection to break.
#[derive(Debug, thiserror::Error)]
#[error("as the script says")]
struct Broken;

/// A body that breaks after its first bytes.
struct Torn(Option<Bytes>);

impl Body for Torn {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let next = self.0.take().map(Frame::data).ok_or(Broken);
        std::task::Poll::Ready(Some(next))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(500)
    }
}
