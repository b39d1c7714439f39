//! Commands and their verdicts: I-1, I-2, I-3, I-31, I-34.

use openmic_model::CommandId;

use super::{Judged, Limits, demand};
use crate::call::{Call, Command};
use crate::history::{End, Note, What};

/// A verdict that nobody knew before.
pub(crate) struct Decision<'a> {
    pub(crate) id: CommandId,
    pub(crate) command: &'a Command,
    pub(crate) end: End,
}

impl<'a> Decision<'a> {
    pub(crate) fn of(call: &'a Call, what: &What) -> Option<Self> {
        let (id, end) = stated(what)?;
        let command = call.commands.get(&id)?;
        command.end().is_none().then_some(Self { id, command, end })
    }
}

/// The verdict that `what` states.
fn stated(what: &What) -> Option<(CommandId, End)> {
    match *what {
        What::Told { command, end } | What::Written(Note::Verdict { command, end }) => {
            Some((command, end))
        }
        _ => None,
    }
}

/// Nobody is told that a command is accepted before that is durable: a crash would lose it.
pub(crate) fn i1_acknowledged_is_durable(call: &Call, what: &What) -> Judged {
    let What::Acknowledged { command: id } = what else {
        return Ok(());
    };
    let known = call.commands.get(id);
    demand(known.is_some(), "I-1", || {
        format!("{id} is acknowledged, and was never accepted")
    })?;
    let durable = !call.journal || known.is_some_and(|command| command.durable);
    demand(durable, "I-1", || {
        format!("{id} is acknowledged before its record is durable")
    })
}

/// Whatever was acknowledged is found, after any number of crashes.
pub(crate) fn i1_never_forgotten(call: &Call, what: &What) -> Judged {
    let What::Forgotten { command: id } = what else {
        return Ok(());
    };
    let promised = call
        .commands
        .get(id)
        .is_some_and(|c| c.acknowledged.is_some());
    demand(!promised, "I-1", || {
        format!("{id} was acknowledged and is not known any more")
    })
}

/// Whoever tells of a command's end tells of the same one; and only of a command that there is.
pub(crate) fn i2_one_verdict(call: &Call, what: &What) -> Judged {
    let Some((id, end)) = stated(what) else {
        return Ok(());
    };
    let Some(command) = call.commands.get(&id) else {
        return demand(false, "I-2", || format!("{id} ends and was never accepted"));
    };
    let known = [command.told, command.kept, command.written];
    let other = known.into_iter().flatten().find(|known| !known.agrees(end));
    demand(other.is_none(), "I-2", || {
        format!("{id} ended as {other:?} and now as {end:?}")
    })
}

/// Nobody is told a verdict before it is durable: after a crash it could be another.
pub(crate) fn i2_durable_before_told(call: &Call, what: &What) -> Judged {
    let What::Told { command: id, .. } = what else {
        return Ok(());
    };
    let kept = call.commands.get(id).is_some_and(|c| c.kept.is_some());
    demand(!call.journal || kept, "I-2", || {
        format!("the verdict of {id} is told before it is durable")
    })
}

/// A verdict comes within the command's time, unless the process was away or the disk slow.
pub(crate) fn i3_in_time(call: &Call, limits: &Limits, decision: &Decision<'_>) -> Judged {
    let due = due(call, decision.command, limits);
    demand(call.now <= due, "I-3", || {
        let late = call.now - due;
        format!("the verdict of {} comes {late} us too late", decision.id)
    })
}

/// Once nothing breaks every command ends.
pub(crate) fn i3_nothing_stays_open(call: &Call, limits: &Limits) -> Judged {
    if call.calm.is_none() || !call.up || call.open == 0 {
        return Ok(());
    }
    let overdue = call
        .commands
        .iter()
        .find(|(_, command)| command.end().is_none() && due(call, command, limits) < call.now);
    demand(overdue.is_none(), "I-3", || {
        let id = overdue.map(|(id, _)| id.to_string()).unwrap_or_default();
        format!("{id} is still open")
    })
}

/// When the verdict of `command` is due at the latest.
fn due(call: &Call, command: &Command, limits: &Limits) -> u64 {
    let from = if command.crashed {
        command.accepted_at.max(call.up_since)
    } else {
        command.accepted_at
    };
    from.saturating_add(command.within)
        .saturating_add(limits.settle)
}

/// The wall clock may jump as it likes: a command that no crash interrupted has its whole time
/// before time is up for it.
pub(crate) fn i31_no_jump_shortens(call: &Call, decision: &Decision<'_>) -> Judged {
    let command = decision.command;
    let early = decision.end == End::Expired
        && !command.crashed
        && call.learned.is_none()
        && call.now < command.deadline();
    demand(!early, "I-31", || {
        let left = command.deadline() - call.now;
        format!("{} expired with {left} us left", decision.id)
    })
}

/// With the disk full a verdict is recorded all the same.
pub(crate) fn i34_recorded_though_full(call: &Call, what: &What) -> Judged {
    let What::Told { command: id, .. } = what else {
        return Ok(());
    };
    let kept = call.commands.get(id).is_some_and(|c| c.kept.is_some());
    demand(!call.disk_full || !call.journal || kept, "I-34", || {
        format!("the verdict of {id} is told and not recorded, with the disk full")
    })
}

/// Whatever was accepted before or while the disk was full has its verdict in the journal.
pub(crate) fn i34_all_recorded(call: &Call, limits: &Limits) -> Judged {
    if !call.was_full || !call.journal || call.calm.is_none() || !call.up {
        return Ok(());
    }
    let lost = call
        .commands
        .iter()
        .find(|(_, command)| command.kept.is_none() && due(call, command, limits) < call.now);
    demand(lost.is_none(), "I-34", || {
        let id = lost.map(|(id, _)| id.to_string()).unwrap_or_default();
        format!("the verdict of {id} is in no record, and the disk was full")
    })
}
