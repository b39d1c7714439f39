//! The program under test, as a process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_openmic");

/// A running openmic; killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    log: BufReader<ChildStderr>,
    pub(crate) listening: Value,
    /// What it logged before it listened and nobody asked for yet.
    before: Vec<Value>,
    /// Where its journal is, unless the flags say otherwise.
    _journal: TempDir,
}

impl Program {
    /// Starts it on free ports and waits for the event `listening`.
    pub(crate) fn start(command: &str, flags: &[&str]) -> Self {
        Self::start_by(openmic(), command, flags)
    }

    /// As [`Program::start`], by a command line that `program` begins.
    pub(crate) fn start_by(mut program: Command, command: &str, flags: &[&str]) -> Self {
        let journal = tempfile::tempdir().unwrap();
        let mut child = program
            .env("OPENMIC__JOURNAL__FOLDER", journal.path())
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
            before: Vec::new(),
            _journal: journal,
        };
        program.listening = program.event("listening");
        program
    }

    /// Reads the log up to an event; one of the start may have come before it listened.
    pub(crate) fn event(&mut self, message: &str) -> Value {
        let came = |event: &Value| event["message"] == message;
        if let Some(at) = self.before.iter().position(came) {
            return self.before.remove(at);
        }
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
            if self.listening.is_null() {
                self.before.push(event);
            }
            seen.push_str(&line);
        }
    }

    pub(crate) fn url(&self, part: &str, path: &str) -> String {
        format!("{}{path}", self.listening[part].as_str().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(signal(self.child.id(), name));
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
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

/// Signals a process; false when it is gone. The shell's own `kill`: the program of that name is not
/// in small images.
pub(crate) fn signal(pid: u32, name: &str) -> bool {
    Command::new("sh")
        .args(["-c", "kill \"$1\" \"$2\"", "sh", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// The binary without the settings of whoever runs the tests.
pub(crate) fn openmic() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OPENMIC_") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = openmic().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}
