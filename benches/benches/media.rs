//! Packets of one speaker forwarded to N listeners: processor time of the forwarding thread for each,
//! beside a bare loop of `recv` and connected `send`.
//!
//! Real UDP sockets on loopback, packets of 200 bytes. `flow` keeps 16 packets under way, so that the
//! thread never sleeps; `one` waits for each, so that the way into sleep and out of it counts, too.
//! The two take turns. `x` is the median of the rounds' own ratios, with the least and the greatest.
//!
//! `cargo bench -p openmic-benches --bench media` takes about half a minute; a number chooses a row.
//! Forwarder and listeners run on processors of their own where there are two.

use std::time::Duration;

use openmic_benches::fanout::Cores;
use openmic_benches::{Room, Talk, Way};

const LISTENERS: [usize; 5] = [1, 4, 8, 16, 64];
const PACES: [(&str, u64); 2] = [("flow", 16), ("one", 1)];
const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_millis(150);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<usize> = arguments
        .iter()
        .filter_map(|word| word.parse().ok())
        .collect();
    // A test run of all targets only wants to know that it works.
    let once = arguments.iter().any(|word| word == "--test");
    let (rounds, turn) = if once {
        (1, Duration::from_millis(5))
    } else {
        (ROUNDS, TURN)
    };
    let cores = Cores::divide()?;
    if !cores.are_apart() {
        println!("one processor only: listeners are on the forwarder's, and in its way");
    }
    println!("listeners  pace  bare, ns  openmic, ns  x");
    for listeners in LISTENERS {
        if !wanted.is_empty() && !wanted.contains(&listeners) {
            continue;
        }
        let mut rooms = [
            Room::open(Way::Bare, listeners, &cores)?,
            Room::open(Way::Openmic, listeners, &cores)?,
        ];
        for (pace, under_way) in PACES {
            let mut taken = [Vec::new(), Vec::new()];
            for round in 0..rounds {
                for side in [round % 2, 1 - round % 2] {
                    rooms[side].talk(turn / 5, under_way)?;
                    taken[side].push(each(rooms[side].talk(turn, under_way)?));
                }
            }
            let [bare, ours] = &taken;
            let ratios = sorted(ours.iter().zip(bare).map(|(ours, bare)| ours / bare));
            println!(
                "{listeners:>9}  {pace:<4}  {:>8.0}  {:>11.0}  {:.2} ({:.2}-{:.2})",
                median(&sorted(bare.iter().copied())),
                median(&sorted(ours.iter().copied())),
                median(&ratios),
                ratios[0],
                ratios[ratios.len() - 1],
            );
        }
        let leaked: u64 = rooms.iter().map(Room::leaked).sum();
        anyhow::ensure!(leaked == 0, "{leaked} packets left through a closed gate");
    }
    Ok(())
}

/// Nanoseconds for a packet of one listener.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each(talk: Talk) -> f64 {
    talk.processor.as_nanos() as f64 / talk.forwarded.max(1) as f64
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
