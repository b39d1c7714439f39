use std::net::SocketAddr;

use openmic_model::ParticipantId;

use super::{DISCARD_PORT, JoinError, Leg, MediaConfig, is_unicast};
use crate::gate::{Counters, Evidence};
use crate::rtcp::SenderInfo;

/// Lines a participant may receive on; each costs a socket.
pub(super) const MAX_SLOTS: usize = 64;

/// What the payload is. Nothing is transcoded; the codec says what silence looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7587.
    Opus,
    /// µ-law.
    Pcmu,
    /// A-law.
    Pcma,
    /// Anything else: forwarded, but without silence in place of dropped packets.
    Other,
}

/// How a participant hears the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receive {
    /// Not at all.
    None,
    /// All of them at its one port, one SSRC per source.
    Multi,
    /// One source per address, in the order in which they join; further sources wait for a free one.
    Split(Vec<SocketAddr>),
}

/// What a participant offers. Build with [`JoinSpec::new`] and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinSpec {
    /// Who it is.
    pub participant: ParticipantId,
    /// What it sends and understands.
    pub codec: Codec,
    /// Under which number, in both directions.
    pub payload_type: u8,
    /// Timestamp units per second.
    pub clock_rate: u32,
    /// The SSRC it will send with; packets of others are bad then.
    pub ssrc: Option<u32>,
    /// Where it sends from and listens at. `None`, port 9, or [`Receive::None`]: learned from its
    /// first valid packet.
    pub remote: Option<SocketAddr>,
    /// How it hears the others.
    pub receive: Receive,
    /// Whether it may send.
    pub sends: bool,
    /// Whether it joins unmuted.
    pub starts_open: bool,
    /// The id it gave to the audio level extension (RFC 6464), if any.
    pub level_extension: Option<u8>,
}

impl JoinSpec {
    /// Sends and receives on one port, muted, latched; payload type and clock rate as is usual for
    /// the codec (Opus 111 at 48000, PCMU 0, PCMA 8, others 96 at 8000).
    pub fn new(participant: ParticipantId, codec: Codec) -> Self {
        let (payload_type, clock_rate) = match codec {
            Codec::Opus => (111, 48_000),
            Codec::Pcmu => (0, 8000),
            Codec::Pcma => (8, 8000),
            Codec::Other => (96, 8000),
        };
        Self {
            participant,
            codec,
            payload_type,
            clock_rate,
            ssrc: None,
            remote: None,
            receive: Receive::Multi,
            sends: true,
            starts_open: false,
            level_extension: None,
        }
    }

    pub(super) fn check(&self, config: &MediaConfig) -> Result<(), JoinError> {
        if !matches!(self.payload_type, 0..=63 | 96..=127) {
            return Err(JoinError::PayloadType(self.payload_type));
        }
        if self.clock_rate == 0 {
            return Err(JoinError::ClockRate);
        }
        let slots = match &self.receive {
            Receive::Split(to) if to.len() > MAX_SLOTS => return Err(JoinError::Slots(to.len())),
            Receive::Split(to) => to.as_slice(),
            Receive::None | Receive::Multi => &[],
        };
        for remote in self.connects_to().iter().chain(slots) {
            if !is_unicast(*remote) {
                return Err(JoinError::Address(*remote));
            }
            if remote.is_ipv4() != config.bind.is_ipv4() {
                return Err(JoinError::Family {
                    remote: *remote,
                    bind: config.bind,
                });
            }
            let ours = config.ports.as_ref();
            if remote.ip() == config.bind && ours.is_some_and(|own| own.contains(&remote.port())) {
                return Err(JoinError::OwnPort(*remote));
            }
        }
        Ok(())
    }

    /// The declared address when it is to be trusted at once.
    pub(super) fn connects_to(&self) -> Option<SocketAddr> {
        self.remote
            .filter(|addr| addr.port() != DISCARD_PORT && self.receive != Receive::None)
    }
}

/// A participant that is in.
#[derive(Debug)]
pub struct Joined {
    /// Where it is to send its RTP; its RTCP goes one port above.
    pub local_addr: SocketAddr,
    /// From where each line of [`Receive::Split`] is sent, in their order. RTCP to them is not read.
    pub split_addrs: Vec<SocketAddr>,
    /// Its gate and its place in the meeting.
    pub leg: Leg,
}

/// A moment of one leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegStats {
    /// Whether the gate is open.
    pub open: bool,
    /// How often it was changed.
    pub epoch: u64,
    /// Where it sends from and is sent to.
    pub latched: Option<SocketAddr>,
    /// The SSRC it sends with, once a packet has come.
    pub ssrc: Option<u32>,
    /// What became of its packets.
    pub counters: Counters,
    /// The first forwarded packet of the last open that had one.
    pub evidence: Option<Evidence>,
    /// The last sender report: which of its timestamps goes with which wall time.
    pub sender_info: Option<SenderInfo>,
    /// Whom it hears.
    pub sources: Vec<SourceStats>,
    /// Who sends in the meeting but cannot be heard by it: another codec or clock rate, or all
    /// slots are taken.
    pub unheard: Vec<ParticipantId>,
}

/// One source as one receiver gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStats {
    /// Who speaks.
    pub participant: ParticipantId,
    /// The SSRC under which this receiver hears it; the same as long as both stay.
    pub ssrc: u32,
    /// Which line of [`Receive::Split`] carries it.
    pub slot: Option<usize>,
    /// Packets handed to the kernel, silence included.
    pub sent: u64,
}
