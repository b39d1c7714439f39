//! `openmic serve`: the engine, by default with the local calling service beside it.

use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::config::Loaded;
use crate::signals::Signals;
use crate::wiring::Stack;
use crate::{banner, descriptors, resolve, trace};

/// Exit code of a process whose journal failed: `EX_IOERR` of `sysexits.h`.
const JOURNAL_FAILED: u8 = 74;

/// Serves until a signal, then drains; or until the journal fails, then ends at once, also out of a
/// drain. `files` is the limit of open files.
///
/// # Errors
/// When the configuration cannot be run or a part does not start.
pub(crate) async fn run(loaded: Loaded, files: u64) -> anyhow::Result<ExitCode> {
    let settings = loaded.settings;
    let text = trace::is_text(settings.log.format);
    let mut plan = resolve::serve(settings)?;
    let asked = (plan.listen.max_connections, plan.hub.max_subscribers);
    let fits = descriptors::fit(asked.0, asked.1, files);
    if fits != asked {
        tracing::warn!(
            files,
            max_connections = fits.0,
            max_subscribers = fits.1,
            "the limit of open files (ulimit -Hn) is too low for {} connections and {} \
             subscribers; taking fewer",
            asked.0,
            asked.1
        );
        (plan.listen.max_connections, plan.hub.max_subscribers) = fits;
    }
    let dev = plan.dev;
    let mut signals = Signals::catch().context("signals cannot be caught")?;
    let stack = Stack::start(plan).await?;
    stack.addresses().announce(text, dev);
    if let Some(callback) = stack.new_incoming_callback() {
        banner::tell_incoming(&callback);
    }
    let mut failed = pin!(stack.journal_failed());
    tokio::select! {
        () = signals.first() => {}
        why = &mut failed => return Ok(end(&why)),
    }
    signals.end_at_the_next();
    tracing::info!("draining; a second signal ends at once");
    let drained = tokio::select! {
        biased; // what was not written down was not drained
        why = failed => return Ok(end(&why)),
        drained = stack.drain() => drained,
    };
    tracing::info!(
        calls_left = drained.calls_left,
        connections_cut = drained.connections_cut,
        "drained"
    );
    Ok(ExitCode::SUCCESS)
}

/// The journal failed. Nothing is hung up: a restart on the same folder takes the calls up again.
fn end(why: &str) -> ExitCode {
    tracing::error!(
        why,
        "the journal failed; ending, so that a restart goes on from it"
    );
    ExitCode::from(JOURNAL_FAILED)
}
