//! What all requests of one application to one Graph share: how long to keep quiet, whether it is
//! there at all, and how much may be repeated.

mod breaker;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use crate::error::{NotSent, Refusal, RequestError};
use crate::metrics::{Endpoint, Held, Metrics, Opened};
use breaker::{Admission, Breaker};

/// Shortest pause that is kept: Graph sends fractions, and a zero would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(100);

/// How much of the requests may be repeats, and what is allowed besides so that a quiet bot may
/// repeat at all: 10 % over 10 s, and 10 a second.
const SHARE: f32 = 0.1;
const OVER: Duration = Duration::from_secs(10);
const BESIDES: u32 = 10;

/// Codes of the calling platform that limit how many calls there are, not how many requests:
/// 8529 a month's, 8530 those that are up. They must not silence the calls that exist.
const LIMITS_OF_CALLS: [i32; 2] = [8529, 8530];

/// The shared state. No method waits.
pub(crate) struct Scope {
    state: Mutex<State>,
    budget: TpsBudget,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    /// Of every request.
    quiet: Option<Quiet>,
    /// Of those that make a call or answer one.
    no_calls: Option<Quiet>,
}

/// Graph asked for a pause.
#[derive(Debug)]
struct Quiet {
    until: Instant,
    refusal: Refusal,
}

impl Quiet {
    fn left(this: Option<&Self>, now: Instant) -> Option<(&Self, Duration)> {
        let quiet = this.filter(|quiet| now < quiet.until)?;
        Some((quiet, quiet.until.saturating_duration_since(now)))
    }
}

/// Leave to send one request; whoever has it says what came of it. Dropped without a word it
/// counts for nothing.
pub(crate) struct Permit<'a> {
    scope: &'a Scope,
    probe: bool,
}

impl Scope {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            state: Mutex::default(),
            budget: TpsBudget::new(OVER, BESIDES, SHARE),
            metrics,
        }
    }

    /// Asks whether a request may leave now.
    ///
    /// A hang-up always may: it is what is left against a microphone that stays open, and there
    /// is one for each call.
    ///
    /// # Errors
    /// [`RequestError::Throttled`] with what is left of a pause that Graph asked for, else
    /// [`NotSent::Circuit`].
    pub(crate) fn admit(
        &self,
        endpoint: Endpoint,
        now: Instant,
    ) -> Result<Permit<'_>, RequestError> {
        if endpoint == Endpoint::DeleteCall {
            self.budget.deposit();
            return Ok(self.permit(false));
        }
        let mut state = self.state.lock();
        let paused = Quiet::left(state.quiet.as_ref(), now).or_else(|| {
            let quiet = state.no_calls.as_ref().filter(|_| endpoint.begins_a_call());
            Quiet::left(quiet, now)
        });
        if let Some((quiet, left)) = paused {
            self.metrics.held(Held::Throttled);
            return Err(RequestError::Throttled {
                refusal: quiet.refusal.clone(),
                retry_after: Some(left),
            });
        }
        match state.breaker.admit(now) {
            Admission::Refused => {
                self.metrics.held(Held::Circuit);
                Err(RequestError::NotSent(NotSent::Circuit))
            }
            admission => {
                drop(state);
                self.budget.deposit();
                Ok(self.permit(admission == Admission::Probe))
            }
        }
    }

    /// Notes the pause that a 429 or 503 asked for. Without one nobody but the asker waits.
    pub(crate) fn throttled(
        &self,
        endpoint: Endpoint,
        refusal: &Refusal,
        pause: Option<Duration>,
        now: Instant,
    ) {
        let Some(pause) = pause else {
            return;
        };
        let until = now + pause.max(SHORTEST);
        let of_calls = refusal
            .subcode
            .is_some_and(|code| LIMITS_OF_CALLS.contains(&code));
        let mut state = self.state.lock();
        let quiet = if of_calls && endpoint.begins_a_call() {
            &mut state.no_calls
        } else {
            &mut state.quiet
        };
        if quiet.as_ref().is_none_or(|quiet| quiet.until < until) {
            let refusal = refusal.clone();
            *quiet = Some(Quiet { until, refusal });
        }
    }

    /// Whether one more repeat is within the budget. It is spent by asking.
    pub(crate) fn may_repeat(&self) -> bool {
        let may = self.budget.withdraw();
        if !may {
            self.metrics.held(Held::Budget);
        }
        may
    }

    /// Until when nothing is sent; `None` when the way is free.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        let quiet = Quiet::left(state.quiet.as_ref(), now).map(|(quiet, _)| quiet.until);
        quiet.max(state.breaker.opens(now))
    }

    fn permit(&self, probe: bool) -> Permit<'_> {
        Permit { scope: self, probe }
    }
}

impl Permit<'_> {
    /// An answer came, whatever it says.
    pub(crate) fn answered(mut self) {
        self.probe = false;
        if self.scope.state.lock().breaker.answered() {
            self.scope.metrics.circuit(None);
            tracing::info!("Graph answers again");
        }
    }

    /// No answer came.
    pub(crate) fn unanswered(mut self, now: Instant) {
        let probe = std::mem::take(&mut self.probe);
        if self.scope.state.lock().breaker.failed(probe, now) {
            self.scope.metrics.circuit(Some(Opened::Transport));
            tracing::warn!("Graph does not answer; it is left alone for 5 s");
        }
    }

    /// The token was turned down, and so was the next one.
    pub(crate) fn unauthorized(mut self, now: Instant) {
        self.probe = false;
        if self.scope.state.lock().breaker.trip(now) {
            self.scope.metrics.circuit(Some(Opened::Unauthorized));
            tracing::warn!(
                "Graph turns fresh tokens down; it is left alone for 5 s. Check the application, \
                 its tenant and its permissions"
            );
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.scope.state.lock().breaker.abandoned();
        }
    }
}

#[cfg(test)]
mod tests;
