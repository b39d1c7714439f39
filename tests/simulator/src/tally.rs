//! What is counted in a life.

use openmic_model::{Action, CommandId, Verdict};
use serde::{Deserialize, Serialize};

/// The verdicts, in the order in which they are counted.
pub(crate) const WORDS: [&str; 7] = [
    "confirmed",
    "already",
    "refused",
    "unconfirmed",
    "expired",
    "superseded",
    "call_ended",
];

/// Counters of one life, or of many.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) unmutes: u64,
    pub(crate) mutes: u64,
    pub(crate) verdicts: [u64; WORDS.len()],
    /// Said no to at once, never accepted.
    pub(crate) declined: u64,
    pub(crate) posts: u64,
    pub(crate) published: u64,
    pub(crate) crashes: u64,
    pub(crate) events: u64,
    /// Commands of this life that wait for their word.
    #[serde(skip)]
    words: Vec<CommandId>,
}

impl Tally {
    pub(crate) fn accepted(&mut self, action: Action) {
        match action {
            Action::Mute => self.mutes += 1,
            Action::Unmute => self.unmutes += 1,
        }
    }

    pub(crate) fn verdict(&mut self, verdict: &Verdict) {
        let word = verdict.as_str();
        if let Some(at) = WORDS.iter().position(|known| *known == word) {
            self.verdicts[at] += 1;
        }
    }

    /// Another life begins.
    pub(crate) fn begin(&mut self) {
        self.words.clear();
    }

    /// The bot wants to be told once this command is accepted.
    pub(crate) fn promise(&mut self, command: CommandId) {
        self.words.push(command);
    }

    pub(crate) fn wants_word(&mut self, command: CommandId) -> bool {
        let at = self.words.iter().position(|one| *one == command);
        at.map(|at| self.words.swap_remove(at)).is_some()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.unmutes += other.unmutes;
        self.mutes += other.mutes;
        for (sum, more) in self.verdicts.iter_mut().zip(other.verdicts) {
            *sum += more;
        }
        self.declined += other.declined;
        self.posts += other.posts;
        self.published += other.published;
        self.crashes += other.crashes;
        self.events += other.events;
    }
}
