use std::future::Future;
use std::time::{Duration, Instant};

use crate::memory::resident_of;

/// Commands of a round whose round trip is timed, one after the other.
const COMMANDS: usize = 20_000;
/// A round takes a twentieth of a second. A virtual core that is away from the machine meanwhile takes its 99th
/// percentile along: the median of the rounds says what most of them are like.
const ROUNDS: usize = 9;
/// Commands before the clock counts.
const WARM_UP: usize = 2_000;
/// Commands in a row before others get a turn. Tokio has a task pause by itself after 128 that
/// need not wait; that pause is no part of whichever command it comes to.
const IN_A_ROW: usize = 64;

/// What a process found out about its idle calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Bytes of resident memory for each.
    pub bytes: f64,
    /// How many came to be in a second.
    pub spawned: f64,
    /// Median round trip of a command, in microseconds, as the median of the rounds.
    pub p50: f64,
    /// The 99th percentile of it, as the median of the rounds.
    pub p99: f64,
}

impl Measured {
    /// Puts together what was measured of `count` calls.
    pub fn new(count: usize, bytes: u64, took: Duration, samples: &Samples) -> Self {
        let (p50, p99) = samples.percentiles();
        let count = as_f64(count as u64);
        Self {
            bytes: as_f64(bytes) / count,
            spawned: count / took.as_secs_f64(),
            p50,
            p99,
        }
    }

    /// The median of several, each number by itself; `None` of none.
    pub fn median(all: &[Self]) -> Option<Self> {
        let middle = |read: fn(&Self) -> f64| {
            let mut numbers: Vec<f64> = all.iter().map(read).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.get(numbers.len() / 2).copied()
        };
        Some(Self {
            bytes: middle(|one| one.bytes)?,
            spawned: middle(|one| one.spawned)?,
            p50: middle(|one| one.p50)?,
            p99: middle(|one| one.p99)?,
        })
    }

    /// One line, for the process that asked.
    pub fn to_line(self) -> String {
        let Self {
            bytes,
            spawned,
            p50,
            p99,
        } = self;
        format!("measured {bytes} {spawned} {p50} {p99}")
    }

    /// Reads such a line; `None` when it is another one.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn of_line(line: &str) -> anyhow::Result<Option<Self>> {
        let Some(numbers) = line.strip_prefix("measured ") else {
            return Ok(None);
        };
        let numbers: Vec<f64> = numbers
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [bytes, spawned, p50, p99] = numbers[..] else {
            anyhow::bail!("not four numbers: {line}");
        };
        Ok(Some(Self {
            bytes,
            spawned,
            p50,
            p99,
        }))
    }
}

/// Round trips of commands: of each round its median and 99th percentile in nanoseconds.
#[derive(Debug, Default)]
pub struct Samples(Vec<(u64, u64)>);

impl Samples {
    /// Times `command` on calls in an order that no cache can guess, round after round. It is given the number of
    /// a call below `count`.
    ///
    /// # Errors
    /// The first error of a command.
    pub async fn of<F>(count: usize, mut command: impl FnMut(usize) -> F) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let mut samples = Self::default();
        let mut round = Vec::with_capacity(COMMANDS);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for number in 0..WARM_UP + ROUNDS * COMMANDS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let call = usize::try_from(random % count as u64)?;
            if number.is_multiple_of(IN_A_ROW) {
                tokio::task::yield_now().await;
            }
            let begun = Instant::now();
            command(call).await?;
            let took = begun.elapsed();
            if number >= WARM_UP {
                round.push(u64::try_from(took.as_nanos())?);
            }
            if round.len() == COMMANDS {
                samples.take(&mut round);
            }
        }
        Ok(samples)
    }

    /// One round, which is empty afterwards.
    fn take(&mut self, round: &mut Vec<u64>) {
        round.sort_unstable();
        let at = |part: usize| round[round.len() * part / 100];
        self.0.push((at(50), at(99)));
        round.clear();
    }

    /// Median and 99th percentile in microseconds, each the median of the rounds.
    fn percentiles(&self) -> (f64, f64) {
        let middle = |read: fn(&(u64, u64)) -> u64| {
            let mut all: Vec<u64> = self.0.iter().map(read).collect();
            all.sort_unstable();
            let nanos = all.get(all.len() / 2).copied();
            as_f64(nanos.unwrap_or_default()) / 1000.0
        };
        (middle(|round| round.0), middle(|round| round.1))
    }
}

/// Resident memory of this process, in bytes.
///
/// # Errors
/// When the system does not tell.
pub fn resident() -> anyhow::Result<u64> {
    resident_of("self")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and calls of one machine are below 2^53"
)]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_the_median_of_the_rounds_and_each_column_one_of_its_own() {
        let mut samples = Samples::default();
        for slowest in [9_000, 1_000, 4_000] {
            let mut round: Vec<u64> = (1..=100).map(|part| part * slowest / 100).rev().collect();
            samples.take(&mut round);
            assert!(round.is_empty());
        }
        assert_eq!(samples.percentiles(), (2.04, 4.0));
        let row = |bytes, p99| Measured {
            bytes,
            spawned: 1.0,
            p50: 2.0,
            p99,
        };
        let all = [row(1500.0, 3.0), row(1700.0, 27.0), row(1600.0, 4.0)];
        assert_eq!(Measured::median(&all), Some(row(1600.0, 4.0)));
        assert_eq!(Measured::median(&[]), None);
    }

    #[test]
    fn what_a_process_measured_is_read_as_it_was_written() -> anyhow::Result<()> {
        let measured = Measured {
            bytes: 1540.5,
            spawned: 12_000.0,
            p50: 1.25,
            p99: 3.5,
        };
        assert_eq!(Measured::of_line(&measured.to_line())?, Some(measured));
        assert_eq!(Measured::of_line("another line")?, None);
        assert!(Measured::of_line("measured 1 2 3").is_err());
        Ok(())
    }
}
