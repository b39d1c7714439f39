//! The real binary, started as a person would start it.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running `openmic` on ports the kernel chose.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addresses: [String; 3],
    said: Said,
    readers: Vec<JoinHandle<()>>,
    /// Where its journal is.
    _journal: tempfile::TempDir,
}

/// Everything a server prints, on both outputs, as it comes.
#[derive(Debug, Clone, Default)]
pub struct Said(Arc<Mutex<String>>);

impl Said {
    /// All of it so far; all there is once the server has stopped.
    pub fn text(&self) -> String {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    fn add(&self, line: &str) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(line);
        said.push('\n');
    }

    /// Collects the lines of `output` on a thread and hands each to `seen`.
    fn collect(
        &self,
        output: impl Read + Send + 'static,
        mut seen: impl FnMut(&str) + Send + 'static,
    ) -> JoinHandle<()> {
        let said = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                said.add(&line);
                seen(&line);
            }
        })
    }
}

impl Server {
    /// The binary, built once per test run in the profile of the tests; that of `OPENMIC_BINARY`,
    /// when it is set.
    ///
    /// # Panics
    /// When it cannot be built.
    pub fn binary() -> PathBuf {
        static BINARY: OnceLock<PathBuf> = OnceLock::new();
        let build = || {
            if let Some(binary) = std::env::var_os("OPENMIC_BINARY") {
                return PathBuf::from(binary);
            }
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let output = Command::new(cargo)
                .current_dir(crate::root())
                .args(["build", "--locked", "-p", "openmic-server"])
                .args(["--message-format", "json"])
                // As the tests themselves were built.
                .args((!cfg!(debug_assertions)).then_some("--release"))
                .stderr(Stdio::inherit())
                .output()
                .expect("cargo runs the tests, so it runs");
            assert!(output.status.success(), "the binary does not build");
            let messages = String::from_utf8_lossy(&output.stdout).into_owned();
            let built = messages
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let mut binary = built
                .filter_map(|message: Value| message["executable"].as_str().map(PathBuf::from));
            binary.next_back().expect("cargo names the binary it built")
        };
        BINARY.get_or_init(build).clone()
    }

    /// Starts it with `arguments` and waits until it listens.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(arguments: &[&str]) -> Self {
        let journal = tempfile::tempdir().expect("a folder for the journal");
        let mut child = Command::new(Self::binary())
            .args(arguments)
            .env("OPENMIC__JOURNAL__FOLDER", journal.path())
            .env("OPENMIC__LISTEN__PUBLIC", "127.0.0.1:0")
            .env("OPENMIC__LISTEN__ADMIN", "127.0.0.1:0")
            .env("OPENMIC__LOCAL__BIND", "127.0.0.1:0")
            .env("OPENMIC__LOCAL__RTP_PORTS", "any")
            .env("OPENMIC__LOG__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (found, listening) = std::sync::mpsc::channel();
        let said = Said::default();
        let log = child.stderr.take().expect("the log is piped");
        let log = said.collect(log, move |line| {
            let event: Value = serde_json::from_str(line).unwrap_or(Value::Null);
            if event["message"] == "listening" {
                // Nobody waits any more when the time was up; the test has failed then.
                found.send(event).ok();
            }
        });
        let output = child.stdout.take().expect("the output is piped");
        let output = said.collect(output, |_| ());
        let event = listening
            .recv_timeout(Duration::from_secs(30))
            .expect("it listens");
        let address = |name: &str| {
            let url = event[name].as_str().unwrap_or_default();
            let plain = url.trim_start_matches("http://");
            plain.trim_start_matches("https://").to_owned()
        };
        Self {
            child,
            addresses: ["public", "local", "admin"].map(address),
            said,
            readers: vec![log, output],
            _journal: journal,
        }
    }

    /// `host:port` of the engine.
    pub fn public(&self) -> &str {
        &self.addresses[0]
    }

    /// `host:port` of the local calling service.
    pub fn local(&self) -> &str {
        &self.addresses[1]
    }

    /// `host:port` of metrics and probes.
    pub fn admin(&self) -> &str {
        &self.addresses[2]
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it prints; may be kept beyond its end.
    pub fn said(&self) -> Said {
        self.said.clone()
    }

    /// Asks it to end by SIGTERM and returns its exit code; `None` when it does not end in time.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn stops(mut self, within: Duration) -> Option<i32> {
        crate::program::signal(&self.child, "-TERM");
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                for reader in self.readers.drain(..) {
                    reader.join().expect("reading does not panic");
                }
                return status.code();
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let killed = self.child.kill().and_then(|()| self.child.wait());
            if let Err(error) = killed {
                eprintln!("openmic could not be ended: {error}");
            }
        }
    }
}
