//! What the lines of a log mean.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use openmic_engine::Phase;
use openmic_engine::flight::{Ack, Event, PostOutcome, Read, Timer};
use openmic_engine::flight::{Act, Begun, Entry, How, Stand, Step, What};
use openmic_model::{Action, CallId, CommandId, Origin, ParticipantId, Verdict, WallTime};
use serde::Serialize;

use super::words;

/// A request whose answer took longer is worth a word.
const SLOW_REQUEST: Duration = Duration::from_secs(2);
/// The same of the journal.
const SLOW_JOURNAL: Duration = Duration::from_millis(100);
/// Said of a step that runs ahead of the journal.
const HELD: &str = " [not durable yet: nothing of what follows from it was told or sent]";
/// Notifications among which a repetition is looked for.
const SEEN: usize = 64;

/// Where a call stands, why, and what it waits for.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    /// Its id, when the log has it.
    pub(super) call: Option<CallId>,
    pub(super) state: &'static str,
    /// What that means.
    pub(super) meaning: &'static str,
    /// When it came into that state.
    pub(super) since: WallTime,
    /// The fact that led there.
    pub(super) because: String,
    pub(super) waits_for: Vec<String>,
    /// What happens by itself, soonest first.
    pub(super) next: Vec<Next>,
    /// The facts in their order.
    pub(super) facts: Vec<Fact>,
    pub(super) commands: Vec<Command>,
    pub(super) unusual: Vec<Fact>,
    /// Number and time of the first and of the last line.
    pub(super) first: (u64, WallTime),
    pub(super) last: (u64, WallTime),
}

/// What the clock will do.
#[derive(Debug, Serialize)]
pub(super) struct Next {
    pub(super) at: WallTime,
    pub(super) timer: Timer,
    pub(super) then: &'static str,
}

/// One line for people.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Fact {
    pub(super) n: u64,
    pub(super) wall: WallTime,
    pub(super) text: String,
    /// What the machine did on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) did: Vec<String>,
    /// It changed the state, a command or what Graph was asked: one of the chain that led here.
    pub(super) led: bool,
}

/// A command and what is known of it.
#[derive(Debug, Serialize)]
pub(super) struct Command {
    pub(super) id: CommandId,
    pub(super) action: Action,
    pub(super) by: Origin,
    pub(super) asked: WallTime,
    /// By when the verdict is due.
    pub(super) due: Option<WallTime>,
    /// POSTs that were wanted: also those that our own client held back, such as while Graph
    /// throttles another call.
    pub(super) posts: u32,
    /// What proved it, in the order in which it came.
    pub(super) evidence: Vec<String>,
    pub(super) verdict: Option<Verdict>,
    /// The same in words; `open` before.
    pub(super) how: String,
    pub(super) took_ms: Option<f64>,
}

impl Story {
    /// Tells a log, which has at least one line.
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut teller = Teller::default();
        for entry in entries {
            teller.hear(entry);
        }
        teller.end(entries)
    }
}

#[derive(Default)]
struct Teller<'a> {
    call: Option<CallId>,
    me: Option<ParticipantId>,
    stand: Option<(&'a Entry, &'a Stand)>,
    /// The latest change of state.
    entered: Option<(WallTime, String)>,
    facts: Vec<Fact>,
    unusual: Vec<Fact>,
    commands: Vec<Command>,
    /// Requests without an answer.
    awaited: BTreeMap<(Option<u32>, &'a str), (u64, WallTime)>,
    notices: VecDeque<&'a Event>,
    before: u64,
    broken: bool,
    /// Steps whose records are not durable as far as the log goes.
    held: VecDeque<u64>,
}

