use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use openmic_model::{AppId, CallId, TenantId};
use openmic_outbound::{PostError, Refused};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::parcel::{Held, Parcel};
use super::{Courier, News, Outbox};
use crate::faults::{CallFaults, Event, Telling, Token};
use crate::metrics::Delivery;

const SCENARIO_ID: HeaderName = HeaderName::from_static("scenario-id");
const CHAIN_ID: HeaderName = HeaderName::from_static("x-microsoft-skype-chain-id");
const MESSAGE_ID: HeaderName = HeaderName::from_static("x-microsoft-skype-message-id");

/// Where notifications go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Callback {
    pub(crate) url: Url,
    /// The same as the bot spelt it.
    pub(crate) uri: String,
}

/// Whom one sender serves.
#[derive(Debug, Clone)]
pub(crate) struct Recipient {
    pub(crate) call: CallId,
    pub(crate) app: AppId,
    pub(crate) tenant: TenantId,
    pub(crate) callback: Callback,
    /// What all its notifications carry.
    pub(crate) headers: HeaderMap,
    pub(crate) faults: Arc<CallFaults>,
}

/// How one attempt ended.
enum Attempt {
    Delivered,
    Refused(Refused),
    Rejected(StatusCode),
    Again(&'static str),
}

/// One call's notifications on their way.
struct Sender {
    to: Recipient,
    outbox: Arc<Outbox>,
    courier: Arc<Courier>,
    /// The service is going down: what is late does not come any more.
    ends: CancellationToken,
    /// Everything stops.
    kill: CancellationToken,
    /// The number of the last delta.
    deltas: u64,
    held: Option<Held>,
    /// The roster that was told last.
    last: Option<Parcel>,
    late: JoinSet<()>,
}

/// Delivers a call's notifications one after the other until its outbox is closed and empty, or
/// `kill` is cancelled.
pub(crate) async fn run(
    to: Recipient,
    outbox: Arc<Outbox>,
    courier: Arc<Courier>,
    (ends, kill): (CancellationToken, CancellationToken),
) {
    let mut sender = Sender {
        to,
        outbox,
        courier,
        ends,
        kill,
        deltas: 0,
        held: None,
        last: None,
        late: JoinSet::new(),
    };
    sender.run().await;
}

impl Sender {
    async fn run(&mut self) {
        loop {
            let due = self.held.as_ref().map(|held| held.until);
            let news = tokio::select! {
                biased;
                () = self.kill.cancelled() => break,
                () = until(due) => {
                    if !self.release().await {
                        break;
                    }
                    continue;
                }
                news = self.outbox.pop() => news,
            };
            let Some(news) = news else {
                if self.release().await {
                    while self.late.join_next().await.is_some() {}
                }
                return;
            };
            let alive = self.tell(news).await;
            self.outbox.deal();
            if !alive {
                break;
            }
        }
        let left = u64::try_from(self.outbox.len()).unwrap_or(u64::MAX);
        self.courier
            .metrics
            .notification(Delivery::Abandoned)
            .inc_by(left);
    }

    /// Tells one of them, or what faults make of it. False when the service has stopped.
    async fn tell(&mut self, news: News) -> bool {
        let event = match &news {
            News::Moved(callback) => {
                self.to.callback = callback.clone();
                return true;
            }
            News::Offer(_) | News::Call(_) => Event::ToldCall,
            News::Operation(_) => Event::ToldOperation,
            News::Full(_) | News::Delta(_) => Event::ToldRoster,
        };
        // One id for all attempts, so that a bot can tell a repetition.
        let message = Uuid::new_v4().to_string();
        let struck = self.to.faults.strike(event, Some(&self.to.call), &message);
        let telling = Telling::of(&struck);
        if matches!(news, News::Delta(_)) {
            self.deltas += 1 + u64::from(telling.gap);
        }
        let mut parcel = Parcel::new(&self.to, news, self.deltas, message);
        parcel.token = telling.token;
        parcel.leave_out(&telling.missing);
        if telling.dropped {
            return self.settle(&parcel, Delivery::Dropped, 0);
        }
        if let Some(wait) = telling.late {
            self.later(parcel, wait);
            return true;
        }
        if let Some(hold) = telling.hold
            && self.held.is_none()
        {
            self.held = Some(Held::new(hold, parcel));
            return true;
        }
        if self.held.as_ref().is_some_and(Held::is_batch) {
            let full = self.held.as_mut().is_some_and(|held| held.add(parcel));
            return !full || self.release().await;
        }
        self.send_all(event, parcel, telling).await && self.release().await
    }

