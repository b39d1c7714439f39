//! Merging what the outside states, whatever the state of the call, and asking it.

use std::sync::Arc;
use std::time::Duration;

use openmic_model::seeded::{self, Bug};
use openmic_model::{CallFacts, CallKind, CallState, Operation, Participant, Record, RosterUpdate};

use crate::effect::{Effect, QueryId};
use crate::event::PostOutcome;
use crate::merge::{Mark, Merged, ReadMark};
use crate::model::{Model, Turn};
use crate::pursue::PAUSE;
use crate::time::{Time, Timer};

/// Notifications about operations whose POST has not been answered, kept until it is.
const PARKED: usize = 16;
/// GETs remembered; an older one is taken for begun at the origin of time.
const ASKED: usize = 16;
/// Two rosters without numbers within this time cannot be told apart.
const FULL_DOUBT: Duration = Duration::from_secs(1);
/// A roster that could not be read when it was needed is asked for again after this time.
const AGAIN: Duration = Duration::from_secs(5);
/// The shortest pause between keepAlives, whatever the config says.
const KEEP_ALIVE_FLOOR: Duration = Duration::from_secs(1);

/// One GET and the moment it began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    query: QueryId,
    begun: Time,
    mark: ReadMark,
}

impl Model {
    /// Takes in what is stated of the call. True when that told which entry is the bot's own.
    pub(crate) fn absorb(&mut self, facts: &CallFacts) -> bool {
        if let Some(state) = facts.state
            && self.graph.is_none_or(|held| state.rank() >= held.rank())
        {
            self.graph = Some(state);
        }
        let news = facts.my_participant.is_some() && facts.my_participant != self.me;
        if news {
            self.me.clone_from(&facts.my_participant);
            self.merge.own_packed = self.look_up_own();
        }
        news
    }

    /// Established, and not going down.
    pub(crate) fn is_up(&self) -> bool {
        self.graph
            .is_some_and(|state| state.rank() == CallState::Established.rank())
    }

    /// Taken up after a crash, the call may be long established, and Graph has not said so yet: its
    /// roster can be the first that answers.
    pub(crate) fn is_unsure(&self) -> bool {
        self.taken_up && self.graph.is_none()
    }

    pub(crate) fn is_terminated(&self) -> bool {
        self.graph == Some(CallState::Terminated)
    }

    /// What the roster says of the own entry.
    pub(crate) fn own_muted(&self) -> Option<bool> {
        if self.merge.is_open() {
            self.look_up_own()
        } else {
            self.merge.own_packed
        }
    }

    fn look_up_own(&self) -> Option<bool> {
        let me = self.me.as_ref()?;
        self.merge.is_muted(me)
    }

    /// Numbers a GET that begins now.
    pub(crate) fn query(&mut self, now: Time) -> QueryId {
        let query = self.next_query;
        self.next_query = self.next_query.wrapping_add(1);
        let mark = self.merge.read_mark();
        let asked = &mut self.aside.open().asked;
        if asked.len() == ASKED {
            asked.remove(0);
        }
        asked.push(Asked {
            query,
            begun: now,
            mark,
        });
        query
    }

    /// When the GET began, and where the numbers stood then. One that was forgotten began long
    /// ago for all we know.
    fn asked(&self, query: QueryId) -> Asked {
        let asked = self.aside.asked.iter().find(|asked| asked.query == query);
        asked.copied().unwrap_or_default()
    }

    /// When the GET began, and forgets it: an answer counts once.
    pub(crate) fn take_asked(&mut self, query: QueryId) -> Time {
        let begun = self.asked(query).begun;
        self.forget_asked(query);
        begun
    }

    /// The GET was answered, and what that meant was seen to.
    pub(crate) fn forget_asked(&mut self, query: QueryId) {
        if let Some(rare) = self.aside.get_mut() {
            rare.asked.retain(|asked| asked.query != query);
            rare.resync.take_if(|resync| *resync == query);
        }
    }

    /// What counted until a moment that has passed.
    pub(crate) fn forget_past(&mut self, now: Time) {
        if let Some(rare) = self.aside.get_mut() {
            rare.not_until.take_if(|until| *until <= now);
            rare.held.take_if(|held| held.is_over(now));
            let long_ago = |at: &mut Time| now.since(*at) >= FULL_DOUBT;
            rare.last_unnumbered.take_if(long_ago);
        }
    }

    pub(crate) fn read_call(&mut self, context: &mut Turn<'_>) {
        let query = self.query(context.now);
        context.effects.push(Effect::ReadCall { query });
    }

    pub(crate) fn read_roster(&mut self, context: &mut Turn<'_>) -> QueryId {
        let query = self.query(context.now);
        context.effects.push(Effect::ReadRoster { query });
        query
    }

