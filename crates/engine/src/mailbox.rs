//! A bounded mailbox that takes memory for the letters in it, and none while it is empty.
//!
//! `tokio::sync::mpsc` keeps room for 32 letters whatever is in it, and its two sides on cache
//! lines of their own: a kilobyte for every call that waits for nothing but its next keepAlive.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{Semaphore, TryAcquireError};

/// Letters that are read one after the other before others get a turn.
const IN_A_ROW: u8 = 64;

/// What reads the letters, laid aside for as long as none come.
pub(crate) trait Sleeper {
    /// What reads while it is awake.
    type Task: Task;

    /// Goes on reading.
    fn wake(self);

    /// Has the memory fetched that it is going to read with.
    fn fetch(&self);
}

/// What reads the letters and waits for other things as well.
pub(crate) trait Task {
    /// Reads on, here or wherever it does so just now.
    fn run(&self);
}

/// The mailbox, and the side that letters come from.
pub(crate) struct Mailbox<T, S: Sleeper> {
    /// Places that are free; whoever waits for one is served in turn.
    room: Semaphore,
    queue: Mutex<Queue<T, S>>,
    #[cfg(test)]
    closed: tokio::sync::Notify,
}

struct Queue<T, S: Sleeper> {
    letters: VecDeque<T>,
    reader: Reader<S>,
    /// The reader is gone: what comes now is read by nobody.
    orphaned: bool,
    /// Letters that were read since there was none.
    in_a_row: u8,
}

/// Who is to be told of a letter.
enum Reader<S: Sleeper> {
    /// It is reading.
    Busy,
    /// It waits for a letter.
    Waiting(Waker),
    /// It waits for a letter, and whoever brings one may run it.
    Lent(Weak<S::Task>),
    Asleep(S),
}

impl<S: Sleeper> Reader<S> {
    const fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Busy)
    }
}

impl<S: Sleeper> Reader<S> {
    fn tell(self) {
        match self {
            Self::Busy => {}
            Self::Lent(task) => {
                if let Some(task) = task.upgrade() {
                    task.run();
                }
            }
            Self::Waiting(reader) => reader.wake(),
            Self::Asleep(reader) => reader.wake(),
        }
    }
}

