use super::entry::Plain;

/// Plain commands, the oldest first.
///
/// A call's commands may be hours apart, and what it keeps of them is then far from any cache. How
/// many there are and where the next one goes is therefore no part of that memory but of the
/// call's, two words more in each: another one is written down without a look at those before it.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Twice as many as before whenever they do not suffice; none at first.
    places: Box<[Option<Plain>]>,
    first: u16,
    count: u16,
}

impl Ring {
    pub(super) fn len(&self) -> usize {
        self.count.into()
    }

    /// Where the next one goes, if there is room.
    fn next(&self) -> usize {
        let at = usize::from(self.first) + self.len();
        // Nobody has to divide for that.
        at.checked_sub(self.places.len()).unwrap_or(at)
    }

    pub(super) fn push_back(&mut self, plain: Plain) {
        if self.len() == self.places.len() {
            self.grow();
        }
        let next = self.next();
        self.places[next] = Some(plain);
        self.count += 1;
    }

    pub(super) fn pop_front(&mut self) -> Option<Plain> {
        let first = usize::from(self.first);
        let plain = self.places.get_mut(first)?.take()?;
        self.first = if first + 1 == self.places.len() {
            0
        } else {
            self.first + 1
        };
        self.count -= 1;
        Some(plain)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Plain> {
        let (later, sooner) = self.places.split_at(self.first.into());
        sooner.iter().chain(later).flatten()
    }

    /// What it takes besides itself.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }

    fn grow(&mut self) {
        let room = (2 * self.places.len()).max(1);
        let mut places = Vec::with_capacity(room);
        places.extend(self.iter().copied().map(Some));
        places.resize(room, None);
        self.places = places.into_boxed_slice();
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use openmic_model::{Action, CommandId, Verdict};
    use tokio::time::Instant;

    use super::super::Given;
    use super::super::entry::Entry;
    use super::*;

    fn plain(number: u32) -> Plain {
        let given = Given {
            command: CommandId::new(number.into()),
            action: Action::Mute,
            operation: None,
            client_context: None,
            repeat: None,
        };
        let mut entry = Entry::new(given, Instant::now());
        entry.settle(&Verdict::Already);
        entry.number = number;
        entry.plain().expect("nothing about it is special")
    }

    fn numbers<'a>(plain: impl Iterator<Item = &'a Plain>) -> Vec<u32> {
        plain.map(|plain| plain.number).collect()
    }

    #[test]
    fn the_oldest_goes_first_wherever_the_ring_begins() {
        for seed in 1..=64_u32 {
            let mut random = seed;
            let (mut ring, mut wanted) = (Ring::default(), VecDeque::new());
            for number in 0..500 {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                if random.is_multiple_of(3) {
                    let gone = ring.pop_front().map(|plain| plain.number);
                    assert_eq!(gone, wanted.pop_front(), "seed {seed}");
                } else {
                    ring.push_back(plain(number));
                    wanted.push_back(number);
                }
                assert_eq!(ring.len(), wanted.len(), "seed {seed}");
                assert_eq!(wanted, numbers(ring.iter()), "seed {seed}");
                let newest_first: Vec<u32> = wanted.iter().rev().copied().collect();
                assert_eq!(numbers(ring.iter().rev()), newest_first, "seed {seed}");
            }
        }
    }

    #[test]
    fn it_grows_as_commands_come() {
        let mut ring = Ring::default();
        assert_eq!(ring.bytes(), 0);
        for (number, places) in [(0, 1), (1, 2), (2, 4), (3, 4), (4, 8)] {
            ring.push_back(plain(number));
            assert_eq!(ring.bytes(), places * 24);
        }
    }
}
