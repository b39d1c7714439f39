//! Subscribers that stop reading.

use std::net::{SocketAddr, TcpStream};

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};

use super::crowd::{Crowd, shake_hands};
use super::load::{Load, Run};
use super::server::Server;

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

fn subscribe(server: &Server) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(RECEIVES)?;
    socket.set_tcp_mss(SEGMENT)?;
    let address: SocketAddr = server.door().address;
    socket
        .connect(&address.into())
        .context("a subscriber that will stall cannot connect")?;
    let (socket, _) = shake_hands(socket.into(), server.door(), 0, server.manners())?;
    Ok(socket)
}
