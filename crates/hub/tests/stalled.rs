//! What a stalled subscriber costs, in a process of its own: resident memory is measured.

use std::time::{Duration, Instant};

use openmic_hub::Subscribe;

use support::{Buffers, PATIENCE, Publisher, call, hub, metric, resident_kib, watch};

#[path = "fanout/support.rs"]
#[allow(dead_code, reason = "shared with the other test binary")]
mod support;
#[path = "fanout/watcher.rs"]
#[allow(dead_code, reason = "shared with the other test binary")]
mod watcher;

#[test]
fn a_stalled_reader_blocks_nobody_and_costs_a_position() {
    const VERSIONS: u64 = 10_000;
    let hub = hub(|_| ());
    let call = call("call-1");
    let mut publisher = Publisher::new(&hub, &call);
    publisher.fill(300);
    let mut fast = watch(&hub, &call, Subscribe::default(), Buffers::Default);
    let mut stalled: Vec<_> = (0..10)
        .map(|_| watch(&hub, &call, Subscribe::default(), Buffers::Small))
        .collect();
    fast.read_to(7, 1);
    let before = resident_kib();
    let mut worst = Duration::ZERO;
    for round in 2..=VERSIONS {
        let index = usize::try_from(round % 300).unwrap();
        let start = Instant::now();
        publisher.mute(index, round % 2 == 0);
        worst = worst.max(start.elapsed());
        if round % 100 == 0 {
            fast.read_to(7, round);
        }
    }
    fast.read_to(7, VERSIONS);
    assert_eq!(fast.roster, publisher.expected());
    assert_eq!(fast.snapshots, 1, "the fast one needs no second snapshot");
    // 10 stalled sockets times 10,000 deltas of some 400 bytes would be 40 MB, as snapshots 10 GB
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 12_000, "grew by {grown} KiB");
    // nobody reads the stalled ones until below, so a publication that waited for them would not
    // have come back; the limit is generous because the machine may be busy
    assert!(worst < PATIENCE, "a publication took {worst:?}");

    for watcher in &mut stalled {
        watcher.read_to(7, VERSIONS);
        assert_eq!(watcher.roster, publisher.expected());
        assert!(watcher.deltas < 1000, "{} deltas", watcher.deltas);
        assert!(watcher.snapshots >= 2);
    }
    // up to date again, it gets deltas
    publisher.mute(0, true);
    for watcher in &mut stalled {
        let snapshots = watcher.snapshots;
        watcher.read_to(7, VERSIONS + 1);
        assert_eq!(watcher.snapshots, snapshots);
    }
    assert!(metric(&hub, "openmic_frames_conflated_total", "") > 9_000.0 * 9.0);
    assert!(metric(&hub, "openmic_subscriber_resyncs_total", "") >= 10.0);
}
