use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::{CALLS, Cost, Door, Takes};
use crate::fanout::{Cores, Usage};

/// Numbers begin here, so that all bodies are of one length.
const FIRST: u64 = 1_000_000;
/// What takes this long is lost.
const PATIENCE: Duration = Duration::from_secs(10);
const DELTA: &[u8] = br#""type":"delta""#;
/// An empty pong under a mask of zeros (RFC 6455, 5.5.3): whoever is silent is sent off.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// A process that takes notifications, the connections to it, and its subscribers.
#[derive(Debug)]
pub struct Sender {
    taker: Child,
    calls: Vec<String>,
    connections: Vec<TcpStream>,
    /// As many of each call, call by call.
    subscribers: Vec<Subscriber>,
    sent: u64,
}

#[derive(Debug)]
struct Subscriber {
    socket: TcpStream,
    unread: Vec<u8>,
    deltas: u64,
}

/// What so many notifications took.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// Of the taker's processor time, each.
    pub cost: Cost,
}

impl Sender {
    /// Starts a taker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        who: Takes,
        key: &str,
        subscribers: usize,
        role: &str,
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        let mut taker = cores.on_the_servers(|| {
            let mut command = Command::new(std::env::current_exe()?);
            command.args([role, who.as_str(), key, &subscribers.to_string()]);
            Ok(command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?)
        })?;
        let mut line = String::new();
        let out = taker.stdout.take().context("its output is piped")?;
        BufReader::new(out).read_line(&mut line)?;
        let door: Door = serde_json::from_str(&line)
            .with_context(|| format!("it should say where it listens, not {line:?}"))?;
        let calls = match who {
            Takes::Bare => vec!["00000000-0000-4000-8000-000000000000".to_owned(); CALLS],
            Takes::Openmic => door.calls,
        };
        let connect = || {
            let socket = TcpStream::connect(door.webhook)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            anyhow::Ok(socket)
        };
        let connections = (0..CALLS).map(|_| connect()).collect::<Result<_, _>>()?;
        let subscribe = |_| {
            let socket = TcpStream::connect(door.seats)?;
            socket.set_nonblocking(true)?;
            anyhow::Ok(Subscriber {
                socket,
                unread: Vec::new(),
                deltas: 0,
            })
        };
        let watching = subscribers * door_calls(who);
        let subscribers = (0..watching).map(subscribe).collect::<Result<_, _>>()?;
        let sender = Self {
            taker,
            calls,
            connections,
            subscribers,
            sent: 0,
        };
        sender.settled()?;
        Ok(sender)
    }

    /// Sends a notification on each connection for each of `tokens`, which are used in turn, and
    /// waits until everything they led to is done.
    ///
    /// # Errors
    /// When one is not taken, or a subscriber is not told.
    pub fn send(&mut self, tokens: &[String], count: usize) -> anyhow::Result<Burst> {
        ensure!(!tokens.is_empty(), "a token");
        for subscriber in &mut self.subscribers {
            subscriber.socket.write_all(&PONG)?;
            subscriber.read()?;
            subscriber.deltas = 0;
        }
        let before = self.settled()?;
        let rounds = count.div_ceil(CALLS);
        let mut tokens = tokens.iter().cycle();
        for _ in 0..rounds {
            self.sent += 1;
            for (connection, call) in self.connections.iter_mut().zip(&self.calls) {
                let token = tokens.next().expect("they go round");
                connection.write_all(&post(call, self.sent, token))?;
            }
            for connection in &mut self.connections {
                accepted(connection)?;
            }
            for subscriber in &mut self.subscribers {
                subscriber.read()?;
            }
        }
        let begun = Instant::now();
        while self
            .subscribers
            .iter()
            .any(|subscriber| subscriber.deltas < rounds as u64)
        {
            ensure!(begun.elapsed() < PATIENCE, "subscribers are not told");
            for subscriber in &mut self.subscribers {
                subscriber.read()?;
            }
        }
        let took = self.settled()?.since(&before);
        let each = took / u32::try_from(rounds * CALLS)?;
        Ok(Burst { cost: Cost(each) })
    }

    /// Processor time so far, once it has nothing to do any more.
    fn settled(&self) -> anyhow::Result<Usage> {
        const NOTHING: Duration = Duration::from_micros(200);
        let process = self.taker.id().to_string();
        let begun = Instant::now();
        let mut before = Usage::of(&process)?;
        loop {
            thread::sleep(Duration::from_millis(20));
            let now = Usage::of(&process)?;
            if now.since(&before) < NOTHING {
                return Ok(now);
            }
            ensure!(begun.elapsed() < PATIENCE, "the taker never rests");
            before = now;
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop(self.taker.stdin.take());
        if let Err(error) = self.taker.wait() {
            eprintln!("a taker of the bench cannot be ended: {error}");
        }
    }
}

