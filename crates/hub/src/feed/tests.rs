use std::sync::Arc;
use std::time::Instant;

use openmic_model::{
    CallId, Change, Identity, IdentityKind, Participant, ParticipantId, Roster, RosterVersion,
    Version,
};

use super::{Feed, Key, MAX_EVENTS, Missed, Position, Round};
use crate::frame::{CallFrame, Encoder, Kind};
use crate::topic::{Pending, Slot, Start};

struct Bench {
    feed: Feed,
    encoder: Encoder,
}

impl Bench {
    fn new() -> Self {
        let mut encoder = Encoder::default();
        let slot = Arc::new(Slot::new(CallId::parse("c").unwrap()));
        let start = Start {
            latest: None,
            call: None,
            ended: false,
        };
        let mut feed = Feed::new(slot, start, &mut encoder);
        feed.subscribers.push(0);
        Self { feed, encoder }
    }

    fn version(&mut self, seq: u64, name_length: usize) {
        let participant = Arc::new(Participant {
            id: ParticipantId::parse("p").unwrap(),
            identity: Identity {
                kind: IdentityKind::User,
                id: None,
                display_name: Some("x".repeat(name_length)),
            },
            is_muted: seq.is_multiple_of(2),
            in_lobby: false,
            roster_sequence_number: None,
            streams: Vec::new(),
        });
        let change = Change::Upsert(participant);
        let mut roster = Roster::default();
        roster.apply(&change);
        let version = RosterVersion {
            call: CallId::parse("c").unwrap(),
            version: Version { epoch: 1, seq },
            roster: Arc::new(roster),
            changes: Arc::new([change]),
        };
        let pending = Pending::Version(version, Instant::now());
        self.feed.ingest(pending, &mut self.encoder);
    }

    fn state(&mut self) {
        let frame = CallFrame {
            state: "muted",
            result: None,
        };
        self.feed.ingest(Pending::Call(frame), &mut self.encoder);
    }

    /// The kinds of frames that a subscriber with `seq` and `events` needs.
    fn due(&mut self, seq: u64, events: u64, lagging: bool) -> Result<Vec<Kind>, Missed> {
        let position = Position {
            version: Some(Version { epoch: 1, seq }),
            events,
            wants_call: false,
        };
        let key = Key { position, lagging };
        let batch = self.feed.batch(key, &mut self.encoder)?;
        Ok(batch.map_or_else(Vec::new, |batch| {
            batch.pieces.iter().map(|piece| piece.kind).collect()
        }))
    }
}

#[test]
fn who_is_ready_gets_deltas_and_who_lagged_far_a_snapshot() {
    let mut bench = Bench::new();
    for seq in 1..=257 {
        bench.version(seq, 1);
    }
    assert_eq!(bench.due(257, 0, false), Ok(vec![]));
    assert_eq!(bench.due(256, 0, true), Ok(vec![Kind::Delta]));
    assert_eq!(bench.due(193, 0, true), Ok(vec![Kind::Delta; 64]));
    assert_eq!(bench.due(192, 0, true), Ok(vec![Kind::Snapshot]));
    assert_eq!(bench.due(1, 0, false), Ok(vec![Kind::Delta; 256]));
    assert_eq!(bench.due(0, 0, false), Ok(vec![Kind::Snapshot]));
    // ahead of what there is: another history
    assert_eq!(bench.due(258, 0, false), Ok(vec![Kind::Snapshot]));
}

#[test]
fn deltas_are_held_within_their_bytes() {
    let mut bench = Bench::new();
    for seq in 1..=20 {
        bench.version(seq, 30_000);
    }
    assert!(bench.feed.delta_bytes <= super::MAX_DELTA_BYTES);
    let held = bench.feed.deltas.len() as u64;
    assert!((5..20).contains(&held), "{held}");
    assert_eq!(bench.due(20 - held, 0, false).unwrap().len() as u64, held);
    assert_eq!(bench.due(19 - held, 0, false), Ok(vec![Kind::Snapshot]));
}

#[test]
fn frames_keep_the_order_of_publication() {
    let mut bench = Bench::new();
    bench.version(1, 1);
    bench.state();
    bench.version(2, 1);
    bench.state();
    let all = vec![Kind::Call, Kind::Delta, Kind::Call];
    assert_eq!(bench.due(1, 0, false), Ok(all));
    assert_eq!(bench.due(2, 1, false), Ok(vec![Kind::Call]));
}

#[test]
fn the_state_of_the_call_is_told_once_to_who_comes() {
    let mut bench = Bench::new();
    bench.state();
    bench.version(1, 1);
    let position = bench.feed.entry(None);
    let due = |bench: &mut Bench, position| {
        let key = Key {
            position,
            lagging: false,
        };
        let batch = bench.feed.batch(key, &mut bench.encoder).unwrap();
        batch.map(|batch| {
            let kinds: Vec<_> = batch.pieces.iter().map(|piece| piece.kind).collect();
            (kinds, batch.after)
        })
    };
    let (kinds, after) = due(&mut bench, position).unwrap();
    assert_eq!(kinds, [Kind::Snapshot, Kind::Call]);
    assert_eq!(due(&mut bench, after), None);
    // a state published since then is enough
    bench.state();
    let (kinds, after) = due(&mut bench, position).unwrap();
    assert_eq!(kinds, [Kind::Snapshot, Kind::Call]);
    assert_eq!(due(&mut bench, after), None);
}

#[test]
fn events_are_forgotten_when_all_have_them_and_missed_when_not() {
    let mut bench = Bench::new();
    bench.version(1, 1);
    bench.feed.lagging = 1;
    for _ in 0..MAX_EVENTS {
        bench.state();
    }
    assert!(bench.feed.events_full());
    assert_eq!(bench.due(1, 0, true), Ok(vec![Kind::Call; MAX_EVENTS]));
    bench.state();
    assert_eq!(bench.due(1, 0, true), Err(Missed));
    assert_eq!(bench.due(1, 1, true), Ok(vec![Kind::Call; MAX_EVENTS]));
    bench.feed.trim();
    assert_eq!(bench.feed.events.len(), MAX_EVENTS, "one still lags");
    bench.feed.lagging = 0;
    bench.feed.trim();
    assert!(bench.feed.events.is_empty());
    let end = bench.feed.events_end;
    assert_eq!(bench.due(1, end, false), Ok(vec![]));
    bench.feed.lose_events();
    assert_eq!(bench.due(1, end, false), Err(Missed));
}

#[test]
fn a_round_visits_all_and_tells_when_a_publication_reached_them() {
    let mut round = Round::default();
    round.begin(3);
    round.time(Instant::now());
    let first: Vec<_> = (0..2).map_while(|_| round.next(3)).collect();
    assert_eq!(first, [0, 1]);
    assert_eq!(round.reached().count(), 0);
    // something new comes in the middle: again all of them
    round.begin(3);
    round.time(Instant::now());
    assert_eq!(round.next(3), Some(2));
    assert_eq!(round.reached().count(), 1);
    assert_eq!((round.next(3), round.next(3)), (Some(0), Some(1)));
    assert_eq!(round.next(3), None);
    assert_eq!(round.reached().count(), 1);
    assert!(!round.is_under_way());
}
