//! A POST that comes again gets the first answer.
//!
//! A POST of the Graph surface comes again when it has the `Idempotency-Key` of an earlier one, or,
//! as SDK middlewares repeat it, its `client-request-id` and a `Retry-Attempt`. In both cases the
//! caller, the call, the path and the body must be the same. The repeat of one that still runs
//! waits for it. A first one with such a header runs to its end also when its client goes away.
//!
//! Not kept, because nothing was accepted and coming again is what they ask for: 429 and 503; a
//! request that could not be read (408, 413, 415); roles or credentials that are lacking (403 with
//! 75xx); and 502 where Graph could not be reached. Not kept either: what the gate refused, since it
//! has no caller or no call. Every other refusal is the answer, also to a repeat: a mute or unmute
//! that Graph refused must not take effect when an old request comes again.
//!
//! Bounds: [`Bounds`]. When they are reached the answers that were finished first go, and their
//! repeats count as new; one that runs is never dropped. While all of it runs, a further one is
//! refused by 503, so that nothing runs that could be repeated by mistake. Nothing is kept longer
//! than [`KEPT`]. What is not found here is looked for in the journal, where there is one
//! (`durable.rs`), so that a repeat gets the first answer after a restart too.

mod durable;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use openmic_model::{AppId, CallId, TenantId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::answer::{Answer, Refusal};
use crate::attend::client_request_id;
use crate::body::{self, MAX_REQUEST};
use crate::metrics::{EdgeMetrics, Replay};
use crate::prefer;
use durable::{Asked, Kind};

pub(crate) use durable::Durable;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
const IDEMPOTENT_REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");
/// What of an answer's header is repeated.
const REPEATED: [HeaderName; 3] = [
    CONTENT_TYPE,
    LOCATION,
    HeaderName::from_static("preference-applied"),
];

/// Longest key, in bytes.
const MAX_KEY: usize = 128;

/// How long a finished answer is kept.
pub(crate) const KEPT: Duration = Duration::from_hours(24);

/// What a record costs besides its texts, roughly.
const OVERHEAD: usize = 512;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Requests, running ones included.
    pub(crate) records: usize,
    /// Bytes of all of them. A single answer may be larger; then it is alone.
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            records: 65_536,
            bytes: 64 * 1024 * 1024,
        }
    }
}

/// What makes two requests the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) tenant: TenantId,
    pub(crate) app: AppId,
    /// Of the path; none for a create.
    pub(crate) call: Option<CallId>,
    pub(crate) key: Key,
    /// Of path and body, once it is read, where the key does not stand for them.
    print: Option<Print>,
}

/// SHA-256 of path and body.
type Print = [u8; 32];

impl Scope {
    pub(crate) fn new(tenant: TenantId, app: AppId, call: Option<CallId>, key: Key) -> Self {
        Self {
            tenant,
            app,
            call,
            key,
            print: None,
        }
    }

    /// Requests under one `client-request-id` that differ are apart: each has its repeats.
    fn printed(mut self, print: Print) -> Self {
        self.print = matches!(self.key, Key::Request(_)).then_some(print);
        self
    }
}

/// By what a caller names a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// `Idempotency-Key`: meant to be unique, so another body under it is a mistake.
    Idempotency(Box<str>),
    /// `client-request-id`: some callers send the same with everything, so it counts only where a
    /// middleware says that it repeats.
    Request(Box<str>),
}

/// How a request is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) key: Key,
    /// It says itself that it is a repeat.
    pub(crate) repeat: bool,
}

