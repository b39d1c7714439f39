//! The roads between engine and service. Everything that goes over them is seen, and at a chosen
//! point the engine is killed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use openmic_checker::{Answer, What};
use openmic_listen::{Limits, Listener, Running};
use openmic_model::CommandId;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::history::{Seen, action_of, context_of, now};

/// Where the engine is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    /// At no point of the protocol, but some time after the cycle began.
    Random,
    /// A bot was told `running`.
    Accepted,
    /// A POST is about to reach the service, which never sees it.
    Intent,
    /// A POST took effect, and its answer is lost.
    Posted,
    /// The answer to a POST is just back.
    Answered,
    /// A notification is about to come, and does not.
    Hook,
    /// Half of a notification is there.
    HalfHook,
    /// A notification was answered 202, and perhaps not applied.
    HookTaken,
    /// Somebody was told a verdict.
    Verdict,
    /// A create is about to reach the service, which never sees it.
    Create,
    /// A call was created, and the answer is lost.
    Created,
    /// While it starts, after having been killed at random.
    Startup,
    /// While it drains, after SIGTERM.
    Drain,
}

impl Point {
    pub(crate) const ALL: [Self; 13] = [
        Self::Random,
        Self::Accepted,
        Self::Intent,
        Self::Posted,
        Self::Answered,
        Self::Hook,
        Self::HalfHook,
        Self::HookTaken,
        Self::Verdict,
        Self::Create,
        Self::Created,
        Self::Startup,
        Self::Drain,
    ];
}

/// The process to be killed, and when.
#[derive(Debug, Default)]
pub(crate) struct Trap {
    /// The point, and how often it may yet be passed.
    set: Mutex<Option<(Point, u64)>>,
    child: Mutex<Option<std::process::Child>>,
    /// When it was killed, as long as there is no other.
    died: Mutex<Option<u64>>,
    /// How often it sprang.
    pub(crate) sprung: AtomicU32,
    seen: Seen,
}

impl Trap {
    pub(crate) fn new(seen: Seen) -> Self {
        Self {
            seen,
            ..Self::default()
        }
    }

    pub(crate) fn set(&self, point: Point, passes: u64) {
        *self.set.lock().unwrap() = Some((point, passes));
    }

    pub(crate) fn hold(&self, child: std::process::Child) {
        *self.died.lock().unwrap() = None;
        *self.child.lock().unwrap() = Some(child);
    }

    /// The process passes `point`: true when it is dead now.
    pub(crate) fn passes(&self, point: Point) -> bool {
        let mut set = self.set.lock().unwrap();
        match &mut *set {
            Some((at, 0)) if *at == point => *set = None,
            Some((at, passes)) if *at == point => {
                *passes -= 1;
                return false;
            }
            _ => return false,
        }
        self.sprung.fetch_add(1, Ordering::Relaxed);
        // Before anybody else may set it or forget it, or it might kill the next process.
        self.kill_held();
        true
    }

    /// SIGKILL, now, unless it is dead already.
    pub(crate) fn kill(&self) {
        self.kill_held();
        *self.set.lock().unwrap() = None;
    }

    fn kill_held(&self) {
        let mut child = self.child.lock().unwrap();
        if let Some(mut process) = child.take() {
            let died = now();
            *self.died.lock().unwrap() = Some(died);
            self.seen.note_at(died, "*", What::Crashed { kept: 0 });
            process.kill().expect("it is ours");
            process.wait().expect("it is ours");
        }
    }

    /// How the process ended that nobody killed.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap();
        child.as_mut()?.try_wait().expect("it is ours")
    }

    /// SIGTERM.
    pub(crate) fn ask_to_end(&self) {
        if let Some(process) = &*self.child.lock().unwrap() {
            let pid = i32::try_from(process.id()).ok();
            let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
            let term = rustix::process::Signal::TERM;
            rustix::process::kill_process(pid, term).expect("it is ours");
        }
    }

    fn died(&self) -> Option<u64> {
        *self.died.lock().unwrap()
    }
}

/// What both roads know.
struct Shared {
    trap: Arc<Trap>,
    seen: Seen,
    http: reqwest::Client,
    /// The own participant of a call, by the call.
    own: Mutex<BTreeMap<String, String>>,
    queries: AtomicU32,
    service: SocketAddr,
    engine: SocketAddr,
}

