//! A Graph, a network and a disk of one seed, on virtual time. They outlive the process.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use openmic_checker::{Answer, Entry, What};
use openmic_machine::Read;
use openmic_model::{
    Action, CallFacts, CallId, CommandId, Operation, OperationId, OperationStatus, Participant,
    ParticipantId, ResultInfo,
};
use openmic_wire::participant;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::weather::{Rng, Weather};
use crate::Engine;
use crate::tests::stage::{call_state, entry, participant as someone};

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Good,
    /// No connection.
    NotSent,
    /// 429.
    Throttled(Option<Duration>),
    /// 500, and nothing happened.
    Failed,
    /// It never arrives, and no answer either.
    Lost,
    /// It arrives when nobody waits any more.
    Late(Duration),
    /// It took effect, and the connection broke.
    Cut,
}

/// What a mute or unmute came to.
#[derive(Debug)]
pub(super) enum Acted {
    Gone,
    Refused,
    Operation(Operation, Answer),
}

/// What happens later, process or not.
pub(super) enum Due {
    Effect(Box<dyn FnOnce(&mut World) + Send>),
    Notice {
        key: String,
        entry: Value,
        tries: u8,
    },
}

impl fmt::Debug for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Effect(_) => "Effect",
            Self::Notice { .. } => "Notice",
        })
    }
}

#[derive(Debug)]
struct Leg {
    id: CallId,
    key: String,
    up: bool,
    /// The journal knows of it.
    opened: bool,
    muted: bool,
    /// `rosterSequenceNumber` of the own entry and of the human's, and the roster's last one.
    own: u64,
    human: u64,
    last: u64,
    delta: u64,
    operations: BTreeMap<String, Done>,
    /// When the last operation ends: one after the other.
    busy_until: u64,
}

#[derive(Debug, Clone)]
struct Done {
    lead: CommandId,
    number: u8,
    action: Action,
    status: OperationStatus,
}

