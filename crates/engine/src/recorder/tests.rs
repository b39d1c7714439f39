//! The arena alone.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::Duration;

use openmic_machine::{
    Ack, Config, Effect, Event, Machine, Phase, PostOutcome, Read, Refusal, Time, Timer,
};
use openmic_model::{
    Action, AppId, CallFacts, CallKind, CallState, ClientContext, CommandId, DeltaEntry, Identity,
    IdentityKind, MediaStream, Operation, OperationId, OperationStatus, Participant, ParticipantId,
    ResultInfo, RosterUpdate, TenantId,
};
use tokio::time::Instant;

use super::entry::{Asked, Entry, Stand, Step, What};
use super::{DEFAULT_BYTES, Flight, LEAST, Recorder, SEGMENT, SHARDS, Sent};
use crate::call::Owner;

fn recorder(bytes: usize) -> std::sync::Arc<Recorder> {
    Recorder::new(bytes, Instant::now()).unwrap()
}

fn held(recorder: &Recorder) -> usize {
    let full = recorder.full.lock();
    let filling = recorder.shards.iter();
    full.iter()
        .map(|segment| segment.lines.capacity())
        .chain(filling.map(|shard| shard.lock().filling.capacity()))
        .sum()
}

#[test]
fn it_never_takes_more_memory_than_it_may() {
    for bytes in [1, LEAST, 3 * LEAST, DEFAULT_BYTES / 4] {
        let recorder = recorder(bytes);
        let line = vec![b'x'; 300];
        for number in 1..=(2 * bytes.max(LEAST) / 300) as u64 {
            recorder.put(u128::from(number % 1000), number, &line);
            if number % 997 == 0 {
                assert!(held(&recorder) <= bytes.max(LEAST));
            }
        }
        assert!(held(&recorder) > bytes.max(LEAST) / 2);
    }
}

#[test]
fn the_oldest_lines_of_all_calls_go_first() {
    let recorder = recorder(LEAST);
    let line = vec![b'x'; 1000];
    // A call that says little, and many that say a lot.
    recorder.put(0, 1, b"early");
    for number in 1..=3000 {
        recorder.put(u128::from(number % 64), number + 1, &line);
        if number == 2999 {
            recorder.put(0, 5000, b"late");
        }
    }
    let quiet = recorder.read(0, 0);
    assert!(quiet.iter().all(|(number, _)| *number != 1));
    assert_eq!(quiet.last().unwrap().1, b"late");
    // What is left of everybody is what came last, give or take the segments that shards fill.
    let left: BTreeSet<_> = (0..64)
        .flat_map(|key| recorder.read(key, 0))
        .map(|(number, _)| number)
        .collect();
    let oldest = *left.first().unwrap();
    let slack = (SHARDS * SEGMENT / 1000) as u64;
    let newest = LEAST as u64 / 1028;
    assert!(oldest >= 3000 - newest - slack, "{oldest}");
    assert!(left.len() as u64 > newest - slack, "{}", left.len());
}

#[test]
fn lines_of_one_call_come_in_their_order_and_whole() {
    let recorder = recorder(LEAST);
    for number in [2, 1, 4, 3] {
        let line = format!("line {number}");
        recorder.put(7, number, line.as_bytes());
        // The same shard.
        recorder.put(7 + SHARDS as u128, number, b"another's");
    }
    let lines: Vec<_> = recorder.read(7, 1).into_iter().collect();
    let text: Vec<_> = lines
        .iter()
        .map(|(number, line)| (*number, std::str::from_utf8(line).unwrap()))
        .collect();
    assert_eq!(text, [(2, "line 2"), (3, "line 3"), (4, "line 4")]);
}

