//! The real binary, from the outside: probes, metrics, graceful end, exit codes, plain words.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_openmic");

/// A running openmic; killed when dropped.
struct Program {
    child: Child,
    log: BufReader<ChildStderr>,
    listening: Value,
}

impl Program {
    /// Starts it on free ports and waits for the event `listening`.
    fn start(command: &str, flags: &[&str]) -> Self {
        let mut child = openmic()
            .args([command, "--admin", "127.0.0.1:0", "--local", "127.0.0.1:0"])
            .args(["--set", "local.rtp_ports=any"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut program = Self {
            child,
            log,
            listening: Value::Null,
        };
        program.listening = program.event("listening");
        program
    }

    /// Reads the log up to an event.
    fn event(&mut self, message: &str) -> Value {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).unwrap();
            assert!(read > 0, "the log ended without \"{message}\":\n{seen}");
            let event: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("not a JSON log line ({error}): {line}"));
            if event["message"] == message {
                return event;
            }
            seen.push_str(&line);
        }
    }

    fn url(&self, part: &str, path: &str) -> String {
        format!("{}{path}", self.listening[part].as_str().unwrap())
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .unwrap_or_default();
    }
}

/// The binary without the settings of whoever runs the tests.
fn openmic() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OPENMIC_") {
            command.env_remove(name);
        }
    }
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = openmic().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

async fn get(url: String) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn serve_answers_its_probes_and_drains_on_sigterm() {
    let mut program = Program::start("serve", &["--public", "127.0.0.1:0"]);
    assert_eq!(get(program.url("admin", "/livez")).await.0, 200);
    let (status, body) = get(program.url("admin", "/readyz")).await;
    assert_eq!(
        (status, body.contains("\"ready\":true")),
        (200, true),
        "{body}"
    );
    let (status, metrics) = get(program.url("admin", "/metrics")).await;
    assert_eq!(status, 200);
    for name in [
        "openmic_build_info{version=",
        "process_open_fds ",
        "openmic_calls{state=\"muted\"} 0",
        "openmic_subscribers 0",
        "openmic_rtp_packets_total{",
        "openmic_local_calls 0",
        "openmic_graph_requests_total{",
        "openmic_token_validations_total{",
        "openmic_http_requests_total{",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    let calls = program.url("public", "/v1.0/communications/calls/none");
    assert_eq!(get(calls).await.0, 401);
    let keys = program.url("local", "/v1/.well-known/OpenIdConfiguration");
    assert_eq!(get(keys).await.0, 200);

    program.signal("-TERM");
    let drained = program.event("drained");
    assert_eq!(
        (&drained["calls_left"], &drained["connections_cut"]),
        (&0.into(), &0.into())
    );
    assert_eq!(program.exit_code(), Some(0));
}

#[tokio::test]
async fn local_runs_alone_and_ends_on_ctrl_c() {
    let mut program = Program::start("local", &[]);
    assert!(program.listening["public"].is_null());
    let keys = program.url("local", "/v1/.well-known/OpenIdConfiguration");
    assert_eq!(get(keys).await.0, 200);
    let (status, metrics) = get(program.url("admin", "/metrics")).await;
    assert_eq!(status, 200);
    assert!(metrics.contains("openmic_local_calls 0"), "{metrics}");
    program.signal("-INT");
    assert_eq!(program.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut program = Program::start("serve", &["--public", "127.0.0.1:0"]);
    // A request whose body never comes keeps the drain busy; 100 Continue says that it is read.
    let address = program.listening["local"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://");
    let mut slow = TcpStream::connect(address).unwrap();
    let head = "POST /lab/v1/meetings/19%3Aslow%40thread.v2/participants HTTP/1.1\r\nHost: a\r\n\
                Content-Type: application/sdp\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(&slow).read_line(&mut answer).unwrap();
    assert_eq!(answer, "HTTP/1.1 100 Continue\r\n");
    program.signal("-TERM");
    program.event("draining; a second signal ends at once");
    program.signal("-TERM");
    program.event("second signal: ending at once");
    assert_eq!(program.exit_code(), Some(1));
}

#[test]
fn without_arguments_it_prints_help() {
    let (code, stdout, stderr) = output(&[]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    for word in ["demo", "serve", "local", "config", "Examples:"] {
        assert!(stderr.contains(word), "{stderr}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line_and_exit_code_2() {
    let cases: [(&[&str], &str); 5] = [
        (
            &["serve", "--set", "listen.pubic=1"],
            "openmic: command line: unknown key 'listen.pubic': did you mean 'listen.public'?\n",
        ),
        (
            &["config", "check", "--set", "public"],
            "openmic: --set public: write it as section.key=value\n",
        ),
        (
            &["config", "check", "--set", "upstream.kind=graph"],
            "openmic: upstream.tenant: is missing; give the directory (tenant) id of the bot's app \
             registration\n",
        ),
        (
            &["config", "check", "--log-level", "loud=very"],
            "openmic: log.level \"loud=very\" cannot be read; ",
        ),
        (
            &["serve", "--config", "/nowhere/openmic.toml"],
            "openmic: cannot read the configuration file /nowhere/openmic.toml: No such file",
        ),
    ];
    for (arguments, expected) in cases {
        let (code, _, stderr) = output(arguments);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.starts_with(expected), "{stderr}");
    }
    let (code, _, stderr) = output(&["serve", "--public", "0.0.0.0:0"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("dev credentials are public"), "{stderr}");
}

#[test]
fn config_prints_what_it_reads() {
    let (code, defaults, _) = output(&["config", "print", "--defaults"]);
    assert_eq!(code, Some(0));
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), defaults).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, stdout, _) = output(&["config", "check", "--config", path]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.starts_with("ok: engine on 127.0.0.1:7080"),
        "{stdout}"
    );
    let (code, stdout, _) = output(&[
        "config",
        "print",
        "--config",
        path,
        "--set",
        "upstream.secret=tell-nobody",
    ]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("secret = \"(secret)\"  # command line"),
        "{stdout}"
    );
    assert!(!stdout.contains("tell-nobody"), "{stdout}");
}
