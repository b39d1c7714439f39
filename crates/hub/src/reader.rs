use std::io::Cursor;

use openmic_model::Version;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Longest message a subscriber may send, in bytes.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;
/// Two numbers of 64 bits and the colon.
const MAX_POSITION: usize = 41;

/// What came from a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inbound {
    Message,
    /// A text message that is `epoch:seq`: the version it has.
    Position(Version),
    /// A part of a message that is not its last. Counted too: one without bytes costs the peer
    /// nothing, and any number of them fits a message.
    Fragment,
    Ping(Vec<u8>),
    Pong,
    /// The code to answer with: its own, none when it gave none.
    Close(Option<u16>),
}

/// What a subscriber may not send, by the close code it earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// 1002
    Protocol,
    /// 1007
    NotUtf8,
    /// 1009
    TooBig,
}

/// Reads a client's frames (RFC 6455, 5 and 7).
///
/// It holds no memory between frames: what came is parsed in the shard's buffer, and only a frame
/// or message that is not whole yet is kept. A protocol object per connection would keep a read
/// buffer each, which is most of what an idle subscriber may cost.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    kept: Option<Box<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The beginning of a frame.
    raw: Vec<u8>,
    /// The beginning of a fragmented message.
    message: Option<Fragments>,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    payload: Vec<u8>,
    /// Bytes of a text that are known to be UTF-8.
    checked: usize,
}

impl Fragments {
    /// Text that cannot become UTF-8 any more is refused at once (RFC 6455, 8.1).
    fn append(&mut self, payload: &[u8]) -> Result<(), Violation> {
        if self.payload.len() + payload.len() > MAX_MESSAGE {
            return Err(Violation::TooBig);
        }
        self.payload.extend_from_slice(payload);
        if !self.text {
            return Ok(());
        }
        match std::str::from_utf8(&self.payload[self.checked..]) {
            Ok(_) => self.checked = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::NotUtf8),
        }
        Ok(())
    }

    fn finish(&self) -> Result<Inbound, Violation> {
        if self.text && self.checked < self.payload.len() {
            return Err(Violation::NotUtf8);
        }
        if self.text
            && self.payload.len() <= MAX_POSITION
            && let Ok(text) = std::str::from_utf8(&self.payload)
            && let Ok(version) = text.parse()
        {
            return Ok(Inbound::Position(version));
        }
        Ok(Inbound::Message)
    }
}

impl Reader {
    /// Takes what came and hands on each whole message and control frame. `data` is unmasked in
    /// place. After an error, or after a close, nothing more may be fed.
    pub(crate) fn feed(
        &mut self,
        data: &mut [u8],
        mut take: impl FnMut(Inbound),
    ) -> Result<(), Violation> {
        let mut kept = self.kept.take();
        let mut raw = match &mut kept {
            Some(kept) => std::mem::take(&mut kept.raw),
            None => Vec::new(),
        };
        let mut message = kept.and_then(|kept| kept.message);
        let fresh = raw.is_empty();
        let buffer = if fresh {
            data
        } else {
            raw.extend_from_slice(data);
            &mut raw[..]
        };
        let mut at = 0;
        while let Some(frame) = next(&mut buffer[at..])? {
            at += frame.length;
            let closed = frame.opcode == OpCode::Control(Control::Close);
            if let Some(inbound) = read(&frame, &mut message)? {
                take(inbound);
            }
            if closed {
                return Ok(());
            }
        }
        if fresh {
            raw = buffer[at..].to_vec();
        } else {
            // moved only when a frame came off, or a slow drip would copy it over and over
            raw.drain(..at);
        }
        if !raw.is_empty() || message.is_some() {
            self.kept = Some(Box::new(Kept { raw, message }));
        }
        Ok(())
    }
}

struct Frame<'a> {
    /// With its header.
    length: usize,
    opcode: OpCode,
    last: bool,
    payload: &'a [u8],
}

/// The frame at the start of `buffer`, unmasked, when it is all there. What is wrong with a header
/// is said before its payload came.
fn next(buffer: &mut [u8]) -> Result<Option<Frame<'_>>, Violation> {
    let mut cursor = Cursor::new(&*buffer);
    let Some((header, length)) =
        FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol)?
    else {
        return Ok(None);
    };
    let start = usize::try_from(cursor.position()).map_err(|_| Violation::TooBig)?;
    let length = usize::try_from(length).map_err(|_| Violation::TooBig)?;
    // nobody negotiated an extension (5.2), and clients mask (5.1)
    let Some(mask) = header.mask else {
        return Err(Violation::Protocol);
    };
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(Violation::Protocol);
    }
    if matches!(header.opcode, OpCode::Control(_)) && (!header.is_final || length > 125) {
        return Err(Violation::Protocol);
    }
    if length > MAX_MESSAGE {
        return Err(Violation::TooBig);
    }
    let end = start + length;
    let Some(payload) = buffer.get_mut(start..end) else {
        return Ok(None);
    };
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Some(Frame {
        length: end,
        opcode: header.opcode,
        last: header.is_final,
        payload,
    }))
}

fn read(frame: &Frame<'_>, message: &mut Option<Fragments>) -> Result<Option<Inbound>, Violation> {
    match frame.opcode {
        OpCode::Control(Control::Ping) => Ok(Some(Inbound::Ping(frame.payload.to_vec()))),
        OpCode::Control(Control::Pong) => Ok(Some(Inbound::Pong)),
        OpCode::Control(Control::Close) => close(frame.payload).map(Some),
        OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
            Err(Violation::Protocol)
        }
        OpCode::Data(Data::Continue) => {
            let mut parts = message.take().ok_or(Violation::Protocol)?;
            parts.append(frame.payload)?;
            if frame.last {
                return parts.finish().map(Some);
            }
            *message = Some(parts);
            Ok(Some(Inbound::Fragment))
        }
        OpCode::Data(kind @ (Data::Text | Data::Binary)) => {
            if message.is_some() {
                return Err(Violation::Protocol);
            }
            let mut parts = Fragments {
                text: kind == Data::Text,
                payload: Vec::new(),
                checked: 0,
            };
            parts.append(frame.payload)?;
            if frame.last {
                return parts.finish().map(Some);
            }
            *message = Some(parts);
            Ok(Some(Inbound::Fragment))
        }
    }
}

fn close(payload: &[u8]) -> Result<Inbound, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(Inbound::Close(None)),
        [_] => return Err(Violation::Protocol),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !CloseCode::from(code).is_allowed() {
        return Err(Violation::Protocol);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::NotUtf8);
    }
    Ok(Inbound::Close(Some(code)))
}

#[cfg(test)]
mod tests;
