//! One request to Graph: token, headers, time limit, and what its answer means.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use openmic_wire::error;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use reqwest::{Method, Request, Response};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::error::{Ambiguity, NotSent, Refusal, RequestError};
use crate::metrics::{Endpoint, Metrics};
use crate::retry::retry_after;
use crate::scope::{Permit, Scope};
use crate::token::{Token, TokenSource};

/// Echoed by Graph; ties a log line here to one there.
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

/// Longest answer that is read, in bytes: a roster of 5000.
pub(crate) const LIMIT: usize = 8 * 1024 * 1024;

/// Everything that clones of a client share.
pub(crate) struct Transport {
    pub(crate) http: reqwest::Client,
    /// Of Graph, with its version.
    pub(crate) root: Url,
    pub(crate) tokens: TokenSource,
    pub(crate) scope: Scope,
    pub(crate) metrics: Metrics,
    pub(crate) timeout: Duration,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) location: Option<HeaderValue>,
    /// `None` when it broke off or is over the limit.
    pub(crate) body: Option<Vec<u8>>,
}

impl Transport {
    /// Sends one request, and once more with a fresh token if Graph turns the first one down.
    pub(crate) async fn send(
        &self,
        endpoint: Endpoint,
        url: &Url,
        body: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Answer, RequestError> {
        let token = self.token(None, deadline).await?;
        let begun = Instant::now();
        let permit = self.scope.admit(endpoint, begun)?;
        let first = self.exchange(endpoint, url, body.clone(), deadline, &token);
        let first = match first.await {
            Ok(answer) if answer.status == 401 => answer,
            ended => return self.ended(endpoint, permit, ended, begun),
        };
        let token = match self.token(Some(&token), deadline).await {
            Ok(token) => token,
            Err(error) => {
                // it is the token endpoint that fails; Graph is there
                self.ended(endpoint, permit, Ok(first), begun)?;
                return Err(error);
            }
        };
        let begun = Instant::now();
        let second = self.exchange(endpoint, url, body, deadline, &token).await;
        match second {
            // what a bot may do elsewhere is between it and Graph, and no reason to stop others
            Ok(answer) if answer.status == 401 && !matches!(endpoint, Endpoint::Errand(_)) => {
                permit.unauthorized(Instant::now());
                Ok(answer)
            }
            ended => self.ended(endpoint, permit, ended, begun),
        }
    }

    /// Tells the scope what came of a request.
    fn ended(
        &self,
        endpoint: Endpoint,
        permit: Permit<'_>,
        ended: Result<Answer, RequestError>,
        begun: Instant,
    ) -> Result<Answer, RequestError> {
        let now = Instant::now();
        match &ended {
            Ok(answer) => {
                permit.answered();
                if matches!(answer.status, 429 | 503) {
                    self.metrics.throttled(answer.retry_after);
                    let pause = answer.retry_after;
                    self.scope.throttled(endpoint, &refusal(answer), pause, now);
                }
            }
            // a request that was not given its time says nothing about Graph
            Err(RequestError::Ambiguous(Ambiguity::Timeout(_)))
                if now < begun + self.timeout / 2 => {}
            Err(RequestError::NotSent(NotSent::Connect(_)) | RequestError::Ambiguous(_)) => {
                permit.unanswered(now);
            }
            Err(_) => {}
        }
        ended
    }

    async fn token(
        &self,
        rejected: Option<&Arc<Token>>,
        deadline: Instant,
    ) -> Result<Arc<Token>, RequestError> {
        match tokio::time::timeout_at(deadline, self.tokens.token(rejected)).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(error)) => Err(RequestError::NotSent(NotSent::Token(error))),
            Err(_) => Err(RequestError::NotSent(NotSent::TooLate)),
        }
    }

    async fn exchange(
        &self,
        endpoint: Endpoint,
        url: &Url,
        body: Option<Bytes>,
        deadline: Instant,
        token: &Token,
    ) -> Result<Answer, RequestError> {
        let begun = Instant::now();
        let left = deadline.saturating_duration_since(begun);
        if left.is_zero() {
            return Err(RequestError::NotSent(NotSent::TooLate));
        }
        let (method, route) = endpoint.labels();
        let mut text = Uuid::encode_buffer();
        let request_id: &str = Uuid::new_v4().hyphenated().encode_lower(&mut text);
        let method = Method::from_bytes(method.as_bytes()).expect("the labels are methods");
        let mut request = Request::new(method, url.clone());
        *request.timeout_mut() = Some(left.min(self.timeout));
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, token.header.clone());
        let id = HeaderValue::from_str(request_id).expect("digits and dashes");
        headers.insert(CLIENT_REQUEST_ID, id);
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.into());
        } else if *request.method() == Method::POST {
            // hyper leaves it out for an empty body, and some proxies answer 411 without it
            let none = HeaderValue::from_static("0");
            request.headers_mut().insert(CONTENT_LENGTH, none);
        }
        let mut response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => {
                self.metrics.request(endpoint, None, begun.elapsed());
                let error = error.without_url();
                tracing::debug!(route, %request_id, %error, "no answer from Graph");
                return Err(unanswered(error));
            }
        };
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name)?.to_str().ok();
        let pause =
            header(RETRY_AFTER).and_then(|raw| retry_after(raw, header(DATE), SystemTime::now()));
        let location = response.headers_mut().remove(LOCATION);
        let mut body = read_body(response, LIMIT).await;
        if !(200..=299).contains(&status) {
            // a service that says back what it was sent must not get the token into a log
            body = body.map(|body| withhold(body, token.bearer()));
        }
        self.metrics
            .request(endpoint, Some(status), begun.elapsed());
        tracing::debug!(route, %request_id, status, took = ?begun.elapsed(), "Graph answered");
        Ok(Answer {
            status,
            retry_after: pause,
            location,
            body,
        })
    }
}

