//! Real programs of the machine: encoders and players. Ended by pid, never by name.

use std::io::{BufRead as _, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that runs beside the test and is ended with it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
}

/// Which of `names` this machine lacks. `tests/run` installs them; a test that needs a missing one
/// says so.
pub fn missing_programs(names: &[&str]) -> Vec<String> {
    let paths: Vec<_> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let there = |name: &str| paths.iter().any(|folder| folder.join(name).is_file());
    names
        .iter()
        .filter(|name| !there(name))
        .map(|name| (*name).to_owned())
        .collect()
}

/// Which of gstreamer's `elements` this machine lacks: all of them without gstreamer, some where only
/// a part of its plugins is installed.
pub fn missing_gst_elements(elements: &[&str]) -> Vec<String> {
    let there = |element: &str| {
        let output = Command::new("gst-inspect-1.0").arg(element).output();
        output.is_ok_and(|output| output.status.success())
    };
    elements
        .iter()
        .filter(|element| !there(element))
        .map(|element| format!("gstreamer's {element}"))
        .collect()
}

impl Program {
    /// Starts it with its output kept.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<S: AsRef<std::ffi::OsStr>>(name: &str, arguments: &[S]) -> Self {
        let child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
        }
    }

    /// Waits until it prints a line that begins with `mark`.
    ///
    /// # Panics
    /// When it ends first, or after `within`.
    pub fn prints(&mut self, mark: &str, within: Duration) {
        let out = self.child.stdout.take().expect("the output is piped");
        let (mark, name) = (mark.to_owned(), self.name.clone());
        let (found, seen) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            let mut out = std::io::BufReader::new(out);
            let mut line = String::new();
            while out.read_line(&mut line).is_ok_and(|length| length > 0) {
                if line.starts_with(&mark) {
                    break;
                }
                line.clear();
            }
            // Nobody waits any more when the time was up; the test has failed then.
            found.send(line.starts_with(&mark)).ok();
            out.into_inner()
        });
        let seen = seen.recv_timeout(within);
        assert_eq!(seen, Ok(true), "{name} did not get ready");
        self.child.stdout = Some(reading.join().expect("reading does not panic"));
    }

    /// Waits until it ends by itself and returns what it printed on both outputs.
    ///
    /// # Panics
    /// When it does not end within `within`.
    pub fn ends(mut self, within: Duration) -> String {
        let deadline = Instant::now() + within;
        let mut out = self.child.stdout.take().expect("the output is piped");
        let mut err = self.child.stderr.take().expect("the output is piped");
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let read = err.read_to_end(&mut text);
            read.map(|_| text)
        });
        let printed = std::thread::spawn(move || {
            let mut text = Vec::new();
            let read = out.read_to_end(&mut text);
            read.map(|_| text)
        });
        loop {
            match self.child.try_wait() {
                Ok(Some(_)) => break,
                Ok(None) if Instant::now() < deadline => {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                other => panic!("{} did not end in {within:?}: {other:?}", self.name),
            }
        }
        let mut all = Vec::new();
        for part in [printed, reader] {
            all.extend(
                part.join()
                    .expect("reading does not panic")
                    .expect("a pipe can be read"),
            );
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Asks it to end, as Ctrl-C would, so that it finishes its file.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn interrupt(&self) {
        signal(&self.child, "-INT");
    }
}

/// Signals a child. The shell's own `kill`: the program of that name is not in small images.
pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let done = Command::new("sh")
        .args(["-c", "kill \"$1\" \"$2\"", "sh", name, &pid])
        .status()
        .expect("there is a shell");
    assert!(done.success(), "{pid} was gone before its time");
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let killed = self.child.kill().and_then(|()| self.child.wait());
            if let Err(error) = killed {
                eprintln!("{} could not be ended: {error}", self.name);
            }
        }
    }
}

/// Below this a recording is silent; tones stand some 40 dB above.
const SILENCE_DB: f64 = -50.0;

/// Stretches of silence that ffmpeg's `silencedetect` finds in `file`, `(from, to)` in seconds. One
/// that lasts to the end has no end.
///
/// # Panics
/// When ffmpeg is missing or prints what it never printed.
pub fn silences(file: &Path) -> Vec<(f64, f64)> {
    let file = file.to_str().expect("a path of a test is text");
    let filter = format!("silencedetect=n={SILENCE_DB}dB:d=0.3");
    let arguments = [
        "-hide_banner",
        "-nostdin",
        "-i",
        file,
        "-af",
        &filter,
        "-f",
        "null",
        "-",
    ];
    let printed = Program::start("ffmpeg", &arguments).ends(Duration::from_mins(1));
    let values = |mark: &str| -> Vec<f64> {
        let lines = printed.lines().filter_map(|line| line.split(mark).nth(1));
        let words = lines.filter_map(|rest| rest.split_whitespace().next());
        words
            .map(|word| word.parse().expect("ffmpeg prints seconds"))
            .collect()
    };
    let (starts, ends) = (values("silence_start: "), values("silence_end: "));
    let ends = ends.into_iter().chain(std::iter::repeat(f64::INFINITY));
    starts.into_iter().zip(ends).collect()
}
