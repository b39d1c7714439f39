//! Notifications per second on one core: a signed POST over HTTP, through the engine's webhook, to
//! the subscribers of the call.
//!
//! `bare` is a server of the same HTTP library on the same listener that reads the same POST and
//! answers 202. `cached` have a token that was validated before, as Graph's are for an hour, `fresh`
//! each a new one: RS256 with 2048 bits. All are merged into the roster of one of 16 calls; with
//! subscribers each is a delta to ten of them.
//!
//! The server is a process on a processor of its own; what counts is its processor time, all that a
//! notification leads to included. Servers take turns; a cell is the median of the rounds, `x` the
//! median of the rounds' own ratios to `bare`. Below is where the time goes: the steps that can be
//! taken by themselves, timed by themselves, and what is left.
//!
//! `cargo bench -p openmic-benches --bench notify` takes about half a minute.

use openmic_benches::fanout::Cores;
use openmic_benches::idle::serve_graph;
use openmic_benches::notify::{Sender, Signer, Stages, Takes, Taking, take};
use tokio::runtime::Builder;

const GRAPH: &str = "--play-graph";
const TAKE: &str = "--take";
const ROUNDS: usize = 9;
const EACH: usize = 4000;
/// Signing takes longer than checking.
const FRESH: usize = 1600;
const SUBSCRIBERS: usize = 10;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [GRAPH] => {
            let one = Builder::new_current_thread().enable_all().build()?;
            let served = one.block_on(serve_graph());
            one.shutdown_background();
            served
        }
        [TAKE, who, key, subscribers] => take(&Taking {
            who,
            key,
            subscribers: subscribers.parse()?,
            graph: GRAPH,
        }),
        // Anything but `cargo bench` wants to know whether it works at all.
        flags if !flags.contains(&"--bench") => table(1, 16, 16),
        _ => table(ROUNDS, EACH, FRESH),
    }
}

struct Row {
    name: &'static str,
    sender: usize,
    fresh: bool,
}

fn table(rounds: usize, each: usize, fresh: usize) -> anyhow::Result<()> {
    let cores = Cores::divide()?;
    if !cores.are_apart() {
        println!("one processor only: the sender is on the server's, and in its way");
    }
    let mut signer = Signer::new()?;
    let key = signer.public()?;
    let start = |who, subscribers| Sender::start(who, &key, subscribers, TAKE, &cores);
    let mut senders = [
        start(Takes::Bare, 0)?,
        start(Takes::Openmic, 0)?,
        start(Takes::Openmic, SUBSCRIBERS)?,
    ];
    let row = |name, sender, fresh| Row {
        name,
        sender,
        fresh,
    };
    let rows = [
        row("bare", 0, false),
        row("cached", 1, false),
        row("fresh", 1, true),
        row("cached, 10 subscribers", 2, false),
    ];
    let known = [signer.token()?];
    let mut taken = rows.each_ref().map(|_| Vec::new());
    for round in 0..=rounds {
        for (row, taken) in rows.iter().zip(&mut taken) {
            let sender = &mut senders[row.sender];
            let burst = if row.fresh {
                let tokens = (0..fresh).map(|_| signer.token());
                let tokens = tokens.collect::<anyhow::Result<Vec<_>>>()?;
                sender.send(&tokens, fresh)?
            } else {
                sender.send(&known, each)?
            };
            // the first one makes room and fills caches
            if round > 0 {
                taken.push(burst.cost);
            }
        }
    }
    println!(
        "{:<24} {:>9} {:>12}  x",
        "notifications", "us each", "/s and core"
    );
    for (row, costs) in rows.iter().zip(&taken) {
        let micros = median(costs.iter().map(|cost| cost.0.as_secs_f64() * 1e6));
        let rate = median(costs.iter().map(|cost| cost.per_second()));
        let both = costs.iter().zip(&taken[0]);
        let ratio = median(both.map(|(ours, bare)| bare.per_second() / ours.per_second()));
        println!("{:<24} {micros:>9.1} {rate:>12.0}  {ratio:.2}", row.name);
    }
    let stages = Stages::measure(&mut signer)?;
    let micros = |row: usize| median(taken[row].iter().map(|cost| cost.0.as_secs_f64() * 1e6));
    let [known, new, decode] =
        [stages.known_token, stages.new_token, stages.decode].map(|took| took.as_secs_f64() * 1e6);
    println!("\nof them, us");
    for (what, took) in [
        ("HTTP", micros(0)),
        ("a token that is known", known),
        ("a token that is new", new),
        ("decoding", decode),
        (
            "mailbox, machine, merge",
            micros(1) - micros(0) - known - decode,
        ),
        ("ten subscribers", micros(3) - micros(1)),
    ] {
        println!("{what:<24} {took:>9.1}");
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