impl<T, S: Sleeper> Mailbox<T, S> {
    /// For so many letters.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            room: Semaphore::new(capacity),
            queue: Mutex::new(Queue {
                letters: VecDeque::new(),
                reader: Reader::Busy,
                orphaned: false,
                in_a_row: 0,
            }),
            #[cfg(test)]
            closed: tokio::sync::Notify::new(),
        }
    }

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
        reader.tell();
    }

    /// Has the memory fetched of a reader that sleeps, if nobody uses the mailbox just now; nobody does
    /// as long as what this returns is there. Never waits.
    pub(crate) fn fetch(&self) -> impl Sized {
        let queue = self.queue.try_lock();
        if let Some(queue) = &queue
            && let Reader::Asleep(sleeper) = &queue.reader
        {
            sleeper.fetch();
        }
        queue
    }

    /// Puts a letter in if there is room.
    pub(crate) fn try_send(&self, letter: T) -> Result<(), TrySendError<T>> {
        match self.room.try_acquire() {
            Ok(place) => place.forget(),
            Err(TryAcquireError::NoPermits) => return Err(TrySendError::Full(letter)),
            Err(TryAcquireError::Closed) => return Err(TrySendError::Closed(letter)),
        }
        self.put(letter);
        Ok(())
    }

    /// Puts a letter in as soon as there is room.
    pub(crate) async fn send(&self, letter: T) -> Result<(), SendError<T>> {
        match self.room.acquire().await {
            Ok(place) => place.forget(),
            Err(_) => return Err(SendError(letter)),
        }
        self.put(letter);
        Ok(())
    }

    /// Takes places for `letters`, all or none.
    pub(crate) fn try_reserve_many(
        &self,
        letters: usize,
    ) -> Result<Places<'_, T, S>, TrySendError<()>> {
        let wanted = u32::try_from(letters).unwrap_or(u32::MAX);
        match self.room.try_acquire_many(wanted) {
            Ok(places) => places.forget(),
            Err(TryAcquireError::NoPermits) => return Err(TrySendError::Full(())),
            Err(TryAcquireError::Closed) => return Err(TrySendError::Closed(())),
        }
        Ok(Places {
            mailbox: self,
            left: letters,
        })
    }

    /// Wakes a reader that sleeps, although there is nothing to read.
    pub(crate) fn rouse(&self) {
        let mut queue = self.queue.lock();
        if matches!(queue.reader, Reader::Asleep(_)) {
            let reader = queue.reader.take();
            drop(queue);
            reader.tell();
        }
    }

    /// Lays the reader aside until a letter comes.
    ///
    /// # Errors
    /// It is given back when there is a letter already, or none can come any more.
    pub(crate) fn lay(&self, sleeper: S) -> Result<(), S> {
        let mut queue = self.queue.lock();
        if !queue.letters.is_empty() || self.room.is_closed() {
            return Err(sleeper);
        }
        queue.reader = Reader::Asleep(sleeper);
        Ok(())
    }

    /// Has whoever brings the next letter run `task`, if the reader waits for one.
    pub(crate) fn lend(&self, task: &Weak<S::Task>) {
        let mut queue = self.queue.lock();
        if matches!(queue.reader, Reader::Waiting(_)) {
            queue.reader = Reader::Lent(Weak::clone(task));
        }
    }

    /// Takes away a reader that sleeps; nobody reads any more.
    pub(crate) fn evict(&self) -> Option<S> {
        let mut queue = self.queue.lock();
        match queue.reader.take() {
            Reader::Asleep(sleeper) => Some(sleeper),
            other => {
                queue.reader = other;
                None
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_asleep(&self) -> bool {
        matches!(self.queue.lock().reader, Reader::Asleep(_))
    }

    /// Letters that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.room.available_permits()
    }

    /// Whether no letter is taken any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.room.is_closed()
    }

    /// Waits until no letter is taken any more.
    #[cfg(test)]
    pub(crate) async fn closed(&self) {
        let mut closed = std::pin::pin!(self.closed.notified());
        closed.as_mut().enable();
        if !self.is_closed() {
            closed.await;
        }
    }
}

impl<T, S: Sleeper> fmt::Debug for Mailbox<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Places that were reserved; those without a letter are given back.
pub(crate) struct Places<'a, T, S: Sleeper> {
    mailbox: &'a Mailbox<T, S>,
    left: usize,
}

impl<T, S: Sleeper> Places<'_, T, S> {
    /// Puts a letter in one of them.
    ///
    /// # Panics
    /// When there is none left.
    pub(crate) fn send(&mut self, letter: T) {
        self.left = self.left.checked_sub(1).expect("a place for each letter");
        self.mailbox.put(letter);
    }

    /// How many there are.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }
}

impl<T, S: Sleeper> Drop for Places<'_, T, S> {
    fn drop(&mut self) {
        self.mailbox.room.add_permits(self.left);
    }
}

/// Whatever a mailbox is a part of, so that both are one piece of memory.
pub(crate) trait Holder {
    /// What is read.
    type Letter;
    /// What sleeps in the mailbox.
    type Sleeper: Sleeper;

    /// Its mailbox.
    fn mailbox(&self) -> &Mailbox<Self::Letter, Self::Sleeper>;
}

/// The side that reads; each mailbox has one. Dropped, it takes the letters along that were not
/// read.
pub(crate) struct Receiver<H: Holder>(Arc<H>);

impl<H: Holder> Receiver<H> {
    /// Of a mailbox that has none yet.
    pub(crate) const fn new(holder: Arc<H>) -> Self {
        Self(holder)
    }

    fn mailbox(&self) -> &Mailbox<H::Letter, H::Sleeper> {
        self.0.mailbox()
    }

