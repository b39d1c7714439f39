use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

/// Packets that wait in a socket at most; the default buffer takes about 270 of this size.
const UNREAD: u64 = 100;

/// Sends without pause from a thread of its own, muted or not, and counts.
struct Speaker {
    /// Numbers up to this one, exclusive, may be on their way.
    begun: AtomicU64,
    /// Numbers up to this one, exclusive, have been handed to the kernel.
    done: AtomicU64,
    stop: AtomicBool,
}

impl Speaker {
    fn speak(&self, mut peer: Peer) {
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            peer.say(number);
            self.done.store(number + 1, Ordering::SeqCst);
            // a pace, so that a media thread which is starved for a while loses nothing
            thread::sleep(Duration::from_micros(300));
        }
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits until a packet that was begun from now on has been handed over.
    fn one_more(&self) {
        let after = self.begun() + 1;
        while self.done() < after {
            thread::yield_now();
        }
    }
}

/// One cycle in numbers of packets, each read before or after the call it is named after.
struct Cycle {
    muted_from: u64,
    muted_to: u64,
    open_from: u64,
}

/// `media.md` A1, A2 and D5, per packet and not per millisecond.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thousand_mutes_leak_nothing_and_lose_nothing() {
    const CYCLES: usize = 1000;
    let media = Media::start(patient()).unwrap();
    let (bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let (anna, _anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    let speaker = Arc::new(Speaker {
        begun: AtomicU64::new(0),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let speaking = thread::spawn({
        let speaker = Arc::clone(&speaker);
        move || speaker.speak(bot)
    });

    let mut heard: Vec<Heard> = Vec::new();
    let mut cycles = Vec::new();
    for _ in 0..CYCLES {
        let closed = leg.close().await.unwrap();
        let muted_from = speaker.begun();
        speaker.one_more();
        let muted_to = speaker.done();
        let opened = leg.open().await.unwrap();
        assert_eq!(opened, closed + 1);
        let open_from = speaker.begun();
        while heard.last().and_then(Heard::number) < Some(open_from) {
            heard.push(anna.hear());
        }
        cycles.push(Cycle {
            muted_from,
            muted_to,
            open_from,
        });
    }
    leg.close().await.unwrap();
    let end = speaker.begun();
    speaker.one_more();
    speaker.stop.store(true, Ordering::SeqCst);
    speaking.join().unwrap();
    let stats = until(&leg, "all that was sent is counted", |stats| {
        stats.counters.forwarded + stats.counters.gated == speaker.done()
    })
    .await;
    heard.extend(anna.rest());

    let numbers: std::collections::BTreeSet<_> = heard.iter().filter_map(Heard::number).collect();
    for cycle in &cycles {
        let leaked: Vec<_> = numbers.range(cycle.muted_from..cycle.muted_to).collect();
        assert!(
            leaked.is_empty(),
            "{leaked:?} were sent while muted and are heard"
        );
        assert!(
            numbers.contains(&cycle.open_from),
            "{} was sent after the unmute and is not heard",
            cycle.open_from
        );
    }
    assert_eq!(numbers.range(end..).count(), 0);
    for pair in heard.windows(2) {
        let step = pair[1]
            .header
            .sequence
            .wrapping_sub(pair[0].header.sequence);
        assert_eq!(step, 1, "numbers are contiguous: {pair:?}");
    }
    let markers = heard.iter().filter(|packet| packet.header.marker).count();
    assert_eq!(markers, CYCLES, "one for each reopening");
    assert_eq!(stats.counters.forwarded, numbers.len() as u64);
    assert_eq!(media.metrics().leaked(), 0);
    assert_eq!(
        media.metrics().first_audio.get_sample_count(),
        CYCLES as u64
    );
}

#[tokio::test]
async fn what_waited_unread_while_muted_is_not_heard_after_the_unmute() {
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let (anna, _anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    // whether the thread has read some of them or none, none is heard
    for round in 0..200 {
        for nth in 0..20 {
            bot.say(1000 + round * 100 + nth);
        }
        leg.open().await.unwrap();
        bot.say(round);
        let first = std::iter::repeat_with(|| anna.hear()).find_map(|packet| packet.number());
        assert_eq!(first, Some(round));
        leg.close().await.unwrap();
    }
}

#[tokio::test]
async fn numbers_wrap_inside_a_mute() {
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let (anna, _anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    bot.sequence = 65_530;
    leg.open().await.unwrap();
    for number in 0..3 {
        bot.say(number);
    }
    until(&leg, "three are forwarded", |s| s.counters.forwarded == 3).await;
    leg.close().await.unwrap();
    for number in 3..13 {
        bot.say(number);
    }
    until(&leg, "ten are gated", |s| s.counters.gated == 10).await;
    leg.open().await.unwrap();
    bot.say(13);
    assert_eq!(bot.sequence, 8);
    // three before, three of silence, one after
    let heard: Vec<_> = (0..7).map(|_| anna.hear()).collect();
    let first = heard[0].header;
    for (nth, packet) in (0_u16..).zip(&heard) {
        assert_eq!(packet.header.sequence, first.sequence.wrapping_add(nth));
    }
    let silent = |packet: &Heard| packet.payload == [0xff; 160];
    assert!(heard[3..6].iter().all(silent));
    assert_eq!(heard[6].number(), Some(13));
    assert_eq!(
        heard[6].header.timestamp.wrapping_sub(first.timestamp),
        13 * 160
    );
    assert!(heard[6].header.marker);
}

#[tokio::test]
async fn a_mute_of_more_than_half_the_numbers_ends_well() {
    const MUTED: u64 = 40_000;
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let (anna, _anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    leg.open().await.unwrap();
    bot.say(0);
    let mut heard = vec![anna.hear()];
    leg.close().await.unwrap();
    for number in 1..=MUTED {
        bot.say(number);
        if number % UNREAD == 0 {
            until(&leg, "all are gated", |s| s.counters.gated == number).await;
            heard.extend(anna.rest());
        }
    }
    leg.open().await.unwrap();
    bot.say(MUTED + 1);
    heard.push(anna.hear());
    assert_eq!(
        heard.len() as u64,
        2 + 3 + MUTED / 20,
        "the tail, and every 20th"
    );
    let first = heard[0].header;
    for (nth, packet) in (0_u16..).zip(&heard) {
        assert_eq!(packet.header.sequence, first.sequence.wrapping_add(nth));
    }
    let last = heard.last().unwrap();
    assert_eq!(last.number(), Some(MUTED + 1));
    let ticks = last.header.timestamp.wrapping_sub(first.timestamp);
    assert_eq!(u64::from(ticks), (MUTED + 1) * 160);
}

#[tokio::test]
async fn a_strict_mute_sends_nothing_at_all() {
    let config = MediaConfig {
        silence_tail: 0,
        mute_keepalive: 0,
        ..patient()
    };
    let media = Media::start(config).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let (anna, _anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    for number in 0..UNREAD {
        bot.say(number);
    }
    until(&leg, "all are gated", |s| s.counters.gated == UNREAD).await;
    assert_eq!(anna.rest(), []);
}

#[tokio::test]
async fn the_silence_of_opus_is_three_bytes() {
    let media = Media::start(patient()).unwrap();
    let listener = Peer::bind();
    let mut hears = JoinSpec::new(ParticipantId::parse("anna").unwrap(), Codec::Opus);
    hears.payload_type = 96;
    hears.remote = Some(listener.local_addr().unwrap());
    let says = JoinSpec::new(ParticipantId::parse("bot").unwrap(), Codec::Opus);
    let (anna, _anna_leg) = Peer::join_as(&media, "m", listener, hears, 2).await;
    let (mut bot, _leg) = Peer::join_as(&media, "m", Peer::bind(), says, 1).await;
    bot.say(1);
    let heard = anna.hear();
    assert_eq!(heard.payload, [0xf8, 0xff, 0xfe]);
    assert_eq!(heard.header.payload_type, 96, "the receiver's number");
    assert_eq!(heard.header.timestamp, 0, "under its own timestamp");
}

#[tokio::test]
async fn a_later_mute_overtakes_an_unmute() {
    let media = Media::start(patient()).unwrap();
    let (_bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    for _ in 0..200 {
        let (opened, closed) = tokio::join!(leg.open(), leg.close());
        let closed = closed.unwrap();
        assert!(!leg.is_open(), "the mute came later");
        match opened {
            Ok(epoch) => assert!(epoch < closed),
            Err(error) => assert_eq!(error, OpenError::Overtaken(closed)),
        }
    }
}
