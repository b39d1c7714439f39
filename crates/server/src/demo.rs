//! `openmic demo`: the whole way of an unmute on this machine, over real sockets, shown and
//! checked.

mod audio;
mod bot;
mod human;
mod judge;
mod keep;
mod lab;
mod report;
mod scene;
mod show;
mod subscribers;
mod tally;

use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use crate::cli::DemoArgs;
use crate::signals::Signals;
use crate::wiring::{self, Stack};
use audio::Source;
use scene::Scene;
use show::{Look, Show};

/// Exit code of a demo that a signal ended, as shells give it for Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Runs the demo on free ports. Exit code 0 only if everything held. `files` is the limit of open
/// files.
///
/// # Errors
/// When a part does not start, or the demo cannot go on.
pub(crate) async fn run(args: DemoArgs, files: u64) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let show = Show::new(begun);
    // Before anything is started: a wrong file name should not take seconds to be told.
    let source = match &args.audio {
        Some(path) => Source::wav(path)?,
        None => Source::chime(),
    };
    for path in [&args.record, &args.report].into_iter().flatten() {
        File::create(path)
            .with_context(|| format!("cannot write {}; is its folder there?", path.display()))?;
    }
    let mut signals = Signals::catch().context("signals cannot be caught")?;
    let subscribers = affordable(show, args.subscribers, files);
    let mut plan = wiring::on_free_ports()?;
    plan.hub.max_subscribers = plan.hub.max_subscribers.max(subscribers);
    plan.hub.max_subscribers_per_call = plan.hub.max_subscribers_per_call.max(subscribers);
    plan.listen.max_connections = plan.listen.max_connections.max(subscribers + 100);
    let stack = Stack::start(plan).await?;
    let scene = Scene {
        args: &args,
        subscribers,
        show,
        begun,
        stack: &stack,
    };
    let played = tokio::select! {
        played = scene.play(source) => Some(played),
        () = signals.first() => None,
    };
    let Some(played) = played else {
        show.line(Look::Bad, "interrupted; hanging up");
        signals.end_at_the_next();
        stack.drain().await;
        return Ok(ExitCode::from(INTERRUPTED));
    };
    if let (Ok(played), true) = (&played, args.keep) {
        keep::keep(show, &stack.addresses(), &played.call);
        signals.first().await;
    }
    signals.end_at_the_next();
    let drained = stack.drain().await;
    let held = played?.held;
    if drained.calls_left > 0 {
        show.line(
            Look::Bad,
            format_args!("NOT HELD: {} calls did not end", drained.calls_left),
        );
    }
    let good = held && drained.calls_left == 0;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Both ends of every subscriber's socket are in this process, with some descriptors beside them.
fn affordable(show: Show, asked: usize, files: u64) -> usize {
    let room = usize::try_from(files.saturating_sub(200) / 2).unwrap_or(usize::MAX);
    if asked > room {
        show.line(
            Look::Bad,
            format_args!(
                "{files} open files (ulimit -Hn) are too few for {asked} subscribers; taking {room}"
            ),
        );
    }
    asked.min(room)
}
