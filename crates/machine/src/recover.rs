//! A call taken up after a crash: what its records leave open, and what Graph is asked before
//! anything is sent.

use std::time::Duration;

use openmic_model::seeded::{self, Bug};
use openmic_model::{
    Accepted, CallKind, CallState, Evidence, LastAttempt, Posted, Restored, Verdict, WallTime,
};
use statig::Outcome::{Handled, Transition};
use statig::blocking::Outcome;

use crate::attempt::{Attempt, Http, Op};
use crate::config::Config;
use crate::desk::{Intent, Open, Speak, overdue, too_many};
use crate::effect::QueryId;
use crate::merge::{Mark, Merged};
use crate::model::{Model, State, Turn};
use crate::time::{Time, Timer};

/// How long a command that was sent has for its verdict at least, though its time is over: long
/// enough to ask what became of it.
const LOOK: Duration = Duration::from_secs(5);
/// A call that could not be read is read again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// What a call is taken up from.
#[derive(Debug)]
pub(crate) struct Remains {
    restored: Restored,
    /// The wall clock at this moment.
    wall: WallTime,
}

impl Open {
    /// A command accepted so long ago as the wall clock says. A clock that jumped can take its
    /// time away and give it no more.
    fn restored(order: u32, accepted: &Accepted, ago: Duration, now: Time) -> Self {
        let left = accepted.within.saturating_sub(ago);
        Self {
            before: ago.min(accepted.within),
            speak: accepted.speak_for.map(|length| Speak {
                length,
                latest: now + (accepted.within + length).saturating_sub(ago),
            }),
            ..Self::new(
                order,
                accepted.command,
                accepted.action,
                accepted.origin,
                (now, now + left),
            )
        }
    }
}

impl Model {
    /// A call that is open, as its records say.
    pub(crate) fn restored(config: Config, restored: Restored, wall: WallTime) -> Self {
        let mut model = Self::new(config);
        model.kind = restored.kind;
        if restored.last.is_some() {
            // Nothing is sent in a 1:1 call: somebody was added since it was opened.
            model.kind = CallKind::Group;
        }
        model.exists = true;
        model.blind = true;
        model.taken_up = true;
        model.me.clone_from(&restored.me);
        if restored.commanded {
            // Only an established call takes commands, and to join muted is one.
            model.graph = Some(CallState::Established);
            model.aside.take(|rare| rare.join_mute.take());
        }
        model.aside.open().remains = Some(Box::new(Remains { restored, wall }));
        model
    }

    /// Takes up what is open, and asks what is so. Nothing is sent before that is answered.
    pub(crate) fn take_up(&mut self, remains: Remains, context: &mut Turn<'_>) {
        let Remains { restored, wall } = remains;
        for post in [&restored.last, &restored.opposite].into_iter().flatten() {
            self.doubt(post, context.now);
        }
        let mut window = restored.window;
        let mut open = Vec::with_capacity(restored.open.len());
        for (at, accepted) in &restored.open {
            if let Some(window) = window.take_if(|window| window.at <= *at) {
                self.restore_window(window, wall, context.now);
            }
            let ago = wall.since(*at);
            open.push(Open::restored(self.order(), accepted, ago, context.now));
        }
        if let Some(window) = window {
            self.restore_window(window, wall, context.now);
        }
        let last = restored.last.as_ref();
        let last = last.filter(|last| serves(last, &restored.open));
        self.take_up_commands(open, last, context);
        self.mute_if_lapsed(context);
        self.arm_keep_alive_soon(context);
        self.read_call(context);
        if self.kind == CallKind::Group {
            self.read_roster(context);
        }
        self.await_own_entry(context);
    }

    /// A POST that may have acted unseen, or that may act yet. How long ago it was only the wall
    /// clock knows, and that may have jumped.
    fn doubt(&mut self, post: &LastAttempt, now: Time) {
        let may_act = post.haunted || !post.is_over();
        if may_act {
            let until = now + self.config.post_limit;
            self.aside
                .open()
                .doubts
                .raise(None, post.action, until, now);
        }
        if may_act || (post.reached > 0 && !post.confirmed) {
            self.aside.open().doubts.unprove(post.action);
        }
    }

    /// The latest intent wins. What was sent for it is looked for; what never was is sent once it
    /// is known what is so, if there is time. `last` is what was sent for some of `open`.
    fn take_up_commands(
        &mut self,
        mut open: Vec<Open>,
        last: Option<&LastAttempt>,
        context: &mut Turn<'_>,
    ) {
        let Some(action) = open.last().map(|open| open.action) else {
            return;
        };
        let now = context.now;
        let last = last.filter(|last| last.action == action);
        let acted = last.is_some_and(|last| last.reached > 0);
        let mut overtaken = take(&mut open, |open| open.action != action);
        self.settle_all(&mut overtaken, &Verdict::Superseded, true, context);
        // What they may speak in is over, so nobody waits until it is known whether they do.
        let mut mute = take(&mut open, |open| {
            open.speak.is_some_and(|speak| speak.latest <= now)
        });
        let verdict = if acted {
            Verdict::Unconfirmed
        } else {
            Verdict::Expired
        };
        self.settle_all(&mut mute, &verdict, acted, context);
        if let Some(last) = last.filter(|_| !open.is_empty()) {
            let attempt = self.attempt_of(last, open, now);
            self.aside.open().resumed = Some(attempt);
            return;
        }
        let mut late = take(&mut open, |open| open.send_until <= now);
        self.settle_all(&mut late, &Verdict::Expired, false, context);
        if !open.is_empty() {
            let commands = open;
            self.aside.open().waiting = Some(Intent { action, commands });
        }
    }

