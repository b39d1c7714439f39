//! Whether what was heard is what should have been, packet by packet.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::bot::Sent;
use super::human::Heard;

/// Before a mute is asked for, packets this young may still be on their way through the service
/// when its gate closes; they may be heard or not.
const ON_THE_WAY: Duration = Duration::from_millis(100);

/// A stretch of time between two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The mute or unmute that began it was answered.
    pub(crate) from: Instant,
    /// The opposite was asked for, or the demo ended.
    pub(crate) to: Instant,
    pub(crate) muted: bool,
}

/// What one human heard, held against what the bot sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Packets with a payload of the bot.
    pub(crate) heard: usize,
    /// Of those, sent while muted. Must be 0.
    pub(crate) from_muted_time: usize,
    /// Packets that had to be heard and were not. Must be 0.
    pub(crate) missing: usize,
    /// Unmuted stretches of which something was heard.
    pub(crate) stretches_heard: usize,
    /// Packets whose number leaves a gap after the one before. Must be 0.
    pub(crate) gaps: usize,
    /// Per unmuted stretch, from its beginning to the first packet of it that was heard.
    pub(crate) first_heard: Vec<Option<Instant>>,
}

impl Judgement {
    /// True when the human heard all of every unmuted stretch and nothing else.
    pub(crate) fn holds(&self, stretches: &[Stretch]) -> bool {
        let unmuted = stretches.iter().filter(|stretch| !stretch.muted).count();
        self.from_muted_time == 0
            && self.missing == 0
            && self.gaps == 0
            && self.stretches_heard == unmuted
    }
}

/// Holds what a human heard against what the bot sent.
pub(crate) fn judge(sent: &[Sent], heard: &[Heard], stretches: &[Stretch]) -> Judgement {
    let index: HashMap<&[u8], usize> = sent
        .iter()
        .enumerate()
        .map(|(at, packet)| (&packet.payload[..], at))
        .collect();
    let mut came: HashMap<usize, Instant> = HashMap::new();
    let mut gaps = 0;
    let mut last: Option<u16> = None;
    for packet in heard {
        if last.is_some_and(|last| packet.sequence != last.wrapping_add(1)) {
            gaps += 1;
        }
        last = Some(packet.sequence);
        if let Some(at) = index.get(&packet.payload[..]) {
            came.entry(*at).or_insert(packet.at);
        }
    }
    let within = |at: Instant, from: Instant, to: Instant| at > from && at < to;
    let mut judgement = Judgement {
        heard: came.len(),
        from_muted_time: 0,
        missing: 0,
        stretches_heard: 0,
        gaps,
        first_heard: Vec::new(),
    };
    for stretch in stretches {
        let sent_within = |to: Instant| {
            sent.iter()
                .enumerate()
                .filter(move |(_, packet)| within(packet.at, stretch.from, to))
        };
        if stretch.muted {
            judgement.from_muted_time += sent_within(stretch.to)
                .filter(|(at, _)| came.contains_key(at))
                .count();
            continue;
        }
        let sure = stretch.to.checked_sub(ON_THE_WAY).unwrap_or(stretch.from);
        judgement.missing += sent_within(sure)
            .filter(|(at, _)| !came.contains_key(at))
            .count();
        let first = sent_within(stretch.to)
            .find_map(|(at, _)| came.get(&at))
            .copied();
        judgement.stretches_heard += usize::from(first.is_some());
        judgement.first_heard.push(first);
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::audio::Source;

    struct Scene {
        sent: Vec<Sent>,
        stretches: Vec<Stretch>,
    }

    /// A packet every 20 ms for 3 s: one second muted, one unmuted, one muted.
    fn scene() -> Scene {
        let begun = Instant::now();
        let mut source = Source::chime();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let sent = (0..150)
            .map(|n| Sent {
                at: at(n * 20),
                payload: source.frame(),
            })
            .collect();
        let stretch = |from, to, muted| Stretch {
            from: at(from),
            to: at(to),
            muted,
        };
        let stretches = vec![
            stretch(0, 1001, true),
            stretch(1003, 2001, false),
            stretch(2003, 2999, true),
        ];
        Scene { sent, stretches }
    }

    fn hear(sent: &[Sent], which: impl Iterator<Item = usize>) -> Vec<Heard> {
        let packets = which.enumerate().map(|(number, at)| Heard {
            at: sent[at].at + Duration::from_micros(100),
            sequence: u16::try_from(number).unwrap(),
            timestamp: u32::try_from(at).unwrap() * 160,
            payload: sent[at].payload.to_vec(),
        });
        packets.collect()
    }

    #[test]
    fn all_of_the_unmuted_stretch_and_nothing_else_holds() {
        let Scene { sent, stretches } = scene();
        let judgement = judge(&sent, &hear(&sent, 51..=100), &stretches);
        assert!(judgement.holds(&stretches), "{judgement:?}");
    }

    #[test]
    fn a_packet_of_muted_time_is_found() {
        let Scene { sent, stretches } = scene();
        let judgement = judge(&sent, &hear(&sent, (51..=100).chain([120])), &stretches);
        assert_eq!(judgement.from_muted_time, 1);
        assert!(!judgement.holds(&stretches));
    }

    #[test]
    fn a_packet_that_was_swallowed_is_found() {
        let Scene { sent, stretches } = scene();
        let judgement = judge(&sent, &hear(&sent, 52..=100), &stretches);
        assert_eq!(judgement.missing, 1);
        assert!(!judgement.holds(&stretches));
    }

    #[test]
    fn hearing_nothing_does_not_hold() {
        let Scene { sent, stretches } = scene();
        assert!(!judge(&sent, &[], &stretches).holds(&stretches));
    }

    #[test]
    fn a_gap_in_the_numbers_is_found() {
        let Scene { sent, stretches } = scene();
        let mut heard = hear(&sent, 51..=100);
        for packet in &mut heard[10..] {
            packet.sequence += 1;
        }
        assert_eq!(judge(&sent, &heard, &stretches).gaps, 1);
    }
}
