use crate::seeded::{self, Bug};
use crate::{
    Accepted, Action, CallId, CallIntent, CallKind, CommandId, EndCause, LastAttempt,
    ParticipantId, Posted, Record, Restored, Verdict, WallTime, Window,
};

/// Why a record cannot follow those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Contradiction {
    /// Something came before the intent.
    #[error("the first record of a call is its intent")]
    NoIntent,
    /// A call has one intent.
    #[error("a second intent")]
    SecondIntent,
    /// The call got a second id.
    #[error("the call was {was} and is opened as {is}")]
    OtherCall {
        /// Its id so far.
        was: CallId,
        /// The one it was opened with now.
        is: CallId,
    },
    /// Epochs rise.
    #[error("epoch {is} does not follow {was}")]
    EpochNotAbove {
        /// The epoch so far.
        was: u64,
        /// The one that was to follow.
        is: u64,
    },
    /// A command is accepted once.
    #[error("command {0} was accepted before")]
    AcceptedTwice(CommandId),
    /// A command that is not open has its verdict, or never was accepted.
    #[error("a verdict for command {0}, which is not open")]
    NotOpen(CommandId),
    /// A POST's number is used once.
    #[error("attempt {number} of command {lead} does not follow {was}")]
    NumberNotAbove {
        /// The command of the series.
        lead: CommandId,
        /// The latest number so far.
        was: u8,
        /// The one that was to follow.
        number: u8,
    },
    /// Nothing follows the end.
    #[error("a record after the end of the call")]
    AfterEnd,
    /// The call ended with commands that have no verdict.
    #[error("the call ended, and {0} of its commands had no verdict")]
    EndedOpen(usize),
}

/// What the records of one call add up to.
///
/// The one fold of the journal: recovery, the simulator and the checks of old journals all use it.
/// A prefix of what it takes is taken too, because a crash may cut the records anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    intent: Option<Box<CallIntent>>,
    opened: Option<(CallId, CallKind)>,
    me: Option<ParticipantId>,
    epoch: Option<u64>,
    commanded: bool,
    open: Vec<(WallTime, Accepted)>,
    last: Option<Box<LastAttempt>>,
    opposite: Option<Box<LastAttempt>>,
    window: Option<Box<Window>>,
    leaving: bool,
    ended: Option<(WallTime, EndCause)>,
}

