use std::collections::VecDeque;

/// Lines of one piece of memory.
const EACH: usize = 128;

/// Lines one behind the other, in pieces of memory of which new lines take the oldest.
///
/// One piece for all would be copied whenever it grows, and at some megabytes everybody who writes a
/// line waits for that for milliseconds.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pieces: VecDeque<Piece>,
    /// Lines in front of the first piece that are forgotten.
    forgotten: usize,
    count: usize,
}

#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Lines {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, line: &[u8]) {
        match self.pieces.back_mut() {
            Some(last) if last.ends.len() < EACH => last.push(line),
            _ => {
                let mut next = self.spare();
                next.push(line);
                self.pieces.push_back(next);
            }
        }
        self.count += 1;
    }

    /// The first piece, if nothing of it is needed, or a new one.
    fn spare(&mut self) -> Piece {
        if self.forgotten < EACH {
            // as much as the last one took, at once
            let bytes = self.pieces.back().map_or(0, |last| last.bytes.len());
            return Piece {
                bytes: Vec::with_capacity(bytes + bytes / 8),
                ends: Vec::with_capacity(EACH),
            };
        }
        self.forgotten -= EACH;
        let mut piece = self.pieces.pop_front().unwrap_or_default();
        piece.bytes.clear();
        piece.ends.clear();
        piece
    }

    pub(super) fn forget_oldest(&mut self) {
        if self.count > 0 {
            self.count -= 1;
            self.forgotten += 1;
        }
    }

    /// All but so many of the oldest.
    pub(super) fn after(&self, skipped: usize) -> Vec<u8> {
        let gone = self.forgotten + skipped;
        let mut bytes = Vec::new();
        for (number, piece) in self.pieces.iter().enumerate() {
            let gone = gone.saturating_sub(number * EACH);
            bytes.extend_from_slice(piece.after(gone));
        }
        bytes
    }
}

impl Piece {
    fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    fn after(&self, skipped: usize) -> &[u8] {
        let from = match skipped.checked_sub(1) {
            None => 0,
            Some(last) => self.ends.get(last).copied().unwrap_or(self.bytes.len()),
        };
        &self.bytes[from..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_in_order_whatever_is_skipped_and_in_no_more_pieces_than_they_need() {
        const MOST: usize = 3 * EACH + 7;
        let mut lines = Lines::default();
        for number in 1..=2000_usize {
            if lines.len() == MOST {
                lines.forget_oldest();
            }
            lines.push(format!("{number}\n").as_bytes());
            let kept = number.min(MOST);
            assert_eq!(lines.len(), kept);
            for skipped in [0, 1, EACH - 1, EACH, EACH + 1, kept - 1, kept, kept + 1] {
                let wanted = (number - kept + 1..=number).skip(skipped);
                let wanted = wanted.map(|number| format!("{number}\n").into_bytes());
                let wanted = wanted.collect::<Vec<_>>().concat();
                assert_eq!(lines.after(skipped), wanted, "{number} {skipped}");
            }
            assert!(lines.pieces.len() <= 5, "{}", lines.pieces.len());
        }
        for left in (0..MOST).rev() {
            lines.forget_oldest();
            assert_eq!((lines.len(), lines.after(left).len()), (left, 0));
        }
        lines.forget_oldest();
        lines.push(b"last\n");
        assert_eq!(lines.after(0), b"last\n");
    }
}
