//! Rooms with one speaker, to be forwarded to everybody else by the real media thread, by a bare
//! loop of `recv` and connected `send`, or by Janus.
//!
//! The forwarding thread is on a processor of its own; speaker and listeners are one thread on the
//! others, which never sleeps while it measures, so that no wake-up of theirs is billed to a send.

mod janus;

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use openmic_media::rtp::{HEADER_LEN, Header};
use openmic_media::{Codec, JoinSpec, Leg, Media, MediaConfig, Receive};
use openmic_model::ParticipantId;

use crate::fanout::Cores;
use crate::schedstat::{of_thread, threads};
use janus::{FIRST_STREAM, Janus};

/// A packet of 20 ms of speech, as long as performance comparisons have them.
const PACKET: usize = 200;
/// A packet that takes this long is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// So often the bare loop looks whether it is over.
const GLANCE: Duration = Duration::from_millis(100);

/// Who forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A thread that blocks in `recv` and then makes one `send` on a connected socket for each
    /// listener, and does nothing else: no look at the packet, no header of its own, no counter.
    Bare,
    /// The same, with a poll that waits for what may arrive at the sockets it sends from. The kernel
    /// calls that for each packet that has left, too.
    Listening,
    /// `openmic-media`: its thread, its gate, every listener a participant.
    Openmic,
    /// Janus: a remote publisher of its video room, every listener a target of `rtp_forward`. Of its
    /// process only the thread that forwards is counted.
    Janus,
}

impl Way {
    /// Why it cannot be measured on this machine, and what would help.
    pub fn missing(self, cores: &Cores) -> Option<String> {
        match self {
            Self::Bare | Self::Listening | Self::Openmic => None,
            Self::Janus => janus::missing(cores),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bare => "bare",
            Self::Listening => "listening",
            Self::Openmic => "openmic",
            Self::Janus => "janus",
        })
    }
}

/// One speaker, its listeners and whoever forwards between them.
#[derive(Debug)]
pub struct Room {
    speaker: UdpSocket,
    listeners: Vec<UdpSocket>,
    /// Packets each listener has got.
    got: Vec<u64>,
    spoken: u64,
    /// Nobody is to hear the speaker.
    muted: bool,
    forwarder: Forwarder,
    /// What the media thread counts.
    metrics: prometheus::Registry,
    /// The forwarding thread's folder in `/proc`.
    clock: PathBuf,
}

/// What a stretch of talk took.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// Packets that were handed to listeners, or dropped where the speaker is muted.
    pub packets: u64,
    /// Processor time of the forwarding thread, the kernel's work for it included.
    pub processor: Duration,
}

#[derive(Debug)]
enum Forwarder {
    Bare {
        over: Arc<AtomicBool>,
        dropped: Arc<AtomicU64>,
        /// Waits for what arrives at the sockets it sends from.
        _poll: Option<mio::Poll>,
        thread: Option<JoinHandle<()>>,
    },
    Openmic {
        media: Media,
        /// Who drops them leaves.
        _legs: Vec<Leg>,
    },
    Janus(Janus),
}

impl Room {
    /// Opens one with so many listeners, its speaker unmuted.
    ///
    /// # Errors
    /// When a socket, a thread or a place in the meeting is not to be had.
    pub fn open(way: Way, listeners: usize, cores: &Cores) -> anyhow::Result<Self> {
        Self::with(way, listeners, false, cores)
    }

    /// Opens one whose speaker is muted. The bare loop then only reads.
    ///
    /// # Errors
    /// As [`Room::open`], and with Janus: it does not tell what it has dropped.
    pub fn open_muted(way: Way, listeners: usize, cores: &Cores) -> anyhow::Result<Self> {
        Self::with(way, listeners, true, cores)
    }