impl Subscriber {
    /// Reads what there is and counts the deltas in it.
    fn read(&mut self) -> anyhow::Result<()> {
        let mut scratch = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut scratch) {
                Ok(0) => bail!("a subscriber was sent off"),
                Ok(count) => self.unread.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        while let Some(frame) = whole(&self.unread) {
            let is_delta = self.unread[..frame]
                .windows(DELTA.len())
                .any(|part| part == DELTA);
            self.deltas += u64::from(is_delta);
            self.unread.drain(..frame);
        }
        Ok(())
    }
}

/// Length of the first frame once all of it is there; none is longer than 64 KiB.
fn whole(bytes: &[u8]) -> Option<usize> {
    let length = match (bytes.get(1)?, bytes.get(2..4)) {
        (126, Some(long)) => 4 + usize::from(u16::from_be_bytes([long[0], long[1]])),
        (short @ 0..126, _) => 2 + usize::from(*short),
        _ => return None,
    };
    (bytes.len() >= length).then_some(length)
}

fn door_calls(who: Takes) -> usize {
    match who {
        Takes::Bare => 0,
        Takes::Openmic => CALLS,
    }
}

/// The organizer of the call is muted, or unmuted: a delta of the roster, as Graph POSTs it.
pub(super) fn body(call: &str, number: u64) -> String {
    let muted = number.is_multiple_of(2);
    // all of one length
    let muted = if muted { "true " } else { "false" };
    let (sequence, entry) = (number + 1, FIRST + number);
    format!(
        "{{\"@odata.type\":\"#microsoft.graph.commsNotifications\",\"value\":[{{\
         \"@odata.type\":\"#microsoft.graph.commsNotification\",\"changeType\":\"updated\",\
         \"resource\":\"/app/calls/{call}/participants\",\
         \"resourceUrl\":\"/communications/calls/{call}/participants\",\"resourceData\":[{{\
         \"@odata.type\":\"#microsoft.graph.deltaParticipants\",\"sequenceNumber\":{sequence:>8},\
         \"participants\":[{{\"@odata.type\":\"#microsoft.graph.participant\",\"id\":\"1{part}\",\
         \"isMuted\":{muted},\"isInLobby\":false,\"rosterSequenceNumber\":{entry},\
         \"info\":{{\"identity\":{{\"user\":{{\"id\":\"5{part}\",\"displayName\":\"Adele Vance\",\
         \"tenantId\":\"{tenant}\"}}}}}},\"mediaStreams\":[{{\"mediaType\":\"audio\",\
         \"label\":\"main-audio\",\"sourceId\":\"1\",\"direction\":\"sendReceive\",\
         \"serverMuted\":false}}]}}]}}]}}]}}",
        part = &call[1..],
        tenant = super::TENANT,
    )
}

fn post(call: &str, number: u64, token: &str) -> Vec<u8> {
    let (key, body) = (call.replace('-', ""), body(call, number));
    format!(
        "POST /callbacks/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads one answer, which has no body.
fn accepted(connection: &mut TcpStream) -> anyhow::Result<()> {
    let mut answer = Vec::new();
    let mut scratch = [0; 1024];
    while !answer.ends_with(b"\r\n\r\n") {
        let count = connection.read(&mut scratch)?;
        ensure!(count > 0, "a connection was closed");
        answer.extend_from_slice(&scratch[..count]);
    }
    let text = String::from_utf8_lossy(&answer);
    ensure!(text.starts_with("HTTP/1.1 202 "), "answered {text}");
    Ok(())
}
