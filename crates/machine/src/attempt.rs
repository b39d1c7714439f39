//! One attempt and the evidence gathered for it.

use openmic_model::{
    Action, ClientContext, CommandId, Evidence, Operation, OperationId, OperationStatus,
    ResultInfo, RosterSeen, Verdict,
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
    /// Nobody knows whether it took effect, since then.
    Ambiguous(Time),
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
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) action: Action,
    /// Who waits for it. Empty once overtaken.
    pub(crate) commands: Vec<Open>,
    /// Gave the client contexts their name.
    pub(crate) lead: CommandId,
    /// The current POST's number, from 1.
    pub(crate) number: u8,
    /// POSTs that may have reached Graph.
    pub(crate) reached: u8,
    pub(crate) context: ClientContext,
    pub(crate) sent: Time,
    pub(crate) http: Http,
    pub(crate) op: Op,
    pub(crate) op_id: Option<OperationId>,
    pub(crate) op_polls: u8,
    /// Numbers seen when the POST was sent.
    pub(crate) mark: Mark,
    /// GETs numbered from here on began after the POST.
    pub(crate) first_query: QueryId,
    /// Own entries stated before this moment prove nothing: an older opposite POST may still act.
    pub(crate) not_before: Option<Time>,
    /// The latest fresh own entry.
    pub(crate) own_muted: Option<bool>,
    /// What came last.
    pub(crate) last: Evidence,
    /// GETs of the own entry since its grace time that were answered, and how many disagreed.
    pub(crate) reads: u8,
    pub(crate) disagreed: u8,
    /// Retries without effect so far, for the backoff.
    pub(crate) fruitless: u8,
}

/// What the evidence amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Not enough yet.
    Wait,
    /// A verdict for everybody who waits.
    Settle(Verdict),
    /// The POST had no effect: send another.
    Again,
}

impl Attempt {
    /// Whether the latest fresh own entry is as asked.
    pub(crate) fn agrees(&self) -> bool {
        self.own_muted == Some(self.action.wants_muted())
    }

    /// Whether a POST of this attempt may have taken effect.
    pub(crate) fn may_have_acted(&self) -> bool {
        self.reached > 0
    }

    /// Whether an own entry stated now counts.
    pub(crate) fn counts(&self, now: Time) -> bool {
        self.not_before.is_none_or(|from| now >= from)
    }

    /// Whether an operation belongs to this attempt, by context first and id second.
    pub(crate) fn owns(&self, operation: &Operation) -> bool {
        if let Some(context) = &operation.client_context
            && let Some((lead, number)) = CommandId::from_context(context)
        {
            let ours = lead == self.lead && number <= self.number;
            // An older POST's failure says nothing about the newest one.
            return ours && (number == self.number || operation.status != OperationStatus::Failed);
        }
        operation.id.is_some() && operation.id == self.op_id
    }

    /// Takes in what `operation` says; what is final stays.
    pub(crate) fn absorb(&mut self, operation: &Operation, evidence: Evidence) {
        if let Some(id) = &operation.id
            && self.op_id.is_none()
        {
            self.op_id = Some(id.clone());
        }
        if matches!(self.op, Op::Completed | Op::Failed(_)) {
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

    /// Takes in a fresh statement of the own entry.
    pub(crate) fn own_entry(&mut self, muted: bool, evidence: Evidence) {
        if self.own_muted != Some(muted) && muted == self.action.wants_muted() {
            self.last = evidence;
        }
        self.own_muted = Some(muted);
    }

    /// The decision table of the design, for the facts so far.
    pub(crate) fn judge(&self, now: Time, settle_by: Time, max_attempts: u8) -> Judgement {
        let confirmed = Judgement::Settle(Verdict::Confirmed {
            evidence: self.last,
            roster: RosterSeen::Fresh,
        });
        if let Op::Failed(result) = &self.op {
            let Refusal {
                status,
                code,
                message,
            } = Refusal::from_result(result.as_ref());
            return Judgement::Settle(Verdict::Refused {
                status,
                code,
                message,
            });
        }
        if self.op == Op::Completed && self.agrees() {
            return confirmed;
        }
        if self.http == Http::Backoff && self.agrees() && !self.may_have_acted() {
            // Somebody else brought it about.
            return Judgement::Settle(Verdict::Already);
        }
        if matches!(self.http, Http::Pending | Http::Backoff) || !self.counts(now) {
            return Judgement::Wait;
        }
        if self.agrees() {
            return match (self.http, &self.op) {
                (Http::Answered, Op::Running | Op::Unknown) => Judgement::Wait,
                _ => confirmed,
            };
        }
        let disagrees = self.own_muted.is_some();
        // Somebody's older opposite POST acted after this one: ask again.
        if self.not_before.is_some()
            && disagrees
            && self.disagreed > 0
            && self.may_retry(max_attempts)
        {
            return Judgement::Again;
        }
        if self.op == Op::Completed && self.reads >= ROSTER_READS {
            return Judgement::Settle(if self.disagreed > 0 || disagrees {
                Verdict::Unconfirmed
            } else {
                self.unseen()
            });
        }
        if let Http::Ambiguous(_) = self.http
            && self.op != Op::Completed
            && disagrees
            && self.disagreed > 0
            && now >= settle_by
        {
            return if self.may_retry(max_attempts) {
                Judgement::Again
            } else {
                Judgement::Settle(Verdict::Unconfirmed)
            };
        }
        Judgement::Wait
    }

    /// The verdict when time is up.
    pub(crate) fn overdue(&self) -> Verdict {
        if self.agrees() {
            return Verdict::Confirmed {
                evidence: self.last,
                roster: RosterSeen::Fresh,
            };
        }
        if !self.may_have_acted() {
            return Verdict::Expired;
        }
        if self.op == Op::Completed && self.own_muted.is_none() && self.disagreed == 0 {
            return self.unseen();
        }
        Verdict::Unconfirmed
    }

    fn may_retry(&self, max_attempts: u8) -> bool {
        self.reached < max_attempts
    }

    fn unseen(&self) -> Verdict {
        Verdict::Confirmed {
            evidence: self.last,
            roster: RosterSeen::Unseen,
        }
    }
}
