//! Steps a machine anew from a log, and compares.

use std::time::Duration;

use openmic_machine::{Effect, Machine, Phase, Time};

use super::entry::{Begun, Entry, FORMAT, Stand, What};

/// What a log came to when its events were stepped anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Events stepped, all of which did what the log says.
    pub steps: usize,
    /// The machine's state after them.
    pub phase: Phase,
    /// Where it had to stop, and why; `None` at the end of the log.
    pub stopped: Option<Stopped>,
}

/// Why a replay does not reach the end of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The event of this line was too long to be kept.
    #[error("line {0} holds no event: it was too long to be kept")]
    Cut(u64),
    /// A line is missing before this one.
    #[error("a line is missing before line {0}: the recorder had no room for it any more")]
    Hole(u64),
}

/// Why a log cannot be replayed, or was not what the machine does.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Diverged {
    /// Its beginning is not there.
    #[error(
        "the log does not begin with the call's first line; a longer recorder.bytes keeps more"
    )]
    NoBeginning,
    /// Another format.
    #[error("the log is of format {0}, this openmic reads {FORMAT}")]
    Format(u8),
    /// The machine did something else.
    #[error("at line {n} ({event}) the machine stands at\n  {now:?}\nand the log says\n  {then:?}")]
    Elsewhere {
        /// The line.
        n: u64,
        /// Its event.
        event: String,
        /// Where this machine stands.
        now: Box<Stand>,
        /// Where the recorded one stood.
        then: Box<Stand>,
    },
}

/// Steps a machine through the events of a log and compares, after each, what it did, its state,
/// what it waits for and its timers.
///
/// # Errors
/// [`Diverged`] where it cannot begin, or does something else.
pub fn replay(entries: &[Entry]) -> Result<Replayed, Diverged> {
    let mut effects = Vec::new();
    let mut machine = None;
    let mut steps = 0;
    let mut stopped = None;
    for (entry, expected) in entries.iter().zip(1..) {
        if entry.n != expected {
            stopped = Some(Stopped::Hole(entry.n));
            break;
        }
        match (&entry.what, &mut machine) {
            (What::Begun(begun), None) => {
                let begun = self::begun(begun, time(entry.at), &mut effects)?;
                machine = Some(begun);
            }
            (What::Step(step), Some(machine)) => {
                let Some(event) = &step.event else {
                    stopped = Some(Stopped::Cut(entry.n));
                    break;
                };
                effects.clear();
                machine.handle(event, time(entry.at), &mut effects);
                let stand = Stand::of(&effects, machine);
                same(entry.n, &step.name, stand, &step.stand)?;
                steps += 1;
            }
            _ => {}
        }
    }
    Ok(Replayed {
        steps,
        phase: machine.ok_or(Diverged::NoBeginning)?.phase(),
        stopped,
    })
}

fn begun(begun: &Begun, now: Time, effects: &mut Vec<Effect>) -> Result<Machine, Diverged> {
    if begun.format != FORMAT {
        return Err(Diverged::Format(begun.format));
    }
    let machine = begun.how.machine(begun.config.clone(), now, effects);
    let stand = Stand::of(effects, &machine);
    same(1, "the beginning", stand, &begun.stand)?;
    Ok(machine)
}

fn time(at: u64) -> Time {
    Time::from_origin(Duration::from_nanos(at))
}

fn same(n: u64, event: &str, now: Stand, then: &Stand) -> Result<(), Diverged> {
    if now == *then {
        return Ok(());
    }
    Err(Diverged::Elsewhere {
        n,
        event: event.to_owned(),
        now: Box::new(now),
        then: Box::new(then.clone()),
    })
}
