//! Log lines: text or JSON, to stderr. An event is one line, whatever is in it: what comes from
//! outside cannot forge a second one, nor speak to a terminal.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::util::SubscriberInitExt as _;

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
    let started = if is_text(log.format) {
        // https://no-color.org: any value that is not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let ansi = io::stderr().is_terminal() && !plain;
        text(filter, io::stderr, ansi).try_init()
    } else {
        json(filter, io::stderr).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// Lines for people.
fn text<W>(filter: EnvFilter, writer: W, ansi: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .with_target(false)
        .fmt_fields(debug_fn(field).delimited(" "))
        .finish()
}

/// One field as the library's own format has it, its value in one line.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        name => {
            let name = name.trim_start_matches("r#");
            if writer.has_ansi_escapes() {
                write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
            } else {
                write!(writer, "{name}=")?;
            }
        }
    }
    write!(OneLine(writer), "{value:?}")
}

/// Lines for programs.
fn json<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Json(writer))
        .json()
        .flatten_event(true)
        .finish()
}

/// What a terminal, or whoever splits lines, may take for more than text: control characters, those
/// that separate lines and those that turn the direction of what follows.
fn speaks(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes what [`speaks`] by its number.
struct OneLine<W>(W);

impl<W: fmt::Write> fmt::Write for OneLine<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(speaks) {
            let mut letters = part.chars();
            match letters.next_back() {
                Some(last) if speaks(last) => {
                    self.0.write_str(letters.as_str())?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Escapes what JSON leaves as it is. Below U+0020 there is nothing but the end of the line.
struct Json<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Json<W> {
    type Writer = JsonLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonLine(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        JsonLine(self.0.make_writer_for(meta))
    }
}

/// One event's line, which comes in one piece.
struct JsonLine<W>(W);

impl<W: io::Write> io::Write for JsonLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let within = |letter: char| letter > '\x1f' && speaks(letter);
        match std::str::from_utf8(bytes) {
            Ok(line) if line.contains(within) => {
                let mut clean = String::with_capacity(line.len() + 16);
                for letter in line.chars() {
                    if within(letter) {
                        // all of them are below U+FFFF
                        write!(clean, "\\u{:04x}", u32::from(letter)).map_err(io::Error::other)?;
                    } else {
                        clean.push(letter);
                    }
                }
                self.0.write_all(clean.as_bytes())?;
            }
            _ => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _};
    use std::sync::Arc;

    use super::*;

    /// A line that would be one of ours, and what else a terminal obeys.
    const HOSTILE: &str = "a\r\n2026-01-01T00:00:00.000000Z  INFO all is well\n{\"level\":\"INFO\"}\n\
        \x1b[2J\x07\x08\x7f\u{85}\u{9b}31m\u{2028}\u{2029}\u{202e}\u{2066}\0\tz";

    #[derive(Debug, thiserror::Error)]
    #[error("it said: {0}")]
    struct Said(&'static str);

    fn logged<S: Subscriber + Send + Sync + 'static>(lines: impl FnOnce(Arc<File>) -> S) -> String {
        let mut written = tempfile::tempfile().unwrap();
        let to = Arc::new(written.try_clone().unwrap());
        tracing::subscriber::with_default(lines(to), || {
            let span = tracing::info_span!("span", name = HOSTILE, by = %HOSTILE);
            let _within = span.enter();
            tracing::info!("{HOSTILE}");
            tracing::info!(id = HOSTILE, name = %HOSTILE, kind = ?HOSTILE, "words");
            let error = Said(HOSTILE);
            tracing::warn!(%error, ?error, "words");
            tracing::warn!(error = &error as &dyn std::error::Error, "words");
        });
        let mut text = String::new();
        written.rewind().unwrap();
        written.read_to_string(&mut text).unwrap();
        text
    }

    /// The events' lines: nothing else, and nothing in them that is no text.
    fn four(text: &str) -> Vec<&str> {
        let lines: Vec<_> = text.split_terminator('\n').collect();
        assert_eq!(lines.len(), 4, "{lines:#?}");
        for line in &lines {
            assert!(!line.contains(speaks), "{line:?}");
            assert!(line.contains("all is well"), "{line:?}");
        }
        lines
    }

    #[test]
    fn text_from_outside_forges_no_line_for_people() {
        let text = logged(|to| text(EnvFilter::new("trace"), to, false));
        for line in four(&text) {
            assert!(!line.starts_with("2026-01-01"), "{line}");
            assert!(line.contains("\\u{1b}[2J"), "{line}");
        }
    }

    #[test]
    fn text_from_outside_paints_nothing_between_our_colours() {
        let text = logged(|to| text(EnvFilter::new("trace"), to, true));
        let ours = ["[0m", "[1m", "[2m", "[3m", "[32m", "[33m"];
        for escape in text.split('\x1b').skip(1) {
            assert!(ours.iter().any(|our| escape.starts_with(our)), "{escape:?}");
        }
        four(&text.replace('\x1b', ""));
    }

    #[test]
    fn text_from_outside_forges_no_line_for_programs() {
        let text = logged(|to| json(EnvFilter::new("trace"), to));
        let events = four(&text).into_iter().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event
        });
        let events: Vec<_> = events.collect();
        // what is escaped reads back as it was
        assert_eq!(events[0]["message"], HOSTILE);
        assert_eq!(events[1]["name"], HOSTILE);
        assert_eq!(events[3]["error"], format!("it said: {HOSTILE}"));
    }
}
