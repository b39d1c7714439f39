//! Verdicts against what truly happened: I-6, I-7.

use openmic_model::{Action, Evidence, RosterSeen};

use super::verdicts::Decision;
use super::{Judged, Limits, demand};
use crate::call::{Call, Order};
use crate::history::{End, What};

/// `Confirmed` means that the own entry was as asked at some moment since the attempt began, and
/// is so still unless somebody else changed it.
pub(crate) fn i6_confirmed_is_true(call: &Call, decision: &Decision<'_>) -> Judged {
    let End::Confirmed { evidence, roster } = decision.end else {
        return Ok(());
    };
    let Some(truth) = call.truth else {
        return Ok(());
    };
    let action = decision.command.action;
    if roster == RosterSeen::Unseen {
        // All there is is Graph's word for it.
        let word = since(call, decision).any(|post| post.completed || post.took);
        return demand(word, "I-6", || {
            format!(
                "{} is confirmed, and no POST for it took effect",
                decision.id
            )
        });
    }
    let asked = action.wants_muted();
    if lied(call, action) {
        // Together with late news of the roster that is proof enough for anybody.
        return Ok(());
    }
    // At its deadline a command takes a notification's word, which may be about what somebody else
    // did before.
    let hearsay = evidence == Evidence::Roster && call.now >= decision.command.deadline();
    if hearsay && call.host_acted {
        return Ok(());
    }
    let from = decision
        .command
        .joined
        .unwrap_or(decision.command.accepted)
        .min(decision.command.accepted);
    let was = truth.muted == asked
        || truth.ceased[usize::from(asked)].is_some_and(|ceased| ceased >= from);
    demand(was, "I-6", || {
        format!(
            "{} is confirmed, and the bot never was as asked",
            decision.id
        )
    })?;
    let undone = truth.muted != asked && truth.by.is_some();
    demand(!undone || call.overtaken(decision.command), "I-6", || {
        format!(
            "{} is confirmed, and by now undone by {:?}",
            decision.id, truth.by
        )
    })
}

/// How long late news of what somebody else did may be believed, in microseconds.
const NEWS: u64 = 90_000_000;

/// `Already` means that it was so, unless somebody else changed it unseen, or Graph said that it
/// did what it did not.
pub(crate) fn i6_already_is_true(call: &Call, decision: &Decision<'_>) -> Judged {
    let (End::Already, Some(truth)) = (decision.end, call.truth) else {
        return Ok(());
    };
    let action = decision.command.action;
    let asked = action.wants_muted();
    let was = truth.muted == asked
        || call.overtaken(decision.command)
            && truth.ceased[usize::from(asked)]
                .is_some_and(|ceased| ceased >= decision.command.accepted);
    // News of what somebody else did may come last, and stand until the roster's next audit.
    let late = call.host_at.is_some_and(|at| call.now - at < NEWS);
    let unseen = truth.by.is_none() || late || lied(call, action);
    demand(was || unseen, "I-6", || {
        format!(
            "{} is already so, and it is not, by {:?}",
            decision.id, truth.by
        )
    })
}

/// Whether Graph says of the latest POST of `action` that it took effect, and it did not.
fn lied(call: &Call, action: Action) -> bool {
    let latest = posts_of(call, action, 0).next();
    latest.is_some_and(|post| post.lie)
}

/// No POST from before a success undoes it.
pub(crate) fn i6_nothing_undoes_it(call: &Call, what: &What) -> Judged {
    let What::Took {
        by: Some(by),
        muted,
    } = what
    else {
        return Ok(());
    };
    let Some(success) = call.success else {
        return Ok(());
    };
    let sent_before = call
        .post(by.0, by.1)
        .is_none_or(|post| post.sent < success.decided);
    let undoes = *muted != success.action.wants_muted()
        && call.truth.is_some_and(|truth| truth.muted != *muted);
    demand(!(undoes && sent_before), "I-6", || {
        format!(
            "an older POST, {}.{}, undoes a successful {}",
            by.0, by.1, success.action
        )
    })
}

/// `Expired` means that no POST for it reached Graph, and that there was hope to the last.
pub(crate) fn i7_expired_was_never_sent(call: &Call, decision: &Decision<'_>) -> Judged {
    if decision.end != End::Expired {
        return Ok(());
    }
    let command = decision.command;
    let held = call.throttled_until.filter(|_| !command.crashed);
    let hopeless = held.filter(|until| *until > command.deadline());
    demand(hopeless.is_none(), "I-7", || {
        format!(
            "{} waited for its end, though Graph asked for a pause beyond it",
            decision.id
        )
    })?;
    let accepted = decision.command.accepted;
    let reached = posts_of(call, decision.command.action, accepted)
        .find(|post| post.reached && !post.answer.is_some_and(crate::Answer::is_without_effect));
    demand(reached.is_none(), "I-7", || {
        format!("{} expired, and a POST for it reached Graph", decision.id)
    })
}

/// `Refused` means that Graph refused it, or its operation failed, or that it asked for a pause for
/// which the command has no time; or that the call turned out to be one to one, and nothing was
/// sent.
pub(crate) fn i7_refused_was_refused(call: &Call, decision: &Decision<'_>) -> Judged {
    let End::Refused { status } = decision.end else {
        return Ok(());
    };
    if status == 400 && since(call, decision).next().is_none() {
        return Ok(());
    }
    if call.posts.is_empty() && !call.journal {
        // Seen from outside: nothing tells what Graph said.
        return Ok(());
    }
    let from = decision.command.joined.unwrap_or(decision.command.accepted);
    let said = call.refused.is_some_and(|at| at >= from);
    // A pause that an earlier command was asked to make binds this one.
    let paused = matches!(status, 429 | 503)
        && if call.journal {
            let due = decision.command.deadline();
            let pause = call.throttled_until;
            pause.is_some_and(|until| decision.command.crashed || until >= due)
        } else {
            call.refused.is_some()
        };
    demand(said || paused, "I-7", || {
        format!("{} is refused, and Graph did not", decision.id)
    })
}

/// Some time after an unmute's time to speak was over the bot is muted, unless somebody else
/// unmuted it.
pub(crate) fn w1_muted_when_its_time_is_over(call: &Call, limits: &Limits) -> Judged {
    let (Some(calm), Some(truth), Some(ends)) = (call.calm, call.truth, call.window) else {
        return Ok(());
    };
    let due = ends.max(calm).max(call.up_since);
    let over = due.saturating_add(limits.converge) < call.now;
    let hot = !truth.muted && truth.by.is_some() && call.up && call.learned.is_none();
    demand(!(over && hot), "W-1", || {
        format!("the time to speak ended at {ends} us, and the bot is still heard")
    })
}

/// The POSTs that may have served the command of `decision`.
fn since<'a>(
    call: &'a Call,
    decision: &Decision<'_>,
) -> impl Iterator<Item = &'a crate::call::Post> {
    let command = decision.command;
    let from = command.joined.unwrap_or(command.accepted);
    posts_of(call, command.action, from.min(command.accepted))
}

fn posts_of(call: &Call, action: Action, from: Order) -> impl Iterator<Item = &crate::call::Post> {
    let of = move |post: &&crate::call::Post| post.action == action && post.sent >= from;
    call.posts.iter().rev().filter(of)
}
