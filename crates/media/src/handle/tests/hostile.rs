//! `media.md` A11: what others may send.

use std::num::NonZeroU32;

use super::*;

/// Everything that is no packet of the bot's; sent from `socket`.
fn rubbish(socket: &UdpSocket, to: SocketAddr) -> u64 {
    let good = Header {
        marker: false,
        payload_type: 0,
        sequence: 1,
        timestamp: 0,
        ssrc: 99,
    };
    let with = |first: u8, rest: &[u8]| {
        let mut bytes = good.to_bytes().to_vec();
        bytes[0] = first;
        bytes.extend_from_slice(rest);
        bytes
    };
    let other_type = Header {
        payload_type: 101,
        ..good
    };
    let packets = [
        vec![],
        vec![0x80],
        vec![0; 11],
        vec![0xff; 172],
        with(0x00, &[0; 160]),
        with(0x8f, &[0; 8]),
        with(0x90, &[0xbe, 0xde, 0xff, 0xff]),
        with(0xa0, &[0xff]),
        with(0x80, &[0; 1461]),
        with(0x80, &vec![0; 65_000]),
        other_type.to_bytes().to_vec(),
        // a receiver report cut short, and one that is whole
        vec![0x80, 201, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0x80, 201, 0, 1, 0, 0, 0, 7],
    ];
    for packet in &packets {
        socket.send_to(packet, to).unwrap();
    }
    packets.len() as u64
}

#[tokio::test]
async fn strangers_neither_latch_nor_get_an_answer() {
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    leg.open().await.unwrap();
    let says = spec("anna");
    let (mut anna, anna_leg) = Peer::join_as(&media, "m", Peer::bind(), says, 2).await;

    let stranger = Peer::bind();
    let sent = rubbish(&stranger, anna.service);
    let stats = until(&anna_leg, "all are bad", |s| s.counters.bad == sent).await;
    assert_eq!(stats.latched, None);
    bot.say(1);
    until(&leg, "it is taken", |s| s.counters.forwarded == 1).await;
    let stats = anna_leg.stats().await.unwrap();
    assert_eq!((stats.counters.sent, stats.counters.unsent), (0, 0));

    // her own first packet is the one that counts
    anna.say(0);
    let stats = until(&anna_leg, "latched", |s| s.latched.is_some()).await;
    assert_eq!(stats.latched, anna.socket.local_addr().ok());
    assert_eq!(stats.ssrc, Some(2));
    bot.say(2);
    assert_eq!(anna.hear().number(), Some(2));
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 8]).is_err(), "nothing is reflected");
}

