//! The demo as it plays: who joins, what is asked, what is measured.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use openmic_engine::{Call, CommandOptions, Join, Media, Outcome, Phase};
use openmic_model::Action;

use crate::cli::DemoArgs;
use crate::demo::audio::Source;
use crate::demo::bot::Voice;
use crate::demo::human::{self, Ear};
use crate::demo::judge::{Stretch, judge};
use crate::demo::lab;
use crate::demo::report::SubscribersReport;
use crate::demo::show::{Look, Show, millis};
use crate::demo::subscribers::{Crowd, Reach};
use crate::demo::tally;
use crate::wiring::Stack;

/// How long the bot stays muted, and unmuted, in each cycle.
const MUTED: Duration = Duration::from_millis(900);
const UNMUTED: Duration = Duration::from_millis(1300);
/// A packet that was sent has long arrived by then.
const LAST_PACKET: Duration = Duration::from_millis(300);
const THREAD: &str = "19:meeting_demo@thread.v2";
const ORGANIZER: &str = "33333333-3333-4333-8333-333333333333";
const NAMES: [&str; 5] = ["Ann", "Ben", "Cleo", "Dan", "Eve"];

/// One command as the demo saw it.
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) operation: String,
    pub(crate) outcome: Outcome,
}

impl Asked {
    /// The moment from which the gate is as the command wanted: the POST's answer.
    fn effective(&self) -> Instant {
        self.at
            + self
                .outcome
                .moments
                .answered
                .unwrap_or(self.outcome.moments.verdict)
    }
}

/// One unmute and the mute after it.
pub(crate) struct Cycle {
    pub(crate) unmute: Asked,
    pub(crate) mute: Asked,
    pub(crate) reach: Option<Reach>,
}

/// A demo that was played.
pub(crate) struct Played {
    pub(crate) held: bool,
    pub(crate) call: Call,
}

/// The demo with everything it needs.
pub(crate) struct Scene<'a> {
    pub(crate) args: &'a DemoArgs,
    pub(crate) subscribers: usize,
    pub(crate) show: Show,
    pub(crate) begun: Instant,
    pub(crate) stack: &'a Stack,
}

