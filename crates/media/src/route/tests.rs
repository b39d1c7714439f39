use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::track::{Order, Track};

const SILENCE: Silence = Silence { tail: 3, every: 20 };

/// What becomes of one packet of the sender before it reaches us.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// Overtaken by so many.
    Late(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => (1..20_usize).prop_map(Fate::Late),
    ]
}

/// The senders' packets in the order of arrival, by index.
fn arrivals(fates: &[Fate]) -> Vec<usize> {
    let mut order = Vec::new();
    for (index, fate) in fates.iter().enumerate() {
        match fate {
            Fate::Arrives => order.push((index, index)),
            Fate::Lost => {}
            Fate::Twice => order.extend([(index, index), (index + 2, index)]),
            Fate::Late(by) => order.push((index + by, index)),
        }
    }
    order.sort_by_key(|(at, _)| *at);
    order.into_iter().map(|(_, index)| index).collect()
}

/// A stretch of new packets under one state of the gate; two flips with none between leave no trace.
#[derive(Debug, Default)]
struct Stretch {
    open: bool,
    sent: BTreeSet<usize>,
    tails: u32,
    packets: u32,
}

/// Puts the out number in line with those before it.
fn unwrap_seq(near: i64, seq: u16) -> i64 {
    let step = seq.wrapping_sub(u16::try_from(near & 0xffff).unwrap());
    near + i64::from(step.cast_signed())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_receiver_sees_only_real_loss(
        fates in proptest::collection::vec(fate(), 1..400),
        flips in proptest::collection::vec(proptest::bool::weighted(0.05), 800),
        starts_open in any::<bool>(),
        in_seq in any::<u16>(),
        in_ts in any::<u32>(),
        out_seq in any::<u16>(),
        tail in 0..5_u32,
        every in 0..30_u32,
    ) {
        let silence = Silence { tail, every };
        let mut track = Track::default();
        let mut route = Route::new(out_seq);
        let mut open = starts_open;
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut used = BTreeSet::new();
        let mut last_out = i64::from(out_seq);
        let mut newest = None;

        for (nth, index) in arrivals(&fates).into_iter().enumerate() {
            open ^= flips[nth];
            let seq = in_seq.wrapping_add(u16::try_from(index).unwrap());
            let ts = in_ts.wrapping_add(u32::try_from(index).unwrap() * 960);
            let Order::Fresh { ext } = track.take(7, seq) else {
                continue;
            };
            if stretches.last().is_none_or(|stretch| stretch.open != open) {
                stretches.push(Stretch { open, ..Stretch::default() });
            }
            let stretch = stretches.last_mut().unwrap();
            stretch.packets += 1;
            let before = newest;
            newest = newest.max(Some(index));
            let (out, out_ts) = match route.step(ext, ts, open, silence) {
                Step::Send { seq, ts, marker } => {
                    prop_assert!(open, "a payload left through a closed gate");
                    prop_assert_eq!(marker, stretch.sent.is_empty());
                    stretch.sent.insert(index);
                    (seq, ts)
                }
                Step::Tail { seq, ts } => {
                    prop_assert!(!open);
                    stretch.tails += 1;
                    (seq, ts)
                }
                Step::Late => {
                    prop_assert!(open && Some(index) < before);
                    continue;
                }
                Step::Gated => {
                    prop_assert!(!open);
                    continue;
                }
            };
            prop_assert_eq!(out_ts, ts, "one SSRC, one clock");
            let out = unwrap_seq(last_out, out);
            prop_assert!(used.insert(out), "out number {} twice", out);
            if Some(index) > before {
                prop_assert!(used.last() == Some(&out), "out numbers go back");
            }
            last_out = last_out.max(out);
        }

        // every number missing at the receiver is a packet that was missing here, while open
        let span = used.last().zip(used.first()).map_or(0, |(last, first)| last - first + 1);
        let missing_out = span - i64::try_from(used.len()).unwrap();
        let mut missing_in = 0;
        // an open stretch in which only stragglers came is part of the mute around it
        let mut mute = Stretch::default();
        for stretch in &stretches {
            let (Some(first), Some(last)) = (stretch.sent.first(), stretch.sent.last()) else {
                mute.tails += stretch.tails;
                mute.packets += stretch.packets;
                let allowed = tail + mute.packets.checked_div(every).unwrap_or(0);
                prop_assert!(mute.tails <= allowed, "{:?}", mute);
                continue;
            };
            mute = Stretch::default();
            let between = fates.iter().enumerate().take(*last).skip(*first);
            for (_, fate) in between.filter(|(index, _)| !stretch.sent.contains(index)) {
                missing_in += 1;
                prop_assert!(matches!(fate, Fate::Lost | Fate::Late(_)));
            }
        }
        prop_assert_eq!(missing_out, missing_in);
        if tail == 0 && every == 0 {
            prop_assert!(stretches.iter().all(|stretch| stretch.tails == 0));
        }
    }

    #[test]
    fn a_sender_that_starts_anew_continues_the_stream(
        gaps in proptest::collection::vec((1..100_u32, any::<u32>(), any::<bool>()), 1..20),
        out_seq in any::<u16>(),
    ) {
        let mut route = Route::new(out_seq);
        let mut last: Option<(u16, u32)> = None;
        let mut ext = 1000;
        for (ticks, origin, open) in gaps {
            route.new_clock(ticks);
            for nth in 0..5_u32 {
                let step = route.step(ext, origin.wrapping_add(nth * 160), open, SILENCE);
                ext += 1;
                let (seq, ts) = match step {
                    Step::Send { seq, ts, .. } | Step::Tail { seq, ts } => (seq, ts),
                    Step::Late | Step::Gated => continue,
                };
                if let Some((last_seq, last_ts)) = last {
                    prop_assert_eq!(seq, last_seq.wrapping_add(1));
                    prop_assert!(ts.wrapping_sub(last_ts) < 1 << 20, "the clock runs on");
                }
                last = Some((seq, ts));
            }
        }
    }
}

