use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openmic_model::Version;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use crate::close::{CALL_ENDED, RESYNC, Reason, TOKEN_EXPIRED, close_frame};
use crate::config::HubConfig;
use crate::feed::{Feed, Key, Missed, Position};
use crate::frame::{self, Encoder};
use crate::hub::Permit;
use crate::metrics::Tally;
use crate::reader::{Inbound, Reader, Violation};
use crate::socket::Socket;

/// Rounds of pings in which a subscriber that states its version may be behind without progress.
const MAX_STUCK: u8 = 2;
/// Rounds of pings a subscriber may be silent for.
const MAX_SILENT: u8 = 2;
/// Reads for one readiness event; who fills more than that is cut off.
const MAX_READS: usize = 64;

/// One subscriber's socket. There are many of them, so it is kept small. It holds no frames except the rest of one that was begun.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts; as enums they would only be longer"
)]
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) feed: u32,
    /// Its index among the feed's subscribers.
    pub(crate) place: u32,
    /// Tells it from an earlier connection of the same number.
    pub(crate) birth: u32,
    /// When it is looked at again, and whether that is in the shard's calendar.
    pub(crate) deadline: Option<Instant>,
    pub(crate) alarmed: bool,
    position: Position,
    /// The frame that is half in the socket.
    rest: Option<Rest>,
    /// The socket was full; nothing is written until it is ready again.
    blocked: bool,
    /// It was blocked and is not up to date since.
    lagging: bool,
    ping_due: bool,
    pong_due: Option<Box<[u8]>>,
    silent: u8,
    /// Of a subscriber that states which version it has.
    check: Option<Box<Check>>,
    phase: Phase,
    /// The peer sent its close.
    answered: bool,
    /// What still comes is thrown away.
    deaf: bool,
    reader: Reader,
    /// The second in which `received` messages came.
    second: u32,
    received: u16,
    permit: Permit,
}

/// Whether what a subscriber has keeps up with what it was sent.
struct Check {
    /// What it said last.
    stated: Version,
    /// What it had said at the last ping.
    before: Version,
    /// What it had been sent by then.
    pinged: Option<Version>,
    /// Rounds without progress.
    stuck: u8,
}

struct Rest {
    bytes: Bytes,
    at: usize,
}

enum Phase {
    Open,
    Leaving(Box<Farewell>),
    /// The close was handed to the socket.
    Left(Reason),
}

struct Farewell {
    frame: Bytes,
    /// First send what is due.
    flush: bool,
    reason: Reason,
}

/// What the shard does about a connection next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Rest,
    /// Look at it again after this long.
    Arm(Duration),
    Drop(Reason),
}

/// What all connections of a shard use.
pub(crate) struct Tools {
    pub(crate) config: HubConfig,
    pub(crate) encoder: Encoder,
    pub(crate) tally: Tally,
    /// Some socket took something since this was last set to false.
    pub(crate) moved: bool,
    pub(crate) scratch: Box<[u8]>,
    pub(crate) started: Instant,
}

impl Connection {
    pub(crate) fn new(
        socket: Socket,
        feed: u32,
        place: u32,
        birth: u32,
        position: Position,
        permit: Permit,
    ) -> Self {
        Self {
            socket,
            feed,
            place,
            birth,
            deadline: None,
            alarmed: false,
            position,
            rest: None,
            blocked: false,
            lagging: false,
            ping_due: false,
            pong_due: None,
            silent: 0,
            check: None,
            phase: Phase::Open,
            answered: false,
            deaf: false,
            reader: Reader::default(),
            second: 0,
            received: 0,
            permit,
        }
    }

    /// Writes what is due until there is nothing left or the socket is full.
    pub(crate) fn advance(&mut self, feed: &mut Feed, tools: &mut Tools) -> Step {
        if self.blocked {
            return Step::Rest;
        }
        match self.write_due(feed, tools) {
            Ok(step) => step,
            Err(_) => Step::Drop(self.final_reason(Reason::Gone)),
        }
    }

    fn write_due(&mut self, feed: &mut Feed, tools: &mut Tools) -> io::Result<Step> {
        if !self.write_rest(tools)? || !self.write_control(tools)? {
            return Ok(self.wait(feed, tools));
        }
        if let Phase::Left(reason) = self.phase {
            return Ok(if self.answered {
                Step::Drop(reason)
            } else {
                Step::Rest
            });
        }
        if !matches!(&self.phase, Phase::Leaving(farewell) if !farewell.flush) {
            match self.write_feed(feed, tools)? {
                Ok(true) => {}
                Ok(false) => return Ok(self.wait(feed, tools)),
                Err(Missed) => {
                    let why = "resync: too many frames were not taken";
                    self.leave(close_frame(RESYNC, why), false, Reason::Resync);
                }
            }
        }
        if self.lagging && matches!(self.phase, Phase::Open) {
            self.lagging = false;
            feed.lagging -= 1;
            self.deadline = None;
        }
        if feed.ended && matches!(self.phase, Phase::Open) {
            self.leave(
                close_frame(CALL_ENDED, "call ended"),
                false,
                Reason::CallEnded,
            );
        }
        self.write_farewell(feed, tools)
    }