/// Everything outside of the process, the disk apart.
#[derive(Debug)]
pub(crate) struct World {
    pub(super) rng: Rng,
    pub(super) weather: Weather,
    pub(super) calm: bool,
    /// Virtual time of the processes before this one.
    before: Duration,
    begun: Option<Instant>,
    legs: BTreeMap<String, Leg>,
    due: BTreeMap<(u64, u64), Due>,
    number: u64,
    queries: u32,
    pub(super) woken: Arc<Notify>,
    pub(super) engine: Option<Engine>,
    /// Requests fail, notifications are lost, until then.
    pub(super) graph_cut: u64,
    pub(super) hooks_cut: u64,
    pub(super) history: Vec<Entry>,
    /// Commands that are in the journal, and those the bots know of.
    pub(super) journaled: HashSet<CommandId>,
    pub(super) known: HashSet<CommandId>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let weather = Weather::of(&mut rng);
        Self {
            rng,
            weather,
            calm: false,
            before: Duration::ZERO,
            begun: None,
            legs: BTreeMap::new(),
            due: BTreeMap::new(),
            number: 0,
            queries: 0,
            woken: Arc::default(),
            engine: None,
            graph_cut: 0,
            hooks_cut: 0,
            history: Vec::new(),
            journaled: HashSet::new(),
            known: HashSet::new(),
        }
    }

    /// A process begins.
    pub(super) fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }

    /// It is gone, and the world goes on for a while.
    pub(super) fn gone(&mut self, elapsed: Duration) {
        self.note_all(What::Crashed { kept: 0 });
        self.engine = None;
        self.begun = None;
        self.before += elapsed;
    }

    pub(super) fn now(&self) -> u64 {
        let since = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        u64::try_from((self.before + since).as_micros()).expect("a history is shorter than that")
    }

    pub(super) fn note(&mut self, key: &str, what: What) {
        let at = self.now();
        let call = key.to_owned();
        self.history.push(Entry { at, call, what });
    }

    pub(super) fn note_all(&mut self, what: What) {
        self.note("*", what);
    }

    pub(super) fn note_call(&mut self, id: &str, what: What) {
        let key = self.legs.get(id).map(|leg| leg.key.clone());
        if let Some(key) = key {
            self.note(&key, what);
        }
    }

    pub(super) fn key_of(&self, id: &CallId) -> Option<String> {
        Some(self.legs.get(id.as_str())?.key.clone())
    }

    pub(super) fn next_query(&mut self) -> u32 {
        self.queries += 1;
        self.queries
    }

    pub(super) fn schedule(&mut self, after: Duration, due: Due) {
        let after = u64::try_from(after.as_micros()).expect("minutes at the most");
        self.number += 1;
        self.due.insert((self.now() + after, self.number), due);
        self.woken.notify_one();
    }

    /// The next thing that is due, or in how long there is one.
    pub(super) fn next_due(&mut self) -> Result<Due, Option<Duration>> {
        let now = self.now();
        match self.due.first_entry() {
            None => Err(None),
            Some(first) if first.key().0 <= now => Ok(first.remove()),
            Some(first) => Err(Some(Duration::from_micros(first.key().0 - now))),
        }
    }

    pub(super) fn fate(&mut self) -> (Fate, Duration, Duration) {
        let slow = if self.calm { 20 } else { self.weather.slow };
        let (there, back) = (self.rng.millis(slow), self.rng.millis(slow));
        if self.calm {
            return (Fate::Good, there, back);
        }
        if self.now() < self.graph_cut {
            let fate = if self.rng.chance(500) {
                Fate::NotSent
            } else {
                Fate::Lost
            };
            return (fate, there, back);
        }
        let weather = self.weather.clone();
        let mut rolled = |per_mille| self.rng.chance(per_mille);
        let fate = if rolled(weather.not_sent) {
            Fate::NotSent
        } else if rolled(weather.throttled) {
            let named = rolled(700);
            Fate::Throttled(named.then(|| self.rng.millis(6_000)))
        } else if rolled(weather.failed) {
            Fate::Failed
        } else if rolled(weather.lost) {
            Fate::Lost
        } else if rolled(weather.late) {
            Fate::Late(self.rng.millis(10_000))
        } else if rolled(weather.cut) {
            Fate::Cut
        } else {
            Fate::Good
        };
        (fate, there, back)
    }

    fn tell(&mut self, id: &CallId, entry: &Value) {
        let Some(key) = self.key_of(id) else { return };
        let (lost, twice, slow) = if self.calm {
            (0, 0, 20)
        } else {
            let weather = &self.weather;
            let lost = if self.now() < self.hooks_cut {
                1000
            } else {
                weather.notice_lost
            };
            (lost, weather.notice_twice, weather.notice_slow + 20)
        };
        let copies = 1 + u8::from(self.rng.chance(twice));
        for _ in 0..copies {
            if self.rng.chance(lost) {
                continue;
            }
            let after = self.rng.millis(slow);
            let (key, entry) = (key.clone(), entry.clone());
            self.schedule(
                after,
                Due::Notice {
                    key,
                    entry,
                    tries: 0,
                },
            );
        }
    }

    pub(super) fn create(&mut self, key: &str) -> CallId {
        let id = CallId::parse(&format!("call-{}", self.legs.len() + 1)).expect("a good id");
        let leg = Leg {
            id: id.clone(),
            key: key.to_owned(),
            up: true,
            opened: false,
            muted: false,
            own: 1,
            human: 1,
            last: 1,
            delta: 0,
            operations: BTreeMap::new(),
            busy_until: 0,
        };
        self.legs.insert(id.to_string(), leg);
        self.note(
            key,
            What::Took {
                by: None,
                muted: false,
            },
        );
        let of = id.clone();
        let establish = move |world: &mut Self| {
            world.tell(&of, &call_state(of.as_str(), "established"));
            world.tell_roster(&of, true);
        };
        let after = self.rng.millis(1_000);
        self.schedule(after, Due::Effect(Box::new(establish)));
        id
    }

    fn tell_roster(&mut self, id: &CallId, all: bool) {
        let Some(leg) = self.legs.get_mut(id.as_str()).filter(|leg| leg.up) else {
            return;
        };
        leg.delta += 1;
        let mut entries = vec![someone("me", leg.muted, Some(leg.own))];
        if all {
            entries.push(someone("human", leg.human % 2 == 0, Some(leg.human)));
        }
        let data = json!([{"@odata.type": "#microsoft.graph.deltaParticipants",
            "sequenceNumber": leg.delta, "participants": entries}]);
        let notice = entry(id.as_str(), "/participants", "updated", &data);
        self.tell(id, &notice);
    }

    /// Sets the own entry, as a POST or a host does.
    fn set(&mut self, id: &CallId, by: Option<(CommandId, u8)>, muted: bool) {
        let Some(leg) = self.legs.get_mut(id.as_str()).filter(|leg| leg.up) else {
            return;
        };
        leg.last += 1;
        leg.own = leg.last;
        leg.muted = muted;
        self.note_call(id.as_str(), What::Took { by, muted });
        self.tell_roster(id, false);
    }

    /// Somebody in a meeting does something: the bot is muted by a host, a human mutes, the call ends.
    pub(super) fn somebody_acts(&mut self) {
        let up: Vec<_> = self.legs.values().filter(|leg| leg.up).collect();
        if up.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.next() % up.len() as u64).expect("a few");
        let (id, muted) = (up[at].id.clone(), up[at].muted);
        if self.rng.chance(self.weather.ended) {
            self.end(&id);
        } else if self.rng.chance(self.weather.host) {
            self.set(&id, None, !muted);
        } else if let Some(leg) = self.legs.get_mut(id.as_str()) {
            leg.last += 1;
            leg.human = leg.last;
            self.tell_roster(&id, true);
        }
    }

    pub(super) fn act(
        &mut self,
        id: &CallId,
        action: Action,
        lead: CommandId,
        number: u8,
        late: bool,
    ) -> Acted {
        let now = self.now();
        let weather = if self.calm {
            Weather::default()
        } else {
            self.weather.clone()
        };
        if self.rng.chance(weather.refused) && self.is_up(id) {
            return Acted::Refused;
        }
        let runs = self.rng.chance(weather.running) && !late;
        let fails = self.rng.chance(weather.operation_failed);
        let unnamed = self.rng.chance(weather.unnamed);
        let running_for = 1_000 * self.rng.below(8_000);
        let Some(leg) = self.legs.get_mut(id.as_str()).filter(|leg| leg.up) else {
            return Acted::Gone;
        };
        let reached = What::Reached {
            lead,
            number,
            action,
        };
        let name = format!("op-{}", leg.operations.len() + 1);
        let ends = if runs { now + running_for } else { now };
        let ends = ends.max(leg.busy_until);
        leg.busy_until = ends;
        let done = Done {
            lead,
            number,
            action,
            status: OperationStatus::Running,
        };
        leg.operations.insert(name.clone(), done);
        self.note_call(id.as_str(), reached);
        let answer = if ends > now {
            let (of, name) = (id.clone(), name.clone());
            let finish = move |world: &mut Self| world.finish(&of, &name, fails);
            self.schedule(
                Duration::from_micros(ends - now),
                Due::Effect(Box::new(finish)),
            );
            Answer::Running
        } else {
            self.finish(id, &name, fails);
            if fails {
                Answer::Failed
            } else {
                Answer::Completed
            }
        };
        let shown = self.shown(id, &name);
        match shown {
            // Graph says nothing of the operation it began.
            Some(_) if unnamed => {
                Acted::Operation(openmic_wire::operation::pending(), Answer::Running)
            }
            Some(operation) => Acted::Operation(operation, answer),
            None => Acted::Gone,
        }
    }

    fn finish(&mut self, id: &CallId, name: &str, fails: bool) {
        let Some(leg) = self.legs.get_mut(id.as_str()).filter(|leg| leg.up) else {
            return;
        };
        let Some(done) = leg.operations.get_mut(name) else {
            return;
        };
        done.status = if fails {
            OperationStatus::Failed
        } else {
            OperationStatus::Completed
        };
        let done = done.clone();
        if !fails {
            let by = Some((done.lead, done.number));
            self.set(id, by, done.action.wants_muted());
        }
        let mut data = json!({"@odata.type": "#microsoft.graph.commsOperation", "id": name,
            "status": if fails { "failed" } else { "completed" },
            "clientContext": done.lead.context(done.number).as_str()});
        if fails {
            data["resultInfo"] = json!({"code": 500, "subcode": 8541, "message": "no"});
        }
        let notice = entry(
            id.as_str(),
            &format!("/operations/{name}"),
            "deleted",
            &data,
        );
        self.tell(id, &notice);
    }

    fn shown(&self, id: &CallId, name: &str) -> Option<Operation> {
        let done = self.legs.get(id.as_str())?.operations.get(name)?;
        let failed = done.status == OperationStatus::Failed;
        Some(Operation {
            id: OperationId::parse(name).ok(),
            status: done.status,
            client_context: Some(done.lead.context(done.number)),
            result: failed.then_some(ResultInfo {
                code: 500,
                subcode: 8541,
                message: None,
            }),
        })
    }

    /// The engine heard of an operation's end by another way than the answer.
    pub(super) fn told_of(&mut self, id: &str, operation: &Operation) {
        let context = operation.client_context.as_ref();
        let named = context.and_then(CommandId::from_context);
        if let (Some((lead, number)), true) = (named, operation.status.is_final()) {
            let completed = operation.status == OperationStatus::Completed;
            self.note_call(
                id,
                What::Operation {
                    lead,
                    number,
                    completed,
                },
            );
        }
    }

    pub(super) fn is_up(&self, id: &CallId) -> bool {
        self.legs.get(id.as_str()).is_some_and(|leg| leg.up)
    }

    /// The journal knows of a call for good.
    pub(super) fn opened(&mut self, id: &CallId) {
        if let Some(leg) = self.legs.get_mut(id.as_str()) {
            leg.opened = true;
        }
    }

    /// How many calls are up of which the engine knew for good. One whose create had no answer and
    /// of which no notification came is nobody's: Graph ends it when no keepAlive comes.
    pub(super) fn left_up(&self, calls: &[CallId]) -> usize {
        let legs = calls.iter().filter_map(|id| self.legs.get(id.as_str()));
        legs.filter(|leg| leg.up && leg.opened).count()
    }

    /// How many calls are up.
    pub(super) fn up(&self) -> usize {
        self.legs.values().filter(|leg| leg.up).count()
    }

    pub(super) fn muted(&self, id: &CallId) -> Option<bool> {
        let leg = self.legs.get(id.as_str()).filter(|leg| leg.up)?;
        Some(leg.muted)
    }

    pub(super) fn end(&mut self, id: &CallId) -> bool {
        let Some(leg) = self.legs.get_mut(id.as_str()).filter(|leg| leg.up) else {
            return false;
        };
        leg.up = false;
        self.tell(id, &call_state(id.as_str(), "terminated"));
        true
    }

    pub(super) fn operation(&self, id: &CallId, operation: &OperationId) -> Read<Operation> {
        if !self.is_up(id) {
            return Read::Gone;
        }
        self.shown(id, operation.as_str())
            .map_or(Read::Absent, Read::Found)
    }

    pub(super) fn entry(&self, id: &CallId, me: &ParticipantId) -> Read<Box<Participant>> {
        match self.roster(id) {
            Read::Found(roster) => {
                let own = roster.into_iter().find(|entry| entry.id == *me);
                own.map_or(Read::Absent, |own| Read::Found(Box::new(own)))
            }
            _ => Read::Gone,
        }
    }

    pub(super) fn roster(&self, id: &CallId) -> Read<Vec<Participant>> {
        let Some(leg) = self.legs.get(id.as_str()).filter(|leg| leg.up) else {
            return Read::Gone;
        };
        let entries = [
            someone("me", leg.muted, Some(leg.own)),
            someone("human", leg.human % 2 == 0, Some(leg.human)),
        ];
        let read = |entry: &Value| participant::decode(entry.to_string().as_bytes());
        Read::Found(
            entries
                .iter()
                .map(|entry| read(entry).expect("a participant"))
                .collect(),
        )
    }

    pub(super) fn facts(&self, id: &CallId) -> Read<CallFacts> {
        if !self.is_up(id) {
            return Read::Gone;
        }
        let body = json!({"id": id.as_str(), "state": "established", "myParticipantId": "me"});
        let answer = openmic_wire::call::decode(body.to_string().as_bytes());
        Read::Found(answer.expect("a call").facts)
    }
}