/// Two servers between engine and service.
pub(crate) struct Road {
    graph: Running,
    hooks: Running,
}

impl Road {
    /// `service` is where the calling service will listen, `engine` where the engine.
    pub(crate) fn open(
        service: SocketAddr,
        engine: SocketAddr,
        trap: Arc<Trap>,
        seen: Seen,
    ) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            trap,
            seen,
            http,
            own: Mutex::default(),
            queries: AtomicU32::new(0),
            service,
            engine,
        });
        let serve = |router: Router| {
            let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
            listener.serve(router, Limits::default())
        };
        let graph = Router::new()
            .fallback(graph)
            .with_state(Arc::clone(&shared));
        let hooks = Router::new().fallback(hook).with_state(shared);
        Self {
            graph: serve(graph),
            hooks: serve(hooks),
        }
    }

    /// What the engine reaches the service by.
    pub(crate) fn graph(&self) -> String {
        format!("http://{}", self.graph.local_addr())
    }

    /// What the service reaches the engine by.
    pub(crate) fn hooks(&self) -> String {
        format!("http://{}", self.hooks.local_addr())
    }
}

/// A request that was read whole.
struct Whole {
    method: http::Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Whole {
    async fn of(request: Request) -> Option<Self> {
        let (parts, body) = request.into_parts();
        Some(Self {
            method: parts.method,
            path: parts.uri.path_and_query()?.as_str().to_owned(),
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.ok()?,
        })
    }

    async fn forward(
        &self,
        http: &reqwest::Client,
        to: SocketAddr,
    ) -> Result<(StatusCode, HeaderMap, Bytes), reqwest::Error> {
        let url = format!("http://{to}{}", self.path);
        let mut headers = self.headers.clone();
        for name in [
            header::HOST,
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
        ] {
            headers.remove(name);
        }
        let request = http.request(self.method.clone(), url).headers(headers);
        let answer = request.body(self.body.clone()).send().await?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for name in [
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
        ] {
            headers.remove(name);
        }
        Ok((status, headers, answer.bytes().await?))
    }

    /// The call and what comes behind it: `.../calls/{call}/{rest}`.
    fn place(&self) -> Option<(&str, &str)> {
        let path = self.path.split('?').next().unwrap_or_default();
        let rest = path.split_once("/calls/")?.1;
        Some(rest.split_once('/').unwrap_or((rest, "")))
    }

    fn creates(&self) -> bool {
        self.method == http::Method::POST
            && (self.path.ends_with("/calls") || self.path.ends_with("/calls/"))
    }
}

/// Nobody will read it: whoever asked is dead.
fn nobody() -> Response {
    StatusCode::BAD_GATEWAY.into_response()
}

/// A POST whose sender hears no answer: it is dead, or gave up.
struct Unheard {
    seen: Seen,
    post: Option<(String, CommandId, u8)>,
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some((call, lead, number)) = self.post.take() {
            let what = What::Answered {
                lead,
                number,
                answer: Answer::Ambiguous,
            };
            self.seen.note(&call, what);
        }
    }
}

