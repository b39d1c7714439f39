use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openmic_hub::{CALL_ENDED, RESYNC, SERVICE_RESTART, Subscribe, TOKEN_EXPIRED};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Buffers, PATIENCE, Publisher, call, eventually, hub, metric, pair, watch};
use crate::watcher::{Got, Watcher};

#[test]
fn pings_are_answered_and_closes_echoed() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    watcher.socket.send(Message::Ping("hello".into())).unwrap();
    assert_eq!(
        watcher.socket.read().unwrap(),
        Message::Pong("hello".into())
    );
    let close = CloseFrame {
        code: CloseCode::Away,
        reason: "bye".into(),
    };
    watcher.socket.close(Some(close)).unwrap();
    assert_eq!(watcher.next(), Got::Closed(1001));
    assert!(matches!(
        watcher.socket.read(),
        Err(Error::ConnectionClosed)
    ));
    eventually("its place is free", || hub.subscribers() == 0);
    eventually("it is counted", || {
        metric(&hub, "openmic_subscribers_closed_total", "client") >= 1.0
    });
}

#[test]
fn bytes_that_came_with_the_handshake_count() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let (mut client, server) = pair(Buffers::Default);
    // a masked ping "a" in two parts: with the request, and later
    hub.subscribe(
        &call,
        server,
        Bytes::from_static(&[0x89, 0x81, 0, 0]),
        Subscribe::default(),
    )
    .unwrap();
    client.write_all(&[0, 0, b'a']).unwrap();
    let mut watcher = Watcher::new(client);
    watcher.read_to(7, 1);
    assert_eq!(watcher.socket.read().unwrap(), Message::Pong("a".into()));
}

#[test]
fn what_breaks_the_protocol_is_closed_with_its_code() {
    let too_big = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    let not_utf8 = [0x81, 0x81, 0, 0, 0, 0, 0xff];
    let unmasked = [0x81, 0x01, b'a'];
    let reserved = [0x83, 0x80, 0, 0, 0, 0];
    let continued = [0x80, 0x80, 0, 0, 0, 0];
    let cases: [(&[u8], u16, &str); 5] = [
        (&too_big, 1009, "too_big"),
        (&not_utf8, 1007, "protocol"),
        (&unmasked, 1002, "protocol"),
        (&reserved, 1002, "protocol"),
        (&continued, 1002, "protocol"),
    ];
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    for (bytes, code, reason) in cases {
        let before = metric(&hub, "openmic_subscribers_closed_total", reason);
        let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
        watcher.socket.get_mut().write_all(bytes).unwrap();
        assert_eq!(watcher.read_to_close(), code, "{bytes:?}");
        drop(watcher);
        eventually("it is counted", || {
            metric(&hub, "openmic_subscribers_closed_total", reason) > before
        });
    }
    eventually("all places are free", || hub.subscribers() == 0);
}

#[test]
fn a_message_may_have_16_kib_and_no_byte_more() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    let fits = "x".repeat(16 * 1024);
    watcher.socket.send(Message::Text(fits.into())).unwrap();
    watcher
        .socket
        .send(Message::Ping("still there".into()))
        .unwrap();
    let pong = Message::Pong("still there".into());
    assert_eq!(watcher.socket.read().unwrap(), pong);
    let over = "x".repeat(16 * 1024 + 1);
    watcher.socket.send(Message::Text(over.into())).unwrap();
    assert_eq!(watcher.read_to_close(), 1009);
    // Also in pieces: the message counts, not its frames.
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    let half = [&[0x02, 0xfe, 0x30, 0, 0, 0, 0, 0][..], &[0; 0x3000]].concat();
    let more = [&[0x80, 0xfe, 0x30, 0, 0, 0, 0, 0][..], &[0; 0x3000]].concat();
    watcher.socket.get_mut().write_all(&half).unwrap();
    watcher.socket.get_mut().write_all(&more).unwrap();
    assert_eq!(watcher.read_to_close(), 1009);
}

#[test]
fn twenty_messages_in_a_second_are_taken() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    let message = [0x81, 0x81, 0, 0, 0, 0, b'a'].repeat(19);
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    let all = [&message[..], &ping].concat();
    watcher.socket.get_mut().write_all(&all).unwrap();
    assert_eq!(watcher.socket.read().unwrap(), Message::Pong("".into()));
}

#[test]
fn who_was_let_in_until_then_is_closed_then() {
    let hub = hub(|config| config.ping_interval = Duration::from_millis(320));
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let until = Instant::now() + Duration::from_millis(100);
    let (client, server) = pair(Buffers::Default);
    let seat = hub.reserve(&call).unwrap().until(until);
    seat.attach(server, Bytes::new(), Subscribe::default())
        .unwrap();
    let mut expires = Watcher::new(client);
    expires.read_to(7, 1);
    assert_eq!(expires.read_to_close(), TOKEN_EXPIRED);
    assert!(Instant::now() >= until, "not before its time");
    eventually("it is counted", || {
        metric(&hub, "openmic_subscribers_closed_total", "expired") >= 1.0
    });
}

#[test]
fn who_sends_too_much_is_closed() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let message = [0x81, 0x81, 0, 0, 0, 0, b'a'];
    let begun = [0x01, 0x80, 0, 0, 0, 0];
    let empty_part = [0x00, 0x80, 0, 0, 0, 0];
    for flood in [
        message.repeat(50),
        [begun.to_vec(), empty_part.repeat(50)].concat(),
    ] {
        let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
        watcher.socket.get_mut().write_all(&flood).unwrap();
        assert_eq!(watcher.read_to_close(), 1008);
    }
}

