//! One attempt and the evidence gathered for it.

use openmic_model::seeded::{self, Bug};
use openmic_model::{
    Action, CommandId, Evidence, Operation, OperationId, OperationStatus, ResultInfo, RosterSeen,
    Verdict,
};

use crate::desk::Open;
use crate::effect::QueryId;
use crate::event::{AttemptId, Refusal};
use crate::merge::Mark;
use crate::time::Time;

/// GETs of the own entry after the grace time before a verdict without it.
pub(crate) const ROSTER_READS: u8 = 3;
/// Polls of an operation whose notification is overdue: 0.5, 1, 2, 4 s apart.
pub(crate) const OPERATION_POLLS: u8 = 4;

/// What is known of the POST itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    /// Under way.
    Pending,
    /// Answered with an operation.
    Answered,
    /// Nobody knows whether it took effect. A GET begun at this moment or later that still shows
    /// the own entry unchanged allows another POST.
    Ambiguous {
        /// The moment.
        settled: Time,
    },
    /// It had no effect; the next one waits for its time.
    Backoff,
}

/// What is known of the operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// Nothing yet.
    Unknown,
    /// It exists and is not done.
    Running,
    /// It took effect.
    Completed,
    /// It did not.
    Failed(Option<ResultInfo>),
    /// Its end cannot be learned: no id, not found, or never done in all polls.
    Lost,
}

/// The unmute or mute under way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about the evidence, any of which may come without the others"
)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) action: Action,
    /// Who waits for it. Empty once overtaken.
    pub(crate) commands: Vec<Open>,
    /// Gave the client contexts their name.
    pub(crate) lead: CommandId,
    /// The current POST's number, from 1; 0 before the first.
    pub(crate) number: u8,
    /// POSTs that may have reached Graph.
    pub(crate) reached: u8,
    pub(crate) http: Http,
    pub(crate) op: Op,
    pub(crate) op_id: Option<OperationId>,
    pub(crate) op_polls: u8,
    /// The current POST's own operation has ended.
    pub(crate) closed: bool,
    /// Numbers seen when the POST was sent.
    pub(crate) mark: Mark,
    /// GETs numbered from here on began after the POST.
    pub(crate) first_query: QueryId,
    /// An older opposite POST may act until then: only a GET begun after it proves anything.
    pub(crate) not_before: Option<Time>,
    /// Something older may show in the roster late: what an opposite POST did, or anything when
    /// GETs tell no numbers. A number above the mark may be its, so without a
    /// completed operation only a GET proves anything.
    pub(crate) contested: bool,
    /// After the time of an older opposite POST the own entry was not as asked.
    pub(crate) rebound: bool,
    /// The latest fresh own entry.
    pub(crate) own_muted: Option<bool>,
    /// A GET showed it.
    pub(crate) own_by_read: bool,
    /// What came last.
    pub(crate) last: Evidence,
    /// From when on GETs of the own entry count towards giving up.
    pub(crate) grace_until: Time,
    /// Such GETs, and how many disagreed.
    pub(crate) reads: u8,
    pub(crate) disagreed: u8,
    /// A GET begun once an ambiguous POST had settled showed no change.
    pub(crate) unchanged: bool,
    /// Retries without effect so far, for the backoff.
    pub(crate) fruitless: u8,
}

/// A look at the mute or unmute under way.
#[derive(Debug, Clone, Copy)]
pub struct Pursued<'a>(pub(crate) &'a Attempt);

impl<'a> Pursued<'a> {
    /// The command that gave its client contexts their name.
    pub fn lead(&self) -> CommandId {
        self.0.lead
    }

    /// Graph's operation for it, once known.
    pub fn operation(&self) -> Option<&'a OperationId> {
        self.0.op_id.as_ref()
    }

    /// Every command that waits for its verdict by it.
    pub fn commands(&self) -> impl Iterator<Item = CommandId> + 'a {
        self.0.commands.iter().map(|open| open.id)
    }
}

/// What the evidence amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Not enough yet.
    Wait,
    /// A verdict for everybody who waits.
    Settle(Verdict),
    /// The POST had no effect, or was undone by an older one: send another.
    Again,
}

impl Attempt {
    /// Whether the latest fresh own entry is as asked.
    pub(crate) fn shows(&self) -> bool {
        self.own_muted == Some(self.action.wants_muted())
    }

    /// Whether that proves it. A notification is fresh by its number, and still may tell of a
    /// change from before the POST; with a completed operation that does no harm, without one
    /// only a GET tells.
    pub(crate) fn agrees(&self) -> bool {
        self.shows() && (self.own_by_read || self.op == Op::Completed)
    }

    /// Whether a POST of this attempt may have taken effect.
    pub(crate) const fn may_have_acted(&self) -> bool {
        self.reached > 0
    }

    /// Whether somebody still has time for another POST.
    pub(crate) fn may_post(&self, now: Time) -> bool {
        self.commands.iter().any(|open| open.send_until > now)
    }

