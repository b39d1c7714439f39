//! Whose turn it is: what an actor takes up of all that came.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use openmic_journal::Lost;

use super::Done;
use crate::mail::Mail;
use crate::supervise::Lanes;

/// What an actor takes up next.
pub(super) enum Turn {
    /// The records of the oldest step that waits.
    Written(Result<(), Lost>),
    /// The alarm went off.
    Due,
    Done(Done),
    Read(Mail),
}

/// What was waited for, time, then replies, then new work.
pub(super) fn turn(lanes: &mut Lanes, is_due: bool, context: &mut Context<'_>) -> Poll<Turn> {
    let Lanes {
        outbox,
        jobs,
        inbox,
        ..
    } = lanes;
    if let Some(ticket) = outbox.awaited()
        && let Poll::Ready(written) = Pin::new(ticket).poll(context)
    {
        return Poll::Ready(Turn::Written(written));
    }
    if is_due {
        return Poll::Ready(Turn::Due);
    }
    if let Poll::Ready(Some(done)) = jobs.poll_next(context) {
        return Poll::Ready(Turn::Done(done));
    }
    if !outbox.is_full()
        && let Poll::Ready(Some(mail)) = inbox.poll_recv(context)
    {
        return Poll::Ready(Turn::Read(mail));
    }
    Poll::Pending
}
