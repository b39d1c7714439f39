//! A request's body with a time limit and a least rate.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::Limits;
use crate::metrics::{Closed, ListenMetrics};

/// How long a client may fall below the least rate: packets are lost and sent again.
const WINDOW: Duration = Duration::from_secs(5);

/// A request's body came more slowly than [`Limits`] allow. It is the error of the body; answer 408.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body came too slowly; send it faster")]
pub struct TooSlow;

impl TooSlow {
    /// Whether it is what `error` comes from.
    pub fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<Self>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

pub(crate) struct Paced {
    inner: Incoming,
    until: Instant,
    rate: u32,
    window: Duration,
    /// Bytes that came since the window began; no timer runs before the first wait.
    came: u32,
    timer: Option<Pin<Box<Sleep>>>,
    metrics: ListenMetrics,
}

impl Paced {
    pub(crate) fn new(inner: Incoming, limits: &Limits, metrics: ListenMetrics) -> Self {
        Self {
            inner,
            until: Instant::now() + limits.body_timeout,
            rate: limits.min_body_rate,
            window: WINDOW.min(limits.body_timeout),
            came: 0,
            timer: None,
            metrics,
        }
    }

    pub(crate) fn into_inner(self) -> Incoming {
        self.inner
    }

    /// Whether time is up; else wakes the task when it is to look again.
    fn is_too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let now = Instant::now();
            let next = (now + self.window).min(self.until);
            let fresh = self.timer.is_none();
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if fresh {
                self.came = 0;
            }
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            let least = f64::from(self.rate) * self.window.as_secs_f64();
            if Instant::now() >= self.until || f64::from(self.came) < least {
                self.metrics.closed(Closed::SlowBody);
                return true;
            }
            self.timer = None;
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let count = frame.data_ref().map_or(0, Bytes::len);
                self.came = self
                    .came
                    .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
            }
            Poll::Pending if self.is_too_slow(cx) => {
                return Poll::Ready(Some(Err(TooSlow.into())));
            }
            _ => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
