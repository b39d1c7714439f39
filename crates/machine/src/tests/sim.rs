//! The machine against a small simulated Graph that acts late, answers late, loses and repeats;
//! after a while the faults stop. Every verdict must be true, and the machine must come to know
//! what is true, also over crashes. `SEED=n` replays one run, `SEEDS=n` makes more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openmic_model::{
    Action, CallKind, CallState, CommandId, Evidence, Participant, Record, RosterSeen, Verdict,
};

use super::ledger::Ledger;
use super::rig::{OWN_COMMAND, facts, me, millis, secs};
use crate::{Config, Effect, Event, Machine, Phase, PostOutcome, QueryId, Read, Time};

mod graph;
mod process;

use graph::{Doing, Graph, LIMIT, Random};
use process::{DAY, Process};

/// When the faults and the commands stop.
const STORM: Duration = Duration::from_secs(90);
/// By then a keepAlive's audit has found what lost notifications hid.
const CALM: Duration = Duration::from_mins(15);

#[derive(Debug)]
struct Command {
    accepted: Time,
    within: Duration,
    /// From acceptance on; what comes after a crash may be later.
    due: Duration,
    speak_for: Option<Duration>,
    verdict: Option<Verdict>,
}

/// The latest POST of a series, and what allows another.
#[derive(Debug)]
struct Sent {
    at: Time,
    action: Action,
    /// POSTs that may have reached Graph.
    reached: u8,
    /// It certainly had no effect.
    harmless: bool,
    /// A GET begun after it showed the own entry other than asked.
    unchanged: bool,
}

struct Run {
    seed: u64,
    machine: Machine,
    graph: Graph,
    now: Time,
    commands: BTreeMap<CommandId, Command>,
    contexts: BTreeSet<String>,
    in_flight: Option<(u32, CommandId)>,
    ledger: Ledger,
    sent: BTreeMap<CommandId, Sent>,
    queries: BTreeMap<QueryId, Time>,
    process: Process,
    /// Somebody else than the machine changes the own entry.
    host: bool,
    trace: Vec<String>,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story("panicked"));
        }
    }
}

impl Run {
    fn new(seed: u64, crashes: bool) -> Self {
        let mut graph = Graph::new(seed);
        let host = graph.random.chance(30);
        let config = process::config(1, graph.random.chance(50), DAY);
        let process = Process::new(config.clone());
        let mut effects = Vec::new();
        let machine = if graph.random.chance(30) {
            let ring = facts(CallState::Incoming);
            Machine::answer(config, &ring, CallKind::Group, Time::ZERO, &mut effects)
        } else {
            Machine::start(config, Time::ZERO, &mut effects)
        };
        let mut run = Self {
            seed,
            machine,
            graph,
            now: Time::ZERO,
            commands: BTreeMap::new(),
            contexts: BTreeSet::new(),
            in_flight: None,
            ledger: Ledger::default(),
            sent: BTreeMap::new(),
            queries: BTreeMap::new(),
            process,
            host,
            trace: Vec::new(),
        };
        run.perform(&effects, false);
        run.plan(crashes);
        run
    }

    /// What the bot, the host and the others will do.
    fn plan(&mut self, crashes: bool) {
        let commands = 3 + self.graph.random.below(25);
        for number in 0..commands {
            let random: &mut Random = &mut self.graph.random;
            let at = Time::from_millis(200 + random.below(80_000));
            let action = if random.chance(50) {
                Action::Mute
            } else {
                Action::Unmute
            };
            let within = millis(if random.chance(30) {
                1000
            } else {
                1000 + random.below(39_000)
            });
            let id = CommandId::new(u128::from(number) + 1);
            let speak_for = random
                .chance(30)
                .then(|| millis(1000 + random.below(20_000)));
            let event = Event::Command {
                id,
                action,
                within,
                speak_for,
            };
            self.graph.schedule(at, Doing::Arrive(event));
        }
        if crashes {
            for _ in 0..=self.graph.random.below(4) {
                let at = Time::from_millis(self.graph.random.below(88_000));
                self.graph.schedule(at, Doing::Crash);
            }
        }
        for _ in 0..self.graph.random.below(12) {
            let at = Time::from_millis(self.graph.random.below(85_000));
            self.graph.schedule(at, Doing::SomebodyComesOrGoes);
            if self.host {
                let at = Time::from_millis(self.graph.random.below(85_000));
                self.graph.schedule(at, Doing::HostToggles);
            }
        }
    }

