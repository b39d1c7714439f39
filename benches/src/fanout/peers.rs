//! Servers of others: where they are on this machine, and how they are started.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::crowd::Manners;
use super::server::{Door, Orders, Server, Setting, connect};

const PATIENCE: Duration = Duration::from_secs(10);
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

pub(super) fn missing_ws() -> Option<String> {
    if !runs("node", "--version") {
        return Some("node is not installed".to_owned());
    }
    let there = Path::new(FOLDER).join("node_modules/ws").exists();
    (!there).then(|| "npm ci --prefix benches/peers brings ws".to_owned())
}

/// Node's `ws`, by a program of ours.
pub(super) fn ws(setting: &Setting<'_>) -> Command {
    let mut command = Command::new("node");
    command
        .arg(Path::new(FOLDER).join("ws.mjs"))
        .arg(setting.topics.to_string())
        .arg(setting.payload);
    command
}

fn fastwebsockets_binary() -> PathBuf {
    Path::new(FOLDER).join("fastwebsockets/target/release/fastwebsockets-peer")
}

pub(super) fn missing_fastwebsockets() -> Option<String> {
    (!fastwebsockets_binary().exists()).then(|| {
        "cargo build --release --manifest-path benches/peers/fastwebsockets/Cargo.toml builds it"
            .to_owned()
    })
}

/// A program with a lock file of its own: what it needs is older than what openmic may have.
pub(super) fn fastwebsockets(setting: &Setting<'_>) -> Command {
    let mut command = Command::new(fastwebsockets_binary());
    command.arg(setting.topics.to_string()).arg(setting.payload);
    command
}

pub(super) fn missing_nats() -> Option<String> {
    (!runs("nats-server", "--version")).then(|| "apt-get install nats-server".to_owned())
}

/// Whether it is installed: it answers `question` and has no complaint.
pub(crate) fn runs(program: &str, question: &str) -> bool {
    let asked = Command::new(program)
        .arg(question)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// What nats-server writes about its ports.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
    websocket: Vec<String>,
}

/// nats-server with its WebSocket listener, on ports of its choice.
pub(super) fn start_nats(setting: &Setting<'_>) -> anyhow::Result<Server> {
    let folder = tempfile::tempdir()?;
    let at = folder.path().display();
    let config = format!(
        "listen: \"127.0.0.1:-1\"\nports_file_dir: \"{at}\"\nmax_connections: 20000\n\
         websocket {{ listen: \"127.0.0.1:-1\", no_tls: true, compression: false }}\n"
    );
    let file = folder.path().join("nats.conf");
    fs::write(&file, config)?;
    let child = Command::new("nats-server")
        .arg("--config")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let ports = folder
        .path()
        .join(format!("nats-server_{}.ports", child.id()));
    let nowhere = Door {
        address: ([127, 0, 0, 1], 0).into(),
        authorization: None,
        authority: None,
        paths: vec!["/".to_owned(); setting.topics],
    };
    let subscribe = |topic| {
        let options = "{\"verbose\":false,\"pedantic\":false}";
        format!("CONNECT {options}\r\nSUB t{topic} 1\r\nPING\r\n")
    };
    // What a subscriber is told: MSG subject subscription length, and the payload. Names of equal
    // length, so that all are as long.
    let names = names(setting.topics);
    let payload = fs::read(setting.payload)?;
    let head = |name: &str| format!("MSG t{name} 1 {}\r\n", payload.len());
    let manners = Manners {
        hello: names.iter().map(|name| subscribe(name.as_str())).collect(),
        answer: "PONG\r\n",
        bytes_each: Some((head(&names[0]).len() + payload.len() + 2) as u64),
        ..Manners::default()
    };
    let publisher = Publisher {
        socket: None,
        messages: names
            .iter()
            .map(|name| {
                let head = format!("PUB t{name} {}\r\n", payload.len());
                [head.as_bytes(), &payload, b"\r\n"].concat()
            })
            .collect(),
        turn: 0,
        _folder: folder,
    };
    // from here on a failure ends the process too
    let server = Server::of(child, Orders::Nats(publisher), nowhere, manners);
    server.settle(|door, orders| {
        let ports = wait_for(&ports)?;
        let address = |urls: &[String]| -> anyhow::Result<SocketAddr> {
            let url = urls.first().context("no such listener")?;
            let (_, address) = url.split_once("://").context("no URL")?;
            Ok(address.parse()?)
        };
        door.address = address(&ports.websocket)?;
        if let Orders::Nats(publisher) = orders {
            publisher.connect(address(&ports.nats)?)?;
        }
        Ok(())
    })
}

fn names(topics: usize) -> Vec<String> {
    (0..topics).map(|topic| format!("{topic:05}")).collect()
}

/// The file is there a moment after the start, and whole a moment after that.
fn wait_for(file: &Path) -> anyhow::Result<Ports> {
    let begun = Instant::now();
    loop {
        if let Ok(text) = fs::read(file)
            && let Ok(ports) = serde_json::from_slice(&text)
        {
            return Ok(ports);
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "nats-server does not say where it listens"
        );
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// A client that publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    socket: Option<TcpStream>,
    messages: Vec<Vec<u8>>,
    turn: usize,
    _folder: TempDir,
}

impl Publisher {
    fn connect(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let mut socket = connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")?;
        let mut said = Vec::new();
        let mut part = [0; 1024];
        while !said.ends_with(b"PONG\r\n") {
            let count = socket.read(&mut part)?;
            ensure!(count > 0, "nats-server ended the publisher's connection");
            said.extend_from_slice(&part[..count]);
        }
        self.socket = Some(socket);
        Ok(())
    }

    pub(super) fn publish(&mut self, count: usize) -> anyhow::Result<()> {
        let socket = self.socket.as_mut().context("connected at the start")?;
        let mut orders = Vec::new();
        for _ in 0..count {
            orders.extend_from_slice(&self.messages[self.turn % self.messages.len()]);
            self.turn += 1;
        }
        Ok(socket.write_all(&orders)?)
    }
}
