//! One attempt under way: post, gather evidence, ask for what is overdue, conclude.

use std::time::Duration;

use openmic_model::{Action, Evidence, Operation, Verdict};
use statig::Outcome::{Handled, Super, Transition};
use statig::blocking::Outcome;

use crate::attempt::{Attempt, Http, Judgement, OPERATION_POLLS, Op};
use crate::desk::{Intent, overdue, settle_all};
use crate::effect::Effect;
use crate::event::{Event, PostOutcome, Read};
use crate::merge::{Merge, Merged};
use crate::model::{Model, Outstanding, State, Turn, base, refuse, too_many};
use crate::time::{Time, Timer};

/// How to answer a statement of the own entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stated {
    Notice,
    Read,
}

impl Model {
    /// Posts for `intent` and returns the state that waits for it.
    pub(crate) fn launch(&mut self, intent: Intent, context: &mut Turn<'_>) -> State {
        let lead = intent.commands[0].id;
        let not_before = self
            .doubt
            .filter(|doubt| doubt.action != intent.action && doubt.until > context.now)
            .map(|doubt| doubt.until);
        self.doubt = None;
        let mut attempt = Box::new(Attempt {
            id: 0,
            action: intent.action,
            commands: intent.commands,
            lead,
            number: 0,
            reached: 0,
            context: lead.context(0),
            sent: context.now,
            http: Http::Pending,
            op: Op::Unknown,
            op_id: None,
            op_polls: 0,
            mark: self.merge.mark(),
            first_query: self.next_query,
            not_before,
            own_muted: None,
            last: Evidence::Http,
            reads: 0,
            disagreed: 0,
            fruitless: 0,
        });
        self.post(&mut attempt, context);
        match attempt.action {
            Action::Mute => State::Muting { attempt },
            Action::Unmute => State::Unmuting { attempt },
        }
    }

    fn post(&mut self, attempt: &mut Attempt, context: &mut Turn<'_>) {
        attempt.id = self.next_attempt;
        self.next_attempt += 1;
        attempt.number = attempt.number.saturating_add(1);
        attempt.reached = attempt.reached.saturating_add(1);
        attempt.context = attempt.lead.context(attempt.number);
        attempt.sent = context.now;
        attempt.http = Http::Pending;
        attempt.op = Op::Unknown;
        attempt.op_id = None;
        attempt.op_polls = 0;
        attempt.mark = self.merge.mark();
        attempt.first_query = self.next_query;
        attempt.own_muted = None;
        attempt.reads = 0;
        attempt.disagreed = 0;
        context.timers.clear(Timer::Operation);
        context.timers.clear(Timer::Roster);
        self.outstanding = Some(Outstanding {
            attempt: attempt.id,
            action: attempt.action,
            sent: context.now,
        });
        context.effects.push(Effect::Post {
            attempt: attempt.id,
            action: attempt.action,
            context: attempt.context.clone(),
            command: attempt.lead,
        });
    }

