//! The process and the call's end: I-19, I-28, I-30.

use super::verdicts::Decision;
use super::{Judged, Limits, demand};
use crate::call::Call;
use crate::history::What;

/// What is bounded stays within its bound.
pub(crate) fn i19_bounded(limits: &Limits, what: &What) -> Judged {
    let What::Level { gauge, value } = what else {
        return Ok(());
    };
    let bound = limits.of(*gauge);
    demand(*value <= bound, "I-19", || {
        format!("{gauge:?} holds {value}, and {bound} is the bound")
    })
}

/// A process that comes back twice with nothing written in between finds the same.
pub(crate) fn i28_recovery_is_idempotent(call: &Call, what: &What) -> Judged {
    let What::Recovered {
        digest: Some(digest),
    } = what
    else {
        return Ok(());
    };
    let same = call.digest.is_none_or(|before| before == *digest);
    demand(same, "I-28", || {
        "recovered from the same records, and it is another call".to_owned()
    })
}

/// Nothing is sent for a call that is known to be over.
pub(crate) fn i30_nothing_after_the_end(call: &Call, what: &What) -> Judged {
    let What::Sent { lead, number, .. } = what else {
        return Ok(());
    };
    demand(call.learned.is_none(), "I-30", || {
        format!("{lead}.{number} is sent, and the call is over")
    })
}

/// When the call is known to be over its commands end.
pub(crate) fn i30_ended_at_once(call: &Call, limits: &Limits, decision: &Decision<'_>) -> Judged {
    let Some((order, at)) = call.learned else {
        return Ok(());
    };
    let due = at.max(call.up_since).saturating_add(limits.end);
    let waited = decision.command.accepted < order && call.now > due;
    demand(!waited, "I-30", || {
        let late = call.now - at;
        format!("{} ends {late} us after the call", decision.id)
    })
}
