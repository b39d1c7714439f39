use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Context as _;
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::mpsc;

const WAKE: Token = Token(usize::MAX);
/// First byte of a ping, and an empty pong under a mask of zeros (RFC 6455, 5.5.3).
const PING: u8 = 0x89;
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
/// What is in the frames that count: deltas in which somebody is unmuted.
const DELTA: &[u8] = br#""type":"delta""#;
const UNMUTED: &[u8] = br#""isMuted":false"#;

/// The subscribers of one call, on a thread of their own, which tells each time all of them got
/// one more roster delta that says that the bot is heard.
#[derive(Debug)]
pub(crate) struct Audience {
    heard: Mutex<mpsc::UnboundedReceiver<Instant>>,
    waker: Waker,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Member {
    socket: mio::net::TcpStream,
    unread: Vec<u8>,
    deltas: usize,
}

impl Audience {
    /// Connects `members` sockets over loopback, with no handshake, and returns the other ends.
    pub(crate) fn seat(members: usize) -> anyhow::Result<(Self, Vec<TcpStream>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (mut all, mut servers) = (Vec::new(), Vec::new());
        for number in 0..members {
            let client = TcpStream::connect(listener.local_addr()?)?;
            client.set_nonblocking(true)?;
            let server = listener.accept()?.0;
            server.set_nodelay(true)?;
            servers.push(server);
            let mut socket = mio::net::TcpStream::from_std(client);
            poll.registry()
                .register(&mut socket, Token(number), Interest::READABLE)?;
            all.push(Member {
                socket,
                unread: Vec::new(),
                deltas: 0,
            });
        }
        let over = Arc::new(AtomicBool::new(false));
        let (tell, heard) = mpsc::unbounded_channel();
        let until = Arc::clone(&over);
        let thread = thread::Builder::new()
            .name("audience".to_owned())
            .spawn(move || listen(poll, all, &until, &tell))?;
        let audience = Self {
            heard: Mutex::new(heard),
            waker,
            over,
            thread: Some(thread),
        };
        Ok((audience, servers))
    }

    /// Forgets what came before what is now begun.
    pub(crate) fn forget(&self) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        while heard.try_recv().is_ok() {}
    }

    /// Waits until all have got one more such delta, and returns when the last one did.
    pub(crate) async fn hear(&self) -> anyhow::Result<Instant> {
        std::future::poll_fn(|cx| {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.poll_recv(cx)
        })
        .await
        .context("a subscriber lost its connection")
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the subscribers' thread ended by a panic");
        }
    }
}

/// Until it is over or a connection breaks.
fn listen(
    mut poll: Poll,
    mut members: Vec<Member>,
    over: &AtomicBool,
    tell: &mpsc::UnboundedSender<Instant>,
) {
    let mut events = Events::with_capacity(members.len() + 1);
    let mut told = 0;
    while !over.load(Ordering::Acquire) {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return,
            _ => {}
        }
        for event in &events {
            if let Some(member) = members.get_mut(event.token().0)
                && !member.read()
            {
                return;
            }
        }
        let least = members.iter().map(|member| member.deltas).min();
        while told < least.unwrap_or(0) {
            told += 1;
            if tell.send(Instant::now()).is_err() {
                return;
            }
        }
    }
}

impl Member {
    /// Reads what there is; false when the connection is gone.
    fn read(&mut self) -> bool {
        let mut scratch = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut scratch) {
                Ok(0) => return false,
                Ok(count) => self.unread.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        while let Some(length) = frame_length(&self.unread) {
            let frame: Vec<u8> = self.unread.drain(..length).collect();
            // Whoever answers none is sent off while the others have their turn.
            if frame[0] == PING && self.socket.write_all(&PONG).is_err() {
                return false;
            }
            let has = |what: &[u8]| frame.windows(what.len()).any(|part| part == what);
            self.deltas += usize::from(has(DELTA) && has(UNMUTED));
        }
        true
    }
}

/// Length of the first frame, its header included, once all of it is there. Frames of a server are
/// not masked (RFC 6455, 5.1).
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let (header, payload) = match (bytes.get(1)?, bytes.get(2..4)) {
        (126, Some(long)) => (4, usize::from(u16::from_be_bytes([long[0], long[1]]))),
        (short @ 0..126, _) => (2, usize::from(*short)),
        // Longer ones are not sent to an audience of this size.
        _ => return None,
    };
    (bytes.len() >= header + payload).then_some(header + payload)
}
