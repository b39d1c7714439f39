use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use openmic_model::ParticipantId;

use super::*;
use crate::rtp::{Header, View};

mod cycles;
mod hostile;
mod meeting;

/// One participant of a test: a UDP socket that sends numbered payloads and reads what comes.
struct Peer {
    socket: UdpSocket,
    service: SocketAddr,
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
}

/// A packet as a receiver got it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    header: Header,
    payload: Vec<u8>,
}

impl Heard {
    /// The number that [`Peer::say`] put into the payload; none for silence.
    fn number(&self) -> Option<u64> {
        let bytes = self.payload.get(..8)?.try_into().ok()?;
        let number = u64::from_be_bytes(bytes);
        (number != u64::MAX).then_some(number)
    }
}

impl Peer {
    fn bind() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // far above what any of the awaited packets needs, so that only a lost one takes it
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).unwrap();
        socket
    }

    /// Joins with a declared address, so that it hears others before it speaks.
    async fn join(media: &Media, meeting: &str, name: &str, ssrc: u32) -> (Self, Leg) {
        let socket = Self::bind();
        let mut spec = spec(name);
        spec.remote = Some(socket.local_addr().unwrap());
        Self::join_as(media, meeting, socket, spec, ssrc).await
    }

    async fn join_as(
        media: &Media,
        meeting: &str,
        socket: UdpSocket,
        spec: JoinSpec,
        ssrc: u32,
    ) -> (Self, Leg) {
        let payload_type = spec.payload_type;
        let joined = media.join(meeting, spec).await.unwrap();
        let peer = Self {
            socket,
            service: joined.local_addr,
            ssrc,
            payload_type,
            sequence: 0,
            timestamp: 0,
        };
        (peer, joined.leg)
    }

    /// One packet of 20 ms whose payload says `number`.
    fn say(&mut self, number: u64) {
        let header = Header {
            marker: false,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let mut packet = header.to_bytes().to_vec();
        packet.extend(number.to_be_bytes());
        packet.resize(12 + 160, 0x55);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        self.socket.send_to(&packet, self.service).unwrap();
    }

    fn hear(&self) -> Heard {
        let mut buffer = [0; 2048];
        let (len, _) = self
            .socket
            .recv_from(&mut buffer)
            .expect("a packet within the patience of the test");
        let view = View::parse(&buffer[..len]).unwrap();
        Heard {
            header: view.header(),
            payload: view.payload().to_vec(),
        }
    }

    /// What has arrived and was not read.
    fn rest(&self) -> Vec<Heard> {
        self.socket.set_nonblocking(true).unwrap();
        let mut heard = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok((len, _)) = self.socket.recv_from(&mut buffer) {
            let view = View::parse(&buffer[..len]).unwrap();
            heard.push(Heard {
                header: view.header(),
                payload: view.payload().to_vec(),
            });
        }
        self.socket.set_nonblocking(false).unwrap();
        heard
    }
}

fn spec(name: &str) -> JoinSpec {
    JoinSpec::new(ParticipantId::parse(name).unwrap(), Codec::Pcmu)
}

/// No limits that a busy machine or a fast sender could meet.
fn patient() -> MediaConfig {
    MediaConfig {
        rate_limit: None,
        fence_limit: Duration::from_secs(30),
        ..MediaConfig::default()
    }
}

/// Waits until the statistics say so; each look is a turn of the media thread.
async fn until(leg: &Leg, what: &str, holds: impl Fn(&LegStats) -> bool) -> LegStats {
    let begun = Instant::now();
    loop {
        let stats = leg.stats().await.unwrap();
        if holds(&stats) {
            return stats;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{what}: {stats:#?}"
        );
        tokio::task::yield_now().await;
    }
}
