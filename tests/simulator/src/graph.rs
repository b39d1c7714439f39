//! A calling service as the local one is, in virtual time: it acts late, answers late, loses,
//! repeats and lies.

use std::time::Duration;

use openmic_checker::What;
use openmic_machine::{AttemptId, Event, PostOutcome, Refusal};
use openmic_model::{
    Action, CallFacts, CallKind, CallState, ClientContext, CommandId, DeltaEntry, Identity,
    IdentityKind, Operation, OperationId, OperationStatus, Participant, ParticipantId, ResultInfo,
    RosterUpdate,
};

use crate::agenda::Millis;
use crate::faults::Fault;
use crate::world::{Doing, World};

mod serve;

/// The client's whole time limit; no POST takes effect later.
pub(crate) const LIMIT: Millis = 10_000;
/// The own entry, among the people.
const ME: usize = 0;
const PEOPLE: usize = 6;

/// How rosters are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Deltas with numbers, GETs with numbers.
    Deltas,
    /// Whole arrays without any number, and GETs without.
    Plain,
    /// Deltas with numbers, GETs without.
    Mixed,
}

/// One POST as Graph knows it.
#[derive(Debug)]
struct Post {
    lead: CommandId,
    number: u8,
    action: Action,
    context: ClientContext,
    status: OperationStatus,
    /// Its answer was `running`, so that its end is notified.
    told_running: bool,
    /// It acts, and says that it is running for ever.
    never_ends: bool,
    taken: bool,
}

#[derive(Debug, Clone, Copy)]
struct Person {
    muted: bool,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Graph {
    style: Style,
    kind: CallKind,
    ids: Vec<ParticipantId>,
    people: [Option<Person>; PEOPLE],
    number: u64,
    delta: u64,
    posts: Vec<Post>,
    /// `None` while there is no call.
    state: Option<CallState>,
    /// The answer to the create names the own entry.
    tells_me: bool,
    /// A host mutes the bot at once, now and then.
    pub(crate) strict_host: bool,
}

/// A number for one entry; the hash of a roster is the sum over all.
pub(crate) fn hash_of(id: &str, muted: bool) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ u64::from(muted)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

fn facts(state: CallState, me: Option<ParticipantId>) -> CallFacts {
    CallFacts {
        state: Some(state),
        my_participant: me,
        ..CallFacts::default()
    }
}

impl Graph {
    pub(crate) fn new(world: &mut World, rings: bool) -> Self {
        let random = &mut world.random;
        let style = match random.below(3) {
            0 => Style::Plain,
            1 => Style::Mixed,
            _ => Style::Deltas,
        };
        let kind = if random.percent(3) {
            CallKind::PeerToPeer
        } else {
            CallKind::Group
        };
        let id = |at: usize| {
            let name = if at == ME {
                "me".to_owned()
            } else {
                format!("p{at}")
            };
            ParticipantId::parse(&name).expect("a plain word is an id")
        };
        let mut people = [None; PEOPLE];
        for (at, one) in people.iter_mut().enumerate().skip(1) {
            let muted = random.percent(50);
            let number = at as u64;
            *one = random.percent(50).then_some(Person { muted, number });
        }
        Self {
            style,
            kind,
            ids: (0..PEOPLE).map(id).collect(),
            people,
            number: PEOPLE as u64,
            delta: 0,
            posts: Vec::new(),
            state: rings.then_some(CallState::Incoming),
            tells_me: random.percent(80),
            strict_host: random.percent(10),
        }
    }

    /// What a ring tells.
    pub(crate) fn ring() -> CallFacts {
        facts(CallState::Incoming, None)
    }

    fn me(&self) -> ParticipantId {
        self.ids[ME].clone()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state == Some(CallState::Terminated)
    }

    pub(crate) fn exists(&self) -> bool {
        self.state
            .is_some_and(|state| state != CallState::Incoming && state != CallState::Terminated)
    }

    fn is_up(&self) -> bool {
        self.state == Some(CallState::Established)
    }

    /// Whether the bot is muted, once it is in the call.
    pub(crate) fn muted(&self) -> Option<bool> {
        self.people[ME].map(|me| me.muted)
    }

    /// The hash of the true roster.
    pub(crate) fn hash(&self) -> u64 {
        let people = self.people.iter().zip(&self.ids);
        people
            .filter_map(|(one, id)| one.map(|one| hash_of(id.as_str(), one.muted)))
            .fold(0, u64::wrapping_add)
    }

    fn participant(&self, at: usize, person: Person, numbered: bool) -> Participant {
        Participant {
            id: self.ids[at].clone(),
            identity: Identity {
                kind: IdentityKind::User,
                id: None,
                display_name: None,
            },
            is_muted: person.muted,
            in_lobby: false,
            roster_sequence_number: numbered.then_some(person.number),
            streams: Vec::new(),
        }
    }

    fn everybody(&self, numbered: bool) -> Vec<Participant> {
        let people = self.people.iter().enumerate();
        people
            .filter_map(|(at, one)| one.map(|one| self.participant(at, one, numbered)))
            .collect()
    }