    pub(crate) fn pursue(
        &mut self,
        attempt: &mut Box<Attempt>,
        context: &mut Turn<'_>,
        event: &Event,
    ) -> Outcome<State> {
        match event {
            Event::Command { id, action, within } => {
                let open = self.accept(*id, *action, *within, context.now);
                if *action != attempt.action {
                    let superseded = Verdict::Superseded;
                    let commands = &mut attempt.commands;
                    settle_all(commands, &superseded, context.now, context.effects);
                    self.wait(open, context);
                } else if attempt.commands.len() >= self.config.max_open {
                    refuse(open, &too_many(), context);
                } else {
                    // An opposite one that was never sent is overtaken in its turn.
                    self.settle_waiting(&Verdict::Superseded, context);
                    attempt.commands.push(open);
                }
                self.conclude(attempt, context)
            }
            Event::Posted {
                attempt: id,
                outcome,
            } if *id == attempt.id => self.posted(attempt, outcome, context),
            Event::OperationNotice(operation) => {
                if attempt.owns(operation) {
                    self.absorb_operation(attempt, operation, Evidence::Operation, context);
                    return self.conclude(attempt, context);
                }
                if attempt.http == Http::Pending {
                    self.park(operation);
                    return Handled;
                }
                Super
            }
            Event::OperationRead { query, read } if *query >= attempt.first_query => {
                match read {
                    Read::Found(operation) => {
                        self.absorb_operation(attempt, operation, Evidence::Operation, context);
                    }
                    Read::Absent => attempt.op = Op::Lost,
                    Read::Failed => {}
                    Read::Gone => return Super,
                }
                self.after_poll(attempt, context);
                self.conclude(attempt, context)
            }
            Event::RosterNotice(update) => {
                let merged = self.roster_notice(update, context);
                if merged.unnumbered && attempt.http != Http::Pending {
                    // Without numbers nothing tells whether this is from before the POST.
                    self.look(context);
                } else if Merge::is_fresh(&merged, attempt.mark) {
                    self.stated(attempt, &merged, Stated::Notice, context.now);
                }
                self.conclude(attempt, context)
            }
            Event::SelfRead {
                query,
                read: Read::Found(entry),
            } => {
                let merged = self.self_read(entry, context);
                if *query >= attempt.first_query {
                    self.stated(attempt, &merged, Stated::Read, context.now);
                    self.after_read(attempt, context);
                }
                self.conclude(attempt, context)
            }
            Event::SelfRead {
                query,
                read: Read::Absent,
            } if *query >= attempt.first_query => {
                // The own entry alone cannot be read: the list may have it.
                self.read_roster(context);
                Handled
            }
            Event::RosterRead {
                query,
                read: Read::Found(entries),
            } => {
                let merged = self.roster_read(*query, entries, context);
                if *query >= attempt.first_query {
                    self.stated(attempt, &merged, Stated::Read, context.now);
                    self.after_read(attempt, context);
                }
                self.conclude(attempt, context)
            }
            Event::SelfRead {
                query,
                read: Read::Failed,
            }
            | Event::RosterRead {
                query,
                read: Read::Absent | Read::Failed,
            } if *query >= attempt.first_query => {
                attempt.reads = attempt.reads.saturating_add(1);
                self.after_read(attempt, context);
                self.conclude(attempt, context)
            }
            Event::Timer(Timer::Operation) => {
                match &attempt.op_id {
                    Some(operation) if attempt.op_polls < OPERATION_POLLS => {
                        let operation = operation.clone();
                        let query = self.query();
                        context
                            .effects
                            .push(Effect::ReadOperation { query, operation });
                    }
                    _ => attempt.op = Op::Lost,
                }
                self.conclude(attempt, context)
            }
            Event::Timer(Timer::Roster) => {
                if !attempt.agrees() {
                    self.look(context);
                }
                Handled
            }
            Event::Timer(Timer::Backoff) => {
                self.post(attempt, context);
                Handled
            }
            Event::Timer(Timer::LastLook) => {
                self.look(context);
                if let (Op::Running, Some(operation)) = (&attempt.op, &attempt.op_id) {
                    let operation = operation.clone();
                    let query = self.query();
                    context
                        .effects
                        .push(Effect::ReadOperation { query, operation });
                }
                Handled
            }
            Event::Timer(Timer::Command) => {
                self.expire_waiting(context);
                for open in overdue(&mut attempt.commands, context.now) {
                    open.settle(attempt.overdue(), context.now, context.effects);
                }
                self.conclude(attempt, context)
            }
            _ => Super,
        }
    }

    fn posted(
        &mut self,
        attempt: &mut Box<Attempt>,
        outcome: &PostOutcome,
        context: &mut Turn<'_>,
    ) -> Outcome<State> {
        match outcome {
            PostOutcome::Gone => return Super,
            PostOutcome::Answered(operation) => {
                attempt.http = Http::Answered;
                self.arm_roster(attempt, self.config.roster_grace, context);
                self.absorb_operation(attempt, operation, Evidence::Http, context);
                self.unpark(attempt, context);
                if attempt.op != Op::Completed {
                    let grace = self.config.operation_grace;
                    context.timers.set(Timer::Operation, context.now + grace);
                }
            }
            PostOutcome::Ambiguous => {
                attempt.http = Http::Ambiguous(context.now);
                self.unpark(attempt, context);
                self.arm_roster(attempt, Duration::ZERO, context);
            }
            PostOutcome::Refused(refusal) => {
                attempt.reached = attempt.reached.saturating_sub(1);
                let refusal = refusal.clone();
                self.outcome_known(outcome, context.now);
                let verdict = Verdict::Refused {
                    status: refusal.status,
                    code: refusal.code,
                    message: refusal.message,
                };
                settle_all(
                    &mut attempt.commands,
                    &verdict,
                    context.now,
                    context.effects,
                );
                return self.leave(attempt, context);
            }
            PostOutcome::Throttled { .. } | PostOutcome::NotSent => {
                attempt.http = Http::Backoff;
                attempt.reached = attempt.reached.saturating_sub(1);
                let doubling = Duration::from_millis(250 << attempt.fruitless.min(4));
                attempt.fruitless = attempt.fruitless.saturating_add(1);
                let pause = match outcome {
                    PostOutcome::Throttled { after: Some(after) } => *after,
                    _ => doubling,
                };
                context.timers.set(Timer::Backoff, context.now + pause);
            }
        }
        self.outcome_known(outcome, context.now);
        self.conclude(attempt, context)
    }

    /// Takes in what came for the operation before its POST was answered.
    fn unpark(&mut self, attempt: &mut Attempt, context: &mut Turn<'_>) {
        for operation in std::mem::take(&mut self.parked) {
            if attempt.owns(&operation) {
                self.absorb_operation(attempt, &operation, Evidence::Operation, context);
            }
        }
    }

