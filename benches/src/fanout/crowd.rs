//! The subscribers of one server.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::frames::{Frames, Seen};
use super::server::{Door, Server, connect};
use super::wire::{Trust, Wire};

/// Descriptors of the process besides the crowd's.
const OTHER_FILES: u64 = 128;
/// An empty pong under a mask of zeros (RFC 6455, 5.5.3).
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
const SCRATCH: usize = 64 * 1024;
const MAX_HEAD: usize = 16 * 1024;
/// For the handshake of one.
const PATIENCE: Duration = Duration::from_secs(30);

/// What subscribers of a server say after the handshake, and what they are told.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// Text frames that each gets before anything is published.
    pub greetings: u64,
    /// The payload of a binary frame that each says, by topic; none says nothing.
    pub(super) hello: Vec<String>,
    /// What the answer to it ends with.
    pub(super) answer: &'static str,
    /// Frames join publications, so bytes of payload are counted: so many are one.
    pub(super) bytes_each: Option<u64>,
}

/// Many WebSocket clients on one thread, which count what they get and answer pings.
///
/// They are read by [`Crowd::read`], which does not wait: a client that sleeps would bill its
/// waking to the server's writes.
pub struct Crowd {
    poll: Poll,
    events: Events,
    members: Vec<Member>,
    scratch: Vec<u8>,
    topics: u64,
    each: u32,
    bytes_each: Option<u64>,
    /// Publications under way, the first of which has number `first`: subscribers that lack it.
    lacking: VecDeque<u32>,
    first: u64,
}

struct Member {
    wire: Wire,
    frames: Frames,
    topic: u64,
    /// What is counted: frames or bytes.
    got: u64,
    /// Publications that it has.
    has: u64,
}

impl Crowd {
    /// Subscribes `each` clients to every topic of `server`, one after the other.
    ///
    /// # Errors
    /// When the system has not enough descriptors, or the server refuses.
    pub fn join(server: &Server, each: usize) -> anyhow::Result<Self> {
        let door = server.door();
        let manners = server.manners();
        let members = each * door.paths.len();
        let needed = members as u64 + OTHER_FILES;
        let limit = rlimit::increase_nofile_limit(u64::MAX)?;
        ensure!(
            limit >= needed,
            "{members} subscribers need {needed} open files but the hard limit is {limit}; raise it \
             with ulimit -Hn"
        );
        let mut crowd = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            members: Vec::with_capacity(members),
            scratch: vec![0; SCRATCH],
            topics: door.paths.len() as u64,
            each: u32::try_from(each)?,
            bytes_each: manners.bytes_each,
            lacking: VecDeque::new(),
            first: 0,
        };
        let trust = door.authority.as_deref().map(Trust::of).transpose()?;
        for number in 0..members {
            let topic = number % door.paths.len();
            let mut wire = Wire::new(connect(door.address)?, trust.as_ref())?;
            let frames = shake_hands(&mut wire, door, topic, manners)?;
            let socket = wire.socket();
            socket.set_nonblocking(true)?;
            crowd.poll.registry().register(
                &mut SourceFd(&socket.as_raw_fd()),
                Token(number),
                Interest::READABLE,
            )?;
            crowd.members.push(Member {
                wire,
                frames,
                topic: topic as u64,
                got: 0,
                has: 0,
            });
        }
        Ok(crowd)
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// One more publication comes, in the topic whose turn it is; its number.
    pub fn expect_one(&mut self) -> u64 {
        self.lacking.push_back(self.each);
        self.first + self.lacking.len() as u64 - 1
    }

