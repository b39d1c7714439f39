//! Idle calls: memory, how fast they come to be, and the round trip of a command, beside bare
//! tokio tasks and the actors of kameo and ractor.
//!
//! Each row is three processes that take turns with those of the other rows, and shows the medians of them; a round trip
//! in one is the median of nine rounds. The peers are a workspace of their own, because they want
//! other features of tokio than the project: they are measured when they were built before,
//!
//! ```sh
//! cargo build --release --manifest-path benches/peers/actors/Cargo.toml
//! cargo bench --bench calls
//! ```
//!
//! `OPENMIC_CALLS=1000,1000000` says how many calls; a million take 2 GiB, those of
//! kameo and ractor 8, and a quarter of an hour. Of several numbers an SVG file shows memory against calls.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use openmic::Durability;
use openmic_benches::idle::{Measured, measure_openmic, measure_task, serve_graph};
use openmic_benches::{Line, Words, plot};
use tokio::runtime::{Builder, Runtime};

const GRAPH: &str = "--play-graph";
const MEASURE: &str = "--measure";
/// Calls whose records are written down, though not synced: what a journal keeps in memory of each
/// is the same.
const JOURNALED: &str = "openmic, journaled";
const COUNTS: &str = "1000,10000,100000";
/// Processes of each row.
const SITTINGS: usize = 3;
/// Worker threads of what is measured.
const THREADS: usize = 2;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [GRAPH] => {
            let one = Builder::new_current_thread().enable_all().build()?;
            // What reads its input may be blocked for ever.
            let served = one.block_on(serve_graph());
            one.shutdown_background();
            served
        }
        [MEASURE, kind, count] => {
            println!("{}", measured(kind, count.parse()?)?.to_line());
            Ok(())
        }
        // Anything but `cargo bench` wants to know whether it works at all.
        flags if !flags.contains(&"--bench") => table(&[100]),
        _ => {
            let counts = env::var("OPENMIC_CALLS").unwrap_or_else(|_| COUNTS.to_owned());
            let counts = counts.split(',').map(|count| count.trim().parse());
            table(&counts.collect::<Result<Vec<_>, _>>()?)
        }
    }
}

fn measured(kind: &str, count: usize) -> anyhow::Result<Measured> {
    let runtime: Runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    let measured = match kind {
        "openmic" => runtime.block_on(measure_openmic(count, GRAPH, None)),
        JOURNALED => {
            let durability = Some(Durability::ProcessCrash);
            runtime.block_on(measure_openmic(count, GRAPH, durability))
        }
        "task" => runtime.block_on(measure_task(count)),
        other => anyhow::bail!("nobody knows how to measure {other}"),
    };
    runtime.shutdown_background();
    measured
}

fn table(counts: &[usize]) -> anyhow::Result<()> {
    let own = env::current_exe()?;
    let peers = peers();
    println!(
        "| calls | what | bytes each (RSS) | spawned/s | round trip p50, us | p99, us |\n\
         |--:|---|--:|--:|--:|--:|"
    );
    let mut lines: Vec<Line> = Vec::new();
    for count in counts {
        let rows = [
            ("openmic", Some(&own)),
            (JOURNALED, Some(&own)),
            ("task", Some(&own)),
            ("kameo", peers.as_ref()),
            ("ractor", peers.as_ref()),
        ];
        let mut taken = rows.map(|_| Vec::new());
        for sitting in 1..=SITTINGS {
            for ((kind, program), taken) in rows.iter().zip(&mut taken) {
                if let Some(program) = program {
                    eprintln!("{count} calls, sitting {sitting} of {SITTINGS}: {kind}");
                    taken.push(ask(program, kind, *count)?);
                }
            }
        }
        for ((kind, _), taken) in rows.iter().zip(taken) {
            let Some(Measured {
                bytes,
                spawned,
                p50,
                p99,
            }) = Measured::median(&taken)
            else {
                println!("| {count} | {kind} | not built, skipped | | | |");
                continue;
            };
            println!("| {count} | {kind} | {bytes:.0} | {spawned:.0} | {p50:.2} | {p99:.2} |");
            let calls = f64::from(u32::try_from(*count)?);
            let point = (calls, bytes * calls / 1e6);
            match lines.iter_mut().find(|line| line.name == *kind) {
                Some(line) => line.points.push(point),
                None => lines.push(Line {
                    name: (*kind).to_owned(),
                    points: vec![point],
                }),
            }
        }
    }
    if counts.len() > 1 {
        draw(&lines)?;
    }
    Ok(())
}

fn draw(lines: &[Line]) -> anyhow::Result<()> {
    let svg = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calls.svg");
    let words = Words {
        title: "N idle calls, each with a roster of three",
        across: "calls",
        up: "resident memory, MB",
    };
    std::fs::write(&svg, plot(words, lines))?;
    println!("\nmemory against calls is drawn in {}", svg.display());
    Ok(())
}

fn ask(program: &Path, kind: &str, count: usize) -> anyhow::Result<Measured> {
    let output = Command::new(program)
        .args([MEASURE, kind, &count.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "{kind} with {count} calls: {}",
        output.status
    );
    let text = String::from_utf8(output.stdout)?;
    for line in text.lines() {
        if let Some(measured) = Measured::of_line(line)? {
            return Ok(measured);
        }
    }
    None.with_context(|| format!("{kind} with {count} calls measured nothing"))
}

/// The program of the peers, when it was built.
fn peers() -> Option<PathBuf> {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/actors/target/release/openmic-peers");
    program.exists().then_some(program)
}
