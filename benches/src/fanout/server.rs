//! One server under load: how it is started, told to publish, and looked at.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::affinity::Cores;
use super::crowd::Manners;
use super::peers;
use crate::memory::resident_of;
use crate::schedstat;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// One thread that makes a plain non-blocking `write` of ready bytes to one socket after the
    /// other, woken for each publication: the limit.
    Limit,
    /// The same, but all publications that wait go out in one write.
    LimitJoined,
    /// Ours: the whole stack in one process, subscribed to over `GET /v1/calls/{id}/roster`.
    Openmic,
    /// Ours over TLS.
    OpenmicTls,
    /// tokio-tungstenite and `tokio::sync::broadcast`, tuned: text shared, a read buffer of 4 KiB,
    /// one flush for all that waits.
    Tungstenite,
    /// fastwebsockets and `tokio::sync::broadcast`; built apart, see `peers/`.
    FastWebsockets,
    /// Node's `ws`.
    Node,
    /// nats-server's WebSocket listener; publications come over its TCP protocol.
    Nats,
}

impl Contender {
    /// All of them; the first is what the others are compared with.
    pub const ALL: [Self; 8] = [
        Self::Limit,
        Self::LimitJoined,
        Self::Openmic,
        Self::OpenmicTls,
        Self::Tungstenite,
        Self::FastWebsockets,
        Self::Node,
        Self::Nats,
    ];

    /// Its name in tables and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::LimitJoined => "limit-joined",
            Self::Openmic => "openmic",
            Self::OpenmicTls => "openmic-tls",
            Self::Tungstenite => "tungstenite",
            Self::FastWebsockets => "fastwebsockets",
            Self::Node => "node-ws",
            Self::Nats => "nats-server",
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::Openmic | Self::OpenmicTls)
    }

    /// Why it cannot be measured on this machine, and what would help.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::FastWebsockets => peers::missing_fastwebsockets(),
            Self::Node => peers::missing_ws(),
            Self::Nats => peers::missing_nats(),
            _ => None,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a server is started with.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Topics; publications take turns with them.
    pub topics: usize,
    /// A file with the payload of one publication. Of ours it is a delta made by itself, and as
    /// long.
    pub payload: &'a Path,
    /// Length of the payload.
    pub bytes: usize,
}

/// Where subscribers connect, as a server says on its first line of output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Door {
    /// The listener.
    pub address: SocketAddr,
    /// The value of the header, when one is asked for.
    pub authorization: Option<String>,
    /// The certificate of the authority to trust, PEM, where it speaks TLS.
    #[serde(default)]
    pub authority: Option<String>,
    /// The target to ask for, one for each topic.
    pub paths: Vec<String>,
}

/// Processor time by thread.
#[derive(Debug)]
pub struct Usage(BTreeMap<OsString, Duration>);

impl Usage {
    /// Of a process, by its number.
    pub(crate) fn of(process: &str) -> anyhow::Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in schedstat::threads(process)? {
            // one that ended meanwhile has none
            if let Ok(time) = schedstat::of_thread(&thread) {
                threads.insert(thread.into_os_string(), time);
            }
        }
        ensure!(
            threads.values().any(|time| !time.is_zero()),
            "the system does not count processor time"
        );
        Ok(Self(threads))
    }

    /// What was used since then. By thread: one that ended takes its past away from the sum.
    pub fn since(&self, before: &Self) -> Duration {
        let used = |(thread, time): (&OsString, &Duration)| {
            let then = before.0.get(thread).copied().unwrap_or_default();
            time.saturating_sub(then)
        };
        self.0.iter().map(used).sum()
    }
}

/// A running server. It ends with its value, or with this process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    orders: Orders,
    door: Door,
    manners: Manners,
}

#[derive(Debug)]
pub(super) enum Orders {
    /// A byte is a publication.
    Pipe(ChildStdin),
    Nats(peers::Publisher),
}

impl Server {
    /// Starts one and waits until it can be subscribed to.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        contender: Contender,
        setting: &Setting<'_>,
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        cores
            .on_the_servers(|| match contender {
                Contender::Nats => peers::start_nats(setting),
                Contender::Node => Self::spawn(peers::ws(setting), Manners::default()),
                Contender::FastWebsockets => {
                    Self::spawn(peers::fastwebsockets(setting), Manners::default())
                }
                _ => {
                    let mut command = Command::new(std::env::current_exe()?);
                    command
                        .args(["--serve", contender.as_str()])
                        .arg(setting.topics.to_string())
                        .arg(setting.payload)
                        .arg(setting.bytes.to_string());
                    let manners = Manners {
                        // a snapshot
                        greetings: u64::from(contender.is_ours()),
                        ..Manners::default()
                    };
                    Self::spawn(command, manners)
                }
            })
            .with_context(|| format!("{contender} does not start"))
    }

    fn spawn(mut command: Command, manners: Manners) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("its output is piped")?;
        let orders = child.stdin.take().context("its input is piped")?;
        let nowhere = Door {
            address: ([127, 0, 0, 1], 0).into(),
            authorization: None,
            authority: None,
            paths: Vec::new(),
        };
        Self::of(child, Orders::Pipe(orders), nowhere, manners).settle(|door, _| {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
            let said = serde_json::from_str(&line);
            *door =
                said.with_context(|| format!("it should say where it listens, not {line:?}"))?;
            Ok(())
        })
    }

    pub(super) fn of(child: Child, orders: Orders, door: Door, manners: Manners) -> Self {
        Self {
            child,
            orders,
            door,
            manners,
        }
    }

    /// What is only known once it runs; when that fails it is ended.
    pub(super) fn settle(
        mut self,
        look: impl FnOnce(&mut Door, &mut Orders) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        look(&mut self.door, &mut self.orders)?;
        Ok(self)
    }

    /// Where to subscribe.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// What subscribers say and are told.
    pub fn manners(&self) -> &Manners {
        &self.manners
    }

    /// Publishes `count` times, each in the topic whose turn it is.
    ///
    /// # Errors
    /// When it has ended.
    pub fn publish(&mut self, count: usize) -> anyhow::Result<()> {
        match &mut self.orders {
            Orders::Pipe(pipe) => pipe.write_all(&vec![b'.'; count])?,
            Orders::Nats(publisher) => publisher.publish(count)?,
        }
        Ok(())
    }

    /// Processor time of each of its threads so far, the kernel's work for them included.
    ///
    /// # Errors
    /// When it has ended, or the system has no `/proc`.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(&self.child.id().to_string())
    }

    /// Its memory that is in RAM, in bytes; the kernel's for its sockets is not in it.
    ///
    /// # Errors
    /// When it has ended, or the system has no `/proc`.
    pub fn resident(&self) -> anyhow::Result<u64> {
        resident_of(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // all of them are clients of this process only
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("a server of the bench cannot be ended: {error}");
        }
    }
}

/// A connection without delays.
pub(super) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect(address).context("a subscriber cannot connect")?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Usage;

    #[test]
    fn a_thread_that_ended_takes_nothing_away() {
        let usage = |threads: &[(&str, u64)]| {
            let threads = threads.iter();
            Usage(
                threads
                    .map(|(name, millis)| ((*name).into(), Duration::from_millis(*millis)))
                    .collect(),
            )
        };
        let before = usage(&[("1", 100), ("2", 900)]);
        let after = usage(&[("1", 150), ("3", 20)]);
        assert_eq!(after.since(&before), Duration::from_millis(70));
    }
}
