use bytes::Bytes;
use openmic_hub::{Quota, Subscribe, SubscribeError};

use crate::support::{Buffers, Publisher, call, eventually, hub, pair, watch};

#[test]
fn places_are_limited_and_given_back() {
    let hub = hub(|config| {
        config.max_subscribers = 3;
        config.max_subscribers_per_call = 2;
    });
    let (one, two) = (call("call-1"), call("call-2"));
    let mut first = Publisher::new(&hub, &one);
    let mut second = Publisher::new(&hub, &two);
    first.fill(1);
    second.fill(1);
    assert!(matches!(
        hub.reserve(&call("call-3")),
        Err(SubscribeError::UnknownCall(_))
    ));

    let seat = hub.reserve(&one).unwrap();
    let watcher = watch(&hub, &one, Subscribe::default(), Buffers::Default);
    assert!(matches!(
        hub.reserve(&one),
        Err(SubscribeError::CallFull(2))
    ));
    let _other = watch(&hub, &two, Subscribe::default(), Buffers::Default);
    assert!(matches!(hub.reserve(&two), Err(SubscribeError::Full(3))));
    assert_eq!((hub.subscribers(), first.topic.subscribers()), (3, 2));

    drop(watcher);
    eventually("a place is free", || first.topic.subscribers() == 1);
    let (client, server) = pair(Buffers::Default);
    seat.attach(server, Bytes::new(), Subscribe::default())
        .unwrap();
    let mut watcher = crate::watcher::Watcher::new(client);
    watcher.read_to(7, 1);
    drop(hub.reserve(&one).unwrap());
    assert_eq!(hub.subscribers(), 2);
}

#[test]
fn a_quota_is_shared_over_calls_and_given_back() {
    let hub = hub(|_| ());
    let (one, two) = (call("call-1"), call("call-2"));
    let (mut first, mut second) = (Publisher::new(&hub, &one), Publisher::new(&hub, &two));
    first.fill(1);
    second.fill(1);
    let (mine, yours) = (Quota::new(2), Quota::new(1));
    let (client, server) = pair(Buffers::Default);
    let seat = hub.reserve(&one).unwrap().within(&mine).unwrap();
    seat.attach(server, Bytes::new(), Subscribe::default())
        .unwrap();
    let mut watcher = crate::watcher::Watcher::new(client);
    watcher.read_to(7, 1);
    let seat = hub.reserve(&two).unwrap().within(&mine).unwrap();
    let full = hub.reserve(&two).unwrap().within(&mine);
    assert!(matches!(full, Err(SubscribeError::QuotaFull(2))));
    assert_eq!(hub.subscribers(), 2, "a refused seat is given back");
    assert!(hub.reserve(&two).unwrap().within(&yours).is_ok());
    drop(seat);
    assert_eq!(mine.taken(), 1);
    drop(watcher);
    eventually("its place is free", || mine.taken() == 0);
    assert_eq!(yours.taken(), 0);
}

#[test]
fn a_newer_topic_of_the_same_call_outlives_the_older() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut old = Publisher::new(&hub, &call);
    old.fill(1);
    let mut early = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    early.read_to(7, 1);
    let mut new = Publisher::new(&hub, &call);
    new.version.epoch = 8;
    new.fill(2);
    drop(old);
    assert_eq!(early.read_to_close(), openmic_hub::CALL_ENDED);
    let mut late = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    late.read_to(8, 1);
    assert_eq!(late.roster, new.expected());
}