    /// The attempt that was under way, as one whose POST came to nobody knows what.
    fn attempt_of(&self, last: &LastAttempt, mut commands: Vec<Open>, now: Time) -> Box<Attempt> {
        for open in &mut commands {
            open.deadline = open.deadline.max(now + LOOK);
        }
        let named = commands.iter().any(|open| open.id == last.lead);
        // A series whose first command has its verdict goes on under another name. Not all of
        // its POSTs were for those who came later.
        let (lead, number, reached) = if named {
            (last.lead, last.number, last.reached)
        } else {
            let most = self.config.max_attempts.saturating_sub(1);
            (commands[0].id, 0, last.reached.min(most))
        };
        let op_id = match &last.outcome {
            Some(Posted::Answered { operation } | Posted::Ended { operation }) => operation.clone(),
            _ => None,
        };
        let http = match last.outcome {
            Some(Posted::NoEffect) => Http::Backoff,
            _ if seeded::is(Bug::BlindRecovery) => Http::Backoff,
            _ => Http::Ambiguous {
                settled: now + self.config.settle_time,
            },
        };
        Box::new(Attempt {
            id: 0,
            action: last.action,
            commands,
            lead,
            number,
            reached,
            http,
            op: if op_id.is_some() {
                Op::Running
            } else {
                Op::Unknown
            },
            op_id,
            op_polls: 0,
            closed: false,
            mark: Mark::NEVER,
            first_query: self.next_query,
            not_before: self.aside.doubts.until(last.action.opposite(), now),
            contested: true,
            rebound: false,
            own_muted: None,
            own_by_read: false,
            last: Evidence::Http,
            grace_until: now,
            reads: 0,
            disagreed: 0,
            unchanged: false,
            fruitless: 0,
        })
    }

    /// What is so is known, or not to be had: the attempt that was under way goes on.
    pub(crate) fn resume(
        &mut self,
        mut attempt: Box<Attempt>,
        seen: Option<(QueryId, &Merged)>,
        context: &mut Turn<'_>,
    ) -> Outcome<State> {
        self.unpark(&mut attempt, context);
        if attempt.http == Http::Backoff {
            let at = context.now + self.config.settle_time;
            context.timers.set(Timer::Backoff, at);
        } else if attempt.op_id.is_some() {
            context.timers.set(Timer::Operation, context.now);
        }
        match seen {
            Some((query, merged)) => self.was_read(&mut attempt, query, merged, context),
            None => self.look(context),
        }
        match self.conclude(&mut attempt, context) {
            Handled => Transition(State::pursuing(attempt)),
            done => done,
        }
    }

    /// A command came before the call is known to be as it was.
    pub(crate) fn join_resumed(&mut self, open: Open, context: &mut Turn<'_>) {
        match &mut self.aside.open().resumed {
            Some(attempt) if attempt.action == open.action => {
                if attempt.commands.len() >= self.config.max_open {
                    open.refuse(too_many(), context);
                } else {
                    open.record(context);
                    attempt.commands.push(open);
                }
            }
            _ => {
                self.wait(open, context);
                self.settle_resumed(&Verdict::Superseded, context);
            }
        }
    }

    pub(crate) fn settle_resumed(&mut self, verdict: &Verdict, context: &mut Turn<'_>) {
        if let Some(mut attempt) = self.aside.take(|rare| rare.resumed.take()) {
            let acted = attempt.may_have_acted();
            self.settle_all(&mut attempt.commands, verdict, acted, context);
        }
    }

    pub(crate) fn expire_resumed(&mut self, context: &mut Turn<'_>) {
        let Some(rare) = self.aside.get_mut() else {
            return;
        };
        let Some(attempt) = &mut rare.resumed else {
            return;
        };
        let (verdict, acted) = (attempt.overdue(), attempt.may_have_acted());
        let mut late = overdue(&mut attempt.commands, context.now);
        if attempt.commands.is_empty() {
            rare.resumed = None;
        }
        self.settle_all(&mut late, &verdict, acted, context);
    }

    /// The call could not be read, and nobody knows whether it is up: it is asked for again, each
    /// time after twice as long, so that many such calls are no burden.
    pub(crate) fn call_unread(&mut self, context: &mut Turn<'_>) {
        if (self.blind || self.is_unsure()) && self.patience.is_none() {
            let pause = AGAIN * (1 << self.unread.min(5));
            self.unread = self.unread.saturating_add(1);
            context.timers.set(Timer::Patience, context.now + pause);
        }
    }
}

fn take(open: &mut Vec<Open>, which: impl Fn(&Open) -> bool) -> Vec<Open> {
    open.extract_if(.., |one| which(one)).collect()
}

/// Whether the latest series of POSTs was, or may have been, for some of what is open. That one who
/// waited for it was told `Confirmed` in time does not end it for the others.
fn serves(last: &LastAttempt, open: &[(WallTime, Accepted)]) -> bool {
    open.iter()
        .filter(|(_, one)| one.action == last.action)
        .any(|(at, one)| {
            // Whoever was there when the POST was sent was served by it.
            let certainly = one.command == last.lead || *at <= last.at;
            certainly || last.outcome != Some(Posted::NoEffect)
        })
}
