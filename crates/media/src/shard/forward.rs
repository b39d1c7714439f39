//! The path of a packet: read, parse, put in order, ask the gate once, hand it to every receiver.
//! Nothing here allocates or waits.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use mio::Token;

use super::LegId;
use super::leg::{Hop, Leg};
use super::table::{Kind, Table, of_token};
use crate::gate::{Evidence, Word};
use crate::handle::Codec;
use crate::metrics::MediaMetrics;
use crate::pcmu;
use crate::route::Step;
use crate::rtcp;
use crate::rtp::{HEADER_LEN, Header, View};
use crate::track::Order;
use crate::transport::plain::MAX_DATAGRAM;

/// Packets read from one socket before the others get their turn.
const BATCH: usize = 32;

/// Rounds of [`BATCH`] that an open may spend on what is waiting; more cannot be waiting than a
/// socket's buffer holds, unless somebody floods.
const DRAIN_ROUNDS: usize = 32;

/// One byte longer than allowed would do; longer datagrams are cut by the kernel, and dropped here.
const BUFFER: usize = MAX_DATAGRAM + 64;

/// A silent Opus frame of 20 ms: its table of contents says so, and there is nothing to decode
/// (RFC 6716 §3.1; the same three bytes libopus writes for silence).
const OPUS_SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// What reading a socket led to.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// There may be more.
    pub(super) more: bool,
    /// This leg's silence should be looked for from now on.
    pub(super) watch: Option<LegId>,
}

/// A packet of audio in the buffer.
struct Packet {
    header: Header,
    payload: Range<usize>,
    ext: u64,
    /// The gate when it was asked.
    word: Word,
}

/// What the packets of all legs of a thread share.
pub(super) struct Forwarder {
    buffer: Box<[u8; BUFFER]>,
    silence: Box<[u8; BUFFER]>,
    metrics: MediaMetrics,
    started: Instant,
}

impl Forwarder {
    pub(super) fn new(metrics: MediaMetrics, started: Instant) -> Self {
        Self {
            buffer: Box::new([0; BUFFER]),
            silence: Box::new([0; BUFFER]),
            metrics,
            started,
        }
    }

    /// One batch of the socket behind `token`.
    pub(super) fn read(&mut self, table: &mut Table, token: Token, now: Instant) -> Read {
        let (at, kind) = of_token(token);
        let Some(mut leg) = table.take(at) else {
            return Read::default();
        };
        let more = match kind {
            Kind::Rtp => self.rtp(&mut leg, table, now),
            Kind::Rtcp => self.rtcp(&mut leg),
        };
        let watch = (!leg.watched && leg.may_move()).then_some(leg.id);
        table.put_back(at, leg);
        Read { more, watch }
    }

    /// Reads all that waits on the RTP socket of the leg at `at`.
    pub(super) fn drain(&mut self, table: &mut Table, at: usize, now: Instant) {
        let Some(mut leg) = table.take(at) else {
            return;
        };
        for _ in 0..DRAIN_ROUNDS {
            if !self.rtp(&mut leg, table, now) {
                break;
            }
        }
        table.put_back(at, leg);
    }

    /// Whether there may be more.
    fn rtp(&mut self, leg: &mut Leg, table: &mut Table, now: Instant) -> bool {
        for _ in 0..BATCH {
            match leg.transport.rtp.recv_from(&mut self.buffer[..]) {
                Ok((len, from)) => self.datagram(leg, table, len, from, now),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                // such as an earlier packet of ours that found nobody
                Err(error) => tracing::trace!(%error, "a media socket reports"),
            }
        }
        true
    }

