//! What subscribers see of the roster: I-10, I-11, I-12, I-14, I-15, I-16.

use super::{Judged, Limits, demand};
use crate::call::{Call, Watcher};
use crate::history::{Note, What};

fn watcher(call: &Call, subscriber: u32) -> Watcher {
    call.watchers.get(&subscriber).copied().unwrap_or_default()
}

/// A subscriber's versions rise, over cuts and crashes too.
pub(crate) fn i10_never_backwards(call: &Call, what: &What) -> Judged {
    let What::Frame {
        subscriber,
        version,
        whole,
        ..
    } = what
    else {
        return Ok(());
    };
    let held = watcher(call, *subscriber);
    // Who comes back may be given once more what they hold, as a snapshot.
    let again = *whole && held.version == Some(*version);
    let rises = held.version.is_none_or(|held| *version > held);
    demand(rises || again, "I-10", || {
        format!(
            "subscriber {subscriber} at {:?} is sent {version}",
            held.version
        )
    })
}

/// A delta follows the version before it.
pub(crate) fn i11_no_gap(call: &Call, what: &What) -> Judged {
    let What::Frame {
        subscriber,
        version,
        whole: false,
        ..
    } = what
    else {
        return Ok(());
    };
    let held = watcher(call, *subscriber).version;
    let next = held.is_some_and(|held| held.epoch == version.epoch && held.seq + 1 == version.seq);
    demand(next, "I-11", || {
        format!("subscriber {subscriber} at {held:?} is sent the delta to {version}")
    })
}

/// Whoever applies what they are sent holds the roster that the frame states.
pub(crate) fn i12_same_roster(_: &Call, what: &What) -> Judged {
    let What::Frame {
        subscriber,
        version,
        stated: Some(stated),
        holds: Some(holds),
        ..
    } = what
    else {
        return Ok(());
    };
    demand(stated == holds, "I-12", || {
        format!("subscriber {subscriber} holds another roster than the frame {version} states")
    })
}

/// Some time after the last change every subscriber holds the true roster.
pub(crate) fn i14_converged(call: &Call, limits: &Limits) -> Judged {
    let (Some(calm), Some(truth)) = (call.calm, call.roster) else {
        return Ok(());
    };
    let from = calm.max(call.changed_at).max(call.up_since);
    if !call.up || call.learned.is_some() {
        return Ok(());
    }
    let wrong = call.watchers.iter().find(|(_, watcher)| {
        let due = from.max(watcher.since).saturating_add(limits.converge);
        watcher.there && watcher.holds != Some(truth) && due < call.now
    });
    demand(wrong.is_none(), "I-14", || {
        let (who, held) = wrong
            .map(|(who, held)| (*who, held.version))
            .unwrap_or_default();
        format!("subscriber {who} at {held:?} does not hold the true roster")
    })
}

/// A participant that was removed is not shown again by a statement from before.
pub(crate) fn i15_the_gone_stay_gone(call: &Call, what: &What) -> Judged {
    let What::Shown {
        participant,
        number: Some(number),
        there: true,
    } = what
    else {
        return Ok(());
    };
    let mut graves = call.graves.iter();
    let buried = graves.find(|(buried, _)| buried == participant);
    let back = buried.filter(|(_, at)| number <= at);
    demand(back.is_none(), "I-15", || {
        format!("participant {participant} left and is shown again by number {number}")
    })
}

/// Along the journal of a call epochs rise.
pub(crate) fn i16_epochs_never_fall(call: &Call, what: &What) -> Judged {
    let What::Written(Note::Epoch(epoch)) = what else {
        return Ok(());
    };
    demand(*epoch > call.epoch, "I-16", || {
        format!("epoch {epoch} after {}", call.epoch)
    })
}

/// Nothing of an epoch is shown before that is durable, or after the next one is.
pub(crate) fn i16_frames_of_the_epoch(call: &Call, what: &What) -> Judged {
    let What::Frame { version, .. } = what else {
        return Ok(());
    };
    let known = !call.journal || version.epoch == call.kept_epoch;
    demand(known, "I-16", || {
        format!(
            "a frame of {version}, and the journal's epoch is {}",
            call.kept_epoch
        )
    })
}
