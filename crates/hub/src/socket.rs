use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;

use mio::net::TcpStream;
use rustls::ServerConnection;

/// Most plain bytes that are encrypted before the socket has taken those before: one TLS record.
const RECORD: usize = 16 * 1024;

/// A subscriber's socket, in clear or with its TLS. Only its connection reads and writes it.
pub(crate) struct Socket {
    pub(crate) tcp: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// Bytes that were taken and must not be written again.
    pub(crate) count: usize,
    /// The socket takes no more for now; of TLS a part of what was taken may still be here.
    pub(crate) full: bool,
    /// The kernel took something.
    pub(crate) moved: bool,
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, tls: Option<Box<ServerConnection>>) -> Self {
        Self { tcp, tls }
    }

    /// Whether what came may be here already, where no readiness of the socket tells of it.
    pub(crate) fn may_hold_input(&self) -> bool {
        self.tls.is_some()
    }

    /// Writes until all is gone or the socket is full. With nothing to write it sends what TLS has
    /// on its own: tickets, alerts, the rest of a record.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Wrote> {
        match &mut self.tls {
            None => write_plain(&self.tcp, bytes),
            Some(tls) => write_tls(tls, &self.tcp, bytes),
        }
    }

    /// Reads what came; 0 at its end.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return (&self.tcp).read(into);
        };
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            // An end without TLS's own is one all the same: `reader` then says so.
            tls.read_tls(&mut &self.tcp)?;
            tls.process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Ends the sending half.
    pub(crate) fn shut_down(&mut self) -> io::Result<()> {
        self.say_goodbye();
        self.tcp.shutdown(Shutdown::Write)
    }

    /// TLS ends with an alert of its own, or its end may be an attacker's (RFC 8446, 6.1). A socket
    /// that does not take it now is gone anyway.
    fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            while tls.wants_write() && tls.write_tls(&mut &self.tcp).is_ok_and(|count| count > 0) {}
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

fn write_plain(mut tcp: &TcpStream, bytes: &[u8]) -> io::Result<Wrote> {
    let mut count = 0;
    while count < bytes.len() {
        match tcp.write(&bytes[count..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Wrote {
        count,
        full: count < bytes.len(),
        moved: count > 0,
    })
}

/// Record by record: what waits for a slow subscriber is never more than one.
fn write_tls(tls: &mut ServerConnection, mut tcp: &TcpStream, bytes: &[u8]) -> io::Result<Wrote> {
    let mut wrote = Wrote {
        count: 0,
        full: false,
        moved: false,
    };
    loop {
        while tls.wants_write() {
            match tls.write_tls(&mut tcp) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => wrote.moved = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wrote.full = true;
                    return Ok(wrote);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let left = &bytes[wrote.count..];
        if left.is_empty() {
            return Ok(wrote);
        }
        match tls.writer().write(&left[..left.len().min(RECORD)])? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            taken => wrote.count += taken,
        }
    }
}
