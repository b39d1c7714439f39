//! What handles are told of a call.

use openmic_machine::{Ending, Phase};
use openmic_model::{CallKind, CallState, KeptVersion, ParticipantId, Version};

use crate::call::Status;

/// A [`Status`] and the latest roster, in as little memory as may be: a million calls hold one, in
/// nearly all of which nothing happens.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// [`Status::phase`].
    pub(crate) phase: Phase,
    graph: Option<CallState>,
    kind: CallKind,
    own_entry_seen: bool,
    me: Option<ParticipantId>,
    version: Version,
    rest: Option<Box<Rest>>,
    /// None before the first.
    pub(crate) roster: Option<KeptVersion>,
}

/// What an established call has none of.
#[derive(Debug, Clone, Default)]
struct Rest {
    waits_for: Vec<&'static str>,
    ending: Option<Ending>,
}

impl Told {
    /// Of a call of which nothing is known.
    pub(crate) const fn new(kind: CallKind, epoch: u64) -> Self {
        Self {
            phase: Phase::Establishing,
            graph: None,
            kind,
            own_entry_seen: false,
            me: None,
            version: Version { epoch, seq: 0 },
            rest: None,
            roster: None,
        }
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            phase: self.phase,
            graph: self.graph,
            kind: self.kind,
            me: self.me.clone(),
            version: self.version,
            own_entry_seen: self.own_entry_seen,
            waits_for: self.waits_for().to_vec(),
            ending: self.ending().cloned(),
        }
    }

    /// [`Status::ending`].
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.rest.as_ref()?.ending.as_ref()
    }

    fn waits_for(&self) -> &[&'static str] {
        self.rest.as_ref().map_or(&[], |rest| &rest.waits_for)
    }

    /// Tells where the call stands now. True when that is news.
    pub(crate) fn tell(&mut self, now: &Status) -> bool {
        let Status {
            phase,
            graph,
            kind,
            me,
            version,
            own_entry_seen,
            waits_for,
            ending,
        } = now;
        let same = self.phase == *phase
            && self.graph == *graph
            && self.kind == *kind
            && self.me == *me
            && self.version == *version
            && self.own_entry_seen == *own_entry_seen
            && self.waits_for() == waits_for
            && self.ending() == ending.as_ref();
        if same {
            return false;
        }
        self.phase = *phase;
        self.graph = *graph;
        self.kind = *kind;
        self.me.clone_from(me);
        self.version = *version;
        self.own_entry_seen = *own_entry_seen;
        self.rest = (!waits_for.is_empty() || ending.is_some()).then(|| {
            Box::new(Rest {
                waits_for: waits_for.clone(),
                ending: ending.clone(),
            })
        });
        true
    }

    /// Another process had the call; this one is about to take it up.
    pub(crate) fn recover(&mut self, me: Option<ParticipantId>) {
        self.me = me;
        self.rest.get_or_insert_default().waits_for = vec!["recovery"];
    }

    /// The call goes down without its actor.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let waits_for = &mut self.rest.get_or_insert_default().waits_for;
        waits_for.clear();
        if phase == Phase::Terminating {
            waits_for.push("terminated");
        }
    }
}

#[cfg(test)]
mod tests {
    use openmic_machine::EndCause;

    use super::*;

    #[test]
    fn what_is_told_is_shown_and_is_news_once() {
        let mut told = Told::new(CallKind::Group, 7);
        let mut status = told.status();
        assert!(!told.tell(&status));
        let changes: [fn(&mut Status); 8] = [
            |status| status.waits_for = vec!["established"],
            |status| status.phase = Phase::Muted,
            |status| status.graph = Some(CallState::Established),
            |status| status.me = ParticipantId::parse("me").ok(),
            |status| status.version.seq = 1,
            |status| status.own_entry_seen = true,
            |status| status.waits_for.clear(),
            |status| {
                let cause = EndCause::HungUp;
                status.ending = Some(Ending {
                    cause,
                    result: None,
                });
            },
        ];
        for change in changes {
            change(&mut status);
            assert!(told.tell(&status));
            assert_eq!(told.status(), status);
            assert!(!told.tell(&status));
        }
    }
}
