//! What an idle subscriber costs, in a process of its own: resident memory is measured.

use bytes::Bytes;
use openmic_hub::Subscribe;

use support::{Buffers, Publisher, call, eventually, hub, metric, pair, resident_kib, watch};

#[path = "fanout/support.rs"]
#[allow(dead_code, reason = "shared with the other test binary")]
mod support;
#[path = "fanout/watcher.rs"]
#[allow(dead_code, reason = "shared with the other test binary")]
mod watcher;

#[test]
fn an_idle_subscriber_costs_less_than_a_kibibyte_and_a_half() {
    const SUBSCRIBERS: usize = 4000;
    // both ends of each are here
    let files = rlimit::increase_nofile_limit(20_000).unwrap();
    if files < 2 * SUBSCRIBERS as u64 + 200 {
        println!(
            "skipped: what an idle subscriber costs ({files} open files are too few, ulimit -Hn)"
        );
        return;
    }
    let hub = hub(|config| config.shards = 2);
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(20);
    let mut first = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    first.read_to(7, 1);
    let before = resident_kib();
    let mut clients = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        let (client, server) = pair(Buffers::Default);
        hub.subscribe(&call, server, Bytes::new(), Subscribe::default())
            .unwrap();
        clients.push(client);
    }
    for round in 0..20 {
        publisher.mute(round, true);
    }
    first.read_to(7, 21);
    eventually("everybody has the snapshot", || {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let all = SUBSCRIBERS as f64;
        metric(&hub, "openmic_frames_sent_total", "snapshot") > all
    });
    let grown = resident_kib().saturating_sub(before);
    let each = grown * 1024 / SUBSCRIBERS as u64;
    println!("{each} bytes for a subscriber");
    assert!(each < 1536, "{each} bytes for a subscriber");
}