#[test]
fn a_mute_is_a_pause_of_the_sender() {
    let mut route = Route::new(100);
    let step = |route: &mut Route, ext, open| {
        route.step(ext, u32::try_from(ext).unwrap() * 160, open, SILENCE)
    };
    let send = |seq, ts, marker| Step::Send { seq, ts, marker };
    assert_eq!(step(&mut route, 10, true), send(100, 1600, true));
    assert_eq!(step(&mut route, 11, true), send(101, 1760, false));
    let mut tails = Vec::new();
    for ext in 12..=51 {
        match step(&mut route, ext, false) {
            Step::Tail { seq, .. } => tails.push((ext, seq)),
            other => assert_eq!(other, Step::Gated),
        }
    }
    // the first three, the 20th and the 40th
    assert_eq!(
        tails,
        [(12, 102), (13, 103), (14, 104), (31, 105), (51, 106)]
    );
    assert_eq!(step(&mut route, 52, true), send(107, 8320, true));
    assert_eq!(step(&mut route, 50, true), Step::Late);
    // 53 is lost on the way to us, and that shows
    assert_eq!(step(&mut route, 54, true), send(109, 8640, false));
}

#[test]
fn a_long_mute_ends_where_it_began() {
    let strict = Silence { tail: 0, every: 0 };
    let mut track = Track::default();
    let mut route = Route::new(u16::MAX);
    let mut out = Vec::new();
    for nth in 0..200_000_u32 {
        let seq = u16::try_from(nth % 65_536).unwrap();
        let Order::Fresh { ext } = track.take(1, seq) else {
            panic!("{nth} is in order");
        };
        let open = !(2..199_998).contains(&nth);
        if let Step::Send { seq, .. } = route.step(ext, nth, open, strict) {
            out.push(seq);
        }
    }
    assert_eq!(out, [u16::MAX, 0, 1, 2]);
}

#[test]
fn what_is_not_audio_leaves_no_gap() {
    let mut route = Route::new(0);
    assert!(matches!(
        route.step(5, 0, true, SILENCE),
        Step::Send { seq: 0, .. }
    ));
    route.omit(7);
    assert_eq!(
        route.step(6, 0, true, SILENCE),
        Step::Late,
        "its number is used"
    );
    assert!(matches!(
        route.step(8, 0, true, SILENCE),
        Step::Send { seq: 1, .. }
    ));
}
