//! Plain HTTP on a port that speaks TLS.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ANSWER: &str = "This port speaks TLS. Use https:// in the place of http://.\n";

/// Most of a request that is read before the connection closes, so that no reset overtakes the
/// answer.
const MAX_DISCARDED: u64 = 64 * 1024;

/// The first byte that came, left where it is; `None` when the client is gone.
pub(crate) async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut first = [0];
    let count = stream.peek(&mut first).await?;
    Ok((count == 1).then_some(first[0]))
}

/// Whether it is of a method's name. A TLS record begins with its kind, 22.
pub(crate) fn is_http(first: u8) -> bool {
    first.is_ascii_alphabetic()
}

/// Says so, in a way that the client can read.
pub(crate) async fn turn_away(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
         content-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let said = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_DISCARDED), &mut tokio::io::sink()).await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a client of plain http left before its answer");
    }
}
