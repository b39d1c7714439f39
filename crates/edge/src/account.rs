//! What each caller takes of the engine, and how much it may.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use openmic_hub::Quota;
use openmic_model::{AppId, TenantId};
use parking_lot::Mutex;

use crate::answer::Refusal;
use crate::caller::Caller;
use crate::metrics::{EdgeMetrics, Rejected};

/// Callers that are remembered at one time. Over it those that hold nothing and asked for nothing
/// lately are forgotten; when there is none such, a new one is refused by 503.
const MAX_ACCOUNTS: usize = 10_000;

/// Tickets of one caller that wait to be used.
const MAX_TICKETS: usize = 4096;

/// Seconds of its rate that a caller may save up.
const BURST: f64 = 2.0;

/// How much one caller, an application of a tenant, may take. Its calls are bounded by the
/// engine's own limit, since an engine has one application that makes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerLimits {
    /// Subscribers of rosters at one time. Default 15,000: one caller does not take all places of the
    /// default hub.
    pub websockets: usize,
    /// Requests in a second, after a burst of two seconds' worth; 0 for no limit. Default 0.
    pub requests_per_second: u32,
}

impl Default for CallerLimits {
    fn default() -> Self {
        Self {
            websockets: 15_000,
            requests_per_second: 0,
        }
    }
}

/// One caller's.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) websockets: Quota,
    pub(crate) tickets: Quota,
    bucket: Mutex<Bucket>,
}

impl Account {
    fn is_idle(&self, limits: CallerLimits, now: Instant) -> bool {
        let unused = self.websockets.taken() == 0 && self.tickets.taken() == 0;
        unused && self.bucket.lock().is_full(limits.requests_per_second, now)
    }
}

/// Tokens, in the sense of rate limits.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    since: Instant,
}

impl Bucket {
    fn fill(&mut self, rate: u32, now: Instant) {
        let rate = f64::from(rate);
        let more = now.saturating_duration_since(self.since).as_secs_f64() * rate;
        self.tokens = (self.tokens + more).min(BURST * rate);
        self.since = now;
    }

    /// Takes one, or says how long until there is one.
    fn take(&mut self, rate: u32, now: Instant) -> Result<(), Duration> {
        self.fill(rate, now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64(
            (1.0 - self.tokens) / f64::from(rate),
        ))
    }

    fn is_full(&mut self, rate: u32, now: Instant) -> bool {
        self.fill(rate, now);
        self.tokens >= BURST * f64::from(rate)
    }
}

/// All callers'.
#[derive(Debug)]
pub(crate) struct Accounts {
    limits: CallerLimits,
    held: Mutex<HashMap<(TenantId, AppId), Arc<Account>>>,
    metrics: EdgeMetrics,
}

impl Accounts {
    pub(crate) fn new(limits: CallerLimits, metrics: EdgeMetrics) -> Self {
        Self {
            limits,
            held: Mutex::default(),
            metrics,
        }
    }

    /// Counts one request of `caller`.
    ///
    /// # Errors
    /// 429 when it asks too often.
    pub(crate) fn count(&self, caller: &Caller, now: Instant) -> Result<(), Refusal> {
        let rate = self.limits.requests_per_second;
        if rate == 0 {
            return Ok(());
        }
        let account = self.of(caller, now)?;
        let taken = account.bucket.lock().take(rate, now);
        taken.map_err(|wait| {
            self.metrics.turned_away(Rejected::Rate);
            Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                format!(
                    "The application sends more than {rate} requests a second. Wait as long as \
                     Retry-After says, or raise callers.max_requests_per_second."
                ),
            )
            .retry_after(wait)
        })
    }

    /// The account of `caller`.
    ///
    /// # Errors
    /// 503 when there are too many callers at once.
    pub(crate) fn of(&self, caller: &Caller, now: Instant) -> Result<Arc<Account>, Refusal> {
        let name = (caller.tenant.clone(), caller.app.clone());
        let mut held = self.held.lock();
        if let Some(account) = held.get(&name) {
            return Ok(Arc::clone(account));
        }
        if held.len() >= MAX_ACCOUNTS {
            // Whoever has a handle is about to use it.
            held.retain(|_, account| {
                Arc::strong_count(account) > 1 || !account.is_idle(self.limits, now)
            });
        }
        if held.len() >= MAX_ACCOUNTS {
            self.metrics.turned_away(Rejected::Callers);
            return Err(Refusal::unavailable(
                "Too many applications call at the same time. Try again in a moment.",
                Duration::from_secs(5),
            ));
        }
        let account = Arc::new(Account {
            websockets: Quota::new(self.limits.websockets),
            tickets: Quota::new(MAX_TICKETS),
            bucket: Mutex::new(Bucket {
                tokens: BURST * f64::from(self.limits.requests_per_second),
                since: now,
            }),
        });
        held.insert(name, Arc::clone(&account));
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(limits: CallerLimits) -> Accounts {
        Accounts::new(limits, EdgeMetrics::new())
    }

    fn caller(number: usize) -> Caller {
        Caller::for_test(&format!("app-{number}"), "tenant")
    }

    #[test]
    fn a_caller_may_burst_and_then_keeps_its_rate() {
        let accounts = accounts(CallerLimits {
            requests_per_second: 10,
            ..CallerLimits::default()
        });
        let (one, other, now) = (caller(1), caller(2), Instant::now());
        let ask = |caller, millis| accounts.count(caller, now + Duration::from_millis(millis));
        for _ in 0..20 {
            assert!(ask(&one, 0).is_ok());
        }
        let refusal = ask(&one, 0).unwrap_err();
        assert_eq!(refusal.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(100)));
        assert!(ask(&other, 0).is_ok(), "each has its own");
        assert!(ask(&one, 99).is_err());
        assert!(ask(&one, 100).is_ok());
        assert!(ask(&one, 100).is_err());
        for _ in 0..20 {
            assert!(ask(&one, 60_000).is_ok(), "it saved up two seconds");
        }
        assert!(ask(&one, 60_000).is_err());
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let accounts = accounts(CallerLimits::default());
        for _ in 0..100_000 {
            assert!(accounts.count(&caller(1), Instant::now()).is_ok());
        }
        assert!(accounts.held.lock().is_empty());
    }

    #[test]
    fn callers_are_bounded_and_idle_ones_forgotten() {
        let accounts = accounts(CallerLimits::default());
        let now = Instant::now();
        let busy = accounts.of(&caller(0), now).unwrap();
        let place = busy.websockets.take().unwrap();
        drop(busy);
        for number in 1..=MAX_ACCOUNTS {
            accounts.of(&caller(number), now).unwrap();
        }
        assert!(accounts.held.lock().len() <= MAX_ACCOUNTS);
        let busy = accounts.of(&caller(0), now).unwrap();
        assert_eq!(busy.websockets.taken(), 1, "who holds something is kept");
        drop(place);

        let mut places = Vec::new();
        for number in 0..MAX_ACCOUNTS {
            match accounts.of(&caller(number), now) {
                Ok(account) => places.push(account.websockets.take()),
                Err(refusal) => panic!("{number}: {refusal:?}"),
            }
        }
        let refusal = accounts.of(&caller(MAX_ACCOUNTS + 7), now).unwrap_err();
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
