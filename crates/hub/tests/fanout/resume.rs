//! Subscribers that lose their connection and come back.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use openmic_hub::{Hub, Subscribe};
use openmic_model::{CallId, Change, Roster, Version};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

use crate::support::{
    Buffers, PATIENCE, Publisher, call, eventually, expected_of, hub, pair, participant, watch,
};
use crate::watcher::{Got, Watcher};

#[test]
fn who_was_the_last_and_comes_back_soon_gets_what_changed() {
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(4);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    cut(&mut watcher, &publisher);
    for round in 0..256_usize {
        publisher.mute(round % 4, round % 3 == 0);
    }
    come_back(&hub, &call, &mut watcher);
    watcher.read_to(7, 257);
    assert_eq!((watcher.snapshots, watcher.deltas), (1, 256));

    cut(&mut watcher, &publisher);
    for round in 0..257_usize {
        publisher.mute(round % 4, round % 3 == 0);
    }
    come_back(&hub, &call, &mut watcher);
    watcher.read_to(7, 514);
    assert_eq!((watcher.snapshots, watcher.resets), (2, 1), "too much");
}

#[test]
fn what_nobody_comes_back_to_is_forgotten() {
    let hub = hub(|config| config.linger = Duration::ZERO);
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(4);
    let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    watcher.read_to(7, 1);
    cut(&mut watcher, &publisher);
    publisher.mute(0, true);
    come_back(&hub, &call, &mut watcher);
    watcher.read_to(7, 2);
    assert_eq!((watcher.snapshots, watcher.resets), (2, 1));
}

#[test]
fn of_many_calls_that_nobody_watches_the_latest_are_held() {
    let hub = hub(|_| ());
    let mut all: Vec<_> = (0..300)
        .map(|number| {
            let call = call(&format!("call-{number}"));
            let mut publisher = Publisher::new(&hub, &call);
            publisher.fill(1);
            let mut watcher = watch(&hub, &call, Subscribe::default(), Buffers::Default);
            watcher.read_to(7, 1);
            (call, publisher, watcher)
        })
        .collect();
    for (_, publisher, watcher) in &mut all {
        cut(watcher, publisher);
    }
    let mut held = 0;
    for (call, publisher, watcher) in &mut all {
        publisher.mute(0, true);
        come_back(&hub, call, watcher);
        watcher.read_to(7, 2);
        held += watcher.deltas;
    }
    assert_eq!(held, 256);
}

#[test]
fn a_ping_says_what_was_sent_and_who_stays_behind_it_is_closed() {
    let hub = hub(|config| config.ping_interval = Duration::from_millis(320));
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(1);
    publisher.mute(0, true);
    let mut stuck = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    stuck.read_to(7, 2);
    say(&mut stuck, "7:2");
    // as if it had been lost on its way
    publisher.mute(0, false);
    assert_eq!(stuck.read_to_close(), 4010);
    let rounds = stuck.pinged.iter().filter(|sent| *sent == "7:3").count();
    assert!((2..=3).contains(&rounds), "{:?}", stuck.pinged);

    // always behind, but it goes on
    let mut late = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    for seq in 3..9 {
        publisher.mute(0, seq % 2 == 0);
        late.read_to(7, seq + 1);
        say(&mut late, &format!("7:{}", seq - 1));
        let pings = late.pinged.len();
        while late.pinged.len() == pings {
            late.step();
        }
    }
    // and who has all may say so once
    say(&mut late, "7:9");
    while late.pinged.len() < 12 {
        late.step();
    }
}

fn say(watcher: &mut Watcher, text: &str) {
    watcher.socket.send(Message::text(text)).unwrap();
}

/// Ends its connection, and waits until the hub knows.
fn cut(watcher: &mut Watcher, publisher: &Publisher) {
    watcher
        .socket
        .get_ref()
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    eventually("it is gone", || publisher.topic.subscribers() == 0);
}

fn come_back(hub: &Hub, call: &CallId, watcher: &mut Watcher) {
    watcher.resume(connect(hub, call, watcher.version, Buffers::Default));
}

fn connect(hub: &Hub, call: &CallId, since: Option<(u64, u64)>, buffers: Buffers) -> TcpStream {
    let (client, server) = pair(buffers);
    let since = since.map(|(epoch, seq)| Version { epoch, seq });
    hub.subscribe(call, server, Bytes::new(), Subscribe { since })
        .unwrap();
    client
}

