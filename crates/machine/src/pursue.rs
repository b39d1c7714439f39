//! One attempt under way: post, take what comes, ask for what is overdue, conclude.

use std::time::Duration;

use openmic_model::seeded::{self, Bug};
use openmic_model::{Action, Evidence, Record, RosterSeen, Verdict};
use statig::Outcome::{Handled, Super, Transition};
use statig::blocking::Outcome;

use crate::attempt::{Attempt, Http, Judgement, OPERATION_POLLS, Op};
use crate::desk::{Intent, overdue, too_many};
use crate::effect::Effect;
use crate::event::{Event, PostOutcome, Read};
use crate::merge::Merged;
use crate::model::{Model, Outstanding, State, Turn, base};
use crate::time::{Time, Timer};

/// The shortest pause before a POST is repeated that had no effect, whatever Graph says.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

impl Model {
    /// Posts for `intent`, where that is needed and in time; the state of it. Else nobody waits
    /// for it any more.
    pub(crate) fn start(
        &mut self,
        mut intent: Intent,
        is: Action,
        context: &mut Turn<'_>,
    ) -> Option<State> {
        if !self.needs_post(intent.action, is, context.now) {
            self.settle_all(&mut intent.commands, &Verdict::Already, false, context);
            return None;
        }
        self.refuse_held(&mut intent.commands, context);
        (!intent.commands.is_empty()).then(|| self.launch(intent, context))
    }

    /// Posts for `intent`, or waits until Graph lets it, and returns the state of it.
    fn launch(&mut self, intent: Intent, context: &mut Turn<'_>) -> State {
        let lead = intent.commands[0].id;
        let against = intent.action.opposite();
        let mut attempt = Box::new(Attempt {
            id: 0,
            action: intent.action,
            commands: intent.commands,
            lead,
            number: 0,
            reached: 0,
            http: Http::Backoff,
            op: Op::Unknown,
            op_id: None,
            op_polls: 0,
            closed: false,
            mark: self.mark(),
            first_query: self.next_query,
            not_before: self.aside.doubts.until(against, context.now),
            contested: self.aside.doubts.is_unproven(against)
                || self.reads_unnumbered
                || self.blind,
            rebound: false,
            own_muted: None,
            own_by_read: false,
            last: Evidence::Http,
            grace_until: context.now,
            reads: 0,
            disagreed: 0,
            unchanged: false,
            fruitless: 0,
        });
        match self.aside.not_until.filter(|at| *at > context.now) {
            Some(at) => context.timers.set(Timer::Backoff, at),
            None => self.post(&mut attempt, context),
        }
        State::pursuing(attempt)
    }

