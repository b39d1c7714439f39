//! One machine, a clock and short words for what happens to it.

use std::time::Duration;

use openmic_model::{
    Action, CallFacts, CallKind, CallState, ClientContext, CommandId, DeltaEntry, Evidence,
    Identity, IdentityKind, Operation, OperationId, OperationStatus, Participant, ParticipantId,
    Record, ResultInfo, RosterSeen, RosterUpdate, Verdict, WallTime,
};

use super::ledger::Ledger;
use crate::{AttemptId, Config, Effect, Event, Machine, Phase, PostOutcome, QueryId, Read, Time};

pub(crate) const OWN_COMMAND: CommandId = CommandId::new(0x0123_4567_89ab_cdef);

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A machine driven as a shell would drive it.
pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) now: Time,
    /// Everything it ever wanted, in order.
    pub(crate) log: Vec<Effect>,
    pub(crate) ledger: Ledger,
    next_command: u128,
    next_delta: u64,
    /// The latest command.
    pub(crate) latest: CommandId,
}

impl Rig {
    pub(crate) fn start(config: Config) -> Self {
        let mut log = Vec::new();
        let machine = Machine::start(config, Time::ZERO, &mut log);
        Self {
            machine,
            now: Time::ZERO,
            log,
            ledger: Ledger::default(),
            next_command: 1,
            next_delta: 1,
            latest: OWN_COMMAND,
        }
    }

    /// A call that rings and that the bot takes.
    pub(crate) fn answer(config: Config, kind: CallKind) -> Self {
        let mut rig = Self::start(config.clone());
        rig.log.clear();
        rig.machine = Machine::answer(
            config,
            &facts(CallState::Incoming),
            kind,
            Time::ZERO,
            &mut rig.log,
        );
        rig
    }

    /// A call that outlived its process.
    pub(crate) fn recover(restored: openmic_model::Restored, wall: WallTime) -> Self {
        let mut rig = Self::start(Self::plain());
        rig.log.clear();
        let accepted = restored.open.iter().map(|(_, accepted)| accepted.clone());
        let attempt = restored.last.iter().map(|last| Record::Attempt {
            lead: last.lead,
            number: last.number,
            action: last.action,
        });
        let records = accepted.map(Box::new).map(Record::Accepted).chain(attempt);
        let written: Vec<_> = records.map(Effect::Record).collect();
        rig.ledger.cut(&written);
        let config = Self::plain();
        rig.machine = Machine::recover(config, restored, Time::ZERO, wall, &mut rig.log);
        rig
    }

    /// The default config, without the mute on joining.
    pub(crate) fn plain() -> Config {
        Config {
            join_muted: false,
            ..Config::new(1, OWN_COMMAND)
        }
    }

    /// An established group call whose own entry has the number 10.
    pub(crate) fn at_rest(muted: bool) -> Self {
        Self::at_rest_with(muted, Self::plain())
    }

    pub(crate) fn at_rest_with(muted: bool, config: Config) -> Self {
        let mut rig = Self::start(config);
        rig.fire(created(CallState::Established, CallKind::Group));
        rig.roster(&[own(muted, 10), person("ann", 9)]);
        rig.now = Time::from_millis(1000);
        rig
    }

