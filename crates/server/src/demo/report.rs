//! What the demo measured, as a table for people and JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

/// Everything the demo measured. Times are in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// True when every check held.
    pub(crate) passed: bool,
    /// What did not hold, in words.
    pub(crate) failures: Vec<String>,
    /// From the start of the program to the end of the checks.
    pub(crate) took_seconds: f64,
    pub(crate) subscribers: SubscribersReport,
    pub(crate) cycles: Vec<CycleReport>,
    pub(crate) humans: Vec<HumanReport>,
    pub(crate) bot_packets_sent: usize,
    /// When the bot was muted in the recording: from the mute's answer to the next unmute's request.
    pub(crate) muted_in_recording: Vec<Span>,
    /// Commands of the bot.
    pub(crate) commands: usize,
    /// Those whose one verdict every subscriber saw exactly once.
    pub(crate) verdicts_seen_once_by_all: usize,
    /// Verdicts that anybody saw.
    pub(crate) verdicts_seen: usize,
}

/// One unmute. Moments are counted from its request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CycleReport {
    pub(crate) cycle: usize,
    pub(crate) unmute_verdict: String,
    pub(crate) mute_verdict: String,
    pub(crate) http_answer_seconds: Option<f64>,
    pub(crate) operation_seconds: Option<f64>,
    pub(crate) notification_seconds: Option<f64>,
    pub(crate) verdict_seconds: f64,
    pub(crate) roster_first_subscriber_seconds: Option<f64>,
    pub(crate) roster_last_subscriber_seconds: Option<f64>,
    pub(crate) first_packet_heard_seconds: Option<f64>,
    pub(crate) mute_verdict_seconds: f64,
}

/// What one human heard.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HumanReport {
    pub(crate) name: String,
    pub(crate) packets_heard: usize,
    pub(crate) from_muted_time: usize,
    pub(crate) missing: usize,
    pub(crate) sequence_gaps: usize,
    pub(crate) unmuted_stretches_heard: usize,
    pub(crate) unmuted_stretches: usize,
}

/// The crowd.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscribersReport {
    pub(crate) connected: usize,
    pub(crate) at_final_version: usize,
    pub(crate) final_version: String,
    pub(crate) frames: usize,
    pub(crate) out_of_order: usize,
}

/// A stretch of the recording, in seconds from its beginning.
#[derive(Debug, Serialize)]
pub(crate) struct Span {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Report {
    /// The table that ends the demo.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let ms = |seconds: Option<f64>| {
            seconds.map_or_else(
                || "-".to_owned(),
                |seconds| format!("{:.1}", seconds * 1000.0),
            )
        };
        let rule = "─".repeat(88);
        line(&mut out, format_args!("{rule}"));
        line(
            &mut out,
            format_args!(
                "{:>5}  {:<11} {:>8} {:>9} {:>8} {:>8} {:>9} {:>9} {:>10}",
                "cycle",
                "verdict",
                "answer",
                "operation",
                "roster",
                "verdict",
                "first sub",
                "last sub",
                "1st packet"
            ),
        );
        for cycle in &self.cycles {
            line(
                &mut out,
                format_args!(
                    "{:>5}  {:<11} {:>8} {:>9} {:>8} {:>8} {:>9} {:>9} {:>10}",
                    cycle.cycle,
                    cycle.unmute_verdict.split(' ').next().unwrap_or_default(),
                    ms(cycle.http_answer_seconds),
                    ms(cycle.operation_seconds),
                    ms(cycle.notification_seconds),
                    ms(Some(cycle.verdict_seconds)),
                    ms(cycle.roster_first_subscriber_seconds),
                    ms(cycle.roster_last_subscriber_seconds),
                    ms(cycle.first_packet_heard_seconds),
                ),
            );
        }
        line(
            &mut out,
            format_args!("       milliseconds after the unmute was asked for"),
        );
        line(&mut out, format_args!("{rule}"));
        for human in &self.humans {
            line(
                &mut out,
                format_args!(
                    "{:<8} heard {} of {} unmuted stretches, {} packets; {} from muted time, \
                     {} missing, {} gaps",
                    human.name,
                    human.unmuted_stretches_heard,
                    human.unmuted_stretches,
                    human.packets_heard,
                    human.from_muted_time,
                    human.missing,
                    human.sequence_gaps,
                ),
            );
        }
        let crowd = &self.subscribers;
        line(
            &mut out,
            format_args!(
                "{} of {} subscribers at the final version {}; {} frames, {} out of order",
                crowd.at_final_version,
                crowd.connected,
                crowd.final_version,
                crowd.frames,
                crowd.out_of_order,
            ),
        );
        line(
            &mut out,
            format_args!(
                "{} commands; {} verdicts, each seen exactly once by every subscriber",
                self.commands, self.verdicts_seen_once_by_all
            ),
        );
        out
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes everything");
}
