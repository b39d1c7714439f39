//! Idle actors of kameo and ractor, measured as the bench `calls` measures calls. They hold as much
//! as its bare task, take the same command and answer it, and do nothing else.
//!
//! `openmic-peers --measure kameo 10000`

mod kameo;
#[path = "../../../src/idle/measure.rs"]
#[allow(dead_code, reason = "the bench reads what this writes")]
mod measure;
#[path = "../../../src/memory.rs"]
mod memory;
mod ractor;

/// The state of a call's machine, as small as it could be.
const STATE: usize = 208;

type Event = [u8; 40];

/// What a command changes, and its answer.
fn step(state: &mut [u8; STATE], event: &Event) -> u64 {
    for (held, said) in state.iter_mut().zip(event) {
        *held = held.wrapping_add(*said);
    }
    u64::from(state[0])
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, kind, count] = &arguments[..] else {
        anyhow::bail!("say --measure, kameo or ractor, and how many");
    };
    anyhow::ensure!(flag == "--measure", "say --measure first");
    let count = count.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let measured = match kind.as_str() {
        "kameo" => runtime.block_on(kameo::measure(count))?,
        "ractor" => runtime.block_on(ractor::measure(count))?,
        other => anyhow::bail!("nobody knows how to measure {other}"),
    };
    println!("{}", measured.to_line());
    runtime.shutdown_background();
    Ok(())
}