/// What it means that no answer came. Only a connection that was never made is certain to have
/// carried nothing.
fn unanswered(error: reqwest::Error) -> RequestError {
    if error.is_connect() {
        RequestError::NotSent(NotSent::Connect(error))
    } else if error.is_builder() {
        RequestError::NotSent(NotSent::Request(error))
    } else if error.is_timeout() {
        RequestError::Ambiguous(Ambiguity::Timeout(error))
    } else {
        RequestError::Ambiguous(Ambiguity::Broken(error))
    }
}

/// Reads at most `limit` bytes; `None` when there are more or the connection broke.
pub(crate) async fn read_body(mut response: Response, limit: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(None) => return Some(body),
            Ok(Some(_)) | Err(_) => return None,
        }
    }
}

/// A body without `token`, wherever it was.
fn withhold(body: Vec<u8>, token: &[u8]) -> Vec<u8> {
    let held = !token.is_empty() && body.windows(token.len()).any(|part| part == token);
    if !held {
        return body;
    }
    let token = String::from_utf8_lossy(token);
    let said = String::from_utf8_lossy(&body);
    said.replace(token.as_ref(), "(withheld)").into_bytes()
}

/// Sorts an answer by what it means for the request; successes pass.
pub(crate) fn accept(answer: Answer) -> Result<Answer, RequestError> {
    let status = answer.status;
    match status {
        200..=299 => Ok(answer),
        404 | 410 if names_a_call_gone(&answer) => Err(RequestError::Gone),
        429 | 503 => Err(RequestError::Throttled {
            refusal: refusal(&answer),
            retry_after: answer.retry_after,
        }),
        // Graph cannot do it: it did not
        501 => Err(RequestError::Refused(refusal(&answer))),
        408 | 500..=599 => Err(RequestError::Ambiguous(Ambiguity::Status(status))),
        _ => Err(RequestError::Refused(refusal(&answer))),
    }
}

/// A 404 by Graph, not by something on the way that does not know the route.
fn names_a_call_gone(answer: &Answer) -> bool {
    let Some(body) = &answer.body else {
        return false;
    };
    body.trim_ascii().is_empty()
        || error::decode(body).is_some_and(|error| !error.code.eq_ignore_ascii_case("UnknownError"))
}

fn refusal(answer: &Answer) -> Refusal {
    let status = answer.status;
    let said = answer.body.as_deref().and_then(error::decode);
    let subcode = said.as_ref().and_then(error::ErrorBody::subcode);
    let (code, message, request_id) = match said {
        Some(said) => (said.code, said.message, said.request_id),
        None => (String::new(), String::new(), None),
    };
    Refusal {
        status,
        subcode,
        code: Some(code)
            .filter(|code| !code.is_empty())
            .unwrap_or_else(|| format!("http{status}")),
        message: Some(message)
            .filter(|message| !message.is_empty())
            .unwrap_or_else(|| "Graph gave no reason".to_owned()),
        request_id,
    }
}
