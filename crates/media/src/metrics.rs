use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

/// What the media threads count. All legs of all meetings together.
#[derive(Debug, Clone)]
pub struct MediaMetrics {
    packets: IntCounterVec,
    pub(crate) received: Received,
    pub(crate) sent: Sent,
    /// Payloads handed over after a mute of their sender had been answered. Stays 0, or the promise
    /// of the gate is broken. Counted per receiver.
    pub(crate) leaked: IntCounter,
    /// From an unmute to the first forwarded packet, in seconds.
    pub(crate) first_audio: Histogram,
    /// Mutes during which the participant was heard talking (counted once per mute): at least ten
    /// loud packets, by the sender's stated level (RFC 6464) or, for G.711, by the samples.
    pub(crate) talking_while_muted: IntCounter,
    /// One wake-up of a media thread, from the return of the poll to the next one, in seconds.
    pub(crate) turn: Histogram,
}

/// Packets from participants, by what the gate made of them.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) open: IntCounter,
    pub(crate) muted: IntCounter,
    pub(crate) late: IntCounter,
    pub(crate) bad: IntCounter,
    pub(crate) dropped: IntCounter,
}

/// Packets to participants.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) open: IntCounter,
    pub(crate) tail: IntCounter,
    pub(crate) dropped: IntCounter,
}

impl MediaMetrics {
    pub(crate) fn new() -> Self {
        let packets = IntCounterVec::new(
            Opts::new(
                "openmic_rtp_packets_total",
                "RTP packets from (in) and to (out) participants, by what the gate made of them.",
            ),
            &["direction", "gate"],
        )
        .expect("name and labels are constant and valid");
        let child = |direction, gate| packets.with_label_values(&[direction, gate]);
        Self {
            received: Received {
                open: child("in", "open"),
                muted: child("in", "muted"),
                late: child("in", "late"),
                bad: child("in", "bad"),
                dropped: child("in", "dropped"),
            },
            sent: Sent {
                open: child("out", "open"),
                tail: child("out", "tail"),
                dropped: child("out", "dropped"),
            },
            leaked: counter(
                "openmic_audio_leak_packets_total",
                "Payloads handed over after a mute of their sender was answered; must stay 0.",
            ),
            first_audio: histogram(
                "openmic_unmute_to_first_audio_seconds",
                "From an unmute at the gate to the first forwarded packet.",
                0.000_1,
                16,
            ),
            talking_while_muted: counter(
                "openmic_talking_while_muted_total",
                "Mutes during which the participant was heard talking.",
            ),
            turn: histogram(
                "openmic_media_loop_seconds",
                "One wake-up of a media thread.",
                0.000_004,
                16,
            ),
            packets,
        }
    }

    /// Makes them visible in `registry`.
    ///
    /// # Errors
    /// When one of the names is taken there.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.packets.clone()))?;
        registry.register(Box::new(self.leaked.clone()))?;
        registry.register(Box::new(self.first_audio.clone()))?;
        registry.register(Box::new(self.talking_while_muted.clone()))?;
        registry.register(Box::new(self.turn.clone()))
    }

    /// Payloads handed over after a mute had been answered, so far: 0 as long as the gate keeps its
    /// promise.
    pub fn leaked(&self) -> u64 {
        self.leaked.get()
    }
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("the name is constant and valid")
}

fn histogram(name: &str, help: &str, first: f64, doublings: usize) -> Histogram {
    let buckets = prometheus::exponential_buckets(first, 2.0, doublings)
        .expect("the bounds are constant and valid");
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
        .expect("the name is constant and valid")
}