/// What an ordinary event costs the actor. Prints it; the limit is that of an unoptimised build on
/// a busy machine.
#[test]
fn writing_an_ordinary_event_costs_little() {
    let recorder = recorder(DEFAULT_BYTES);
    let flight = Flight::new(Some(&recorder), "00000000000000000000000000000007");
    let config = Config::new(1, CommandId::new(7));
    let mut effects = Vec::new();
    let mut machine = Machine::start(config, Time::ZERO, &mut effects);
    let created = Event::Created {
        facts: CallFacts::default(),
        kind: CallKind::Group,
    };
    machine.handle(&created, Time::ZERO, &mut effects);
    let own = Participant {
        id: ParticipantId::parse("me").unwrap(),
        identity: Identity {
            kind: IdentityKind::Application,
            id: Some("app".to_owned()),
            display_name: Some("a bot".to_owned()),
        },
        is_muted: true,
        in_lobby: false,
        roster_sequence_number: Some(1),
        streams: Vec::new(),
    };
    let roster = Event::RosterNotice(RosterUpdate::Delta {
        sequence_number: Some(1),
        entries: vec![DeltaEntry {
            participant: own,
            removed: false,
        }],
    });
    let state = Event::CallNotice(CallFacts::default());
    for (name, event) in [("state", &state), ("roster delta", &roster)] {
        let rounds = 5000;
        let mut sent = Sent::default();
        let begun = std::time::Instant::now();
        for _ in 0..rounds {
            flight.step(event, (Time::ZERO, false), &machine, &effects, &mut sent);
        }
        let each = begun.elapsed() / rounds;
        println!("noting a {name}: {} ns", each.as_nanos());
        assert!(each < Duration::from_micros(200), "{name}: {each:?}");
    }
    assert_eq!(recorder.read(7, 0).len(), 10_000);
}

/// An established call whose bot is muted, and what it does on a command.
fn commanded(action: Action, speak_for: Option<Duration>) -> (Event, Machine, Vec<Effect>) {
    let mut effects = Vec::new();
    let config = Config {
        join_muted: false,
        ..Config::new(1, CommandId::new(7))
    };
    let mut machine = Machine::start(config, Time::ZERO, &mut effects);
    let me = ParticipantId::parse("me").unwrap();
    let facts = CallFacts {
        state: Some(CallState::Established),
        my_participant: Some(me.clone()),
        ..CallFacts::default()
    };
    let kind = CallKind::Group;
    machine.handle(&Event::Created { facts, kind }, Time::ZERO, &mut effects);
    let own = Participant {
        id: me,
        identity: Identity {
            kind: IdentityKind::Application,
            id: None,
            display_name: None,
        },
        is_muted: true,
        in_lobby: false,
        roster_sequence_number: Some(1),
        streams: Vec::new(),
    };
    let roster = Event::RosterNotice(RosterUpdate::Full(vec![own]));
    machine.handle(&roster, Time::ZERO, &mut effects);
    assert_eq!(machine.phase(), Phase::Muted);
    effects.clear();
    let command = Event::Command {
        id: CommandId::new(u128::MAX - 12),
        action,
        within: Duration::new(30, 17),
        speak_for,
    };
    machine.handle(&command, Time::from_millis(1500), &mut effects);
    (command, machine, effects)
}

/// Events with what postcard and JSON write in different ways: numbers, options, words, texts.
fn events() -> Vec<Event> {
    let operation = Operation {
        id: Some(OperationId::of_guid(6)),
        status: OperationStatus::Running,
        client_context: ClientContext::parse("not ours").ok(),
        result: Some(ResultInfo {
            code: -1,
            subcode: i32::MAX,
            message: Some("quoted \"\u{1}\"".to_owned()),
        }),
    };
    let somebody = Participant {
        id: ParticipantId::parse("p").unwrap(),
        identity: Identity {
            kind: IdentityKind::Guest,
            id: Some("directory".to_owned()),
            display_name: Some("name".to_owned()),
        },
        is_muted: false,
        in_lobby: true,
        roster_sequence_number: Some(u64::MAX),
        streams: vec![MediaStream {
            media_type: "audio".to_owned(),
            label: None,
            source_id: "1".to_owned(),
            direction: "sendReceive".to_owned(),
            server_muted: Some(false),
        }],
    };
    let refusal = Refusal::new(403, "8548", "no");
    let throttled = PostOutcome::Throttled {
        after: Some(Duration::from_millis(1500)),
        refusal: refusal.clone(),
    };
    let posted = |outcome| Event::Posted {
        attempt: 3,
        outcome,
    };
    let facts = CallFacts {
        state: Some(CallState::Established),
        my_participant: Some(somebody.id.clone()),
        result: operation.result.clone(),
        audio_active: Some(true),
    };
    vec![
        Event::Created {
            facts: facts.clone(),
            kind: CallKind::PeerToPeer,
        },
        Event::CreateFailed {
            refusal: refusal.clone(),
            definite: true,
        },
        Event::HangUp,
        posted(PostOutcome::Answered(operation.clone())),
        posted(PostOutcome::Refused(refusal)),
        posted(throttled),
        posted(PostOutcome::Ambiguous),
        Event::OperationRead {
            query: 1,
            read: Read::Found(operation.clone()),
        },
        Event::SelfRead {
            query: 2,
            read: Read::Found(Box::new(somebody.clone())),
        },
        Event::RosterRead {
            query: 3,
            read: Read::Found(vec![somebody.clone()]),
        },
        Event::CallRead {
            query: u32::MAX,
            read: Read::Absent,
        },
        Event::KeptAlive(Ack::Gone),
        Event::CallNotice(facts),
        Event::RosterNotice(RosterUpdate::Full(vec![somebody.clone()])),
        Event::RosterNotice(RosterUpdate::Delta {
            sequence_number: Some(300),
            entries: vec![DeltaEntry {
                participant: somebody,
                removed: true,
            }],
        }),
        Event::OperationNotice(operation),
        Event::Watched(true),
        Event::Timer(Timer::Parting),
    ]
}