#[tokio::test]
async fn rubbish_of_a_latched_participant_reaches_nobody() {
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let (anna, _anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    leg.open().await.unwrap();
    bot.say(0);
    let sent = rubbish(&bot.socket, bot.service);
    let stats = until(&leg, "all are seen", |s| {
        // the report that is whole is taken, and the packet of another SSRC may be late
        s.counters.bad + s.counters.rtcp + s.counters.late == sent
    })
    .await;
    assert_eq!(stats.counters.rtcp, 1);
    bot.say(1);
    assert_eq!(anna.hear().number(), Some(0));
    assert_eq!(anna.hear().number(), Some(1));
}

#[tokio::test]
async fn a_declared_ssrc_is_the_only_one() {
    let media = Media::start(patient()).unwrap();
    let mut says = spec("bot");
    says.ssrc = Some(1);
    let (mut bot, leg) = Peer::join_as(&media, "m", Peer::bind(), says, 7).await;
    bot.say(0);
    let stats = until(&leg, "it is bad", |s| s.counters.bad == 1).await;
    assert_eq!(stats.latched, None);
    bot.ssrc = 1;
    bot.say(0);
    until(&leg, "it is latched", |s| s.latched.is_some()).await;
}

#[tokio::test]
async fn an_address_is_not_taken_over_while_its_owner_speaks() {
    let config = MediaConfig {
        relatch_after: Duration::from_hours(1),
        ..patient()
    };
    let media = Media::start(config).unwrap();
    let (mut bot, leg) = Peer::join_as(&media, "m", Peer::bind(), spec("bot"), 1).await;
    bot.say(0);
    let latched = until(&leg, "latched", |s| s.latched.is_some())
        .await
        .latched;
    let own = std::mem::replace(&mut bot.socket, Peer::bind());
    bot.say(1);
    bot.socket = own;
    bot.say(2);
    let stats = until(&leg, "the owner's is taken", |s| s.counters.gated == 2).await;
    assert_eq!(stats.latched, latched);
}

#[tokio::test]
async fn a_silent_sender_may_come_back_from_elsewhere() {
    let config = MediaConfig {
        relatch_after: Duration::from_millis(20),
        ..patient()
    };
    let media = Media::start(config).unwrap();
    let (mut bot, leg) = Peer::join_as(&media, "m", Peer::bind(), spec("bot"), 1).await;
    let (mut anna, anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    anna_leg.open().await.unwrap();
    bot.say(0);
    let old = until(&leg, "latched", |s| s.latched.is_some())
        .await
        .latched;

    // while it is silent it is still heard from its old address, and sent to
    anna.say(0);
    assert_eq!(bot.hear().number(), Some(0));

    let new = Peer::bind();
    let addr = new.local_addr().ok();
    let thief = Peer::bind();
    bot.socket = new;
    let begun = Instant::now();
    loop {
        // another SSRC gets nothing, however long it waits
        bot.ssrc = 66;
        let own = std::mem::replace(&mut bot.socket, thief.try_clone().unwrap());
        bot.say(1);
        bot.socket = own;
        bot.ssrc = 1;
        bot.say(1);
        let latched = leg.stats().await.unwrap().latched;
        if latched == addr {
            break;
        }
        assert_eq!(latched, old);
        assert!(begun.elapsed() < Duration::from_secs(20), "never moved");
        tokio::task::yield_now().await;
    }
    anna.say(1);
    assert_eq!(bot.hear().number(), Some(1));
}

#[tokio::test]
async fn a_flood_of_one_costs_the_others_nothing() {
    const FLOOD: u64 = 5000;
    let config = MediaConfig {
        rate_limit: NonZeroU32::new(200),
        ..patient()
    };
    let media = Media::start(config).unwrap();
    let (mut flood, flood_leg) = Peer::join(&media, "m", "flood", 1).await;
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 2).await;
    let hears = JoinSpec {
        remote: None,
        ..spec("anna")
    };
    let socket = Peer::bind();
    let lines = Receive::Split(vec![
        Peer::bind().local_addr().unwrap(),
        socket.local_addr().unwrap(),
    ]);
    let hears = JoinSpec {
        receive: lines,
        ..hears
    };
    let (anna, _anna_leg) = Peer::join_as(&media, "m", socket, hears, 3).await;
    flood_leg.open().await.unwrap();
    leg.open().await.unwrap();

    let begun = Instant::now();
    let mut spoken = 0;
    for number in 0..FLOOD {
        flood.say(number);
        if number % 50 == 0 {
            bot.say(spoken);
            assert_eq!(anna.hear().number(), Some(spoken));
            spoken += 1;
        }
    }
    let stats = flood_leg.stats().await.unwrap();
    let allowed = 200 + 200 * (begun.elapsed().as_secs() + 1);
    assert!(stats.counters.forwarded <= allowed, "{stats:?}");
    assert!(stats.counters.dropped > 0, "{stats:?}");
}

#[tokio::test]
async fn reports_come_on_both_ports() {
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join_as(&media, "m", Peer::bind(), spec("bot"), 1).await;
    bot.say(0);
    until(&leg, "latched", |s| s.latched.is_some()).await;
    let mut report = vec![0x80, 200, 0, 6, 0, 0, 0, 1];
    report.extend(7_u64.to_be_bytes());
    report.extend([0; 12]);
    bot.socket.send_to(&report, bot.service).unwrap();
    let mut above = bot.service;
    above.set_port(above.port() + 1);
    bot.socket.send_to(&report, above).unwrap();
    let stats = until(&leg, "two reports", |s| s.counters.rtcp == 2).await;
    assert_eq!(stats.sender_info.map(|info| info.ntp), Some(7));
}