    fn rtcp(&mut self, leg: &mut Leg) -> bool {
        for _ in 0..BATCH {
            match leg.transport.rtcp.recv_from(&mut self.buffer[..]) {
                Ok((len, from)) => {
                    let known = leg
                        .transport
                        .peer()
                        .is_some_and(|peer| peer.ip() == from.ip());
                    if known && len <= MAX_DATAGRAM {
                        self.report(leg, len);
                    } else {
                        self.bad(leg);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => tracing::trace!(%error, "a media socket reports"),
            }
        }
        true
    }

    fn report(&mut self, leg: &mut Leg, len: usize) {
        match rtcp::parse(&self.buffer[..len]) {
            Ok(summary) => {
                leg.counters.rtcp += 1;
                leg.sender_info = summary.sender.or(leg.sender_info);
            }
            Err(_) => self.bad(leg),
        }
    }

    fn bad(&self, leg: &mut Leg) {
        leg.counters.bad += 1;
        self.metrics.received.bad.inc();
    }

    fn late(&self, leg: &mut Leg) {
        leg.counters.late += 1;
        self.metrics.received.late.inc();
    }

    fn datagram(
        &mut self,
        leg: &mut Leg,
        table: &mut Table,
        len: usize,
        from: SocketAddr,
        now: Instant,
    ) {
        if !(HEADER_LEN..=MAX_DATAGRAM).contains(&len) && !rtcp::is_rtcp(&self.buffer[..len]) {
            return self.bad(leg);
        }
        let stranger = leg.transport.peer() != Some(from);
        if rtcp::is_rtcp(&self.buffer[..len]) {
            if stranger || len > MAX_DATAGRAM {
                return self.bad(leg);
            }
            return self.report(leg, len);
        }
        let Ok(view) = View::parse(&self.buffer[..len]) else {
            return self.bad(leg);
        };
        let header = view.header();
        let audio = header.payload_type == leg.format.payload_type;
        let wrong_source = leg.declared_ssrc.is_some_and(|ssrc| ssrc != header.ssrc);
        if !leg.sends || wrong_source || (stranger && !may_latch(leg, header, audio)) {
            return self.bad(leg);
        }
        if !leg.transport.is_connected() && audio {
            leg.transport.latch(from);
        }
        if !leg.allowance.take(now) {
            leg.counters.dropped += 1;
            self.metrics.received.dropped.inc();
            return;
        }
        let (ext, restarted) = match leg.track.take(header.ssrc, header.sequence) {
            Order::Fresh { ext } => (ext, false),
            Order::Restarted { ext, new_ssrc } => (ext, new_ssrc),
            Order::Stale => return self.late(leg),
        };
        if restarted {
            let ticks = ticks(leg, now);
            for hop in &mut leg.hops {
                hop.route.new_clock(ticks);
            }
        }
        leg.last_arrival = now;
        if !audio {
            // such as telephone events in the numbering of the audio
            for hop in &mut leg.hops {
                hop.route.omit(ext);
            }
            return self.bad(leg);
        }
        // the one look at the gate; whatever is done with this packet follows from it
        let word = leg.gate.read();
        if !word.is_open() && leg.talks(word, &view) {
            self.metrics.talking_while_muted.inc();
        }
        let packet = Packet {
            header,
            payload: view.payload_range(),
            ext,
            word,
        };
        self.audio(leg, table, &packet);
    }

    /// Fan-out of what is audio, in order, and seen for the first time.
    fn audio(&mut self, leg: &mut Leg, table: &mut Table, packet: &Packet) {
        let Packet {
            header,
            ref payload,
            ext,
            word,
        } = *packet;
        let mut late = false;
        let mut first_out = None;
        let mut reached = 0;
        for hop in &mut leg.hops {
            match hop
                .route
                .step(ext, header.timestamp, word.is_open(), leg.silence)
            {
                Step::Late => late = true,
                Step::Gated => {}
                Step::Send { seq, ts, marker } => {
                    let out = Header {
                        marker: marker || header.marker,
                        payload_type: hop.payload_type,
                        sequence: seq,
                        timestamp: ts,
                        ssrc: hop.ssrc,
                    };
                    // the payload lies behind at least as many bytes as the new header needs, and
                    // of the old one nothing is read any more
                    let start = payload.start - HEADER_LEN;
                    self.buffer[start..payload.start].copy_from_slice(&out.to_bytes());
                    if leg.gate.overtook(word) {
                        self.metrics.leaked.inc();
                    }
                    let packet = &self.buffer[start..payload.end];
                    if put(table, hop, packet, &self.metrics) == Put::Taken {
                        first_out.get_or_insert(seq);
                        reached += 1;
                    }
                }
                Step::Tail { seq, ts } => {
                    let out = Header {
                        marker: false,
                        payload_type: hop.payload_type,
                        sequence: seq,
                        timestamp: ts,
                        ssrc: hop.ssrc,
                    };
                    self.silence[..HEADER_LEN].copy_from_slice(&out.to_bytes());
                    let end = self.fill_silence(leg.format.codec, payload.len());
                    if put(table, hop, &self.silence[..end], &self.metrics) == Put::Taken {
                        self.metrics.sent.tail.inc();
                        leg.counters.tail += 1;
                    }
                }
            }
        }
        // once for all of them: each time would wait until the processor has written out the packet
        self.metrics.sent.open.inc_by(reached);
        if !word.is_open() {
            leg.counters.gated += 1;
            self.metrics.received.muted.inc();
            return;
        }
        if late {
            return self.late(leg);
        }
        leg.counters.forwarded += 1;
        self.metrics.received.open.inc();
        let known = leg.evidence.map(|evidence| evidence.epoch);
        if let Some(out_sequence) = first_out.filter(|_| known != Some(word.epoch())) {
            let after_open = self.started.elapsed().saturating_sub(leg.gate.opened_at());
            if word.epoch() > 0 {
                self.metrics.first_audio.observe(after_open.as_secs_f64());
            }
            leg.evidence = Some(Evidence {
                epoch: word.epoch(),
                after_open,
                in_sequence: header.sequence,
                out_sequence,
                receivers: usize::try_from(reached).expect("as many as there are legs"),
            });
        }
    }

    /// Writes silence behind the header; where it ends.
    fn fill_silence(&mut self, codec: Codec, len: usize) -> usize {
        let body = &mut self.silence[HEADER_LEN..];
        let len = match codec {
            Codec::Opus => {
                body[..OPUS_SILENCE.len()].copy_from_slice(&OPUS_SILENCE);
                OPUS_SILENCE.len()
            }
            Codec::Pcmu => {
                body[..len].fill(pcmu::SILENCE);
                len
            }
            Codec::Pcma => {
                body[..len].fill(pcmu::SILENCE_A);
                len
            }
            // its routes make no silence
            Codec::Other => 0,
        };
        HEADER_LEN + len
    }
}

/// Whether a packet of an address that is not the peer's may make it the peer.
fn may_latch(leg: &Leg, header: Header, audio: bool) -> bool {
    match leg.transport.peer() {
        None => audio,
        // read after the socket was connected, but queued before
        Some(_) if leg.transport.is_connected() => false,
        Some(_) => audio && leg.ssrc() == Some(header.ssrc),
    }
}

/// Timestamp units since the last packet of this leg.
fn ticks(leg: &Leg, now: Instant) -> u32 {
    let elapsed = now.saturating_duration_since(leg.last_arrival);
    let ticks = elapsed.as_micros() * u128::from(leg.format.clock_rate) / 1_000_000;
    // timestamps wrap, so the low half is what counts
    #[expect(
        clippy::cast_possible_truncation,
        reason = "wraps as the timestamp does"
    )]
    let wrapped = ticks as u32;
    wrapped
}

#[derive(Debug, PartialEq, Eq)]
enum Put {
    Taken,
    Lost,
}

/// Hands a packet to the kernel for one receiver. Full buffers are loss, which RTP lives with.
fn put(table: &mut Table, hop: &mut Hop, packet: &[u8], metrics: &MediaMetrics) -> Put {
    let Some(receiver) = table.leg_mut(hop.to) else {
        return Put::Lost;
    };
    match receiver.transport.send(hop.slot, packet) {
        Some(Ok(_)) => {
            hop.sent += 1;
            receiver.counters.sent += 1;
            Put::Taken
        }
        Some(Err(_)) => {
            receiver.counters.unsent += 1;
            metrics.sent.dropped.inc();
            Put::Lost
        }
        None => Put::Lost,
    }
}