    /// True when no frame is half written.
    fn write_rest(&mut self, tools: &mut Tools) -> io::Result<bool> {
        let Some(rest) = &mut self.rest else {
            return self.write_held(tools);
        };
        let wrote = self.socket.write(&rest.bytes[rest.at..])?;
        tools.tally.bytes += wrote.count as u64;
        tools.moved |= wrote.moved;
        rest.at += wrote.count;
        if rest.at == rest.bytes.len() {
            self.rest = None;
        }
        self.blocked = wrote.full;
        Ok(!wrote.full)
    }

    /// True when the socket holds nothing back, as TLS may.
    fn write_held(&mut self, tools: &mut Tools) -> io::Result<bool> {
        let wrote = self.socket.write(&[])?;
        tools.moved |= wrote.moved;
        self.blocked = wrote.full;
        Ok(!wrote.full)
    }

    fn write_control(&mut self, tools: &mut Tools) -> io::Result<bool> {
        if matches!(self.phase, Phase::Left(_)) {
            return Ok(true);
        }
        if let Some(payload) = self.pong_due.take()
            && !self.put(frame::control(Control::Pong, &payload), tools)?
        {
            return Ok(false);
        }
        if self.ping_due {
            self.ping_due = false;
            let sent = self.position.version.map(|version| version.to_string());
            let payload = sent.unwrap_or_default();
            return self.put(frame::control(Control::Ping, payload.as_bytes()), tools);
        }
        Ok(true)
    }

    /// Writes one frame, or keeps what the socket does not take. True when it took all.
    fn put(&mut self, bytes: Bytes, tools: &mut Tools) -> io::Result<bool> {
        self.rest = Some(Rest { bytes, at: 0 });
        self.write_rest(tools)
    }

    /// True when the subscriber has all there is.
    fn write_feed(
        &mut self,
        feed: &mut Feed,
        tools: &mut Tools,
    ) -> io::Result<Result<bool, Missed>> {
        loop {
            let key = Key {
                position: self.position,
                lagging: self.lagging,
            };
            let batch = match feed.batch(key, &mut tools.encoder) {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(Ok(true)),
                Err(missed) => return Ok(Err(missed)),
            };
            for item in &batch.writes {
                let wrote = self.socket.write(&item.bytes)?;
                tools.moved |= wrote.moved;
                if !wrote.full {
                    continue;
                }
                let wrote = wrote.count;
                // only the frame that was begun is kept; the others are made anew later
                let (mut start, mut sent) = (0, item.pieces.start);
                while sent < item.pieces.end && start + batch.pieces[sent].bytes.len() <= wrote {
                    start += batch.pieces[sent].bytes.len();
                    sent += 1;
                }
                let before: usize = batch.pieces[..item.pieces.start]
                    .iter()
                    .map(|piece| piece.bytes.len())
                    .sum();
                tools.tally.bytes += (before + wrote) as u64;
                if wrote > start {
                    let piece = &batch.pieces[sent];
                    self.rest = Some(Rest {
                        bytes: piece.bytes.clone(),
                        at: wrote - start,
                    });
                    sent += 1;
                }
                if let Some(last) = sent.checked_sub(1) {
                    self.position = batch.pieces[last].after;
                }
                tools.tally += batch.part(sent);
                self.blocked = true;
                return Ok(Ok(false));
            }
            self.position = batch.after;
            tools.tally += batch.whole;
        }
    }

    fn write_farewell(&mut self, feed: &mut Feed, tools: &mut Tools) -> io::Result<Step> {
        let Phase::Leaving(farewell) = &mut self.phase else {
            return Ok(Step::Rest);
        };
        let frame = std::mem::take(&mut farewell.frame);
        let reason = farewell.reason;
        self.phase = Phase::Left(reason);
        if !self.put(frame, tools)? {
            return Ok(self.wait(feed, tools));
        }
        if self.answered {
            return Ok(Step::Drop(reason));
        }
        if self.deaf {
            // no answer is expected from a peer that broke the protocol; what it still sends is
            // read, or the reset would overtake the close frame
            self.socket.shut_down()?;
        }
        Ok(Step::Arm(tools.config.close_timeout))
    }

    /// The socket is full.
    fn wait(&mut self, feed: &mut Feed, tools: &Tools) -> Step {
        if !self.lagging {
            self.lagging = true;
            feed.lagging += 1;
        }
        Step::Arm(tools.config.slow_after)
    }

    /// The socket takes bytes again.
    pub(crate) fn writable(&mut self) -> bool {
        std::mem::replace(&mut self.blocked, false)
    }

    /// The deadline came. A socket that takes anything at all gets more time.
    pub(crate) fn expire(&mut self, feed: &mut Feed, tools: &mut Tools) -> Step {
        if !self.writable() {
            return match self.phase {
                Phase::Left(reason) => Step::Drop(reason),
                _ => Step::Rest,
            };
        }
        tools.moved = false;
        let step = self.advance(feed, tools);
        if self.blocked && !tools.moved {
            return Step::Drop(self.final_reason(Reason::Slow));
        }
        step
    }

