use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Serving;
use crate::metrics::{Closed, ListenMetrics};
use crate::peers::Peers;
use crate::{Limits, Tls};

/// First wait after a failed accept; doubles up to [`MAX_PAUSE`]. Without a wait the loop spins,
/// because a connection that could not be accepted keeps the socket readable.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What the loop counts for its owner.
#[derive(Debug)]
pub(crate) struct Counters {
    open: AtomicUsize,
    failures: AtomicU64,
    metrics: ListenMetrics,
}

impl Counters {
    pub(crate) fn new(metrics: ListenMetrics) -> Self {
        Self {
            open: AtomicUsize::new(0),
            failures: AtomicU64::new(0),
            metrics,
        }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// Counts one connection while it lives, also when its task panics.
pub(crate) struct Open(Arc<Counters>);

impl Open {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.open.fetch_add(1, Ordering::Relaxed);
        counters.metrics.opened();
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.ended();
    }
}

/// Everything the loop needs.
pub(crate) struct Accept {
    pub(crate) socket: TcpListener,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<Tls>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) connections: TaskTracker,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stopping: CancellationToken,
    pub(crate) cutting: CancellationToken,
}

/// Accepts until told to stop. The socket closes on return, so that clients that come later are
/// refused at once.
pub(crate) async fn run(this: Accept) {
    let stopping = this.stopping.clone();
    stopping.run_until_cancelled(accept(this)).await;
}

async fn accept(this: Accept) {
    let slots = Arc::new(Semaphore::new(
        this.limits.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let tls = this.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config()));
    let mut pause = MIN_PAUSE;
    loop {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match this.socket.accept().await {
            Ok((stream, peer)) => {
                pause = MIN_PAUSE;
                let Some(place) = this.peers.admit(peer.ip()) else {
                    this.counters.metrics.closed(Closed::PeerLimit);
                    continue;
                };
                let open = Open::new(&this.counters);
                let serving = Serving {
                    router: this.router.clone(),
                    limits: this.limits.clone(),
                    tls: tls.clone(),
                    metrics: this.counters.metrics.clone(),
                    stopping: this.stopping.clone(),
                };
                let served = serving.serve(stream, peer);
                let cutting = this.cutting.clone();
                this.connections.spawn(async move {
                    cutting.run_until_cancelled(served).await;
                    drop((slot, place, open));
                });
            }
            Err(error) if is_clients(&error) => {
                tracing::debug!(%error, "a client left before it was accepted");
            }
            Err(error) => {
                this.counters.failures.fetch_add(1, Ordering::Relaxed);
                this.counters.metrics.accept_failed();
                tracing::warn!(
                    %error,
                    pause_ms = pause.as_millis(),
                    "cannot accept connections: raise the limit of open files if this goes on"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

/// True when the connection itself failed, which says nothing about the next one (accept(2)).
fn is_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
