//! Progress lines: coloured on a terminal, plain when piped.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Prints what happens, with the seconds since the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Show {
    begun: Instant,
    colours: bool,
}

/// How a line looks on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look {
    Plain,
    Step,
    Good,
    Bad,
}

impl Show {
    pub(crate) fn new(begun: Instant) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            begun,
            colours: wanted && std::io::stdout().is_terminal(),
        }
    }

    pub(crate) fn line(self, look: Look, text: impl fmt::Display) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let (start, end) = match look {
            _ if !self.colours => ("", ""),
            Look::Plain => ("", ""),
            Look::Step => ("\x1b[1m", "\x1b[0m"),
            Look::Good => ("\x1b[32m", "\x1b[0m"),
            Look::Bad => ("\x1b[31m", "\x1b[0m"),
        };
        print(format_args!("{seconds:7.3}  {start}{text}{end}\n"));
    }

    pub(crate) fn block(self, text: &str) {
        print(format_args!("{text}"));
    }
}

/// A moment in milliseconds, for people.
pub(crate) fn millis(moment: Option<Duration>) -> String {
    moment.map_or_else(
        || "never".to_owned(),
        |at| format!("{:.1} ms", at.as_secs_f64() * 1000.0),
    )
}

/// A closed pipe on the other side ends the output, not the checks.
fn print(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if out.write_fmt(text).and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads the progress");
    }
}
