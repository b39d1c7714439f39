//! The processes: a calling service that stays, and an engine that does not.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use openmic_checker::What;
use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};
use openmic_tests::{Random, Server};
use serde_json::Value;
use tempfile::TempDir;

use crate::history::{Seen, Truth};
use crate::road::{Road, Trap};

/// What the bots of these tests show. Two parts, so that the text is nowhere a key.
const KEY: [&str; 2] = ["omk_", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"];
/// How long a process may take to get ready on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Both processes, the roads between them, and the folder of the engine's journal.
pub(crate) struct House {
    pub(crate) seen: Seen,
    pub(crate) trap: Arc<Trap>,
    pub(crate) http: reqwest::Client,
    pub(crate) engine: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
    local: Child,
    _road: Road,
}

/// How the house differs from the usual one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Furnishing {
    /// Keys for the service's environment.
    pub(crate) local: Vec<(&'static str, String)>,
    /// No road between them.
    pub(crate) direct: bool,
}

/// A port that nobody has, outside of those the kernel gives away by itself: the engine comes back
/// to it.
fn port(random: &mut Random) -> SocketAddr {
    loop {
        let port = 12_000 + u16::try_from(random.below(18_000)).expect("below 18,000");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl House {
    /// Starts the service. The engine is started by [`House::start`].
    pub(crate) async fn build(random: &mut Random, furnishing: Furnishing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (service, engine, admin) = (port(random), port(random), port(random));
        let seen = Seen::default();
        let trap = Arc::new(Trap::new(seen.clone()));
        let road = Road::open(service, engine, Arc::clone(&trap), seen.clone());
        let truth = folder.path().join("truth.ndjson");
        let graph = if furnishing.direct {
            format!("http://{service}")
        } else {
            road.graph()
        };
        let hooks = if furnishing.direct {
            format!("http://{engine}")
        } else {
            road.hooks()
        };
        let log = File::create(folder.path().join("local.log")).unwrap();
        let local = Command::new(Server::binary())
            .arg("local")
            .current_dir(folder.path())
            .env("OPENMIC__LOCAL__BIND", service.to_string())
            .env("OPENMIC__LOCAL__PUBLIC_URL", &graph)
            .env("OPENMIC__LOCAL__RTP_PORTS", "any")
            .env("OPENMIC__LOCAL__ESTABLISH", "1ms")
            .env("OPENMIC__LOCAL__TRUTH_LOG", &truth)
            .env("OPENMIC__LISTEN__ADMIN", "127.0.0.1:0")
            .env("OPENMIC__LOG__LEVEL", "warn")
            .envs(furnishing.local.iter().map(|(key, value)| (*key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let hash = digest(&SHA256, KEY.concat().as_bytes());
        let hash = hash.as_ref().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        });
        let config = format!(
            r#"
            [log]
            level = "info"
            [listen]
            public = "{engine}"
            admin = "{admin}"
            [upstream]
            kind = "graph"
            base_url = "{graph}/v1.0"
            authority = "{graph}"
            openid_configuration_url = "{graph}/v1/.well-known/OpenIdConfiguration"
            tenant = "{DEV_TENANT}"
            app = "{DEV_APP}"
            secret = "{DEV_SECRET}"
            public_url = "{hooks}"
            request_timeout = "3s"
            [journal]
            folder = "journal"
            [relay]
            enabled = false
            [auth]
            openid_configuration_url = "{graph}/v1/.well-known/OpenIdConfiguration"
            [[auth.api_keys]]
            name = "crash"
            sha256 = "{hash}"
            app = "{DEV_APP}"
            tenant = "{DEV_TENANT}"
            roles = ["Calls.JoinGroupCall.All", "Calls.Initiate.All", "openmic.operator"]
            "#
        );
        std::fs::write(folder.path().join("engine.toml"), config).unwrap();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()
            .unwrap();
        let house = Self {
            seen,
            trap,
            http,
            engine,
            admin,
            folder,
            local,
            _road: road,
        };
        let up = format!("http://{service}/v1/.well-known/OpenIdConfiguration");
        let start = Instant::now();
        while house.http.get(&up).send().await.is_err() {
            assert!(start.elapsed() < PATIENCE, "{}", house.said("local.log"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        house
    }

    /// Starts the engine on its folder, and does not wait.
    pub(crate) fn start(&self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("engine.log"))
            .unwrap();
        let child = Command::new(Server::binary())
            .args(["serve", "--config", "engine.toml"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.trap.hold(child);
    }

    /// Waits until it is ready; what it said on the way there.
    pub(crate) async fn ready(&self) -> Vec<String> {
        let start = Instant::now();
        let mut said = Vec::new();
        loop {
            let url = format!("http://{}/readyz", self.admin);
            if let Ok(answer) = self.http.get(url).send().await {
                let good = answer.status().is_success();
                let text = answer.text().await.unwrap_or_default();
                if good {
                    break;
                }
                if said.last() != Some(&text) {
                    said.push(text);
                }
            }
            let ended = self.trap.ended();
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "the engine does not get ready: {said:?}, ended: {ended:?}\n{}",
                self.said("engine.log")
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        self.seen.note("*", What::Recovered { digest: None });
        said
    }

    /// The end of what a process said.
    pub(crate) fn said(&self, log: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join(log)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    pub(crate) fn truth(&self) -> Truth {
        Truth::new(&self.folder.path().join("truth.ndjson"))
    }

    /// A request of the bot to the engine; the status and the JSON answered, or nothing when there
    /// was no answer.
    pub(crate) async fn ask(
        &self,
        method: http::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let url = format!("http://{}{path}", self.engine);
        let mut request = self.http.request(method, url).bearer_auth(KEY.concat());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                // hyper's client may lose a request that it gives to a connection which closes at
                // that very moment (hyperium/hyper#4122): there is no socket, the engine never hears
                // of it, and only the own time limit ends it. Whoever asks asks again.
                if error.is_timeout() {
                    println!("hung: {path} ({error:?})");
                }
                return None;
            }
        };
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// For a WebSocket handshake.
    pub(crate) fn bearer() -> String {
        format!("Bearer {}", KEY.concat())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.trap.kill();
        self.local.kill().and_then(|()| self.local.wait()).ok();
    }
}
