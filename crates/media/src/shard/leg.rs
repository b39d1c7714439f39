use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openmic_model::ParticipantId;

use super::{Entry, LegId};
use crate::gate::{Counters, Evidence, Gate, Word};
use crate::handle::{Codec, Receive};
use crate::pcmu;
use crate::route::{Route, Silence};
use crate::rtcp::SenderInfo;
use crate::rtp::View;
use crate::track::Track;
use crate::transport::plain::Plain;

/// Loud packets of one mute that make it talking.
const TALKING: u32 = 10;

/// As loud as speech, in dB below overload. The same bound as common active-speaker detectors.
const LOUD: u8 = 35;

/// What a participant speaks and understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) codec: Codec,
    pub(super) payload_type: u8,
    pub(super) clock_rate: u32,
}

impl Format {
    /// Whether a receiver of `other` understands this. Payload types are rewritten, but for a codec
    /// we do not know by name the number is all there is to compare.
    pub(super) fn suits(self, other: Self) -> bool {
        self.codec == other.codec
            && self.clock_rate == other.clock_rate
            && (self.codec != Codec::Other || self.payload_type == other.payload_type)
    }
}

/// One participant, owned by the thread of its meeting.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) meeting: Arc<str>,
    pub(super) participant: ParticipantId,
    pub(super) format: Format,
    pub(super) gate: Arc<Gate>,
    pub(super) transport: Plain,
    pub(super) sends: bool,
    pub(super) declared_ssrc: Option<u32>,
    pub(super) level_extension: Option<u8>,
    /// What fills the silence of this source.
    pub(super) silence: Silence,
    pub(super) track: Track,
    /// When the last packet of audio came, or when it joined.
    pub(super) last_arrival: Instant,
    pub(super) allowance: Allowance,
    pub(super) counters: Counters,
    pub(super) evidence: Option<Evidence>,
    pub(super) sender_info: Option<SenderInfo>,
    pub(super) loud: Loud,
    /// Where its packets go.
    pub(super) hops: Vec<Hop>,
    pub(super) hears: Hears,
    /// The SSRC its next source gets.
    ssrcs: u32,
    /// Its sockets are on the list of those to read.
    pub(super) ready: [bool; 2],
    /// Its silence is looked for.
    pub(super) watched: bool,
}

/// How it hears the others, and who takes which slot.
#[derive(Debug)]
pub(super) enum Hears {
    Nobody,
    All,
    /// The index of the source on each line.
    Slots(Vec<Option<usize>>),
}

/// One receiver of a source.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) to: usize,
    pub(super) slot: Option<usize>,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) route: Route,
    pub(super) sent: u64,
}

impl Leg {
    /// `ssrcs`: a random number to derive SSRCs from.
    pub(super) fn new(
        entry: Entry,
        now: Instant,
        silence: Silence,
        rate: Option<NonZeroU32>,
        ssrcs: u32,
    ) -> Self {
        let spec = entry.spec;
        Self {
            id: entry.id,
            meeting: entry.meeting,
            participant: spec.participant,
            format: Format {
                codec: spec.codec,
                payload_type: spec.payload_type,
                clock_rate: spec.clock_rate,
            },
            gate: entry.gate,
            transport: entry.transport,
            sends: spec.sends,
            declared_ssrc: spec.ssrc,
            level_extension: spec.level_extension,
            silence: match spec.codec {
                Codec::Other => Silence { tail: 0, every: 0 },
                Codec::Opus | Codec::Pcmu | Codec::Pcma => silence,
            },
            track: Track::default(),
            last_arrival: now,
            allowance: Allowance::new(rate, now),
            counters: Counters::default(),
            evidence: None,
            sender_info: None,
            loud: Loud::default(),
            hops: Vec::new(),
            hears: match spec.receive {
                Receive::None => Hears::Nobody,
                Receive::Multi => Hears::All,
                Receive::Split(to) => Hears::Slots(vec![None; to.len()]),
            },
            ssrcs,
            ready: [false; 2],
            watched: false,
        }
    }

