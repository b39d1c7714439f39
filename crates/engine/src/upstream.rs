//! Requests to Graph and what their results mean to the machine. The only place that knows the
//! graph client.

use std::time::Duration;

use openmic_graph::{ActError, GraphClient, Refusal as GraphRefusal, RequestError};
use openmic_machine::{Ack, Event, PostOutcome, Read, Refusal};
use openmic_model::{
    Action, CallFacts, CallId, CallKind, ClientContext, Operation, OperationId, Participant,
    ParticipantId,
};
use openmic_wire::answer::{AnswerCall, RejectCall};
use openmic_wire::create::{CreateCall, MediaConfig};
use openmic_wire::errand::{Body, Errand, Place};
use openmic_wire::operation;
use openmic_wire::resource::Resource;
use serde_json::Value;
use tokio::time::Instant;

use crate::actor::Done;
use crate::errand::Passed;
use crate::join::{Created, JoinError};

/// A request with its repeats. The graph client's own limit for one try is shorter.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// A create may take longer: Graph sets a meeting leg up.
const CREATE_PATIENCE: Duration = Duration::from_secs(20);

/// What Graph answered to a request that was passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}, {code}: {message}")]
pub struct UpstreamError {
    /// HTTP status to pass on; 502 and 504 when there was no usable answer.
    pub status: u16,
    /// Graph's error code.
    pub code: String,
    /// For people.
    pub message: String,
    /// `Retry-After`, when Graph throttled.
    pub retry_after: Option<Duration>,
}

/// The graph client, in the machine's words.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    client: GraphClient,
    /// The next create, mute or unmute panics.
    #[cfg(test)]
    pub(crate) broken: std::sync::Arc<std::sync::atomic::AtomicBool>,
    /// A simulated Graph in the place of the client.
    #[cfg(test)]
    pub(crate) line: Option<crate::tests::shell::Line>,
}

impl Upstream {
    pub(crate) fn new(client: GraphClient) -> Self {
        Self {
            client,
            #[cfg(test)]
            broken: std::sync::Arc::default(),
            #[cfg(test)]
            line: None,
        }
    }

    /// With a simulated Graph in the place of the client, when there is one.
    #[cfg(test)]
    pub(crate) fn over(self, line: Option<crate::tests::shell::Line>) -> Self {
        Self { line, ..self }
    }

    /// Waits until nothing holds requests back.
    pub(crate) async fn unhindered(&self) {
        self.client.unhindered().await;
    }

    #[cfg(test)]
    fn trip(&self) {
        let broken = self
            .broken
            .swap(false, std::sync::atomic::Ordering::Relaxed);
        assert!(!broken, "a test asked for it");
    }

