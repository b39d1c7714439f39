//! What a call wants done and may not do yet: steps in order, each behind the records it rests on.

use std::collections::VecDeque;

use openmic_model::seeded::{self, Bug};

/// Effects that may wait. Above it the actor takes no more letters until the store comes along:
/// its mailbox fills, commands are refused and webhooks are not acknowledged. Time and the results
/// of requests are still taken in.
pub(crate) const CAPACITY: usize = 1024;

/// Steps in the order in which they were taken. Whatever came later waits behind the oldest one
/// whose records are not durable; nothing is overtaken.
///
/// It has no clock and waits for nothing: `W` is what its owner waits on.
#[derive(Debug)]
pub(crate) struct Outbox<T, W>(
    /// None while nothing waits, as in most calls most of the time.
    Option<Box<Queue<T, W>>>,
);

#[derive(Debug)]
struct Queue<T, W> {
    held: VecDeque<Held<T, W>>,
    weight: usize,
}

#[derive(Debug)]
struct Held<T, W> {
    step: T,
    weight: usize,
    wait: Option<W>,
}

impl<T, W> Default for Outbox<T, W> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T, W> Outbox<T, W> {
    /// Takes a step of so many effects, which must not be performed before `wait` is over and
    /// everything before it was performed. Hands it back when it may be performed at once.
    #[must_use]
    pub(crate) fn push(&mut self, step: T, effects: usize, wait: Option<W>) -> Option<T> {
        let overtakes = seeded::is(Bug::Overtake) && wait.is_none();
        if overtakes || seeded::is(Bug::EffectBeforeRecord) {
            return Some(step);
        }
        if self.0.is_none() && wait.is_none() {
            return Some(step);
        }
        // A step without effects has a status to be told.
        let weight = effects.max(1);
        let queue = self.0.get_or_insert_with(|| {
            Box::new(Queue {
                held: VecDeque::new(),
                weight: 0,
            })
        });
        queue.weight += weight;
        queue.held.push_back(Held { step, weight, wait });
        None
    }

    /// What the oldest step waits for; the waits of those behind it cannot be over before.
    pub(crate) fn awaited(&mut self) -> Option<&mut W> {
        self.oldest()?.wait.as_mut()
    }

    /// The records of the oldest step are durable.
    pub(crate) fn durable(&mut self) {
        if let Some(oldest) = self.oldest() {
            oldest.wait = None;
        }
    }

    fn oldest(&mut self) -> Option<&mut Held<T, W>> {
        self.0.as_mut()?.held.front_mut()
    }

    /// The next step that may be performed.
    pub(crate) fn take(&mut self) -> Option<T> {
        let queue = self.0.as_mut()?;
        let held = queue.held.pop_front_if(|held| held.wait.is_none())?;
        queue.weight -= held.weight;
        if queue.held.is_empty() {
            self.0 = None;
        }
        Some(held.step)
    }

    /// Forgets the steps that may be performed, and tells what the next one waits for. For whoever
    /// clears up behind an actor that broke, perhaps in the midst of performing.
    pub(crate) fn abandon(&mut self) -> Option<&mut W> {
        while self.take().is_some() {}
        self.awaited()
    }

    /// Whether no more letters should be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|queue| queue.weight >= CAPACITY)
    }

    /// Whether everything was performed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &mut Outbox<u32, &'static str>) -> Vec<u32> {
        std::iter::from_fn(|| outbox.take()).collect()
    }

    #[test]
    fn what_rests_on_no_record_passes_through() {
        let mut outbox: Outbox<u32, &str> = Outbox::default();
        assert_eq!(outbox.push(1, 5, None), Some(1));
        assert!(outbox.is_empty());
        assert_eq!(outbox.awaited(), None);
    }

    #[test]
    fn nothing_overtakes_what_waits() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(1, 1, Some("first")), None);
        assert_eq!(outbox.push(2, 1, None), None);
        assert_eq!(outbox.push(3, 1, Some("second")), None);
        assert_eq!(outbox.push(4, 0, None), None);
        assert!(all(&mut outbox).is_empty(), "nothing is durable");
        assert_eq!(outbox.awaited(), Some(&mut "first"));
        outbox.durable();
        assert_eq!(all(&mut outbox), [1, 2]);
        assert_eq!(outbox.awaited(), Some(&mut "second"));
        outbox.durable();
        assert_eq!(all(&mut outbox), [3, 4]);
        assert!(outbox.is_empty());
        assert_eq!(outbox.push(5, 1, None), Some(5), "at once again");
    }

    #[test]
    fn what_is_abandoned_half_way_still_waits_for_its_records() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(1, 1, Some("first")), None);
        assert_eq!(outbox.push(2, 1, None), None);
        assert_eq!(outbox.push(3, 1, Some("second")), None);
        assert_eq!(outbox.push(4, 1, Some("third")), None);
        outbox.durable();
        assert_eq!(outbox.take(), Some(1), "its performance broke");
        assert_eq!(outbox.abandon(), Some(&mut "second"));
        outbox.durable();
        assert_eq!(outbox.abandon(), Some(&mut "third"));
        outbox.durable();
        assert_eq!(outbox.abandon(), None);
        assert!(outbox.is_empty());
    }

    #[test]
    fn it_is_full_by_effects_and_empties() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(0, CAPACITY - 2, Some("first")), None);
        assert_eq!(outbox.push(1, 1, None), None);
        assert!(!outbox.is_full());
        // Steps without effects count too: what they tell takes room.
        assert_eq!(outbox.push(2, 0, None), None);
        assert!(outbox.is_full());
        outbox.durable();
        assert_eq!(all(&mut outbox), [0, 1, 2]);
        assert!(!outbox.is_full());
    }
}
