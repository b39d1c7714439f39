//! A small calling service with virtual time: it acts late, answers late, loses and repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use openmic_model::{
    Action, CallKind, CallState, ClientContext, DeltaEntry, Operation, OperationStatus,
    Participant, RosterUpdate,
};

use super::super::rig::{created, entry, millis, operation};
use crate::{Ack, AttemptId, Effect, Event, PostOutcome, QueryId, Read, Refusal, Time};

/// The client's whole time limit; nothing takes effect after it.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// How rosters are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Deltas,
    /// Whole arrays without any number, and GETs without numbers.
    Plain,
    /// Deltas with numbers, GETs without.
    Mixed,
}

/// What happens at Graph at some moment.
#[derive(Debug, Clone)]
pub(super) enum Doing {
    /// Arrives at the bot.
    Arrive(Event),
    /// The POST takes effect.
    Act(usize),
    /// The POST's operation fails.
    Fail(usize),
    ServeSelf(QueryId),
    ServeRoster(QueryId),
    ServeCall(QueryId),
    ServeOperation(QueryId, String),
    HostToggles,
    SomebodyComesOrGoes,
    /// The bot's process ends during what it does next.
    Crash,
    /// And is started again.
    Restart,
}

impl Doing {
    /// Whether it is of the process that asked, and ends with it.
    fn dies_with_the_process(&self) -> bool {
        match self {
            Self::Arrive(event) => !matches!(
                event,
                Event::Command { .. }
                    | Event::CallNotice(_)
                    | Event::RosterNotice(_)
                    | Event::OperationNotice(_)
            ),
            Self::ServeSelf(_)
            | Self::ServeRoster(_)
            | Self::ServeCall(_)
            | Self::ServeOperation(..) => true,
            _ => false,
        }
    }
}

/// One POST as Graph knows it.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) action: Action,
    context: ClientContext,
    pub(super) sent: Time,
    /// When it takes effect, if ever.
    pub(super) acts: Option<Time>,
    status: OperationStatus,
    /// Its answer was `running`, so that its end is notified.
    told_running: bool,
}

pub(super) struct Graph {
    pub(super) random: Random,
    style: Style,
    /// Percent of everything that goes wrong.
    pub(super) faults: u64,
    queue: BTreeMap<(Time, u64), Doing>,
    next: u64,
    pub(super) muted: bool,
    /// Every change of the own entry.
    pub(super) changes: Vec<(Time, bool)>,
    number: u64,
    delta: u64,
    people: BTreeMap<String, Participant>,
    pub(super) posts: Vec<Post>,
}