    pub(crate) async fn create(
        &self,
        body: Box<CreateCall>,
    ) -> Result<(Created, Event), (JoinError, Event)> {
        #[cfg(test)]
        self.trip();
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.create(&body).await.map_err(not_begun);
        }
        let kind = body.kind();
        match self.client.create_call(&body, soon(CREATE_PATIENCE)).await {
            Ok(created) => {
                let answer = created.answer;
                let raw = match serde_json::from_slice(&created.body) {
                    Ok(Value::Object(raw)) => raw,
                    _ => serde_json::Map::new(),
                };
                let event = Event::Created {
                    facts: answer.facts,
                    kind,
                };
                Ok((
                    Created {
                        id: answer.id,
                        media_blob: answer.media_blob,
                        raw,
                    },
                    event,
                ))
            }
            Err(error) => Err(not_begun(hiding(error, Some(body.callback_uri())))),
        }
    }

    /// Answers a call that rings.
    pub(crate) async fn answer(&self, call: &CallId, body: &AnswerCall, kind: CallKind) -> Done {
        #[cfg(test)]
        self.trip();
        match self.client.answer_call(call, body, soon(PATIENCE)).await {
            Ok(()) if matches!(body.media(), MediaConfig::AppHosted { .. }) => {
                Done::Created(Ok(self.read_answered(call, kind).await))
            }
            Ok(()) => Done::Created(Ok(answered(call.clone(), kind))),
            Err(error) if error.had_no_effect() => {
                let error = hiding(error, body.callback_uri());
                Done::Created(Err(not_begun(error)))
            }
            Err(error) => answer_lost(kind, &chain(&error)),
        }
    }

    /// What an answer to create would have told of a call that was answered.
    pub(crate) async fn read_answered(&self, call: &CallId, kind: CallKind) -> (Created, Event) {
        let (mut created, event) = answered(call.clone(), kind);
        let read = self.raw(&Resource::Call(call.clone()), None).await;
        match read {
            Ok(Value::Object(raw)) => {
                let media = openmic_wire::call::from_object(&raw);
                created.media_blob = media.ok().and_then(|answer| answer.media_blob);
                created.raw = raw;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "an answered call could not be read"),
        }
        (created, event)
    }

    /// Turns a call down that rings.
    pub(crate) async fn reject(&self, call: &CallId, how: &RejectCall) -> Result<(), JoinError> {
        let rejected = self.client.reject_call(call, how, soon(PATIENCE)).await;
        rejected.map_err(|error| not_begun(error).0)
    }

    /// Sends a mute or unmute, unless it is too late: what waited for its record beyond `until`
    /// is not what anybody expects any more.
    pub(crate) async fn post(
        &self,
        call: &CallId,
        action: Action,
        context: &ClientContext,
        until: Instant,
    ) -> PostOutcome {
        #[cfg(test)]
        self.trip();
        if until <= Instant::now() {
            tracing::warn!("a POST waited too long for its record; it is not sent");
            return PostOutcome::NotSent;
        }
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.post(call, action, context, until).await;
        }
        match self.client.act(call, action, context, until).await {
            Ok(operation) => PostOutcome::Answered(operation),
            Err(ActError::Refused(said)) => PostOutcome::Refused(refusal(&said)),
            Err(ActError::Gone) => PostOutcome::Gone,
            Err(ActError::Throttled {
                refusal: said,
                retry_after,
            }) => PostOutcome::Throttled {
                after: retry_after,
                refusal: refusal(&said),
            },
            Err(ActError::NotSent(cause)) => {
                tracing::debug!(error = chain(&cause), "not sent");
                PostOutcome::NotSent
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "no usable answer to the POST");
                PostOutcome::Ambiguous
            }
        }
    }

    pub(crate) async fn operation(&self, call: &CallId, id: &OperationId) -> Read<Operation> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.operation(call, id).await;
        }
        found(self.client.operation(call, id, soon(PATIENCE)).await)
    }

    pub(crate) async fn own_entry(
        &self,
        call: &CallId,
        me: &ParticipantId,
    ) -> Read<Box<Participant>> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.own_entry(call, me).await;
        }
        let read = self.client.participant(call, me, soon(PATIENCE)).await;
        found(read.map(|entry| entry.map(Box::new)))
    }

    pub(crate) async fn roster(&self, call: &CallId) -> Read<Vec<Participant>> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.roster(call).await;
        }
        match self.client.participants(call, soon(PATIENCE)).await {
            Ok(listing) if listing.complete => Read::Found(listing.participants),
            // A part of the roster would read as everybody else having left.
            Ok(_) => Read::Failed,
            Err(error) => failed(&error),
        }
    }

    pub(crate) async fn call(&self, call: &CallId) -> Read<CallFacts> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.call(call).await;
        }
        match self.client.get_call(call, soon(PATIENCE)).await {
            Ok(answer) => Read::Found(answer.facts),
            Err(error) => failed(&error),
        }
    }

    pub(crate) async fn hang_up(&self, call: &CallId) -> Ack {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.hang_up(call).await;
        }
        ack(&self.client.delete_call(call, soon(PATIENCE)).await)
    }

    pub(crate) async fn keep_alive(&self, call: &CallId) -> Result<(), RequestError> {
        #[cfg(test)]
        if let Some(line) = &self.line {
            return line.keep_alive(call).await;
        }
        self.client.keep_alive(call, soon(PATIENCE)).await
    }

    /// A GET passed through with whatever members it has.
    pub(crate) async fn raw(
        &self,
        resource: &Resource,
        query: Option<&str>,
    ) -> Result<Value, UpstreamError> {
        let raw = self.client.get_raw(resource, query, soon(PATIENCE)).await?;
        if !(200..300).contains(&raw.status) {
            return Err(refused(&raw));
        }
        serde_json::from_slice(&raw.body).map_err(|_| UpstreamError {
            status: 502,
            code: "UnknownError".to_owned(),
            message: "Graph's answer is no JSON.".to_owned(),
            retry_after: None,
        })
    }

    /// An errand passed on. The error of one that may have taken effect is a 502: on 429, 503 and
    /// 504 a middleware would send it again.
    pub(crate) async fn errand(
        &self,
        errand: Errand,
        place: &Place,
        body: Option<&Body>,
        beta: bool,
    ) -> Result<Passed, UpstreamError> {
        let sent = self
            .client
            .errand(errand, place, body, beta, soon(PATIENCE));
        let ours = match errand {
            Errand::Redirect => body.and_then(Body::callback_uri),
            _ => None,
        };
        let raw = sent.await.map_err(|error| {
            let error = hiding(error, ours);
            let known = error.had_no_effect();
            let error = UpstreamError::from(error);
            if known {
                error
            } else {
                in_doubt(&error.message)
            }
        })?;
        if !(200..300).contains(&raw.status) {
            let mut error = refused(&raw);
            hide(&mut error.message, ours);
            return Err(error);
        }
        let body = match serde_json::from_slice(&raw.body) {
            _ if raw.body.trim_ascii().is_empty() => None,
            Ok(Value::Null) => None,
            Ok(Value::Object(body)) => Some(body),
            _ => return Err(in_doubt("Graph's answer is no JSON object")),
        };
        Ok(Passed {
            status: raw.status,
            resource: resource(place, raw.location.as_deref(), body.as_ref()),
            body,
        })
    }
}

