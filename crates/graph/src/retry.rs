//! When to come again: `Retry-After` and the growing pause between repeats.

use std::future::Future;
use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;

use crate::error::{Repeat, RequestError};
use crate::scope::Scope;

/// Longest `Retry-After` that is believed.
const LONGEST: Duration = Duration::from_hours(24);

/// Reads `Retry-After`: whole seconds, fractional ones as Graph sends them, or an HTTP date
/// (RFC 9110 section 10.2.3), which is taken relative to the answer's own `Date`.
pub(crate) fn retry_after(raw: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let raw = raw.trim();
    if let Ok(seconds) = raw.parse::<f64>() {
        let wait = Duration::try_from_secs_f64(seconds).ok()?;
        return Some(wait.min(LONGEST));
    }
    let at = httpdate::parse_http_date(raw).ok()?;
    let from = date.and_then(|raw| httpdate::parse_http_date(raw).ok());
    let wait = at.duration_since(from.unwrap_or(now)).unwrap_or_default();
    Some(wait.min(LONGEST))
}

/// Repeats `request` while that is harmless, `deadline` leaves time for it and the budget that all
/// requests of `scope` share is not used up: after the pause that Graph named, else after 0.1 s
/// growing to 2 s, with jitter. A hang-up is repeated when its outcome is uncertain, too, and
/// whatever the budget says.
pub(crate) async fn repeating<T, F, Fut>(
    scope: &Scope,
    deadline: Instant,
    hang_up: bool,
    request: F,
) -> Result<T, RequestError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, RequestError>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
        .with_jitter();
    request
        .retry(pauses)
        .sleep(tokio::time::sleep)
        .adjust(|error, pause| {
            let wait = match error.repeat() {
                Repeat::After(wait) => wait,
                Repeat::Backoff => pause?,
                Repeat::Never => {
                    let open = matches!(error, RequestError::Ambiguous(_));
                    pause.filter(|_| hang_up && open)?
                }
            };
            if deadline <= Instant::now() + wait {
                return None;
            }
            (hang_up || !error.bothered() || scope.may_repeat()).then_some(wait)
        })
        .await
}

#[cfg(test)]
mod tests;