#[test]
fn what_is_packed_reads_as_the_line_that_its_json_is() {
    let recorder = recorder(LEAST);
    let flight = Flight::new(Some(&recorder), "00000000000000000000000000000007");
    let asked = |operation, context| Asked {
        command: CommandId::new(5),
        action: Action::Unmute,
        operation,
        within: Duration::from_millis(1001),
        speak_for: Some(Duration::new(u64::MAX, 999_999_999)),
        context,
    };
    let guid = OperationId::of_guid(5);
    let asked = [
        asked(Some(guid), None),
        asked(OperationId::parse("another").ok(), None),
        asked(None, Some("1 bytes #".into())),
    ];
    let mut expected = Vec::new();
    for asked in asked {
        flight.asked(Instant::now(), |_| asked.clone());
        let guid = Some(OperationId::of_guid(5));
        expected.push(What::Asked(Asked {
            operation: asked.operation.or(guid),
            ..asked
        }));
    }
    let commands = [
        commanded(Action::Mute, None),
        commanded(Action::Unmute, Some(Duration::ZERO)),
    ];
    let post = commands[1].2.clone();
    let at = Time::from_millis(1500);
    let machine = || commanded(Action::Unmute, None).1;
    let others = events()
        .into_iter()
        .map(|event| (event, machine(), post.clone()));
    let mut sent = Sent::default();
    for (held, (event, machine, acts)) in commands.into_iter().chain(others).enumerate() {
        let held = held % 2 == 0;
        flight.step(&event, (at, held), &machine, &acts, &mut sent);
        expected.push(What::Step(Box::new(Step {
            name: event.name().into(),
            event: recorder.redacted(&event).map(Cow::into_owned),
            took: None,
            held,
            stand: Stand::of(&acts, &machine),
        })));
    }
    for effect in &post {
        flight.performed(effect, 3, Instant::now(), &mut sent);
    }
    expected.push(What::Sent {
        request: "POST /communications/calls/{call}/unmute".to_owned(),
        id: Some(1),
    });
    flight.released(Duration::from_nanos(7), Instant::now());
    expected.push(What::Released { took: 7 });
    flight.broken();
    expected.push(What::Broken);

    let read = flight
        .log(&Owner {
            app: AppId::parse("app").unwrap(),
            tenant: TenantId::parse("tenant").unwrap(),
        })
        .unwrap()
        .read(0);
    let text = String::from_utf8(read.ndjson).unwrap();
    assert_eq!(text.lines().count(), expected.len());
    for ((text, n), what) in text.lines().zip(1..).zip(expected) {
        let entry: Entry = serde_json::from_str(text).unwrap();
        let Entry { at, wall, .. } = entry;
        let line = Entry { n, at, wall, what };
        assert_eq!(serde_json::to_string(&line).unwrap(), text);
        assert_eq!(entry, line);
    }
}

#[test]
fn readers_and_writers_do_not_tear_each_other_s_lines() {
    let recorder = recorder(LEAST);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for key in 0..3_u128 {
            let (recorder, over) = (&recorder, &over);
            scope.spawn(move || {
                for number in 1..=20_000_u64 {
                    let length = usize::try_from(number % 400).unwrap();
                    recorder.put(key, number, &vec![u8::try_from(key).unwrap(); length]);
                }
                over.store(true, Ordering::SeqCst);
            });
        }
        let mut read = 0;
        loop {
            let last = over.load(Ordering::SeqCst);
            for key in 0..3_u128 {
                let lines = recorder.read(key, 0);
                assert!(lines.is_sorted_by_key(|(number, _)| *number));
                for (number, line) in lines {
                    assert_eq!(line.len() as u64, number % 400);
                    assert!(line.iter().all(|byte| u128::from(*byte) == key));
                    read += 1;
                }
            }
            if last {
                break;
            }
        }
        assert!(read > 0);
    });
}
