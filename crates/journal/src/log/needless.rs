//! Which rows of an open call nobody will ask for again.

use std::collections::{BTreeMap, BTreeSet};

use openmic_model::{Action, CommandId, Posted, Record, Verdict, WallTime};

use crate::config::Keeping;

/// Whose a row is.
#[derive(Debug, Clone, Copy)]
enum Of {
    Command(CommandId),
    Epoch,
    Window,
}

/// Looks at the rows of a call, one after the other, and keeps what decides of each.
///
/// Rows may go without changing what the call is recovered from: commands settled longer ago than
/// the retention, or more of them than are kept, with their attempts. Never the command that was
/// accepted last; nor, of each action, the one that leads the latest series of POSTs, the one whose
/// POST was the last that another followed before it was known to have ended, and the one that was
/// confirmed last. Of epochs and windows the last is enough.
///
/// What comes behind the rows that were seen makes none of them needed that was not.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    rows: Vec<(u64, Of)>,
    /// In the order of their verdicts.
    settled: Vec<(CommandId, WallTime)>,
    accepted: Option<CommandId>,
    lead: BTreeMap<&'static str, CommandId>,
    haunts: BTreeMap<&'static str, CommandId>,
    confirmed: BTreeMap<&'static str, CommandId>,
    /// Of each action the latest POST, and whether it is known to have ended.
    posts: BTreeMap<&'static str, (CommandId, u8, bool)>,
    epoch: Option<u64>,
    window: Option<u64>,
}

/// What a [`Sieve`] found.
#[derive(Debug)]
pub(super) struct Sifted {
    /// The numbers of rows that may go. Each lot is what must go together, and may go once those
    /// before it have.
    pub(super) lots: Vec<Vec<u64>>,
    /// When the commands that stay were settled.
    pub(super) stays: Vec<WallTime>,
}

impl Sieve {
    pub(super) fn see(&mut self, number: u64, at: WallTime, record: &Record) {
        let of = match record {
            Record::Accepted(is) => {
                self.accepted = Some(is.command);
                Of::Command(is.command)
            }
            Record::Attempt {
                lead,
                number,
                action,
            } => {
                self.posted(*lead, *number, *action);
                Of::Command(*lead)
            }
            Record::Outcome {
                lead,
                number,
                outcome,
            } => {
                let mut posts = self.posts.values_mut();
                if let Some(post) = posts.find(|post| (post.0, post.1) == (*lead, *number)) {
                    post.2 = matches!(outcome, Posted::Ended { .. } | Posted::NoEffect);
                }
                Of::Command(*lead)
            }
            Record::Verdict {
                command,
                action,
                verdict,
            } => {
                self.settled.push((*command, at));
                if matches!(verdict, Verdict::Confirmed { .. }) {
                    self.confirmed.insert(action.as_str(), *command);
                }
                Of::Command(*command)
            }
            Record::Epoch(_) => {
                self.epoch = Some(number);
                Of::Epoch
            }
            Record::Window { .. } => {
                self.window = Some(number);
                Of::Window
            }
            Record::Intent(_) | Record::Opened { .. } | Record::Leaving | Record::Closed { .. } => {
                return;
            }
        };
        self.rows.push((number, of));
    }

    fn posted(&mut self, lead: CommandId, number: u8, action: Action) {
        let action = action.as_str();
        self.lead.insert(action, lead);
        if let Some((older, _, false)) = self.posts.insert(action, (lead, number, false)) {
            self.haunts.insert(action, older);
        }
    }

    pub(super) fn sift(&self, now: WallTime, keeping: &Keeping) -> Sifted {
        let named = [&self.lead, &self.haunts, &self.confirmed];
        let named = named.into_iter().flat_map(BTreeMap::values);
        let needed: BTreeSet<_> = named.chain(&self.accepted).copied().collect();
        let too_many = self.settled.len().saturating_sub(keeping.settled);
        let mut stays = Vec::new();
        let mut places = BTreeMap::new();
        for (place, (command, at)) in self.settled.iter().enumerate() {
            let goes = place < too_many || now.since(*at) > keeping.retention;
            if goes && !needed.contains(command) {
                places.insert(*command, places.len());
            } else {
                stays.push(*at);
            }
        }
        let mut lots = vec![Vec::new(); places.len()];
        for (number, of) in &self.rows {
            match of {
                Of::Command(command) => {
                    if let Some(place) = places.get(command) {
                        lots[*place].push(*number);
                    }
                }
                Of::Epoch if self.epoch != Some(*number) => lots.push(vec![*number]),
                Of::Window if self.window != Some(*number) => lots.push(vec![*number]),
                Of::Epoch | Of::Window => {}
            }
        }
        Sifted { lots, stays }
    }
}
