//! From what was measured to the report, and what of it did not hold.

use std::time::{Duration, Instant};

use crate::demo::human::Heard;
use crate::demo::judge::{Judgement, Stretch};
use crate::demo::report::{CycleReport, HumanReport, Report, Span, SubscribersReport};
use crate::demo::scene::Cycle;

/// The report, but for what concerns the crowd.
pub(crate) fn report(
    cycles: &[Cycle],
    judged: &[Judgement],
    heard: &[(String, Vec<Heard>)],
    stretches: &[Stretch],
    recording_from: Instant,
) -> Report {
    let unmuted = stretches.iter().filter(|stretch| !stretch.muted).count();
    let since = |at: Instant, from: Instant| at.saturating_duration_since(from).as_secs_f64();
    let cycle_report = |(number, cycle): (usize, &Cycle)| {
        let at = cycle.unmute.at;
        let moments = cycle.unmute.outcome.moments;
        let seconds = |moment: Option<Duration>| moment.map(|moment| moment.as_secs_f64());
        let first_heard = judged
            .iter()
            .filter_map(|judgement| *judgement.first_heard.get(number)?)
            .min();
        CycleReport {
            cycle: number + 1,
            unmute_verdict: cycle.unmute.outcome.verdict.to_string(),
            mute_verdict: cycle.mute.outcome.verdict.to_string(),
            http_answer_seconds: seconds(moments.answered),
            operation_seconds: seconds(moments.operation),
            notification_seconds: seconds(moments.roster),
            verdict_seconds: moments.verdict.as_secs_f64(),
            roster_first_subscriber_seconds: cycle.reach.map(|reach| since(reach.first, at)),
            roster_last_subscriber_seconds: cycle.reach.map(|reach| since(reach.last, at)),
            first_packet_heard_seconds: first_heard.map(|first| since(first, at)),
            mute_verdict_seconds: cycle.mute.outcome.moments.verdict.as_secs_f64(),
        }
    };
    let humans = heard
        .iter()
        .zip(judged)
        .map(|((name, _), judgement)| HumanReport {
            name: name.clone(),
            packets_heard: judgement.heard,
            from_muted_time: judgement.from_muted_time,
            missing: judgement.missing,
            sequence_gaps: judgement.gaps,
            unmuted_stretches_heard: judgement.stretches_heard,
            unmuted_stretches: unmuted,
        });
    let muted = stretches
        .iter()
        .filter(|stretch| stretch.muted)
        .map(|stretch| Span {
            from: since(stretch.from, recording_from),
            to: since(stretch.to, recording_from),
        });
    Report {
        passed: false,
        failures: Vec::new(),
        took_seconds: 0.0,
        subscribers: SubscribersReport::default(),
        cycles: cycles.iter().enumerate().map(cycle_report).collect(),
        humans: humans.collect(),
        bot_packets_sent: 0,
        muted_in_recording: muted.collect(),
        commands: 0,
        verdicts_seen_once_by_all: 0,
        verdicts_seen: 0,
    }
}

/// Everything that did not hold, in words.
pub(crate) fn failures(
    report: &Report,
    judged: &[Judgement],
    stretches: &[Stretch],
    spread: Option<anyhow::Error>,
) -> Vec<String> {
    let mut failures: Vec<_> = spread
        .into_iter()
        .map(|error| format!("{error:#}"))
        .collect();
    for (human, judgement) in report.humans.iter().zip(judged) {
        if !judgement.holds(stretches) {
            failures.push(format!(
                "{} heard {} packets of muted time, missed {}, saw {} gaps, heard {} of {} \
                 unmuted stretches",
                human.name,
                human.from_muted_time,
                human.missing,
                human.sequence_gaps,
                human.unmuted_stretches_heard,
                human.unmuted_stretches
            ));
        }
    }
    for cycle in &report.cycles {
        for (action, verdict) in [
            ("unmute", &cycle.unmute_verdict),
            ("mute", &cycle.mute_verdict),
        ] {
            if !verdict.starts_with("confirmed") {
                failures.push(format!("{action} {} ended {verdict}", cycle.cycle));
            }
        }
    }
    let crowd = &report.subscribers;
    let once = (report.verdicts_seen_once_by_all, report.verdicts_seen);
    if crowd.connected > 0 && once != (report.commands, report.commands) {
        failures.push(format!(
            "of {} commands the verdicts of {} were seen exactly once by every subscriber, and {} \
             verdicts were seen at all",
            report.commands, report.verdicts_seen_once_by_all, report.verdicts_seen
        ));
    }
    if crowd.at_final_version != crowd.connected {
        failures.push(format!(
            "only {} of {} subscribers hold the final roster",
            crowd.at_final_version, crowd.connected
        ));
    }
    if crowd.out_of_order > 0 {
        failures.push(format!(
            "{} frames did not follow what came before",
            crowd.out_of_order
        ));
    }
    failures
}