#[test]
fn a_silent_peer_is_pinged_and_dropped() {
    let hub = hub(|config| config.ping_interval = Duration::from_millis(500));
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    // reads and so answers
    let mut alive = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    let (mut silent, server) = pair(Buffers::Default);
    hub.subscribe(&call, server, Bytes::new(), Subscribe::default())
        .unwrap();
    alive
        .socket
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let mut pings = 0;
    let start = Instant::now();
    while hub.subscribers() == 2 {
        assert!(start.elapsed() < PATIENCE);
        match alive.socket.read() {
            Ok(Message::Ping(_)) => pings += 1,
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("the one that answers was dropped: {error}"),
        }
    }
    assert!(pings >= 2);
    let mut got = Vec::new();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    silent.read_to_end(&mut got).unwrap();
    assert!(
        got.ends_with(b"\x89\x037:1\x89\x037:1"),
        "two pings with what was sent, then nothing"
    );
    eventually("it is counted", || {
        metric(&hub, "openmic_subscribers_closed_total", "unresponsive") >= 1.0
    });
}

#[test]
fn a_socket_that_takes_nothing_is_dropped() {
    let hub = hub(|config| config.slow_after = Duration::from_millis(200));
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(5000);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Small);
    eventually("it is dropped", || hub.subscribers() == 0);
    eventually("it is counted", || {
        metric(&hub, "openmic_subscribers_closed_total", "slow") >= 1.0
    });
    assert!(
        watcher.socket.read().is_err(),
        "half a snapshot, then the end"
    );
}

#[test]
fn the_end_of_a_call_comes_after_what_is_due() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(2000);
    let mut fast = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    let mut slow = watch(&hub, &call, Subscribe::default(), Buffers::Small);
    fast.read_to(7, 1);
    publisher.mute(3, true);
    publisher.state("terminated");
    let expected = publisher.expected();
    drop(publisher);
    for watcher in [&mut fast, &mut slow] {
        assert_eq!(watcher.read_to_close(), CALL_ENDED);
        assert_eq!(watcher.version, Some((7, 2)));
        assert_eq!(watcher.roster, expected);
        assert_eq!(watcher.states, ["terminated"]);
    }
    eventually("all places are free", || hub.subscribers() == 0);
    let (_client, server) = pair(Buffers::Default);
    let refused = hub.subscribe(&call, server, Bytes::new(), Subscribe::default());
    assert!(matches!(
        refused,
        Err(openmic_hub::SubscribeError::UnknownCall(_))
    ));
}

#[test]
fn operations_that_were_not_taken_close_with_resync() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    // far more than the socket takes, so that the reader is stuck inside the snapshot
    publisher.fill(5000);
    let mut exact = watch(&hub, &call, Subscribe::default(), Buffers::Small);
    let mut over = None;
    eventually("the snapshot is begun", || {
        metric(&hub, "openmic_frames_sent_total", "snapshot") >= 1.0
    });
    for number in 0..65 {
        if number == 1 {
            over = Some(watch(&hub, &call, Subscribe::default(), Buffers::Small));
            eventually("it is stuck too", || {
                metric(&hub, "openmic_frames_sent_total", "snapshot") >= 2.0
            });
        }
        publisher.operation(number);
    }
    // the first had 65 waiting, the second, which came after the first of them, 64
    assert_eq!(exact.read_to_close(), RESYNC);
    assert_eq!(exact.operations, Vec::<String>::new());
    let mut over = over.unwrap();
    for number in 1..65 {
        while over.operations.len() < number {
            over.next();
        }
        assert_eq!(over.operations[number - 1], format!("operation-{number}"));
    }
    eventually("it is counted", || {
        metric(&hub, "openmic_subscribers_closed_total", "resync") >= 1.0
    });
}

#[test]
fn close_all_closes_who_is_there_and_takes_who_comes() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    publisher.mute(0, true);
    hub.close_all(1001, &"é".repeat(100));
    assert_eq!(watcher.read_to_close(), 1001);
    assert_eq!(watcher.version, Some((7, 2)));
    let mut next = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    next.read_to(7, 2);
}

#[test]
fn a_shutdown_flushes_closes_and_ends_the_threads() {
    let hub = hub(|config| config.shards = 2);
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    // one that never answers does not hold it up for longer than it may
    let _mute = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    publisher.mute(0, true);
    std::thread::scope(|scope| {
        scope.spawn(|| hub.shutdown(Duration::from_millis(500)));
        assert_eq!(watcher.read_to_close(), SERVICE_RESTART);
        assert_eq!(watcher.version, Some((7, 2)));
    });
    assert_eq!(hub.subscribers(), 0);
    // publishing goes nowhere and still never fails
    publisher.mute(0, false);
    assert!(matches!(
        hub.reserve(&call),
        Err(openmic_hub::SubscribeError::ShuttingDown)
    ));
}

#[test]
fn a_peer_that_vanishes_frees_its_place() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    let mut watchers: Vec<_> = (0..20)
        .map(|_| watch(&hub, &call, Subscribe::default(), Buffers::Default))
        .collect();
    for watcher in watchers.drain(5..) {
        watcher.socket.get_ref().shutdown(Shutdown::Both).unwrap();
    }
    publisher.mute(0, true);
    for watcher in &mut watchers {
        watcher.read_to(7, 2);
    }
    eventually("15 are gone", || hub.subscribers() == 5);
    eventually("they are counted", || {
        metric(&hub, "openmic_subscribers_closed_total", "gone") >= 15.0
    });
}
