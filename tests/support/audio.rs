//! Audio by hand: numbered packets, so that each is recognised where it is heard.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use openmic_media::rtp::{Header, View};

/// A fresh loopback socket and the SDP offer that names it.
///
/// # Panics
/// When the machine has no UDP port left.
pub fn offer(codec: &str, payload_type: u8) -> (UdpSocket, String) {
    let (socket, port) = even_port();
    let offer = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {payload_type}\r\na=rtpmap:{payload_type} {codec}\r\na=sendrecv\r\n"
    );
    (socket, offer)
}

/// Players take RTP on an even port and RTCP on the one above (RFC 3550 §11).
fn even_port() -> (UdpSocket, u16) {
    loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP port");
        let port = socket
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        if port.is_multiple_of(2) {
            return (socket, port);
        }
    }
}

/// Where the service's answer wants the audio.
///
/// # Panics
/// When the answer is no SDP.
pub fn service_address(answer: &str) -> SocketAddr {
    let port = answer
        .lines()
        .find_map(|line| line.strip_prefix("m=audio "))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("no m=audio line in {answer}"));
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// Sends packets whose payload is their number, 160 bytes of PCMU size.
#[derive(Debug)]
pub struct Voice {
    socket: UdpSocket,
    sent: u32,
}

impl Voice {
    /// Sends from `socket` to `service`.
    ///
    /// # Panics
    /// When the socket cannot be connected.
    pub fn new(socket: UdpSocket, service: SocketAddr) -> Self {
        socket.connect(service).expect("loopback connects");
        Self { socket, sent: 0 }
    }

    /// Sends the next packet and returns its number.
    ///
    /// # Panics
    /// When the service's port is closed.
    pub fn send(&mut self) -> u32 {
        let number = self.sent;
        let header = Header {
            marker: number == 0,
            payload_type: 0,
            sequence: u16::try_from((number + 65_000) % 65_536).expect("below 65536"),
            timestamp: number.wrapping_mul(160),
            ssrc: 0x0b07,
        };
        let mut packet = header.to_bytes().to_vec();
        packet.extend_from_slice(&number.to_be_bytes());
        packet.resize(12 + 160, 0x55);
        self.socket.send(&packet).expect("the service listens");
        self.sent += 1;
        number
    }
}

/// One packet as it was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The number in its payload; `None` for silence of the service's own.
    pub number: Option<u32>,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP marker.
    pub marker: bool,
}

/// Listens on a thread of its own and remembers everything.
#[derive(Debug)]
pub struct Ear {
    heard: Arc<(Mutex<Heard>, Condvar)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    packets: Vec<Packet>,
    numbers: BTreeSet<u32>,
}

impl Ear {
    /// Listens on `socket`.
    ///
    /// # Panics
    /// When the socket or a thread cannot be had.
    pub fn open(socket: UdpSocket) -> Self {
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout can be set");
        let heard: Arc<(Mutex<Heard>, Condvar)> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (memory, until) = (Arc::clone(&heard), Arc::clone(&stop));
        let listen = move || {
            let mut bytes = [0; 2048];
            while !until.load(Ordering::Acquire) {
                let Ok(length) = socket.recv(&mut bytes) else {
                    continue;
                };
                let Ok(view) = View::parse(&bytes[..length]) else {
                    continue;
                };
                let payload = view.payload();
                let ours = payload.len() == 160 && payload[4..].iter().all(|byte| *byte == 0x55);
                let number = if ours {
                    payload.first_chunk().copied()
                } else {
                    None
                };
                let number = number.map(u32::from_be_bytes);
                let header = view.header();
                let mut heard = memory.0.lock().unwrap_or_else(PoisonError::into_inner);
                heard.numbers.extend(number);
                heard.packets.push(Packet {
                    number,
                    sequence: header.sequence,
                    marker: header.marker,
                });
                memory.1.notify_all();
            }
        };
        let thread = std::thread::Builder::new().spawn(listen).expect("a thread");
        Self {
            heard,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits until packet `number` was heard; false after `within`.
    pub fn hears(&self, number: u32, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !heard.numbers.contains(&number) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.heard.1.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Everything heard so far, in order.
    pub fn packets(&self) -> Vec<Packet> {
        self.heard
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .packets
            .clone()
    }

    /// The numbers heard so far.
    pub fn numbers(&self) -> BTreeSet<u32> {
        self.heard
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .numbers
            .clone()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("an ear panicked");
        }
    }
}
