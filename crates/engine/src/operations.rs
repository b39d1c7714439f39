//! The engine's own operations: one for each command, with an id of its own.

mod entry;
mod ring;

use std::collections::VecDeque;
use std::time::Duration;

use openmic_journal::KeptCommand;
use openmic_model::{
    Action, Asked, ClientContext, CommandId, Operation, OperationId, OperationStatus, Record,
    Repeat, ResultInfo, Verdict, WallTime,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::actor::Served;
use entry::Entry;
use ring::Ring;

/// Operations kept per call; the oldest that has its verdict is forgotten first.
const KEPT: usize = 256;

/// One command as the Graph surface shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRecord {
    /// The engine's id of it, not Graph's.
    pub id: OperationId,
    /// Mute or unmute.
    pub action: Action,
    /// The bot's own context, echoed.
    pub client_context: Option<ClientContext>,
    /// How it ended; `None` while it runs.
    pub verdict: Option<Verdict>,
}

impl OperationRecord {
    /// As the journal has it; `None` for a command of the machine's own.
    pub(crate) fn kept(kept: KeptCommand) -> Option<Self> {
        let asked = kept.accepted.asked?;
        Some(Self {
            id: asked.operation,
            action: kept.accepted.action,
            client_context: asked.client_context,
            verdict: kept.verdict.map(|(_, verdict)| verdict),
        })
    }

    /// As Graph would show it, by the verdict table of the design: confirmed and already are
    /// `completed`, everything else `failed` with the reason in `resultInfo`.
    pub fn to_operation(&self) -> Operation {
        let failed = |code: i32, subcode: i32, message: String| {
            (
                OperationStatus::Failed,
                Some(ResultInfo {
                    code,
                    subcode,
                    message: Some(message),
                }),
            )
        };
        let (status, result) = match &self.verdict {
            None => (OperationStatus::Running, None),
            Some(Verdict::Confirmed { .. } | Verdict::Already) => {
                (OperationStatus::Completed, None)
            }
            Some(Verdict::Refused {
                status,
                code,
                message,
            }) => failed(
                i32::from(*status),
                code.parse().unwrap_or(0),
                message.clone(),
            ),
            Some(Verdict::Unconfirmed) => failed(
                504,
                0,
                format!(
                    "Nobody can tell whether the {} took effect; read the roster.",
                    self.action
                ),
            ),
            Some(Verdict::Expired) => failed(
                408,
                0,
                format!("The {} could not be sent within its deadline.", self.action),
            ),
            Some(Verdict::Superseded) => failed(
                409,
                0,
                format!(
                    "A newer {} took the place of this command.",
                    self.action.opposite()
                ),
            ),
            Some(Verdict::CallEnded { .. }) => failed(
                404,
                8522,
                "The call ended before the command did.".to_owned(),
            ),
        };
        Operation {
            id: Some(self.id.clone()),
            status,
            client_context: self.client_context.clone(),
            result,
        }
    }
}

/// A command as its bot gave it.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) command: CommandId,
    pub(crate) action: Action,
    /// The engine's operation for it; `None` is the GUID of the command's bits.
    pub(crate) operation: Option<OperationId>,
    pub(crate) client_context: Option<ClientContext>,
    /// By what the request is known again.
    pub(crate) repeat: Option<Repeat>,
}

/// One of Graph's operations that an attempt began.
#[derive(Debug)]
struct Begun {
    operation: Named,
    lead: CommandId,
}

/// An operation's id without a text of its own where that is a GUID, as Graph's are.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Guid([u8; 16]),
    Other(OperationId),
}

impl From<&OperationId> for Named {
    fn from(id: &OperationId) -> Self {
        let bits = id.to_guid();
        bits.map_or_else(
            || Self::Other(id.clone()),
            |bits| Self::Guid(bits.to_be_bytes()),
        )
    }
}

#[derive(Debug, Default)]
struct Ledger {
    /// The latest command, here and not with the others: many calls have just one, and then it
    /// costs no allocation.
    latest: Option<Entry>,
    /// Commands before it that are plain, the oldest first.
    plain: Ring,
    /// None while all before it are plain and nothing was posted.
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    /// Commands before the latest that are not plain, or were not when the next one came.
    older: VecDeque<Entry>,
    begun: VecDeque<Begun>,
    /// The lead of the latest attempt that sent a POST.
    sent: Option<CommandId>,
}

impl Ledger {
    fn insert(&mut self, mut entry: Entry) {
        entry.number = self.next_number();
        let Some(latest) = self.latest.replace(entry) else {
            return;
        };
        let older = self.rest.as_ref().map_or(0, |rest| rest.older.len());
        if self.plain.len() + older + 1 >= KEPT {
            self.forget_oldest();
        }
        if let Some(latest) = latest.plain() {
            self.plain.push_back(latest);
            return;
        }
        let older = &mut self.rest.get_or_insert_default().older;
        if older.is_empty() {
            older.reserve_exact(1);
        }
        older.push_back(latest);
    }

