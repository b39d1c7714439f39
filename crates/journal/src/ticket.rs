use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::error::Lost;

/// Resolves once the records it was given for are durable. May be dropped: they are written all
/// the same.
#[derive(Debug)]
#[must_use = "nothing that rests on the records may happen before"]
pub struct Ticket(State);

#[derive(Debug)]
enum State {
    Known(Result<(), Lost>),
    Waiting(oneshot::Receiver<()>),
}

impl Ticket {
    pub(crate) const fn known(result: Result<(), Lost>) -> Self {
        Self(State::Known(result))
    }

    pub(crate) const fn waiting(receiver: oneshot::Receiver<()>) -> Self {
        Self(State::Waiting(receiver))
    }

    /// What is known now, without waiting; `None` while the disk is busy with it.
    pub fn now(&mut self) -> Option<Result<(), Lost>> {
        if let State::Waiting(receiver) = &mut self.0 {
            match receiver.try_recv() {
                Ok(()) => self.0 = State::Known(Ok(())),
                Err(oneshot::error::TryRecvError::Closed) => self.0 = State::Known(Err(Lost)),
                Err(oneshot::error::TryRecvError::Empty) => return None,
            }
        }
        match self.0 {
            State::Known(result) => Some(result),
            State::Waiting(_) => None,
        }
    }

    /// Blocks the thread until it is known. Not for async code.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn wait(self) -> Result<(), Lost> {
        match self.0 {
            State::Known(result) => result,
            State::Waiting(receiver) => receiver.blocking_recv().map_err(|_| Lost),
        }
    }
}

impl Future for Ticket {
    type Output = Result<(), Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(result) => Poll::Ready(*result),
            State::Waiting(receiver) => {
                let result = match Pin::new(receiver).poll(cx) {
                    Poll::Ready(told) => told.map_err(|_| Lost),
                    Poll::Pending => return Poll::Pending,
                };
                self.0 = State::Known(result);
                Poll::Ready(result)
            }
        }
    }
}
