//! Subscribers that stop reading.

use std::fmt;
use std::net::SocketAddr;

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};

use super::crowd::{Crowd, shake_hands};
use super::load::{Load, Run};
use super::server::Server;
use super::wire::Wire;

/// What the kernel holds for a stalled subscriber: little, or the bench would measure the kernel.
/// Segments as on Ethernet, since the sender's buffer grows with them.
const RECEIVES: usize = 4096;
const SEGMENT: u32 = 1448;

/// What stalled subscribers do to a server and to those that read.
#[derive(Debug)]
pub struct Stall {
    /// Memory of the server for each that stalled, in bytes, from when they had joined.
    pub each: u64,
    /// Those that read, before and after.
    pub before: Run,
    /// After.
    pub after: Run,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |run: &Run| {
            let frames = u32::try_from(run.last.len()).unwrap_or(u32::MAX).max(1);
            let (cost, p50, p99) = (run.cpu / frames, run.percentile(50), run.percentile(99));
            format!(
                "{cost:.0?} of the server for a frame of 4 KiB, last p50 {p50:.2?}, p99 {p99:.2?}"
            )
        };
        write!(
            f,
            "{} B of memory for each that does not; before: {}; after: {}",
            self.each,
            line(&self.before),
            line(&self.after)
        )
    }
}

/// Lets `count` more subscribe to the first topic and read nothing any more; `fill` fills their
/// sockets.
///
/// # Errors
/// When a frame does not come to one that reads.
pub fn stall(
    server: &mut Server,
    crowd: &mut Crowd,
    count: usize,
    load: Load,
    fill: Load,
) -> anyhow::Result<Stall> {
    let before = load.run(server, crowd)?;
    let stalled: anyhow::Result<Vec<_>> = (0..count).map(|_| subscribe(server)).collect();
    let stalled = stalled?;
    let lean = server.resident()?;
    fill.run(server, crowd)?;
    let after = load.run(server, crowd)?;
    let grown = server.resident()?.saturating_sub(lean);
    drop(stalled);
    Ok(Stall {
        each: grown / count.max(1) as u64,
        before,
        after,
    })
}

fn subscribe(server: &Server) -> anyhow::Result<Wire> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(RECEIVES)?;
    socket.set_tcp_mss(SEGMENT)?;
    let address: SocketAddr = server.door().address;
    socket
        .connect(&address.into())
        .context("a subscriber that will stall cannot connect")?;
    let mut wire = Wire::new(socket.into(), None)?;
    shake_hands(&mut wire, server.door(), 0, server.manners())?;
    Ok(wire)
}