impl Book {
    /// Takes all of `records`, in their order.
    ///
    /// # Errors
    /// The first [`Contradiction`].
    pub fn of<'a>(
        records: impl IntoIterator<Item = &'a (WallTime, Record)>,
    ) -> Result<Self, Contradiction> {
        let mut book = Self::default();
        for (at, record) in records {
            book.apply(*at, record)?;
        }
        Ok(book)
    }

    /// Takes the next record, written at `at`.
    ///
    /// # Errors
    /// A [`Contradiction`] when it cannot follow; the book then stays as it was.
    pub fn apply(&mut self, at: WallTime, record: &Record) -> Result<(), Contradiction> {
        if self.ended.is_some() {
            return Err(Contradiction::AfterEnd);
        }
        if self.intent.is_none() && !matches!(record, Record::Intent(_)) {
            return Err(Contradiction::NoIntent);
        }
        match record {
            Record::Intent(intent) => {
                if self.intent.is_some() {
                    return Err(Contradiction::SecondIntent);
                }
                self.intent = Some(intent.clone());
            }
            Record::Opened { id, kind, me } => {
                if let Some((was, _)) = &self.opened
                    && was != id
                {
                    let (was, is) = (was.clone(), id.clone());
                    return Err(Contradiction::OtherCall { was, is });
                }
                self.opened = Some((id.clone(), *kind));
                if me.is_some() {
                    self.me.clone_from(me);
                }
            }
            Record::Epoch(is) => {
                if let Some(was) = self.epoch
                    && *is <= was
                {
                    return Err(Contradiction::EpochNotAbove { was, is: *is });
                }
                self.epoch = Some(*is);
            }
            Record::Accepted(accepted) => {
                if self.open_at(accepted.command).is_some() {
                    return Err(Contradiction::AcceptedTwice(accepted.command));
                }
                self.commanded = true;
                self.open.push((at, (**accepted).clone()));
            }
            Record::Attempt {
                lead,
                number,
                action,
            } => self.attempt(at, *lead, *number, *action)?,
            Record::Outcome {
                lead,
                number,
                outcome,
            } => self.outcome(*lead, *number, outcome),
            Record::Verdict {
                command,
                action,
                verdict,
            } => {
                let place = self.open_at(*command);
                self.open
                    .remove(place.ok_or(Contradiction::NotOpen(*command))?);
                if self.open.is_empty() {
                    // Room for four is most of what a book takes.
                    self.open = Vec::new();
                }
                if matches!(verdict, Verdict::Confirmed { .. }) {
                    self.confirm(*action);
                }
            }
            Record::Window { until } => {
                self.window = until.map(|until| Box::new(Window { at, until }));
            }
            Record::Leaving => self.leaving = true,
            Record::Closed { cause } => {
                if !self.open.is_empty() {
                    return Err(Contradiction::EndedOpen(self.open.len()));
                }
                self.ended = Some((at, *cause));
            }
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        at: WallTime,
        lead: CommandId,
        number: u8,
        action: Action,
    ) -> Result<(), Contradiction> {
        let before = self.posts().find(|post| post.lead == lead);
        if let Some(post) = before
            && number <= post.number
        {
            let was = post.number;
            return Err(Contradiction::NumberNotAbove { lead, was, number });
        }
        let reached = before.map_or(0, |post| post.reached);
        let same = self.posts().find(|post| post.action == action);
        let haunted = same.is_some_and(|post| post.haunted || !post.is_over());
        let next = LastAttempt {
            lead,
            action,
            number,
            reached: reached.saturating_add(1),
            at,
            outcome: None,
            confirmed: false,
            haunted,
        };
        if let Some(last) = self.last.replace(Box::new(next))
            && last.action != action
        {
            self.opposite = Some(last);
        }
        Ok(())
    }

    /// The latest POST of each action.
    fn posts(&self) -> impl Iterator<Item = &LastAttempt> {
        self.last.iter().chain(&self.opposite).map(|post| &**post)
    }

    fn posts_mut(&mut self) -> impl Iterator<Item = &mut LastAttempt> {
        let posts = self.last.iter_mut().chain(&mut self.opposite);
        posts.map(|post| &mut **post)
    }

    /// Outcomes may be lost and may come late; only that of a latest POST says something.
    fn outcome(&mut self, lead: CommandId, number: u8, outcome: &Posted) {
        let mut posts = self.posts_mut();
        let Some(post) = posts.find(|post| post.lead == lead && post.number == number) else {
            return;
        };
        if *outcome == Posted::NoEffect && post.outcome != Some(Posted::NoEffect) {
            post.reached = post.reached.saturating_sub(1);
        }
        post.outcome = Some(outcome.clone());
    }

    fn confirm(&mut self, action: Action) {
        for post in self.posts_mut().filter(|post| post.action == action) {
            post.confirmed = true;
        }
    }

    fn open_at(&self, command: CommandId) -> Option<usize> {
        self.open
            .iter()
            .position(|(_, accepted)| accepted.command == command)
    }

    /// How the call began; `None` before any record.
    pub fn intent(&self) -> Option<&CallIntent> {
        self.intent.as_deref()
    }

    /// Its id: from the answer to its create, or as it rang.
    pub fn id(&self) -> Option<&CallId> {
        let opened = self.opened.as_ref().map(|(id, _)| id);
        opened.or_else(|| self.intent()?.offered.as_ref())
    }

    /// Whether Graph is known to have the call: its create was answered, or it was seen.
    pub const fn is_opened(&self) -> bool {
        self.opened.is_some()
    }

    /// The latest epoch of its roster.
    pub const fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The epoch of whoever takes the call up at `now`: above all before, whatever the clock says.
    pub fn next_epoch(&self, now: WallTime) -> u64 {
        if seeded::is(Bug::LowerEpoch) {
            return now.0;
        }
        self.epoch.map_or(now.0, |last| now.0.max(last + 1))
    }

    /// Commands without a verdict, oldest first.
    pub fn open(&self) -> &[(WallTime, Accepted)] {
        &self.open
    }

    /// When and by what it ended.
    pub const fn ended(&self) -> Option<(WallTime, EndCause)> {
        self.ended
    }

    /// What a machine is recovered from.
    pub fn restored(&self) -> Restored {
        let kind = self.opened.as_ref().map(|(_, kind)| *kind);
        let intended = self.intent().map(|intent| intent.kind);
        Restored {
            kind: kind.or(intended).unwrap_or(CallKind::Group),
            me: self.me.clone(),
            commanded: self.commanded,
            open: self.open.clone(),
            last: self.last.as_deref().cloned(),
            opposite: self.opposite.as_deref().cloned(),
            window: self.window.as_deref().copied(),
            leaving: self.leaving,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{AppId, Origin, TenantId};

    const AT: WallTime = WallTime(1_764_000_000_000);

    fn intent() -> Record {
        Record::Intent(Box::new(CallIntent {
            app: AppId::parse("app").unwrap(),
            tenant: TenantId::parse("tenant").unwrap(),
            kind: CallKind::Group,
            offered: None,
            join_muted: false,
            named: None,
            repeat: None,
        }))
    }

    fn opened(id: &str) -> Record {
        Record::Opened {
            id: CallId::parse(id).unwrap(),
            kind: CallKind::Group,
            me: None,
        }
    }

    fn accepted(command: u128) -> Record {
        Record::Accepted(Box::new(Accepted {
            command: CommandId::new(command),
            action: Action::Unmute,
            origin: Origin::Bot,
            within: Duration::from_secs(30),
            speak_for: None,
            asked: None,
        }))
    }

    fn attempt(lead: u128, number: u8) -> Record {
        Record::Attempt {
            lead: CommandId::new(lead),
            number,
            action: Action::Unmute,
        }
    }

    fn outcome(lead: u128, number: u8, outcome: Posted) -> Record {
        Record::Outcome {
            lead: CommandId::new(lead),
            number,
            outcome,
        }
    }

    fn verdict(command: u128) -> Record {
        Record::Verdict {
            command: CommandId::new(command),
            action: Action::Unmute,
            verdict: Verdict::Already,
        }
    }

    fn closed() -> Record {
        Record::Closed {
            cause: EndCause::Remote,
        }
    }

    fn fold(records: &[Record]) -> Result<Book, Contradiction> {
        let records: Vec<_> = records.iter().map(|record| (AT, record.clone())).collect();
        Book::of(&records)
    }

    #[test]
    fn an_open_command_and_its_attempts_are_restored() {
        let book = fold(&[
            intent(),
            opened("call"),
            Record::Epoch(7),
            accepted(1),
            attempt(1, 1),
            outcome(1, 1, Posted::NoEffect),
            attempt(1, 2),
            outcome(1, 2, Posted::Ambiguous),
            accepted(2),
        ])
        .unwrap();
        let restored = book.restored();
        let open: Vec<_> = restored.open.iter().map(|(_, open)| open.command).collect();
        assert_eq!(open, [CommandId::new(1), CommandId::new(2)]);
        let last = restored.last.unwrap();
        assert_eq!((last.number, last.reached), (2, 1));
        assert_eq!(last.outcome, Some(Posted::Ambiguous));
        assert!(restored.commanded);
        assert_eq!(book.epoch(), Some(7));
        assert_eq!(book.id().unwrap().as_str(), "call");
    }

    #[test]
    fn a_verdict_closes_its_command_and_comes_once() {
        let good = [intent(), accepted(1), accepted(2), verdict(1)];
        let book = fold(&good).unwrap();
        assert_eq!(book.open().len(), 1);
        let twice = [&good[..], &[verdict(1)]].concat();
        let contradiction = Contradiction::NotOpen(CommandId::new(1));
        assert_eq!(fold(&twice), Err(contradiction));
    }

    #[test]
    fn a_call_that_was_being_hung_up_is_known_to_be() {
        let fold = |records: &[Record]| fold(records).unwrap().restored();
        assert!(!fold(&[intent(), opened("call")]).leaving);
        let left = [intent(), opened("call"), Record::Leaving, Record::Leaving];
        assert!(fold(&left).leaving);
    }

    #[test]
    fn a_call_that_was_offered_has_its_id_before_it_is_opened() {
        let Record::Intent(mut rang) = intent() else {
            unreachable!()
        };
        rang.offered = Some(CallId::parse("rang").unwrap());
        let book = fold(&[Record::Intent(rang)]).unwrap();
        assert_eq!(book.id().unwrap().as_str(), "rang");
        assert!(!book.is_opened());
    }

    #[test]
    fn the_own_entry_once_told_stays() {
        let told = Record::Opened {
            id: CallId::parse("call").unwrap(),
            kind: CallKind::PeerToPeer,
            me: Some(ParticipantId::parse("me").unwrap()),
        };
        let restored = fold(&[intent(), told, opened("call")]).unwrap().restored();
        assert_eq!(restored.me.unwrap().as_str(), "me");
        assert_eq!(restored.kind, CallKind::Group);
    }

    #[test]
    fn what_cannot_follow_is_named() {
        let command = CommandId::new(1);
        for (records, contradiction) in [
            (vec![opened("a")], Contradiction::NoIntent),
            (vec![intent(), intent()], Contradiction::SecondIntent),
            (
                vec![intent(), opened("a"), opened("b")],
                Contradiction::OtherCall {
                    was: CallId::parse("a").unwrap(),
                    is: CallId::parse("b").unwrap(),
                },
            ),
            (
                vec![intent(), Record::Epoch(2), Record::Epoch(2)],
                Contradiction::EpochNotAbove { was: 2, is: 2 },
            ),
            (
                vec![intent(), accepted(1), accepted(1)],
                Contradiction::AcceptedTwice(command),
            ),
            (vec![intent(), verdict(1)], Contradiction::NotOpen(command)),
            (
                vec![intent(), accepted(1), attempt(1, 2), attempt(1, 2)],
                Contradiction::NumberNotAbove {
                    lead: command,
                    was: 2,
                    number: 2,
                },
            ),
            (
                vec![intent(), closed(), Record::Epoch(1)],
                Contradiction::AfterEnd,
            ),
            (
                vec![intent(), accepted(1), closed()],
                Contradiction::EndedOpen(1),
            ),
        ] {
            assert_eq!(fold(&records), Err(contradiction), "{records:?}");
        }
    }

    fn opposite(record: Record) -> Record {
        match record {
            Record::Attempt { lead, number, .. } => Record::Attempt {
                lead,
                number,
                action: Action::Mute,
            },
            other => other,
        }
    }

    #[test]
    fn the_latest_post_of_each_action_is_restored_with_what_confirmed_it() {
        let confirmed = |command| Record::Verdict {
            command: CommandId::new(command),
            action: Action::Unmute,
            verdict: Verdict::Confirmed {
                evidence: crate::Evidence::Roster,
                roster: crate::RosterSeen::Fresh,
            },
        };
        let mut records = vec![
            intent(),
            accepted(1),
            attempt(1, 1),
            accepted(2),
            opposite(attempt(2, 1)),
            outcome(1, 1, Posted::Ambiguous),
        ];
        let restored = fold(&records).unwrap().restored();
        let (last, other) = (restored.last.unwrap(), restored.opposite.unwrap());
        assert_eq!((last.action, other.action), (Action::Mute, Action::Unmute));
        assert_eq!(other.outcome, Some(Posted::Ambiguous));
        assert!(!other.confirmed);

        records.push(confirmed(1));
        let restored = fold(&records).unwrap().restored();
        assert!(restored.opposite.unwrap().confirmed);
        assert!(!restored.last.unwrap().confirmed);

        records.extend([accepted(3), attempt(3, 1), accepted(4), attempt(4, 1)]);
        let restored = fold(&records).unwrap().restored();
        let (last, other) = (restored.last.unwrap(), restored.opposite.unwrap());
        assert_eq!(
            (last.lead, other.lead),
            (CommandId::new(4), CommandId::new(2))
        );
        assert!(!last.confirmed, "what confirmed it was before");
    }

    #[test]
    fn an_older_post_that_may_still_act_is_not_forgotten() {
        let ended = || Posted::Ended { operation: None };
        let mut records = vec![intent(), accepted(1), attempt(1, 1)];
        records.push(outcome(1, 1, ended()));
        records.extend([accepted(2), attempt(2, 1), outcome(2, 1, Posted::Ambiguous)]);
        let restored = fold(&records).unwrap().restored();
        let last = restored.last.unwrap();
        assert!(!last.haunted && !last.is_over());

        // Also when one of the other action came in between.
        records.extend([accepted(3), opposite(attempt(3, 1)), outcome(3, 1, ended())]);
        records.extend([accepted(4), attempt(4, 1), outcome(4, 1, ended())]);
        let restored = fold(&records).unwrap().restored();
        let (last, other) = (restored.last.unwrap(), restored.opposite.unwrap());
        assert!(last.haunted && last.is_over());
        assert!(!other.haunted);
    }

    #[test]
    fn the_latest_window_counts() {
        let window = |until: Option<u64>| Record::Window {
            until: until.map(WallTime),
        };
        let book = fold(&[intent(), window(Some(5)), window(Some(7))]).unwrap();
        let expected = Window {
            at: AT,
            until: WallTime(7),
        };
        assert_eq!(book.restored().window, Some(expected));
        let book = fold(&[intent(), window(Some(5)), window(None)]).unwrap();
        assert_eq!(book.restored().window, None);
    }

    #[test]
    fn the_outcome_of_an_earlier_post_changes_nothing() {
        let before = fold(&[intent(), accepted(1), attempt(1, 1), attempt(1, 2)]).unwrap();
        let mut after = before.clone();
        after.apply(AT, &outcome(1, 1, Posted::NoEffect)).unwrap();
        after.apply(AT, &outcome(2, 2, Posted::NoEffect)).unwrap();
        assert_eq!(after, before);
    }
}
