//! Plain RTP over UDP: one pair of ports per participant, symmetric, latched.
//!
//! Once the participant's address is known the socket is connected to it, so that the kernel drops
//! what others send. Until then nothing is sent to anybody.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::net::UdpSocket;

use crate::handle::JoinError;

/// Larger datagrams are no audio: what fits Ethernet's 1500 bytes without IPv4's and UDP's headers.
pub(crate) const MAX_DATAGRAM: usize = 1472;

/// How often another free pair is asked for when ports are the system's choice.
const ANY_PORT_TRIES: usize = 64;

/// Hands out pairs of ports: RTP even, RTCP one above (RFC 3550 §11).
#[derive(Debug)]
pub(crate) struct PortPlan {
    bind: IpAddr,
    range: Option<RangeInclusive<u16>>,
    /// Goes round, so that a port is not given to somebody else at once after it was freed.
    cursor: AtomicUsize,
}

/// Sockets for a new participant.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) transport: Plain,
    pub(crate) local_addr: SocketAddr,
    pub(crate) split_addrs: Vec<SocketAddr>,
}

impl PortPlan {
    pub(crate) fn new(bind: IpAddr, range: Option<RangeInclusive<u16>>) -> Self {
        Self {
            bind,
            range,
            cursor: AtomicUsize::new(0),
        }
    }

    /// Binds a pair, and one more port per slot, which is connected to that slot's address.
    pub(crate) fn open(
        &self,
        remote: Option<SocketAddr>,
        slots: &[SocketAddr],
    ) -> Result<Opened, JoinError> {
        let (rtp, rtcp, local_addr) = self.pair()?;
        let mut transport = Plain {
            rtp,
            rtcp,
            slots: Vec::with_capacity(slots.len()),
            peer: Peer::Unknown,
        };
        if let Some(remote) = remote {
            let unroutable = |source| JoinError::Unroutable {
                remote,
                bind: local_addr.ip(),
                source,
            };
            transport.rtp.connect(remote).map_err(unroutable)?;
            transport.peer = Peer::Connected(remote);
        }
        let mut split_addrs = Vec::with_capacity(slots.len());
        for to in slots {
            let (socket, _, addr) = self.pair()?;
            socket
                .connect(*to)
                .map_err(|source| JoinError::Unroutable {
                    remote: *to,
                    bind: addr.ip(),
                    source,
                })?;
            transport.slots.push(socket);
            split_addrs.push(addr);
        }
        Ok(Opened {
            transport,
            local_addr,
            split_addrs,
        })
    }

    fn pair(&self) -> Result<(UdpSocket, UdpSocket, SocketAddr), JoinError> {
        let Some(range) = &self.range else {
            return self.any_pair();
        };
        let no_port = || JoinError::NoPort {
            range: range.clone(),
        };
        let first = usize::from(*range.start()).next_multiple_of(2);
        let pairs = (usize::from(*range.end()) + 1).saturating_sub(first) / 2;
        if pairs == 0 {
            return Err(no_port());
        }
        for _ in 0..pairs {
            let nth = self.cursor.fetch_add(1, Ordering::Relaxed) % pairs;
            let port = u16::try_from(first + 2 * nth).expect("inside a range of u16");
            if let Some(found) = self.try_pair(port)? {
                return Ok(found);
            }
        }
        Err(no_port())
    }

    /// Asks the system for a port, then takes the pair around it: a port that the system chose
    /// itself would be lost when the socket is disconnected again.
    fn any_pair(&self) -> Result<(UdpSocket, UdpSocket, SocketAddr), JoinError> {
        let any = SocketAddr::new(self.bind, 0);
        let refused = |source| JoinError::Socket { addr: any, source };
        for _ in 0..ANY_PORT_TRIES {
            let port = UdpSocket::bind(any)
                .and_then(|probe| probe.local_addr())
                .map_err(refused)?
                .port();
            if let Some(found) = self.try_pair(port & !1)? {
                return Ok(found);
            }
        }
        Err(refused(ErrorKind::AddrInUse.into()))
    }

    fn try_pair(&self, port: u16) -> Result<Option<(UdpSocket, UdpSocket, SocketAddr)>, JoinError> {
        let bind = |port| {
            let addr = SocketAddr::new(self.bind, port);
            match UdpSocket::bind(addr) {
                Ok(socket) => Ok(Some(socket)),
                Err(e) if e.kind() == ErrorKind::AddrInUse => Ok(None),
                Err(source) => Err(JoinError::Socket { addr, source }),
            }
        };
        let Some(rtp) = bind(port)? else {
            return Ok(None);
        };
        let Some(rtcp) = bind(port + 1)? else {
            return Ok(None);
        };
        Ok(Some((rtp, rtcp, SocketAddr::new(self.bind, port))))
    }
}

/// Whom the main socket speaks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Nobody yet.
    Unknown,
    /// Only with this address; the kernel sees to it.
    Connected(SocketAddr),
    /// Still with this address, but it has been silent, so its SSRC may come from another.
    Loose(SocketAddr),
}

/// One participant's sockets.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    slots: Vec<UdpSocket>,
    peer: Peer,
}

impl Plain {
    /// Where packets come from and go to.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self.peer {
            Peer::Unknown => None,
            Peer::Connected(addr) | Peer::Loose(addr) => Some(addr),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.peer, Peer::Connected(_))
    }

    /// From now on only with `addr`.
    pub(crate) fn latch(&mut self, addr: SocketAddr) {
        self.peer = match self.rtp.connect(addr) {
            Ok(()) => Peer::Connected(addr),
            Err(error) => {
                tracing::debug!(%error, "cannot connect a media socket, filtering by hand");
                Peer::Loose(addr)
            }
        };
    }

    /// Lets packets of other addresses in again; goes on sending to the one it had.
    pub(crate) fn loosen(&mut self) {
        let Peer::Connected(addr) = self.peer else {
            return;
        };
        match rustix::net::connect_unspec(&self.rtp) {
            Ok(()) => self.peer = Peer::Loose(addr),
            Err(error) => tracing::debug!(%error, "cannot disconnect a media socket"),
        }
    }

    /// Sends to the participant, on the socket of `slot` if there is one. `None` when no address is
    /// known. What the kernel does not take is lost, as everything late in RTP.
    pub(crate) fn send(&self, slot: Option<usize>, packet: &[u8]) -> Option<io::Result<usize>> {
        let Some(slot) = slot else {
            return match self.peer {
                Peer::Unknown => None,
                Peer::Connected(_) => Some(again(|| self.rtp.send(packet))),
                Peer::Loose(addr) => Some(self.rtp.send_to(packet, addr)),
            };
        };
        let socket = self.slots.get(slot)?;
        Some(again(|| socket.send(packet)))
    }
}

/// A connected socket first reports that an *earlier* datagram found nobody; this one has not been
/// sent then.
fn again(send: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
    match send() {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => send(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
