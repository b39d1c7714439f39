//! The story on a terminal.

use std::fmt::Write as _;

use openmic_model::{Origin, WallTime};
use time::OffsetDateTime;

use super::story::{Fact, Story};
use super::words;

/// Facts shown where not all are asked for.
const FACTS: usize = 20;
/// Commands, and lines of what is unusual, where not all are asked for.
const REST: usize = 12;

struct Ink(bool);

impl Ink {
    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn warn(&self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The text; `all` leaves nothing out.
pub(super) fn page(story: &Story, all: bool, colours: bool) -> String {
    let ink = Ink(colours);
    let mut page = String::new();
    write(&mut page, story, all, &ink).expect("a String takes all");
    page
}

fn write(page: &mut String, story: &Story, all: bool, ink: &Ink) -> std::fmt::Result {
    let call = story
        .call
        .as_ref()
        .map_or_else(String::new, |call| format!("Call {call}: "));
    writeln!(page, "{call}{}", ink.bold(story.state))?;
    writeln!(page, "  {}", story.meaning)?;
    writeln!(
        page,
        "  Since {}, because: {}",
        clock(story.since),
        story.because
    )?;
    if story.state != "terminated" {
        if story.waits_for.is_empty() {
            writeln!(page, "  It waits for nothing but what comes.")?;
        } else {
            writeln!(page, "  It waits for: {}.", story.waits_for.join("; "))?;
        }
    }
    for next in &story.next {
        let left = next.at.0.saturating_sub(story.last.1.0);
        let left = words::took(std::time::Duration::from_millis(left));
        writeln!(
            page,
            "  At {} ({left} after the last line) it {}.",
            clock(next.at),
            next.then
        )?;
    }

    let shown: Vec<&Fact> = story.facts.iter().filter(|fact| all || fact.led).collect();
    let from = if all {
        0
    } else {
        shown.len().saturating_sub(FACTS)
    };
    writeln!(page, "\n{}", ink.bold("How it came here"))?;
    if from > 0 {
        writeln!(
            page,
            "  {}",
            ink.dim(&format!(
                "({from} earlier left out; --all shows every line)"
            ))
        )?;
    }
    for fact in &shown[from..] {
        line(page, fact, &fact.text, ink)?;
        for did in &fact.did {
            writeln!(page, "                 {}", ink.dim(&format!("-> {did}")))?;
        }
    }

    if !story.commands.is_empty() {
        writeln!(page, "\n{}", ink.bold("Commands"))?;
    }
    let from = if all {
        0
    } else {
        story.commands.len().saturating_sub(REST)
    };
    if from > 0 {
        writeln!(page, "  {}", ink.dim(&format!("({from} earlier left out)")))?;
    }
    for command in &story.commands[from..] {
        let by = match command.by {
            Origin::Bot => "",
            Origin::Machine => ", by openmic itself",
        };
        let took = command
            .took_ms
            .map_or_else(String::new, |took| format!(" after {took:.1} ms"));
        let posts = match command.posts {
            0 => String::new(),
            1 => ", one try".to_owned(),
            posts => format!(", {posts} tries"),
        };
        writeln!(
            page,
            "  {} {} asked {}{by}{posts}: {}{took}",
            command.action,
            words::short(command.id),
            clock(command.asked),
            command.how,
        )?;
        if let (None, Some(due)) = (&command.verdict, command.due) {
            writeln!(page, "      verdict due by {}", clock(due))?;
        }
        for evidence in &command.evidence {
            writeln!(page, "      {}", ink.dim(evidence))?;
        }
    }

    writeln!(page, "\n{}", ink.bold("Unusual"))?;
    if story.unusual.is_empty() {
        writeln!(page, "  nothing")?;
    }
    let from = if all {
        0
    } else {
        story.unusual.len().saturating_sub(REST)
    };
    if from > 0 {
        writeln!(page, "  {}", ink.dim(&format!("({from} earlier left out)")))?;
    }
    for fact in &story.unusual[from..] {
        line(page, fact, &ink.warn(&fact.text), ink)?;
    }
    let ((first, begin), (last, end)) = (story.first, story.last);
    let span = format!(
        "\nLines {first} to {last}, {} to {}.",
        clock(begin),
        clock(end)
    );
    writeln!(page, "{}", ink.dim(&span))
}

fn line(page: &mut String, fact: &Fact, text: &str, ink: &Ink) -> std::fmt::Result {
    let number = ink.dim(&format!("#{}", fact.n));
    writeln!(page, "  {} {text} {number}", clock(fact.wall))
}

/// The time of day, UTC.
fn clock(at: WallTime) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).map_or_else(
        |_| at.0.to_string(),
        |at| {
            let (hour, minute, second, milli) = at.time().as_hms_milli();
            format!("{hour:02}:{minute:02}:{second:02}.{milli:03}")
        },
    )
}
