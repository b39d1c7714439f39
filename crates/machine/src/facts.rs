//! Merging what the outside states, whatever the state of the call.

use std::sync::Arc;
use std::time::Duration;

use openmic_model::{CallFacts, CallKind, CallState, Operation, Participant, RosterUpdate};

use crate::effect::{Effect, QueryId};
use crate::event::PostOutcome;
use crate::merge::Merged;
use crate::model::{Doubt, Model, Turn};
use crate::time::{Time, Timer};

/// Notifications about operations whose POST has not been answered, kept until it is.
const PARKED: usize = 16;
/// Two rosters without numbers within this time cannot be told apart.
const FULL_DOUBT: Duration = Duration::from_secs(1);

impl Model {
    pub(crate) fn absorb(&mut self, facts: &CallFacts) {
        if let Some(state) = facts.state
            && self.graph.is_none_or(|held| state.rank() >= held.rank())
        {
            self.graph = Some(state);
        }
        if let Some(me) = &facts.my_participant {
            self.me = Some(me.clone());
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.graph
            .is_some_and(|state| state.rank() >= CallState::Established.rank())
    }

    pub(crate) fn is_terminated(&self) -> bool {
        self.graph == Some(CallState::Terminated)
    }

    /// What the roster says of the own entry.
    pub(crate) fn own_muted(&self) -> Option<bool> {
        let me = self.me.as_ref()?;
        self.merge.roster().get(me).map(|entry| entry.is_muted)
    }

    pub(crate) fn query(&mut self) -> QueryId {
        let query = self.next_query;
        self.next_query += 1;
        query
    }

    pub(crate) fn read_call(&mut self, context: &mut Turn<'_>) {
        let query = self.query();
        context.effects.push(Effect::ReadCall { query });
    }

    /// Asks for the roster; the latest such GET is the one that counts.
    pub(crate) fn read_roster(&mut self, context: &mut Turn<'_>) {
        let query = self.query();
        self.reading = Some((query, self.merge.read_mark()));
        context.effects.push(Effect::ReadRoster { query });
    }

    pub(crate) fn roster_notice(
        &mut self,
        update: &RosterUpdate,
        context: &mut Turn<'_>,
    ) -> Merged {
        let merged = self.merge.notice(update, self.me.as_ref());
        let mut doubtful = merged.doubtful;
        if merged.unnumbered {
            doubtful |= self
                .last_unnumbered
                .is_some_and(|at| context.now.since(at) < FULL_DOUBT);
            self.last_unnumbered = Some(context.now);
        }
        self.merged(&merged, doubtful, context);
        merged
    }

    pub(crate) fn roster_read(
        &mut self,
        query: QueryId,
        entries: &[Participant],
        context: &mut Turn<'_>,
    ) -> Merged {
        let mark = match self.reading {
            Some((reading, mark)) if reading == query => {
                self.reading = None;
                mark
            }
            _ => self.merge.read_mark(),
        };
        let merged = self.merge.read(entries, mark, self.me.as_ref());
        self.merged(&merged, merged.doubtful, context);
        merged
    }

    pub(crate) fn self_read(&mut self, entry: &Participant, context: &mut Turn<'_>) -> Merged {
        let merged = self.merge.read_one(entry);
        self.merged(&merged, false, context);
        merged
    }

    pub(crate) fn merged(&mut self, merged: &Merged, doubtful: bool, context: &mut Turn<'_>) {
        if self.kind == CallKind::PeerToPeer && !self.merge.roster().is_empty() {
            // Somebody was added: it is a group call from here on.
            self.kind = CallKind::Group;
        }
        if doubtful && !context.timers.is_set(Timer::Gap) {
            context
                .timers
                .set(Timer::Gap, context.now + self.config.gap_patience);
        } else if self.merge.is_whole() && merged.delta_number.is_some() {
            context.timers.clear(Timer::Gap);
        }
        if merged.changes.is_empty() {
            return;
        }
        self.version.seq += 1;
        context.effects.push(Effect::Publish {
            version: self.version,
            roster: Arc::clone(self.merge.roster()),
            changes: merged.changes.clone().into(),
        });
    }

    pub(crate) fn park(&mut self, operation: &Operation) {
        if self.parked.len() == PARKED {
            self.parked.pop_front();
        }
        self.parked.push_back(operation.clone());
    }

    /// The outstanding POST has its outcome; what may still act leaves a doubt.
    pub(crate) fn outcome_known(&mut self, outcome: &PostOutcome, now: Time) {
        let Some(post) = self.outstanding.take() else {
            return;
        };
        let may_act_later = match outcome {
            PostOutcome::Ambiguous => true,
            PostOutcome::Answered(operation) => !operation.status.is_final(),
            _ => false,
        };
        let until = post.sent + self.config.post_limit;
        if may_act_later && until > now {
            self.doubt = Some(Doubt {
                action: post.action,
                until,
            });
        }
    }

    pub(crate) fn arm_keep_alive(&mut self, context: &mut Turn<'_>) {
        // splitmix64: a tenth either way, so that calls joined together drift apart.
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.jitter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let thousandths = u32::try_from((mixed >> 32) % 201).unwrap_or(0) + 900;
        let pause = self.config.keep_alive * thousandths / 1000;
        context.timers.set(Timer::KeepAlive, context.now + pause);
    }
}
