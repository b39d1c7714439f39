use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::crowd::Crowd;

/// How a burst of frames is written to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// One write per frame, all sockets for one frame before the next frame.
    PerFrame,
    /// All frames of the burst in one write.
    Coalesced,
}

/// The limit of every fan-out: one thread that makes a plain non-blocking `write` of ready bytes to
/// one socket after the other. It is woken for each broadcast, as a server is.
#[derive(Debug)]
pub struct BareLoop {
    crowd: Crowd,
    subscribers: u64,
    frame: Bytes,
    orders: Option<Sender<Vec<Bytes>>>,
    thread: Option<JoinHandle<()>>,
}

impl BareLoop {
    /// Connects `subscribers` sockets that will be sent `frame`.
    ///
    /// # Errors
    /// When the sockets or the thread are not to be had.
    pub fn start(subscribers: usize, frame: Bytes) -> anyhow::Result<Self> {
        let (crowd, sockets) = Crowd::seat(subscribers)?;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
        }
        let (orders, inbox) = channel();
        let thread = thread::Builder::new()
            .name("bare-loop".to_owned())
            .spawn(move || write_on(&inbox, &sockets))?;
        Ok(Self {
            crowd,
            subscribers: subscribers as u64,
            frame,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Sends `rounds` bursts of `burst` frames to everybody, each after the last arrival of the one
    /// before; the time from order to last arrival, summed.
    ///
    /// # Errors
    /// When a frame does not arrive.
    pub fn broadcast(
        &mut self,
        rounds: u64,
        burst: usize,
        writes: Writes,
    ) -> anyhow::Result<Duration> {
        let order = match writes {
            Writes::PerFrame => vec![self.frame.clone(); burst],
            Writes::Coalesced => vec![self.frame.repeat(burst).into()],
        };
        let orders = self.orders.as_ref().expect("there until the drop");
        let mut sum = Duration::ZERO;
        for _ in 0..rounds {
            let order = order.clone();
            self.crowd.expect(self.subscribers * burst as u64)?;
            let begun = Instant::now();
            orders.send(order)?;
            sum += self.crowd.arrived()? - begun;
        }
        Ok(sum)
    }
}

impl Drop for BareLoop {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the bare loop ended by a panic");
        }
    }
}

fn write_on(inbox: &Receiver<Vec<Bytes>>, sockets: &[TcpStream]) {
    for order in inbox {
        for bytes in order {
            for socket in sockets {
                write_all(socket, &bytes);
            }
        }
    }
}

/// The subscribers read all the time, so a full socket is a matter of microseconds.
fn write_all(mut socket: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the bare loop cannot write to a subscriber: {error}"),
        }
    }
}