    fn with(way: Way, listeners: usize, muted: bool, cores: &Cores) -> anyhow::Result<Self> {
        let speaker = socket()?;
        let listeners: Vec<_> = (0..listeners)
            .map(|_| socket())
            .collect::<io::Result<_>>()?;
        let metrics = prometheus::Registry::new();
        let before = threads("self")?;
        let (forwarder, door) = cores.on_the_servers(|| match way {
            Way::Bare | Way::Listening => {
                let listeners = if muted { &[][..] } else { &listeners };
                bare(&speaker, listeners, way == Way::Listening)
            }
            Way::Openmic => openmic(&speaker, &listeners, muted, &metrics),
            Way::Janus => {
                ensure!(!muted, "janus does not tell what it has dropped");
                let janus = Janus::start(&listeners)?;
                let door = janus.door();
                Ok((Forwarder::Janus(janus), door))
            }
        })?;
        speaker.connect(door)?;
        let clock = if let Forwarder::Janus(janus) = &forwarder {
            janus.thread()?
        } else {
            let mut new = threads("self")?;
            new.retain(|thread| !before.contains(thread));
            let [thread] = &new[..] else {
                anyhow::bail!("{} threads forward, not one", new.len());
            };
            thread.clone()
        };
        let got = vec![0; listeners.len()];
        Ok(Self {
            speaker,
            listeners,
            got,
            spoken: 0,
            muted,
            forwarder,
            metrics,
            clock,
        })
    }

    /// Speaks for so long, with at most so many packets under way, until all have been heard,
    /// or dropped where the speaker is muted.
    ///
    /// # Errors
    /// When a packet is lost or is not what was to be heard.
    pub fn talk(&mut self, lasts: Duration, under_way: u64) -> anyhow::Result<Talk> {
        let (begun, before, spoken) = (Instant::now(), of_thread(&self.clock)?, self.spoken);
        let mut moved = begun;
        loop {
            let over = begun.elapsed() >= lasts;
            let heard = self.done()?;
            if over && heard == self.spoken {
                break;
            }
            if over || self.spoken - heard >= under_way {
                ensure!(
                    moved.elapsed() < PATIENCE,
                    "{} packets are lost",
                    self.spoken - heard
                );
                continue;
            }
            while self.spoken - heard < under_way {
                self.speaker.send(&packet(self.spoken))?;
                self.spoken += 1;
            }
            moved = Instant::now();
        }
        let processor = of_thread(&self.clock)?.saturating_sub(before);
        ensure!(
            !processor.is_zero(),
            "the system does not count processor time"
        );
        let each = if self.muted {
            self.hear()?;
            let unheard = self.got.iter().all(|got| *got == 0);
            ensure!(unheard, "a muted speaker is heard");
            1
        } else {
            self.listeners.len() as u64
        };
        Ok(Talk {
            packets: (self.spoken - spoken) * each,
            processor,
        })
    }

    /// Speaks one packet until all have heard it.
    ///
    /// # Errors
    /// As [`Room::talk`].
    pub(crate) fn say_once(&mut self) -> anyhow::Result<()> {
        self.speaker.send(&packet(self.spoken))?;
        self.spoken += 1;
        let said = Instant::now();
        while self.hear()? < self.spoken {
            ensure!(said.elapsed() < PATIENCE, "a packet is lost");
            thread::yield_now();
        }
        Ok(())
    }

    /// What the media thread counts.
    pub(crate) fn metrics(&self) -> &prometheus::Registry {
        &self.metrics
    }

    /// Of how many packets became what is to become of them.
    fn done(&mut self) -> anyhow::Result<u64> {
        if !self.muted {
            return self.hear();
        }
        Ok(match &self.forwarder {
            Forwarder::Bare { dropped, .. } => dropped.load(Ordering::Acquire),
            Forwarder::Openmic { .. } => gated(&self.metrics),
            Forwarder::Janus(_) => 0,
        })
    }

