//! What the benches share: servers of rosters in processes of their own and the subscribers that
//! load them, bots on the local service, and the bare chain of their HTTP hops.
//!
//! Each claim is measured beside its limit in the same run, because only their ratio holds on
//! another machine. Everything runs over loopback sockets.

pub mod fanout;
pub mod idle;
pub mod notify;
pub mod storm;

mod audience;
mod bots;
mod chain;
mod counted;
mod disk;
mod media;
mod memory;
mod plot;
mod schedstat;
mod stalled;
mod timed;

pub use bots::Bots;
pub use chain::Chain;
pub use counted::count;
pub use media::{Room, Talk, Way};
pub use plot::{Line, Words, plot};
pub use stalled::Stalled;
pub use timed::Timed;

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// That of the binary.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs all of `work` at once, the last of it here and the others as tasks of their own, and returns
/// how long it took until all was done. To be called on a worker thread, or the way into the runtime is measured as well.
async fn at_once<F>(work: impl IntoIterator<Item = F>) -> anyhow::Result<Duration>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut work: Vec<F> = work.into_iter().collect();
    let last = work.pop();
    let begun = Instant::now();
    for one in work {
        tasks.spawn(one);
    }
    if let Some(last) = last {
        last.await?;
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(begun.elapsed())
}
