//! RTP packets (RFC 3550 §5.1) and their header extensions (RFC 8285), as borrowing views.
//!
//! Nothing here panics on any input, copies or allocates.

use std::fmt;

/// The fixed part of the header, in bytes.
pub const HEADER_LEN: usize = 12;

/// The fields of the fixed header that a forwarder rewrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// First packet after a pause; a hint, never a condition (RFC 3551 §4.1).
    pub marker: bool,
    /// 7 bits.
    pub payload_type: u8,
    /// Wraps at 65536.
    pub sequence: u16,
    /// In units of the payload's clock rate; wraps.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
}

impl Header {
    /// Version 2, no padding, no extension, no contributing sources.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = 0x80;
        out[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        out[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        out
    }
}

/// Why bytes are no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Under 12 bytes.
    #[error("an RTP packet has at least {HEADER_LEN} bytes")]
    Short,
    /// The two version bits are not 2.
    #[error("the RTP version is {0}, not 2")]
    Version(u8),
    /// The contributing sources reach beyond the end.
    #[error("the packet ends inside its list of contributing sources")]
    Csrc,
    /// The extension reaches beyond the end.
    #[error("the packet ends inside its header extension")]
    Extension,
    /// The padding count is zero or reaches into the header.
    #[error("the padding count does not fit the packet")]
    Padding,
}

/// One RTP packet, checked once.
#[derive(Clone, Copy)]
pub struct View<'a> {
    packet: &'a [u8],
    /// `packet[extension.0..extension.1]`, without its four-byte head.
    extension: Option<(u16, usize, usize)>,
    payload: (usize, usize),
}

impl<'a> View<'a> {
    /// Checks the lengths of every part of `packet`.
    ///
    /// # Errors
    /// [`Malformed`] says which part does not fit.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Malformed> {
        if packet.len() < HEADER_LEN {
            return Err(Malformed::Short);
        }
        let first = packet[0];
        if first >> 6 != 2 {
            return Err(Malformed::Version(first >> 6));
        }
        let mut at = HEADER_LEN + 4 * usize::from(first & 0x0f);
        if at > packet.len() {
            return Err(Malformed::Csrc);
        }
        let mut extension = None;
        if first & 0x10 != 0 {
            let head = packet.get(at..at + 4).ok_or(Malformed::Extension)?;
            let profile = u16::from_be_bytes([head[0], head[1]]);
            let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let from = at + 4;
            at = from + 4 * words;
            if at > packet.len() {
                return Err(Malformed::Extension);
            }
            extension = Some((profile, from, at));
        }
        let mut end = packet.len();
        if first & 0x20 != 0 {
            let padding = usize::from(packet[packet.len() - 1]);
            if padding == 0 || padding > packet.len() - at {
                return Err(Malformed::Padding);
            }
            end -= padding;
        }
        Ok(Self {
            packet,
            extension,
            payload: (at, end),
        })
    }

    /// The fields of the fixed header.
    pub fn header(&self) -> Header {
        let p = self.packet;
        Header {
            marker: p[1] & 0x80 != 0,
            payload_type: p[1] & 0x7f,
            sequence: u16::from_be_bytes([p[2], p[3]]),
            timestamp: u32::from_be_bytes([p[4], p[5], p[6], p[7]]),
            ssrc: u32::from_be_bytes([p[8], p[9], p[10], p[11]]),
        }
    }

    /// The contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let end = HEADER_LEN + 4 * usize::from(self.packet[0] & 0x0f);
        self.packet[HEADER_LEN..end]
            .chunks_exact(4)
            .map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]))
    }

    /// The extension elements in their order, one-byte and two-byte form (RFC 8285 §4.2, §4.3).
    ///
    /// Ends early where an element reaches beyond the extension; empty for other profiles.
    pub fn extensions(&self) -> Extensions<'a> {
        let (profile, from, to) = self.extension.unwrap_or((0, 0, 0));
        let form = match profile {
            0xbede => Form::OneByte,
            p if p & 0xfff0 == 0x1000 => Form::TwoByte,
            _ => Form::Other,
        };
        Extensions {
            rest: &self.packet[from..to],
            form,
        }
    }

    /// The audio level the sender stated under extension `id` (RFC 6464).
    pub fn audio_level(&self, id: u8) -> Option<AudioLevel> {
        let (_, data) = self.extensions().find(|(found, _)| *found == id)?;
        let byte = *data.first()?;
        Some(AudioLevel {
            voice: byte & 0x80 != 0,
            below_overload: byte & 0x7f,
        })
    }

    /// What was said, without padding. May be empty.
    pub fn payload(&self) -> &'a [u8] {
        &self.packet[self.payload.0..self.payload.1]
    }

    /// Where [`View::payload`] lies in the packet; never before byte 12.
    pub fn payload_range(&self) -> std::ops::Range<usize> {
        self.payload.0..self.payload.1
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("header", &self.header())
            .field("payload", &self.payload_range())
            .finish_non_exhaustive()
    }
}

/// How loud a packet is, as its sender says (RFC 6464 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender believes it is speech.
    pub voice: bool,
    /// 0 is the loudest, 127 is silence: the level is minus this, in dBov.
    pub below_overload: u8,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    OneByte,
    TwoByte,
    Other,
}

/// Iterator of [`View::extensions`]: id and data.
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    rest: &'a [u8],
    form: Form,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (first, after) = self.rest.split_first()?;
            let (id, len, body) = match self.form {
                Form::Other => return None,
                // a zero byte pads, in both forms
                _ if *first == 0 => {
                    self.rest = after;
                    continue;
                }
                Form::OneByte => {
                    // 15 means: stop here, and so does 0 with a length (RFC 8285 §4.2)
                    if matches!(first >> 4, 0 | 15) {
                        return None;
                    }
                    (first >> 4, usize::from(first & 0x0f) + 1, after)
                }
                Form::TwoByte => {
                    let (len, body) = after.split_first()?;
                    (*first, usize::from(*len), body)
                }
            };
            if len > body.len() {
                self.rest = &[];
                return None;
            }
            let (data, rest) = body.split_at(len);
            self.rest = rest;
            return Some((id, data));
        }
    }
}

#[cfg(test)]
mod tests;