    /// A round of pings.
    pub(crate) fn beat(&mut self) -> Step {
        if self.silent >= MAX_SILENT {
            return Step::Drop(self.final_reason(Reason::Unresponsive));
        }
        // Here and not by a deadline of its own: that would cost each subscriber memory until its
        // token expires, also when it is long gone.
        if self
            .permit
            .until
            .is_some_and(|until| until <= Instant::now())
        {
            let why = "the token expired; connect again with a new one";
            self.leave(close_frame(TOKEN_EXPIRED, why), true, Reason::Expired);
        }
        self.silent += 1;
        self.ping_due = true;
        if self.is_stuck() {
            let why = "resync: the version you state stays behind what you were sent";
            self.leave(close_frame(RESYNC, why), false, Reason::Resync);
        }
        Step::Rest
    }

    /// Compares what the subscriber says it has with what it had been sent by the last ping.
    fn is_stuck(&mut self) -> bool {
        let Some(check) = &mut self.check else {
            return false;
        };
        let behind = check.pinged.is_some_and(|pinged| check.stated < pinged);
        check.stuck = if behind && check.stated <= check.before {
            check.stuck + 1
        } else {
            0
        };
        check.before = check.stated;
        check.pinged = self.position.version;
        check.stuck >= MAX_STUCK
    }

    /// Says goodbye with `frame`, with `flush` after all that is due. The first that does not
    /// flush stands.
    pub(crate) fn leave(&mut self, frame: Bytes, flush: bool, reason: Reason) {
        let replace = match &self.phase {
            Phase::Open => true,
            Phase::Leaving(farewell) => farewell.flush && !flush,
            Phase::Left(_) => false,
        };
        if replace {
            self.phase = Phase::Leaving(Box::new(Farewell {
                frame,
                flush,
                reason,
            }));
        }
    }

    /// Reads all that came.
    pub(crate) fn receive(&mut self, tools: &mut Tools) -> Step {
        for _ in 0..MAX_READS {
            let count = match self.socket.read(&mut tools.scratch) {
                Ok(0) => return Step::Drop(self.final_reason(Reason::Gone)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Rest,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Step::Drop(self.final_reason(Reason::Gone)),
            };
            let now = u32::try_from(tools.started.elapsed().as_secs()).unwrap_or(u32::MAX);
            self.take_in(&mut tools.scratch[..count], now, &tools.config);
        }
        Step::Drop(self.final_reason(Reason::Flood))
    }

    /// Takes bytes that came, at second `now` of the shard.
    pub(crate) fn take_in(&mut self, data: &mut [u8], now: u32, config: &HubConfig) {
        self.silent = 0;
        if self.deaf {
            return;
        }
        if now != self.second {
            self.second = now;
            self.received = 0;
        }
        let (received, pong, mut close) = (&mut self.received, &mut self.pong_due, None);
        let mut stated = None;
        let read = self.reader.feed(data, |inbound| {
            *received = received.saturating_add(1);
            match inbound {
                // only the newest is answered (RFC 6455, 5.5.3)
                Inbound::Ping(payload) => *pong = Some(payload.into()),
                Inbound::Close(code) => close = Some(code),
                Inbound::Position(version) => stated = Some(version),
                Inbound::Message | Inbound::Fragment | Inbound::Pong => {}
            }
        });
        if let Some(stated) = stated {
            let check = self.check.get_or_insert_with(|| {
                Box::new(Check {
                    stated,
                    before: stated,
                    pinged: None,
                    stuck: 0,
                })
            });
            check.stated = stated;
        }
        if let Some(code) = close {
            self.answered = true;
            self.deaf = true;
            let echo = code.map_or_else(
                || frame::control(Control::Close, &[]),
                |code| close_frame(code, ""),
            );
            self.leave(echo, false, Reason::Client);
        } else if let Err(violation) = read {
            let (code, why, reason) = match violation {
                Violation::Protocol => (1002, "not as RFC 6455 has it", Reason::Protocol),
                Violation::NotUtf8 => (1007, "text is UTF-8", Reason::Protocol),
                Violation::TooBig => (1009, "messages are at most 16 KiB", Reason::TooBig),
            };
            self.refuse(code, why, reason);
        } else if self.received > config.max_inbound_per_second {
            self.refuse(1008, "too many messages", Reason::Flood);
        }
    }

    fn refuse(&mut self, code: u16, why: &str, reason: Reason) {
        self.deaf = true;
        self.leave(close_frame(code, why), false, reason);
    }

    /// Why it ends, when `otherwise` is what happened to an open connection.
    fn final_reason(&self, otherwise: Reason) -> Reason {
        match &self.phase {
            Phase::Open => otherwise,
            Phase::Leaving(farewell) => farewell.reason,
            Phase::Left(reason) => *reason,
        }
    }

    pub(crate) fn is_lagging(&self) -> bool {
        self.lagging
    }
}

#[cfg(test)]
mod tests {
    use super::Connection;

    #[test]
    fn a_connection_stays_small() {
        let size = size_of::<Connection>();
        assert!(size <= 256, "{size} bytes");
    }
}