    /// One event at this moment; returns what it led to, records left out.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "events are made where they happen"
    )]
    pub(crate) fn fire(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.ledger.event(&event);
        self.machine.handle(&event, self.now, &mut effects);
        let done = effects.len();
        self.machine.handle(&Event::Quiet, self.now, &mut effects);
        assert_eq!(effects.len(), done, "nothing comes of quiet: {effects:?}");
        self.ledger.effects(&effects);
        self.log.extend(effects.iter().cloned());
        effects.retain(|effect| !matches!(effect, Effect::Record(_)));
        effects
    }

    /// Lets time pass, with every timer on time.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            all.extend(self.fire(Event::Tick));
            let next = self.machine.next_deadline();
            assert!(next.is_none_or(|next| next > self.now), "spins: {next:?}");
        }
        self.now = end;
        all
    }

    /// A delta with the next number.
    pub(crate) fn roster(&mut self, entries: &[Participant]) -> Vec<Effect> {
        let event = delta(self.next_delta, entries);
        self.next_delta += 1;
        self.fire(event)
    }

    /// Graph says that the call is over, also when asked.
    pub(crate) fn terminate(&mut self) -> Vec<Effect> {
        let mut effects = self.fire(Event::CallNotice(terminated()));
        let query = self.last_query();
        let read = Read::Found(terminated());
        effects.extend(self.fire(Event::CallRead { query, read }));
        effects
    }

    pub(crate) fn command(&mut self, action: Action) -> Vec<Effect> {
        self.command_within(action, secs(30))
    }

    pub(crate) fn command_within(&mut self, action: Action, within: Duration) -> Vec<Effect> {
        self.ask(action, within, None)
    }

    /// An unmute for so long.
    pub(crate) fn speak(&mut self, length: Duration) -> Vec<Effect> {
        self.speak_within(length, secs(30))
    }

    pub(crate) fn speak_within(&mut self, length: Duration, within: Duration) -> Vec<Effect> {
        self.ask(Action::Unmute, within, Some(length))
    }

    fn ask(
        &mut self,
        action: Action,
        within: Duration,
        speak_for: Option<Duration>,
    ) -> Vec<Effect> {
        let id = CommandId::new(self.next_command);
        self.next_command += 1;
        self.latest = id;
        self.fire(Event::Command {
            id,
            action,
            within,
            speak_for,
        })
    }

    /// The latest POST is answered.
    pub(crate) fn posted(&mut self, outcome: PostOutcome) -> Vec<Effect> {
        let attempt = self.last_post().0;
        self.fire(Event::Posted { attempt, outcome })
    }

    pub(crate) fn answered(&mut self, status: OperationStatus) -> Vec<Effect> {
        let operation = self.operation(status);
        self.posted(PostOutcome::Answered(operation))
    }

    pub(crate) fn operation_notice(&mut self, status: OperationStatus) -> Vec<Effect> {
        let operation = self.operation(status);
        self.fire(Event::OperationNotice(operation))
    }

    /// The operation of the latest POST, as Graph would show it.
    pub(crate) fn operation(&self, status: OperationStatus) -> Operation {
        let (attempt, _, context) = self.last_post();
        operation(attempt, Some(context), status)
    }

    /// The latest GET of the own entry is answered.
    pub(crate) fn own_read(&mut self, muted: bool, number: u64) -> Vec<Effect> {
        let query = self.last_self_query();
        self.fire(Event::SelfRead {
            query,
            read: Read::Found(Box::new(own(muted, number))),
        })
    }

    pub(crate) fn own_unread(&mut self) -> Vec<Effect> {
        let query = self.last_self_query();
        self.fire(Event::SelfRead {
            query,
            read: Read::Failed,
        })
    }

    pub(crate) fn last_self_query(&self) -> QueryId {
        let query = |effect: &Effect| match effect {
            Effect::ReadSelf { query, .. } => Some(*query),
            _ => None,
        };
        self.log
            .iter()
            .rev()
            .find_map(query)
            .unwrap_or(QueryId::MAX)
    }

    /// The latest GET of whatever kind.
    pub(crate) fn last_query(&self) -> QueryId {
        let query = |effect: &Effect| match effect {
            Effect::ReadSelf { query, .. }
            | Effect::ReadOperation { query, .. }
            | Effect::ReadRoster { query }
            | Effect::ReadCall { query } => Some(*query),
            _ => None,
        };
        self.log
            .iter()
            .rev()
            .find_map(query)
            .unwrap_or(QueryId::MAX)
    }

    /// Number, action and context of the latest POST; of an invented one before the first.
    pub(crate) fn last_post(&self) -> (AttemptId, Action, ClientContext) {
        let post = |effect: &Effect| match effect {
            Effect::Post {
                attempt,
                action,
                context,
                ..
            } => Some((*attempt, *action, context.clone())),
            _ => None,
        };
        let none = || (0, Action::Unmute, CommandId::new(0).context(1));
        self.log.iter().rev().find_map(post).unwrap_or_else(none)
    }

    pub(crate) fn posts(&self) -> usize {
        count(&self.log, |effect| matches!(effect, Effect::Post { .. }))
    }

    pub(crate) fn phase(&self) -> Phase {
        self.machine.phase()
    }

    /// The verdict of `command`; it must have exactly one.
    #[track_caller]
    pub(crate) fn verdict(&self, command: CommandId) -> Verdict {
        let mut verdicts = self.verdicts(command);
        assert_eq!(verdicts.len(), 1, "{verdicts:?}");
        verdicts.remove(0)
    }

    pub(crate) fn verdicts(&self, command: CommandId) -> Vec<Verdict> {
        let settled = |effect: &Effect| match effect {
            Effect::Settle {
                command: id,
                verdict,
                ..
            } if *id == command => Some(verdict.clone()),
            _ => None,
        };
        self.log.iter().filter_map(settled).collect()
    }

    #[track_caller]
    pub(crate) fn open(&self, command: CommandId) {
        assert_eq!(self.verdicts(command), [], "{:?}", self.machine);
    }
}

