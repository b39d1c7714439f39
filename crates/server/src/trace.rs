//! Log lines: text or JSON, to stderr.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::config::settings::Log;
use crate::config::values::LogFormat;

/// Whether lines for people are wanted.
pub(crate) fn is_text(format: LogFormat) -> bool {
    match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    }
}

/// Starts logging for the whole process.
///
/// # Errors
/// When `log.level` cannot be read, or logging was started already.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = filter(&log.level)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = if is_text(log.format) {
        // https://no-color.org: any value that is not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        lines
            .with_ansi(io::stderr().is_terminal() && !plain)
            .with_target(false)
            .try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// Reads `log.level`.
///
/// # Errors
/// When it is no list of levels.
pub(crate) fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let advice = || {
        format!(
            "log.level \"{level}\" cannot be read; write one of error, warn, info, debug and trace, \
             or such as \"info,openmic_engine=debug\""
        )
    };
    // A word alone that is no level would be taken for a crate, and everything else go silent.
    let is_level = |word: &str| {
        word.parse::<tracing_subscriber::filter::LevelFilter>()
            .is_ok()
    };
    let bare = level
        .split(',')
        .map(str::trim)
        .filter(|part| !part.contains(['=', '[']));
    if bare.clone().any(|word| !is_level(word)) {
        anyhow::bail!(advice());
    }
    EnvFilter::try_new(level).with_context(advice)
}
