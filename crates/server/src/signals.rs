//! SIGTERM and Ctrl-C: the first one ends gracefully, the second one at once.

use std::io;
use std::process;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of an end that was not graceful.
const CUT_SHORT: i32 = 1;

/// Signals this close together are one.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// The signals that end the program.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals are ours; one that arrives before [`Signals::first`] is kept.
    ///
    /// # Errors
    /// When the system takes no handler.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first signal.
    pub(crate) async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ends the process at the next signal. One within a second of the first is taken for the
    /// same: `timeout` and process managers signal the process and then its group.
    pub(crate) fn end_at_the_next(mut self) {
        tokio::spawn(async move {
            let same = Instant::now() + SAME_SIGNAL;
            loop {
                self.first().await;
                if Instant::now() >= same {
                    break;
                }
            }
            tracing::warn!("second signal: ending at once");
            process::exit(CUT_SHORT);
        });
    }
}