    fn next_number(&self) -> u32 {
        let before = || {
            let older = self.older().next_back().map(|entry| entry.number);
            let plain = self.plain.iter().next_back().map(|plain| plain.number);
            older.max(plain)
        };
        let last = self.latest.as_ref().map(|entry| entry.number);
        let last = last.or_else(before);
        last.map_or(0, |last| last.saturating_add(1))
    }

    /// The oldest that has its verdict.
    fn forget_oldest(&mut self) {
        let is_settled = |(_, entry): &(usize, &Entry)| entry.open().is_none();
        let settled = self.older().enumerate().find(is_settled);
        let settled = settled.map(|(at, entry)| (at, entry.number));
        let plain = self.plain.iter().next();
        let plain = plain.map_or(u32::MAX, |plain| plain.number);
        if let Some((at, _)) = settled.filter(|(_, number)| *number < plain) {
            if let Some(rest) = &mut self.rest {
                rest.older.remove(at);
            }
        } else {
            self.plain.pop_front();
        }
    }

    fn older(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.rest.iter().flat_map(|rest| &rest.older)
    }

    /// All that are not plain, among them all that are open, the oldest first.
    fn others(&self) -> impl Iterator<Item = &Entry> {
        self.older().chain(&self.latest)
    }

    /// One that is not plain.
    fn entry(&mut self, command: CommandId) -> Option<&mut Entry> {
        let older = self.rest.iter_mut().flat_map(|rest| &mut rest.older);
        let newest_first = self.latest.iter_mut().chain(older.rev());
        newest_first
            .into_iter()
            .find(|entry| entry.command == command)
    }

    /// The lead of the latest attempt that sent a POST.
    fn sent(&self) -> Option<CommandId> {
        self.rest.as_ref()?.sent
    }

    fn has_sent(&mut self, lead: CommandId) {
        self.rest.get_or_insert_default().sent = Some(lead);
    }
}

/// A command without a verdict whose actor broke, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) command: CommandId,
    pub(crate) action: Action,
    pub(crate) verdict: Verdict,
}

/// All operations of one call, and the only judge of which verdict was a command's first.
#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<Ledger>);

impl Operations {
    /// Takes a command in. There are never more than [`KEPT`] open ones: mailbox and machine hold
    /// fewer, so that room is made by what has its verdict.
    pub(crate) fn insert(&self, given: Given, accepted: Instant) {
        self.insert_with(given, accepted, || ());
    }

    /// As [`Operations::insert`]. Calls `beside` once the ledger is locked, and holds what that returns
    /// until it is about to be unlocked.
    pub(crate) fn insert_with<B>(
        &self,
        given: Given,
        accepted: Instant,
        beside: impl FnOnce() -> B,
    ) {
        let entry = Entry::new(given, accepted);
        let mut kept = self.0.lock();
        let beside = beside();
        kept.insert(entry);
        drop(beside);
    }

    /// Takes in what another process wrote down of a call, and returns how many commands are open.
    pub(crate) fn restore(&self, records: &[(WallTime, Record)], now: WallTime) -> usize {
        for (at, record) in records {
            match record {
                Record::Accepted(accepted) => {
                    let Some(asked) = &accepted.asked else {
                        continue;
                    };
                    let given = Given {
                        command: accepted.command,
                        action: accepted.action,
                        operation: Some(asked.operation.clone()),
                        client_context: asked.client_context.clone(),
                        repeat: asked.repeat,
                    };
                    let here = Instant::now();
                    let since = here.checked_sub(now.since(*at)).unwrap_or(here);
                    self.insert(given, since);
                    self.write_down(accepted.command);
                }
                Record::Attempt { lead, .. } => self.0.lock().has_sent(*lead),
                Record::Verdict {
                    command, verdict, ..
                } => drop(self.settle(*command, verdict, Instant::now())),
                _ => {}
            }
        }
        let kept = self.0.lock();
        let open = kept.others();
        open.filter(|entry| entry.open().is_some()).count()
    }

    /// The command's acceptance is being written down; returns what its bot knows it by.
    pub(crate) fn write_down(&self, command: CommandId) -> Option<Asked> {
        let mut kept = self.0.lock();
        let entry = kept.entry(command)?;
        Some(Asked {
            operation: entry.operation(),
            client_context: entry.client_context().cloned(),
            repeat: entry
                .open()
                .and_then(|open| open.repeat.as_deref().copied()),
        })
    }

