//! HTTP as bytes: what no well-behaved client would send.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// The caller's own id of every request of the tables.
pub(super) const ID: &str = "0c1f5e00-0000-4000-8000-0000000000c1";

/// One request, as it is put on the wire.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    length: Option<usize>,
    chunked: bool,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Value,
}

impl Request {
    pub(super) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: vec![("client-request-id".to_owned(), ID.into())],
            body: Vec::new(),
            length: None,
            chunked: false,
        }
    }

    pub(super) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(super) fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        if kind.is_empty() {
            return self;
        }
        self.header("content-type", kind)
    }

    pub(super) fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.body("application/json", body)
    }

    /// Says that the body is so long, whatever comes.
    pub(super) fn claims_length(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    pub(super) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    fn bytes(&self, host: &str) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        out.push_str("connection: close\r\n");
        if self.chunked {
            out.push_str("transfer-encoding: chunked\r\n");
        } else if self.length.is_some() || !self.body.is_empty() {
            let length = self.length.unwrap_or(self.body.len());
            write!(out, "content-length: {length}\r\n").unwrap();
        }
        let mut out = out.into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if self.chunked {
            for chunk in self.body.chunks(16 * 1024) {
                out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        } else {
            out.extend_from_slice(&self.body);
        }
        out
    }

    /// Sends it, and no more than it: the other direction is shut down.
    pub(super) async fn send_and_leave(&self, host: &str) -> Vec<u8> {
        let exchange = async {
            let mut socket = TcpStream::connect(host).await.unwrap();
            socket.write_all(&self.bytes(host)).await.unwrap();
            socket.shutdown().await.unwrap();
            let mut answer = Vec::new();
            drop(socket.read_to_end(&mut answer).await);
            answer
        };
        let exchange = tokio::time::timeout(PATIENCE, exchange).await;
        exchange.expect("an end in time")
    }

    /// Sends it to `host` and reads the answer to its end.
    pub(super) async fn send(&self, host: &str) -> Reply {
        let bytes = self.bytes(host);
        let exchange = async {
            let (mut read, mut write) = TcpStream::connect(host).await.unwrap().into_split();
            let sending = tokio::spawn(async move {
                // A server that answers early need not read the rest.
                drop(write.write_all(&bytes).await);
                write
            });
            let mut answer = Vec::new();
            let end = read.read_to_end(&mut answer).await;
            sending.abort();
            (answer, end)
        };
        let exchange = tokio::time::timeout(PATIENCE, exchange).await;
        let (answer, end) = exchange.expect("an answer in time");
        Reply::parse(&answer)
            .unwrap_or_else(|| panic!("{} {}: {end:?} {answer:?}", self.method, self.path))
    }
}

impl Reply {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let at = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..at]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Some(Self {
            status,
            headers: headers.collect(),
            body: serde_json::from_slice(&bytes[at + 4..]).unwrap_or(Value::Null),
        })
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }

    /// What of Graph's envelope is not as it must be.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                faults.push(what.to_owned());
            }
        };
        let error = &self.body["error"];
        let inner = &error["innerError"];
        let own = self.header("request-id");
        must(
            self.header("content-type") == "application/json",
            "content-type",
        );
        must(own.len() == 36, "request-id header");
        must(inner["request-id"] == own, "innerError.request-id");
        must(
            self.header("client-request-id") == ID,
            "client-request-id header",
        );
        must(
            inner["client-request-id"] == ID,
            "innerError.client-request-id",
        );
        must(
            inner["date"].as_str().is_some_and(|date| date.len() == 19),
            "innerError.date",
        );
        let message = error["message"].as_str().unwrap_or("");
        must(
            says_what_to_do(message),
            &format!("the next step in {message:?}"),
        );
        if self.status == 401 {
            must(
                self.header("www-authenticate").starts_with("Bearer"),
                "www-authenticate",
            );
        }
        if self.status == 405 {
            must(!self.header("allow").is_empty(), "allow");
        }
        faults
    }
}

/// A message has a cause and then a step, in an imperative or by naming what there is instead.
fn says_what_to_do(message: &str) -> bool {
    const STEPS: [&str; 23] = [
        "send",
        "ask",
        "use ",
        "give",
        "set ",
        "wait",
        "create",
        "compare",
        "encode",
        "grant",
        "repeat",
        "take both",
        "end some",
        "read ",
        "are at",
        "are in",
        "list",
        "has ended",
        "add ",
        "check",
        "see that",
        "leave",
        "invite",
    ];
    let lower = message.to_lowercase();
    message.len() > 20 && STEPS.iter().any(|step| lower.contains(step))
}