    /// Whether the latest POST can have had an effect that could be looked for.
    pub(crate) const fn is_out(&self) -> bool {
        matches!(self.http, Http::Answered | Http::Ambiguous { .. })
    }

    /// Whether an operation is the latest POST's, by context first and id second. What an older
    /// POST of the attempt came to says nothing about what is so now.
    pub(crate) fn owns(&self, operation: &Operation) -> bool {
        let context = operation.client_context.as_ref();
        match context.and_then(CommandId::from_context) {
            Some(named) => named == (self.lead, self.number),
            None => operation.id.is_some() && operation.id == self.op_id,
        }
    }

    /// Takes in what `operation` says; what is final stays.
    pub(crate) fn absorb(&mut self, operation: &Operation, evidence: Evidence) {
        self.closed |= operation.status.is_final();
        if self.op_id.is_none() {
            self.op_id.clone_from(&operation.id);
        }
        if self.is_final() {
            return;
        }
        match operation.status {
            OperationStatus::Completed => self.op = Op::Completed,
            OperationStatus::Failed => self.op = Op::Failed(operation.result.clone()),
            OperationStatus::NotStarted | OperationStatus::Running => {
                if self.op == Op::Unknown {
                    self.op = Op::Running;
                }
                return;
            }
        }
        self.last = evidence;
    }

    /// Whether the operation's end is known.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self.op, Op::Completed | Op::Failed(_))
    }

    /// The operation cannot be found out; what is known of its end stays.
    pub(crate) fn lose_operation(&mut self) {
        if !self.is_final() {
            self.op = Op::Lost;
        }
    }

    /// Takes in a fresh statement of the own entry.
    pub(crate) fn own_entry(&mut self, muted: bool, evidence: Evidence) {
        let news = self.own_muted != Some(muted);
        let by_read = evidence == Evidence::Poll;
        if muted == self.action.wants_muted() && (news || (by_read && !self.own_by_read)) {
            self.last = evidence;
        }
        self.own_muted = Some(muted);
        self.own_by_read = by_read || (self.own_by_read && !news);
    }

    /// The decision table of the design, for the facts so far.
    pub(crate) fn judge(&self, max_attempts: u8, now: Time) -> Judgement {
        let confirmed = Judgement::Settle(Verdict::Confirmed {
            evidence: self.last,
            roster: RosterSeen::Fresh,
        });
        if let Op::Failed(result) = &self.op {
            let refusal = Refusal::from_result(result.as_ref());
            return Judgement::Settle(refusal.into_verdict());
        }
        if self.agrees() {
            return match (self.http, &self.op) {
                (_, Op::Completed)
                | (Http::Ambiguous { .. }, _)
                | (Http::Answered, Op::Lost | Op::Failed(_)) => confirmed,
                (Http::Backoff, _) if self.may_have_acted() => confirmed,
                // Somebody else brought it about.
                (Http::Backoff, _) => Judgement::Settle(Verdict::Already),
                (Http::Pending, _) | (Http::Answered, Op::Unknown | Op::Running) => Judgement::Wait,
            };
        }
        if !self.is_out() || self.not_before.is_some() {
            return Judgement::Wait;
        }
        let may_retry = self.reached < max_attempts && self.may_post(now);
        // A mute may go out once more while its forerunner runs; a second unmute may not.
        let clear = self.action == Action::Mute || self.op != Op::Running;
        if self.rebound && may_retry && clear {
            return Judgement::Again;
        }
        if self.op == Op::Completed && self.reads >= ROSTER_READS {
            let unseen = self.disagreed == 0 && self.own_muted.is_none();
            return Judgement::Settle(if unseen {
                self.unseen()
            } else {
                Verdict::Unconfirmed
            });
        }
        let ambiguous = matches!(self.http, Http::Ambiguous { .. });
        if seeded::is(Bug::BlindRepeat) && ambiguous && may_retry {
            return Judgement::Again;
        }
        if ambiguous && self.unchanged && matches!(self.op, Op::Unknown | Op::Lost) {
            return if may_retry {
                Judgement::Again
            } else {
                Judgement::Settle(Verdict::Unconfirmed)
            };
        }
        Judgement::Wait
    }

    /// The verdict when time is up.
    pub(crate) fn overdue(&self) -> Verdict {
        // No GET told more; a fresh notification is the best there is.
        if self.agrees() || (self.shows() && !self.contested) {
            if !self.may_have_acted() {
                return Verdict::Already;
            }
            return Verdict::Confirmed {
                evidence: self.last,
                roster: RosterSeen::Fresh,
            };
        }
        if !self.may_have_acted() {
            return Verdict::Expired;
        }
        let unseen = self.own_muted.is_none() && self.disagreed == 0 && self.not_before.is_none();
        if self.op == Op::Completed && unseen {
            return self.unseen();
        }
        Verdict::Unconfirmed
    }

    fn unseen(&self) -> Verdict {
        Verdict::Confirmed {
            evidence: self.last,
            roster: RosterSeen::Unseen,
        }
    }
}