/// A request of the engine to the service.
async fn graph(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(request) = Whole::of(request).await else {
        return nobody();
    };
    let creates = request.creates();
    let acts = request
        .place()
        .filter(|_| request.method == http::Method::POST)
        .and_then(|(call, rest)| {
            let action = action_of(rest.trim_start_matches("microsoft.graph."))?;
            let body: Value = serde_json::from_slice(&request.body).ok()?;
            let (lead, number) = context_of(&body["clientContext"])?;
            Some((call.to_owned(), lead, number, action))
        });
    let asks = request
        .place()
        .filter(|(_, rest)| request.method == http::Method::GET && rest.starts_with("participants"))
        .map(|(call, _)| {
            (
                call.to_owned(),
                shared.queries.fetch_add(1, Ordering::Relaxed),
            )
        });
    if let Some((call, lead, number, action)) = &acts {
        let what = What::Sent {
            lead: *lead,
            number: *number,
            action: *action,
        };
        // it was sent by then, though it arrives only now
        let at = shared.trap.died().map_or_else(now, |died| died - 1);
        shared.seen.note_at(at, call, what);
        if shared.trap.passes(Point::Intent) {
            return nobody();
        }
    }
    let mut unheard = acts.as_ref().map(|(call, lead, number, _)| Unheard {
        seen: shared.seen.clone(),
        post: Some((call.clone(), *lead, *number)),
    });
    if creates && shared.trap.passes(Point::Create) {
        return nobody();
    }
    if let Some((call, query)) = &asks {
        shared.seen.note(call, What::Asked { query: *query });
    }
    let Ok((status, headers, body)) = request.forward(&shared.http, shared.service).await else {
        return nobody();
    };
    let told: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if let Some((call, lead, number, _)) = &acts {
        if shared.trap.passes(Point::Posted) {
            return nobody();
        }
        // Whoever is dead hears nothing, though its service answers.
        let heard = match shared.trap.died() {
            None => answer(status, &told),
            Some(_) => Answer::Ambiguous,
        };
        let what = What::Answered {
            lead: *lead,
            number: *number,
            answer: heard,
        };
        shared.seen.note(call, what);
        if let Some(unheard) = &mut unheard {
            unheard.post = None;
        }
        let trap = Arc::clone(&shared.trap);
        tokio::spawn(async move {
            // the answer is on its way meanwhile
            tokio::task::yield_now().await;
            trap.passes(Point::Answered);
        });
    }
    if creates && status == StatusCode::CREATED {
        let word = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        let mut own = shared.own.lock().unwrap();
        own.insert(word("id"), word("myParticipantId"));
        drop(own);
        if shared.trap.passes(Point::Created) {
            return nobody();
        }
    }
    if let Some((call, query)) = asks {
        let me = shared.own.lock().unwrap().get(&call).cloned();
        let muted = me.and_then(|me| own_entry(&told, &me)?["isMuted"].as_bool());
        shared.seen.note(&call, What::Showed { query, muted });
    }
    (status, headers, body).into_response()
}

/// The entry of `me` in a list of participants, or the one that was asked for.
fn own_entry<'a>(told: &'a Value, me: &str) -> Option<&'a Value> {
    match told["value"].as_array() {
        Some(all) => all.iter().find(|entry| entry["id"] == me),
        None => (told["id"] == me).then_some(told),
    }
}

fn answer(status: StatusCode, told: &Value) -> Answer {
    let state = told["status"].as_str().unwrap_or_default();
    match status.as_u16() {
        200..300 if state.eq_ignore_ascii_case("failed") => Answer::Failed,
        200..300 if state.eq_ignore_ascii_case("completed") => Answer::Completed,
        200..300 => Answer::Running,
        404 => Answer::Gone,
        429 | 503 => Answer::Throttled { after: None },
        500..600 => Answer::Ambiguous,
        _ => Answer::Refused,
    }
}

/// A notification of the service to the engine.
async fn hook(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(request) = Whole::of(request).await else {
        return nobody();
    };
    if shared.trap.passes(Point::Hook) {
        return nobody();
    }
    if shared.trap.is_set(Point::HalfHook) {
        half(&request, shared.engine).await;
        if shared.trap.passes(Point::HalfHook) {
            return nobody();
        }
    }
    match request.forward(&shared.http, shared.engine).await {
        Ok((status, headers, body)) => {
            if status == StatusCode::ACCEPTED && shared.trap.passes(Point::HookTaken) {
                return nobody();
            }
            (status, headers, body).into_response()
        }
        Err(_) => nobody(),
    }
}

/// Sends a notification up to the middle of its body, on a connection of its own that breaks then.
async fn half(request: &Whole, engine: SocketAddr) {
    let Ok(mut socket) = TcpStream::connect(engine).await else {
        return;
    };
    let mut text = format!("POST {} HTTP/1.1\r\nhost: {engine}\r\n", request.path);
    for (name, value) in &request.headers {
        if ![header::HOST, header::CONTENT_LENGTH, header::CONNECTION].contains(name) {
            let value = value.to_str().unwrap_or_default();
            write!(text, "{name}: {value}\r\n").expect("a String takes all");
        }
    }
    let length = request.body.len();
    write!(text, "content-length: {length}\r\n\r\n").expect("a String takes all");
    let body = &request.body[..request.body.len() / 2];
    if socket.write_all(text.as_bytes()).await.is_ok() {
        socket.write_all(body).await.ok();
    }
}

impl Trap {
    /// Whether the next pass of `point` kills.
    fn is_set(&self, point: Point) -> bool {
        matches!(*self.set.lock().unwrap(), Some((at, _)) if at == point)
    }
}