    /// Asks for the roster; and for the call, while nobody told which entry is the bot's own.
    pub(crate) fn read_all(&mut self, context: &mut Turn<'_>) -> QueryId {
        if self.me.is_none() && self.patience.is_some() {
            self.read_call(context);
        }
        self.read_roster(context)
    }

    pub(crate) fn roster_notice(
        &mut self,
        update: &RosterUpdate,
        context: &mut Turn<'_>,
    ) -> Merged {
        let before = self.own_muted();
        let mut merged = self.merge.notice(update, self.me.as_ref());
        let flips = before.is_some() && merged.own_muted.is_some() && merged.own_muted != before;
        if flips && (merged.unnumbered || self.reads_unnumbered) {
            // Nothing tells whether this is older than the last GET.
            self.aside.open().hearsay = Some(self.next_query);
            merged.doubtful = true;
        }
        if merged.unnumbered {
            let last = &mut self.aside.open().last_unnumbered;
            let doubtful = |at| context.now.since(at) < FULL_DOUBT;
            merged.doubtful |= last.replace(context.now).is_some_and(doubtful);
        }
        self.merged(&merged, context);
        merged
    }

    pub(crate) fn roster_read(
        &mut self,
        query: QueryId,
        entries: &[Participant],
        context: &mut Turn<'_>,
    ) -> Merged {
        let mark = self.asked(query).mark;
        let merged = self.merge.read(entries, mark, self.me.as_ref());
        if let Some(own) = entries.iter().find(|own| Some(&own.id) == self.me.as_ref()) {
            self.heard(query, own, &merged);
        }
        self.merged(&merged, context);
        merged
    }

    pub(crate) fn self_read(
        &mut self,
        query: QueryId,
        entry: &Participant,
        context: &mut Turn<'_>,
    ) -> Merged {
        let mark = self.asked(query).mark;
        let merged = self.merge.read_one(entry, mark);
        self.heard(query, entry, &merged);
        self.merged(&merged, context);
        merged
    }

    /// A GET showed the own entry. One begun after the hearsay settles it.
    fn heard(&mut self, query: QueryId, own: &Participant, merged: &Merged) {
        self.reads_unnumbered = own.roster_sequence_number.is_none();
        let settles = merged.own_muted.is_some() && !merged.doubtful;
        self.blind &= !settles;
        let begun = self.asked(query).begun;
        if settles && let Some(rare) = self.aside.get_mut() {
            rare.hearsay.take_if(|from| query >= *from);
            rare.doubts.saw(begun);
        }
    }

    fn merged(&mut self, merged: &Merged, context: &mut Turn<'_>) {
        if self.kind == CallKind::PeerToPeer && !self.merge.roster().is_empty() {
            // Somebody was added: it is a group call from here on.
            self.kind = CallKind::Group;
        }
        if merged.doubtful {
            let at = context.now + self.config.gap_patience;
            context.timers.hasten(Timer::Gap, at);
            // Only a hole in the numbers can fill by itself.
            self.audit |= self.merge.is_whole();
        } else if self.merge.is_whole() && merged.delta_number.is_some() && !self.audit {
            context.timers.clear(Timer::Gap);
        }
        if merged.changes.is_empty() {
            return;
        }
        self.version.seq += 1;
        if merged.doubtful && seeded::is(Bug::SeqReset) {
            self.version.seq = 1;
        }
        context.effects.push(Effect::Publish {
            version: self.version,
            roster: Arc::clone(self.merge.roster()),
            changes: merged.changes.clone().into(),
        });
    }

    /// A POST may have acted, or may yet, and nobody gathers evidence any more: look later what
    /// came of it, so that a lost notification does not leave the roster wrong.
    pub(crate) fn look_later(&mut self, context: &mut Turn<'_>) {
        self.audit = true;
        let at = context.now + self.config.gap_patience;
        context.timers.hasten(Timer::Gap, at);
    }

    /// The roster is in doubt and did not mend by itself: ask.
    pub(crate) fn resync(&mut self, context: &mut Turn<'_>) {
        context.effects.push(Effect::Resync);
        let query = self.read_all(context);
        self.aside.open().resync = Some(query);
        self.audit = false;
        if let Some(until) = self.aside.doubts.last(context.now) {
            self.audit = true;
            context.timers.set(Timer::Gap, until);
        }
    }

    /// A GET of the roster brought nothing; the one that was needed is made again.
    pub(crate) fn roster_unread(&mut self, query: QueryId, context: &mut Turn<'_>) {
        if self.aside.resync == Some(query) {
            self.audit = true;
            context.timers.hasten(Timer::Gap, context.now + AGAIN);
        }
    }

