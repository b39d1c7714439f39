//! What handles are told of a call.

use std::borrow::Cow;

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
    pub(crate) fn tell(&mut self, now: &Standing<'_>) -> bool {
        let Standing {
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
            && is_same(self.me.as_ref(), *me)
            && self.version == *version
            && self.own_entry_seen == *own_entry_seen
            && self.waits_for() == &**waits_for
            && self.ending() == *ending;
        if same {
            return false;
        }
        self.phase = *phase;
        self.graph = *graph;
        self.kind = *kind;
        self.me = me.cloned();
        self.version = *version;
        self.own_entry_seen = *own_entry_seen;
        self.rest = (!waits_for.is_empty() || ending.is_some()).then(|| {
            Box::new(Rest {
                waits_for: waits_for.to_vec(),
                ending: ending.cloned(),
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

/// A [`Status`] that is looked at where it is.
#[derive(Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) phase: Phase,
    pub(crate) graph: Option<CallState>,
    pub(crate) kind: CallKind,
    pub(crate) me: Option<&'a ParticipantId>,
    pub(crate) version: Version,
    pub(crate) own_entry_seen: bool,
    pub(crate) waits_for: Cow<'a, [&'static str]>,
    pub(crate) ending: Option<&'a Ending>,
}

impl Standing<'_> {
    pub(crate) fn status(self) -> Status {
        Status {
            phase: self.phase,
            graph: self.graph,
            kind: self.kind,
            me: self.me.cloned(),
            version: self.version,
            own_entry_seen: self.own_entry_seen,
            waits_for: self.waits_for.into_owned(),
            ending: self.ending.cloned(),
        }
    }
}

impl<'a> From<&'a Status> for Standing<'a> {
    fn from(status: &'a Status) -> Self {
        Self {
            phase: status.phase,
            graph: status.graph,
            kind: status.kind,
            me: status.me.as_ref(),
            version: status.version,
            own_entry_seen: status.own_entry_seen,
            waits_for: Cow::Borrowed(&status.waits_for),
            ending: status.ending.as_ref(),
        }
    }
}

/// Mostly it is one text, and that need not be read.
fn is_same(told: Option<&ParticipantId>, now: Option<&ParticipantId>) -> bool {
    match (told, now) {
        (Some(told), Some(now)) => std::ptr::eq(told.as_str(), now.as_str()) || told == now,
        (told, now) => told.is_none() && now.is_none(),
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
        assert!(!told.tell(&Standing::from(&status)));
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
            assert!(told.tell(&Standing::from(&status)));
            assert_eq!(told.status(), status);
            assert!(!told.tell(&Standing::from(&status)));
        }
    }
}
