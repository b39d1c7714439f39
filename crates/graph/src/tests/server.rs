//! A small HTTP server on loopback that answers by a script and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// What to do with one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Answer.
    Http {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Answer after a notification.
    Held(Arc<Notify>, Box<Reply>),
    /// Close without an answer, with a reset.
    Reset,
    /// Answer 200 and close in the middle of the body.
    Cut,
    /// Never answer.
    Hang,
}

impl Reply {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Self::Http {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }

    /// Graph's error envelope.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
        Self::new(status, &body)
    }

    /// A grant of the token endpoint.
    pub(crate) fn grant(token: &str) -> Self {
        let body =
            format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"{token}"}}"#);
        Self::new(200, &body)
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and target: `GET /v1.0/x`.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }
}

#[derive(Default)]
struct Script {
    graph: VecDeque<Reply>,
    tokens: VecDeque<Reply>,
    graph_seen: Vec<Request>,
    tokens_seen: Vec<Request>,
    connections: usize,
}

/// The running server; it ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) origin: String,
    script: Arc<Mutex<Script>>,
    seen: watch::Receiver<usize>,
}

impl Server {
    /// Starts on a free port. Requests to the token endpoint get `token-1`, `token-2`, .. unless
    /// told otherwise; all others get `replies` in order, then 418.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script {
            graph: replies.into_iter().collect(),
            ..Script::default()
        }));
        let (progress, seen) = watch::channel(0);
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let script = Arc::clone(&shared);
                let progress = progress.clone();
                tokio::spawn(async move { serve(stream, &script, &progress).await });
            }
        });
        Self {
            origin,
            script,
            seen,
        }
    }

    /// More answers, after those given before.
    pub(crate) fn then(&self, reply: Reply) {
        self.script.lock().unwrap().graph.push_back(reply);
    }

    /// The next answer of the token endpoint.
    pub(crate) fn token(&self, reply: Reply) {
        self.script.lock().unwrap().tokens.push_back(reply);
    }

    /// Requests other than for tokens.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.script.lock().unwrap().graph_seen.clone()
    }

    /// Requests for tokens.
    pub(crate) fn token_requests(&self) -> Vec<Request> {
        self.script.lock().unwrap().tokens_seen.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.script.lock().unwrap().connections
    }

    /// Waits until `count` requests of either kind were received.
    pub(crate) async fn received(&self, count: usize) {
        let mut seen = self.seen.clone();
        let waited = seen.wait_for(|seen| *seen >= count);
        let waited = tokio::time::timeout(Duration::from_secs(10), waited).await;
        assert!(
            waited.is_ok_and(|seen| seen.is_ok()),
            "{count} requests did not come"
        );
    }
}

async fn serve(mut stream: TcpStream, script: &Mutex<Script>, progress: &watch::Sender<usize>) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        let mut reply = {
            let mut script = script.lock().unwrap();
            if request.line.ends_with("/oauth2/v2.0/token") {
                script.tokens_seen.push(request);
                let number = script.tokens_seen.len();
                let next = script.tokens.pop_front();
                next.unwrap_or_else(|| Reply::grant(&format!("token-{number}")))
            } else {
                script.graph_seen.push(request);
                let next = script.graph.pop_front();
                next.unwrap_or_else(|| Reply::new(418, "the script is over"))
            }
        };
        progress.send_modify(|seen| *seen += 1);
        while let Reply::Held(gate, held) = reply {
            gate.notified().await;
            reply = *held;
        }
        match reply {
            Reply::Http {
                status,
                headers,
                body,
            } => {
                use std::fmt::Write as _;
                let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    write!(head, "{name}: {value}\r\n").unwrap();
                }
                let answer = format!("{head}\r\n{body}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Reply::Cut => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"status\":";
                stream.write_all(head).await.unwrap();
                return;
            }
            Reply::Hang => std::future::pending().await,
            Reply::Held(..) => unreachable!("released above"),
        }
    }
}

/// Reads one request; `None` at the end of the connection.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let mut lines = head.lines();
            let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
            let headers: Vec<_> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = length.map_or(0, |(_, value)| value.parse().unwrap());
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let body = String::from_utf8(buffer[end + 4..whole].to_vec()).unwrap();
                buffer.drain(..whole);
                return Some(Request {
                    line,
                    headers,
                    body,
                });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
