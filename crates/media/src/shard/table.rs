//! Who is in which meeting of one thread, and who hears whom.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};

use super::leg::{Hears, Hop, Leg};
use super::{Entry, LegId};
use crate::gate::Gate;
use crate::handle::{JoinError, LegStats, MediaConfig, SourceStats};
use crate::route::{Route, Silence};

/// The legs of one thread. A leg keeps its place (index) while it lives.
pub(super) struct Table {
    registry: Registry,
    legs: Vec<Option<Box<Leg>>>,
    free: Vec<usize>,
    places: HashMap<LegId, usize>,
    /// In the order of joining.
    meetings: HashMap<Arc<str>, Vec<usize>>,
    silence: Silence,
    rate: Option<NonZeroU32>,
    random: Random,
}

/// What a socket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

/// The place and the socket a token stands for.
pub(super) fn of_token(token: Token) -> (usize, Kind) {
    let kind = if token.0.is_multiple_of(2) {
        Kind::Rtp
    } else {
        Kind::Rtcp
    };
    (token.0 / 2, kind)
}

impl Table {
    pub(super) fn new(registry: Registry, config: &MediaConfig) -> Self {
        Self {
            registry,
            legs: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            meetings: HashMap::new(),
            silence: Silence {
                tail: config.silence_tail,
                every: config.mute_keepalive,
            },
            rate: config.rate_limit,
            random: Random::default(),
        }
    }

