//! fastwebsockets as a server of the fan-out bench: `fastwebsockets-peer TOPICS PAYLOAD`. It says
//! where it listens on its first line; then each byte of its input is a publication, the topics take
//! turns. A task for each subscriber, woken by a broadcast channel for each topic.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastwebsockets::{Frame, Payload, Role, WebSocketError, after_handshake_split};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

const MAX_HEAD: usize = 16 * 1024;
/// Publications that a subscriber may be behind; it never comes to that.
const BUS: usize = 4096;
/// RFC 6455, 1.3
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Bus = broadcast::Sender<Arc<[u8]>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let topics: usize = arguments.next().context("TOPICS PAYLOAD")?.parse()?;
    let payload: Arc<[u8]> = std::fs::read(arguments.next().context("TOPICS PAYLOAD")?)?.into();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let paths: Vec<_> = (0..topics).map(|topic| format!("\"/{topic}\"")).collect();
    println!(
        "{{\"address\":\"{}\",\"authorization\":null,\"paths\":[{}]}}",
        listener.local_addr()?,
        paths.join(",")
    );
    let buses: Arc<[Bus]> = (0..topics).map(|_| broadcast::Sender::new(BUS)).collect();
    let publishers = Arc::clone(&buses);
    let publishing = tokio::spawn(async move {
        let input = std::io::stdin().as_fd().try_clone_to_owned()?;
        let mut input = pipe::Receiver::from_owned_fd(input)?;
        let mut orders = [0; 4096];
        let mut turn = 0;
        loop {
            let count = input.read(&mut orders).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            for _ in 0..count {
                // nobody may be there yet
                publishers[turn % topics].send(Arc::clone(&payload)).ok();
                turn += 1;
            }
        }
    });
    let accepting = async move {
        loop {
            let (socket, _) = listener.accept().await?;
            let buses = Arc::clone(&buses);
            // what ends it is for the bench to notice: a frame is missing then
            tokio::spawn(async move { attend(socket, &buses).await });
        }
    };
    tokio::select! {
        ended = publishing => Ok(ended??),
        failed = accepting => failed,
    }
}

async fn attend(mut socket: TcpStream, buses: &[Bus]) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let topic = upgrade(&mut socket).await?;
    let mut bus = buses.get(topic).context("no topic")?.subscribe();
    let (read, write) = socket.into_split();
    let (mut read, mut write) = after_handshake_split(read, write, Role::Server);
    tokio::spawn(async move {
        // what it should answer is nothing: the bench sends no ping
        let mut answer = |_| std::future::ready(Ok::<_, WebSocketError>(()));
        while read.read_frame(&mut answer).await.is_ok() {}
    });
    loop {
        let payload = bus.recv().await?;
        write
            .write_frame(Frame::text(Payload::Borrowed(&payload)))
            .await?;
    }
}

/// Answers a handshake; the topic that was asked for.
async fn upgrade(socket: &mut TcpStream) -> anyhow::Result<usize> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < MAX_HEAD, "a request without an end");
        ensure!(socket.read_buf(&mut head).await? > 0, "no request");
    }
    let head = String::from_utf8(head)?;
    let path = head.split(' ').nth(1).context("no target")?;
    let topic = path.trim_start_matches('/').parse()?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    });
    let mut digest = Sha1::new();
    digest.update(key.context("no key")?);
    digest.update(GUID);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        BASE64_STANDARD.encode(digest.finalize())
    );
    socket.write_all(answer.as_bytes()).await?;
    Ok(topic)
}
