//! What will happen, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual time, in milliseconds.
pub(crate) type Millis = u64;

/// A queue in the order of time, and at one moment in the order of asking.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Reverse<(Millis, u32, u32)>>,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    next: u32,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            next: 0,
        }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn put(&mut self, at: Millis, what: T) {
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(what);
            slot
        } else {
            self.slots.push(Some(what));
            u32::try_from(self.slots.len() - 1).expect("a life has few things at once")
        };
        self.next += 1;
        self.heap.push(Reverse((at, self.next, slot)));
    }

    pub(crate) fn next_at(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let Reverse((.., slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }
}