/// What of the call an answer leads to: where its `Location` points, else to the operation that
/// it shows. What is somewhere else is not for the bot: its token is good here only.
fn resource(
    place: &Place,
    location: Option<&str>,
    body: Option<&serde_json::Map<String, Value>>,
) -> Option<Resource> {
    let call = match place {
        Place::Calls => return None,
        Place::Call(call) | Place::Participant(call, _) => call,
    };
    let named = location.map(Resource::parse);
    let ours = named.filter(|named| named.call() == Some(call) && named.path().is_some());
    ours.or_else(|| {
        let id = operation::from_object(body?).id?;
        Some(Resource::Operation(call.clone(), Some(id)))
    })
}

/// A definite no that came as an answer.
fn refused(raw: &openmic_graph::Raw) -> UpstreamError {
    let (code, message) = openmic_wire::error::decode(&raw.body).map_or_else(
        || {
            (
                "UnknownError".to_owned(),
                "Graph gave no reason.".to_owned(),
            )
        },
        |error| (error.code, error.message),
    );
    UpstreamError {
        status: raw.status,
        code,
        message,
        retry_after: None,
    }
}

/// Our callback is in no message: its key is the second factor of our webhook.
fn hiding(mut error: RequestError, ours: Option<&str>) -> RequestError {
    if let RequestError::Refused(refusal) | RequestError::Throttled { refusal, .. } = &mut error {
        hide(&mut refusal.message, ours);
    }
    error
}

fn hide(message: &mut String, ours: Option<&str>) {
    if let Some(ours) = ours.filter(|ours| !ours.is_empty()) {
        *message = message.replace(ours, "(the engine's callback)");
    }
}

fn in_doubt(reason: &str) -> UpstreamError {
    UpstreamError {
        status: 502,
        code: "generalException".to_owned(),
        message: format!(
            "{reason}. It may have taken effect: read the call, its participants or the \
             operation before you send it again."
        ),
        retry_after: None,
    }
}

/// What a failed create or answer means to whoever asked, and to the machine.
fn not_begun(error: RequestError) -> (JoinError, Event) {
    let definite = error.had_no_effect();
    let never_left = matches!(error, RequestError::NotSent(_));
    let UpstreamError {
        status,
        code,
        message,
        retry_after,
    } = UpstreamError::from(error);
    let refusal = Refusal::new(status, &code, &message);
    let join = if never_left {
        JoinError::NotSent { message }
    } else if definite {
        JoinError::Refused {
            status,
            code,
            message,
            retry_after,
        }
    } else {
        JoinError::Unknown { message }
    };
    (join, Event::CreateFailed { refusal, definite })
}

/// The 202 of an answer says nothing but itself.
pub(crate) fn answered(id: CallId, kind: CallKind) -> (Created, Event) {
    let created = Created {
        id,
        media_blob: None,
        raw: serde_json::Map::new(),
    };
    let facts = CallFacts::default();
    (created, Event::Created { facts, kind })
}

pub(crate) fn answer_lost(kind: CallKind, message: &str) -> Done {
    let refusal = Refusal::new(504, "timeout", message);
    let event = Event::CreateFailed {
        refusal,
        definite: false,
    };
    Done::AnswerLost(kind, event)
}

fn refusal(refusal: &GraphRefusal) -> Refusal {
    Refusal::new(refusal.status, &refusal.code, &refusal.message)
}

impl From<RequestError> for UpstreamError {
    fn from(error: RequestError) -> Self {
        let plain = |status: u16, code: &str, message: String| Self {
            status,
            code: code.to_owned(),
            message,
            retry_after: None,
        };
        match error {
            RequestError::Refused(refusal) => {
                plain(refusal.status, &refusal.code, refusal.message.clone())
            }
            RequestError::Gone => plain(404, "8522", "Call not found.".to_owned()),
            RequestError::Throttled {
                refusal,
                retry_after,
            } => Self {
                retry_after,
                ..plain(refusal.status, &refusal.code, refusal.message)
            },
            RequestError::NotSent(cause) => plain(502, "serviceNotAvailable", chain(&cause)),
            error => plain(
                504,
                "timeout",
                format!("Graph gave no usable answer: {}", chain(&error)),
            ),
        }
    }
}

fn found<T>(read: Result<Option<T>, RequestError>) -> Read<T> {
    match read {
        Ok(Some(value)) => Read::Found(value),
        Ok(None) => Read::Absent,
        Err(error) => failed(&error),
    }
}

fn failed<T>(error: &RequestError) -> Read<T> {
    if matches!(error, RequestError::Gone) {
        return Read::Gone;
    }
    tracing::debug!(error = chain(error), "a read failed");
    Read::Failed
}

pub(crate) fn ack(result: &Result<(), RequestError>) -> Ack {
    match result {
        Ok(()) => Ack::Done,
        Err(RequestError::Gone) => Ack::Gone,
        Err(error) => {
            tracing::debug!(error = chain(error), "a request failed");
            Ack::Failed
        }
    }
}

fn soon(patience: Duration) -> Instant {
    Instant::now() + patience
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
