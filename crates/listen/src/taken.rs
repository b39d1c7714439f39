use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::guarded::Guarded;

/// The socket of a connection that was upgraded: from the 101 on it belongs to whoever took it.
#[derive(Debug)]
pub struct Taken {
    /// Non-blocking, as tokio has it.
    pub socket: TcpStream,
    /// Its TLS; holds what came and was not read, and what is to be sent.
    pub tls: Option<Box<rustls::ServerConnection>>,
    /// What the client sent after its request, in clear.
    pub leftover: Bytes,
}

impl Taken {
    /// Takes hyper's upgrade apart, of a connection of this crate or of `axum::serve`.
    ///
    /// # Errors
    /// The upgrade as it came, when it is of another server.
    pub fn from_upgrade(upgraded: Upgraded) -> Result<Self, Upgraded> {
        let upgraded = match upgraded.downcast::<TokioIo<Guarded<TcpStream>>>() {
            Ok(parts) => {
                let socket = parts.io.into_inner().into_inner();
                return Ok(Self::plain(socket, parts.read_buf));
            }
            Err(upgraded) => upgraded,
        };
        let upgraded = match upgraded.downcast::<TokioIo<Guarded<TlsStream<TcpStream>>>>() {
            Ok(parts) => {
                let (socket, tls) = parts.io.into_inner().into_inner().into_inner();
                return Ok(Self {
                    socket,
                    tls: Some(Box::new(tls)),
                    leftover: parts.read_buf,
                });
            }
            Err(upgraded) => upgraded,
        };
        // `axum::serve` wraps the socket once more.
        hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded)
            .map(|parts| Self::plain(parts.io.into_inner(), parts.read_buf))
    }

    fn plain(socket: TcpStream, leftover: Bytes) -> Self {
        Self {
            socket,
            tls: None,
            leftover,
        }
    }
}