impl<'a> Teller<'a> {
    fn hear(&mut self, entry: &'a Entry) {
        if self.before > 0 && entry.n != self.before + 1 {
            let (from, to) = (self.before + 1, entry.n - 1);
            self.odd(
                entry,
                format!("lines {from} to {to} are missing: there was no room for them"),
            );
        }
        self.before = entry.n;
        match &entry.what {
            What::Begun(begun) => self.begun(entry, begun),
            What::Step(step) => self.step(entry, step),
            What::Known { call } => self.call = Some(call.clone()),
            What::Asked(asked) => {
                let within = u64::try_from(asked.within.as_millis()).unwrap_or(u64::MAX);
                self.commands.push(Command {
                    id: asked.command,
                    action: asked.action,
                    by: Origin::Bot,
                    asked: entry.wall,
                    due: Some(WallTime(entry.wall.0.saturating_add(within))),
                    posts: 0,
                    evidence: Vec::new(),
                    verdict: None,
                    how: "open".to_owned(),
                    took_ms: None,
                });
            }
            What::TurnedAway { action, why } => {
                self.odd(
                    entry,
                    format!("a command to {action} was turned away: {why}"),
                );
            }
            What::Sent { request, id } => {
                self.awaited.insert((*id, request), (entry.n, entry.wall));
                self.fact(entry, format!("sent {request}"), Vec::new(), false);
            }
            What::Passed {
                errand,
                status,
                took,
            } => {
                let took = words::took(Duration::from_nanos(*took));
                let text = format!("passed {errand} on to Graph: {status} after {took}");
                self.fact(entry, text, Vec::new(), false);
            }
            What::Published {
                version,
                participants,
                subscribers,
            } => {
                let text = format!(
                    "roster {version} of {participants} participants went to {subscribers} \
                     subscribers"
                );
                self.fact(entry, text, Vec::new(), false);
            }
            What::Relayed { entries, .. } => {
                let text = format!("{entries} entries went on to the bot's own callback");
                self.fact(entry, text, Vec::new(), false);
            }
            What::Released { took } => {
                self.held.pop_front();
                let took = Duration::from_nanos(*took);
                if took > SLOW_JOURNAL {
                    let took = words::took(took);
                    self.odd(
                        entry,
                        format!("the journal took {took} to make a record durable"),
                    );
                }
            }
            What::Broken => {
                self.broken = true;
                let text = "the call's actor broke, a fault of openmic; it is being hung up";
                self.odd(entry, text.to_owned());
                self.fact(entry, text.to_owned(), Vec::new(), true);
            }
            What::Left => {
                self.fact(
                    entry,
                    "the engine forgot the call".to_owned(),
                    Vec::new(),
                    false,
                );
            }
        }
    }

    fn begun(&mut self, entry: &'a Entry, begun: &'a Begun) {
        let text = match &begun.how {
            How::Created => "the call is created".to_owned(),
            How::Answered { .. } => "the call rings and is answered".to_owned(),
            How::Recovered { restored, .. } => {
                self.me.clone_from(&restored.me);
                for (at, accepted) in &restored.open {
                    self.commands.push(Command {
                        id: accepted.command,
                        action: accepted.action,
                        by: accepted.origin,
                        asked: *at,
                        due: Some(at.after(accepted.within)),
                        posts: 0,
                        evidence: Vec::new(),
                        verdict: None,
                        how: "open".to_owned(),
                        took_ms: None,
                    });
                }
                let open = restored.open.len();
                let text = format!("taken up again after a restart, {open} commands open");
                self.odd(entry, text.clone());
                text
            }
        };
        let did = self.acts(entry, &begun.stand, None);
        self.entered = Some((entry.wall, text.clone()));
        self.fact(entry, text, did, true);
        self.stand = Some((entry, &begun.stand));
    }

    fn step(&mut self, entry: &'a Entry, step: &'a Step) {
        let fired: Vec<_> = match self.stand {
            Some((_, before)) => {
                let due = before.due.iter().filter(|(_, at)| *at <= entry.at);
                due.map(|(timer, _)| *timer).collect()
            }
            None => Vec::new(),
        };
        let mut text = match &step.event {
            Some(event) => {
                self.learn(event);
                words::event(event, self.me.as_ref(), &fired)
            }
            None => format!("{}, too long to be kept", step.name),
        };
        if let Some(took) = step.took {
            let took = Duration::from_nanos(took);
            text = format!("{text} (after {})", words::took(took));
            self.answered(entry, step);
            if took > SLOW_REQUEST {
                self.odd(entry, format!("slow: {text}"));
            }
        }
        if let Some(event) = &step.event {
            self.look_at(entry, event, &text);
        }
        let did = self.acts(entry, &step.stand, Some(&text));
        let moved = step.stand.acts.iter().any(|act| {
            matches!(
                act,
                Act::Entered { .. } | Act::Post { .. } | Act::Settle { .. } | Act::HangUp
            )
        });
        let asked = matches!(step.event, Some(Event::Command { .. } | Event::HangUp));
        let answer = matches!(step.event, Some(Event::Posted { .. }));
        self.fact(entry, text, did, moved || asked || answer);
        if step.held {
            self.held.push_back(entry.n);
        }
        self.stand = Some((entry, &step.stand));
    }

