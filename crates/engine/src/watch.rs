//! The latest value of something, and word of every change: what `tokio::sync::watch` does, in a
//! fifth of its memory. That one spreads its waiters over eight lists; a call has few, mostly none.

use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::coop;

#[derive(Debug)]
struct Shared<T> {
    now: Mutex<Now<T>>,
    news: Notify,
}

#[derive(Debug)]
struct Now<T> {
    value: T,
    /// Changes so far.
    changes: u32,
    /// There will be no others.
    ended: bool,
}

/// The value is as good as it will get: its sender is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended;

/// The side that changes the value.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            now: Mutex::new(Now {
                value,
                changes: 0,
                ended: false,
            }),
            news: Notify::new(),
        }))
    }

    /// Looks at the value while nobody changes it. Not to be held for long.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0.now.lock().value)
    }

    /// Changes the value, and says whether that is news.
    pub(crate) fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) {
        let mut now = self.0.now.lock();
        if change(&mut now.value) {
            now.changes = now.changes.wrapping_add(1);
            drop(now);
            self.0.news.notify_waiters();
        }
    }

    /// Changes the value to one that says the same.
    pub(crate) fn change_quietly(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.0.now.lock().value);
    }

    pub(crate) fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Somebody who has seen the value as it is now.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        Receiver {
            seen: self.0.now.lock().changes,
            shared: Arc::clone(&self.0),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.now.lock().ended = true;
        self.0.news.notify_waiters();
    }
}

/// A side that looks at the value.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Changes that were seen.
    seen: u32,
}

impl<T> Receiver<T> {
    /// Looks at the value, which is seen by that.
    pub(crate) fn with_and_update<R>(&mut self, look: impl FnOnce(&T) -> R) -> R {
        let now = self.shared.now.lock();
        self.seen = now.changes;
        look(&now.value)
    }

    /// Waits for a value that was not seen, which is seen then. Safe to cancel.
    pub(crate) async fn changed(&mut self) -> Result<(), Ended> {
        coop::consume_budget().await;
        loop {
            // Before the look, or a change between look and wait would be missed.
            let mut news = pin!(self.shared.news.notified());
            news.as_mut().enable();
            {
                let now = self.shared.now.lock();
                if now.changes != self.seen {
                    self.seen = now.changes;
                    return Ok(());
                }
                if now.ended {
                    return Err(Ended);
                }
            }
            news.await;
        }
    }
}

impl<T: Clone> Receiver<T> {
    /// Waits for a value as wanted; one that is there is good. Safe to cancel.
    pub(crate) async fn wait_for(&mut self, wanted: impl Fn(&T) -> bool) -> Result<T, Ended> {
        loop {
            // Whoever always finds what is wanted lets others run now and then.
            coop::consume_budget().await;
            // A copy: what is wanted may ask for the value itself.
            let value = self.with_and_update(T::clone);
            if wanted(&value) {
                return Ok(value);
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_told_and_the_end_is_told_too() {
        let sender = Sender::new(1);
        let mut early = sender.subscribe();
        let waiting = tokio::spawn(async move {
            let found = early.wait_for(|value| *value == 3).await;
            (found, early.changed().await)
        });
        sender.send_if_modified(|_| false);
        sender.send_modify(|value| *value += 1);
        tokio::task::yield_now().await;
        assert_eq!(sender.with(|value| *value), 2);
        sender.send_modify(|value| *value += 1);
        let mut late = sender.subscribe();
        assert_eq!(late.wait_for(|value| *value == 3).await, Ok(3), "at once");
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(waiting.await.unwrap(), (Ok(3), Err(Ended)));
        assert_eq!(late.wait_for(|value| *value == 4).await, Err(Ended));
    }

    #[tokio::test]
    async fn a_change_before_the_end_is_seen() {
        let sender = Sender::new(1);
        let mut receiver = sender.subscribe();
        sender.send_modify(|value| *value = 2);
        drop(sender);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(receiver.with_and_update(|value| *value), 2);
        assert_eq!(receiver.changed().await, Err(Ended));
    }
}
