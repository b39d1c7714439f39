//! A subscriber that holds the hub to its promises.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::PATIENCE;

pub(crate) struct Watcher<S = TcpStream> {
    pub(crate) socket: WebSocket<S>,
    pub(crate) roster: BTreeMap<String, Value>,
    pub(crate) version: Option<(u64, u64)>,
    pub(crate) snapshots: usize,
    /// Those of them that say that what came between is not told.
    pub(crate) resets: usize,
    pub(crate) deltas: usize,
    pub(crate) states: Vec<String>,
    pub(crate) operations: Vec<String>,
    /// What pings said the subscriber had been sent.
    pub(crate) pinged: Vec<String>,
}

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Got {
    Roster((u64, u64)),
    Call(String),
    Operation(String),
    Closed(u16),
}

impl Watcher {
    pub(crate) fn new(client: TcpStream) -> Self {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::over(client)
    }

    /// As if it had been connected before and came back with what it has.
    pub(crate) fn resume(&mut self, client: TcpStream) {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        self.socket = WebSocket::from_raw_socket(client, Role::Client, None);
    }
}

impl<S: Read + Write> Watcher<S> {
    pub(crate) fn over(client: S) -> Self {
        Self {
            socket: WebSocket::from_raw_socket(client, Role::Client, None),
            roster: BTreeMap::new(),
            version: None,
            snapshots: 0,
            resets: 0,
            deltas: 0,
            states: Vec::new(),
            operations: Vec::new(),
            pinged: Vec::new(),
        }
    }

    /// The next frame, applied.
    pub(crate) fn next(&mut self) -> Got {
        self.read().unwrap()
    }

    /// The same; nothing when the connection was reset.
    pub(crate) fn try_next(&mut self) -> Option<Got> {
        match self.read() {
            Ok(got) => Some(got),
            Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn read(&mut self) -> Result<Got, Error> {
        loop {
            if let Some(got) = self.take()? {
                return Ok(got);
            }
        }
    }

    /// Takes one message or control frame.
    pub(crate) fn step(&mut self) {
        if let Some(Got::Closed(code)) = self.take().unwrap() {
            panic!("closed with {code}");
        }
    }

    fn take(&mut self) -> Result<Option<Got>, Error> {
        match self.socket.read()? {
            Message::Text(text) => Ok(Some(self.apply(&serde_json::from_str(&text).unwrap()))),
            Message::Close(close) => {
                let code = close.map_or(1005, |close| close.code.into());
                Ok(Some(Got::Closed(code)))
            }
            Message::Ping(sent) => {
                self.pinged.push(String::from_utf8(sent.to_vec()).unwrap());
                Ok(None)
            }
            Message::Pong(_) => Ok(None),
            other => panic!("subscribers get text, not {other:?}"),
        }
    }

    /// Reads until the version is `(epoch, seq)`.
    pub(crate) fn read_to(&mut self, epoch: u64, seq: u64) {
        while self.version != Some((epoch, seq)) {
            if let Got::Closed(code) = self.next() {
                panic!("closed with {code} at {:?}", self.version);
            }
        }
    }

    /// Reads until the close and to the end of the connection.
    pub(crate) fn read_to_close(&mut self) -> u16 {
        let code = loop {
            if let Got::Closed(code) = self.next() {
                break code;
            }
        };
        assert!(matches!(self.socket.read(), Err(Error::ConnectionClosed)));
        code
    }

    fn apply(&mut self, frame: &Value) -> Got {
        let text = |name: &str| frame[name].as_str().unwrap().to_owned();
        let kind = text("type");
        match kind.as_str() {
            "call" => {
                let state = text("state");
                self.states.push(state.clone());
                return Got::Call(state);
            }
            "operation" => {
                let id = text("id");
                self.operations.push(id.clone());
                return Got::Operation(id);
            }
            _ => {}
        }
        let number = |name: &str| frame[name].as_u64().unwrap();
        let (epoch, seq) = (number("epoch"), number("seq"));
        assert!(
            self.version < Some((epoch, seq)),
            "{:?} went back to {:?}",
            self.version,
            (epoch, seq)
        );
        let entries = |name: &str| {
            let entries = frame[name].as_array().unwrap().iter();
            entries.map(|entry| (entry["id"].as_str().unwrap().to_owned(), entry.clone()))
        };
        match kind.as_str() {
            "snapshot" => {
                self.snapshots += 1;
                let reset = frame.get("reset").is_some();
                assert_eq!(reset, self.version.is_some(), "told to whom had something");
                self.resets += usize::from(reset);
                self.roster = entries("participants").collect();
            }
            "delta" => {
                self.deltas += 1;
                assert_eq!(
                    self.version,
                    Some((epoch, seq - 1)),
                    "delta does not follow"
                );
                self.roster.extend(entries("changed"));
                for id in frame["removed"].as_array().unwrap() {
                    assert!(self.roster.remove(id.as_str().unwrap()).is_some());
                }
            }
            other => panic!("unknown frame {other}"),
        }
        assert_eq!(
            frame["hash"],
            hash(&self.roster),
            "another roster at {epoch}:{seq}"
        );
        self.version = Some((epoch, seq));
        Got::Roster((epoch, seq))
    }
}

/// The hash of a roster as the contract has it, worked out from the frames' entries.
fn hash(roster: &BTreeMap<String, Value>) -> String {
    let entries = roster.values().map(text);
    let sum = entries.fold(0_u64, |sum, entry| sum.wrapping_add(fnv(entry.as_bytes())));
    format!("{sum:016x}")
}

/// FNV-1a of 64 bits, written out: the hub has it from a library.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An entry as the frame has it; a parsed one does not keep the order of its members.
fn text(entry: &Value) -> String {
    let (identity, streams) = (&entry["identity"], entry["streams"].as_array().unwrap());
    let streams: Vec<_> = streams.iter().map(stream).collect();
    format!(
        r#"{{"id":{},"identity":{{"kind":{},"id":{},"displayName":{}}},"isMuted":{},"serverMuted":{},"isInLobby":{},"rosterSequenceNumber":{},"streams":[{}]}}"#,
        entry["id"],
        identity["kind"],
        identity["id"],
        identity["displayName"],
        entry["isMuted"],
        entry["serverMuted"],
        entry["isInLobby"],
        entry["rosterSequenceNumber"],
        streams.join(","),
    )
}

fn stream(stream: &Value) -> String {
    format!(
        r#"{{"mediaType":{},"label":{},"sourceId":{},"direction":{},"serverMuted":{}}}"#,
        stream["mediaType"],
        stream["label"],
        stream["sourceId"],
        stream["direction"],
        stream["serverMuted"],
    )
}
