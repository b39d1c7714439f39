use super::*;

#[tokio::test]
async fn everybody_hears_the_unmuted_under_one_ssrc() {
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let (anna, anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    let (ben, ben_leg) = Peer::join(&media, "m", "ben", 3).await;
    let (other, _other_leg) = Peer::join(&media, "elsewhere", "carla", 4).await;

    let epoch = leg.open().await.unwrap();
    for number in 0..10 {
        bot.say(number);
    }
    for (peer, leg) in [(&anna, &anna_leg), (&ben, &ben_leg)] {
        let heard: Vec<_> = (0..10).map(|_| peer.hear()).collect();
        let stats = leg.stats().await.unwrap();
        let source = stats
            .sources
            .iter()
            .find(|s| s.participant.as_str() == "bot");
        let source = source.expect("the bot is heard");
        assert!(heard.iter().all(|packet| packet.header.ssrc == source.ssrc));
        assert_eq!(source.sent, 10);
        let numbers: Vec<_> = heard.iter().filter_map(Heard::number).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        let markers: Vec<_> = heard.iter().map(|packet| packet.header.marker).collect();
        assert!(markers[0] && !markers[1..].contains(&true));
    }
    let stats = until(&leg, "ten are forwarded", |s| s.counters.forwarded == 10).await;
    let evidence = stats.evidence.unwrap();
    assert_eq!((evidence.epoch, evidence.receivers), (epoch, 2));
    assert_eq!(evidence.in_sequence, 0);
    assert_eq!(other.rest(), []);
    assert_eq!(bot.rest(), [], "nobody hears himself");
}

#[tokio::test]
async fn a_line_per_source_and_a_freed_line_for_who_waits() {
    let media = Media::start(patient()).unwrap();
    let lines = [Peer::bind(), Peer::bind()];
    let mut hears = spec("ffmpeg");
    hears.sends = false;
    let addrs = lines.iter().map(|line| line.local_addr().unwrap());
    hears.receive = Receive::Split(addrs.collect());
    let joined = media.join("m", hears).await.unwrap();
    assert_eq!(joined.split_addrs.len(), 2);
    let mut sources = Vec::new();
    for (ssrc, name) in (1..).zip(["anna", "ben", "carla"]) {
        let (peer, leg) = Peer::join(&media, "m", name, ssrc).await;
        leg.open().await.unwrap();
        sources.push((peer, leg));
    }
    let hear = |line: &UdpSocket| {
        let mut buffer = [0; 2048];
        let (len, from) = line.recv_from(&mut buffer).expect("a packet in time");
        let payload = buffer[12..len].to_vec();
        let header = View::parse(&buffer[..len]).unwrap().header();
        (Heard { header, payload }.number(), from)
    };
    // one after the other: packets of different sockets may be taken in any order, and one not
    // yet taken when somebody leaves would be the first on the freed line
    for (number, (peer, leg)) in (0..).zip(&mut sources) {
        peer.say(number);
        until(leg, "it is taken", |s| s.counters.forwarded == 1).await;
    }
    assert_eq!(hear(&lines[0]), (Some(0), joined.split_addrs[0]));
    assert_eq!(hear(&lines[1]), (Some(1), joined.split_addrs[1]));
    let stats = joined.leg.stats().await.unwrap();
    assert_eq!(stats.unheard, [ParticipantId::parse("carla").unwrap()]);

    let (_, anna) = sources.remove(0);
    anna.leave().await;
    sources[1].0.say(7);
    assert_eq!(hear(&lines[0]), (Some(7), joined.split_addrs[0]));
    let stats = joined.leg.stats().await.unwrap();
    assert!(stats.unheard.is_empty());
    assert!(
        stats
            .sources
            .iter()
            .any(|s| s.slot == Some(1) && s.participant.as_str() == "ben")
    );
}

#[tokio::test]
async fn another_codec_is_not_heard_and_said_so() {
    let media = Media::start(patient()).unwrap();
    let (_bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let mut says = JoinSpec::new(ParticipantId::parse("opus").unwrap(), Codec::Opus);
    says.starts_open = true;
    let (mut other, other_leg) = Peer::join_as(&media, "m", Peer::bind(), says, 2).await;
    other.say(1);
    until(&other_leg, "it is taken", |s| s.counters.forwarded == 1).await;
    let stats = leg.stats().await.unwrap();
    assert_eq!(stats.unheard, [ParticipantId::parse("opus").unwrap()]);
    assert_eq!((stats.sources.len(), stats.counters.sent), (0, 0));
}

#[tokio::test]
async fn a_sender_that_starts_anew_goes_on_under_the_same_ssrc() {
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    let (anna, _anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    leg.open().await.unwrap();
    bot.say(0);
    let before = anna.hear().header;
    (bot.ssrc, bot.sequence, bot.timestamp) = (77, 40_000, 0x8000_0000);
    bot.say(1);
    bot.say(2);
    let after = anna.hear();
    assert_eq!(
        after.number(),
        Some(2),
        "the first of a new SSRC proves nothing yet"
    );
    assert_eq!(after.header.ssrc, before.ssrc);
    assert_eq!(after.header.sequence, before.sequence.wrapping_add(1));
    assert!(after.header.marker);
    let ticks = after.header.timestamp.wrapping_sub(before.timestamp);
    assert!(
        ticks < 8000 * 20,
        "the clock runs on from where it was: {ticks}"
    );
}

#[tokio::test]
async fn talking_while_muted_is_counted_once_per_mute() {
    let media = Media::start(patient()).unwrap();
    let (mut bot, leg) = Peer::join(&media, "m", "bot", 1).await;
    // 0x55 is 716 of 32768 and -33 dBov
    for number in 0..30 {
        bot.say(number);
    }
    let stats = until(&leg, "all are gated", |s| s.counters.gated == 30).await;
    assert_eq!(stats.counters.loud_gated, 30);
    assert_eq!(media.metrics().talking_while_muted.get(), 1);
    leg.open().await.unwrap();
    leg.close().await.unwrap();
    for number in 0..10 {
        bot.say(number);
    }
    until(&leg, "ten more", |s| s.counters.gated == 40).await;
    assert_eq!(media.metrics().talking_while_muted.get(), 2);
}

#[tokio::test]
async fn a_participant_is_once_in_a_meeting_and_leaves_by_drop() {
    let media = Media::start(patient()).unwrap();
    let first = media.join("m", spec("anna")).await.unwrap();
    let again = media.join("m", spec("anna")).await.unwrap_err();
    assert!(matches!(again, JoinError::Duplicate(_)), "{again}");
    let elsewhere = media.join("n", spec("anna")).await.unwrap();
    let clone = first.leg.clone();
    drop(first);
    assert!(
        media.join("m", spec("anna")).await.is_err(),
        "a clone is still in"
    );
    clone.open().await.unwrap();
    drop(clone);
    let second = media.join("m", spec("anna")).await.unwrap();
    second.leg.leave().await;
    assert_eq!(second.leg.stats().await, Err(LegGone));
    assert_eq!(second.leg.open().await, Err(OpenError::Gone));
    second.leg.close().await.unwrap();
    assert!(elsewhere.leg.stats().await.is_ok());
}

#[tokio::test]
async fn offers_that_cannot_work_are_refused() {
    let media = Media::start(MediaConfig::default()).unwrap();
    let refused = async |change: fn(&mut JoinSpec)| {
        let mut spec = spec("anna");
        change(&mut spec);
        media.join("m", spec).await.unwrap_err().to_string()
    };
    let remote = |addr: &str| addr.parse().ok();
    for (change, word) in [
        (
            (|spec| spec.payload_type = 72) as fn(&mut JoinSpec),
            "payload type 72",
        ),
        (|spec| spec.payload_type = 200, "payload type 200"),
        (|spec| spec.clock_rate = 0, "clock rate"),
        (
            |spec| spec.remote = "224.0.0.1:5004".parse().ok(),
            "224.0.0.1:5004",
        ),
        (
            |spec| spec.remote = "255.255.255.255:5004".parse().ok(),
            "unicast",
        ),
        (
            |spec| spec.remote = "127.0.0.1:0".parse().ok(),
            "port above 0",
        ),
        (|spec| spec.remote = "[::1]:5004".parse().ok(), "family"),
        (
            |spec| spec.receive = Receive::Split(vec!["0.0.0.0:5004".parse().unwrap()]),
            "0.0.0.0:5004",
        ),
    ] {
        let text = refused(change).await;
        assert!(text.contains(word), "{text}");
    }
    let mut later = spec("anna");
    later.remote = remote("127.0.0.1:9");
    let joined = media.join("m", later).await.unwrap();
    assert_eq!(joined.leg.stats().await.unwrap().latched, None);
}

#[tokio::test]
async fn a_leg_is_not_sent_to_another_leg() {
    let config = MediaConfig {
        ports: Some(7100..=7999),
        ..MediaConfig::default()
    };
    let media = Media::start(config).unwrap();
    let mut circle = spec("anna");
    circle.remote = "127.0.0.1:7102".parse().ok();
    let refused = media.join("m", circle).await.unwrap_err();
    assert!(matches!(refused, JoinError::OwnPort(_)), "{refused}");
}

#[tokio::test]
async fn after_a_shutdown_nothing_works_and_nothing_hangs() {
    let media = Media::start(MediaConfig::default()).unwrap();
    let joined = media.join("m", spec("anna")).await.unwrap();
    let clone = media.clone();
    clone.shutdown();
    clone.shutdown();
    assert!(matches!(
        media.join("m", spec("ben")).await,
        Err(JoinError::Stopped)
    ));
    assert_eq!(joined.leg.close().await, Err(FenceError::Stopped));
    assert_eq!(joined.leg.open().await, Err(OpenError::Gone));
    let port = joined.local_addr;
    UdpSocket::bind(port).expect("its port is free again");
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_threads() {
    let media = Media::start(MediaConfig::default()).unwrap();
    let joined = media.join("m", spec("anna")).await.unwrap();
    drop(media);
    UdpSocket::bind(joined.local_addr).expect("its port is free again");
    assert_eq!(joined.leg.stats().await, Err(LegGone));
}

#[tokio::test]
async fn an_idle_meeting_wakes_nobody() {
    let config = MediaConfig {
        relatch_after: Duration::from_millis(10),
        ..patient()
    };
    let media = Media::start(config).unwrap();
    let (mut bot, leg) = Peer::join_as(&media, "m", Peer::bind(), spec("bot"), 1).await;
    let (_anna, _anna_leg) = Peer::join(&media, "m", "anna", 2).await;
    bot.say(0);
    until(&leg, "it came", |s| s.counters.gated == 1).await;
    let turns = || media.metrics().turn.get_sample_count();
    // its silence is noticed once; after that there is a while without a single turn
    let begun = Instant::now();
    loop {
        let before = turns();
        tokio::time::sleep(Duration::from_millis(200)).await;
        if turns() == before {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "it wakes again and again"
        );
    }
}

#[tokio::test]
async fn many_meetings_on_several_threads_stay_apart() {
    let config = MediaConfig {
        shards: std::num::NonZeroUsize::new(3).unwrap(),
        ..patient()
    };
    let media = Media::start(config).unwrap();
    let mut all = Vec::new();
    for nth in 0..12_u64 {
        let name = format!("meeting-{nth}");
        let bot = Peer::join(&media, &name, "bot", 1).await;
        let anna = Peer::join(&media, &name, "anna", 2).await;
        bot.1.open().await.unwrap();
        all.push((nth, bot, anna));
    }
    for (nth, (bot, _), _) in &mut all {
        bot.say(*nth);
    }
    for (nth, _, (anna, _)) in &all {
        assert_eq!(anna.hear().number(), Some(*nth));
        assert_eq!(anna.rest(), []);
    }
}

#[tokio::test]
async fn the_metrics_have_their_names() {
    let media = Media::start(MediaConfig::default()).unwrap();
    let registry = prometheus::Registry::new();
    media.metrics().register(&registry).unwrap();
    let names: Vec<_> = registry
        .gather()
        .iter()
        .map(|family| family.name().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "openmic_audio_leak_packets_total",
            "openmic_media_loop_seconds",
            "openmic_rtp_packets_total",
            "openmic_talking_while_muted_total",
            "openmic_unmute_to_first_audio_seconds",
        ]
    );
}