    /// Reads what is there; how many packets all of them have got.
    fn hear(&mut self) -> anyhow::Result<u64> {
        let mut buffer = [0; PACKET + 1];
        for (listener, got) in self.listeners.iter().zip(&mut self.got) {
            loop {
                match listener.recv(&mut buffer) {
                    Ok(length) => {
                        ensure!(length == PACKET, "a packet of {length} bytes");
                        *got += 1;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("a listener cannot hear"),
                }
            }
        }
        Ok(self.got.iter().copied().min().unwrap_or_default())
    }

    /// Payloads that left through a closed gate.
    pub fn leaked(&self) -> u64 {
        match &self.forwarder {
            Forwarder::Bare { .. } | Forwarder::Janus(_) => 0,
            Forwarder::Openmic { media, .. } => media.metrics().leaked(),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        match &mut self.forwarder {
            Forwarder::Bare { over, thread, .. } => {
                over.store(true, Ordering::Release);
                if thread.take().is_some_and(|thread| thread.join().is_err()) {
                    eprintln!("the bare loop ended by a panic");
                }
            }
            Forwarder::Openmic { media, .. } => media.shutdown(),
            Forwarder::Janus(_) => {} // ends by itself
        }
    }
}

/// Where the speaker is to send.
fn bare(
    speaker: &UdpSocket,
    listeners: &[UdpSocket],
    listening: bool,
) -> anyhow::Result<(Forwarder, SocketAddr)> {
    let arriving = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    arriving.connect(speaker.local_addr()?)?;
    arriving.set_read_timeout(Some(GLANCE))?;
    let door = arriving.local_addr()?;
    let leaving: Vec<UdpSocket> = listeners
        .iter()
        .map(|listener| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(listener.local_addr()?)?;
            Ok(socket)
        })
        .collect::<io::Result<_>>()?;
    let poll = listening.then(|| wait_for(&leaving)).transpose()?;
    let over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&over);
    let dropped = Arc::new(AtomicU64::new(0));
    let drops = Arc::clone(&dropped);
    let forward = move || {
        let mut buffer = [0; 1536];
        while !until.load(Ordering::Acquire) {
            let Ok(length) = arriving.recv(&mut buffer) else {
                continue; // nothing came for a while
            };
            for socket in &leaving {
                if let Err(error) = socket.send(&buffer[..length]) {
                    eprintln!("the bare loop cannot send: {error}");
                }
            }
            if leaving.is_empty() {
                drops.fetch_add(1, Ordering::Release);
            }
        }
    };
    let thread = Some(
        thread::Builder::new()
            .name("bare".to_owned())
            .spawn(forward)?,
    );
    let bare = Forwarder::Bare {
        over,
        dropped,
        _poll: poll,
        thread,
    };
    Ok((bare, door))
}

fn wait_for(sockets: &[UdpSocket]) -> io::Result<mio::Poll> {
    let poll = mio::Poll::new()?;
    for (number, socket) in sockets.iter().enumerate() {
        // what is registered is the socket, not this handle of it
        let mut socket = mio::net::UdpSocket::from_std(socket.try_clone()?);
        let token = mio::Token(number);
        poll.registry()
            .register(&mut socket, token, mio::Interest::READABLE)?;
    }
    Ok(poll)
}

fn openmic(
    speaker: &UdpSocket,
    listeners: &[UdpSocket],
    muted: bool,
    metrics: &prometheus::Registry,
) -> anyhow::Result<(Forwarder, SocketAddr)> {
    let media = Media::start(MediaConfig {
        // this speaker is faster than anybody can speak
        rate_limit: None,
        // and a muted one is not heard at all
        silence_tail: 0,
        mute_keepalive: 0,
        ..MediaConfig::default()
    })?;
    media.metrics().register(metrics)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let join = |name: String, at: &UdpSocket, speaks: bool| {
        let mut spec = JoinSpec::new(ParticipantId::parse(&name)?, Codec::Pcmu);
        spec.remote = Some(at.local_addr()?);
        spec.starts_open = speaks && !muted;
        spec.receive = if speaks {
            Receive::None
        } else {
            Receive::Multi
        };
        anyhow::Ok(runtime.block_on(media.join("19:meeting_bench@thread.v2", spec))?)
    };
    let joined = join("speaker".to_owned(), speaker, true)?;
    let door = joined.local_addr;
    let mut legs = vec![joined.leg];
    for (number, listener) in listeners.iter().enumerate() {
        legs.push(join(format!("listener-{number}"), listener, false)?.leg);
    }
    Ok((Forwarder::Openmic { media, _legs: legs }, door))
}

/// How many packets the media thread has dropped because their speaker was muted.
fn gated(metrics: &prometheus::Registry) -> u64 {
    let families = metrics.gather();
    let packets = families
        .iter()
        .find(|family| family.name() == "openmic_rtp_packets_total");
    let gated = packets.and_then(|packets| {
        packets.get_metric().iter().find(|metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|label| label.name() == "gate" && label.value() == "muted")
        })
    });
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    gated.map_or(0, |gated| gated.get_counter().get_value() as u64)
}

fn packet(number: u64) -> [u8; PACKET] {
    let header = Header {
        marker: number == 0,
        payload_type: 0,
        sequence: u16::try_from(number & 0xffff).expect("16 bits"),
        timestamp: u32::try_from((160 * number) & 0xffff_ffff).expect("32 bits"),
        ssrc: FIRST_STREAM,
    };
    let mut packet = [0x55; PACKET];
    packet[..HEADER_LEN].copy_from_slice(&header.to_bytes());
    packet
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
