use std::collections::BTreeMap;

use openmic_hub::Subscribe;
use openmic_model::{Change, Roster, Version};
use proptest::prelude::*;

use crate::support::{Buffers, Publisher, call, expected_of, hub, pair, participant, watch};
use crate::watcher::{Got, Watcher};

#[derive(Debug, Clone)]
enum Act {
    /// Publish so many versions without a pause.
    Publish(u16),
    /// A new epoch, as after a recovery.
    Recover,
    Operation,
    State,
    /// A subscriber comes.
    Come,
    /// One reads so many frames, if there are any for it.
    Read(usize, u8),
    /// One loses its connection and resumes.
    Resume(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..8_u16).prop_map(Act::Publish),
        2 => (1..600_u16).prop_map(Act::Publish),
        1 => Just(Act::Recover),
        2 => Just(Act::Operation),
        1 => Just(Act::State),
        2 => Just(Act::Come),
        4 => (any::<usize>(), 1..40_u8).prop_map(|(who, count)| Act::Read(who, count)),
        1 => any::<usize>().prop_map(Act::Resume),
    ]
}

struct World {
    publisher: Publisher,
    /// Every roster ever published.
    history: BTreeMap<(u64, u64), Roster>,
    step: usize,
}

impl World {
    fn publish(&mut self) {
        self.step += 1;
        let who = self.step * 7 % 40;
        let change = if self.step.is_multiple_of(5) {
            Change::Remove(participant(who, false).id.clone())
        } else {
            Change::Upsert(participant(who, self.step.is_multiple_of(2)))
        };
        // removing who is not there is no visible change
        if let Change::Remove(id) = &change
            && self.publisher.roster.get(id).is_none()
        {
            return;
        }
        self.publisher.publish(&[change]);
        self.remember();
    }

    fn remember(&mut self) {
        let Version { epoch, seq } = self.publisher.version;
        self.history
            .insert((epoch, seq), self.publisher.roster.clone());
    }

    fn newest(&self) -> (u64, u64) {
        let Version { epoch, seq } = self.publisher.version;
        (epoch, seq)
    }

    /// Reads one frame; what the subscriber has must be what was published.
    fn read(&self, watcher: &mut Watcher) {
        match watcher.next() {
            Got::Roster(version) => {
                assert_eq!(watcher.roster, expected_of(&self.history[&version]));
            }
            Got::Closed(code) => panic!("closed with {code}"),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// proptest prints the schedule that failed, and its seed.
    #[test]
    fn every_subscriber_sees_a_consistent_past_and_the_same_present(
        acts in prop::collection::vec(act(), 1..60)
    ) {
        let hub = hub(|_| ());
        let call = call("call-1");
        let mut world = World {
            publisher: Publisher::new(&hub, &call),
            history: BTreeMap::new(),
            step: 0,
        };
        world.publisher.fill(40);
        world.remember();
        let mut watchers = vec![watch(&hub, &call, Subscribe::default(), Buffers::Small)];
        // a connection may have at most 64 of them waiting
        let mut events = 0;
        for act in acts {
            match act {
                Act::Publish(count) => (0..count).for_each(|_| world.publish()),
                Act::Recover => {
                    world.publisher.version.epoch += 1;
                    world.publisher.version.seq = 0;
                    world.publisher.publish(&[]);
                    world.remember();
                }
                Act::Operation if events < 60 => {
                    events += 1;
                    world.publisher.operation(events);
                }
                Act::State if events < 60 => {
                    events += 1;
                    world.publisher.state("muted");
                }
                Act::Operation | Act::State => {}
                Act::Come => {
                    watchers.push(watch(&hub, &call, Subscribe::default(), Buffers::Small));
                }
                Act::Read(who, count) => {
                    let who = who % watchers.len();
                    for _ in 0..count {
                        if watchers[who].version == Some(world.newest()) {
                            break;
                        }
                        world.read(&mut watchers[who]);
                    }
                }
                Act::Resume(who) => {
                    let who = who % watchers.len();
                    let watcher = &mut watchers[who];
                    let since = watcher.version.map(|(epoch, seq)| Version { epoch, seq });
                    let (client, server) = pair(Buffers::Small);
                    hub.subscribe(&call, server, bytes::Bytes::new(), Subscribe { since })
                        .unwrap();
                    watcher.resume(client);
                }
            }
        }
        for watcher in &mut watchers {
            while watcher.version != Some(world.newest()) {
                world.read(watcher);
            }
            prop_assert_eq!(&watcher.roster, &world.publisher.expected());
        }
    }
}
