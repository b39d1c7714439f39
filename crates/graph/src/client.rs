use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openmic_model::{
    Action, CallId, ClientContext, Operation, OperationId, Participant, ParticipantId,
};
use openmic_wire::answer::{AnswerCall, RejectCall};
use openmic_wire::call::CallAnswer;
use openmic_wire::create::CreateCall;
use openmic_wire::errand::{Body, Errand, Place};
use openmic_wire::resource::Resource;
use openmic_wire::{DecodeError, MAX_ITEMS, action, call, operation, participant, raw};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::act::{self, ActError};
use crate::config::{BuildError, GraphConfig};
use crate::error::RequestError;
use crate::metrics::{Endpoint, Metrics};
use crate::retry::repeating;
use crate::scope::Scope;
use crate::token::TokenSource;
use crate::transport::{Answer, LIMIT, Transport, accept};

/// Most pages of one list that are followed.
const MAX_PAGES: usize = 50;

/// One application's client of Graph. Cheap to clone; clones share connections and tokens.
///
/// Every method but [`GraphClient::act`] and [`GraphClient::errand`] repeats a request that certainly had no effect (no
/// connection, no token, 429, 503) until `deadline`, and honours `Retry-After`; credentials that
/// are turned down (400, 401, 403) end it at once. No request takes
/// longer than the configured limit, nor beyond its deadline. Must be used inside a tokio runtime.
#[derive(Clone)]
pub struct GraphClient {
    base: Arc<str>,
    transport: Arc<Transport>,
}

/// A call that was created.
#[derive(Debug, Clone)]
pub struct Created {
    /// What openmic knows of it.
    pub answer: CallAnswer,
    /// Graph's answer as it came.
    pub body: Vec<u8>,
}

/// What `GET participants` found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Everybody who could be read.
    pub participants: Vec<Participant>,
    /// False when an entry could not be read, so that whoever is missing may be there.
    pub complete: bool,
}

/// An answer as it came, to be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// HTTP status; never 401 or 429, and of 5xx only 501.
    pub status: u16,
    /// Where what was made can be read.
    pub location: Option<String>,
    /// Its body, as a rule JSON.
    pub body: Vec<u8>,
}