    fn go(&mut self) {
        let end = Time::ZERO + STORM + CALM;
        loop {
            let graph = self.graph.next_at();
            let timer = self.machine.next_deadline();
            let timer = timer.filter(|_| self.process.is_up());
            let Some(next) = [graph, timer].into_iter().flatten().min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if self.now >= Time::ZERO + STORM {
                self.graph.faults = 0;
            }
            if let Some(doing) = self.graph.pop(self.now) {
                match doing {
                    Doing::Crash => self.process.dying = true,
                    Doing::Restart => self.restart(),
                    doing => {
                        let event = self.graph.perform(self.now, doing);
                        // Nobody is there to hear it.
                        if let Some(event) = event.filter(|_| self.process.is_up()) {
                            self.fire(&event);
                        }
                    }
                }
            } else {
                self.fire(&Event::Tick);
                let next = self.machine.next_deadline();
                assert!(
                    next.is_none_or(|next| next > self.now),
                    "{}",
                    self.story("spins")
                );
            }
        }
        self.now = end;
    }

    fn fire(&mut self, event: &Event) {
        match event {
            Event::Created { .. } => self.process.opened(&mut self.graph.random),
            Event::Command {
                id,
                action,
                within,
                speak_for,
            } => {
                let command = Command {
                    accepted: self.now,
                    within: *within,
                    due: *within,
                    speak_for: speak_for.filter(|_| *action == Action::Unmute),
                    verdict: None,
                };
                self.commands.insert(*id, command);
            }
            Event::Posted { attempt, outcome } => self.answered(*attempt, outcome),
            Event::SelfRead {
                query,
                read: Read::Found(own),
            } => self.seen(*query, own),
            Event::RosterRead {
                query,
                read: Read::Found(entries),
            } => {
                if let Some(own) = entries.iter().find(|one| one.id == me()) {
                    self.seen(*query, own);
                }
            }
            _ => {}
        }
        let mut effects = Vec::new();
        self.ledger.event(event);
        self.machine.handle(event, self.now, &mut effects);
        let done = effects.len();
        self.machine.handle(&Event::Quiet, self.now, &mut effects);
        assert_eq!(effects.len(), done, "nothing comes of quiet: {effects:?}");
        self.done(&format!("{event:?}"), effects);
    }

    /// The machine took a step; the process may end in the middle of it.
    fn done(&mut self, what: &str, mut effects: Vec<Effect>) {
        let at = self.now.since_origin();
        let phase = self.machine.phase();
        let dies = self.process.dying && self.process.is_opened();
        if dies {
            let cut = self.graph.random.below(effects.len() as u64 + 1);
            effects.truncate(usize::try_from(cut).unwrap());
        }
        let end = if dies { " (killed)" } else { "" };
        self.trace
            .push(format!("{at:?} {what}\n      -> {phase} {effects:?}{end}"));
        self.perform(&effects, dies);
        if dies {
            self.crash();
        }
    }

    fn crash(&mut self) {
        self.graph.hang_up_on();
        self.ledger.crash();
        self.in_flight = None;
        self.queries.clear();
        let ledger = &self.ledger;
        self.commands
            .retain(|id, command| command.verdict.is_some() || ledger.accepted(*id));
        let keeps = self.graph.random.chance(50);
        let down = if self.graph.random.chance(20) {
            secs(self.graph.random.below(60))
        } else {
            millis(self.graph.random.below(3000))
        };
        self.process.crash(keeps);
        self.graph.schedule(self.now + down, Doing::Restart);
    }

    fn restart(&mut self) {
        let random = &mut self.graph.random;
        if random.chance(20) {
            self.process.clock_jumps(random);
        }
        // What is left of a command's time only the clock says, and that may have been set back;
        // it has five seconds at least to find out what became of it.
        for command in self.commands.values_mut() {
            let time = command.within.max(secs(5)) + millis(1);
            command.due = self.now.since(command.accepted) + time;
        }
        let (config, restored, wall) = self.process.restart(self.now);
        let mut effects = Vec::new();
        let what = format!("recovered from {restored:?}");
        self.machine = Machine::recover(config, restored, self.now, wall, &mut effects);
        self.done(&what, effects);
    }

