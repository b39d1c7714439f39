//! The limit, and what a good program would make of tokio-tungstenite.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use super::house::{ORDERS, announce, topic_of, topic_path};
use super::server::Door;

const MAX_HEAD: usize = 16 * 1024;
/// Publications that a subscriber may be behind; it never comes to that.
const BUS: usize = 1024;

/// One thread and a plain loop of writes. `joined` makes one write of all orders that wait.
pub(super) fn limit(topics: usize, frame: &[u8], joined: bool) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let paths = (0..topics).map(topic_path).collect();
    announce(&Door {
        address: listener.local_addr()?,
        authorization: None,
        authority: None,
        paths,
    })?;
    let (send, arrivals) = channel();
    thread::spawn(move || take_subscribers(&listener, &send));
    let mut sockets: Vec<Vec<TcpStream>> = (0..topics).map(|_| Vec::new()).collect();
    let mut turn = 0;
    let mut orders = [0; ORDERS];
    loop {
        let count = io::stdin().lock().read(&mut orders)?;
        if count == 0 {
            return Ok(());
        }
        sit_down(&arrivals, &mut sockets);
        let mut left = count;
        while left > 0 {
            // with several topics each order is another's
            let together = if joined && topics == 1 { left } else { 1 };
            let bytes = frame.repeat(together);
            for socket in &sockets[turn % topics] {
                write_all(socket, &bytes)?;
            }
            turn += together;
            left -= together;
        }
    }
}

fn sit_down(arrivals: &Receiver<(usize, TcpStream)>, sockets: &mut [Vec<TcpStream>]) {
    for (topic, socket) in arrivals.try_iter() {
        sockets[topic].push(socket);
    }
}

/// The subscribers read all the time, so a full socket is a matter of microseconds.
fn write_all(mut socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn take_subscribers(listener: &TcpListener, arrivals: &Sender<(usize, TcpStream)>) {
    for socket in listener.incoming() {
        let taken = socket.map_err(Into::into).and_then(upgrade);
        match taken {
            Ok(taken) => {
                if arrivals.send(taken).is_err() {
                    return;
                }
            }
            Err(error) => eprintln!("the limit lost a subscriber: {error:#}"),
        }
    }
}

/// Answers a handshake; the topic that was asked for.
fn upgrade(mut socket: TcpStream) -> anyhow::Result<(usize, TcpStream)> {
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let count = socket.read(&mut part)?;
        anyhow::ensure!(count > 0 && head.len() < MAX_HEAD, "no request");
        head.extend_from_slice(&part[..count]);
    }
    let head = String::from_utf8(head)?;
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1));
    let topic = path.and_then(topic_of).context("no topic")?;
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let key = headers.get("sec-websocket-key").context("no key")?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    socket.write_all(answer.as_bytes())?;
    socket.set_nonblocking(true)?;
    Ok((topic, socket))
}

/// A task for each subscriber, woken by a broadcast channel for each topic.
pub(super) async fn tungstenite(topics: usize, text: String) -> anyhow::Result<()> {
    let text = Utf8Bytes::from(text);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let paths = (0..topics).map(topic_path).collect();
    announce(&Door {
        address: listener.local_addr()?,
        authorization: None,
        authority: None,
        paths,
    })?;
    let buses: Vec<_> = (0..topics).map(|_| broadcast::Sender::new(BUS)).collect();
    let publishers = buses.clone();
    // on the runtime: its own wake-ups are cheaper than another thread's
    let publishing = tokio::spawn(async move {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let mut input = pipe::Receiver::from_owned_fd(input)?;
        let mut orders = [0; ORDERS];
        let mut turn = 0;
        loop {
            let count = input.read(&mut orders).await?;
            if count == 0 {
                return io::Result::Ok(());
            }
            for _ in 0..count {
                // nobody may be there yet
                publishers[turn % topics].send(text.clone()).ok();
                turn += 1;
            }
        }
    });
    let accepting = async move {
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let buses = buses.clone();
            // what ends it is for the bench to notice: a frame is missing then
            tokio::spawn(async move { attend(socket, &buses).await });
        }
    };
    tokio::select! {
        ended = publishing => Ok(ended??),
        failed = accepting => failed,
    }
}

async fn attend(
    socket: tokio::net::TcpStream,
    buses: &[broadcast::Sender<Utf8Bytes>],
) -> anyhow::Result<()> {
    let mut topic = None;
    // its type is the library's
    #[expect(clippy::result_large_err, reason = "the library's")]
    let look = |request: &Request, response: Response| {
        topic = topic_of(request.uri().path());
        Ok(response)
    };
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let socket = accept_hdr_async_with_config(socket, look, Some(config)).await?;
    let topic = topic.context("no topic")?;
    pass_on(socket, buses[topic].subscribe()).await
}

async fn pass_on(
    mut socket: WebSocketStream<tokio::net::TcpStream>,
    mut bus: broadcast::Receiver<Utf8Bytes>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            text = bus.recv() => {
                socket.feed(Message::Text(text?)).await?;
                loop {
                    match bus.try_recv() {
                        Ok(text) => socket.feed(Message::Text(text)).await?,
                        Err(TryRecvError::Empty) => break,
                        Err(error) => return Err(error.into()),
                    }
                }
                socket.flush().await?;
            }
            message = socket.next() => match message {
                None => return Ok(()),
                Some(message) => drop(message?),
            },
        }
    }
}