/// A connection that ends after so many bytes, wherever in a frame that is.
struct Fragile {
    socket: TcpStream,
    left: usize,
}

impl Read for Fragile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = out.len().min(self.left);
        let count = self.socket.read(&mut out[..most])?;
        assert_ne!(count, 0, "the hub closed");
        self.left -= count;
        Ok(count)
    }
}

impl Write for Fragile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.socket.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// `SplitMix64`: a seed is a whole run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What was published, by version.
type History = Arc<Mutex<BTreeMap<(u64, u64), Roster>>>;

/// Publishes as much as it is told to, on a thread of its own as a call's actor would.
fn publish(
    mut publisher: Publisher,
    asked: &Receiver<u64>,
    history: &History,
    seed: u64,
) -> Publisher {
    let mut random = Random(seed);
    while let Ok(count) = asked.recv() {
        for _ in 0..count {
            let who = usize::try_from(random.below(20)).unwrap();
            let there = publisher.roster.get(&participant(who, false).id).is_some();
            let change = if there && random.below(4) == 0 {
                Change::Remove(participant(who, false).id.clone())
            } else {
                Change::Upsert(participant(who, random.below(2) == 0))
            };
            if random.below(400) == 0 {
                // as after a recovery
                publisher.version.epoch += 1 + random.below(3);
                publisher.version.seq = 0;
            }
            // told before it is seen
            let Version { epoch, seq } = publisher.version;
            let mut roster = publisher.roster.clone();
            roster.apply(&change);
            history.lock().unwrap().insert((epoch, seq + 1), roster);
            publisher.publish(&[change]);
        }
    }
    publisher
}

/// Cuts one subscriber 1,000 times; `SEED=n` replays the cuts.
fn cut_a_thousand_times(linger: Duration) -> Watcher<Fragile> {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        u64::from(now.unwrap().subsec_nanos())
    });
    println!("SEED={seed} replays it");
    let mut random = Random(seed);
    let hub = hub(|config| config.linger = linger);
    let call = call("call-1");
    let publisher = Publisher::new(&hub, &call);
    let history = History::default();
    let (ask, asked) = mpsc::channel();
    let told = Arc::clone(&history);
    let actor = std::thread::spawn(move || publish(publisher, &asked, &told, seed));

    let over = |since, left| {
        let socket = connect(&hub, &call, since, Buffers::Small);
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let socket = Fragile { socket, left };
        WebSocket::from_raw_socket(socket, Role::Client, None)
    };
    ask.send(1).unwrap();
    let mut watcher = Watcher::over(over(None, usize::MAX).into_inner());
    let mut cuts = 0;
    while cuts < 1000 {
        let left = usize::try_from(random.below(6000)).unwrap();
        watcher.socket = over(watcher.version, left);
        // what happens while it is away, or is coming
        let missed = match random.below(20) {
            0 => 200 + random.below(150),
            1..10 => random.below(12),
            _ => 0,
        };
        ask.send(1 + missed).unwrap();
        while let Some(got) = watcher.try_next() {
            if let Got::Roster(version) = got {
                let truth = expected_of(&history.lock().unwrap()[&version]);
                assert_eq!(watcher.roster, truth, "SEED={seed}, cut {cuts}");
            }
            ask.send(1 + random.below(3)).unwrap();
        }
        cuts += 1;
    }
    drop(ask);
    // its topic stays
    let _publisher = actor.join().unwrap();
    watcher.socket = over(watcher.version, usize::MAX);
    let (last, truth) = history.lock().unwrap().pop_last().unwrap();
    while watcher.version != Some(last) {
        watcher.try_next().unwrap();
    }
    assert_eq!(watcher.roster, expected_of(&truth), "SEED={seed}");
    println!(
        "1000 cuts: {} deltas, {} snapshots, ends at {last:?} with the truth",
        watcher.deltas, watcher.snapshots
    );
    watcher
}

/// The watcher itself asserts that versions rise, that each delta follows, and the hash.
#[test]
fn a_subscriber_cut_a_thousand_times_ends_with_the_truth() {
    let watcher = cut_a_thousand_times(Duration::from_secs(30));
    assert!(watcher.deltas > 10 * watcher.snapshots, "resumed by deltas");
    assert!(watcher.resets > 10, "the ring was passed");
}

#[test]
fn the_same_where_nothing_is_held_for_who_left() {
    let watcher = cut_a_thousand_times(Duration::ZERO);
    assert!(watcher.resets > 100, "resumed by snapshots");
}
