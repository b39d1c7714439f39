use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

/// One connection's clock for hyper's header timeout.
///
/// hyper starts the same timeout when a connection opens and when it falls idle after an answer.
/// Five seconds fit a new connection, but would cut a client's kept connection between two of
/// its requests, at worst while a POST is on its way. So after the first request every deadline
/// is moved by the rest of the keep-alive time. A header that trickles then costs no more than a
/// connection that idles.
#[derive(Debug, Clone)]
pub(crate) struct HeaderTimer {
    inner: TokioTimer,
    idle: Duration,
    seen: Arc<AtomicBool>,
}

impl HeaderTimer {
    /// `idle` is added to every deadline after the first request.
    pub(crate) fn new(idle: Duration) -> Self {
        Self {
            inner: TokioTimer::new(),
            idle,
            seen: Arc::default(),
        }
    }

    /// From now on the connection may idle.
    pub(crate) fn first_header_is_in(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }

    fn extra(&self) -> Duration {
        if self.seen.load(Ordering::Relaxed) {
            self.idle
        } else {
            Duration::ZERO
        }
    }
}

impl Timer for HeaderTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.inner.sleep(duration.saturating_add(self.extra()))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.inner.sleep_until(deadline + self.extra())
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        self.inner.reset(sleep, deadline + self.extra());
    }
}
