//! Evidence for the attempt under way: what each fact means to it, and asking for what is missing.

use std::time::Duration;

use openmic_model::{Evidence, Operation};

use crate::attempt::{Attempt, Http, Op};
use crate::effect::{Effect, QueryId};
use crate::merge::{Merge, Merged};
use crate::model::{Model, Turn};
use crate::time::Timer;

impl Model {
    /// Takes in what came for the operation before its POST was answered.
    pub(crate) fn unpark(&mut self, attempt: &mut Attempt, context: &mut Turn<'_>) {
        let parked = self.aside.get_mut().map(|rare| &mut rare.parked);
        for operation in parked.map(std::mem::take).unwrap_or_default() {
            if attempt.owns(&operation) {
                self.absorb_operation(attempt, &operation, Evidence::Operation, context);
            }
        }
    }

    /// Takes in the operation. Once it took effect, the own entry has its grace time from here.
    pub(crate) fn absorb_operation(
        &mut self,
        attempt: &mut Attempt,
        operation: &Operation,
        evidence: Evidence,
        context: &mut Turn<'_>,
    ) {
        let before = attempt.op.clone();
        attempt.absorb(operation, evidence);
        if attempt.closed
            && let Some(rare) = self.aside.get_mut()
        {
            rare.doubts.end(attempt.id);
        }
        if attempt.op == Op::Completed && before != Op::Completed {
            context.timers.clear(Timer::Operation);
            attempt.reads = 0;
            attempt.disagreed = 0;
            if attempt.is_out() {
                self.start_grace(attempt, context);
            }
        } else if before == Op::Unknown {
            self.expect_operation(attempt, context);
        }
    }

    /// From here on the own entry's notification is awaited; when its grace time is over, a GET.
    pub(crate) fn start_grace(&self, attempt: &mut Attempt, context: &mut Turn<'_>) {
        let nothing_to_wait_for =
            matches!(attempt.http, Http::Ambiguous { .. }) && attempt.op != Op::Completed;
        let grace = if nothing_to_wait_for {
            Duration::ZERO
        } else {
            self.config.roster_grace
        };
        let at = context.now + grace;
        attempt.grace_until = attempt.not_before.map_or(at, |from| at.max(from));
        context.timers.set(Timer::Roster, attempt.grace_until);
    }

    /// An operation that shows itself only after its POST's answer was lost is polled, too.
    pub(crate) fn expect_operation(&self, attempt: &Attempt, context: &mut Turn<'_>) {
        if matches!(attempt.http, Http::Ambiguous { .. }) && attempt.op == Op::Running {
            let at = context.now + self.config.operation_grace;
            self.arm(Timer::Operation, at, context);
        }
    }

    /// A roster notification came while the attempt was under way.
    pub(crate) fn noticed(
        &mut self,
        attempt: &mut Attempt,
        merged: &Merged,
        context: &mut Turn<'_>,
    ) {
        if merged.unnumbered {
            // Nothing tells whether this is from before the POST. When it is news, a GET does.
            if merged.own_muted.is_some() && merged.own_muted != attempt.own_muted {
                self.look(context);
            }
            return;
        }
        if attempt.not_before.is_none()
            && Merge::is_fresh(merged, attempt.mark)
            && let Some(muted) = merged.own_muted
        {
            attempt.own_entry(muted, Evidence::Roster);
            if attempt.http == Http::Backoff && attempt.shows() {
                // Perhaps nothing needs to be sent any more.
                self.look(context);
            }
            self.look_again(attempt, context);
        }
    }

    /// A GET ended that may have shown the own entry.
    pub(crate) fn was_read(
        &mut self,
        attempt: &mut Attempt,
        query: QueryId,
        merged: &Merged,
        context: &mut Turn<'_>,
    ) {
        let muted = merged.own_muted;
        let begun = self.take_asked(query);
        if query < attempt.first_query {
            return;
        }
        if let Some(from) = attempt.not_before {
            if begun < from || !attempt.is_out() {
                // The older opposite POST may have acted since.
                self.look_again(attempt, context);
                return;
            }
            if let Some(muted) = muted.filter(|_| merged.own_told == muted) {
                attempt.not_before = None;
                attempt.rebound = muted != attempt.action.wants_muted();
            }
        }
        if let Some(muted) = muted {
            if attempt.contested && merged.own_number.is_some() {
                // What this GET shows is newer than what the older POST did, and so is what gets
                // a higher number from here on.
                attempt.contested = false;
                attempt.mark = self.merge.mark();
            }
            attempt.own_entry(muted, Evidence::Poll);
        }
        let counts = muted.is_some() || !merged.doubtful;
        if attempt.is_out() && counts && begun >= attempt.grace_until {
            attempt.reads = attempt.reads.saturating_add(1);
            if muted.is_some() && !attempt.shows() {
                attempt.disagreed = attempt.disagreed.saturating_add(1);
                if let Http::Ambiguous { settled } = attempt.http {
                    // One that knows less than a notification did shows nothing.
                    attempt.unchanged |= begun >= settled && merged.own_told == muted;
                }
            }
        }
        self.look_again(attempt, context);
    }

    /// Asks for the own entry, or for the whole roster while its id is not known.
    pub(crate) fn look(&mut self, context: &mut Turn<'_>) {
        if let Some(participant) = self.me.clone() {
            let query = self.query(context.now);
            context
                .effects
                .push(Effect::ReadSelf { query, participant });
        } else {
            self.read_roster(context);
        }
    }

    /// Asks for the own entry again: 0.5, 1, 2, 2, ... seconds after the last answer, and at the
    /// moment when an ambiguous POST has settled.
    fn look_again(&self, attempt: &Attempt, context: &mut Turn<'_>) {
        if !attempt.is_out() || attempt.agrees() {
            return;
        }
        let step = attempt.reads.saturating_sub(1).min(2);
        let mut at = context.now + Duration::from_millis(500 << step);
        if let Http::Ambiguous { settled } = attempt.http
            && settled > context.now
        {
            at = at.min(settled);
        }
        if let Some(from) = attempt.not_before {
            at = at.max(from);
        }
        self.arm(Timer::Roster, at, context);
    }

    pub(crate) fn poll(&mut self, attempt: &Attempt, context: &mut Turn<'_>) {
        if let Some(operation) = attempt.op_id.clone() {
            let query = self.query(context.now);
            context
                .effects
                .push(Effect::ReadOperation { query, operation });
        }
    }

    pub(crate) fn after_poll(&self, attempt: &mut Attempt, context: &mut Turn<'_>) {
        if attempt.is_final() || attempt.op == Op::Lost {
            context.timers.clear(Timer::Operation);
            return;
        }
        let step = attempt.op_polls.min(3);
        attempt.op_polls = attempt.op_polls.saturating_add(1);
        context.timers.set(
            Timer::Operation,
            context.now + Duration::from_millis(500 << step),
        );
    }
}
