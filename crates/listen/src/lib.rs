//! The accept loop under both HTTP servers: header timeout, connection cap, graceful end.
//!
//! `axum::serve` gives hyper no timer, so a client that trickles its header stays for ever; it
//! has no cap on connections and no end that waits for requests in flight. This loop has all
//! three, over HTTP/1.1 with upgrades.
//!
//! Nor does anybody else hold it up for long: a body has a time limit and a least rate, an answer
//! that is not taken is given up, one address has a limited number of connections. What hyper
//! refuses on its own, a malformed or an endless head, is answered in Graph's envelope, and so is a
//! request without one good `Host`. What a handler did not read of a body is read after the
//! answer, so that the client may use the connection again.
//!
//! With [`Tls`] it speaks TLS 1.2 and 1.3; a handshake has the time of the first header and waits
//! in a task of its own, so nobody else waits for it.
//!
//! The peer's address is in the request's extensions as `axum::extract::ConnectInfo<SocketAddr>`,
//! and how it was asked as [`Scheme`].
//!
//! # Getting the socket back after an upgrade
//!
//! A connection is served by hyper's own HTTP/1 connection, not by hyper-util's `auto` one, whose
//! wait for the first bytes knows no time limit. [`Taken::from_upgrade`] finds the socket in what
//! hyper hands back, and its TLS where there is one.

mod accept;
mod connection;
mod encoding;
mod guarded;
mod host;
mod metrics;
mod paced;
mod peers;
mod plain;
mod rest;
mod taken;
mod timer;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use accept::Counters;
use peers::Peers;

pub use encoding::is_well_encoded;
pub use metrics::ListenMetrics;
pub use paced::TooSlow;
pub use taken::Taken;
pub use tls::{Tls, TlsError};

/// Connections the kernel keeps while all of ours are busy; Linux cuts it to `somaxconn`.
const BACKLOG: u32 = 4096;

/// How a request came in; in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What one client may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the accepted connection to its first complete request header, TLS handshake included.
    /// Also how long the rest of a body may take that its handler did not read.
    pub header_timeout: Duration,
    /// From one answer to the next complete request header on the same connection. Longer than
    /// `header_timeout`, because clients keep idle connections for their next request.
    pub keep_alive: Duration,
    /// From a request's header to the end of its body. Over it the body's error is [`TooSlow`].
    pub body_timeout: Duration,
    /// Bytes of a body that must come in each second, on average over 5 s. Below it the body's
    /// error is [`TooSlow`]. 0 for none.
    pub min_body_rate: u32,
    /// How long a client may take no byte of its answer before it is cut off.
    pub stuck_after: Duration,
    /// Start line and headers together, in bytes; more is answered 431.
    pub max_header_bytes: usize,
    /// HTTP connections at one time. Over it, new ones wait in the kernel's queue until one ends.
    /// An upgraded connection does not count any more: whoever took it has a cap of its own.
    pub max_connections: usize,
    /// HTTP connections of one address, of a /64 in IPv6; 0 for no limit. Further ones are closed
    /// at once. Loopback has no limit: a proxy on this machine brings everybody's.
    pub max_connections_per_address: usize,
}

impl Default for Limits {
    /// 5 s, 75 s, 20 s at 500 bytes/s, 30 s, 16 KiB, 16,384 connections, 1,024 of one address.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(75),
            body_timeout: Duration::from_secs(20),
            min_body_rate: 500,
            stuck_after: Duration::from_secs(30),
            max_header_bytes: 16 * 1024,
            max_connections: 16_384,
            max_connections_per_address: 1024,
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: choose a free address of this machine, or port 0 for any port")]
pub struct BindError {
    addr: SocketAddr,
    #[source]
    source: io::Error,
}

/// A bound address that accepts nothing yet, so that its port is known before the first request.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    tls: Option<Tls>,
    metrics: ListenMetrics,
}

impl Listener {
    /// Binds `addr`; port 0 takes any free one. Clients that connect from now on wait for
    /// [`Listener::serve`].
    ///
    /// # Errors
    /// [`BindError`] when the address is taken or not of this machine.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let open = || {
            let socket = match addr {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // Without it a restart fails while old connections are in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let socket = socket.listen(BACKLOG)?;
            let addr = socket.local_addr()?;
            Ok(Self {
                socket,
                addr,
                tls: None,
                metrics: ListenMetrics::default(),
            })
        };
        open().map_err(|source| BindError { addr, source })
    }

    /// The bound address, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Speaks TLS, or plain HTTP with `None`, as it does anyway.
    #[must_use]
    pub fn tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Counts into `metrics`.
    #[must_use]
    pub fn metrics(mut self, metrics: ListenMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Serves `router` on tasks of the current runtime until [`Running::stop`] or until the
    /// returned handle is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn serve(self, router: Router, limits: Limits) -> Running {
        let peers = Peers::new(limits.max_connections_per_address);
        self.run(router, limits, peers)
    }

    fn run(self, router: Router, limits: Limits, peers: Arc<Peers>) -> Running {
        let stopping = CancellationToken::new();
        let cutting = CancellationToken::new();
        let connections = TaskTracker::new();
        let counters = Arc::new(Counters::new(self.metrics));
        let addr = self.addr;
        if let Some(tls) = &self.tls {
            tls.watch();
        }
        connections.spawn(accept::run(accept::Accept {
            socket: self.socket,
            router,
            limits,
            tls: self.tls,
            peers,
            connections: connections.clone(),
            counters: Arc::clone(&counters),
            stopping: stopping.clone(),
            cutting: cutting.clone(),
        }));
        Running {
            addr,
            stopping,
            cutting,
            connections,
            counters,
        }
    }
}

/// A listener that serves. Dropping it stops accepting and lets requests in flight finish.
#[derive(Debug)]
#[must_use = "dropping it stops the listener"]
pub struct Running {
    addr: SocketAddr,
    stopping: CancellationToken,
    cutting: CancellationToken,
    connections: TaskTracker,
    counters: Arc<Counters>,
}

impl Running {
    /// The bound address, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// HTTP connections open now; upgraded ones are not counted.
    pub fn connections(&self) -> usize {
        self.counters.open()
    }

    /// How often a connection could not be accepted since the start, mostly for want of file
    /// descriptors. Rising: raise the limit of open files or lower `max_connections`.
    pub fn accept_failures(&self) -> u64 {
        self.counters.failures()
    }

    /// Accepts nothing any more, closes idle connections, waits for requests in flight for at
    /// most `deadline`, then cuts what is left.
    ///
    /// Returns how many connections were cut; 0 means that everybody got an answer. Upgraded
    /// connections are not touched.
    pub async fn stop(self, deadline: Duration) -> usize {
        self.stopping.cancel();
        self.connections.close();
        if tokio::time::timeout(deadline, self.connections.wait())
            .await
            .is_ok()
        {
            return 0;
        }
        let cut = self.counters.open();
        self.cutting.cancel();
        self.connections.wait().await;
        cut
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

#[cfg(test)]
mod tests;