    pub(crate) fn park(&mut self, operation: &Operation) {
        let parked = &mut self.aside.open().parked;
        if parked.len() == PARKED && !seeded::is(Bug::UnboundedPark) {
            parked.remove(0);
        }
        parked.push(operation.clone());
    }

    /// The outstanding POST has its outcome; what may have acted, or still may, leaves a doubt.
    /// `closed` when its operation is known to have ended. True when it may have acted.
    pub(crate) fn outcome_known(
        &mut self,
        outcome: &PostOutcome,
        closed: bool,
        context: &mut Turn<'_>,
    ) -> bool {
        let Some(post) = self.aside.take(|rare| rare.outstanding.take()) else {
            return false;
        };
        context.effects.push(Effect::Record(Record::Outcome {
            lead: post.lead,
            number: post.number,
            outcome: outcome.posted(),
        }));
        if let PostOutcome::Throttled { after, refusal } = outcome {
            // Also when nobody waits for the POST any more: the next one is under it, too.
            let at = context.now + PAUSE.max(after.unwrap_or_default());
            let not_until = &mut self.aside.open().not_until;
            *not_until = (*not_until).max(Some(at));
            if let Some(after) = after {
                self.hold(context.now + *after, refusal);
            }
        }
        let (acted, may_act_later) = match outcome {
            PostOutcome::Ambiguous => (true, true),
            PostOutcome::Answered(operation) => (
                operation.status != openmic_model::OperationStatus::Failed,
                !operation.status.is_final(),
            ),
            PostOutcome::Refused(_)
            | PostOutcome::Gone
            | PostOutcome::Throttled { .. }
            | PostOutcome::NotSent => (false, false),
        };
        if acted && !post.proven {
            self.aside.open().doubts.unprove(post.action);
        }
        if may_act_later && !closed && !post.proven {
            let until = post.sent + self.config.post_limit;
            self.aside
                .open()
                .doubts
                .raise(Some(post.attempt), post.action, until, context.now);
        }
        acted && !post.proven
    }

    /// What is above it states the own entry as it was after this moment.
    pub(crate) fn mark(&self) -> Mark {
        if self.blind {
            Mark::NEVER
        } else {
            self.merge.mark()
        }
    }

    pub(crate) fn arm_keep_alive(&mut self, context: &mut Turn<'_>) {
        let pause = self.keep_alive_pause();
        context.timers.set(Timer::KeepAlive, context.now + pause);
    }

    /// Nobody knows when the last one was, nor how long this process lasts.
    pub(crate) fn arm_keep_alive_soon(&mut self, context: &mut Turn<'_>) {
        let pause = self.keep_alive_pause() / 10;
        context.timers.set(Timer::KeepAlive, context.now + pause);
    }

    /// splitmix64.
    pub(crate) fn random(&mut self) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.jitter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn keep_alive_pause(&mut self) -> Duration {
        // A tenth either way, so that calls joined together drift apart.
        let thousandths = u32::try_from((self.random() >> 32) % 201).unwrap_or(0) + 900;
        let whole = self.config.keep_alive.max(KEEP_ALIVE_FLOOR);
        whole.saturating_mul(thousandths) / 1000
    }

    /// Somebody began to watch the roster, or nobody does any more.
    pub(crate) fn watch(&mut self, watched: bool, context: &mut Turn<'_>) {
        if watched == self.watched {
            return;
        }
        self.watched = watched;
        if watched {
            let at = context.now + self.config.roster_audit;
            context.timers.set(Timer::Audit, at);
        } else {
            context.timers.clear(Timer::Audit);
        }
    }

    /// A notification that nothing followed may be lost without a trace.
    pub(crate) fn audit_roster(&mut self, context: &mut Turn<'_>) {
        if self.patience.is_some() && self.kind == CallKind::Group {
            let query = self.read_all(context);
            self.aside.open().resync = Some(query);
        }
        self.ask_who_we_are(context);
        let at = context.now + self.config.roster_audit;
        context.timers.set(Timer::Audit, at);
    }

    /// Reads the call when nothing that came told which entry is the bot's own.
    fn ask_who_we_are(&mut self, context: &mut Turn<'_>) {
        if self.me.is_none() && self.is_up() {
            self.read_call(context);
        }
    }

    pub(crate) fn keep_alive(&mut self, context: &mut Turn<'_>) {
        context.effects.push(Effect::KeepAlive);
        self.ask_who_we_are(context);
        if self.patience.is_some() {
            // The audit that finds what lost notifications hid.
            self.read_all(context);
        }
        self.arm_keep_alive(context);
    }
}
