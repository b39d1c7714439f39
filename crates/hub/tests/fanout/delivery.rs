use openmic_hub::Subscribe;
use openmic_model::{Change, ParticipantId, Version};

use crate::support::{Buffers, Publisher, call, eventually, hub, metric, pair, participant, watch};
use crate::watcher::{Got, Watcher};

#[test]
fn a_subscriber_gets_a_snapshot_then_deltas_in_order() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(3);
    publisher.state("muted");
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    assert_eq!(watcher.next(), Got::Roster((7, 1)));
    assert_eq!(watcher.snapshots, 1);
    assert_eq!(watcher.next(), Got::Call("muted".into()));

    publisher.state("unmuting");
    publisher.mute(1, true);
    publisher.operation(1);
    publisher.publish(&[
        Change::Remove(ParticipantId::parse("participant-0").unwrap()),
        Change::Upsert(participant(5, true)),
    ]);
    assert_eq!(watcher.next(), Got::Call("unmuting".into()));
    assert_eq!(watcher.next(), Got::Roster((7, 2)));
    assert_eq!(watcher.next(), Got::Operation("operation-1".into()));
    assert_eq!(watcher.next(), Got::Roster((7, 3)));
    assert_eq!((watcher.snapshots, watcher.deltas), (1, 2));
    assert_eq!(watcher.roster, publisher.expected());
    assert!(!watcher.roster.contains_key("participant-0"));

    eventually("both deltas are counted", || {
        metric(&hub, "openmic_frames_sent_total", "delta") >= 2.0
    });
    eventually("both deltas are timed", || {
        metric(&hub, "openmic_fanout_seconds", "") >= 2.0
    });
}

#[test]
fn a_subscriber_may_come_before_the_first_version() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.state("establishing");
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    assert_eq!(watcher.next(), Got::Call("establishing".into()));
    publisher.fill(0);
    assert_eq!(watcher.next(), Got::Roster((7, 1)));
    publisher.mute(0, true);
    assert_eq!(watcher.next(), Got::Roster((7, 2)));
    assert_eq!((watcher.snapshots, watcher.deltas), (1, 1));
}

#[test]
fn what_is_not_above_the_newest_version_is_left_out() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    publisher.version.seq = 0;
    publisher.mute(0, true);
    publisher.mute(0, false);
    assert_eq!(watcher.next(), Got::Roster((7, 2)));
}

#[test]
fn a_new_epoch_or_a_hole_brings_a_snapshot() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(2);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    publisher.version = Version { epoch: 8, seq: 0 };
    publisher.mute(0, true);
    watcher.read_to(8, 1);
    publisher.version.seq = 4;
    publisher.mute(1, true);
    watcher.read_to(8, 5);
    assert_eq!((watcher.snapshots, watcher.deltas), (3, 0));
    publisher.mute(1, false);
    watcher.read_to(8, 6);
    assert_eq!((watcher.snapshots, watcher.deltas), (3, 1));
    assert_eq!(watcher.roster, publisher.expected());
}

#[test]
fn a_subscriber_resumes_from_what_it_has() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(4);
    let mut other = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    for round in 0..256_usize {
        publisher.mute(round % 4, round % 3 == 0);
    }
    other.read_to(7, 257);

    let come_back = |since: (u64, u64)| {
        let (client, server) = pair(Buffers::Default);
        let mut again = Watcher::new(client);
        again.version = Some(since);
        let since = Some(Version {
            epoch: since.0,
            seq: since.1,
        });
        hub.subscribe(&call, server, bytes::Bytes::new(), Subscribe { since })
            .unwrap();
        again
    };
    let mut kept = come_back((7, 1));
    kept.roster = watcher.roster.clone();
    kept.read_to(7, 257);
    assert_eq!((kept.snapshots, kept.deltas), (0, 256));
    assert_eq!(kept.roster, publisher.expected());

    let mut other_epoch = come_back((6, 256));
    other_epoch.read_to(7, 257);
    assert_eq!((other_epoch.snapshots, other_epoch.deltas), (1, 0));

    publisher.mute(0, true);
    other.read_to(7, 258);
    let mut too_old = come_back((7, 1));
    too_old.read_to(7, 258);
    assert_eq!((too_old.snapshots, too_old.deltas), (1, 0));
    assert_eq!(too_old.roster, publisher.expected());

    let mut current = come_back((7, 258));
    current.roster = publisher.expected();
    publisher.mute(0, false);
    assert_eq!(current.next(), Got::Roster((7, 259)));
    assert_eq!((current.snapshots, current.deltas), (0, 1));
}

#[test]
fn a_thousand_subscribers_end_at_the_same_version() {
    rlimit::increase_nofile_limit(8192).unwrap();
    let hub = hub(|config| config.shards = 2);
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(4);
    let mut watchers: Vec<_> = (0..1000)
        .map(|_| watch(&hub, &call, Subscribe::default(), Buffers::Default))
        .collect();
    for round in 0..50_usize {
        publisher.mute(round % 4, round % 8 < 4);
        publisher.operation(round);
    }
    let expected = publisher.expected();
    for watcher in &mut watchers {
        watcher.read_to(7, 51);
        assert_eq!(watcher.roster, expected);
    }
    assert_eq!(hub.subscribers(), 1000);
    eventually("all are counted", || {
        metric(&hub, "openmic_subscribers", "") >= 1000.0
    });
}

#[test]
fn many_calls_share_the_shards() {
    let hub = hub(|config| config.shards = 2);
    let mut calls: Vec<_> = (0..200)
        .map(|number| {
            let call = call(&format!("call-{number}"));
            let mut publisher = Publisher::new(&hub, &call);
            publisher.fill(2);
            let watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
            (publisher, watcher)
        })
        .collect();
    for round in 0..20_usize {
        for (publisher, _) in &mut calls {
            publisher.mute(round % 2, round % 4 < 2);
        }
    }
    for (publisher, watcher) in &mut calls {
        watcher.read_to(7, 21);
        assert_eq!(watcher.roster, publisher.expected());
    }
}

#[test]
fn a_burst_of_operations_reaches_a_ready_subscriber_whole() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    for number in 0..200 {
        publisher.operation(number);
    }
    for number in 0..200 {
        assert_eq!(
            watcher.next(),
            Got::Operation(format!("operation-{number}"))
        );
    }
}