    /// A notification: late, twice or never.
    fn notify(world: &mut World, event: Event) {
        if world.strikes(Fault::HookLost) {
            return;
        }
        let mut delay = world.delay();
        if world.strikes(Fault::HookLate) {
            delay += world.random.below(15_000);
        }
        if world.strikes(Fault::HookVeryLate) {
            delay += world.random.between(60_000, 600_000);
        }
        if world.strikes(Fault::HookTwice) {
            let again = delay + world.random.below(3000);
            world.later(again, Doing::Hook(event.clone()));
        }
        world.later(delay, Doing::Hook(event));
    }

    /// Everybody, as a notification.
    fn whole_update(&mut self) -> Event {
        if self.style == Style::Plain {
            return Event::RosterNotice(RosterUpdate::Full(self.everybody(false)));
        }
        let everybody = self.everybody(true);
        self.delta_of(everybody, false)
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

    /// One entry changed, came or left.
    fn change(&mut self, world: &mut World, at: usize, muted: Option<bool>) {
        self.number += 1;
        let number = self.number;
        let before = self.people[at];
        self.people[at] = muted.map(|muted| Person { muted, number });
        let hash = self.hash();
        world.note(&What::Roster { hash });
        let event = if self.style == Style::Plain {
            let mut all = self.everybody(false);
            if all.len() > 2 && world.strikes(Fault::PartialRoster) {
                all.remove(1);
            }
            Event::RosterNotice(RosterUpdate::Full(all))
        } else {
            let shown = self.people[at]
                .or(before)
                .map(|one| Person { number, ..one });
            let Some(shown) = shown else { return };
            let one = self.participant(at, shown, true);
            self.delta_of(vec![one], muted.is_none())
        };
        Self::notify(world, event);
    }

    fn set_muted(&mut self, world: &mut World, muted: bool, by: Option<(CommandId, u8)>) {
        if !self.is_up() {
            return;
        }
        world.note(&What::Took { by, muted });
        if self.muted() != Some(muted) {
            self.change(world, ME, Some(muted));
        } else if world.random.percent(30) {
            // Nothing changed, and Graph says so nevertheless.
            let event = self.whole_update();
            Self::notify(world, event);
        }
        if self.strict_host && !muted && world.random.percent(20) {
            let soon = world.random.between(20, 600);
            world.later(soon, Doing::HostSets(true));
        }
    }

    /// A mute or unmute. `limit` is the moment at which the client gives up.
    pub(crate) fn post(
        &mut self,
        world: &mut World,
        (attempt, context): (AttemptId, ClientContext),
        (lead, number, action): (CommandId, u8, Action),
        limit: Millis,
    ) {
        let at = self.posts.len();
        self.posts.push(Post {
            lead,
            number,
            action,
            context,
            status: OperationStatus::Running,
            told_running: false,
            never_ends: false,
            taken: false,
        });
        let answer = world.now + world.delay();
        let life = world.life;
        let reply = |world: &mut World, outcome: PostOutcome| {
            // No answer in time is no answer.
            let (at, outcome) = match outcome {
                PostOutcome::NotSent => (answer.min(limit), outcome),
                _ if answer > limit => (limit, PostOutcome::Ambiguous),
                _ => (answer, outcome),
            };
            let event = Event::Posted { attempt, outcome };
            world.agenda.put(at, Doing::Reply(life, event));
        };
        if world.strikes(Fault::NotSent) {
            return reply(world, PostOutcome::NotSent);
        }
        if self.is_over() {
            return reply(world, PostOutcome::Gone);
        }
        if world.strikes(Fault::Throttled) {
            let after = match world.random.below(10) {
                0 | 1 => None,
                2 => Some(world.random.between(30_000, 120_000)),
                3..5 => Some(world.random.below(900)),
                _ => Some(world.random.below(6000)),
            };
            let after = after.map(Duration::from_millis);
            let refusal = Refusal::throttled();
            return reply(world, PostOutcome::Throttled { after, refusal });
        }
        if world.strikes(Fault::Refused) {
            let (status, code) = match world.random.below(3) {
                0 => (401, "InvalidAuthenticationToken"),
                1 => (400, "8501"),
                _ => (403, "8566"),
            };
            let refusal = Refusal::new(status, code, "no");
            return reply(world, PostOutcome::Refused(refusal));
        }
        if world.strikes(Fault::LostPost) {
            return reply(world, PostOutcome::Ambiguous);
        }
        self.posts[at].taken = true;
        world.note(&What::Reached {
            lead,
            number,
            action,
        });
        if world.strikes(Fault::Fails) {
            if world.random.percent(30) {
                self.posts[at].status = OperationStatus::Failed;
                return reply(world, PostOutcome::Answered(self.shown(at)));
            }
            self.posts[at].told_running = true;
            let later = (answer + world.delay()).min(limit);
            world.agenda.put(later, Doing::Fail(at));
            return reply(world, PostOutcome::Answered(self.shown(at)));
        }
        if world.strikes(Fault::Lies) {
            world.note(&What::Lied { lead, number });
            self.posts[at].status = OperationStatus::Completed;
            return reply(world, PostOutcome::Answered(self.shown(at)));
        }
        let lost = world.strikes(Fault::LostAnswer);
        let null = world.strikes(Fault::NullOperation);
        let never_ends = world.strikes(Fault::NeverEnds);
        if world.strikes(Fault::HookFlood) {
            for _ in 0..20 {
                let stranger = Operation {
                    id: OperationId::parse("stranger").ok(),
                    status: OperationStatus::Completed,
                    client_context: None,
                    result: None,
                };
                world.later(0, Doing::Hook(Event::OperationNotice(stranger)));
            }
        }
        let running = never_ends || null || lost || world.strikes(Fault::Running);
        self.posts[at].told_running = running;
        self.posts[at].never_ends = never_ends;
        let mut acts = if running {
            answer + world.delay()
        } else {
            world.now + (answer - world.now) / 2
        };
        if running && world.strikes(Fault::ActsLate) {
            acts += world.random.below(9000);
        }
        world.agenda.put(acts.min(limit), Doing::Act(at));
        if running && world.random.percent(20) {
            Self::notify(world, Event::OperationNotice(self.shown(at)));
        }
        let mut shown = self.shown(at);
        if null {
            shown.id = None;
            shown.client_context = None;
        } else if !running {
            shown.status = OperationStatus::Completed;
        } else if world.random.percent(20) {
            shown.status = OperationStatus::NotStarted;
        }
        reply(
            world,
            if lost {
                PostOutcome::Ambiguous
            } else {
                PostOutcome::Answered(shown)
            },
        );
    }

    fn shown(&self, at: usize) -> Operation {
        let post = &self.posts[at];
        let id = OperationId::parse(&format!("op-{at}")).expect("a plain word is an id");
        let failed = post.status == OperationStatus::Failed;
        Operation {
            id: Some(id),
            status: post.status,
            client_context: Some(post.context.clone()),
            result: failed.then_some(ResultInfo {
                code: 500,
                subcode: 7000,
                message: None,
            }),
        }
    }

    /// The POST that an operation is about, when that can be told.
    pub(crate) fn post_of(&self, operation: &Operation) -> Option<(CommandId, u8)> {
        let by_id = operation.id.as_ref().and_then(|id| {
            let at: usize = id.as_str().strip_prefix("op-")?.parse().ok()?;
            let post = self.posts.get(at)?;
            Some((post.lead, post.number))
        });
        let by_context = || CommandId::from_context(operation.client_context.as_ref()?);
        by_id.or_else(by_context)
    }

    /// An operation ends.
    pub(crate) fn end_operation(&mut self, world: &mut World, at: usize, status: OperationStatus) {
        let post = &mut self.posts[at];
        let (lead, number, action) = (post.lead, post.number, post.action);
        if !post.never_ends {
            post.status = status;
            if post.told_running || world.random.percent(15) {
                let mut operation = self.shown(at);
                if world.strikes(Fault::HookWithoutId) {
                    operation.id = None;
                } else if world.strikes(Fault::HookWithoutContext) {
                    operation.client_context = None;
                }
                Self::notify(world, Event::OperationNotice(operation));
            }
        }
        if status == OperationStatus::Completed {
            self.set_muted(world, action.wants_muted(), Some((lead, number)));
        }
    }

    pub(crate) fn host_sets(&mut self, world: &mut World, muted: bool) {
        if self.muted().is_some_and(|is| is != muted) {
            world.say(|| format!("a host sets muted to {muted}"));
            self.set_muted(world, muted, None);
        }
    }

    pub(crate) fn somebody_comes_or_goes(&mut self, world: &mut World) {
        if !self.is_up() || self.muted().is_none() {
            return;
        }
        let at = 1 + usize::try_from(world.random.below(PEOPLE as u64 - 1)).unwrap_or(0);
        let goes = self.people[at].is_some() && world.random.percent(50);
        let muted = world.random.percent(50);
        self.change(world, at, (!goes).then_some(muted));
    }

    /// The call ends at Graph.
    pub(crate) fn end(&mut self, world: &mut World) {
        if !self.exists() {
            return;
        }
        self.state = Some(CallState::Terminated);
        world.say(|| "the call is over at Graph".to_owned());
        let facts = CallFacts {
            result: Some(ResultInfo {
                code: 200,
                subcode: 5003,
                message: None,
            }),
            ..facts(CallState::Terminated, None)
        };
        Self::notify(world, Event::CallNotice(facts));
    }

    /// A true notification of an end, of another call or from another time.
    pub(crate) fn forge(&self, world: &mut World) {
        if self.exists() && world.strikes(Fault::ForgedEnd) {
            world.say(|| "a replayed notification says terminated".to_owned());
            let event = Event::CallNotice(facts(CallState::Terminated, None));
            world.later(1, Doing::Hook(event));
        }
    }
}