    fn answered(&mut self, attempt: u32, outcome: &PostOutcome) {
        let Some((_, lead)) = self.in_flight.take_if(|(sent, _)| *sent == attempt) else {
            return;
        };
        let harmless = matches!(
            outcome,
            PostOutcome::NotSent | PostOutcome::Throttled { .. } | PostOutcome::Refused(_)
        );
        if let Some(sent) = self.sent.get_mut(&lead).filter(|_| harmless) {
            sent.harmless = true;
            sent.reached -= 1;
        }
    }

    fn seen(&mut self, query: QueryId, own: &Participant) {
        let Some(begun) = self.queries.get(&query).copied() else {
            return;
        };
        for sent in self.sent.values_mut() {
            let other = own.is_muted != sent.action.wants_muted();
            sent.unchanged |= other && begun >= sent.at;
        }
    }

    fn perform(&mut self, effects: &[Effect], dies: bool) {
        if dies {
            self.ledger.cut(effects);
        } else {
            self.ledger.effects(effects);
        }
        for effect in effects {
            match effect {
                Effect::Record(record) => {
                    self.process.write(self.now, record);
                    if let Record::Accepted(accepted) = record {
                        let own = Command {
                            accepted: self.now,
                            within: accepted.within,
                            due: accepted.within,
                            speak_for: None,
                            verdict: None,
                        };
                        self.commands.entry(accepted.command).or_insert(own);
                    }
                    if let Record::Verdict {
                        command,
                        action,
                        verdict,
                    } = record
                    {
                        self.settled(*command, *action, verdict);
                    }
                }
                Effect::Post {
                    attempt,
                    context,
                    command,
                    action,
                } => {
                    assert_eq!(
                        self.in_flight,
                        None,
                        "{}",
                        self.story("two POSTs in flight")
                    );
                    self.in_flight = Some((*attempt, *command));
                    let fresh = self.contexts.insert(context.as_str().to_owned());
                    assert!(fresh, "{}", self.story("a context twice"));
                    self.post(*command, *action);
                }
                Effect::Settle {
                    command,
                    verdict,
                    action,
                    ..
                } if !self.ledger.accepted(*command) => self.settled(*command, *action, verdict),
                Effect::ReadSelf { query, .. } | Effect::ReadRoster { query } => {
                    self.queries.insert(*query, self.now);
                }
                _ => {}
            }
            self.graph.ask(self.now, effect);
        }
    }

    /// No blind second POST, and no fourth that may have reached Graph.
    fn post(&mut self, lead: CommandId, action: Action) {
        let before = self.sent.get(&lead);
        let blind = before.is_some_and(|sent| !sent.harmless && !sent.unchanged);
        assert!(!blind, "{}", self.story("a blind second POST"));
        let reached = before.map_or(0, |sent| sent.reached) + 1;
        assert!(reached <= 3, "{}", self.story("a fourth POST"));
        let sent = Sent {
            at: self.now,
            action,
            reached,
            harmless: false,
            unchanged: false,
        };
        self.sent.insert(lead, sent);
    }

    fn settled(&mut self, id: CommandId, action: Action, verdict: &Verdict) {
        let Some(command) = self.commands.get_mut(&id) else {
            panic!("{}", self.story("a verdict for nobody"));
        };
        let twice = command.verdict.replace(verdict.clone()).is_some();
        let (accepted, deadline) = (command.accepted, command.accepted + command.due);
        let late = self.now > deadline;
        assert!(!twice, "{}", self.story("two verdicts"));
        assert!(!late, "{}", self.story("a verdict after the deadline"));
        self.check(action, accepted, deadline, verdict);
    }

    /// Whether `verdict` is true.
    fn check(&self, action: Action, accepted: Time, deadline: Time, verdict: &Verdict) {
        let asked = action.wants_muted();
        let as_asked = self.graph.muted == asked;
        let against = self
            .graph
            .posts
            .iter()
            .any(|post| post.action != action && post.acts.is_some_and(|acts| acts > self.now));
        match verdict {
            // At its deadline a command takes a notification's word, which may be about a change
            // by the host from before.
            Verdict::Confirmed {
                evidence: Evidence::Roster,
                ..
            } if self.host && self.now == deadline => {}
            Verdict::Confirmed { roster, .. } => {
                assert!(
                    self.was(asked, accepted),
                    "{}",
                    self.story("confirmed what never was")
                );
                // With nobody else at the switch it is still so, and stays so.
                if !self.host && *roster == RosterSeen::Fresh {
                    assert!(as_asked, "{}", self.story("confirmed what is no more"));
                    assert!(!against, "{}", self.story("an older POST will undo it"));
                }
            }
            Verdict::Already if !self.host => {
                assert!(as_asked, "{}", self.story("already, but it is not"));
                assert!(
                    !against,
                    "{}",
                    self.story("already, and about to be undone")
                );
            }
            Verdict::Expired => {
                let reached = self.graph.posts.iter().any(|post| {
                    post.action == action && post.sent >= accepted && post.acts.is_some()
                });
                assert!(!reached, "{}", self.story("expired, but it was sent"));
            }
            _ => {}
        }
    }