    /// Takes in the operation. Once it took effect, the own entry has its grace time from here.
    fn absorb_operation(
        &self,
        attempt: &mut Attempt,
        operation: &Operation,
        evidence: Evidence,
        context: &mut Turn<'_>,
    ) {
        let before = attempt.op == Op::Completed;
        attempt.absorb(operation, evidence);
        if attempt.op == Op::Completed && !before {
            context.timers.clear(Timer::Operation);
            attempt.reads = 0;
            attempt.disagreed = 0;
            if attempt.http != Http::Pending {
                self.arm_roster(attempt, self.config.roster_grace, context);
            }
        }
    }

    /// Acts on the evidence so far.
    fn conclude(&mut self, attempt: &mut Box<Attempt>, context: &mut Turn<'_>) -> Outcome<State> {
        if attempt.commands.is_empty() {
            // Overtaken or out of time: only the HTTP outcome is still of interest.
            if attempt.http == Http::Pending && self.waiting.is_some() {
                return Handled;
            }
            return self.leave(attempt, context);
        }
        let settle_by = match attempt.http {
            Http::Ambiguous(since) => since + self.config.settle_time,
            _ => context.now,
        };
        match attempt.judge(context.now, settle_by, self.config.max_attempts) {
            Judgement::Wait => Handled,
            Judgement::Again => {
                self.post(attempt, context);
                Handled
            }
            Judgement::Settle(verdict) => {
                settle_all(
                    &mut attempt.commands,
                    &verdict,
                    context.now,
                    context.effects,
                );
                self.leave(attempt, context)
            }
        }
    }

    /// Nobody waits for the attempt any more: go where the roster says, or on to what waits.
    fn leave(&mut self, attempt: &Attempt, context: &mut Turn<'_>) -> Outcome<State> {
        for timer in [
            Timer::Operation,
            Timer::Roster,
            Timer::Backoff,
            Timer::LastLook,
        ] {
            context.timers.clear(timer);
        }
        let unseen = attempt.op == Op::Completed && attempt.own_muted.is_none();
        let muted = if unseen {
            attempt.action.wants_muted()
        } else {
            self.own_muted().unwrap_or(!attempt.action.wants_muted())
        };
        let is = if muted { Action::Mute } else { Action::Unmute };
        if self.outstanding.is_none()
            && let Some(intent) = self.waiting.take()
        {
            return Transition(self.launch_or_settle(intent, is, attempt, context));
        }
        Transition(base(muted))
    }

    /// An overtaken attempt may have acted, so an intent against it is always posted.
    fn launch_or_settle(
        &mut self,
        intent: Intent,
        is: Action,
        attempt: &Attempt,
        context: &mut Turn<'_>,
    ) -> State {
        let overtaken = attempt.may_have_acted() && intent.action != attempt.action;
        if intent.action != is || overtaken {
            return self.launch(intent, context);
        }
        let mut commands = intent.commands;
        settle_all(
            &mut commands,
            &Verdict::Already,
            context.now,
            context.effects,
        );
        base(is.wants_muted())
    }

    fn stated(&self, attempt: &mut Attempt, merged: &Merged, stated: Stated, now: Time) {
        let Some(muted) = merged.own_muted else {
            if stated == Stated::Read {
                attempt.reads = attempt.reads.saturating_add(1);
            }
            return;
        };
        if !attempt.counts(now) {
            return;
        }
        let evidence = match stated {
            Stated::Notice => Evidence::Roster,
            Stated::Read => Evidence::Poll,
        };
        attempt.own_entry(muted, evidence);
        if stated == Stated::Read && attempt.http != Http::Pending {
            attempt.reads = attempt.reads.saturating_add(1);
            if !attempt.agrees() {
                attempt.disagreed = attempt.disagreed.saturating_add(1);
            }
        }
    }

    /// Asks for the own entry, or for the whole roster while its id is not known.
    fn look(&mut self, context: &mut Turn<'_>) {
        match self.me.clone() {
            Some(participant) => {
                let query = self.query();
                context
                    .effects
                    .push(Effect::ReadSelf { query, participant });
            }
            None => self.read_roster(context),
        }
    }

    fn arm_roster(&self, attempt: &Attempt, grace: Duration, context: &mut Turn<'_>) {
        let at = context.now + grace;
        context.timers.set(
            Timer::Roster,
            attempt.not_before.map_or(at, |from| at.max(from)),
        );
    }

    /// Asks again later: 0.5, 1, 2, 2, ... seconds.
    fn after_read(&self, attempt: &Attempt, context: &mut Turn<'_>) {
        if attempt.agrees() || matches!(attempt.http, Http::Pending | Http::Backoff) {
            return;
        }
        let step = attempt.reads.saturating_sub(1).min(2);
        self.arm_roster(attempt, Duration::from_millis(500 << step), context);
    }

    fn after_poll(&self, attempt: &mut Attempt, context: &mut Turn<'_>) {
        if matches!(attempt.op, Op::Completed | Op::Failed(_) | Op::Lost) {
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