    /// The command's verdict is being written down: it can be no other any more.
    pub(crate) fn decide(&self, command: CommandId, verdict: &Verdict) {
        let mut kept = self.0.lock();
        if let Some(open) = kept.entry(command).and_then(Entry::open_mut) {
            open.decided
                .get_or_insert_with(|| Box::new(verdict.clone()));
        }
    }

    /// What becomes of the commands without a verdict when the actor broke: what was decided, else
    /// nobody knows what a POST came to, else `ended`.
    pub(crate) fn broken(&self, ended: &Verdict) -> Vec<Broken> {
        let kept = self.0.lock();
        let entries = kept.others();
        let open = entries.filter_map(|entry| Some((entry, entry.open()?)));
        open.map(|(entry, open)| {
            let lead = entry.lead();
            let sent = lead.is_some() && lead == kept.sent();
            let rest = || {
                if sent {
                    Verdict::Unconfirmed
                } else {
                    ended.clone()
                }
            };
            Broken {
                command: entry.command,
                action: entry.action,
                verdict: open.decided.as_deref().cloned().unwrap_or_else(rest),
            }
        })
        .collect()
    }

    /// Takes a command back that was not accepted after all. False when it has its verdict
    /// already, and stays: the call broke meanwhile.
    pub(crate) fn take_back(&self, command: CommandId) -> bool {
        let mut kept = self.0.lock();
        let is_back = |entry: &Entry| entry.command == command && entry.open().is_some();
        let latest = kept.latest.take_if(|entry| is_back(entry));
        let before = kept.older().count();
        if let Some(rest) = &mut kept.rest {
            rest.older.retain(|entry| !is_back(entry));
        }
        latest.is_some() || kept.older().count() < before
    }

    /// Writes the verdict down and returns the time from acceptance to `now`; `None` when there was
    /// a verdict before, or no such command.
    pub(crate) fn settle(
        &self,
        command: CommandId,
        verdict: &Verdict,
        now: Instant,
    ) -> Option<Duration> {
        let mut kept = self.0.lock();
        let entry = kept.entry(command)?;
        let took = now.saturating_duration_since(entry.open()?.accepted);
        entry.settle(verdict);
        Some(took)
    }

    /// Notes whom the attempt under way serves, so that [`Operations::behind`] can tell, and
    /// whether a POST of it leaves.
    pub(crate) fn pursue(&self, served: &Served, posts: bool) {
        let lead = served.lead;
        let mut kept = self.0.lock();
        if posts {
            kept.has_sent(lead);
        }
        for command in &served.commands {
            if let Some(entry) = kept.entry(*command) {
                entry.pursued_as(lead);
            }
        }
        let Some(operation) = &served.operation else {
            return;
        };
        let operation = Named::from(operation);
        let begun = &mut kept.rest.get_or_insert_default().begun;
        // An attempt has one, mostly the newest, and it is named with every step. Should it come in twice,
        // the first is found.
        let mut its_own = begun.iter().rev().take_while(|begun| begun.lead == lead);
        if its_own.all(|begun| begun.operation != operation) {
            if begun.len() >= KEPT {
                begun.pop_front();
            }
            begun.push_back(Begun { operation, lead });
        }
    }

    /// The commands behind one of Graph's operations, by its context first and its id second, as
    /// their bot knows them. `None` when no attempt of the engine's began it; empty when it served
    /// none of the bot's.
    pub(crate) fn behind(
        &self,
        context: Option<&ClientContext>,
        operation: Option<&OperationId>,
    ) -> Option<Vec<(OperationId, Option<ClientContext>)>> {
        let kept = self.0.lock();
        let named = context.and_then(CommandId::from_context);
        let lead = named.map(|(lead, _)| lead).or_else(|| {
            let operation = Named::from(operation?);
            let mut begun = kept.rest.as_ref()?.begun.iter();
            let known = begun.find(|begun| begun.operation == operation)?;
            Some(known.lead)
        })?;
        let is_served = |entry: &Entry| entry.lead() == Some(lead);
        let known = |entry: &Entry| {
            let context = entry.client_context().cloned();
            (entry.number, (entry.operation(), context))
        };
        let others = kept.others().filter(|entry| is_served(entry)).map(known);
        let plain = kept.plain.iter().map(|plain| Entry::from(*plain));
        let plain = plain.filter(is_served).map(|entry| known(&entry));
        let mut served: Vec<_> = others.chain(plain).collect();
        served.sort_by_key(|(number, _)| *number);
        Some(served.into_iter().map(|(_, known)| known).collect())
    }

    pub(crate) fn of(&self, command: CommandId) -> Option<OperationRecord> {
        self.find(|entry| entry.command == command)
    }

    pub(crate) fn get(&self, id: &OperationId) -> Option<OperationRecord> {
        self.find(|entry| entry.is_operation(id))
    }

    fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Option<OperationRecord> {
        let kept = self.0.lock();
        if let Some(entry) = kept.others().find(|entry| wanted(entry)) {
            return Some(entry.record());
        }
        let mut plain = kept.plain.iter().map(|plain| Entry::from(*plain));
        plain.find(wanted).map(|entry| entry.record())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(operations: &Operations, bits: u128) {
        let given = Given {
            command: CommandId::new(bits),
            action: Action::Unmute,
            operation: None,
            client_context: None,
            repeat: None,
        };
        operations.insert(given, Instant::now());
    }

    fn refused() -> Verdict {
        Verdict::Refused {
            status: 403,
            code: "8541".to_owned(),
            message: "no".to_owned(),
        }
    }

    #[test]
    fn the_oldest_that_has_its_verdict_is_forgotten_first_whatever_it_is() {
        let operations = Operations::default();
        let verdicts = [Verdict::Already, refused(), Verdict::Already];
        let beyond = 100;
        let all = (KEPT + beyond) as u128;
        // The very first stays open.
        give(&operations, 0);
        for bits in 1..all {
            give(&operations, bits);
            let verdict = &verdicts[(bits % 3) as usize];
            let settled = operations.settle(CommandId::new(bits), verdict, Instant::now());
            assert!(settled.is_some());
            let again = operations.settle(CommandId::new(bits), &refused(), Instant::now());
            assert_eq!(again, None, "the first verdict stays");
        }
        let first = operations.of(CommandId::new(0)).expect("it is open");
        assert_eq!(first.verdict, None);
        for bits in 1..all {
            let found = operations.of(CommandId::new(bits));
            let by_id = operations.get(&OperationId::of_guid(bits));
            assert_eq!(found, by_id);
            let verdict = found.map(|record| record.verdict);
            let is_kept = bits > beyond as u128;
            let wanted = is_kept.then(|| Some(verdicts[(bits % 3) as usize].clone()));
            assert_eq!(verdict, wanted, "of {bits}");
        }
    }

    #[test]
    fn those_behind_an_operation_are_told_in_their_order() {
        let operations = Operations::default();
        let (first, lead, last) = (CommandId::new(0), CommandId::new(1), CommandId::new(2));
        let pursue = |commands| {
            let operation = OperationId::parse("graphs").ok();
            let served = Served {
                lead,
                operation,
                commands,
            };
            operations.pursue(&served, true);
        };
        give(&operations, 0);
        give(&operations, 1);
        pursue(vec![first, lead]);
        // It is plain when the last one comes, and the others are not.
        let settled = operations.settle(lead, &Verdict::Already, Instant::now());
        assert!(settled.is_some());
        give(&operations, 2);
        pursue(vec![first, last]);
        assert_eq!(operations.0.lock().plain.len(), 1);
        let behind = operations.behind(None, OperationId::parse("graphs").ok().as_ref());
        let known = (0..3).map(|bits| (OperationId::of_guid(bits), None));
        assert_eq!(behind, Some(known.collect()));
    }

    #[test]
    fn an_operation_is_kept_once_for_its_attempt_and_the_first_attempt_stays() {
        let operations = Operations::default();
        let known = |text: &str| OperationId::parse(text).unwrap();
        let ids = [known("op-1"), known("0c1f5e00-abcd-4000-8000-0000000000ff")];
        let pursue = |bits: u128, operation: &OperationId| {
            give(&operations, bits);
            let lead = CommandId::new(bits);
            let served = Served {
                lead,
                operation: Some(operation.clone()),
                commands: vec![lead],
            };
            for _ in 0..3 {
                operations.pursue(&served, true);
            }
        };
        for (bits, id) in (0..).zip(&ids) {
            pursue(bits, id);
        }
        let count = || operations.0.lock().rest.as_ref().unwrap().begun.len();
        assert_eq!(count(), 2);
        // Another attempt is answered with an operation that is not its own.
        pursue(2, &ids[0]);
        assert_eq!(count(), 3);
        for (bits, id) in (0..).zip(&ids) {
            let behind = operations.behind(None, Some(id));
            assert_eq!(behind, Some(vec![(OperationId::of_guid(bits), None)]));
        }
        for bits in 3..1_000 {
            pursue(bits, &OperationId::of_guid(bits));
        }
        assert_eq!(count(), KEPT);
        assert_eq!(operations.behind(None, Some(&ids[0])), None);
    }

    #[test]
    fn the_second_plain_command_of_a_call_takes_little() {
        let operations = Operations::default();
        for bits in 0..2 {
            give(&operations, bits);
            operations.settle(CommandId::new(bits), &Verdict::Already, Instant::now());
        }
        let kept = operations.0.lock();
        assert!(kept.rest.is_none());
        assert_eq!(kept.plain.bytes(), 24);
    }
}
