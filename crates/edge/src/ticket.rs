//! One-time tickets for a roster: a WebSocket of a browser cannot send `Authorization`, and a
//! token in a URL ends up in logs. A ticket does too, but there it is used up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use openmic_engine::Call;
use openmic_hub::Place;
use openmic_model::CallId;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answer::{Answer, Refusal, json};
use crate::caller::Caller;
use crate::metrics::Rejected;
use crate::surface::Api;

/// How long a ticket is good.
pub(crate) const LIFE: Duration = Duration::from_secs(30);

/// Tickets of all callers that wait to be used.
const MAX_TICKETS: usize = 16_384;

/// The tickets that wait to be used. When there are too many, a further one is refused by 503.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    held: Mutex<HashMap<Uuid, Ticket>>,
}

#[derive(Debug)]
struct Ticket {
    caller: Caller,
    call: CallId,
    until: Instant,
    _place: Place,
}

impl Tickets {
    /// 128 random bits. `None` when there are too many, or no random bits.
    fn issue(&self, caller: Caller, call: CallId, place: Place, now: Instant) -> Option<Uuid> {
        let mut held = self.held.lock();
        if held.len() >= MAX_TICKETS {
            held.retain(|_, ticket| ticket.until > now);
        }
        if held.len() >= MAX_TICKETS {
            return None;
        }
        let mut bits = [0; 16];
        aws_lc_rs::rand::fill(&mut bits).ok()?;
        let id = Uuid::from_bytes(bits);
        let until = now + LIFE;
        let ticket = Ticket {
            caller,
            call,
            until,
            _place: place,
        };
        held.insert(id, ticket);
        Some(id)
    }

    /// Who got it, when it is good for `call`. Used up in any case.
    pub(crate) fn take(&self, text: &str, call: Option<&CallId>, now: Instant) -> Option<Caller> {
        let id = Uuid::try_parse(text).ok()?;
        let ticket = self.held.lock().remove(&id)?;
        (ticket.until > now && Some(&ticket.call) == call).then_some(ticket.caller)
    }

    /// Makes room for others of the same caller.
    fn forget_old(&self, now: Instant) {
        self.held.lock().retain(|_, ticket| ticket.until > now);
    }
}

/// The ticket of a query.
pub(crate) fn of_query(query: Option<&str>) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query?.as_bytes());
    let (_, ticket) = pairs.find(|(name, _)| name == "ticket")?;
    Some(ticket.into_owned())
}

/// A ticket: once `?ticket=` in the place of a token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ticket)]
pub(crate) struct Issued {
    ticket: String,
    /// Seconds.
    expires_in: u64,
}

/// `POST /v1/calls/{call}/roster/ticket`.
pub(crate) async fn issue(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(call): Extension<Call>,
) -> Answer {
    let now = Instant::now();
    let account = api.accounts.of(&caller, now)?;
    let place = account.tickets.take().or_else(|| {
        api.tickets.forget_old(now);
        account.tickets.take()
    });
    let id = place.and_then(|place| {
        let call = call.id().clone();
        api.tickets.issue(caller, call, place, now)
    });
    let id = id.ok_or_else(|| {
        api.metrics.turned_away(Rejected::Tickets);
        Refusal::unavailable(
            "Too many tickets wait to be used. Ask for one when the WebSocket is about to be \
             opened.",
            LIFE / 6,
        )
    })?;
    let issued = Issued {
        ticket: id.simple().to_string(),
        expires_in: LIFE.as_secs(),
    };
    let body = serde_json::to_vec(&issued).expect("plain structs always serialise into memory");
    let mut response = json(StatusCode::CREATED, body, None);
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use openmic_hub::Quota;

    use super::*;

    fn call(name: &str) -> CallId {
        CallId::parse(name).unwrap()
    }

    #[test]
    fn a_ticket_is_good_once_for_its_call_and_for_thirty_seconds() {
        let (tickets, now, quota) = (Tickets::default(), Instant::now(), Quota::new(10));
        let issue = || {
            let place = quota.take().unwrap();
            let caller = Caller::for_test("app", "tenant");
            let id = tickets.issue(caller, call("a"), place, now).unwrap();
            id.simple().to_string()
        };
        let a = call("a");
        let take = |text: &str, call, after| tickets.take(text, call, now + after);
        let soon = LIFE.checked_sub(Duration::from_millis(1)).unwrap();
        let ticket = issue();
        assert_eq!(take(&ticket, Some(&a), soon).unwrap().app.as_str(), "app");
        assert!(take(&ticket, Some(&a), soon).is_none(), "it was used");
        assert!(take(&issue(), Some(&a), LIFE).is_none(), "it is too late");
        let ticket = issue();
        let b = call("b");
        assert!(take(&ticket, Some(&b), soon).is_none());
        assert!(take(&ticket, Some(&a), soon).is_none(), "tried is used");
        for bad in ["", "x", &"0".repeat(32), "ticket"] {
            assert!(take(bad, Some(&a), soon).is_none(), "{bad}");
        }
        assert_eq!(quota.taken(), 0, "all places are given back");
    }

    #[test]
    fn tickets_are_bounded_and_old_ones_make_room() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let quota = Quota::new(2 * MAX_TICKETS);
        let issue = |now| {
            let caller = Caller::for_test("app", "tenant");
            tickets.issue(caller, call("a"), quota.take().unwrap(), now)
        };
        for _ in 0..MAX_TICKETS {
            assert!(issue(now).is_some());
        }
        assert!(issue(now).is_none());
        assert!(issue(now + LIFE).is_some());
        assert_eq!(quota.taken(), 1);
    }

    #[test]
    fn a_ticket_is_found_in_the_query() {
        for (query, found) in [
            (None, None),
            (Some(""), None),
            (Some("since=1:2"), None),
            (Some("since=1:2&ticket=abc"), Some("abc")),
            (Some("ticket=a%20b"), Some("a b")),
        ] {
            assert_eq!(of_query(query).as_deref(), found, "{query:?}");
        }
    }
}
