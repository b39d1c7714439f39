//! Whether a host is there. Time comes in, nothing waits.

use std::time::Duration;

use tokio::time::Instant;

/// So many requests in a row without an answer open the circuit.
const FAILURES: u32 = 10;
/// How long nothing is sent then.
pub(super) const OPEN: Duration = Duration::from_secs(5);
/// How long others wait before they look again whether the probe was answered.
const LOOK: Duration = Duration::from_millis(250);

/// A circuit breaker: closed until ten requests in a row had no answer, then open for 5 s, then
/// one request is let through and decides.
#[derive(Debug)]
pub(super) enum Breaker {
    /// Requests pass.
    Closed {
        /// Without an answer, in a row.
        failures: u32,
    },
    /// None passes.
    Open {
        /// From then on one does.
        until: Instant,
    },
    /// One is under way, the others wait for what becomes of it.
    Probing {
        /// When the circuit would have let it through.
        due: Instant,
    },
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Leave.
    Pass,
    /// Leave, and decide for all.
    Probe,
    /// Stay.
    Refused,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match *self {
            Self::Closed { .. } => Admission::Pass,
            Self::Open { until } if until <= now => {
                *self = Self::Probing { due: until };
                Admission::Probe
            }
            Self::Open { .. } | Self::Probing { .. } => Admission::Refused,
        }
    }

    /// Somebody got an answer; it need not be the probe. True when that closes the circuit.
    pub(super) fn answered(&mut self) -> bool {
        let was_open = !matches!(self, Self::Closed { .. });
        *self = Self::default();
        was_open
    }

    /// Somebody got no answer. True when that opens the circuit. What left before it opened says
    /// nothing new once it is open.
    pub(super) fn failed(&mut self, probe: bool, now: Instant) -> bool {
        match self {
            Self::Closed { failures } => {
                *failures += 1;
                *failures >= FAILURES && self.open(now)
            }
            Self::Probing { .. } if probe => self.open(now),
            Self::Open { .. } | Self::Probing { .. } => false,
        }
    }

    /// Opens the circuit at once. True when it was not open.
    pub(super) fn trip(&mut self, now: Instant) -> bool {
        !matches!(self, Self::Open { .. }) && self.open(now)
    }

    /// The probe was given up before anything was known; the next request is one.
    pub(super) fn abandoned(&mut self) {
        if let Self::Probing { due } = *self {
            *self = Self::Open { until: due };
        }
    }

    /// When to look again; `None` when a request would pass.
    pub(super) fn opens(&self, now: Instant) -> Option<Instant> {
        match *self {
            Self::Open { until } if now < until => Some(until),
            Self::Closed { .. } | Self::Open { .. } => None,
            Self::Probing { .. } => Some(now + LOOK),
        }
    }

    fn open(&mut self, now: Instant) -> bool {
        *self = Self::Open { until: now + OPEN };
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fail(breaker: &mut Breaker, times: u32, now: Instant) -> bool {
        (0..times).fold(false, |_, _| breaker.failed(false, now))
    }

    #[test]
    fn ten_failures_in_a_row_open_the_circuit_and_nine_do_not() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!(!fail(&mut breaker, 9, now));
        assert!(!breaker.answered(), "it was not open");
        assert!(!fail(&mut breaker, 9, now), "the row began anew");
        assert_eq!(breaker.admit(now), Admission::Pass);
        assert!(fail(&mut breaker, 1, now));
        assert_eq!(breaker.admit(now), Admission::Refused);
    }

    #[test]
    fn after_five_seconds_one_probe_decides() {
        let opened = Instant::now();
        let at = |millis| opened + Duration::from_millis(millis);
        let mut breaker = Breaker::default();
        assert!(fail(&mut breaker, 10, opened));
        assert_eq!(breaker.admit(at(4_999)), Admission::Refused);
        assert_eq!(breaker.opens(at(4_999)), Some(at(5_000)));
        assert_eq!(breaker.admit(at(5_000)), Admission::Probe);
        assert_eq!(breaker.admit(at(5_000)), Admission::Refused, "one only");
        assert!(
            !breaker.failed(false, at(5_001)),
            "what left before it opened decides nothing"
        );
        assert!(breaker.failed(true, at(6_000)), "open for another 5 s");
        assert_eq!(breaker.admit(at(10_999)), Admission::Refused);
        assert_eq!(breaker.admit(at(11_000)), Admission::Probe);
        breaker.abandoned();
        assert_eq!(breaker.admit(at(11_000)), Admission::Probe);
        assert!(breaker.answered());
        assert_eq!(breaker.admit(at(11_000)), Admission::Pass);
        assert_eq!(breaker.opens(at(11_000)), None);
    }

    #[test]
    fn a_trip_opens_at_once_and_is_not_drawn_out_by_the_next() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!(breaker.trip(now));
        assert!(!breaker.trip(now + OPEN / 2));
        assert_eq!(breaker.admit(now + OPEN), Admission::Probe);
        assert!(breaker.trip(now + OPEN), "the probe was turned down too");
        assert_eq!(breaker.admit(now + OPEN), Admission::Refused);
    }

    proptest! {
        /// Whatever happens in whatever order: at most one probe is out, nothing passes within
        /// 5 s of the opening unless an answer came, and the circuit is never open for good.
        #[test]
        fn any_history_keeps_the_rules(steps in prop::collection::vec((0_u8..6, 0_u64..4_000), 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::default();
            let mut probe_out = false;
            let mut shut_until: Option<Instant> = None;
            for (what, millis) in steps {
                now += Duration::from_millis(millis);
                let opened = match what {
                    0 => {
                        match breaker.admit(now) {
                            Admission::Pass => prop_assert!(shut_until.is_none()),
                            Admission::Probe => {
                                prop_assert!(!probe_out);
                                prop_assert!(shut_until.is_some_and(|until| until <= now));
                                probe_out = true;
                            }
                            Admission::Refused => {
                                prop_assert!(probe_out || shut_until.is_some_and(|until| now < until));
                            }
                        }
                        false
                    }
                    1 => {
                        breaker.answered();
                        (probe_out, shut_until) = (false, None);
                        false
                    }
                    2 => breaker.failed(false, now),
                    3 => breaker.failed(std::mem::take(&mut probe_out), now),
                    4 => {
                        let opened = breaker.trip(now);
                        probe_out &= !opened;
                        opened
                    }
                    _ => {
                        if std::mem::take(&mut probe_out) {
                            breaker.abandoned();
                        }
                        false
                    }
                };
                if opened {
                    shut_until = Some(now + OPEN);
                }
            }
            if !probe_out {
                prop_assert_ne!(breaker.admit(now + OPEN), Admission::Refused);
            }
        }
    }
}
