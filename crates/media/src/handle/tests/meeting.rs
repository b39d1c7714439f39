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
