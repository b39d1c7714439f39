//! Packets of one speaker forwarded to N listeners: processor time of the forwarding thread for each,
//! beside a bare loop of `recv` and connected `send`, and beside Debian's Janus where it is installed.
//!
//! `listening` is the bare loop once more, with a poll on the sockets it sends from, as openmic has one:
//! those it sends to may speak. The kernel then calls that poll for each packet that has left.
//!
//! Real UDP sockets on loopback, packets of 200 bytes. `flow` keeps 16 packets under way, so that the
//! thread never sleeps; `one` waits for each, so that the way into sleep and out of it counts, too.
//! `mute` is `flow` with the speaker muted: processor time for a packet that is read and dropped (and
//! listened to, whether somebody talks while muted), beside a bare loop of `recv`. Dropping is faster
//! than speaking, so there the thread does sleep. Janus does not tell what it has dropped, so that
//! cell is empty.
//!
//! The forwarders take turns. `x` is the median of the rounds' own ratios to the bare loop, with the
//! least and the greatest.
//!
//! The gate has no row of its own, because no build goes without it. An open one is six instructions
//! for each packet and six for each listener, loads and jumps that are not taken: 54 of the 2,500 that
//! `forward` in `instructions` counts for 8 listeners, and the kernel's are not among those.
//!
//! `cargo bench -p openmic-benches --bench media` takes a minute and a quarter; numbers and paces
//! choose rows. Forwarder and listeners run on processors of their own where there are two.

use std::time::Duration;

use anyhow::Context as _;
use openmic_benches::fanout::Cores;
use openmic_benches::{Room, Talk, Way};

const LISTENERS: [usize; 5] = [1, 4, 8, 16, 64];
/// Packets under way.
const FLOW: u64 = 16;
const PACES: [(&str, u64); 2] = [("flow", FLOW), ("one", 1)];
const MUTE: &str = "mute";
/// Listeners of a muted speaker.
const DEAF: usize = 8;
/// What is set beside the bare loop, and how wide its times are.
const COLUMNS: [(Way, usize); 3] = [(Way::Listening, 13), (Way::Openmic, 11), (Way::Janus, 9)];
const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_millis(150);

struct Options {
    words: Vec<String>,
    rounds: usize,
    turn: Duration,
}

fn main() -> anyhow::Result<()> {
    let (flags, words): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|word| word.starts_with('-'));
    // A test run of all targets only wants to know that it works.
    let once = flags.iter().any(|flag| flag == "--test");
    let (rounds, turn) = if once {
        // shorter, and the system may not have counted yet
        (1, Duration::from_millis(40))
    } else {
        (ROUNDS, TURN)
    };
    let options = Options {
        words,
        rounds,
        turn,
    };
    let cores = Cores::divide()?;
    if !cores.are_apart() {
        println!("one processor only: listeners are on the forwarder's, and in its way");
    }
    let mut ways = vec![Way::Bare, Way::Listening, Way::Openmic, Way::Janus];
    ways.retain(|way| match way {
        Way::Janus if once => false,
        way => match way.missing(&cores) {
            None => true,
            Some(remedy) => {
                println!("skipped: media/{way} ({remedy})");
                false
            }
        },
    });
    let others =
        COLUMNS.map(|(way, width)| format!("{:>width$}  {:16}", format!("{way}, ns"), "x"));
    println!(
        "listeners  pace  bare, ns  {}",
        others.join("  ").trim_end()
    );
    for listeners in LISTENERS {
        let paces = PACES.map(|(pace, under_way)| {
            let chosen = options.chooses(listeners, pace);
            chosen.then_some((pace, under_way))
        });
        if paces.iter().all(Option::is_none) {
            continue;
        }
        let mut rooms = open(&ways, |way| Room::open(way, listeners, &cores))?;
        for (pace, under_way) in paces.into_iter().flatten() {
            row(&mut rooms, &options, listeners, pace, under_way)?;
        }
        let leaked: u64 = rooms.iter().map(|(_, room)| room.leaked()).sum();
        anyhow::ensure!(leaked == 0, "{leaked} packets left through a closed gate");
    }
    if options.chooses(DEAF, MUTE) {
        // whoever sends nothing has nothing to pay for listening
        let ways = [Way::Bare, Way::Openmic];
        let mut rooms = open(&ways, |way| Room::open_muted(way, DEAF, &cores))?;
        row(&mut rooms, &options, DEAF, MUTE, FLOW)?;
    }
    Ok(())
}

impl Options {
    fn chooses(&self, listeners: usize, pace: &str) -> bool {
        let (numbers, paces): (Vec<_>, Vec<_>) = self
            .words
            .iter()
            .partition(|word| word.parse::<usize>().is_ok());
        let number = listeners.to_string();
        (numbers.is_empty() || numbers.contains(&&number))
            && (paces.is_empty() || paces.iter().any(|word| *word == pace))
    }
}

fn open(
    ways: &[Way],
    one: impl Fn(Way) -> anyhow::Result<Room>,
) -> anyhow::Result<Vec<(Way, Room)>> {
    let room = |way: &Way| {
        let room = one(*way).with_context(|| format!("no room for {way}"))?;
        Ok((*way, room))
    };
    ways.iter().map(room).collect()
}

/// Lets the rooms take turns and prints what they took, the bare loop's first.
fn row(
    rooms: &mut [(Way, Room)],
    options: &Options,
    listeners: usize,
    pace: &str,
    under_way: u64,
) -> anyhow::Result<()> {
    let mut taken: Vec<_> = rooms.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for turn in 0..rooms.len() {
            let side = (round + turn) % rooms.len();
            let (_, room) = &mut rooms[side];
            room.talk(options.turn / 5, under_way)?;
            taken[side].push(each(room.talk(options.turn, under_way)?));
        }
    }
    let bare = &taken[0];
    let mut cells = vec![format!(
        "{listeners:>9}  {pace:<4}  {:>8.0}",
        median(&sorted(bare.iter().copied()))
    )];
    for (way, width) in COLUMNS {
        let Some(side) = rooms.iter().position(|(room, _)| *room == way) else {
            cells.push(format!("{:width$}  {:16}", "", ""));
            continue;
        };
        let ratios = sorted(taken[side].iter().zip(bare).map(|(one, bare)| one / bare));
        let ratio = format!(
            "{:.2} ({:.2}-{:.2})",
            median(&ratios),
            ratios[0],
            ratios[ratios.len() - 1]
        );
        let nanos = median(&sorted(taken[side].iter().copied()));
        cells.push(format!("{nanos:>width$.0}  {ratio:<16}"));
    }
    println!("{}", cells.join("  ").trim_end());
    Ok(())
}

/// Nanoseconds for a packet of one listener.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each(talk: Talk) -> f64 {
    talk.processor.as_nanos() as f64 / talk.packets.max(1) as f64
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
