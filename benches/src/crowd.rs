use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::frames::Frames;

/// A wait this long is a loss, not a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Descriptors of the process besides the crowd's.
const OTHER_FILES: u64 = 128;
/// An empty pong under a mask of zeros (RFC 6455, 5.5.3).
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
const WAKE: Token = Token(usize::MAX);
const SCRATCH: usize = 64 * 1024;

/// Many WebSocket clients on one thread that counts the text frames they get and answers pings.
///
/// While frames are due the thread spins on its event queue: asleep, its waking would be billed to
/// the server's writes. At other times it sleeps.
#[derive(Debug)]
pub struct Crowd {
    plan: Arc<Plan>,
    waker: Waker,
    arrivals: Receiver<io::Result<Instant>>,
    thread: Option<JoinHandle<()>>,
    due: u64,
}

#[derive(Debug, Default)]
struct Plan {
    /// Text frames that all members together should have by now.
    due: AtomicU64,
    over: AtomicBool,
}

impl Crowd {
    /// Connects `members` sockets over loopback, with no handshake, and returns the other ends.
    ///
    /// # Errors
    /// When the system has not enough descriptors or ports.
    pub fn seat(members: usize) -> anyhow::Result<(Self, Vec<TcpStream>)> {
        let needed = 2 * members as u64 + OTHER_FILES;
        let limit = rlimit::increase_nofile_limit(u64::MAX)?;
        ensure!(
            limit >= needed,
            "{members} subscribers need {needed} open files but the hard limit is {limit}; raise it \
             with ulimit -Hn, or choose a smaller bench"
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for number in 0..members {
            let client = TcpStream::connect(address).context("a subscriber cannot connect")?;
            servers.push(listener.accept()?.0);
            client.set_nonblocking(true)?;
            client.set_nodelay(true)?;
            let mut socket = mio::net::TcpStream::from_std(client);
            poll.registry()
                .register(&mut socket, Token(number), Interest::READABLE)?;
            clients.push(Member {
                socket,
                frames: Frames::default(),
            });
        }
        let plan = Arc::new(Plan::default());
        let (send, arrivals) = channel();
        let waker = Waker::new(poll.registry(), WAKE)?;
        let reader = Reader {
            plan: Arc::clone(&plan),
            poll,
            members: clients,
            arrivals: send,
            got: 0,
            told: 0,
        };
        let thread = thread::Builder::new()
            .name("crowd".to_owned())
            .spawn(move || reader.run())?;
        let crowd = Self {
            plan,
            waker,
            arrivals,
            thread: Some(thread),
            due: 0,
        };
        Ok((crowd, servers))
    }

    /// From now on `frames` more text frames are due, of all members together.
    ///
    /// # Errors
    /// When the reading thread cannot be woken.
    pub fn expect(&mut self, frames: u64) -> io::Result<()> {
        self.due += frames;
        self.plan.due.store(self.due, Ordering::Release);
        self.waker.wake()
    }

    /// Waits for the last frame that is due and returns when it arrived.
    ///
    /// # Errors
    /// When a member lost its connection, or the frames do not come.
    pub fn arrived(&self) -> anyhow::Result<Instant> {
        let arrived = self
            .arrivals
            .recv_timeout(PATIENCE)
            .context("frames are missing: not all subscribers got every one")?;
        arrived.context("a subscriber lost its connection")
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.plan.over.store(true, Ordering::Release);
        let woken = self.waker.wake();
        if let Some(thread) = self.thread.take()
            && woken.is_ok()
            && thread.join().is_err()
        {
            eprintln!("the subscribers' thread ended by a panic");
        }
    }
}

struct Member {
    socket: mio::net::TcpStream,
    frames: Frames,
}

struct Reader {
    plan: Arc<Plan>,
    poll: Poll,
    members: Vec<Member>,
    arrivals: Sender<io::Result<Instant>>,
    got: u64,
    /// How many were due when that was last told to have arrived.
    told: u64,
}

impl Reader {
    fn run(mut self) {
        let error = match self.read_on() {
            Ok(()) => return,
            Err(error) => error,
        };
        if self.arrivals.send(Err(error)).is_err() {
            eprintln!("a subscriber lost its connection when nobody waited any more");
        }
    }

    fn read_on(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; SCRATCH];
        while !self.plan.over.load(Ordering::Acquire) {
            let due = self.plan.due.load(Ordering::Acquire);
            if self.got >= due && self.told < due {
                self.told = due;
                if self.arrivals.send(Ok(Instant::now())).is_err() {
                    return Ok(());
                }
            }
            let spin = (self.got < due).then_some(Duration::ZERO);
            match self.poll.poll(&mut events, spin) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if let Some(member) = self.members.get_mut(event.token().0) {
                    match member.read(&mut scratch) {
                        Ok(texts) => self.got += texts,
                        Err(_) if self.plan.over.load(Ordering::Acquire) => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }
}

impl Member {
    /// Reads what there is and returns how many text frames it completed.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<u64> {
        let mut texts = 0;
        loop {
            let count = match self.socket.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(texts),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let seen = self.frames.feed(&scratch[..count]);
            texts += seen.texts;
            if seen.closed {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            if seen.pings > 0 {
                // six bytes always fit a socket that is hardly written to
                self.socket.write_all(&PONG)?;
            }
            if count < scratch.len() {
                // a short read emptied the socket; what comes later is a new event
                return Ok(texts);
            }
        }
    }
}
