//! The machine against a small simulated Graph that acts late, answers late, loses and repeats;
//! after a while the faults stop. Every verdict must be true, and the machine must come to know
//! what is true. `SEED=n` replays one run, `SEEDS=n` makes more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openmic_model::{Action, CallKind, CallState, CommandId, Evidence, RosterSeen, Verdict};

use super::ledger::Ledger;
use super::rig::{OWN_COMMAND, facts, millis, secs};
use crate::{Config, Effect, Event, Machine, Phase, Time};

mod graph;

use graph::{Doing, Graph, LIMIT, Random};

/// When the faults and the commands stop.
const STORM: Duration = Duration::from_secs(90);
/// By then a keepAlive's audit has found what lost notifications hid.
const CALM: Duration = Duration::from_mins(15);

#[derive(Debug)]
struct Command {
    accepted: Time,
    within: Duration,
    verdict: Option<Verdict>,
}

struct Run {
    seed: u64,
    machine: Machine,
    graph: Graph,
    now: Time,
    commands: BTreeMap<CommandId, Command>,
    contexts: BTreeSet<String>,
    in_flight: Option<u32>,
    ledger: Ledger,
    /// Somebody else than the machine changes the own entry.
    host: bool,
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut graph = Graph::new(seed);
        let host = graph.random.chance(30);
        let config = Config {
            join_muted: graph.random.chance(50),
            ..Config::new(1, OWN_COMMAND)
        };
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
            host,
            trace: Vec::new(),
        };
        run.perform(&effects);
        run.plan();
        run
    }

    /// What the bot, the host and the others will do.
    fn plan(&mut self) {
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
            let event = Event::Command {
                id,
                action,
                within,
                speak_for: None,
            };
            self.graph.schedule(at, Doing::Arrive(event));
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
                if let Some(event) = self.graph.perform(self.now, doing) {
                    self.fire(&event);
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
            Event::Command { id, within, .. } => {
                let command = Command {
                    accepted: self.now,
                    within: *within,
                    verdict: None,
                };
                self.commands.insert(*id, command);
            }
            Event::Posted { attempt, .. } if self.in_flight == Some(*attempt) => {
                self.in_flight = None;
            }
            _ => {}
        }
        let mut effects = Vec::new();
        self.ledger.event(event);
        self.machine.handle(event, self.now, &mut effects);
        let at = self.now.since_origin();
        let phase = self.machine.phase();
        self.trace
            .push(format!("{at:?} {event:?}\n      -> {phase} {effects:?}"));
        self.perform(&effects);
    }

    fn perform(&mut self, effects: &[Effect]) {
        self.ledger.effects(effects);
        for effect in effects {
            match effect {
                Effect::Post {
                    attempt, context, ..
                } => {
                    assert_eq!(
                        self.in_flight,
                        None,
                        "{}",
                        self.story("two POSTs in flight")
                    );
                    self.in_flight = Some(*attempt);
                    let fresh = self.contexts.insert(context.as_str().to_owned());
                    assert!(fresh, "{}", self.story("a context twice"));
                }
                Effect::Settle {
                    command,
                    verdict,
                    action,
                    ..
                } => self.settled(*command, *action, verdict),
                _ => {}
            }
            self.graph.ask(self.now, effect);
        }
    }

    fn settled(&mut self, id: CommandId, action: Action, verdict: &Verdict) {
        if id == OWN_COMMAND {
            let accepted = Time::ZERO;
            self.commands.entry(id).or_insert(Command {
                accepted,
                within: STORM,
                verdict: None,
            });
        }
        let Some(command) = self.commands.get_mut(&id) else {
            panic!("{}", self.story("a verdict for nobody"));
        };
        let twice = command.verdict.replace(verdict.clone()).is_some();
        let (accepted, deadline) = (command.accepted, command.accepted + command.within);
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

#[test]
fn verdicts_are_true_and_the_truth_is_found() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(1500),
    };
    let whole = seeds.end - seeds.start > 1;
    let mut verdicts: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in seeds {
        let mut run = Run::new(seed);
        run.go();
        run.finish();
        for command in run.commands.values() {
            if let Some(verdict) = &command.verdict {
                *verdicts.entry(verdict.as_str()).or_default() += 1;
            }
        }
    }
    // The storm is rough enough to end commands in every way that it can.
    if whole {
        for word in [
            "confirmed",
            "already",
            "refused",
            "unconfirmed",
            "expired",
            "superseded",
        ] {
            assert!(
                verdicts.get(word).is_some_and(|count| *count > 20),
                "{verdicts:?}"
            );
        }
    }
    assert_eq!(LIMIT, Config::new(1, OWN_COMMAND).post_limit);
}
