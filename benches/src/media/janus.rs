//! Debian's Janus, an RTP forwarder by trade: how it is started and told whom to forward to.
//!
//! Of what Janus has, a remote publisher of its video room comes closest to what is measured: one
//! thread reads its plain RTP and makes one `sendto` of each packet for each target of
//! `rtp_forward`. Nothing is decrypted, mixed or encoded, as its WebRTC publishers and its audio
//! bridge would. It is controlled over a WebSocket on a Unix socket in a folder of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::fanout::{Cores, runs};
use crate::schedstat::threads;

/// Janus tells the streams of a remote publisher by their SSRC; this is that of the first.
pub(super) const FIRST_STREAM: u32 = 1000;
const PATIENCE: Duration = Duration::from_secs(10);
const ROOM: u32 = 1;
const PUBLISHER: u32 = 1;
/// Nobody else gets into the folder of the socket.
const SECRET: &str = "bench";
/// What Janus would load besides, and start threads for.
const PLUGINS: [&str; 11] = [
    "audiobridge",
    "duktape",
    "echotest",
    "lua",
    "nosip",
    "recordplay",
    "sip",
    "streaming",
    "textroom",
    "videocall",
    "voicemail",
];
const TRANSPORTS: [&str; 5] = ["http", "mqtt", "nanomsg", "pfunix", "rabbitmq"];

/// Why it cannot be measured on this machine, and what would help.
pub(super) fn missing(cores: &Cores) -> Option<String> {
    if !runs("janus", "--help") {
        return Some("apt-get install janus".to_owned());
    }
    // that of another release may know no remote publishers
    let tried = cores.on_the_servers(|| Janus::start(&[]));
    tried.err().map(|error| format!("{error:#}"))
}

/// A running one. It ends with its value.
#[derive(Debug)]
pub(super) struct Janus {
    child: Child,
    folder: TempDir,
    door: SocketAddr,
}

impl Janus {
    /// Starts one with a publisher that is forwarded to `listeners`.
    pub(super) fn start(listeners: &[UdpSocket]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        configure(folder.path())?;
        let child = Command::new("janus")
            .arg("--configs-folder")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // from here on a failure ends the process too
        let mut janus = Self {
            child,
            folder,
            door: (Ipv4Addr::LOCALHOST, 0).into(),
        };
        janus.publish(listeners).context("janus cannot be used")?;
        Ok(janus)
    }

    fn publish(&mut self, listeners: &[UdpSocket]) -> anyhow::Result<()> {
        let mut desk = self.desk()?;
        desk.ask(&json!({"request": "create", "room": ROOM, "audiocodec": "pcmu"}))?;
        let published = desk.ask(&json!({
            "request": "add_remote_publisher",
            "room": ROOM,
            "id": PUBLISHER,
            "iface": Ipv4Addr::LOCALHOST,
            "port": 0,
            "streams": [{"type": "audio", "mindex": 0, "mid": "0", "codec": "pcmu"}],
        }))?;
        let port = published["port"].as_u64().context("it names no port")?;
        self.door.set_port(port.try_into()?);
        for listener in listeners {
            desk.ask(&json!({
                "request": "rtp_forward",
                "room": ROOM,
                "publisher_id": PUBLISHER,
                "host": Ipv4Addr::LOCALHOST,
                "streams": [{"mid": "0", "port": listener.local_addr()?.port()}],
            }))?;
        }
        Ok(())
    }

    /// Where the speaker is to send.
    pub(super) fn door(&self) -> SocketAddr {
        self.door
    }

    /// The folder in `/proc` of the thread that forwards. The others have nothing to do with packets.
    pub(super) fn thread(&self) -> anyhow::Result<PathBuf> {
        for thread in threads(&self.child.id().to_string())? {
            if fs::read_to_string(thread.join("comm"))?.starts_with("vremote") {
                return Ok(thread);
            }
        }
        bail!("no thread of janus is a remote publisher's")
    }

    /// Asks for things, as soon as it listens.
    fn desk(&mut self) -> anyhow::Result<Desk> {
        let begun = Instant::now();
        let path = self.folder.path().join("admin");
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(error) => {
                    if let Some(status) = self.child.try_wait()? {
                        bail!("it ended, {status}");
                    }
                    ensure!(begun.elapsed() < PATIENCE, "it does not listen: {error}");
                    thread::park_timeout(Duration::from_millis(5));
                }
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = "ws://localhost/".into_client_request()?;
        let protocol = HeaderValue::from_static("janus-admin-protocol");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let (socket, _) = client(request, stream)?;
        Ok(Desk(socket))
    }
}

impl Drop for Janus {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("janus cannot be ended: {error}");
        }
    }
}

/// Files that let it listen nowhere but in `folder`.
fn configure(folder: &Path) -> anyhow::Result<()> {
    let at = folder.display();
    let libraries = |names: &[&str]| {
        let names: Vec<_> = names
            .iter()
            .map(|name| format!("libjanus_{name}.so"))
            .collect();
        names.join(",")
    };
    let core = format!(
        "general: {{\n admin_secret = \"{SECRET}\"\n log_to_stdout = false\n log_to_file = \"{at}/log\"\n}}\n\
         nat: {{ ice_enforce_list = \"lo\" }}\n\
         plugins: {{ disable = \"{}\" }}\ntransports: {{ disable = \"{}\" }}\n",
        libraries(&PLUGINS),
        libraries(&TRANSPORTS),
    );
    // it wants both: the one for clients, and the one to which requests need no session
    let control = format!(
        "general: {{\n ws = true\n ws_unix = \"{at}/clients\"\n}}\n\
         admin: {{\n admin_ws = true\n admin_ws_unix = \"{at}/admin\"\n}}\n",
    );
    fs::write(folder.join("janus.jcfg"), core)?;
    fs::write(folder.join("janus.transport.websockets.jcfg"), control)?;
    fs::write(folder.join("janus.plugin.videoroom.jcfg"), "general: {}\n")?;
    Ok(())
}

struct Desk(WebSocket<UnixStream>);

impl Desk {
    /// A request to the video room, and its answer.
    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        let envelope = json!({
            "janus": "message_plugin",
            "transaction": "bench",
            "admin_secret": SECRET,
            "plugin": "janus.plugin.videoroom",
            "request": request,
        });
        self.0.send(Message::text(envelope.to_string()))?;
        let text = self.0.read()?.into_text()?;
        let mut answer: Value = serde_json::from_str(&text)?;
        let response = answer["response"].take();
        let refused = response.is_null() || response.get("error").is_some();
        let asked = &request["request"];
        ensure!(!refused, "it refuses {asked}: {text}");
        Ok(response)
    }
}
