//! Publications at a pace, until the last subscriber has the last one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::crowd::Crowd;
use super::server::Server;

/// A wait this long is a loss, not a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the next publication comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many are under way all the time; the next comes when the last subscriber has one.
    UnderWay(usize),
    /// So many at once, and again when all of them have arrived.
    Waves(usize),
    /// So many in a second, whether those before have arrived or not.
    PerSecond(u32),
}

/// A pace for a time.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The pace.
    pub pace: Pace,
    /// For how long something new is published.
    pub lasts: Duration,
}

/// What a server did under a load.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Frames that subscribers got.
    pub frames: u64,
    /// The server's processor time.
    pub cpu: Duration,
    /// From the first publication to the last arrival.
    pub took: Duration,
    /// From each publication to its last subscriber, in order.
    pub last: Vec<Duration>,
}

impl Run {
    /// Nanoseconds of the server's processor time for a frame.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn cost(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.frames.max(1) as f64
    }

    /// Frames in a second.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.took.as_secs_f64()
    }

    /// The time to the last subscriber that `percent` of the publications do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.last.len() * percent / 100).min(self.last.len().saturating_sub(1));
        self.last.get(at).copied().unwrap_or_default()
    }

    /// Takes the other's figures in.
    pub fn add(&mut self, more: &Self) {
        self.frames += more.frames;
        self.cpu += more.cpu;
        self.took += more.took;
        self.last.extend_from_slice(&more.last);
        self.last.sort_unstable();
    }
}

impl Load {
    /// Puts it on `server`. No frame may get lost: the run fails then.
    ///
    /// # Errors
    /// When a frame does not arrive or a subscriber is closed.
    pub fn run(&self, server: &mut Server, crowd: &mut Crowd) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let mut under_way = VecDeque::new();
        let mut published = 0_u64;
        let before = server.usage()?;
        let begun = Instant::now();
        let mut moved = begun;
        loop {
            let now = Instant::now();
            if now < begun + self.lasts {
                let due = match self.pace {
                    Pace::UnderWay(most) => most - under_way.len(),
                    Pace::Waves(_) if !under_way.is_empty() => 0,
                    Pace::Waves(all) => all,
                    Pace::PerSecond(rate) => {
                        let by_now = (now - begun).as_nanos() * u128::from(rate) / 1_000_000_000;
                        usize::try_from(by_now + 1 - u128::from(published))?
                    }
                };
                if due > 0 {
                    for _ in 0..due {
                        let at = match self.pace {
                            Pace::UnderWay(_) | Pace::Waves(_) => now,
                            // the time at which it should have been
                            Pace::PerSecond(rate) => {
                                begun + Duration::from_secs(1) * u32::try_from(published)? / rate
                            }
                        };
                        under_way.push_back((crowd.expect_one(), at));
                        published += 1;
                    }
                    server.publish(due)?;
                    moved = now;
                }
            } else if under_way.is_empty() {
                break;
            }
            run.frames += crowd.read()?;
            let now = Instant::now();
            let last = &mut run.last;
            let waiting = under_way.len();
            under_way.retain(|(number, at)| {
                let here = crowd.has_arrived(*number);
                if here {
                    last.push(now - *at);
                }
                !here
            });
            if under_way.len() < waiting {
                moved = now;
            }
            ensure!(
                now - moved < PATIENCE,
                "frames are missing: not all subscribers got every one"
            );
        }
        run.took = moved - begun;
        run.cpu = server.usage()?.since(&before);
        run.last.sort_unstable();
        Ok(run)
    }
}
