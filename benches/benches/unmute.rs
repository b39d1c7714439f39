//! An unmute from its acceptance to its verdict on the local service, beside the bare HTTP hops.
//!
//! `openmic` is the whole way: engine, POST, local service, answer and signed webhook, verdict
//! `Confirmed`. `chain` is a POST and a webhook back on the same HTTP libraries. 1 and 64 at once;
//! the time is that until the last is done.

use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use openmic_benches::{Bots, Chain};
use tokio::runtime::Runtime;

fn unmute(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("unmute");
    group.sampling_mode(SamplingMode::Flat);
    for width in [1, 64] {
        group.throughput(Throughput::Elements(width as u64));

        // made once, and only when the filter of the command line asks for it
        let mut bots = None;
        group.bench_function(BenchmarkId::new("openmic", width), |bencher| {
            let bots = bots.get_or_insert_with(|| {
                runtime
                    .block_on(Bots::join(width))
                    .expect("the bots are in their calls")
            });
            bencher.iter_custom(|rounds| {
                runtime
                    .block_on(bots.unmute(rounds))
                    .expect("every unmute is confirmed")
            });
        });
        if let Some(bots) = bots {
            runtime.block_on(bots.stop()).expect("the bots leave");
        }

        let mut chain = None;
        group.bench_function(BenchmarkId::new("chain", width), |bencher| {
            let chain = chain.get_or_insert_with(|| {
                let _inside = runtime.enter();
                Chain::start(width).expect("the chain starts")
            });
            bencher.iter_custom(|rounds| {
                runtime
                    .block_on(chain.exchange(rounds))
                    .expect("every exchange ends")
            });
        });
        if let Some(chain) = chain {
            runtime.block_on(chain.stop());
        }
    }
    group.finish();
}

/// Short, so that all benches together take about a minute; flags of the command line override it.
fn settings() -> Criterion {
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .nresamples(20_000)
}

criterion_group!(name = benches; config = settings(); targets = unmute);
criterion_main!(benches);
