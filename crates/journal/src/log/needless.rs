//! Which rows of an open call nobody will ask for again.

use std::collections::{BTreeMap, BTreeSet};

use openmic_model::{CommandId, Posted, Record, Verdict, WallTime};

use crate::config::Keeping;

/// One settled command.
struct Settled {
    command: CommandId,
    at: WallTime,
}

/// The numbers of rows that may go without changing what the call is recovered from.
///
/// Commands settled longer ago than the retention, or more of them than are kept, with their
/// attempts. Never the command that was accepted last; nor, of each action, the one that leads the
/// latest series of POSTs, the one whose POST was the last that another followed before it was known
/// to have ended, and the one that was confirmed last. Of epochs and windows the last is enough.
pub(super) fn needless(
    rows: &[(u64, WallTime, Record)],
    now: WallTime,
    keeping: &Keeping,
) -> Vec<u64> {
    let mut settled = Vec::new();
    let mut stays = BTreeMap::new();
    let mut last = BTreeMap::new();
    // Of each action the latest POST, and whether it is known to have ended.
    let mut posts = BTreeMap::new();
    for (number, at, record) in rows {
        match record {
            Record::Accepted(is) => drop(stays.insert(("accepted", ""), is.command)),
            Record::Attempt {
                lead,
                number,
                action,
            } => {
                let action = action.as_str();
                stays.insert(("lead", action), *lead);
                if let Some((older, _, false)) = posts.insert(action, (*lead, *number, false)) {
                    stays.insert(("haunts", action), older);
                }
            }
            Record::Outcome {
                lead,
                number,
                outcome,
            } => {
                let mut posts = posts.values_mut();
                if let Some(post) = posts.find(|post| (post.0, post.1) == (*lead, *number)) {
                    post.2 = matches!(outcome, Posted::Ended { .. } | Posted::NoEffect);
                }
            }
            Record::Verdict {
                command,
                action,
                verdict,
            } => {
                settled.push(Settled {
                    command: *command,
                    at: *at,
                });
                if matches!(verdict, Verdict::Confirmed { .. }) {
                    stays.insert(("confirmed", action.as_str()), *command);
                }
            }
            Record::Epoch(_) => drop(last.insert("epoch", *number)),
            Record::Window { .. } => drop(last.insert("window", *number)),
            _ => {}
        }
    }
    let too_many = settled.len().saturating_sub(keeping.settled);
    let gone: BTreeSet<_> = settled
        .iter()
        .enumerate()
        .filter(|(at, is)| *at < too_many || now.since(is.at) > keeping.retention)
        .map(|(_, is)| is.command)
        .filter(|command| stays.values().all(|stays| stays != command))
        .collect();
    let goes = |(number, _, record): &&(u64, WallTime, Record)| match record {
        Record::Accepted(accepted) => gone.contains(&accepted.command),
        Record::Attempt { lead, .. } | Record::Outcome { lead, .. } => gone.contains(lead),
        Record::Verdict { command, .. } => gone.contains(command),
        Record::Epoch(_) => last["epoch"] != *number,
        Record::Window { .. } => last["window"] != *number,
        Record::Intent(_) | Record::Opened { .. } | Record::Leaving | Record::Closed { .. } => {
            false
        }
    };
    rows.iter()
        .filter(goes)
        .map(|(number, ..)| *number)
        .collect()
}
