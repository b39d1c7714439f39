//! A bounded mailbox that takes memory for the letters in it, and none while it is empty.
//!
//! `tokio::sync::mpsc` keeps room for 32 letters whatever is in it, and its two sides on cache
//! lines of their own: a kilobyte for every call that waits for nothing but its next keepAlive.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{Semaphore, TryAcquireError};
use tokio::task::coop;

struct Shared<T> {
    /// Places that are free; whoever waits for one is served in turn.
    room: Semaphore,
    queue: Mutex<Queue<T>>,
    #[cfg(test)]
    closed: tokio::sync::Notify,
}

struct Queue<T> {
    letters: VecDeque<T>,
    /// Of the reader, while it waits for a letter.
    reader: Option<Waker>,
    /// The reader is gone: what comes now is read by nobody.
    orphaned: bool,
}

/// A mailbox for so many letters.
pub(crate) fn mailbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        room: Semaphore::new(capacity),
        queue: Mutex::new(Queue {
            letters: VecDeque::new(),
            reader: None,
            orphaned: false,
        }),
        #[cfg(test)]
        closed: tokio::sync::Notify::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Shared<T> {
    /// For whoever has a place.
    fn put(&self, letter: T) {
        let mut queue = self.queue.lock();
        if queue.orphaned {
            // Dropped outside the lock: its drop may wake somebody.
            drop(queue);
            drop(letter);
            return;
        }
        queue.letters.push_back(letter);
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// The side that letters come from.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts a letter in if there is room.
    pub(crate) fn try_send(&self, letter: T) -> Result<(), TrySendError<T>> {
        match self.0.room.try_acquire() {
            Ok(place) => place.forget(),
            Err(TryAcquireError::NoPermits) => return Err(TrySendError::Full(letter)),
            Err(TryAcquireError::Closed) => return Err(TrySendError::Closed(letter)),
        }
        self.0.put(letter);
        Ok(())
    }

    /// Puts a letter in as soon as there is room.
    pub(crate) async fn send(&self, letter: T) -> Result<(), SendError<T>> {
        match self.0.room.acquire().await {
            Ok(place) => place.forget(),
            Err(_) => return Err(SendError(letter)),
        }
        self.0.put(letter);
        Ok(())
    }

    /// Takes places for `letters`, all or none.
    pub(crate) fn try_reserve_many(
        &self,
        letters: usize,
    ) -> Result<Places<'_, T>, TrySendError<()>> {
        let wanted = u32::try_from(letters).unwrap_or(u32::MAX);
        match self.0.room.try_acquire_many(wanted) {
            Ok(places) => places.forget(),
            Err(TryAcquireError::NoPermits) => return Err(TrySendError::Full(())),
            Err(TryAcquireError::Closed) => return Err(TrySendError::Closed(())),
        }
        Ok(Places {
            shared: &self.0,
            left: letters,
        })
    }

    /// Letters that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.0.room.available_permits()
    }

    /// Whether no letter is taken any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.room.is_closed()
    }

    /// Waits until no letter is taken any more.
    #[cfg(test)]
    pub(crate) async fn closed(&self) {
        let mut closed = std::pin::pin!(self.0.closed.notified());
        closed.as_mut().enable();
        if !self.is_closed() {
            closed.await;
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Places that were reserved; those without a letter are given back.
pub(crate) struct Places<'a, T> {
    shared: &'a Shared<T>,
    left: usize,
}

impl<T> Places<'_, T> {
    /// Puts a letter in one of them.
    ///
    /// # Panics
    /// When there is none left.
    pub(crate) fn send(&mut self, letter: T) {
        self.left = self.left.checked_sub(1).expect("a place for each letter");
        self.shared.put(letter);
    }

    /// How many there are.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }
}

impl<T> Drop for Places<'_, T> {
    fn drop(&mut self) {
        self.shared.room.add_permits(self.left);
    }
}

