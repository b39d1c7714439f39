//! What is left of a request's body when its answer is ready.
//!
//! A handler may refuse before it reads: no such call, no good token. Many clients send the body in
//! a packet of its own, which is then still on its way, and hyper closes a connection whose body
//! nobody reads; without a word, so that the client's next request on it fails. Here it is read to
//! its end after the answer, within the limits of any body, and where it cannot be the answer says
//! `Connection: close` (RFC 9112, section 9.6).

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;

use crate::paced::Paced;

/// Most that is read of a body for nobody.
const MAX_REST: u64 = 2 * 1024 * 1024;

/// A body that is read to its end when whoever had it lets go of it.
pub(crate) struct Whole {
    /// `None` once it is over.
    body: Option<Paced>,
    /// The client waits for a word before it sends it, or for the answer in its place.
    expects: bool,
    seen: Arc<Seen>,
}

/// How far a body was read.
#[derive(Debug, Default)]
struct Seen {
    begun: AtomicBool,
    ended: AtomicBool,
    failed: AtomicBool,
}

/// Knows, when the answer is there, whether another request can follow it.
pub(crate) struct Follow {
    seen: Arc<Seen>,
    expects: bool,
    too_long: bool,
}

impl Whole {
    /// `expects` is whether the request has `Expect: 100-continue`.
    pub(crate) fn new(body: Paced, expects: bool) -> (Self, Follow) {
        let seen = Arc::new(Seen::default());
        let follow = Follow {
            seen: Arc::clone(&seen),
            expects,
            too_long: body.size_hint().lower() > MAX_REST,
        };
        let whole = Self {
            body: Some(body),
            expects,
            seen,
        };
        (whole, follow)
    }
}

impl Follow {
    /// Says in the answer that nothing can follow, where that is so.
    pub(crate) fn mark(&self, answer: &mut Response) {
        let seen = &self.seen;
        let unsent = self.expects && !seen.begun.load(Ordering::Acquire);
        let unread = unsent || self.too_long;
        if seen.failed.load(Ordering::Acquire) || unread && !seen.ended.load(Ordering::Acquire) {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        this.seen.begun.store(true, Ordering::Release);
        let polled = Pin::new(&mut *body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) if body.is_end_stream() => {
                this.seen.ended.store(true, Ordering::Release);
            }
            Poll::Ready(None) => {
                this.seen.ended.store(true, Ordering::Release);
                this.body = None;
            }
            Poll::Ready(Some(Err(_))) => {
                this.seen.failed.store(true, Ordering::Release);
                this.body = None;
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.as_ref().map(Body::size_hint);
        left.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let unsent = self.expects && !self.seen.begun.load(Ordering::Acquire);
        if unsent || body.is_end_stream() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(discard(body));
        }
    }
}

/// Reads to the end, as far as a client may make us; the body then is dropped, and with it a
/// connection that is not at its end.
async fn discard(mut body: Paced) {
    let mut left = MAX_REST;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let count = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(count as u64) else {
            return;
        };
        left = rest;
    }
}