    /// Whether every subscriber of its topic has the publication of that number.
    pub fn has_arrived(&self, number: u64) -> bool {
        let Some(at) = number.checked_sub(self.first) else {
            return true;
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        self.lacking.get(at).is_some_and(|lacking| *lacking == 0)
    }

    /// Reads what has come by now, pings too; how many publications it was, counted by subscriber.
    ///
    /// # Errors
    /// When a subscriber lost its connection or got more than was published.
    pub fn read(&mut self) -> anyhow::Result<u64> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let mut frames = 0;
        for event in &self.events {
            let Some(member) = self.members.get_mut(event.token().0) else {
                continue;
            };
            let seen = member.read(&mut self.scratch);
            let seen = seen.context("a subscriber lost its connection")?;
            member.got += match self.bytes_each {
                None => seen.texts,
                Some(_) => seen.bytes,
            };
            let has = member.got / self.bytes_each.unwrap_or(1);
            for had in member.has..has {
                let number = had * self.topics + member.topic;
                let at = number.checked_sub(self.first);
                let lacking = at.and_then(|at| self.lacking.get_mut(usize::try_from(at).ok()?));
                let lacking = lacking.context("a subscriber got what was not published")?;
                *lacking -= 1;
            }
            frames += has - member.has;
            member.has = has;
        }
        while self.lacking.front() == Some(&0) {
            self.lacking.pop_front();
            self.first += 1;
        }
        Ok(frames)
    }
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd")
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl Member {
    /// Reads what there is.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<Seen> {
        let mut sum = Seen::default();
        loop {
            let count = match self.wire.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(sum),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let seen = self.frames.feed(&scratch[..count]);
            sum.texts += seen.texts;
            sum.bytes += seen.bytes;
            if seen.closed {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            if seen.pings > 0 {
                // six bytes always fit a socket that is hardly written to
                self.wire.write_all(&PONG)?;
            }
            if count < scratch.len() && self.wire.tells_its_end() {
                // a short read emptied the socket; what comes later is a new event
                return Ok(sum);
            }
        }
    }
}

/// Asks for the WebSocket of a topic, and waits until the server is done with its greetings.
pub(super) fn shake_hands(
    wire: &mut Wire,
    door: &Door,
    topic: usize,
    manners: &Manners,
) -> anyhow::Result<Frames> {
    wire.socket().set_read_timeout(Some(PATIENCE))?;
    let authorization = match &door.authorization {
        Some(value) => format!("Authorization: {value}\r\n"),
        None => String::new(),
    };
    // the key is that of RFC 6455, 1.3: nobody looks at the answer to it here
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         {authorization}\r\n",
        door.paths[topic], door.address
    );
    wire.write_all(request.as_bytes())?;
    let mut frames = Frames::default();
    let mut came = Vec::new();
    let mut part = [0; 4096];
    let mut upgraded = false;
    let mut greetings = 0;
    loop {
        let count = wire.read(&mut part).context("no answer to a handshake")?;
        if count == 0 {
            bail!(
                "the server ended a handshake: {}",
                String::from_utf8_lossy(&came)
            );
        }
        let fresh = if upgraded {
            &part[..count]
        } else {
            came.extend_from_slice(&part[..count]);
            let Some(at) = came.windows(4).position(|four| four == b"\r\n\r\n") else {
                ensure!(came.len() < MAX_HEAD, "the answer has no end");
                continue;
            };
            upgraded = true;
            ensure!(
                came.starts_with(b"HTTP/1.1 101 "),
                "the server does not take a subscriber: {}",
                String::from_utf8_lossy(&came)
            );
            if let Some(hello) = manners.hello.get(topic) {
                wire.write_all(&masked(hello.as_bytes()))?;
            }
            &came[at + 4..]
        };
        greetings += frames.feed(fresh).texts;
        let answered = manners.answer.is_empty() || fresh.ends_with(manners.answer.as_bytes());
        if greetings == manners.greetings && answered {
            return Ok(frames);
        }
    }
}

/// A binary frame of at most 125 bytes under a mask of zeros.
fn masked(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("greetings are short");
    assert!(length <= 125, "greetings are short");
    [&[0x82, 0x80 | length, 0, 0, 0, 0], payload].concat()
}