/// The side that reads. Dropped, it takes the letters along that were not read.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next letter; `None` once the mailbox is closed and everything was read. Safe to cancel.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`Receiver::recv`].
    pub(crate) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        // Whoever always has letters lets others run now and then.
        let turn = ready!(coop::poll_proceed(context));
        let mut queue = self.0.queue.lock();
        if let Some(letter) = queue.letters.pop_front() {
            if queue.letters.is_empty() {
                queue.letters = VecDeque::new();
            }
            drop(queue);
            self.0.room.add_permits(1);
            turn.made_progress();
            return Poll::Ready(Some(letter));
        }
        if self.0.room.is_closed() {
            turn.made_progress();
            return Poll::Ready(None);
        }
        match &mut queue.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes no more letters. Those that are there can still be read.
    pub(crate) fn close(&mut self) {
        self.0.room.close();
        #[cfg(test)]
        self.0.closed.notify_waiters();
    }

    /// Whether there is nothing to read now.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.queue.lock().letters.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        let unread = {
            let mut queue = self.0.queue.lock();
            queue.orphaned = true;
            queue.reader = None;
            std::mem::take(&mut queue.letters)
        };
        drop(unread);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn letters_are_read_in_order_and_all_places_come_back() {
        let (sender, mut receiver) = mailbox(3);
        sender.try_send(1).unwrap();
        let mut places = sender.try_reserve_many(2).unwrap();
        assert!(matches!(sender.try_send(9), Err(TrySendError::Full(9))));
        assert!(sender.try_reserve_many(1).is_err());
        places.send(2);
        drop(places);
        assert_eq!(sender.capacity(), 1, "the place without a letter is free");
        assert!(matches!(
            sender.try_reserve_many(2),
            Err(TrySendError::Full(()))
        ));
        assert_eq!(
            (receiver.recv().await, receiver.recv().await),
            (Some(1), Some(2))
        );
        assert!(receiver.is_empty());
        assert_eq!(sender.capacity(), 3);
    }

    #[tokio::test]
    async fn whoever_waits_for_room_comes_before_whoever_does_not() {
        let (sender, mut receiver) = mailbox(1);
        let sender = Arc::new(sender);
        sender.try_send(1).unwrap();
        let waiting = tokio::spawn({
            let sender = Arc::clone(&sender);
            async move { sender.send(2).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(receiver.recv().await, Some(1));
        assert!(sender.try_send(3).is_err(), "its place is given away");
        assert_eq!(receiver.recv().await, Some(2));
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_reader_is_woken() {
        let (sender, mut receiver) = mailbox(1);
        let reading = tokio::spawn(async move { receiver.recv().await });
        tokio::task::yield_now().await;
        sender.try_send(1).unwrap();
        assert_eq!(reading.await.unwrap(), Some(1));
    }

    #[tokio::test]
    async fn closed_it_takes_nothing_and_is_read_to_its_end() {
        let (sender, mut receiver) = mailbox(2);
        sender.try_send(1).unwrap();
        receiver.close();
        assert!(sender.is_closed());
        assert!(matches!(sender.try_send(2), Err(TrySendError::Closed(2))));
        assert!(sender.send(3).await.is_err());
        assert_eq!(
            (receiver.recv().await, receiver.recv().await),
            (Some(1), None)
        );
    }

    /// Counts its drops.
    struct Letter<'a>(&'a AtomicUsize);

    impl Drop for Letter<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_not_read_goes_with_the_reader_also_when_it_comes_too_late() {
        let dropped = AtomicUsize::new(0);
        let (sender, receiver) = mailbox(2);
        assert!(sender.try_send(Letter(&dropped)).is_ok());
        // Reserved while there was a reader.
        let mut places = sender.try_reserve_many(1).unwrap();
        drop(receiver);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        places.send(Letter(&dropped));
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_flood_lets_others_run() {
        let (sender, mut receiver) = mailbox(1);
        let flood = async {
            while sender.try_send(()).is_ok() {
                receiver.recv().await;
            }
        };
        // Ends only because the flood pauses.
        tokio::select! {
            biased;
            () = flood => {}
            () = tokio::task::yield_now() => {}
        }
    }
}