    /// An SSRC for one more source that it hears: none it had before, nor its own.
    pub(super) fn next_ssrc(&mut self) -> u32 {
        // odd, so all 2^32 numbers come before one comes again
        const STEP: u32 = 0x9e37_79b9;
        loop {
            self.ssrcs = self.ssrcs.wrapping_add(STEP);
            if self.ssrcs != 0 && Some(self.ssrcs) != self.ssrc() {
                return self.ssrcs;
            }
        }
    }

    /// Whom it is known to be: as declared, or as it was heard.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.declared_ssrc.or_else(|| self.track.ssrc())
    }

    /// Whether a silence would let its SSRC come from elsewhere.
    pub(super) fn may_move(&self) -> bool {
        self.sends && self.transport.is_connected() && self.ssrc().is_some()
    }

    /// Counts a gated packet's loudness; true once per mute, when it has become talking.
    pub(super) fn talks(&mut self, word: Word, view: &View<'_>) -> bool {
        if !self.is_loud(view) {
            return false;
        }
        self.counters.loud_gated += 1;
        if self.loud.epoch != word.epoch() {
            self.loud = Loud {
                epoch: word.epoch(),
                packets: 0,
            };
        }
        self.loud.packets += 1;
        self.loud.packets == TALKING
    }

    fn is_loud(&self, view: &View<'_>) -> bool {
        if let Some(level) = self.level_extension.and_then(|id| view.audio_level(id)) {
            return level.below_overload <= LOUD;
        }
        match self.format.codec {
            Codec::Pcmu => is_loud(view.payload(), pcmu::decode),
            Codec::Pcma => is_loud(view.payload(), pcmu::decode_a),
            // not to be told without decoding
            Codec::Opus | Codec::Other => false,
        }
    }
}

/// Mean square over -35 dBov: full scale is 2^15, so 2^30 / 10^3.5.
fn is_loud(payload: &[u8], decode: fn(u8) -> i16) -> bool {
    const BOUND: u64 = 339_546;
    let energy: u64 = payload
        .iter()
        .map(|byte| u64::from(decode(*byte).unsigned_abs()).pow(2))
        .sum();
    !payload.is_empty() && energy > BOUND * payload.len() as u64
}

/// Loud packets of the running mute.
#[derive(Debug, Default)]
pub(super) struct Loud {
    epoch: u64,
    packets: u32,
}

/// Packets per second with a burst of one second, as a virtual schedule: a packet is due one interval
/// after the one before, and may be early by a second.
#[derive(Debug)]
pub(super) struct Allowance {
    interval: Option<Duration>,
    due: Instant,
}

impl Allowance {
    const BURST: Duration = Duration::from_secs(1);

    fn new(rate: Option<NonZeroU32>, now: Instant) -> Self {
        Self {
            interval: rate.map(|rate| Self::BURST / rate.get()),
            due: now,
        }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else {
            return true;
        };
        let due = self.due.max(now) + interval;
        if due > now + Self::BURST {
            return false;
        }
        self.due = due;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_is_a_second_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(NonZeroU32::new(200), start);
        let taken =
            |allowance: &mut Allowance, at| (0..1000).filter(|_| allowance.take(at)).count();
        assert_eq!(taken(&mut allowance, start), 200);
        assert_eq!(
            taken(&mut allowance, start + Duration::from_millis(100)),
            20
        );
        assert_eq!(taken(&mut allowance, start + Duration::from_mins(1)), 200);
    }

    #[test]
    fn loud_is_over_35_dbov() {
        let square = |level: i16| [pcmu::encode(level), pcmu::encode(-level)].repeat(80);
        // 20·lg(583 / 32768) = -35
        assert!(!is_loud(&square(500), pcmu::decode));
        assert!(is_loud(&square(700), pcmu::decode));
        assert!(!is_loud(&[], pcmu::decode));
        assert!(!is_loud(&[pcmu::SILENCE_A; 160], pcmu::decode_a));
    }
}
