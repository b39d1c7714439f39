use std::collections::BTreeMap;

use openmic_model::{Identity, IdentityKind};
use proptest::prelude::*;

use super::*;
use crate::leg::audio_stream;
use crate::metrics::Metrics;
use crate::sdp::Direction;

fn member(id: &str, call: Option<&CallId>) -> Member {
    Member {
        entry: Arc::new(Participant {
            id: ParticipantId::parse(id).unwrap(),
            identity: Identity {
                kind: IdentityKind::User,
                id: None,
                display_name: None,
            },
            is_muted: false,
            in_lobby: false,
            roster_sequence_number: None,
            streams: vec![audio_stream(1, Direction::SendRecv)],
        }),
        call: call.cloned(),
        media: None,
        turn: Arc::default(),
        simulated: false,
    }
}

/// Nothing goes wrong.
fn faults() -> Arc<CallFaults> {
    let truth = Arc::new(crate::truth::Truth::begin(1, None, "").unwrap());
    crate::faults::Defaults::new(&truth, &Metrics::new()).begin("")
}

/// An established call whose outbox holds `capacity` rosters.
fn watcher(state: &mut State, name: &str, delta: bool, capacity: usize) -> Arc<Outbox> {
    let id = CallId::parse(name).unwrap();
    let outbox = Arc::new(Outbox::new(capacity, Metrics::new()));
    let bot = member(name, Some(&id));
    state.admit(
        id.clone(),
        Call {
            app: AppId::parse("app").unwrap(),
            phase: CallState::Establishing,
            created: Arc::new(Created {
                body: Map::new(),
                direction: openmic_wire::call::Direction::Outgoing,
                source: bot.entry.identity.clone(),
                chain: String::new(),
                delta_roster: delta,
                media_answer: None,
            }),
            result: None,
            participant: bot.entry.id.clone(),
            waiting: Some(bot),
            ring: None,
            operations: Operations::default(),
            kept_alive: Instant::now(),
            outbox: Arc::clone(&outbox),
            faults: faults(),
            ends: CancellationToken::new(),
        },
        News::Call(CallNews::of(CallState::Establishing)),
    );
    assert!(state.establish(&id, CallKind::Group));
    outbox
}

#[derive(Debug, Clone)]
enum Step {
    Join(u8),
    Leave(u8),
    Mute(u8, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8).prop_map(Step::Join),
        (0..6_u8).prop_map(Step::Leave),
        (0..6_u8, any::<bool>()).prop_map(|(who, muted)| Step::Mute(who, muted)),
    ]
}

type Folded = BTreeMap<ParticipantId, Participant>;

/// What a bot ends up with that applies everything it is told.
fn fold(outbox: &Outbox) -> Folded {
    outbox.close();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut folded = Folded::new();
    while let Some(news) = runtime.block_on(outbox.pop()) {
        match news {
            News::Call(_) | News::Offer(_) | News::Moved(_) | News::Operation(_) => {}
            News::Full(everybody) => {
                folded = everybody
                    .iter()
                    .map(|entry| (entry.id.clone(), Participant::clone(entry)))
                    .collect();
            }
            News::Delta(entries) => {
                for entry in entries {
                    let held = folded.get(&entry.participant.id);
                    assert!(
                        held.is_none_or(|held| held.roster_sequence_number
                            < entry.participant.roster_sequence_number),
                        "an entry's number only grows"
                    );
                    if entry.removed {
                        folded.remove(&entry.participant.id);
                    } else {
                        folded.insert(entry.participant.id.clone(), entry.participant.clone());
                    }
                }
            }
        }
    }
    folded
}

proptest! {
    #[test]
    fn full_and_delta_rosters_end_at_the_same_meeting(
        before in prop::collection::vec(step(), 0..6),
        after in prop::collection::vec(step(), 0..40),
        capacity in prop_oneof![Just(1_usize), Just(3), Just(100)],
    ) {
        let mut state = State::default();
        let run = |state: &mut State, steps: &[Step]| {
            for step in steps {
                let name = |who: &u8| format!("h{who}");
                match step {
                    Step::Join(who) => {
                        let someone = member(&name(who), None);
                        if state.member(&someone.entry.id).is_none() {
                            state.join(someone);
                        }
                    }
                    Step::Leave(who) => {
                        state.leave(&ParticipantId::parse(&name(who)).unwrap());
                    }
                    Step::Mute(who, muted) => {
                        let who = ParticipantId::parse(&name(who)).unwrap();
                        state.set_muted(&who, *muted, true);
                    }
                }
            }
        };
        run(&mut state, &before);
        let full = watcher(&mut state, "full", false, capacity);
        let delta = watcher(&mut state, "delta", true, capacity);
        run(&mut state, &after);
        let truth: Folded = state
            .everybody()
            .iter()
            .map(|entry| (entry.id.clone(), Participant::clone(entry)))
            .collect();
        prop_assert_eq!(&fold(&full), &truth);
        prop_assert_eq!(&fold(&delta), &truth);
    }
}

#[test]
fn an_ending_call_is_told_of_no_more_rosters() {
    let mut state = State::default();
    let outbox = watcher(&mut state, "ending", false, 10);
    let id = CallId::parse("ending").unwrap();
    let ended = ResultInfo {
        code: 200,
        subcode: 7000,
        message: None,
    };
    let before = outbox.len();
    assert!(state.terminate(&id, ended.clone()).is_some());
    assert!(state.terminate(&id, ended).is_none(), "it ends once");
    state.join(member("late", None));
    assert_eq!(outbox.len(), before + 1, "terminating, and no roster");
    assert!(state.remove(&id).is_some());
    assert_eq!(outbox.len(), before + 2);
    assert!(!state.is_empty(), "somebody is still there");
}
