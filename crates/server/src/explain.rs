//! `openmic explain`: says in words where a call stands, why, and what it waits for.
//!
//! It reads the lines of the flight recorder, of a running engine or of a file, and tells them:
//! [`story`] finds out what they mean, [`words`] has the sentences, [`page`] sets them.

mod ask;
mod page;
mod story;
mod words;

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use openmic_engine::flight::{Entry, replay};

use crate::cli::ExplainArgs;
use crate::config::Loaded;
use crate::resolve::{self, Plan};
use story::Story;

/// What to do; reads the configuration where an engine is asked.
pub(crate) enum Source {
    /// A file that was saved.
    File(std::path::PathBuf),
    /// A running engine.
    Engine(Box<Plan>),
}

impl Source {
    /// # Errors
    /// When neither a call nor a file is named, or the configuration cannot be run.
    pub(crate) fn of(
        args: &ExplainArgs,
        load: impl FnOnce() -> anyhow::Result<Loaded>,
    ) -> anyhow::Result<Self> {
        match (&args.log, &args.call) {
            (Some(file), _) => Ok(Self::File(file.clone())),
            (None, Some(_)) => {
                let plan = resolve::serve(load()?.settings)?;
                Ok(Self::Engine(Box::new(plan)))
            }
            (None, None) => bail!("name a call, or a saved log with --log FILE"),
        }
    }
}

/// Prints the story, or with `--save` writes the lines down. False when `--replay` found that the
/// machine does something else.
///
/// # Errors
/// Says what could not be reached or read, and what to do.
pub(crate) async fn run(args: &ExplainArgs, source: Source) -> anyhow::Result<bool> {
    let text = match source {
        Source::File(path) => read(&path)?,
        Source::Engine(plan) => {
            let call = args.call.as_ref().context("name a call")?;
            ask::log(&plan, args.url.as_ref(), call).await?
        }
    };
    if let Some(path) = &args.save {
        let shown = path.display();
        fs::write(path, &text).with_context(|| format!("cannot write {shown}"))?;
        eprintln!("saved to {shown}; openmic explain --log {shown} tells it again");
    }
    let entries = parse(&text)?;
    let story = Story::of(&entries);
    let replayed = args.replay.then(|| replay(&entries));
    let mut out = io::stdout().lock();
    if args.json {
        let mut told = serde_json::to_value(&story)?;
        if let Some(replayed) = &replayed {
            told["replay"] = match replayed {
                Ok(replayed) => serde_json::json!({
                    "steps": replayed.steps,
                    "state": replayed.phase.as_str(),
                    "stopped": replayed.stopped.map(|why| why.to_string()),
                }),
                Err(diverged) => serde_json::json!({"diverged": diverged.to_string()}),
            };
        }
        writeln!(out, "{told:#}")?;
    } else {
        // https://no-color.org: any value that is not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = io::stdout().is_terminal() && !plain;
        write!(out, "{}", page::page(&story, args.all, colours))?;
        match &replayed {
            None => {}
            Some(Ok(replayed)) => {
                let steps = replayed.steps;
                let end = match replayed.stopped {
                    None => "to the end".to_owned(),
                    Some(why) => format!("until {why}"),
                };
                writeln!(
                    out,
                    "\nReplayed: {steps} events, {end}; each did what the log says."
                )?;
            }
            Some(Err(diverged)) => writeln!(out, "\nNot replayed: {diverged}")?,
        }
    }
    Ok(!matches!(replayed, Some(Err(_))))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read the log {}", path.display()))
}

/// The lines of a log.
fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let entries: Vec<Entry> = lines
        .map(|(at, line)| {
            serde_json::from_str(line).with_context(|| {
                format!(
                    "line {} is none of a flight recorder's; get them by GET \
                     /v1/calls/{{call}}/log, of an openmic of this version",
                    at + 1
                )
            })
        })
        .collect::<Result<_, _>>()?;
    if entries.is_empty() {
        bail!(
            "the log has no lines: the call was too long ago, or recorder.bytes is too small for it"
        );
    }
    Ok(entries)
}
