//! A roster delta to N WebSocket subscribers until the last one has it: what it costs the server,
//! beside a bare loop of writes and beside peers, and how long it takes.
//!
//! `cargo bench -p openmic-benches --bench fanout` takes two to three minutes; `-- --full` adds 10,000
//! subscribers and takes a quarter of an hour. Words choose among the cells, `--servers a,b` among
//! the servers. Servers that are not installed are named and left out; `benches/peers` has what
//! they need. Server and subscribers run on processors of their own where there are two.
//!
//! The table is of medians over rounds in which the servers take turns; `ratio` is that of the
//! rounds' own ratios to `limit`, with the least and the greatest. Beside the table a JSON file has
//! every round, and an SVG file shows cost against the number of subscribers.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use openmic_benches::fanout::{
    Contender, Cores, Crowd, Load, Pace, Role, Row, Server, Setting, Table, delta_frame, keep,
    serve, stall,
};

/// Header of a frame of 126 to 65,535 bytes.
const HEADER: usize = 4;
/// Descriptors of this process besides the subscribers'.
const OTHER_FILES: u64 = 256;
/// Files of what was measured.
const OUT: &str = env!("CARGO_TARGET_TMPDIR");

/// What is asked of all servers.
#[derive(Debug, Clone, Copy)]
struct Cell {
    name: &'static str,
    topics: usize,
    /// Subscribers of a topic.
    each: usize,
    /// Length of a frame.
    bytes: usize,
    pace: Pace,
    /// Only with `--full`.
    long: bool,
}

const fn cell(name: &'static str, topics: usize, each: usize, bytes: usize, pace: Pace) -> Cell {
    Cell {
        name,
        topics,
        each,
        bytes,
        pace,
        long: topics * each > 2000,
    }
}

const ONE: Pace = Pace::UnderWay(1);
const BURST: Pace = Pace::UnderWay(16);
const RATE: Pace = Pace::PerSecond(20);
/// A change of each of a thousand calls twice in a second.
const CALLS_RATE: Pace = Pace::PerSecond(2000);

const CELLS: [Cell; 14] = [
    cell("single/10", 1, 10, 350, ONE),
    cell("single/100", 1, 100, 350, ONE),
    cell("single/1000", 1, 1000, 350, ONE),
    cell("single/10000", 1, 10_000, 350, ONE),
    cell("single-4k/1000", 1, 1000, 4096, ONE),
    cell("single-4k/10000", 1, 10_000, 4096, ONE),
    cell("burst/1000", 1, 1000, 350, BURST),
    cell("burst/10000", 1, 10_000, 350, BURST),
    cell("rate/1000", 1, 1000, 350, RATE),
    cell("rate/10000", 1, 10_000, 350, RATE),
    cell("topics/100x10", 100, 10, 350, Pace::Waves(100)),
    cell("topics/1000x10", 1000, 10, 350, Pace::Waves(1000)),
    cell("topics-rate/100x10", 100, 10, 350, CALLS_RATE),
    cell("topics-rate/1000x10", 1000, 10, 350, CALLS_RATE),
];

struct Options {
    full: bool,
    once: bool,
    words: Vec<String>,
    servers: Vec<Contender>,
}

fn main() -> anyhow::Result<()> {
    if let Some(role) = Role::of(std::env::args().skip(1))? {
        return serve(&role);
    }
    let Some(options) = options()? else {
        return Ok(());
    };
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    let cores = Cores::divide()?;
    if !cores.are_apart() {
        println!("one processor only: subscribers are on the server's, and in its way");
    }
    let mut tables = Vec::new();
    for cell in CELLS {
        let chosen =
            options.words.is_empty() || options.words.iter().any(|word| cell.name.contains(word));
        if !chosen || (cell.long && !options.full) {
            continue;
        }
        let subscribers = cell.topics * cell.each;
        let needed = subscribers as u64 + OTHER_FILES;
        if needed > files {
            println!(
                "skipped: fanout/{} ({needed} open files, the limit is {files})",
                cell.name
            );
            continue;
        }
        let table = measure(cell, &options, &cores, files)?;
        table.print()?;
        tables.push(table);
    }
    stalled(&options, &cores, files)?;
    keep(&tables, Path::new(OUT))
}

/// `None` when another bench is asked for.
fn options() -> anyhow::Result<Option<Options>> {
    let mut options = Options {
        full: false,
        once: false,
        words: Vec::new(),
        servers: Contender::ALL.to_vec(),
    };
    let mut named = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full" => options.full = true,
            "--test" => options.once = true,
            "--servers" => {
                let names = arguments.next().unwrap_or_default();
                let names: Vec<_> = names.split(',').collect();
                options
                    .servers
                    .retain(|server| names.contains(&server.as_str()));
                anyhow::ensure!(
                    options.servers.len() == names.len(),
                    "--servers: one or more of {}, with commas",
                    Contender::ALL.map(Contender::as_str).join(", ")
                );
            }
            flag if flag.starts_with('-') => {}
            word => {
                named = true;
                let word = word.trim_start_matches("fanout").trim_start_matches('/');
                options.words.push(word.to_owned());
            }
        }
    }
    let known = |word: &String| {
        "stalled".contains(word.as_str())
            || CELLS.iter().any(|cell| cell.name.contains(word.as_str()))
    };
    if named && !options.words.iter().any(known) {
        return Ok(None);
    }
    if options.once {
        options
            .servers
            .retain(|server| matches!(server, Contender::Limit | Contender::Openmic));
    }
    options.servers.retain(|server| match server.missing() {
        None => true,
        Some(remedy) => {
            println!("skipped: fanout/{server} ({remedy})");
            false
        }
    });
    Ok(Some(options))
}