impl Graph {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let style = match random.below(3) {
            0 => Style::Deltas,
            1 => Style::Plain,
            _ => Style::Mixed,
        };
        let faults = random.below(40);
        let mut graph = Self {
            random,
            style,
            faults,
            queue: BTreeMap::new(),
            next: 0,
            muted: false,
            changes: vec![(Time::ZERO, false)],
            number: 1,
            delta: 0,
            people: BTreeMap::new(),
            posts: Vec::new(),
        };
        graph
            .people
            .insert("me".to_owned(), entry("me", false, Some(1)));
        graph
    }

    pub(super) fn schedule(&mut self, at: Time, doing: Doing) {
        self.next += 1;
        self.queue.insert((at, self.next), doing);
    }

    pub(super) fn next_at(&self) -> Option<Time> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn pop(&mut self, now: Time) -> Option<Doing> {
        let first = self
            .queue
            .first_entry()
            .filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    fn delay(&mut self) -> Duration {
        let most = if self.random.chance(self.faults) {
            5000
        } else {
            80
        };
        millis(1 + self.random.below(most))
    }

    fn fault(&mut self) -> bool {
        self.random.chance(self.faults)
    }

    /// A notification: late, twice or never.
    fn notify(&mut self, now: Time, event: &Event) {
        if self.fault() {
            return;
        }
        let copies = if self.fault() { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.delay();
            if self.fault() {
                delay += millis(self.random.below(15_000));
            }
            self.schedule(now + delay, Doing::Arrive(event.clone()));
        }
    }

    /// What the machine wants done.
    pub(super) fn ask(&mut self, now: Time, effect: &Effect) {
        let delay = self.delay();
        match effect {
            Effect::Create | Effect::Answer => {
                let event = created(CallState::Established, CallKind::Group);
                self.schedule(now + delay, Doing::Arrive(event));
                let roster = self.whole_update();
                self.notify(now + delay, &roster);
            }
            Effect::Post {
                attempt,
                action,
                context,
                ..
            } => self.post(now, *attempt, *action, context),
            Effect::ReadSelf { query, .. } => self.schedule(now + delay, Doing::ServeSelf(*query)),
            Effect::ReadRoster { query } => self.schedule(now + delay, Doing::ServeRoster(*query)),
            Effect::ReadCall { query } => self.schedule(now + delay, Doing::ServeCall(*query)),
            Effect::ReadOperation { query, operation } => {
                let doing = Doing::ServeOperation(*query, operation.as_str().to_owned());
                self.schedule(now + delay, doing);
            }
            Effect::KeepAlive => {
                let ack = if self.fault() { Ack::Failed } else { Ack::Done };
                self.schedule(now + delay, Doing::Arrive(Event::KeptAlive(ack)));
            }
            _ => {}
        }
    }

    fn post(&mut self, now: Time, attempt: AttemptId, action: Action, context: &ClientContext) {
        let sent = Post {
            action,
            context: context.clone(),
            sent: now,
            acts: None,
            status: OperationStatus::Running,
            told_running: false,
        };
        self.posts.push(sent);
        let at = self.posts.len() - 1;
        let answer = now + self.delay().min(LIMIT);
        let limit = now + LIMIT;
        let outcome = |graph: &mut Self, at: Time, outcome: PostOutcome| {
            let event = Event::Posted { attempt, outcome };
            graph.schedule(at.min(limit), Doing::Arrive(event));
        };
        let kind = if self.fault() {
            self.random.below(8)
        } else {
            8 + self.random.below(3)
        };
        match kind {
            0 => outcome(self, answer, PostOutcome::NotSent),
            1 => {
                let after = self
                    .random
                    .chance(70)
                    .then(|| millis(self.random.below(6000)));
                let refusal = Refusal::throttled();
                outcome(self, answer, PostOutcome::Throttled { after, refusal });
            }
            2 => {
                let refusal = Refusal::new(403, "8566", "no");
                outcome(self, answer, PostOutcome::Refused(refusal));
            }
            // Lost on the way.
            3 => outcome(self, answer, PostOutcome::Ambiguous),
            // Taken, and the answer is lost: it may act before or after that is known.
            4 | 5 => {
                self.will_act(at, now, limit);
                outcome(self, answer, PostOutcome::Ambiguous);
            }
            // Taken, answered as running, and failed.
            6 => {
                self.posts[at].told_running = true;
                outcome(self, answer, PostOutcome::Answered(self.shown(at)));
                let later = answer + self.delay();
                self.schedule(later.min(limit), Doing::Fail(at));
            }
            7 | 8 => {
                self.posts[at].told_running = true;
                self.will_act(at, answer, limit);
                outcome(self, answer, PostOutcome::Answered(self.shown(at)));
            }
            // The plain way.
            _ => {
                let acts = now + (answer.since(now) / 2);
                self.posts[at].acts = Some(acts);
                self.schedule(acts, Doing::Act(at));
                let mut done = self.shown(at);
                done.status = OperationStatus::Completed;
                outcome(self, answer, PostOutcome::Answered(done));
            }
        }
    }

    fn will_act(&mut self, at: usize, from: Time, limit: Time) {
        let acts = (from + self.delay()).min(limit);
        self.posts[at].acts = Some(acts);
        self.schedule(acts, Doing::Act(at));
    }

    fn shown(&self, at: usize) -> Operation {
        let post = &self.posts[at];
        operation(
            AttemptId::try_from(at).unwrap(),
            Some(post.context.clone()),
            post.status,
        )
    }

    fn whole(&self) -> Vec<Participant> {
        let numbered = self.style == Style::Deltas;
        let number = |mut one: Participant| {
            one.roster_sequence_number = one.roster_sequence_number.filter(|_| numbered);
            one
        };
        self.people.values().cloned().map(number).collect()
    }

    fn whole_update(&mut self) -> Event {
        if self.style == Style::Plain {
            return Event::RosterNotice(RosterUpdate::Full(self.whole()));
        }
        let entries: Vec<Participant> = self.people.values().cloned().collect();
        self.delta_of(entries, false)
    }

    fn delta_of(&mut self, entries: Vec<Participant>, removed: bool) -> Event {
        self.delta += 1;
        let entry = |participant| DeltaEntry {
            participant,
            removed,
        };
        Event::RosterNotice(RosterUpdate::Delta {
            sequence_number: Some(self.delta),
            entries: entries.into_iter().map(entry).collect(),
        })
    }

    /// One participant changed, came or left.
    fn changed(&mut self, now: Time, mut one: Participant, removed: bool) {
        self.number += 1;
        one.roster_sequence_number = Some(self.number);
        let id = one.id.as_str().to_owned();
        if removed {
            self.people.remove(&id);
        } else {
            self.people.insert(id, one.clone());
        }
        let event = if self.style == Style::Plain {
            Event::RosterNotice(RosterUpdate::Full(self.whole()))
        } else {
            self.delta_of(vec![one], removed)
        };
        self.notify(now, &event);
    }

    fn set_muted(&mut self, now: Time, muted: bool) {
        if self.muted != muted {
            self.muted = muted;
            self.changes.push((now, muted));
            self.changed(now, entry("me", muted, None), false);
        } else if self.random.chance(50) {
            // Nothing changed, and Graph says so nevertheless.
            let event = self.whole_update();
            self.notify(now, &event);
        }
    }

    /// Does what is due; what arrives at the bot is returned.
    pub(super) fn perform(&mut self, now: Time, doing: Doing) -> Option<Event> {
        let delay = self.delay();
        match doing {
            Doing::Arrive(event) => return Some(event),
            Doing::Act(at) => self.end(now, at, OperationStatus::Completed),
            Doing::Fail(at) => self.end(now, at, OperationStatus::Failed),
            Doing::ServeSelf(query) => {
                let me = self.whole().into_iter().find(|one| one.id.as_str() == "me");
                let read = match me {
                    Some(me) if !self.fault() => Read::Found(Box::new(me)),
                    _ if self.fault() => Read::Absent,
                    _ => Read::Failed,
                };
                let event = Event::SelfRead { query, read };
                self.schedule(now + delay, Doing::Arrive(event));
            }
            Doing::ServeRoster(query) => {
                let failed = self.fault();
                let read = if failed {
                    Read::Failed
                } else {
                    Read::Found(self.whole())
                };
                let event = Event::RosterRead { query, read };
                self.schedule(now + delay, Doing::Arrive(event));
            }
            Doing::ServeCall(query) => {
                let read = Read::Found(super::super::rig::facts(CallState::Established));
                let event = Event::CallRead { query, read };
                self.schedule(now + delay, Doing::Arrive(event));
            }
            Doing::ServeOperation(query, id) => {
                let at = (0..self.posts.len())
                    .find(|at| self.shown(*at).id.is_some_and(|shown| shown.as_str() == id));
                let read = match at {
                    Some(at) if !self.fault() => Read::Found(self.shown(at)),
                    _ if self.fault() => Read::Absent,
                    _ => Read::Failed,
                };
                let event = Event::OperationRead { query, read };
                self.schedule(now + delay, Doing::Arrive(event));
            }
            Doing::HostToggles => {
                let muted = self.random.chance(50);
                self.set_muted(now, muted);
            }
            Doing::SomebodyComesOrGoes => {
                let id = format!("p{}", self.random.below(4));
                let there = self.people.get(&id).cloned();
                let goes = there.is_some() && self.random.chance(50);
                let muted = self.random.chance(50);
                self.changed(now, there.unwrap_or_else(|| entry(&id, muted, None)), goes);
            }
            // Their effect is on the other side.
            Doing::Crash | Doing::Restart => {}
        }
        None
    }

    /// The bot's process is no more: nothing that it asked is answered.
    pub(super) fn hang_up_on(&mut self) {
        self.queue.retain(|_, doing| !doing.dies_with_the_process());
    }

    fn end(&mut self, now: Time, at: usize, status: OperationStatus) {
        self.posts[at].status = status;
        if self.posts[at].told_running || self.random.chance(20) {
            let event = Event::OperationNotice(self.shown(at));
            self.notify(now, &event);
        }
        if status == OperationStatus::Completed {
            let muted = self.posts[at].action.wants_muted();
            self.set_muted(now, muted);
        }
    }

    /// Who is there, without numbers.
    pub(super) fn truth(&self) -> Vec<(String, bool)> {
        let seen = |one: &Participant| (one.id.as_str().to_owned(), one.is_muted);
        self.people.values().map(seen).collect()
    }
}
