//! Peers that misbehave, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(super) struct Peer {
    pub(super) at: SocketAddr,
    seen: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Peer {
    pub(super) fn url(&self) -> String {
        format!("http://{}/secret-path", self.at)
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// Gives the port back.
    pub(super) async fn close(mut self) {
        self.serving.abort();
        assert!((&mut self.serving).await.unwrap_err().is_cancelled());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve<A>(answer: impl Fn(TcpStream) -> A + Send + 'static) -> Peer
where
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(answer(stream));
        }
    });
    Peer { at, seen, serving }
}

/// Takes connections and says nothing.
pub(super) async fn silent() -> Peer {
    serve(|mut stream| async move {
        let mut void = [0; 1024];
        while stream.read(&mut void).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

/// Answers every connection's first request with these bytes and hangs up.
pub(super) async fn answering(answer: String) -> Peer {
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// Begins with `head` and then sends filler for ever, one piece each `pause`.
pub(super) async fn endless(head: &'static str, pause: Duration) -> Peer {
    serve(move |mut stream| async move {
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = [b'x'; 1024];
        loop {
            let size = if pause.is_zero() { piece.len() } else { 1 };
            if stream.write_all(&piece[..size]).await.is_err() {
                return;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    })
    .await
}
