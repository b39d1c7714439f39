//! A roster delta to N WebSocket subscribers, until the last one has it, beside a bare write loop.
//!
//! `hub` is the real hub with its default settings; `limit` one thread that writes the same frame
//! to equal sockets, one plain non-blocking `write` each; the clients are the same. In the burst,
//! 16 versions are published at once: `limit` writes frame by frame, `limit-coalesced` makes one
//! write of all 16 per socket.

use std::time::Duration;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main,
};
use openmic_benches::{BareLoop, Watched, Writes, delta_frame};

const BURST: usize = 16;

fn fanout(criterion: &mut Criterion) {
    let frame = delta_frame().expect("the hub delivers a delta");
    let mut group = criterion.benchmark_group("fanout");
    group.sampling_mode(SamplingMode::Flat);
    for subscribers in [100, 1000] {
        group.throughput(Throughput::Elements(subscribers as u64));
        bench_hub(&mut group, subscribers, 1);
        bench_limit(
            &mut group,
            "limit",
            subscribers,
            1,
            &frame,
            Writes::PerFrame,
        );
    }
    group.finish();
}

fn fanout_burst(criterion: &mut Criterion) {
    let frame = delta_frame().expect("the hub delivers a delta");
    let mut group = criterion.benchmark_group("fanout-burst");
    group.sampling_mode(SamplingMode::Flat);
    let subscribers = 1000;
    group.throughput(Throughput::Elements((subscribers * BURST) as u64));
    bench_hub(&mut group, subscribers, BURST);
    let limits = [
        ("limit", Writes::PerFrame),
        ("limit-coalesced", Writes::Coalesced),
    ];
    for (name, writes) in limits {
        bench_limit(&mut group, name, subscribers, BURST, &frame, writes);
    }
    group.finish();
}

fn bench_hub(group: &mut BenchmarkGroup<'_, WallTime>, subscribers: usize, burst: usize) {
    // made once, and only when the filter of the command line asks for it
    let mut call = None;
    group.bench_function(BenchmarkId::new("hub", subscribers), |bencher| {
        let call =
            call.get_or_insert_with(|| Watched::start(subscribers).expect("the hub is watched"));
        bencher.iter_custom(|rounds| {
            call.broadcast(rounds, burst)
                .expect("everybody gets every frame")
        });
    });
}

fn bench_limit(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    subscribers: usize,
    burst: usize,
    frame: &Bytes,
    writes: Writes,
) {
    let mut bare = None;
    group.bench_function(BenchmarkId::new(name, subscribers), |bencher| {
        let bare = bare.get_or_insert_with(|| {
            BareLoop::start(subscribers, frame.clone()).expect("the bare loop starts")
        });
        bencher.iter_custom(|rounds| {
            bare.broadcast(rounds, burst, writes)
                .expect("everybody gets every frame")
        });
    });
}

/// Short, so that all benches together take about a minute; flags of the command line override it.
fn settings(samples: usize) -> Criterion {
    Criterion::default()
        .sample_size(samples)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .nresamples(20_000)
}

criterion_group!(name = single; config = settings(100); targets = fanout);
criterion_group!(name = burst; config = settings(20); targets = fanout_burst);
criterion_main!(single, burst);