    pub(super) fn join(&mut self, mut entry: Entry, now: Instant) -> Result<(), JoinError> {
        let meeting = Arc::clone(&entry.meeting);
        let others = self.meetings.get(&meeting).map_or(&[][..], Vec::as_slice);
        let taken = |at: &usize| {
            let other = self.legs[*at].as_ref();
            other.is_some_and(|leg| leg.participant == entry.spec.participant)
        };
        if others.iter().any(taken) {
            return Err(JoinError::Duplicate(entry.spec.participant));
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.legs.push(None);
            self.legs.len() - 1
        });
        let transport = &mut entry.transport;
        let registered = self
            .registry
            .register(&mut transport.rtp, Token(2 * at), Interest::READABLE)
            .and_then(|()| {
                self.registry
                    .register(&mut transport.rtcp, Token(2 * at + 1), Interest::READABLE)
            });
        if let Err(source) = registered {
            self.free.push(at);
            let addr = transport.rtp.local_addr();
            return Err(JoinError::Socket {
                addr: addr.unwrap_or_else(|_| ([0, 0, 0, 0], 0).into()),
                source,
            });
        }
        self.places.insert(entry.id, at);
        self.legs[at] = Some(Box::new(Leg::new(
            entry,
            now,
            self.silence,
            self.rate,
            self.random.next(),
        )));
        let all = self.meetings.entry(meeting).or_default();
        all.push(at);
        let others = all.clone();
        for other in others {
            self.connect(other, at);
            self.connect(at, other);
        }
        Ok(())
    }

    /// Gone at once, sockets and all. An unknown id is gone already.
    pub(super) fn leave(&mut self, id: LegId) {
        let Some(at) = self.places.remove(&id) else {
            return;
        };
        let leg = self.legs[at]
            .take()
            .expect("a place is kept until its leg leaves");
        self.free.push(at);
        let Some(rest) = self.meetings.get_mut(&leg.meeting) else {
            return;
        };
        rest.retain(|other| *other != at);
        if rest.is_empty() {
            self.meetings.remove(&leg.meeting);
            return;
        }
        let rest = rest.clone();
        let mut freed = Vec::new();
        for other in &rest {
            let Some(leg) = &mut self.legs[*other] else {
                continue;
            };
            leg.hops.retain(|hop| hop.to != at);
            if let Hears::Slots(slots) = &mut leg.hears
                && let Some(slot) = slots.iter_mut().find(|slot| **slot == Some(at))
            {
                *slot = None;
                freed.push(*other);
            }
        }
        // who waited for the slot gets it now
        for to in freed {
            for from in &rest {
                self.connect(*from, to);
            }
        }
    }

    /// Lets `to` hear `from`, when it can and does not yet.
    fn connect(&mut self, from: usize, to: usize) {
        if !self.understands(from, to) || self.is_connected(from, to) {
            return;
        }
        let first_seq = u16::try_from(self.random.next() >> 16).expect("the upper half of 32 bits");
        let Some(receiver) = &mut self.legs[to] else {
            return;
        };
        let slot = match &mut receiver.hears {
            Hears::Nobody => return,
            Hears::All => None,
            Hears::Slots(slots) => {
                let Some(free) = slots.iter().position(Option::is_none) else {
                    return;
                };
                slots[free] = Some(from);
                Some(free)
            }
        };
        let payload_type = receiver.format.payload_type;
        let ssrc = receiver.next_ssrc();
        if let Some(source) = &mut self.legs[from] {
            source.hops.push(Hop {
                to,
                slot,
                ssrc,
                payload_type,
                route: Route::new(first_seq),
                sent: 0,
            });
        }
    }

    fn understands(&self, from: usize, to: usize) -> bool {
        let (Some(source), Some(receiver)) = (&self.legs[from], &self.legs[to]) else {
            return false;
        };
        from != to
            && source.sends
            && !matches!(receiver.hears, Hears::Nobody)
            && source.format.suits(receiver.format)
    }

    fn is_connected(&self, from: usize, to: usize) -> bool {
        let source = self.legs[from].as_ref();
        source.is_some_and(|leg| leg.hops.iter().any(|hop| hop.to == to))
    }

    pub(super) fn position(&self, id: LegId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    pub(super) fn gate(&self, at: usize) -> Option<&Gate> {
        self.legs.get(at)?.as_ref().map(|leg| &*leg.gate)
    }

    /// Takes a leg out to work on it beside the others; [`Table::put_back`] must follow.
    pub(super) fn take(&mut self, at: usize) -> Option<Box<Leg>> {
        self.legs.get_mut(at)?.take()
    }

    pub(super) fn put_back(&mut self, at: usize, leg: Box<Leg>) {
        self.legs[at] = Some(leg);
    }

    pub(super) fn leg_mut(&mut self, at: usize) -> Option<&mut Leg> {
        self.legs.get_mut(at)?.as_deref_mut()
    }

    /// Whether it was not on the list of sockets to read.
    pub(super) fn mark_ready(&mut self, token: Token) -> bool {
        let (at, kind) = of_token(token);
        let leg = self.leg_mut(at);
        leg.is_some_and(|leg| !std::mem::replace(&mut leg.ready[kind as usize], true))
    }

    pub(super) fn unmark_ready(&mut self, token: Token) {
        let (at, kind) = of_token(token);
        if let Some(leg) = self.leg_mut(at) {
            leg.ready[kind as usize] = false;
        }
    }

    /// When a leg could have been silent for `after`; `None` when that matters not, or is looked for.
    pub(super) fn watch(&mut self, id: LegId, after: Duration) -> Option<Instant> {
        let at = self.position(id)?;
        let leg = self.leg_mut(at)?;
        if leg.watched || !leg.may_move() {
            return None;
        }
        leg.watched = true;
        Some(leg.last_arrival + after)
    }

    /// Loosens a leg that has been silent for `after`; else when to look again.
    pub(super) fn look(&mut self, id: LegId, after: Duration, now: Instant) -> Option<Instant> {
        let at = self.position(id)?;
        let leg = self.leg_mut(at)?;
        let due = leg.last_arrival + after;
        if leg.may_move() && due > now {
            return Some(due);
        }
        leg.watched = false;
        leg.transport.loosen();
        None
    }

    pub(super) fn abandoned(&self) -> Vec<LegId> {
        let legs = self.legs.iter().flatten();
        legs.filter(|leg| leg.gate.is_abandoned())
            .map(|leg| leg.id)
            .collect()
    }

    pub(super) fn stats(&self, id: LegId) -> Option<LegStats> {
        let at = self.position(id)?;
        let leg = self.legs[at].as_ref()?;
        let word = leg.gate.read();
        let mut sources = Vec::new();
        let mut unheard = Vec::new();
        for other in self.meetings.get(&leg.meeting)? {
            let Some(source) = &self.legs[*other] else {
                continue;
            };
            if *other == at || !source.sends || matches!(leg.hears, Hears::Nobody) {
                continue;
            }
            match source.hops.iter().find(|hop| hop.to == at) {
                Some(hop) => sources.push(SourceStats {
                    participant: source.participant.clone(),
                    ssrc: hop.ssrc,
                    slot: hop.slot,
                    sent: hop.sent,
                }),
                None => unheard.push(source.participant.clone()),
            }
        }
        Some(LegStats {
            open: word.is_open(),
            epoch: word.epoch(),
            latched: leg.transport.peer(),
            ssrc: leg.track.ssrc(),
            counters: leg.counters,
            evidence: leg.evidence,
            sender_info: leg.sender_info,
            sources,
            unheard,
        })
    }
}

/// Numbers nobody outside can guess: the keys come from the system. Cheap, and no secret depends on
/// them.
#[derive(Default)]
struct Random {
    keys: RandomState,
    count: u64,
}

impl Random {
    fn next(&mut self) -> u32 {
        self.count += 1;
        let bits = self.keys.hash_one(self.count);
        u32::try_from(bits >> 32).expect("the upper half of 64 bits")
    }
}