    /// Whether the own entry was `muted` at some moment from when the attempt that was joined
    /// may have been sent.
    fn was(&self, muted: bool, accepted: Time) -> bool {
        let sent = |post: &graph::Post| {
            post.action.wants_muted() == muted
                && post.sent <= accepted
                && accepted.since(post.sent) < secs(45)
        };
        let joined = self
            .graph
            .posts
            .iter()
            .filter(|post| sent(post))
            .map(|post| post.sent)
            .max();
        let from = joined.unwrap_or(accepted).min(accepted);
        let before = self.graph.changes.iter().rev().find(|(at, _)| *at <= from);
        let since = self.graph.changes.iter().filter(|(at, _)| *at > from);
        before
            .into_iter()
            .chain(since)
            .any(|(_, was)| *was == muted)
    }

    fn finish(&self) {
        for (id, command) in &self.commands {
            assert!(
                command.verdict.is_some(),
                "{}",
                self.story(&format!("{id} is open"))
            );
        }
        self.check_last_word();
        assert_eq!(
            self.machine.speaks_until(),
            None,
            "{}",
            self.story("an end that never came")
        );
        let phase = if self.graph.muted {
            Phase::Muted
        } else {
            Phase::Unmuted
        };
        assert_eq!(
            self.machine.phase(),
            phase,
            "{}",
            self.story("not the true state")
        );
        let mut seen: Vec<(String, bool)> = self
            .machine
            .roster()
            .iter()
            .map(|one| (one.id.as_str().to_owned(), one.is_muted))
            .collect();
        seen.sort();
        assert_eq!(
            seen,
            self.graph.truth(),
            "{}",
            self.story("not the true roster")
        );
    }

    /// With nobody else at the switch, the latest command that did anything has the last word,
    /// and its time to speak in has ended.
    fn check_last_word(&self) {
        let last = self
            .commands
            .iter()
            .filter(|(id, _)| self.process.is_bots(**id))
            .max_by_key(|(_, command)| command.accepted);
        let Some((_, last)) = last.filter(|_| !self.host) else {
            return;
        };
        let sure = last.verdict.as_ref().is_some_and(Verdict::is_success);
        let perhaps = sure || last.verdict == Some(Verdict::Unconfirmed);
        if last.speak_for.is_some() && perhaps {
            assert!(self.graph.muted, "{}", self.story("left unmuted"));
        }
    }

    fn story(&self, what: &str) -> String {
        let lines = self.trace.len().saturating_sub(60);
        format!(
            "{what} at {:?}; SEED={} replays it. The last events:\n{}\nPOSTs: {:#?}",
            self.now.since_origin(),
            self.seed,
            self.trace[lines..].join("\n"),
            self.graph.posts.iter().rev().take(5).collect::<Vec<_>>()
        )
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn storm(name: &str, crashes: bool, expected: &[&str]) {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(1500),
    };
    let whole = seeds.end - seeds.start > 1;
    let mut verdicts: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in seeds {
        let mut run = Run::new(seed, crashes);
        run.go();
        run.finish();
        for command in run.commands.values() {
            if let Some(verdict) = &command.verdict {
                *verdicts.entry(verdict.as_str()).or_default() += 1;
            }
        }
    }
    println!("{name}: {verdicts:?}");
    // The storm is rough enough to end commands in every way that it can.
    for word in expected.iter().filter(|_| whole) {
        assert!(
            verdicts.get(word).is_some_and(|count| *count > 20),
            "{verdicts:?}"
        );
    }
    assert_eq!(LIMIT, Config::new(1, OWN_COMMAND).post_limit);
}

const VERDICTS: [&str; 6] = [
    "confirmed",
    "already",
    "refused",
    "unconfirmed",
    "expired",
    "superseded",
];

#[test]
fn verdicts_are_true_and_the_truth_is_found() {
    storm("without crashes", false, &VERDICTS);
}

#[test]
fn crashes_make_no_verdict_false_and_none_is_lost() {
    storm("with crashes", true, &VERDICTS);
}