    /// Who the bot is.
    fn learn(&mut self, event: &Event) {
        let (Event::Created { facts, .. }
        | Event::CallNotice(facts)
        | Event::CallRead {
            read: Read::Found(facts),
            ..
        }) = event
        else {
            return;
        };
        if facts.my_participant.is_some() {
            self.me.clone_from(&facts.my_participant);
        }
    }

    /// Strikes the request off that the step answers.
    fn answered(&mut self, entry: &Entry, step: &Step) {
        let id = match &step.event {
            Some(Event::Posted { attempt, .. }) => Some(*attempt),
            Some(
                Event::OperationRead { query, .. }
                | Event::SelfRead { query, .. }
                | Event::RosterRead { query, .. }
                | Event::CallRead { query, .. },
            ) => Some(*query),
            _ => None,
        };
        let post = matches!(step.event, Some(Event::Posted { .. }));
        let took = step.took.unwrap_or(0) / 1_000_000;
        let sent = entry.wall.0.saturating_sub(took);
        let same = |(of, request): &(Option<u32>, &str)| {
            *of == id && (id.is_none() || request.starts_with("POST") == post)
        };
        let mut found: Vec<_> = self.awaited.iter().filter(|(key, _)| same(key)).collect();
        found.sort_by_key(|(_, (_, wall))| wall.0.abs_diff(sent));
        if let Some(key) = found.first().map(|(key, _)| **key) {
            self.awaited.remove(&key);
        }
    }

    /// What of an event is not as usual.
    fn look_at(&mut self, entry: &Entry, event: &'a Event, text: &str) {
        let odd = match event {
            Event::Posted { outcome, .. } => !matches!(outcome, PostOutcome::Answered(_)),
            Event::CreateFailed { .. } => true,
            Event::OperationRead { read, .. } => !matches!(read, Read::Found(_)),
            Event::SelfRead { read, .. } => !matches!(read, Read::Found(_)),
            Event::RosterRead { read, .. } => !matches!(read, Read::Found(_)),
            // So an end is made sure of.
            Event::CallRead { read, .. } => !matches!(read, Read::Found(_) | Read::Gone),
            Event::KeptAlive(ack) | Event::HungUp(ack) => *ack != Ack::Done,
            _ => false,
        };
        if odd {
            self.odd(entry, text.to_owned());
        }
        if matches!(
            event,
            Event::CallNotice(_) | Event::RosterNotice(_) | Event::OperationNotice(_)
        ) {
            if self.notices.contains(&event) {
                self.odd(entry, format!("came before already: {text}"));
            }
            if self.notices.len() == SEEN {
                self.notices.pop_front();
            }
            self.notices.push_back(event);
        }
    }

    /// What the machine did, in words; commands are kept up to date.
    fn acts(&mut self, entry: &Entry, stand: &Stand, why: Option<&str>) -> Vec<String> {
        for act in &stand.acts {
            match act {
                Act::Post {
                    action, command, ..
                } => {
                    let known = self.command(*command, *action, Origin::Machine, entry.wall);
                    known.posts += 1;
                    let posts = known.posts;
                    if posts > 1 {
                        let command = words::short(*command);
                        self.odd(entry, format!("try {posts} of {command}"));
                    }
                }
                Act::Settle {
                    command,
                    action,
                    origin,
                    verdict,
                    took,
                } => {
                    let how = words::verdict(verdict);
                    let known = self.command(*command, *action, *origin, entry.wall);
                    known.verdict = Some(verdict.clone());
                    known.how.clone_from(&how);
                    known.took_ms = Some(Duration::from_nanos(*took).as_secs_f64() * 1e3);
                    if let Some(why) = why {
                        known.evidence.push(why.to_owned());
                    }
                    if matches!(verdict, Verdict::Unconfirmed | Verdict::Expired) {
                        let command = words::short(*command);
                        self.odd(entry, format!("{action} {command}: {how}"));
                    }
                }
                Act::Entered { to, .. } => {
                    let because = why.unwrap_or("the call begins").to_owned();
                    self.entered = Some((entry.wall, because));
                    if matches!(to, Phase::Terminated) {
                        self.awaited.clear();
                    }
                }
                Act::Resync => self.odd(
                    entry,
                    "the roster's numbers had a hole, or it was in doubt: it is read".to_owned(),
                ),
                Act::Late { event } => self.odd(
                    entry,
                    format!("a fact about a command that had its verdict came late: {event}"),
                ),
                Act::Unexpected { phase, event } => {
                    self.odd(
                        entry,
                        format!("while {phase}, nobody had a use for {event}"),
                    );
                }
                _ => {}
            }
        }
        if let Some(why) = why {
            self.gather(stand, why);
        }
        stand.acts.iter().filter_map(words::act).collect()
    }

