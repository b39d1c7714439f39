//! What is left of a request's body when its answer is ready.
//!
//! A handler may refuse before it reads: no such call, no good token. Many clients send the body in
//! a packet of its own, which is then still on its way, and hyper closes a connection whose body
//! nobody reads; without a word, so that the client's next request on it fails, and perhaps with a
//! reset that overtakes the answer. Here the rest is read while the answer is sent and after it.
//!
//! Where it is known by then that the connection cannot go on, the answer says `Connection: close`
//! (RFC 9112, section 9.6), and the rest is read for a moment only. It is not known of a chunked
//! body that turns out to be too long, nor of a rest that does not come.

use std::error::Error;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::paced::Paced;

/// Most that is read of a body for nobody.
const MAX_REST: u64 = 2 * 1024 * 1024;
/// How long it is read where nothing can follow, so that no reset overtakes the answer.
const LINGER: Duration = Duration::from_secs(1);

/// A body whose rest is read when whoever had it lets go of it.
pub(crate) struct Whole {
    /// `None` once it is over.
    body: Option<Paced>,
    /// Something of it came.
    came: bool,
    failed: bool,
    left: Arc<Mutex<Left>>,
}

/// What is left of a body.
enum Left {
    /// Somebody has it.
    Held,
    Nothing {
        failed: bool,
    },
    Rest {
        body: Incoming,
        came: bool,
    },
    /// The answer is there; the rest is read for so long, whenever it is let go of.
    Answered(Duration, CancellationToken),
}

/// Sees to the rest once the answer is there.
pub(crate) struct Follow {
    left: Arc<Mutex<Left>>,
    expects: bool,
    patience: Duration,
    stopping: CancellationToken,
}

/// Whether the client waits for a word before it sends the body, or for the answer in its place
/// (RFC 9110, section 10.1.1).
pub(crate) fn expects_continue(version: Version, headers: &HeaderMap) -> bool {
    let said = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    version > Version::HTTP_10 && headers.get(EXPECT).is_some_and(said)
}

impl Whole {
    pub(crate) fn new(body: Paced) -> Self {
        Self {
            body: Some(body),
            came: false,
            failed: false,
            left: Arc::new(Mutex::new(Left::Held)),
        }
    }

    /// `expects` is [`expects_continue`] of its request; a rest has `patience` to come.
    pub(crate) fn follow(
        &self,
        expects: bool,
        patience: Duration,
        stopping: &CancellationToken,
    ) -> Follow {
        Follow {
            left: Arc::clone(&self.left),
            expects,
            patience,
            stopping: stopping.clone(),
        }
    }
}

impl Follow {
    /// Says in the answer that nothing can follow it, where that is so, and has the rest of the body
    /// read.
    ///
    /// To be called as the answer is handed over: hyper writes its head then, and asks no client any
    /// more to go on.
    pub(crate) fn answered(self, answer: &mut Response) {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let answered = Left::Answered(self.patience, self.stopping.clone());
        let mut left = self.left.lock();
        let (rest, closing) = match mem::replace(&mut *left, answered) {
            Left::Rest { body, came } => {
                let unsent = self.expects && !came;
                let too_long = body.size_hint().lower() > MAX_REST;
                (Some(body), unsent || too_long)
            }
            Left::Nothing { failed } => (None, failed),
            Left::Held | Left::Answered(..) => (None, false),
        };
        drop(left);
        let closing = closing || answer.status() == StatusCode::REQUEST_TIMEOUT;
        if closing {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        if let Some(rest) = rest {
            let patience = if closing { LINGER } else { self.patience };
            tokio::spawn(discard(rest, patience, self.stopping));
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
        let polled = Pin::new(&mut *body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => this.came = true,
            Poll::Ready(over) => {
                this.failed = over.is_some();
                this.body = None;
            }
            Poll::Pending => {}
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
        let body = self.body.take().filter(|body| !body.is_end_stream());
        let rest = match body {
            Some(body) => Left::Rest {
                body: body.into_inner(),
                came: self.came,
            },
            None => Left::Nothing {
                failed: self.failed,
            },
        };
        let before = mem::replace(&mut *self.left.lock(), rest);
        // Nobody else looks at it any more.
        if let Left::Answered(patience, stopping) = before
            && let Left::Rest { body, .. } = mem::replace(&mut *self.left.lock(), Left::Held)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(discard(body, patience, stopping));
        }
    }
}

/// Reads to the end, as far as a client may make us and no longer than `patience`; the body then is
/// dropped, and with it a connection that is not at its end.
async fn discard(mut body: Incoming, patience: Duration, stopping: CancellationToken) {
    let read = async {
        let mut left = MAX_REST;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let count = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(count as u64) else {
                return;
            };
            left = rest;
        }
    };
    let stopped = async {
        stopping.cancelled().await;
        sleep(LINGER).await;
    };
    tokio::select! {
        _ = timeout(patience, read) => {}
        () = stopped => {}
    }
}