impl Scene<'_> {
    /// Plays it to its end. The call stays up.
    pub(crate) async fn play(&self, source: Source) -> anyhow::Result<Played> {
        let Scene {
            args,
            subscribers,
            show,
            begun,
            stack,
        } = *self;
        let addresses = stack.addresses();
        let missing = "the demo's process lacks a listener";
        let local = addresses.local.clone().context(missing)?;
        let public = addresses.public.clone().context(missing)?;
        let admin = addresses.admin.clone().context(missing)?;
        show.line(Look::Step, format_args!("local calling service on {local}"));
        show.line(
            Look::Step,
            format_args!("engine on {public}, metrics on {admin}/metrics"),
        );

        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()?;
        let mut ears = Vec::new();
        for number in 0..args.humans {
            let name = name(number);
            let ear = lab::human_joins(&http, &local, THREAD, &name).await?;
            ears.push((name, ear));
        }
        let humans = ears.len();
        show.line(
            Look::Plain,
            format_args!("{humans} humans joined the meeting and listen"),
        );

        let (socket, offer) = lab::offer()?;
        let call = self.join(offer).await?;
        let states = tokio::spawn(show_states(show, call.clone()));
        let answer = call
            .created()
            .and_then(|created| created.media_blob.clone());
        let to = lab::service_address(&answer.context("the created call has no SDP answer")?)?;
        let settled = call.until(|status| status.phase == Phase::Muted);
        let status = tokio::time::timeout(Duration::from_secs(10), settled)
            .await
            .context("the call was not established and muted in 10 s")?;
        anyhow::ensure!(
            status.phase == Phase::Muted,
            "the call ended while it was being set up"
        );

        let token = lab::dev_token(&http, &local).await?;
        let url = format!("{public}/v1/calls/{}/roster", call.id()).replacen("http", "ws", 1);
        let mut crowd = Crowd::gather(&url, &token, subscribers).await?;
        show.line(
            Look::Plain,
            format_args!("{} subscribers watch the roster", crowd.len()),
        );

        let voice_from = Instant::now();
        let voice = Voice::start(socket, to, source)?;
        show.line(
            Look::Plain,
            "the bot speaks without pause; muted, nobody must hear it",
        );
        let mut cycles = Vec::new();
        for number in 1..=args.cycles {
            cycles.push(self.cycle(number, &call, &mut crowd).await?);
        }
        tokio::time::sleep(MUTED).await;
        let end = Instant::now();
        let sent = voice.stop()?;
        tokio::time::sleep(LAST_PACKET).await;
        let final_version = call.state().version;
        let spread = crowd.reach(final_version).await;
        crowd.told(2 * cycles.len()).await;
        let heard = ears
            .into_iter()
            .map(|(name, ear): (String, Ear)| Ok((name, ear.stop()?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        states.abort();

        let stretches = stretches(voice_from, &cycles, end);
        let judged: Vec<_> = heard
            .iter()
            .map(|(_, packets)| judge(&sent, packets, &stretches))
            .collect();
        let mut report = tally::report(&cycles, &judged, &heard, &stretches, voice_from);
        report.bot_packets_sent = sent.len();
        report.subscribers = SubscribersReport {
            connected: crowd.len(),
            at_final_version: crowd.agreeing(final_version),
            final_version: final_version.to_string(),
            frames: crowd.frames(),
            out_of_order: crowd.out_of_order(),
        };
        let operations: Vec<String> = cycles
            .iter()
            .flat_map(|cycle| [cycle.unmute.operation.clone(), cycle.mute.operation.clone()])
            .collect();
        report.commands = operations.len();
        report.verdicts_seen_once_by_all = crowd.verdicts_seen_once(&operations);
        report.verdicts_seen = crowd.verdicts_seen();
        report.failures = tally::failures(&report, &judged, &stretches, spread.err());
        report.passed = report.failures.is_empty();
        report.took_seconds = begun.elapsed().as_secs_f64();

        show.block(&report.table());
        for failure in &report.failures {
            show.line(Look::Bad, format_args!("NOT HELD: {failure}"));
        }
        if report.passed {
            show.line(Look::Good, "everything held");
        }
        if let (Some(path), Some((who, packets))) = (&args.record, heard.first()) {
            human::record(path, packets, voice_from, end)?;
            show.line(
                Look::Plain,
                format_args!("what {who} heard is in {}", path.display()),
            );
        }
        if let Some(path) = &args.report {
            let text = serde_json::to_string_pretty(&report)? + "\n";
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            show.line(
                Look::Plain,
                format_args!("the figures are in {}", path.display()),
            );
        }
        Ok(Played {
            held: report.passed,
            call,
        })
    }

    async fn join(&self, offer: String) -> anyhow::Result<Call> {
        let engine = self.stack.engine();
        let tenant = engine.owner().tenant.clone();
        let join = Join {
            media: Media::AppHosted { blob: offer },
            join_muted: Some(true),
            ..Join::meeting(THREAD, ORGANIZER, tenant)
        };
        let call = engine.join(join).await.context("the bot cannot join")?;
        self.show.line(
            Look::Plain,
            format_args!("the bot joins: call {}", call.id()),
        );
        Ok(call)
    }

    async fn cycle(&self, number: usize, call: &Call, crowd: &mut Crowd) -> anyhow::Result<Cycle> {
        tokio::time::sleep(MUTED).await;
        let unmute = ask(call, Action::Unmute).await?;
        let reach = crowd.reach(call.state().version).await?;
        let moments = unmute.outcome.moments;
        self.show.line(
            Look::Step,
            format_args!(
                "unmute {number}: {}; answer after {}, operation {}, notification {}",
                unmute.outcome.verdict,
                millis(moments.answered),
                millis(moments.operation),
                millis(moments.roster),
            ),
        );
        if let Some(reach) = reach {
            let after = |at: Instant| millis(Some(at.saturating_duration_since(unmute.at)));
            self.show.line(
                Look::Plain,
                format_args!(
                    "  roster at the first of {} subscribers after {}, at the last after {}",
                    reach.subscribers,
                    after(reach.first),
                    after(reach.last)
                ),
            );
        }
        tokio::time::sleep(UNMUTED).await;
        let mute = ask(call, Action::Mute).await?;
        let took = millis(Some(mute.outcome.moments.verdict));
        self.show.line(
            Look::Step,
            format_args!("mute {number}: {} after {took}", mute.outcome.verdict),
        );
        Ok(Cycle {
            unmute,
            mute,
            reach,
        })
    }
}

fn name(number: usize) -> String {
    NAMES.get(number).map_or_else(
        || format!("Human {}", number + 1),
        |name| (*name).to_owned(),
    )
}

/// Prints each state of the call as it comes.
async fn show_states(show: Show, call: Call) {
    let mut last = Phase::Establishing;
    loop {
        let status = call.until(|status| status.phase != last).await;
        show.line(
            Look::Plain,
            format_args!("call: {last} -> {}", status.phase),
        );
        if status.phase == Phase::Terminated {
            return;
        }
        last = status.phase;
    }
}

async fn ask(call: &Call, action: Action) -> anyhow::Result<Asked> {
    let at = Instant::now();
    let pending = call.command(action, CommandOptions::default())?;
    let operation = pending.operation().to_string();
    Ok(Asked {
        at,
        operation,
        outcome: pending.outcome().await?,
    })
}

/// The stretches between answers and the requests that follow them.
fn stretches(muted_from: Instant, cycles: &[Cycle], end: Instant) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut from = muted_from;
    for cycle in cycles {
        stretches.push(Stretch {
            from,
            to: cycle.unmute.at,
            muted: true,
        });
        let open = cycle.unmute.effective();
        stretches.push(Stretch {
            from: open,
            to: cycle.mute.at,
            muted: false,
        });
        from = cycle.mute.effective();
    }
    stretches.push(Stretch {
        from,
        to: end,
        muted: true,
    });
    stretches
}