/// A server of a cell while it runs; it ends before its subscribers do.
struct Live {
    server: Server,
    crowd: Crowd,
    /// Its memory before anybody came.
    lean: u64,
}

fn measure(cell: Cell, options: &Options, cores: &Cores, files: u64) -> anyhow::Result<Table> {
    let frame = delta_frame(cell.bytes)?;
    let mut payload = tempfile::NamedTempFile::new()?;
    payload.write_all(&frame[HEADER..])?;
    let setting = Setting {
        topics: cell.topics,
        payload: payload.path(),
        bytes: cell.bytes,
    };
    let subscribers = cell.topics * cell.each;
    let contenders: Vec<_> = options
        .servers
        .iter()
        .copied()
        .filter(|server| match server {
            // it joins what waits, and only bursts do
            Contender::LimitJoined => cell.name.starts_with("burst"),
            // how much it costs is told once
            Contender::OpenmicTls => cell.topics == 1 && cell.each == 1000 && cell.pace != RATE,
            _ => true,
        })
        .collect();
    // alternating in short turns is best; where the files do not suffice each turn has a server anew
    let stay = (contenders.len() * subscribers) as u64 + OTHER_FILES < files;
    let (rounds, lasts) = match (options.once, stay, cell.pace) {
        (true, ..) => (1, 50),
        (_, true, Pace::PerSecond(rate)) if rate > 20 => (3, 600),
        (_, true, Pace::PerSecond(_)) => (3, 1000),
        (_, true, _) => (5, 400),
        (_, false, _) => (3, 1500),
    };
    let load = Load {
        pace: cell.pace,
        lasts: Duration::from_millis(lasts),
    };
    let warm = Load {
        lasts: load.lasts / 4,
        ..load
    };
    let mut rows: Vec<_> = contenders
        .iter()
        .map(|contender| Row::of(contender.as_str()))
        .collect();
    let mut there: Vec<Option<Live>> = contenders.iter().map(|_| None).collect();
    for _ in 0..rounds {
        for (number, contender) in contenders.iter().enumerate() {
            let mut live = if let Some(live) = there[number].take() {
                live
            } else {
                let server = Server::start(*contender, &setting, cores)?;
                let lean = server.resident()?;
                let crowd = Crowd::join(&server, cell.each)?;
                Live {
                    server,
                    crowd,
                    lean,
                }
            };
            let Live {
                server,
                crowd,
                lean,
            } = &mut live;
            // pings that came in the turns of others, too
            let run = warm
                .run(server, crowd)
                .and_then(|_| load.run(server, crowd));
            let run =
                run.map_err(|error| error.context(format!("{contender} in {}", cell.name)))?;
            let row = &mut rows[number];
            row.add(&run);
            // with many topics most of it is what they hold for who resumes
            if cell.each >= 1000 {
                row.grew(server.resident()?.saturating_sub(*lean), subscribers);
            }
            if stay {
                there[number] = Some(live);
            }
        }
    }
    Ok(Table::new(
        cell.name,
        subscribers,
        Contender::Limit.as_str(),
        rows,
    ))
}

/// Subscribers that do not read, beside a hundred that do.
fn stalled(options: &Options, cores: &Cores, files: u64) -> anyhow::Result<()> {
    const READERS: usize = 100;
    let chosen = options.words.is_empty()
        || options
            .words
            .iter()
            .any(|word| "stalled".contains(word.as_str()));
    if !chosen || !options.servers.contains(&Contender::Openmic) {
        return Ok(());
    }
    let count = match (options.once, options.full) {
        (true, _) => 10,
        (_, false) => 1000,
        (_, true) => 10_000,
    };
    if (count + READERS) as u64 + OTHER_FILES > files {
        println!("skipped: fanout/stalled ({count} open files, the limit is {files})");
        return Ok(());
    }
    let frame = delta_frame(4096)?;
    let mut payload = tempfile::NamedTempFile::new()?;
    payload.write_all(&frame[HEADER..])?;
    let setting = Setting {
        topics: 1,
        payload: payload.path(),
        bytes: 4096,
    };
    let mut server = Server::start(Contender::Openmic, &setting, cores)?;
    let mut crowd = Crowd::join(&server, READERS)?;
    let load = Load {
        pace: ONE,
        lasts: Duration::from_millis(500),
    };
    let fill = Load {
        lasts: Duration::from_secs(3),
        ..load
    };
    let done = stall(&mut server, &mut crowd, count, load, fill)?;
    println!("\nfanout/stalled: {count} that do not read, {READERS} that do: {done}");
    Ok(())
}
