//! What is counted. Each case does so many rounds of the same.

use std::hint::black_box;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use openmic_hub::{Hub, HubConfig, Subscribe, snapshot_document};
use openmic_machine::{Config, Effect, Event, Machine, PostOutcome, Time};
use openmic_model::{
    Action, CallFacts, CallId, CallKind, CallState, CommandId, DeltaEntry, Identity, IdentityKind,
    Operation, OperationId, OperationStatus, Participant, ParticipantId, Roster, RosterUpdate,
    RosterVersion, Version,
};
use openmic_wire::notification::{self, ChangeType, Data, Outgoing};

use crate::fanout::{Cores, History, read_frame};
use crate::media::{Room, Way};

/// One of them.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// The thread that works, in the order in which they start; the main one is 1.
    pub(super) thread: usize,
    /// Rounds that are enough.
    pub(super) times: usize,
    pub(super) run: fn(usize) -> anyhow::Result<()>,
}

/// All of them.
pub(super) const CASES: [Case; 7] = [
    Case {
        name: "machine-unmute",
        what: "and a mute, to the verdicts",
        thread: 1,
        times: 200,
        run: unmutes,
    },
    Case {
        name: "merge",
        what: "a change among 300",
        thread: 1,
        times: 200,
        run: merges,
    },
    Case {
        name: "decode",
        what: "a notification of one change",
        thread: 1,
        times: 100,
        run: decodes_one,
    },
    Case {
        name: "decode-roster",
        what: "a notification of 50",
        thread: 1,
        times: 10,
        run: decodes_fifty,
    },
    Case {
        name: "snapshot",
        what: "its text, of 300",
        thread: 1,
        times: 5,
        run: snapshots,
    },
    Case {
        name: "publish",
        what: "a delta to 10 subscribers",
        thread: 2,
        times: 50,
        run: publishes,
    },
    Case {
        name: "forward",
        what: "a packet to 8, its gate open",
        thread: 2,
        times: 100,
        run: forwards,
    },
];

fn participant(id: &str, muted: bool, number: u64) -> Participant {
    Participant {
        id: ParticipantId::parse(id).expect("a short id"),
        identity: Identity {
            kind: IdentityKind::User,
            id: Some(format!("user-{id}")),
            display_name: Some("Somebody With A Name".to_owned()),
        },
        is_muted: muted,
        in_lobby: false,
        roster_sequence_number: Some(number),
        streams: Vec::new(),
    }
}

fn delta(number: u64, participant: Participant) -> RosterUpdate {
    RosterUpdate::Delta {
        sequence_number: Some(number),
        entries: vec![DeltaEntry {
            participant,
            removed: false,
        }],
    }
}

/// A machine of an established call in a meeting, and what it wants.
struct Driven {
    machine: Machine,
    now: Time,
    effects: Vec<Effect>,
    number: u64,
}

impl Driven {
    fn new(participants: usize) -> Self {
        let config = Config {
            join_muted: false,
            ..Config::new(1, CommandId::new(7))
        };
        let mut effects = Vec::new();
        let machine = Machine::start(config, Time::ZERO, &mut effects);
        let mut driven = Self {
            machine,
            now: Time::ZERO,
            effects,
            number: 10,
        };
        driven.handle(&Event::Created {
            facts: CallFacts {
                state: Some(CallState::Established),
                my_participant: Some(ParticipantId::parse("me").expect("a short id")),
                ..CallFacts::default()
            },
            kind: CallKind::Group,
        });
        let mut everybody = vec![participant("me", true, 10)];
        everybody.extend((1..participants).map(|nth| participant(&format!("p{nth:03}"), true, 10)));
        driven.handle(&Event::RosterNotice(RosterUpdate::Full(everybody)));
        driven
    }

    fn handle(&mut self, event: &Event) {
        self.effects.clear();
        self.machine.handle(event, self.now, &mut self.effects);
    }

    /// A roster notification in which `id` changes, the next in number.
    fn changes(&mut self, id: &str, muted: bool) {
        self.number += 1;
        let update = delta(self.number - 10, participant(id, muted, self.number));
        self.handle(&Event::RosterNotice(update));
    }

    /// A command until its verdict.
    fn commands(&mut self, action: Action, id: u128) -> anyhow::Result<()> {
        self.now = self.now + Duration::from_secs(1);
        self.handle(&Event::Command {
            id: CommandId::new(id),
            action,
            within: Duration::from_secs(30),
            speak_for: None,
        });
        let posted = self.effects.iter().find_map(|effect| match effect {
            Effect::Post {
                attempt, context, ..
            } => Some((*attempt, context.clone())),
            _ => None,
        });
        let (attempt, context) = posted.context("nothing is posted")?;
        let operation = |status| Operation {
            id: OperationId::parse(&format!("operation-{attempt}")).ok(),
            status,
            client_context: Some(context.clone()),
            result: None,
        };
        self.handle(&Event::Posted {
            attempt,
            outcome: PostOutcome::Answered(operation(OperationStatus::Running)),
        });
        let completed = operation(OperationStatus::Completed);
        self.handle(&Event::OperationNotice(completed));
        self.changes("me", action.wants_muted());
        let settled = |effect: &Effect| matches!(effect, Effect::Settle { .. });
        ensure!(self.effects.iter().any(settled), "no verdict");
        Ok(())
    }
}

