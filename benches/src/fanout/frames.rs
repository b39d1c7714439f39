//! The receiving side of RFC 6455, as far as counting needs it.

/// Longest header of an unmasked frame (RFC 6455, 5.2).
const MAX_HEADER: usize = 10;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

/// What a stretch of bytes brought to its end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) texts: u64,
    /// Payload of binary frames, also of those that have not ended.
    pub(crate) bytes: u64,
    pub(crate) pings: u64,
    pub(crate) closed: bool,
}

/// Where one stream of unmasked frames stands.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; MAX_HEADER],
    /// Bytes of the header that came.
    have: usize,
    /// Payload that is still to come.
    left: u64,
}

impl Frames {
    /// Takes the next bytes, wherever they were cut.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let here = bytes
                    .len()
                    .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= here as u64;
                if self.header[0] & 0x0f == BINARY {
                    seen.bytes += here as u64;
                }
                bytes = &bytes[here..];
            } else {
                self.header[self.have] = first;
                self.have += 1;
                bytes = rest;
                match self.length() {
                    Some(length) => {
                        self.have = 0;
                        self.left = length;
                    }
                    None => continue,
                }
            }
            if self.left == 0 {
                match self.header[0] & 0x0f {
                    TEXT => seen.texts += 1,
                    PING => seen.pings += 1,
                    CLOSE => seen.closed = true,
                    _ => {}
                }
            }
        }
        seen
    }

    /// The payload's length, once the header is complete.
    fn length(&self) -> Option<u64> {
        let extended = match (self.have, self.header[1]) {
            (0 | 1, _) => return None,
            (_, short @ 0..=125) => return Some(short.into()),
            (_, 126) => 2,
            _ => 8,
        };
        let number = self.header[..self.have].get(2..2 + extended)?;
        Some(
            number
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Frames, Seen};

    #[test]
    fn frames_are_counted_wherever_they_are_cut() {
        let mut stream = vec![0x81, 2, b'{', b'}', 0x82, 2, 1, 2, 0x89, 0, 0x81, 126, 1, 0];
        stream.extend([b'a'; 256]);
        stream.extend([0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        stream.extend(vec![b'b'; 65_536]);
        let whole = Seen {
            texts: 3,
            bytes: 2,
            pings: 1,
            closed: false,
        };
        for size in [1, 2, 3, 7, 255, 256, 4096, stream.len()] {
            let mut frames = Frames::default();
            let mut sum = Seen::default();
            for part in stream.chunks(size) {
                let seen = frames.feed(part);
                sum.texts += seen.texts;
                sum.bytes += seen.bytes;
                sum.pings += seen.pings;
                sum.closed |= seen.closed;
            }
            assert_eq!(sum, whole, "in parts of {size}");
            assert!(frames.feed(&[0x88, 0]).closed);
        }
    }
}
