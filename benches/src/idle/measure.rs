use std::future::Future;
use std::time::{Duration, Instant};

use crate::memory::resident_of;

/// Commands whose round trip is timed, one after the other.
const COMMANDS: usize = 100_000;
/// The same before the clock counts.
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
    /// Median round trip of a command, in microseconds.
    pub p50: f64,
    /// The 99th percentile of it.
    pub p99: f64,
}

impl Measured {
    /// Puts together what was measured of `count` calls.
    pub fn new(count: usize, bytes: u64, took: Duration, samples: Samples) -> Self {
        let (p50, p99) = samples.percentiles();
        let count = as_f64(count as u64);
        Self {
            bytes: as_f64(bytes) / count,
            spawned: count / took.as_secs_f64(),
            p50,
            p99,
        }
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

/// Round trips of commands.
#[derive(Debug, Default)]
pub struct Samples(Vec<u64>);

impl Samples {
    /// Times `command` on calls in an order that no cache can guess. It is given the number of a
    /// call below `count`.
    ///
    /// # Errors
    /// The first error of a command.
    pub async fn of<F>(count: usize, mut command: impl FnMut(usize) -> F) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let mut samples = Vec::with_capacity(COMMANDS);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for number in 0..WARM_UP + COMMANDS {
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
                samples.push(u64::try_from(took.as_nanos())?);
            }
        }
        Ok(Self(samples))
    }

    /// Median and 99th percentile in microseconds.
    fn percentiles(mut self) -> (f64, f64) {
        self.0.sort_unstable();
        let at = |part: usize| {
            let nanos = self.0.get(self.0.len() * part / 100);
            as_f64(nanos.copied().unwrap_or_default()) / 1000.0
        };
        (at(50), at(99))
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