impl Named {
    /// Reads the headers; `None` when the request has no name and can never be known again.
    ///
    /// # Errors
    /// A refusal when `Idempotency-Key` is not one text of 1 to 128 printable ASCII characters.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
        if let Some(key) = keys.next() {
            let printable = |byte: &u8| (0x20..0x7f).contains(byte);
            let bytes = key.as_bytes();
            let good = (1..=MAX_KEY).contains(&bytes.len()) && bytes.iter().all(printable);
            let text = key.to_str().ok().filter(|_| good && keys.next().is_none());
            let text = text.ok_or_else(|| {
                Refusal::bad_request(
                    "Idempotency-Key is not one text of 1 to 128 printable ASCII characters. Send \
                     a GUID, the same one for each try of one request.",
                )
            })?;
            return Ok(Some(Self {
                key: Key::Idempotency(text.into()),
                repeat: true,
            }));
        }
        Ok(client_request_id(headers).map(|id| Self {
            key: Key::Request(id.into()),
            repeat: headers.get(RETRY_ATTEMPT).is_some_and(|value| {
                let attempt = value
                    .to_str()
                    .ok()
                    .and_then(|text| text.parse::<u32>().ok());
                attempt.is_some_and(|attempt| attempt > 0)
            }),
        }))
    }
}

/// An answer that can be given again.
#[derive(Debug, Clone)]
struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// What the envelope is made of; each repeat has a `request-id` of its own in it.
    refusal: Option<Refusal>,
    /// It was given before a restart.
    again: bool,
    /// Another try may have another answer.
    fleeting: bool,
}

impl Kept {
    async fn of(response: Response) -> Self {
        let (mut parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let mut headers = HeaderMap::new();
        for name in REPEATED {
            if let Some(value) = parts.headers.remove(&name) {
                headers.insert(name, value);
            }
        }
        match body {
            Ok(body) => Self {
                status: parts.status,
                headers,
                body,
                refusal: parts.extensions.remove::<Refusal>(),
                again: false,
                fleeting: false,
            },
            Err(error) => {
                tracing::error!(%error, "an answer could not be kept");
                Self::broken()
            }
        }
    }

    fn broken() -> Self {
        Self::refused(Refusal::internal())
    }

    fn refused(refusal: Refusal) -> Self {
        Self {
            status: refusal.status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            refusal: Some(refusal),
            again: false,
            fleeting: false,
        }
    }

    fn fleeting(refusal: Refusal) -> Self {
        Self {
            fleeting: true,
            ..Self::refused(refusal)
        }
    }

    /// Whether nothing was accepted and the caller was told to come again, or to mend first what
    /// is not in path and body.
    fn asks_to_come_again(&self) -> bool {
        let code = self.refusal.as_ref().map_or("", |refusal| &refusal.code);
        match self.status.as_u16() {
            408 | 413 | 415 | 429 | 503 => true,
            403 => code.starts_with("75"),
            502 => code == "serviceNotAvailable",
            _ => false,
        }
    }

    fn bytes(&self) -> usize {
        let headers = self.headers.values().map(HeaderValue::len);
        let refusal = self.refusal.as_ref();
        let words = refusal.map_or(0, |refusal| refusal.code.len() + refusal.message.len());
        headers.sum::<usize>() + self.body.len() + words
    }

    fn into_response(self, again: bool) -> Response {
        let mut response = match self.refusal {
            Some(refusal) => refusal.into_response(),
            None => (self.status, Body::from(self.body)).into_response(),
        };
        response.headers_mut().extend(self.headers);
        if again || self.again {
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert(IDEMPOTENT_REPLAY, yes);
        }
        response
    }
}

/// The first requests and their answers.
#[derive(Debug)]
pub(crate) struct Replays {
    store: Mutex<Store>,
    metrics: EdgeMetrics,
    durable: Option<Durable>,
}

#[derive(Debug)]
struct Store {
    bounds: Bounds,
    records: HashMap<Arc<Scope>, Record>,
    /// Finished ones, by when they finished.
    finished: BTreeMap<u64, Arc<Scope>>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Record {
    print: Print,
    answer: watch::Receiver<Option<Kept>>,
    /// Tells it from an earlier one of the same scope.
    number: u64,
    bytes: usize,
    /// Its place in `finished`, and since when.
    done: Option<(u64, Instant)>,
}

/// What a request is to the store.
enum Turn {
    First {
        number: u64,
        answer: watch::Sender<Option<Kept>>,
    },
    Again(watch::Receiver<Option<Kept>>),
    /// Another request has this key.
    Mismatch,
    Full,
}

impl Store {
    fn turn(&mut self, scope: &Arc<Scope>, named: &Named, print: Print, now: Instant) -> Turn {
        self.forget_old(now);
        if let Some(record) = self.records.get(scope) {
            match named.key {
                _ if named.repeat && record.print == print => {
                    return Turn::Again(record.answer.clone());
                }
                Key::Idempotency(_) => return Turn::Mismatch,
                // The same request anew: the newest is what a middleware repeats.
                Key::Request(_) => self.forget(scope),
            }
        }
        while self.records.len() >= self.bounds.records {
            if !self.forget_oldest() {
                return Turn::Full;
            }
        }
        let (sender, answer) = watch::channel(None);
        self.next += 1;
        let bytes = OVERHEAD
            + match &scope.key {
                Key::Idempotency(text) | Key::Request(text) => text.len(),
            };
        self.bytes += bytes;
        let record = Record {
            print,
            answer,
            number: self.next,
            bytes,
            done: None,
        };
        self.records.insert(Arc::clone(scope), record);
        Turn::First {
            number: self.next,
            answer: sender,
        }
    }