    fn post(&mut self, attempt: &mut Attempt, context: &mut Turn<'_>) {
        attempt.id = self.next_attempt;
        self.next_attempt = self.next_attempt.wrapping_add(1);
        if attempt.number == 0 || !seeded::is(Bug::ReuseContext) {
            attempt.number += 1;
        }
        attempt.reached = attempt.reached.saturating_add(1);
        attempt.http = Http::Pending;
        attempt.op = Op::Unknown;
        attempt.op_id = None;
        attempt.op_polls = 0;
        attempt.closed = false;
        attempt.mark = self.mark();
        attempt.first_query = self.next_query;
        attempt.rebound = false;
        attempt.own_muted = None;
        attempt.own_by_read = false;
        attempt.reads = 0;
        attempt.disagreed = 0;
        attempt.unchanged = false;
        context.timers.clear(Timer::Operation);
        context.timers.clear(Timer::Roster);
        self.aside.open().outstanding = Some(Outstanding {
            attempt: attempt.id,
            lead: attempt.lead,
            number: attempt.number,
            action: attempt.action,
            sent: context.now,
            proven: false,
        });
        context.effects.push(Effect::Record(Record::Attempt {
            lead: attempt.lead,
            number: attempt.number,
            action: attempt.action,
        }));
        context.effects.push(Effect::Post {
            attempt: attempt.id,
            action: attempt.action,
            context: attempt.lead.context(attempt.number),
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
            Event::Command {
                id,
                action,
                within,
                speak_for,
            } => {
                let open = self.take(*id, *action, *within, *speak_for, context.now);
                if *action != attempt.action {
                    // First what overtakes, so that no crash can come between that loses it.
                    self.wait(open, context);
                    let acted = attempt.may_have_acted();
                    self.settle_all(&mut attempt.commands, &Verdict::Superseded, acted, context);
                } else if attempt.commands.len() >= self.config.max_open {
                    open.refuse(too_many(), context);
                } else {
                    open.record(context);
                    // An opposite one that was never sent is overtaken in its turn.
                    self.settle_waiting(&Verdict::Superseded, context);
                    attempt.commands.push(open);
                    if seeded::is(Bug::EqualOpensSecond) {
                        self.post(attempt, context);
                    }
                }
                self.conclude(attempt, context)
            }
            Event::Posted {
                attempt: id,
                outcome,
            } if *id == attempt.id && attempt.http == Http::Pending => {
                self.posted(attempt, outcome, context)
            }
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
                    Read::Absent => attempt.lose_operation(),
                    Read::Failed => {}
                    Read::Gone => return Super,
                }
                self.forget_asked(*query);
                self.after_poll(attempt, context);
                self.conclude(attempt, context)
            }
            Event::RosterNotice(update) => {
                let merged = self.roster_notice(update, context);
                self.noticed(attempt, &merged, context);
                self.conclude(attempt, context)
            }
            Event::SelfRead {
                query,
                read: Read::Found(entry),
            } => {
                let merged = self.self_read(*query, entry, context);
                self.was_read(attempt, *query, &merged, context);
                self.conclude(attempt, context)
            }
            Event::SelfRead {
                query,
                read: Read::Absent,
            } if *query >= attempt.first_query => {
                // The own entry alone cannot be read: the list may have it.
                self.forget_asked(*query);
                self.read_roster(context);
                Handled
            }
            Event::RosterRead {
                query,
                read: Read::Found(entries),
            } => {
                let merged = self.roster_read(*query, entries, context);
                self.was_read(attempt, *query, &merged, context);
                self.conclude(attempt, context)
            }
            Event::SelfRead {
                query,
                read: Read::Failed,
            }
            | Event::RosterRead {
                query,
                read: Read::Absent | Read::Failed,
            } => {
                self.roster_unread(*query, context);
                self.was_read(attempt, *query, &Merged::default(), context);
                self.conclude(attempt, context)
            }
            Event::Timer(Timer::Operation) => {
                self.poll_or_lose(attempt, context);
                self.conclude(attempt, context)
            }
            Event::Timer(Timer::Roster) => {
                if attempt.is_out() && !attempt.agrees() {
                    self.look(context);
                }
                Handled
            }
            Event::Timer(Timer::Backoff) => {
                // Each POST has a number of its own, and there are no more.
                if attempt.http == Http::Backoff
                    && attempt.number < u8::MAX
                    && attempt.may_post(context.now)
                {
                    self.post(attempt, context);
                }
                Handled
            }
            Event::Timer(Timer::LastLook) => {
                if attempt.number > 0 || attempt.may_have_acted() {
                    self.look(context);
                }
                if attempt.op == Op::Running {
                    self.poll(attempt, context);
                }
                Handled
            }
            Event::Timer(Timer::Command) => {
                self.expire_waiting(context);
                for open in overdue(&mut attempt.commands, context.now) {
                    let verdict = attempt.overdue();
                    self.concluded(attempt, &verdict);
                    self.settle(open, verdict, attempt.may_have_acted(), context);
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
                self.start_grace(attempt, context);
                self.absorb_operation(attempt, operation, Evidence::Http, context);
                self.unpark(attempt, context);
                if !attempt.is_final() {
                    let grace = self.config.operation_grace;
                    context.timers.set(Timer::Operation, context.now + grace);
                }
            }
            PostOutcome::Ambiguous => {
                attempt.http = Http::Ambiguous {
                    settled: context.now + self.config.settle_time,
                };
                self.unpark(attempt, context);
                self.start_grace(attempt, context);
                self.expect_operation(attempt, context);
            }
            PostOutcome::Refused(refusal) => {
                attempt.http = Http::Backoff;
                attempt.reached = attempt.reached.saturating_sub(1);
                self.outcome_known(outcome, attempt.closed, context);
                let verdict = refusal.clone().into_verdict();
                let acted = attempt.may_have_acted();
                self.settle_all(&mut attempt.commands, &verdict, acted, context);
                return self.leave(attempt, context);
            }
            PostOutcome::Throttled { .. } | PostOutcome::NotSent => {
                attempt.http = Http::Backoff;
                attempt.reached = attempt.reached.saturating_sub(1);
                let doubling = PAUSE * (1 << attempt.fruitless.min(4));
                attempt.fruitless = attempt.fruitless.saturating_add(1);
                let pause = match outcome {
                    _ if seeded::is(Bug::IgnoreRetryAfter) => PAUSE,
                    PostOutcome::Throttled {
                        after: Some(after), ..
                    } => PAUSE.max(*after),
                    _ => doubling,
                };
                let at = context.now + pause;
                context.timers.set(Timer::Backoff, at);
                if let PostOutcome::Throttled { .. } = outcome {
                    self.aside.open().not_until = Some(at);
                }
            }
        }
        self.outcome_known(outcome, attempt.closed, context);
        self.conclude(attempt, context)
    }