impl GraphClient {
    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`BuildError`] when a URL of `config` is none to speak to, or TLS cannot be set up.
    pub fn new(config: &GraphConfig, metrics: &Metrics) -> Result<Self, BuildError> {
        let base = root(&config.base_url, "the base URL")?;
        let authority = root(&config.authority, "the authority")?;
        let tenant = &config.credential.tenant;
        let token_url = Url::parse(&format!("{authority}/{tenant}/oauth2/v2.0/token"))
            .map_err(|_| BuildError::Url("the authority"))?;
        let mut http = reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .tcp_nodelay(true)
            // a redirect would carry the bearer to where it leads
            .redirect(reqwest::redirect::Policy::none())
            .referer(false);
        let urls = [&config.base_url, &config.authority];
        if urls.iter().all(|url| is_loopback(url)) {
            http = http.no_proxy();
        }
        if urls.iter().all(|url| url.scheme() == "http") {
            // no TLS will be spoken; a machine without root certificates must do
            http = http.tls_certs_only([]);
        } else {
            http = http.tls_certs_merge(config.authorities.iter().cloned());
        }
        let http = http.build().map_err(BuildError::Client)?;
        let tokens = TokenSource::new(http.clone(), config, token_url, metrics.clone());
        Ok(Self {
            base: base.into(),
            transport: Arc::new(Transport {
                http,
                root: config.base_url.clone(),
                tokens,
                scope: Scope::new(metrics.clone()),
                metrics: metrics.clone(),
                timeout: config.request_timeout,
            }),
        })
    }

    /// Root with version, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Waits until nothing holds requests back: no pause that Graph asked for, no open circuit.
    /// For work that has time, as that after a restart, before it spends its deadline on waiting.
    pub async fn unhindered(&self) {
        while let Some(until) = self.transport.scope.held_until(Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Creates a call.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::had_no_effect`] tells whether a call may have come of it.
    pub async fn create_call(
        &self,
        create: &CreateCall,
        deadline: Instant,
    ) -> Result<Created, RequestError> {
        let url = self.url("/communications/calls");
        let body = Bytes::from(create.encode());
        let answer = repeating(&self.transport.scope, deadline, false, || async {
            let sent =
                self.transport
                    .send(Endpoint::CreateCall, &url, Some(body.clone()), deadline);
            accept(sent.await?)
        });
        let body = whole(answer.await?)?;
        let answer = call::decode(&body).map_err(RequestError::Unreadable)?;
        Ok(Created { answer, body })
    }

    /// Reads a call.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::Gone`] when it does not exist any more.
    pub async fn get_call(
        &self,
        call: &CallId,
        deadline: Instant,
    ) -> Result<CallAnswer, RequestError> {
        let url = self.url(&format!("/communications/calls/{call}"));
        let body = whole(self.get(Endpoint::GetCall, &url, deadline).await?)?;
        call::decode(&body).map_err(RequestError::Unreadable)
    }

    /// Hangs up. A call that is gone already is a success; an uncertain outcome is repeated.
    ///
    /// # Errors
    /// [`RequestError`]; the call may still be up.
    pub async fn delete_call(&self, call: &CallId, deadline: Instant) -> Result<(), RequestError> {
        let url = self.url(&format!("/communications/calls/{call}"));
        let answer = repeating(&self.transport.scope, deadline, true, || async {
            let sent = self
                .transport
                .send(Endpoint::DeleteCall, &url, None, deadline);
            accept(sent.await?)
        });
        match answer.await {
            Ok(_) | Err(RequestError::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Answers a call that rings. The 202 does not say that it is up: notifications do.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::had_no_effect`] tells whether the bot may be in the call,
    /// [`RequestError::Gone`] that it rings no more.
    pub async fn answer_call(
        &self,
        call: &CallId,
        answer: &AnswerCall,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let url = self.url(&format!("/communications/calls/{call}/answer"));
        self.ringing(Endpoint::Answer, &url, answer.encode().into(), deadline)
            .await
    }

    /// Turns a call down that rings.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::Gone`] when it rings no more.
    pub async fn reject_call(
        &self,
        call: &CallId,
        how: &RejectCall,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let url = self.url(&format!("/communications/calls/{call}/reject"));
        self.ringing(Endpoint::Reject, &url, how.encode().into(), deadline)
            .await
    }

    async fn ringing(
        &self,
        endpoint: Endpoint,
        url: &Url,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let answer = repeating(&self.transport.scope, deadline, false, || async {
            let sent = self
                .transport
                .send(endpoint, url, Some(body.clone()), deadline);
            accept(sent.await?)
        });
        answer.await.map(drop)
    }

    /// Tells Graph that the bot is still there, which it must every 45 min.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::Gone`] when the call does not exist any more.
    pub async fn keep_alive(&self, call: &CallId, deadline: Instant) -> Result<(), RequestError> {
        let url = self.url(&format!("/communications/calls/{call}/keepAlive"));
        let answer = repeating(&self.transport.scope, deadline, false, || async {
            let sent = self
                .transport
                .send(Endpoint::KeepAlive, &url, None, deadline);
            accept(sent.await?)
        });
        answer.await.map(drop)
    }

    /// Mutes or unmutes the bot: one POST, never repeated here, except once when Graph turned the
    /// token down. A success without a readable operation is a pending one.
    ///
    /// `context` must not have been used before. Source: Graph `call: mute`, `call: unmute`.
    ///
    /// # Errors
    /// [`ActError`], which says whether it can have taken effect.
    pub async fn act(
        &self,
        call: &CallId,
        action: Action,
        context: &ClientContext,
        deadline: Instant,
    ) -> Result<Operation, ActError> {
        let endpoint = match action {
            Action::Mute => Endpoint::Mute,
            Action::Unmute => Endpoint::Unmute,
        };
        let url = self.url(
            &[
                "/communications/calls/",
                call.as_str(),
                "/",
                action.as_str(),
            ]
            .concat(),
        );
        let body = action::encode(context).into();
        let sent = self.transport.send(endpoint, &url, Some(body), deadline);
        act::outcome(sent.await)
    }

    /// Reads the roster, page by page.
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::Gone`] when the call does not exist any more,
    /// [`RequestError::NextLink`] when the list goes on at another host or call, or does not end.
    pub async fn participants(
        &self,
        call: &CallId,
        deadline: Instant,
    ) -> Result<Listing, RequestError> {
        let mut url = self.url(&format!("/communications/calls/{call}/participants"));
        let mut listing = Listing {
            complete: true,
            ..Listing::default()
        };
        for _ in 0..MAX_PAGES {
            let body = whole(self.get(Endpoint::Participants, &url, deadline).await?)?;
            let page = participant::decode_page(&body).map_err(RequestError::Unreadable)?;
            listing.complete &= page.unreadable == 0;
            listing.participants.extend(page.participants);
            if listing.participants.len() > MAX_ITEMS {
                return Err(RequestError::Unreadable(DecodeError::TooMany("value")));
            }
            let Some(next) = page.next else {
                return Ok(listing);
            };
            url = self.next(&url, &next, call).ok_or(RequestError::NextLink)?;
        }
        Err(RequestError::NextLink)
    }

    /// Reads the roster, page by page, its entries as they came.
    ///
    /// # Errors
    /// As [`GraphClient::participants`].
    pub async fn participants_raw(
        &self,
        call: &CallId,
        deadline: Instant,
    ) -> Result<Vec<Value>, RequestError> {
        let mut url = self.url(&format!("/communications/calls/{call}/participants"));
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let body = whole(self.get(Endpoint::Participants, &url, deadline).await?)?;
            let page = raw::decode_page(&body).map_err(RequestError::Unreadable)?;
            all.extend(page.participants);
            if all.len() > MAX_ITEMS {
                return Err(RequestError::Unreadable(DecodeError::TooMany("value")));
            }
            let Some(next) = page.next else {
                return Ok(all);
            };
            url = self.next(&url, &next, call).ok_or(RequestError::NextLink)?;
        }
        Err(RequestError::NextLink)
    }

    /// Reads one entry of the roster; `None` when Graph knows no such entry, or no such call.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn participant(
        &self,
        call: &CallId,
        id: &ParticipantId,
        deadline: Instant,
    ) -> Result<Option<Participant>, RequestError> {
        let url = self.url(&format!("/communications/calls/{call}/participants/{id}"));
        let answer = match self.get(Endpoint::Participant, &url, deadline).await {
            Err(RequestError::Gone) => return Ok(None),
            answer => answer?,
        };
        participant::decode(&whole(answer)?)
            .map(Some)
            .map_err(RequestError::Unreadable)
    }

    /// Reads an operation; `None` when it cannot be had: Graph forgot it, or offers no such GET
    /// (404, 405, 501).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn operation(
        &self,
        call: &CallId,
        id: &OperationId,
        deadline: Instant,
    ) -> Result<Option<Operation>, RequestError> {
        let url = self.url(&format!("/communications/calls/{call}/operations/{id}"));
        let answer = match self.get(Endpoint::Operation, &url, deadline).await {
            Err(RequestError::Gone) => return Ok(None),
            Err(RequestError::Refused(no)) if matches!(no.status, 404 | 405 | 501) => {
                return Ok(None);
            }
            answer => answer?,
        };
        let mut found = operation::decode(&whole(answer)?).map_err(RequestError::Unreadable)?;
        found.id.get_or_insert_with(|| id.clone());
        Ok(Some(found))
    }

    /// Reads a call, its roster or an entry of it, to pass the answer on as it came, refusals
    /// too. `query` is what stands behind `?`.
    ///
    /// # Errors
    /// [`RequestError`] when there is no answer to pass on: not sent, throttled, ambiguous, cut,
    /// or refused for our own token's sake (401).
    pub async fn get_raw(
        &self,
        resource: &Resource,
        query: Option<&str>,
        deadline: Instant,
    ) -> Result<Raw, RequestError> {
        let endpoint = match resource {
            Resource::Participants(_) => Endpoint::Participants,
            Resource::Participant(..) => Endpoint::Participant,
            Resource::Operation(..) => Endpoint::Operation,
            _ => Endpoint::GetCall,
        };
        let path = resource
            .path()
            .ok_or(RequestError::Unreadable(DecodeError::Missing(
                "the path of the resource",
            )))?;
        let mut url = self.url(&path);
        url.set_query(query);
        let answer = repeating(&self.transport.scope, deadline, false, || async {
            let answer = self.transport.send(endpoint, &url, None, deadline).await?;
            passable(answer)
        });
        raw(answer.await?)
    }

    /// Runs an errand, to pass the answer on as it came, refusals too: one request, repeated only
    /// while no connection or token is to be had, and once when Graph turned the token down.
    ///
    /// `beta` sends it to that version of Graph, for what the other does not have. `body` is left
    /// out for an errand that has none.
    ///
    /// # Errors
    /// [`RequestError`] when there is no answer to pass on. After [`RequestError::Ambiguous`],
    /// [`RequestError::Cut`] and [`RequestError::Unreadable`] it may have taken effect.
    pub async fn errand(
        &self,
        errand: Errand,
        place: &Place,
        body: Option<&Body>,
        beta: bool,
        deadline: Instant,
    ) -> Result<Raw, RequestError> {
        let missing = RequestError::Unreadable(DecodeError::Missing("the path of the errand"));
        let path = errand.path(place).ok_or(missing)?;
        let mut url = self.url(&path);
        if beta && let Some(root) = self.base.strip_suffix("/v1.0") {
            url = Url::parse(&format!("{root}/beta{path}")).expect("as good as the other version");
        }
        let body = body.map(|body| Bytes::from(body.encode()));
        let endpoint = Endpoint::Errand(errand);
        let answer = repeating(&self.transport.scope, deadline, false, || async {
            match self
                .transport
                .send(endpoint, &url, body.clone(), deadline)
                .await
            {
                Err(error @ RequestError::NotSent(_)) => Err(error),
                // Whatever was answered, the request left: it is not for us to send it again.
                sent => Ok(sent),
            }
        });
        raw(passable(answer.await??)?)
    }

    async fn get(
        &self,
        endpoint: Endpoint,
        url: &Url,
        deadline: Instant,
    ) -> Result<Answer, RequestError> {
        repeating(&self.transport.scope, deadline, false, || async {
            accept(self.transport.send(endpoint, url, None, deadline).await?)
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        // Only the path is parsed.
        let mut url = self.transport.root.clone();
        let path = [url.path().trim_end_matches('/'), path].concat();
        url.set_path(&path);
        url
    }

    /// The next page, if it belongs to the same list on the same server.
    pub(crate) fn next(&self, from: &Url, raw: &str, call: &CallId) -> Option<Url> {
        let next = from.join(raw).ok()?;
        let below = next.as_str().strip_prefix(&*self.base)?;
        let same = below.starts_with('/')
            && Resource::parse(below) == Resource::Participants(call.clone());
        (same && next != *from).then_some(next)
    }
}

impl fmt::Debug for GraphClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphClient")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Lets an answer through that may be passed on.
fn passable(answer: Answer) -> Result<Answer, RequestError> {
    match answer.status {
        501 => Ok(answer),
        401 | 408 | 429 | 500..=599 => accept(answer),
        _ => Ok(answer),
    }
}

fn raw(mut answer: Answer) -> Result<Raw, RequestError> {
    let status = answer.status;
    if !(200..300).contains(&status) {
        // A no is one, however much of its reason came.
        answer.body.get_or_insert_default();
    }
    let location = answer.location.take();
    Ok(Raw {
        status,
        location: location.and_then(|value| value.to_str().ok().map(str::to_owned)),
        body: whole(answer)?,
    })
}

fn whole(answer: Answer) -> Result<Vec<u8>, RequestError> {
    answer.body.ok_or(RequestError::Cut(LIMIT))
}

/// The URL without a slash at its end.
fn root(url: &Url, name: &'static str) -> Result<String, BuildError> {
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(BuildError::Url(name));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
