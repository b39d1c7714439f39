//! The socket under hyper: what hyper says on its own gets Graph's envelope, and a client that takes
//! no bytes is not waited for.
//!
//! hyper answers a head that it cannot read itself, 400, 414 or 431, with no body and no id, and
//! offers no hook. Whatever a router of ours answers carries a `request-id`, so hyper's own heads
//! can be told from all else in what it writes, and are exchanged here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use uuid::Uuid;

use crate::metrics::{Closed, ListenMetrics};

/// hyper's own heads are shorter.
const MAX_HEAD: usize = 256;

/// How their status lines go on after the first digit.
const OWN_STATUS: [&[u8]; 3] = [
    b"00 Bad Request\r\n",
    b"14 URI Too Long\r\n",
    b"31 Request Header Fields Too Large\r\n",
];

/// What is still read after a refusal, so that no reset overtakes it, and for how long.
const MAX_DISCARDED: usize = 2 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

pub(crate) struct Guarded<S> {
    inner: S,
    max_header_bytes: usize,
    stuck_after: Duration,
    /// Runs while a write waits.
    stuck: Option<Pin<Box<Sleep>>>,
    refused: Option<Refused>,
    metrics: ListenMetrics,
}

/// The answer in the place of hyper's, and what is done about the client after it.
struct Refused {
    answer: Vec<u8>,
    sent: usize,
    linger: Option<Pin<Box<Sleep>>>,
    discarded: usize,
}

impl<S> Guarded<S> {
    pub(crate) fn new(
        inner: S,
        max_header_bytes: usize,
        stuck_after: Duration,
        metrics: ListenMetrics,
    ) -> Self {
        Self {
            inner,
            max_header_bytes,
            stuck_after,
            stuck: None,
            refused: None,
            metrics,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }

    /// Gives a client that takes nothing its time and no more.
    fn unless_stuck<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stuck = None;
            return polled;
        }
        let after = self.stuck_after;
        let stuck = self
            .stuck
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        ready!(stuck.as_mut().poll(cx));
        self.metrics.closed(Closed::StuckAnswer);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    /// Sends what is left of a refusal.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(refused) = &mut self.refused
            && refused.sent < refused.answer.len()
        {
            let left = &refused.answer[refused.sent..];
            let polled = Pin::new(&mut self.inner).poll_write(cx, left);
            let count = ready!(self.unless_stuck(cx, polled))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(refused) = &mut self.refused {
                refused.sent += count;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on for a moment: a socket that is closed with bytes unread resets the connection, and
    /// the client may never see why.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(refused) = &mut self.refused else {
            return Poll::Ready(());
        };
        let linger = refused
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        while linger.as_mut().poll(cx).is_pending() && refused.discarded < MAX_DISCARDED {
            let mut scratch = [0; 4096];
            let mut scratch = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut scratch));
            if read.is_err() || scratch.filled().is_empty() {
                break;
            }
            refused.discarded += scratch.filled().len();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

/// Not vectored: hyper then writes from one buffer, at whose end its own head is found.
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let before = match own_head(buf) {
            Some(0) => {
                this.metrics.closed(Closed::BadHeader);
                this.refused = Some(Refused {
                    answer: refusal(buf, this.max_header_bytes),
                    sent: 0,
                    linger: None,
                    discarded: 0,
                });
                // `poll_flush` and `poll_shutdown` send it.
                return Poll::Ready(Ok(buf.len()));
            }
            Some(before) => before,
            None => buf.len(),
        };
        let polled = Pin::new(&mut this.inner).poll_write(cx, &buf[..before]);
        this.unless_stuck(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.unless_stuck(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        ready!(self.unless_stuck(cx, polled))?;
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}

/// Where hyper's own head begins, which is the last thing it writes on a connection.
fn own_head(buf: &[u8]) -> Option<usize> {
    if !buf.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = buf.len().saturating_sub(MAX_HEAD);
    let tail = &buf[from..];
    let begins = |at: &usize| {
        if tail[*at] != b'H' {
            return false;
        }
        let head = tail[*at..].strip_prefix(b"HTTP/1.1 4");
        head.is_some_and(|head| OWN_STATUS.iter().any(|status| head.starts_with(status)))
    };
    let at = from + (0..tail.len()).rev().find(begins)?;
    let head = std::str::from_utf8(&buf[at..]).ok()?;
    let hypers = |line: &str| {
        ["connection: close", "content-length: 0"].contains(&line) || line.starts_with("date: ")
    };
    let mut lines = head.trim_end_matches("\r\n").split("\r\n").skip(1);
    // In a header's value it would be an echo of the client's words.
    let echoed = at > 0 && buf[at - 1] == b' ';
    (lines.all(hypers) && !echoed).then_some(at)
}

/// The same head with an id and Graph's envelope.
fn refusal(head: &[u8], max_header_bytes: usize) -> Vec<u8> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or("HTTP/1.1 400 Bad Request");
    let date = lines.find(|line| line.starts_with("date: "));
    let message = match status.split(' ').nth(1) {
        Some("431") => format!(
            "The request's header is longer than {max_header_bytes} bytes, or has more than 100 \
             fields. Send fewer or shorter header fields."
        ),
        Some("414") => "The request's address is too long. Shorten its path or query.".to_owned(),
        _ => {
            "The head of the request is no HTTP/1.1: method, path, version and header fields must \
              be as RFC 9112 has them. Use an HTTP client, and percent-encode the path."
                .to_owned()
        }
    };
    let id = Uuid::new_v4().to_string();
    let body =
        openmic_wire::error::encode("invalidRequest", &message, SystemTime::now(), &id, None);
    let mut answer = format!(
        "{status}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nrequest-id: {id}\r\nclient-request-id: {id}\r\n",
        body.len()
    );
    if let Some(date) = date {
        answer.push_str(date);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                       date: Wed, 25 Nov 2026 18:00:00 GMT\r\n\r\n";

    #[test]
    fn hypers_own_head_is_found_and_nothing_else() {
        assert_eq!(own_head(OWN.as_bytes()), Some(0));
        let pipelined = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}{OWN}");
        assert_eq!(
            own_head(pipelined.as_bytes()),
            Some(pipelined.len() - OWN.len())
        );
        for ours in [
            "HTTP/1.1 400 Bad Request\r\nrequest-id: x\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "HTTP/1.1 202 Accepted\r\nclient-request-id: HTTP/1.1 400 Bad Request\r\n\
             content-length: 0\r\n\r\n"
                .to_owned(),
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n".to_owned(),
            format!("{OWN} and more"),
            String::new(),
        ] {
            assert_eq!(own_head(ours.as_bytes()), None, "{ours}");
        }
    }
}
