//! Instructions, counted by valgrind's callgrind, beside a list of how many there were.
//!
//! Time on a shared machine says little about a change of a few percent; instructions do. Each case
//! is this program again, under callgrind, once for some rounds and once for twice as many: the
//! difference, divided by the rounds, is what one costs, without what came before. Only the thread
//! that does the work is counted, so a publication to sockets is the hub's thread and nothing else.
//!
//! What keeps the figures still: valgrind shows the program one and the same processor wherever the
//! machine has AVX2 (so libraries that choose code by processor choose the same), rounds go one at a
//! time and each waits until the thread sleeps again, and the seeds of hash tables touch nothing
//! that happens in a round. The compiler is named in the list; with another one the bound is wider.

mod cases;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

use cases::{CASES, Case};

/// What a case may cost more than the list says, in percent.
const BOUND: f64 = 3.0;
/// What seems to cost more is counted again, up to so many times: a thread that woke once more than it
/// had to only ever adds.
const AGAIN: usize = 2;
/// The same bound when another compiler made the list.
const OTHER_COMPILER: f64 = 15.0;
const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
const RENEW: &str = "UPDATE";
const CASE: &str = "--case";
/// Tests and benches are compiled differently, so each has figures of its own.
const PROFILE: &str = if cfg!(debug_assertions) {
    "test"
} else {
    "bench"
};

/// Counts all cases, or those that the arguments name, prints a table and fails when one costs more
/// than the list says. With `UPDATE=1` in the environment the list is written instead.
///
/// # Errors
/// When a case costs too much or cannot be counted. That valgrind is missing is said and no error.
pub fn count() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [CASE, name, times] = &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let case = CASES.iter().find(|case| case.name == *name);
        return (case.context("no such case")?.run)(times.parse()?);
    }
    if !valgrind_ready() {
        println!(
            "skipped: instruction counts: valgrind is not installed (apt-get install valgrind)"
        );
        return Ok(());
    }
    let named: Vec<_> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let mut list = List::read()?;
    let compiler = compiler();
    let bound = if list.compiler == compiler || list.compiler.is_empty() {
        BOUND
    } else {
        println!("{} made the list, this is {compiler}", list.compiler);
        OTHER_COMPILER
    };
    let renewed = env::var_os(RENEW).is_some();
    let mut dearer = Vec::new();
    println!(
        "{:<44} {:>10} {:>10} {:>7}",
        "instructions", "listed", "counted", "%"
    );
    for case in CASES {
        if !named.is_empty() && !named.iter().any(|word| case.name.contains(word.as_str())) {
            continue;
        }
        let count = || {
            let counted = case.counted();
            counted.with_context(|| format!("{} cannot be counted", case.name))
        };
        let mut counted = count()?;
        let listed = list.of(case.name).or(renewed.then_some(counted));
        let listed = listed
            .with_context(|| format!("{LIST} lacks {PROFILE} {}; {RENEW}=1 adds it", case.name))?;
        let percent = |counted: f64| (counted / listed - 1.0) * 100.0;
        for _ in 0..AGAIN {
            if percent(counted) > bound {
                counted = counted.min(count()?);
            }
        }
        let more = percent(counted);
        println!(
            "{:<44} {listed:>10.0} {counted:>10.0} {more:>+7.2}",
            format!("{} ({})", case.name, case.what)
        );
        if more > bound {
            dearer.push(case.name);
        }
        list.put(case.name, counted);
    }
    if renewed {
        list.compiler = compiler;
        return list.write();
    }
    ensure!(
        dearer.is_empty(),
        "{} cost over {bound} % more than {LIST} says. If that is the price of something worth it, \
         renew the list: {RENEW}=1 with the same command",
        dearer.join(", ")
    );
    Ok(())
}

impl Case {
    /// Instructions of one round.
    fn counted(&self) -> anyhow::Result<f64> {
        let folder = tempfile::tempdir()?;
        let (once, twice) = (self.times, 2 * self.times);
        // side by side: counts do not mind
        let (first, second) = (
            self.start(once, folder.path())?,
            self.start(twice, folder.path())?,
        );
        let (once, twice) = (
            self.total(first, once, folder.path())?,
            self.total(second, twice, folder.path())?,
        );
        let difference = twice.checked_sub(once).context("more rounds cost less")?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(difference as f64 / self.times as f64)
    }

    fn start(&self, times: usize, folder: &Path) -> anyhow::Result<Child> {
        let mut out = std::ffi::OsString::from("--callgrind-out-file=");
        out.push(self.out(times, folder));
        let child = Command::new("valgrind")
            .args(["--tool=callgrind", "--separate-threads=yes"])
            .arg(out)
            .arg(env::current_exe()?)
            .args([CASE, self.name, &times.to_string()])
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(child)
    }

    /// Instructions of the thread that works, from its beginning.
    fn total(&self, child: Child, times: usize, folder: &Path) -> anyhow::Result<u64> {
        let ended = child.wait_with_output()?;
        ensure!(
            ended.status.success(),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        let mut file = self.out(times, folder).into_os_string();
        write!(file, "-{:02}", self.thread)?;
        let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        Ok(total.context("no totals")?.trim().parse()?)
    }

    fn out(&self, times: usize, folder: &Path) -> PathBuf {
        folder.join(format!("{}.{times}", self.name))
    }
}

/// What is written down. Lines of the other profile are kept as they are.
struct List {
    compiler: String,
    counts: BTreeMap<(String, String), f64>,
}

impl List {
    fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string(LIST).unwrap_or_default();
        let mut list = Self {
            compiler: String::new(),
            counts: BTreeMap::new(),
        };
        for line in text.lines() {
            if let Some(compiler) = line.strip_prefix("compiler ") {
                compiler.clone_into(&mut list.compiler);
            } else if !line.starts_with('#') {
                let words: Vec<_> = line.split_whitespace().collect();
                let [profile, name, count] = words[..] else {
                    anyhow::bail!("{LIST}: no profile, case and count: {line}");
                };
                let key = (profile.to_owned(), name.to_owned());
                list.counts.insert(key, count.parse()?);
            }
        }
        Ok(list)
    }

    fn of(&self, name: &str) -> Option<f64> {
        let key = (PROFILE.to_owned(), name.to_owned());
        self.counts.get(&key).copied()
    }

    fn put(&mut self, name: &str, count: f64) {
        let key = (PROFILE.to_owned(), name.to_owned());
        self.counts.insert(key, count);
    }

    fn write(&self) -> anyhow::Result<()> {
        let mut text = format!(
            "# Instructions of one round of each case, by profile. Written by UPDATE=1, see counted.rs.\n\
             compiler {}\n",
            self.compiler
        );
        for ((profile, name), count) in &self.counts {
            writeln!(text, "{profile} {name} {count:.0}")?;
        }
        fs::write(LIST, text)?;
        println!("{LIST} is written anew");
        Ok(())
    }
}

fn valgrind_ready() -> bool {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// As it names itself; nothing when it is not there.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