fn unmutes(times: usize) -> anyhow::Result<()> {
    let mut driven = Driven::new(3);
    for round in 0..times as u128 {
        driven.commands(Action::Unmute, 100 + 2 * round)?;
        driven.commands(Action::Mute, 101 + 2 * round)?;
    }
    Ok(())
}

fn merges(times: usize) -> anyhow::Result<()> {
    let mut driven = Driven::new(300);
    let mut latest = None;
    for round in 0..times {
        driven.changes("p150", !round.is_multiple_of(2));
        let published = driven.effects.iter().find_map(|effect| match effect {
            Effect::Publish { roster, .. } => Some(Arc::clone(roster)),
            _ => None,
        });
        // somebody watches: the one before is held until now, as the fan-out does
        latest = Some(published.with_context(|| format!("round {round} shows nothing"))?);
    }
    ensure!(latest.is_some_and(|roster| roster.len() == 300), "a roster");
    Ok(())
}

fn decodes_one(times: usize) -> anyhow::Result<()> {
    let entry = DeltaEntry {
        participant: participant("p1", true, 10),
        removed: false,
    };
    let call = call();
    let body = notification::encode(&[Outgoing {
        call: &call,
        callback_uri: "https://bot.example/callbacks/a-key-of-some-length",
        change: ChangeType::Updated,
        data: Data::Delta {
            sequence_number: 7,
            entries: vec![&entry],
        },
    }]);
    decodes(&body, times)
}

fn decodes_fifty(times: usize) -> anyhow::Result<()> {
    let everybody: Vec<_> = (0..50)
        .map(|nth| participant(&format!("p{nth}"), true, 10))
        .collect();
    let call = call();
    let body = notification::encode(&[Outgoing {
        call: &call,
        callback_uri: "https://bot.example/callbacks/a-key-of-some-length",
        change: ChangeType::Updated,
        data: Data::Full(everybody.iter().collect()),
    }]);
    decodes(&body, times)
}

fn decodes(body: &[u8], times: usize) -> anyhow::Result<()> {
    for _ in 0..times {
        let batch = notification::decode(black_box(body))?;
        ensure!(batch.notifications.len() == 1, "one notification");
    }
    Ok(())
}

fn snapshots(times: usize) -> anyhow::Result<()> {
    let mut roster = Roster::default();
    for nth in 0..300 {
        let entry = Arc::new(participant(&format!("p{nth:03}"), true, 10));
        roster.apply(&openmic_model::Change::Upsert(entry));
    }
    let version = RosterVersion {
        call: call(),
        version: Version { epoch: 1, seq: 9 },
        roster: Arc::new(roster),
        changes: Arc::new([]),
    };
    for _ in 0..times {
        let text = snapshot_document(black_box(&version));
        ensure!(text.len() > 300 * 100, "a text");
    }
    Ok(())
}

fn publishes(times: usize) -> anyhow::Result<()> {
    let hub = Hub::start(HubConfig {
        shards: 1,
        // none comes while it is counted
        ping_interval: Duration::from_hours(1),
        ..HubConfig::default()
    })?;
    let metrics = prometheus::Registry::new();
    hub.metrics().register(&metrics)?;
    let written = || total(&metrics, "openmic_subscriber_sent_bytes_total");
    let call = call();
    let mut history = History::new(call.clone(), 350);
    let topic = hub.topic(call.clone());
    topic.publish(history.next());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let client = TcpStream::connect(listener.local_addr()?)?;
        client.set_read_timeout(Some(Duration::from_secs(10)))?;
        let before = written();
        hub.subscribe(
            &call,
            listener.accept()?.0,
            Bytes::new(),
            Subscribe::default(),
        )?;
        clients.push(client);
        read_frame(clients.last_mut().context("there is one")?)?;
        asleep(|| written() > before);
    }
    for _ in 0..times {
        let before = written();
        topic.publish(history.next());
        for client in &mut clients {
            read_frame(client)?;
        }
        asleep(|| written() > before);
    }
    hub.shutdown(Duration::from_secs(1));
    Ok(())
}

fn forwards(times: usize) -> anyhow::Result<()> {
    let mut room = Room::open(Way::Openmic, 8, &Cores::divide()?)?;
    let metrics = room.metrics().clone();
    let turns = || total(&metrics, "openmic_media_loop_seconds");
    for _ in 0..times {
        let before = turns();
        room.say_once()?;
        asleep(|| turns() > before);
    }
    Ok(())
}

/// Waits until the thread that works has come to its end of a round.
fn asleep(is: impl Fn() -> bool) {
    while !is() {
        thread::yield_now();
    }
}

/// What a counter shows, or how many a histogram has seen.
fn total(metrics: &prometheus::Registry, name: &str) -> u64 {
    let families = metrics.gather();
    let family = families.iter().find(|family| family.name() == name);
    let metric = family.and_then(|family| family.get_metric().first());
    metric.map_or(0, |metric| {
        let counter = metric.get_counter().get_value();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let counter = counter as u64;
        counter.max(metric.get_histogram().get_sample_count())
    })
}

fn call() -> CallId {
    CallId::parse("00000000-0000-4000-8000-000000000000").expect("a call's id")
}