pub(crate) fn count(effects: &[Effect], is: impl Fn(&Effect) -> bool) -> usize {
    effects.iter().filter(|effect| is(effect)).count()
}

pub(crate) fn confirmed(evidence: Evidence) -> Verdict {
    Verdict::Confirmed {
        evidence,
        roster: RosterSeen::Fresh,
    }
}

pub(crate) fn unseen(evidence: Evidence) -> Verdict {
    Verdict::Confirmed {
        evidence,
        roster: RosterSeen::Unseen,
    }
}

pub(crate) fn me() -> ParticipantId {
    ParticipantId::parse("me").unwrap()
}

pub(crate) fn entry(id: &str, muted: bool, number: Option<u64>) -> Participant {
    Participant {
        id: ParticipantId::parse(id).unwrap(),
        identity: Identity {
            kind: IdentityKind::Other,
            id: None,
            display_name: None,
        },
        is_muted: muted,
        in_lobby: false,
        roster_sequence_number: number,
        streams: Vec::new(),
    }
}

pub(crate) fn own(muted: bool, number: u64) -> Participant {
    entry("me", muted, Some(number))
}

pub(crate) fn person(id: &str, number: u64) -> Participant {
    entry(id, false, Some(number))
}

pub(crate) fn delta(number: u64, entries: &[Participant]) -> Event {
    let entry = |participant: &Participant| DeltaEntry {
        participant: participant.clone(),
        removed: false,
    };
    Event::RosterNotice(RosterUpdate::Delta {
        sequence_number: Some(number),
        entries: entries.iter().map(entry).collect(),
    })
}

pub(crate) fn full(entries: &[Participant]) -> Event {
    Event::RosterNotice(RosterUpdate::Full(entries.to_vec()))
}

/// A whole roster as Graph's default mode sends it: no number anywhere.
pub(crate) fn plain_roster(muted: bool) -> Event {
    full(&[entry("me", muted, None), entry("ann", false, None)])
}

pub(crate) fn facts(state: CallState) -> CallFacts {
    CallFacts {
        state: Some(state),
        my_participant: Some(me()),
        ..CallFacts::default()
    }
}

pub(crate) fn created(state: CallState, kind: CallKind) -> Event {
    Event::Created {
        facts: facts(state),
        kind,
    }
}

pub(crate) fn terminated() -> CallFacts {
    CallFacts {
        result: Some(ResultInfo {
            code: 200,
            subcode: 5000,
            message: None,
        }),
        ..facts(CallState::Terminated)
    }
}

pub(crate) fn operation(
    id: AttemptId,
    context: Option<ClientContext>,
    status: OperationStatus,
) -> Operation {
    let failed = ResultInfo {
        code: 403,
        subcode: 8566,
        message: Some("not allowed".to_owned()),
    };
    Operation {
        id: Some(OperationId::parse(&format!("op-{id}")).unwrap()),
        status,
        client_context: context,
        result: (status == OperationStatus::Failed).then_some(failed),
    }
}
