//! What was measured, as a table, as JSON and as a plot.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::load::Run;
use crate::{Line, Words, plot};

/// What one server did in one round.
#[derive(Debug, Clone, Serialize)]
struct Round {
    /// Nanoseconds of the server's processor time for a frame.
    cost: f64,
    /// Frames in a second.
    rate: f64,
    /// Microseconds to the last subscriber.
    p50: f64,
    p99: f64,
    publications: usize,
}

/// What one server did in a cell.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    server: &'static str,
    rounds: Vec<Round>,
    /// Least, median and greatest of the rounds' ratios to the limit.
    ratio: [f64; 3],
    /// Bytes of its memory for a subscriber.
    memory: Option<f64>,
}

impl Row {
    /// Of a server that has done nothing yet.
    pub fn of(server: &'static str) -> Self {
        Self {
            server,
            rounds: Vec::new(),
            ratio: [f64::NAN; 3],
            memory: None,
        }
    }

    /// One round more.
    pub fn add(&mut self, run: &Run) {
        self.rounds.push(round(run));
    }

    /// Its memory grew by so much, by the time that so many were there; the first time counts.
    pub fn grew(&mut self, bytes: u64, subscribers: usize) {
        self.memory.get_or_insert(bytes as f64 / subscribers as f64);
    }
}

/// What all servers did in a cell.
#[derive(Debug, Serialize)]
pub struct Table {
    cell: &'static str,
    subscribers: usize,
    rows: Vec<Row>,
}

impl Table {
    /// Compares all with `limit`, round by round.
    pub fn new(cell: &'static str, subscribers: usize, limit: &str, mut rows: Vec<Row>) -> Self {
        if let Some(limit) = rows.iter().find(|row| row.server == limit) {
            let limits = limit.rounds.clone();
            for row in &mut rows {
                let ratios = row.rounds.iter().zip(&limits);
                row.ratio = spread(ratios.map(|(round, limit)| round.cost / limit.cost));
            }
        }
        Self {
            cell,
            subscribers,
            rows,
        }
    }

    /// Prints it.
    ///
    /// # Errors
    /// When nobody takes it.
    pub fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "\nfanout/{:<24} {:>9}  {:<18} {:>10} {:>10} {:>10} {:>8}",
            self.cell, "ns/frame", "ratio", "frames/s", "last p50", "last p99", "KiB each"
        )?;
        for row in &self.rows {
            let [least, middle, greatest] = row.ratio;
            let ratio = format!("{middle:.2} ({least:.2}-{greatest:.2})");
            let millis = |micros: f64| format!("{:.2} ms", micros / 1000.0);
            let memory = row
                .memory
                .map_or_else(|| "-".to_owned(), |bytes| format!("{:.1}", bytes / 1024.0));
            writeln!(
                out,
                "{:<31} {:>9.0}  {:<18} {:>10.0} {:>10} {:>10} {:>8}",
                row.server,
                median(row, |round| round.cost),
                ratio,
                median(row, |round| round.rate),
                millis(median(row, |round| round.p50)),
                millis(median(row, |round| round.p99)),
                memory
            )?;
        }
        Ok(())
    }
}

fn round(run: &Run) -> Round {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Round {
        cost: run.cost(),
        rate: run.rate(),
        p50: micros(run.percentile(50)),
        p99: micros(run.percentile(99)),
        publications: run.last.len(),
    }
}

/// Least, median, greatest.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    match values[..] {
        [] => [f64::NAN; 3],
        [least, .., greatest] => [least, values[values.len() / 2], greatest],
        [only] => [only; 3],
    }
}

fn median(row: &Row, of: impl Fn(&Round) -> f64) -> f64 {
    spread(row.rounds.iter().map(of))[1]
}

/// Writes `fanout.json` and, of several numbers of subscribers, `fanout.svg` to `folder`.
///
/// # Errors
/// When they cannot be written.
pub fn keep(tables: &[Table], folder: &Path) -> anyhow::Result<()> {
    let json = folder.join("fanout.json");
    std::fs::write(&json, serde_json::to_string_pretty(tables)?)?;
    println!("\nevery round is in {}", json.display());
    let mut lines: Vec<Line> = Vec::new();
    for table in tables
        .iter()
        .filter(|table| table.cell.starts_with("single/"))
    {
        let subscribers = table.subscribers as f64;
        for row in &table.rows {
            let cost = median(row, |round| round.cost) * subscribers / 1000.0;
            match lines.iter_mut().find(|line| line.name == row.server) {
                Some(line) => line.points.push((subscribers, cost)),
                None => lines.push(Line {
                    name: row.server.to_owned(),
                    points: vec![(subscribers, cost)],
                }),
            }
        }
    }
    if lines.iter().any(|line| line.points.len() > 1) {
        let svg = folder.join("fanout.svg");
        let words = Words {
            title: "A roster change of 350 B to N subscribers",
            across: "subscribers",
            up: "server's processor time for one publication, µs",
        };
        std::fs::write(&svg, plot(words, &lines))?;
        println!("cost against subscribers is drawn in {}", svg.display());
    }
    Ok(())
}