    /// Sends a notification and whatever comes behind it.
    async fn send_all(&mut self, event: Event, parcel: Parcel, telling: Telling) -> bool {
        for _ in 0..=telling.again {
            if !self.send(&parcel).await {
                return false;
            }
        }
        if let Some(wait) = telling.replay {
            self.later(parcel.clone(), wait);
        }
        if event == Event::ToldRoster && self.to.faults.stale_rosters() {
            let before = self.last.replace(parcel);
            if let Some(before) = before.filter(|_| telling.stale)
                && !self.send(&before).await
            {
                return false;
            }
        }
        match telling.false_end {
            None => true,
            Some(token) => self.send(&Parcel::false_end(&self.to, token)).await,
        }
    }

    /// Sends what was held back.
    async fn release(&mut self) -> bool {
        match self.held.take() {
            None => true,
            Some(held) => self.send(&held.parcel).await,
        }
    }

    async fn send(&self, parcel: &Parcel) -> bool {
        let mut attempts = 0;
        let result = tokio::select! {
            biased;
            () = self.kill.cancelled() => Delivery::Abandoned,
            result = deliver(&self.to, parcel, &self.courier, &mut attempts) => result,
        };
        self.settle(parcel, result, attempts)
    }

    /// Counts and logs what became of it; false when it was abandoned.
    fn settle(&self, parcel: &Parcel, result: Delivery, attempts: u32) -> bool {
        parcel.settle(&self.to.call, &self.courier, result, attempts);
        result != Delivery::Abandoned
    }

    fn later(&mut self, parcel: Parcel, wait: Duration) {
        while self.late.try_join_next().is_some() {}
        let (to, courier) = (self.to.clone(), Arc::clone(&self.courier));
        let (ends, kill) = (self.ends.clone(), self.kill.clone());
        self.late.spawn(async move {
            let mut attempts = 0;
            let sending = async {
                tokio::select! {
                    biased;
                    () = ends.cancelled() => return Delivery::Abandoned,
                    () = sleep(wait) => {}
                }
                deliver(&to, &parcel, &courier, &mut attempts).await
            };
            let result = tokio::select! {
                biased;
                () = kill.cancelled() => Delivery::Abandoned,
                result = sending => result,
            };
            parcel.settle(&to.call, &courier, result, attempts);
        });
    }
}

/// Until that moment; for ever without one.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn deliver(
    to: &Recipient,
    parcel: &Parcel,
    courier: &Courier,
    attempts: &mut u32,
) -> Delivery {
    let mut waits = courier.retries.iter();
    loop {
        *attempts += 1;
        let attempt = {
            let _timer = courier.metrics.attempt_seconds.start_timer();
            attempt(to, parcel, courier).await
        };
        match attempt {
            Attempt::Delivered => return Delivery::Delivered,
            Attempt::Refused(reason) => {
                tracing::warn!(call = %to.call, %reason, "a notification was not sent");
                return Delivery::Refused;
            }
            Attempt::Rejected(status) => {
                tracing::warn!(call = %to.call, %status, "the bot did not take a notification");
                return Delivery::Rejected;
            }
            Attempt::Again(reason) => {
                let Some(wait) = waits.next() else {
                    tracing::warn!(call = %to.call, reason, "a notification was given up");
                    return Delivery::Failed;
                };
                courier.metrics.retries.inc();
                sleep(*wait).await;
            }
        }
    }
}

async fn attempt(to: &Recipient, parcel: &Parcel, courier: &Courier) -> Attempt {
    let token = match parcel.token {
        Token::Good => courier.authorization(&to.app, &to.tenant),
        Token::Forged => courier.forged(&to.app, &to.tenant),
        Token::Foreign => courier.foreign(&to.app),
    };
    let Ok(token) = token else {
        return Attempt::Again("no token could be signed");
    };
    let mut headers = to.headers.clone();
    headers.insert(AUTHORIZATION, token);
    if let Ok(message) = HeaderValue::from_str(&parcel.message) {
        headers.insert(MESSAGE_ID, message);
    }
    let body = Bytes::clone(&parcel.body);
    match courier.outbound.post(&to.callback.url, headers, body).await {
        Ok(answer) => outcome(answer.status),
        Err(PostError::Refused(reason)) => Attempt::Refused(reason),
        Err(PostError::Timeout) => Attempt::Again("the bot did not answer in time"),
        Err(PostError::Connect(_)) => Attempt::Again("no connection to the bot"),
        Err(_) => Attempt::Again("the exchange with the bot broke off"),
    }
}

fn outcome(status: StatusCode) -> Attempt {
    if status.is_success() {
        return Attempt::Delivered;
    }
    let again = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    if again {
        Attempt::Again("the bot answered 408, 429 or 5xx")
    } else {
        Attempt::Rejected(status)
    }
}

/// The headers Graph was seen to send, but for the token and the message's id. Source: `contract.md`
/// §4.1.
pub(crate) fn headers(chain: &str, scenario: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in [(SCENARIO_ID, scenario), (CHAIN_ID, chain)] {
        // The scenario came from a request's header, the other is a GUID of ours.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers
}