    /// Acts on the evidence so far.
    pub(crate) fn conclude(
        &mut self,
        attempt: &mut Box<Attempt>,
        context: &mut Turn<'_>,
    ) -> Outcome<State> {
        if attempt.commands.is_empty() {
            // Overtaken or out of time: only the HTTP outcome is still of interest.
            if attempt.http == Http::Pending && self.aside.waiting.is_some() {
                return Handled;
            }
            return self.leave(attempt, context);
        }
        match attempt.judge(self.config.max_attempts, context.now) {
            Judgement::Wait => {
                if attempt.http == Http::Backoff && !attempt.may_have_acted() {
                    self.refuse_held(&mut attempt.commands, context);
                }
                if attempt.commands.is_empty() {
                    return self.leave(attempt, context);
                }
                Handled
            }
            Judgement::Again => {
                self.post(attempt, context);
                Handled
            }
            Judgement::Settle(verdict) => {
                self.concluded(attempt, &verdict);
                let acted = attempt.may_have_acted();
                self.settle_all(&mut attempt.commands, &verdict, acted, context);
                self.leave(attempt, context)
            }
        }
    }

    /// A fresh own entry that agrees also shows what came of all older POSTs, unless it may be of
    /// one of them.
    fn concluded(&mut self, attempt: &Attempt, verdict: &Verdict) {
        if let Verdict::Confirmed {
            roster: RosterSeen::Fresh,
            ..
        } = verdict
        {
            let Some(rare) = self.aside.get_mut() else {
                return;
            };
            if attempt.own_by_read || !attempt.contested {
                rare.doubts.prove();
            }
            if let Some(post) = &mut rare.outstanding {
                post.proven = attempt.closed && attempt.op == Op::Completed;
            }
        }
    }

    /// Nobody waits for the attempt any more: go on to what waits, or where the evidence says.
    fn leave(&mut self, attempt: &Attempt, context: &mut Turn<'_>) -> Outcome<State> {
        for timer in [
            Timer::Operation,
            Timer::Roster,
            Timer::Backoff,
            Timer::LastLook,
        ] {
            context.timers.clear(timer);
        }
        let asked = attempt.action.wants_muted();
        let muted = match (attempt.own_muted, &attempt.op) {
            (Some(muted), _) => muted,
            (None, Op::Completed) => asked,
            (None, _) => self.own_muted().unwrap_or(!asked),
        };
        if attempt.may_have_acted() && !attempt.agrees() {
            self.look_later(context);
        }
        let is = if muted { Action::Mute } else { Action::Unmute };
        if self.aside.outstanding.is_none()
            && let Some(intent) = self.aside.take(|rare| rare.waiting.take())
            && let Some(state) = self.start(intent, is, context)
        {
            return Transition(state);
        }
        Transition(base(muted))
    }

    /// Asks for the operation, or gives it up after enough polls.
    fn poll_or_lose(&mut self, attempt: &mut Attempt, context: &mut Turn<'_>) {
        if attempt.is_final() || !attempt.is_out() {
            return;
        }
        // Without an answer to go by, an operation that runs is followed to the deadline.
        let patient = matches!(attempt.http, Http::Ambiguous { .. });
        if attempt.op_id.is_some() && (patient || attempt.op_polls < OPERATION_POLLS) {
            self.poll(attempt, context);
            return;
        }
        attempt.lose_operation();
        if !attempt.agrees() && !context.timers.is_set(Timer::Roster) {
            self.look(context);
        }
    }

    pub(crate) fn arm(&self, timer: Timer, at: Time, context: &mut Turn<'_>) {
        if !context.timers.is_set(timer) {
            context.timers.set(timer, at);
        }
    }
}