    /// The next letter; `None` once the mailbox is closed and everything was read. Safe to cancel.
    pub(crate) async fn recv(&mut self) -> Option<H::Letter> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`Receiver::recv`]. Whoever always has letters lets others run now and then: as tokio's
    /// budget, but that of a task is not there where a letter wakes a sleeper.
    pub(crate) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<H::Letter>> {
        let mailbox = self.mailbox();
        let mut queue = mailbox.queue.lock();
        if queue.in_a_row >= IN_A_ROW {
            queue.in_a_row = 0;
            drop(queue);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(letter) = queue.letters.pop_front() {
            if queue.letters.is_empty() {
                queue.letters = VecDeque::new();
            }
            queue.in_a_row += 1;
            drop(queue);
            mailbox.room.add_permits(1);
            return Poll::Ready(Some(letter));
        }
        queue.in_a_row = 0;
        if mailbox.room.is_closed() {
            return Poll::Ready(None);
        }
        match &mut queue.reader {
            Reader::Waiting(reader) => reader.clone_from(context.waker()),
            other => *other = Reader::Waiting(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes no more letters. Those that are there can still be read.
    pub(crate) fn close(&mut self) {
        self.mailbox().room.close();
        #[cfg(test)]
        self.mailbox().closed.notify_waiters();
    }

    /// Whether there is nothing to read now.
    pub(crate) fn is_empty(&self) -> bool {
        self.mailbox().queue.lock().letters.is_empty()
    }
}

impl<H: Holder> Drop for Receiver<H> {
    fn drop(&mut self) {
        self.close();
        let unread = {
            let mut queue = self.mailbox().queue.lock();
            queue.orphaned = true;
            queue.reader = Reader::Busy;
            std::mem::take(&mut queue.letters)
        };
        drop(unread);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Nobody's.
    struct Never;

    impl Task for Never {
        fn run(&self) {}
    }

    /// Tells that it was woken.
    #[derive(Debug)]
    struct Heavy<'a>(&'a AtomicUsize);

    impl Sleeper for Heavy<'_> {
        type Task = Never;

        fn wake(self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn fetch(&self) {}
    }

    impl<T, S: Sleeper> Holder for Mailbox<T, S> {
        type Letter = T;
        type Sleeper = S;

        fn mailbox(&self) -> &Self {
            self
        }
    }

    type Shared<'a, T> = Arc<Mailbox<T, Heavy<'a>>>;

    fn mailbox<'a, T>(capacity: usize) -> (Shared<'a, T>, Receiver<Mailbox<T, Heavy<'a>>>) {
        let mailbox = Arc::new(Mailbox::new(capacity));
        (Arc::clone(&mailbox), Receiver::new(mailbox))
    }

    #[test]
    fn who_sleeps_is_woken_once_by_a_letter_or_a_call() {
        let woken = AtomicUsize::new(0);
        let (sender, receiver) = mailbox(4);
        sender.lay(Heavy(&woken)).unwrap();
        assert!(sender.try_send(1).is_ok());
        assert!(sender.try_send(2).is_ok());
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        let back = sender.lay(Heavy(&woken));
        assert!(back.is_err(), "there is something to read");
        drop(receiver);

        let (sender, mut receiver) = mailbox::<u8>(4);
        sender.lay(Heavy(&woken)).unwrap();
        sender.rouse();
        sender.rouse();
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        sender.lay(Heavy(&woken)).unwrap();
        assert!(sender.evict().is_some());
        assert!(sender.evict().is_none());
        assert!(sender.try_send(1).is_ok());
        assert_eq!(woken.load(Ordering::Relaxed), 2, "nobody is there");
        receiver.close();
        assert!(sender.lay(Heavy(&woken)).is_err());
    }

    #[test]
    fn memory_is_fetched_only_while_nobody_has_the_mailbox() {
        let woken = AtomicUsize::new(0);
        let (sender, _receiver) = mailbox::<u8>(4);
        sender.lay(Heavy(&woken)).unwrap();
        let fetched = sender.fetch();
        assert!(sender.queue.is_locked());
        // Does not wait for the other one.
        drop(sender.fetch());
        assert!(sender.queue.is_locked());
        drop(fetched);
        assert!(!sender.queue.is_locked());
        assert_eq!(woken.load(Ordering::Relaxed), 0, "nothing came to read");
    }

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