    fn finish(&mut self, scope: &Arc<Scope>, number: u64, kept: &Kept, now: Instant) {
        let Some(record) = self.records.get_mut(scope) else {
            return;
        };
        if record.number != number {
            return;
        }
        if kept.fleeting || kept.asks_to_come_again() {
            self.forget(scope);
            return;
        }
        self.next += 1;
        record.done = Some((self.next, now));
        record.bytes += kept.bytes();
        self.bytes += kept.bytes();
        self.finished.insert(self.next, Arc::clone(scope));
        while self.bytes > self.bounds.bytes && self.finished.len() > 1 {
            self.forget_oldest();
        }
    }

    fn forget(&mut self, scope: &Arc<Scope>) {
        if let Some(record) = self.records.remove(scope) {
            self.bytes -= record.bytes;
            if let Some((place, _)) = record.done {
                self.finished.remove(&place);
            }
        }
    }

    /// False when there is none that is finished.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self.finished.values().next().map(Arc::clone);
        if let Some(scope) = &oldest {
            self.forget(scope);
        }
        oldest.is_some()
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(scope) = self.finished.values().next().map(Arc::clone) {
            let done = self.records.get(&scope).and_then(|record| record.done);
            if done.is_some_and(|(_, since)| now.saturating_duration_since(since) < KEPT) {
                return;
            }
            self.forget(&scope);
        }
    }
}

impl Replays {
    pub(crate) fn new(bounds: Bounds, metrics: EdgeMetrics, durable: Option<Durable>) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(Store {
                bounds,
                records: HashMap::new(),
                finished: BTreeMap::new(),
                bytes: 0,
                next: 0,
            }),
            metrics,
            durable,
        })
    }

    /// Runs the request by `next`, or gives the answer that its first try got or will get.
    pub(crate) async fn once(
        self: &Arc<Self>,
        scope: Scope,
        named: Named,
        request: Request,
        next: Next,
    ) -> Answer {
        let (mut parts, body) = request.into_parts();
        let body = body::read(body, MAX_REQUEST).await?;
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let print = print(path, &body);
        let scope = Arc::new(scope.printed(print));
        let turn = {
            let mut store = self.store.lock();
            let turn = store.turn(&scope, &named, print, Instant::now());
            self.show(&store);
            turn
        };
        let (number, sender) = match turn {
            Turn::First { number, answer } => (number, answer),
            Turn::Again(answer) => return self.again(answer).await,
            Turn::Mismatch => {
                self.metrics.replayed(Replay::Mismatch);
                return Err(mismatch());
            }
            Turn::Full => {
                self.metrics.replayed(Replay::Full);
                return Err(Refusal::unavailable(
                    "As many requests run as are remembered for their repeats. Nothing was done.",
                    Duration::from_secs(5),
                ));
            }
        };
        let mut answer = sender.subscribe();
        let asked = asked(&parts, &scope, print);
        parts.extensions.insert(asked.repeat);
        let request = Request::from_parts(parts, Body::from(body));
        let replays = Arc::clone(self);
        let keep = async move {
            let kept = replays.answer(&asked, &named, request, next).await;
            {
                let mut store = replays.store.lock();
                store.finish(&scope, number, &kept, Instant::now());
                replays.show(&store);
            }
            sender.send_replace(Some(kept));
        };
        // On its own, so that it goes on when this client goes away.
        tokio::spawn(keep.in_current_span());
        Ok(finished(&mut answer).await.into_response(false))
    }

    /// What the journal knows of an earlier request, else what `next` answers; kept there where only
    /// that tells it after a restart.
    async fn answer(&self, asked: &Asked, named: &Named, request: Request, next: Next) -> Kept {
        if let Some(durable) = self.durable.as_ref().filter(|_| named.repeat)
            && let Some(kept) = durable.earlier(asked).await
        {
            let mismatch = kept.status == StatusCode::UNPROCESSABLE_ENTITY && kept.fleeting;
            self.metrics.replayed(if mismatch {
                Replay::Mismatch
            } else {
                Replay::Replayed
            });
            return kept;
        }
        self.metrics.replayed(Replay::First);
        if let Some(durable) = &self.durable
            && let Err(refusal) = durable.begin(asked).await
        {
            return Kept::fleeting(refusal);
        }
        let kept = match tokio::spawn(next.run(request).in_current_span()).await {
            Ok(response) => Kept::of(response).await,
            Err(error) => {
                tracing::error!(%error, "a handler panicked; its message is on standard error");
                Kept::broken()
            }
        };
        if let Some(durable) = &self.durable {
            durable.end(asked, &kept).await;
        }
        kept
    }

    /// The answer to a repeat, where there was a first; for requests that the gate refuses now,
    /// such as for a call that is gone.
    pub(crate) async fn earlier(
        &self,
        scope: Scope,
        named: &Named,
        request: Request,
    ) -> Option<Answer> {
        if !named.repeat {
            return None;
        }
        let (parts, body) = request.into_parts();
        let body = body::read(body, MAX_REQUEST).await.ok()?;
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let print = print(path, &body);
        let scope = scope.printed(print);
        let answer = {
            let store = self.store.lock();
            let record = store.records.get(&scope);
            let record = record.filter(|record| record.print == print);
            record.map(|record| record.answer.clone())
        };
        if let Some(answer) = answer {
            return Some(self.again(answer).await);
        }
        let asked = asked(&parts, &scope, print);
        let kept = self.durable.as_ref()?.earlier(&asked).await?;
        self.metrics.replayed(Replay::Replayed);
        Some(Ok(kept.into_response(false)))
    }

    async fn again(&self, mut answer: watch::Receiver<Option<Kept>>) -> Answer {
        let runs = answer.borrow().is_none();
        self.metrics.replayed(if runs {
            Replay::Joined
        } else {
            Replay::Replayed
        });
        Ok(finished(&mut answer).await.into_response(true))
    }

    fn show(&self, store: &Store) {
        self.metrics.replay_records(store.records.len());
    }
}

/// Another request had the key.
fn mismatch() -> Refusal {
    Refusal::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_mismatch",
        "Another request had this Idempotency-Key, with another path or body. Nothing was done. \
         Send the first one unchanged, or use a new key.",
    )
}

/// What the journal is to be asked.
fn asked(parts: &Parts, scope: &Scope, print: Print) -> Asked {
    Asked {
        kind: Kind::of(parts.uri.path()),
        repeat: durable::repeat_of(scope, print),
        base: parts.extensions.get().cloned(),
        patience: prefer::patience(&parts.headers).map(|patience| patience.limit),
    }
}

async fn finished(answer: &mut watch::Receiver<Option<Kept>>) -> Kept {
    let kept = answer.wait_for(Option::is_some).await;
    let kept = kept.ok().and_then(|kept| kept.clone());
    // The sender goes without a word only when the runtime ends.
    kept.unwrap_or_else(Kept::broken)
}

fn print(path: &str, body: &[u8]) -> Print {
    let mut context = Context::new(&SHA256);
    context.update(&path.len().to_be_bytes());
    context.update(path.as_bytes());
    context.update(body);
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

#[cfg(test)]
mod tests;
