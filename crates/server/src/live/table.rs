//! The findings as a table for people.

use std::fmt::Write as _;

use super::{Finding, Outcome};

/// Widest name of a check, and of an outcome.
const CHECK: usize = 22;
const OUTCOME: usize = 8;

/// Lines of the table, the sum last. Colours are for terminals.
pub(super) fn render(findings: &[Finding], colours: bool) -> String {
    let mut out = String::new();
    for finding in findings {
        let (word, colour) = match finding.outcome {
            Outcome::Ok => ("ok", "32"),
            Outcome::Warning => ("warning", "33"),
            Outcome::Failed => ("FAILED", "31"),
            Outcome::Unknown => ("unknown", "36"),
        };
        let padded = format!("{word:<OUTCOME$}");
        let word = if colours {
            format!("\x1b[{colour}m{padded}\x1b[0m")
        } else {
            padded
        };
        let line = format!("{:<CHECK$} {word} {}", finding.check, finding.seen);
        writeln!(out, "{line}").expect("a String takes all");
        if let Some(next) = &finding.next {
            let indent = CHECK + OUTCOME + 2;
            writeln!(out, "{:indent$}→ {next}", "").expect("a String takes all");
        }
    }
    let count = |outcome| {
        findings
            .iter()
            .filter(|finding| finding.outcome == outcome)
            .count()
    };
    let (failed, warnings) = (count(Outcome::Failed), count(Outcome::Warning));
    let sum = if failed > 0 {
        format!("{failed} of {} checks failed", findings.len())
    } else {
        format!("ok: none of {} checks failed", findings.len())
    };
    let unknown = count(Outcome::Unknown);
    writeln!(
        out,
        "\n{sum}, warnings: {warnings}, could not be told: {unknown}"
    )
    .expect("a String takes all");
    out
}
