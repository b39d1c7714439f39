//! Subscribers of the roster: the latest version, a ring of deltas, and who is sent what.

use std::collections::VecDeque;
use std::sync::Arc;

use openmic_checker::{Gauge, What};
use openmic_model::{Change, ParticipantId, Roster, Version};

use crate::agenda::Millis;
use crate::faults::Fault;
use crate::graph::hash_of;
use crate::world::{Doing, World};

/// Deltas kept, as the hub's default.
const RING: usize = 256;

#[derive(Debug)]
struct Delta {
    version: Version,
    changes: Arc<[Change]>,
    /// Of the roster that it leads to.
    hash: u64,
}

#[derive(Debug, Default)]
struct Subscriber {
    connected: bool,
    /// A write is due.
    woken: bool,
    position: Option<Version>,
    holds: Vec<(ParticipantId, bool)>,
}

/// The hub of one process, and the subscribers, which outlive it.
#[derive(Debug)]
pub(crate) struct Hub {
    latest: Option<(Version, Arc<Roster>)>,
    ring: VecDeque<Delta>,
    subscribers: Vec<Subscriber>,
}

fn hash_roster(roster: &Roster) -> u64 {
    let entries = roster.iter();
    entries
        .map(|entry| hash_of(entry.id.as_str(), entry.is_muted))
        .fold(0, u64::wrapping_add)
}

impl Subscriber {
    fn hash(&self) -> u64 {
        let entries = self.holds.iter();
        entries
            .map(|(id, muted)| hash_of(id.as_str(), *muted))
            .fold(0, u64::wrapping_add)
    }

    fn take_whole(&mut self, roster: &Roster) {
        self.holds.clear();
        let entries = roster.iter();
        self.holds
            .extend(entries.map(|entry| (entry.id.clone(), entry.is_muted)));
    }

    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Upsert(entry) => {
                    match self.holds.iter_mut().find(|(id, _)| *id == entry.id) {
                        Some((_, muted)) => *muted = entry.is_muted,
                        None => self.holds.push((entry.id.clone(), entry.is_muted)),
                    }
                }
                Change::Remove(gone) => self.holds.retain(|(id, _)| id != gone),
            }
        }
    }
}

impl Hub {
    pub(crate) fn new(subscribers: usize) -> Self {
        Self {
            latest: None,
            ring: VecDeque::new(),
            subscribers: (0..subscribers).map(|_| Subscriber::default()).collect(),
        }
    }

    /// How many there are, connected or not.
    pub(crate) fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.subscribers.iter().any(|one| one.connected)
    }

    pub(crate) fn publish(
        &mut self,
        world: &mut World,
        version: Version,
        roster: &Arc<Roster>,
        changes: &Arc<[Change]>,
    ) {
        if self.subscribers.is_empty() {
            return;
        }
        if self.ring.len() == RING {
            self.ring.pop_front();
        }
        self.ring.push_back(Delta {
            version,
            changes: Arc::clone(changes),
            hash: hash_roster(roster),
        });
        self.latest = Some((version, Arc::clone(roster)));
        for at in 0..self.subscribers.len() {
            self.wake(world, at);
        }
    }

    fn wake(&mut self, world: &mut World, at: usize) {
        let one = &mut self.subscribers[at];
        if !one.connected || one.woken {
            return;
        }
        one.woken = true;
        let pause: Millis = if world.strikes(Fault::SlowReader) {
            world.random.between(1000, 12_000)
        } else {
            world.random.below(20)
        };
        world.later(pause, Doing::Write(at));
    }

    pub(crate) fn subscribe(&mut self, world: &mut World, at: usize) {
        if self.subscribers[at].connected {
            return;
        }
        self.subscribers[at].connected = true;
        world.note(&What::Joined {
            subscriber: number(at),
        });
        if self.latest.is_some() {
            self.wake(world, at);
        }
    }

    /// A subscriber is sent what it lacks: deltas while the ring has them all, else a snapshot.
    pub(crate) fn write(&mut self, world: &mut World, at: usize) {
        let one = &mut self.subscribers[at];
        one.woken = false;
        let Some((version, roster)) = &self.latest else {
            return;
        };
        if !one.connected || one.position == Some(*version) {
            return;
        }
        let from = one.position.and_then(|held| {
            let mut ring = self.ring.iter();
            ring.position(|delta| {
                delta.version.epoch == held.epoch && delta.version.seq == held.seq + 1
            })
        });
        let Some(from) = from else {
            one.take_whole(roster);
            one.position = Some(*version);
            let stated = self.ring.back().map(|delta| delta.hash);
            let holds = Some(one.hash());
            return world.note(&What::Frame {
                subscriber: number(at),
                version: *version,
                whole: true,
                stated,
                holds,
            });
        };
        for delta in self.ring.range(from..) {
            one.apply(&delta.changes);
            one.position = Some(delta.version);
            world.note(&What::Frame {
                subscriber: number(at),
                version: delta.version,
                whole: false,
                stated: Some(delta.hash),
                holds: Some(one.hash()),
            });
        }
        world.note(&What::Level {
            gauge: Gauge::Ring,
            value: number(self.ring.len()),
        });
    }

    /// A subscriber is cut off, and comes back.
    pub(crate) fn cut(&mut self, world: &mut World, at: usize) {
        let one = &mut self.subscribers[at];
        if !one.connected {
            return;
        }
        one.connected = false;
        one.woken = false;
        world.note(&What::Left {
            subscriber: number(at),
        });
        let pause = world.random.between(10, 8000);
        world.later(pause, Doing::Subscribe(at));
    }

    /// The process is gone, and with it whom it knew. The subscribers come back.
    pub(crate) fn crash(&mut self) {
        self.latest = None;
        self.ring.clear();
        for one in &mut self.subscribers {
            one.connected = false;
            one.woken = false;
        }
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
