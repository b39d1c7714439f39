//! The order of one source's packets: extends the 16-bit numbers, finds duplicates, and notices a
//! sender that started anew.

/// Behind the highest number by more than this, a packet is of no use to anybody.
const WINDOW: u64 = 64;

/// A step forward beyond this is taken for a new start rather than for loss (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3000;

/// What a packet is to the packets before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Not seen before. The number never wraps and survives restarts of the sender.
    Fresh { ext: u64 },
    /// The first one after the sender started anew, as good as the one after the highest. Carries
    /// whether the SSRC is another, because then so is the origin of its timestamps.
    Restarted { ext: u64, new_ssrc: bool },
    /// Seen before, too old, or the first of what may be a restart.
    Stale,
}

/// Where the first number is placed: room below it for packets that arrive out of order.
const ORIGIN: u64 = 1 << 32;

/// One source as its packets arrive.
#[derive(Debug, Default)]
pub(crate) struct Track {
    started: Option<Started>,
}

#[derive(Debug)]
struct Started {
    ssrc: u32,
    highest: u64,
    highest_seq: u16,
    /// Bit n: `highest - n` was seen.
    seen: u64,
    /// A packet that fits nothing, as SSRC and the number its successor must have.
    candidate: Option<(u32, u16)>,
}

impl Track {
    /// The source's SSRC, once a packet has come.
    pub(crate) fn ssrc(&self) -> Option<u32> {
        self.started.as_ref().map(|started| started.ssrc)
    }

    pub(crate) fn take(&mut self, ssrc: u32, seq: u16) -> Order {
        let Some(state) = &mut self.started else {
            self.started = Some(Started {
                ssrc,
                highest: ORIGIN,
                highest_seq: seq,
                seen: 1,
                candidate: None,
            });
            return Order::Fresh { ext: ORIGIN };
        };
        let ahead = seq.wrapping_sub(state.highest_seq);
        let behind = u64::from(state.highest_seq.wrapping_sub(seq));
        if ssrc == state.ssrc {
            if ahead == 0 {
                return Order::Stale;
            }
            if ahead <= MAX_DROPOUT {
                let step = u64::from(ahead);
                state.seen = if step < WINDOW { state.seen << step } else { 0 } | 1;
                state.highest += step;
                state.highest_seq = seq;
                state.candidate = None;
                return Order::Fresh { ext: state.highest };
            }
            if behind < WINDOW {
                let bit = 1 << behind;
                if state.seen & bit != 0 {
                    return Order::Stale;
                }
                state.seen |= bit;
                return Order::Fresh {
                    ext: state.highest - behind,
                };
            }
        }
        // two in a row make a restart; one alone may be a straggler or a forgery
        if state.candidate != Some((ssrc, seq)) {
            state.candidate = Some((ssrc, seq.wrapping_add(1)));
            return Order::Stale;
        }
        let new_ssrc = state.ssrc != ssrc;
        *state = Started {
            ssrc,
            highest: state.highest + 1,
            highest_seq: seq,
            // what lies before the restart is never asked for again
            seen: u64::MAX,
            candidate: None,
        };
        Order::Restarted {
            ext: state.highest,
            new_ssrc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSRC: u32 = 7;

    fn fresh(ext: u64) -> Order {
        Order::Fresh { ext: ORIGIN + ext }
    }

    #[test]
    fn numbers_continue_over_the_wrap() {
        let mut track = Track::default();
        for (at, seq) in [65_534_u16, 65_535, 0, 1].into_iter().enumerate() {
            assert_eq!(track.take(SSRC, seq), fresh(at as u64));
        }
        assert_eq!(track.take(SSRC, 65_535), Order::Stale, "a duplicate");
    }

    #[test]
    fn reordered_packets_pass_once() {
        let mut track = Track::default();
        assert_eq!(track.take(SSRC, 10), fresh(0));
        assert_eq!(track.take(SSRC, 13), fresh(3));
        assert_eq!(track.take(SSRC, 11), fresh(1));
        assert_eq!(track.take(SSRC, 11), Order::Stale);
        assert_eq!(track.take(SSRC, 9), Order::Fresh { ext: ORIGIN - 1 });
        assert_eq!(track.take(SSRC, 200), fresh(190));
        assert_eq!(track.take(SSRC, 12), Order::Stale, "older than the window");
    }

    #[test]
    fn a_restart_needs_two_packets_in_a_row() {
        let mut track = Track::default();
        assert_eq!(track.take(SSRC, 10_000), fresh(0));
        assert_eq!(track.take(SSRC, 40), Order::Stale);
        assert_eq!(track.take(SSRC, 10_001), fresh(1), "it was a straggler");
        assert_eq!(track.take(9, 500), Order::Stale);
        let restarted = Order::Restarted {
            ext: ORIGIN + 2,
            new_ssrc: true,
        };
        assert_eq!(track.take(9, 501), restarted);
        assert_eq!(track.take(9, 500), Order::Stale, "before the restart");
        assert_eq!(track.take(9, 502), fresh(3));
        assert_eq!(track.ssrc(), Some(9));
    }

    #[test]
    fn a_jump_of_the_same_source_is_a_restart_without_a_new_clock() {
        let mut track = Track::default();
        track.take(SSRC, 0);
        assert_eq!(track.take(SSRC, 3000), fresh(3000));
        assert_eq!(track.take(SSRC, 6001), Order::Stale);
        let restarted = Order::Restarted {
            ext: ORIGIN + 3001,
            new_ssrc: false,
        };
        assert_eq!(track.take(SSRC, 6002), restarted);
    }
}
