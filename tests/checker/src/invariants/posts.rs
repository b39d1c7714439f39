//! What is sent to Graph: I-4, I-5, I-8, I-9, I-23.

use super::{Judged, Limits, demand};
use crate::call::{Call, Command};
use crate::history::{End, What};

/// A POST is sent under a durable intent of its own, with a number never used before.
pub(crate) fn i4_intent_before_post(call: &Call, what: &What) -> Judged {
    let What::Sent { lead, number, .. } = what else {
        return Ok(());
    };
    let Some(command) = call.commands.get(lead) else {
        return demand(false, "I-4", || {
            format!("{lead}.{number} is sent for a command that was never accepted")
        });
    };
    demand(*number > command.sent, "I-4", || {
        format!("the client context {lead}.{number} is used again")
    })?;
    demand(!call.journal || *number <= command.intended, "I-4", || {
        format!("{lead}.{number} is sent before its intent is durable")
    })
}

/// What Graph saw was sent by us.
pub(crate) fn i4_graph_saw_an_intent(call: &Call, what: &What) -> Judged {
    let What::Reached { lead, number, .. } = what else {
        return Ok(());
    };
    let command = call.commands.get(lead);
    demand(command.is_some(), "I-4", || {
        format!("Graph got {lead}.{number}, of a command that was never accepted")
    })?;
    let intended = command.is_some_and(|command| *number <= command.intended);
    demand(!call.journal || intended, "I-4", || {
        format!("Graph got {lead}.{number}, and no durable intent of it")
    })
}

/// A second POST for one command is sent when the first certainly had no effect, or when a GET
/// begun after it shows that nothing came of it; and three in all.
pub(crate) fn i5_no_blind_repeat(call: &Call, limits: &Limits, what: &What) -> Judged {
    let What::Sent {
        lead,
        number,
        action,
    } = what
    else {
        return Ok(());
    };
    let reached = call.commands.get(lead).map_or(0, |one| one.reached);
    demand(reached < limits.attempts, "I-5", || {
        format!("{lead}.{number}: {reached} of its POSTs may have reached Graph already")
    })?;
    let Some(last) = call.posts.back() else {
        return Ok(());
    };
    // From outside a command was accepted at some time before that was acknowledged.
    let accepted = |one: &Command| match (call.journal, one.acknowledged) {
        (true, _) => one.accepted,
        (false, known) => known.unwrap_or(call.order),
    };
    let served = |sent| {
        let mut commands = call.commands.values();
        commands.any(|one| one.action == *action && accepted(one) < sent && one.end().is_none())
    };
    let again = last.action == *action && (last.lead == *lead || served(last.sent));
    let known = last.fruitless
        || last.failed
        || last
            .answer
            .is_some_and(super::super::history::Answer::is_without_effect);
    demand(!again || known, "I-5", || {
        format!(
            "{lead}.{number} repeats {}.{} blindly: its answer was {:?}",
            last.lead, last.number, last.answer
        )
    })
}

/// A POST serves a command that waits.
pub(crate) fn i8_somebody_waits(call: &Call, what: &What) -> Judged {
    let What::Sent {
        lead,
        number,
        action,
    } = what
    else {
        return Ok(());
    };
    let waits = call
        .commands
        .values()
        .any(|one| one.action == *action && one.end().is_none());
    // From outside a POST is seen where it arrives; what overtakes its command may be seen before.
    let end = call.commands.get(lead).and_then(Command::end);
    let on_its_way = !call.journal && matches!(end, Some(End::Superseded | End::CallEnded));
    demand(waits || on_its_way, "I-8", || {
        format!("{lead}.{number}: every {action} has its verdict already")
    })
}

/// One mute or unmute at a time.
pub(crate) fn i9_one_in_flight(call: &Call, what: &What) -> Judged {
    let What::Sent { lead, number, .. } = what else {
        return Ok(());
    };
    demand(call.in_flight.is_none(), "I-9", || {
        format!(
            "{lead}.{number} is sent while {:?} is under way",
            call.in_flight
        )
    })
}

/// Graph's `Retry-After` is kept.
pub(crate) fn i23_retry_after(call: &Call, what: &What) -> Judged {
    let What::Sent { lead, number, .. } = what else {
        return Ok(());
    };
    let until = call.throttled_until.unwrap_or(0);
    demand(call.now >= until, "I-23", || {
        let early = until - call.now;
        format!("{lead}.{number} is sent {early} us before Graph allows it")
    })
}