    /// A fact that came while an attempt was under way belongs to its commands.
    fn gather(&mut self, stand: &Stand, why: &str) {
        let telling = [
            "Graph answered",
            "Graph tells",
            "GET of",
            "nobody knows",
            "the POST",
        ];
        if !telling.iter().any(|start| why.starts_with(start)) {
            return;
        }
        let action = match stand.phase {
            Phase::Unmuting => Action::Unmute,
            Phase::Muting => Action::Mute,
            _ => return,
        };
        let open = self.commands.iter_mut();
        for command in open.filter(|known| known.verdict.is_none() && known.action == action) {
            command.evidence.push(why.to_owned());
        }
    }

    fn command(
        &mut self,
        id: CommandId,
        action: Action,
        by: Origin,
        wall: WallTime,
    ) -> &mut Command {
        let at = self.commands.iter().position(|known| known.id == id);
        let at = at.unwrap_or_else(|| {
            self.commands.push(Command {
                id,
                action,
                by,
                asked: wall,
                due: None,
                posts: 0,
                evidence: Vec::new(),
                verdict: None,
                how: "open".to_owned(),
                took_ms: None,
            });
            self.commands.len() - 1
        });
        &mut self.commands[at]
    }

    fn fact(&mut self, entry: &Entry, text: String, did: Vec<String>, led: bool) {
        self.facts.push(Fact {
            n: entry.n,
            wall: entry.wall,
            text,
            did,
            led,
        });
    }

    fn odd(&mut self, entry: &Entry, text: String) {
        self.unusual.push(Fact {
            n: entry.n,
            wall: entry.wall,
            text,
            did: Vec::new(),
            led: false,
        });
    }

    fn end(mut self, entries: &[Entry]) -> Story {
        let first = entries
            .first()
            .map_or((0, WallTime(0)), |entry| (entry.n, entry.wall));
        let last = entries
            .last()
            .map_or((0, WallTime(0)), |entry| (entry.n, entry.wall));
        if first.0 > 1
            && let Some(entry) = entries.first()
        {
            let to = first.0 - 1;
            let text = format!("lines 1 to {to} are missing: there was no room for them any more");
            self.odd(entry, text);
            self.unusual.rotate_right(1);
        }
        for fact in self.facts.iter_mut().chain(&mut self.unusual) {
            if self.held.contains(&fact.n) {
                fact.text.push_str(HELD);
            }
        }
        let over = self.broken
            || self
                .stand
                .is_some_and(|(_, stand)| stand.phase == Phase::Terminated);
        if !over {
            for ((_, request), (n, wall)) in std::mem::take(&mut self.awaited) {
                self.unusual.push(Fact {
                    n,
                    wall,
                    text: format!("not answered yet: {request}"),
                    did: Vec::new(),
                    led: false,
                });
            }
        }
        let (state, meaning) = match self.stand {
            _ if self.broken => ("terminated", "The call ended by a fault of openmic."),
            Some((_, stand)) => (stand.phase.as_str(), words::phase(stand.phase)),
            None => ("unknown", "The log holds no step of the call."),
        };
        let (since, because) = self
            .entered
            .unwrap_or((first.1, "before this log".to_owned()));
        let mut next = Vec::new();
        let mut waits_for = Vec::new();
        if let Some((entry, stand)) = self.stand
            && !over
        {
            waits_for = stand
                .waits
                .iter()
                .map(|wait| wait.clone().into_owned())
                .collect();
            for (timer, at) in &stand.due {
                let ahead = at.saturating_sub(entry.at) / 1_000_000;
                next.push(Next {
                    at: WallTime(entry.wall.0.saturating_add(ahead)),
                    timer: *timer,
                    then: words::then(*timer),
                });
            }
            next.sort_by_key(|next| next.at);
        }
        Story {
            call: self.call,
            state,
            meaning,
            since,
            because,
            waits_for,
            next,
            facts: self.facts,
            commands: self.commands,
            unusual: self.unusual,
            first,
            last,
        }
    }
}
