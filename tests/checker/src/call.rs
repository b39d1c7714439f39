//! What a history has told of one call so far.

use std::collections::{BTreeMap, VecDeque};

use openmic_model::{Action, CommandId, Version};

use crate::history::{Answer, End, Note, What};
use crate::invariants::{Breach, Limits, at_the_end, judge};

/// POSTs remembered one by one.
const POSTS: usize = 16;
/// Ended commands remembered; a second verdict of an older one goes unseen.
const SETTLED: usize = 4096;
/// GETs that are not answered, remembered.
const QUERIES: usize = 64;
/// Removals remembered.
const GRAVES: usize = 256;

/// Counts the events of a call: which of two came first.
pub(crate) type Order = u64;

/// One command.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) action: Action,
    pub(crate) accepted: Order,
    pub(crate) accepted_at: u64,
    /// In microseconds.
    pub(crate) within: u64,
    /// Its record is durable.
    pub(crate) durable: bool,
    /// When the bot was first told that it is accepted.
    pub(crate) acknowledged: Option<Order>,
    /// The attempt under way when it was accepted, by when that was first sent.
    pub(crate) joined: Option<Order>,
    /// The end in the journal, not durable yet.
    pub(crate) written: Option<End>,
    /// The end in the journal.
    pub(crate) kept: Option<End>,
    pub(crate) told: Option<End>,
    /// The process went away meanwhile.
    pub(crate) crashed: bool,
    /// Of the POSTs that it gave its name: the highest number whose record is durable, the highest
    /// that was sent, and how many may have reached Graph.
    pub(crate) intended: u8,
    pub(crate) sent: u8,
    pub(crate) reached: u8,
}

impl Command {
    /// How it ended, as far as anybody decided.
    pub(crate) fn end(&self) -> Option<End> {
        self.told.or(self.kept).or(self.written)
    }

    pub(crate) fn deadline(&self) -> u64 {
        self.accepted_at.saturating_add(self.within)
    }
}

/// One POST.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that come one by one, in any order"
)]
pub(crate) struct Post {
    pub(crate) lead: CommandId,
    pub(crate) number: u8,
    pub(crate) action: Action,
    pub(crate) sent: Order,
    pub(crate) answer: Option<Answer>,
    pub(crate) completed: bool,
    pub(crate) failed: bool,
    pub(crate) reached: bool,
    pub(crate) took: bool,
    /// Graph says that it took effect, and it did not.
    pub(crate) lie: bool,
    /// A GET begun after it showed the own entry other than asked.
    pub(crate) fruitless: bool,
}

/// The own entry as it truly is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth {
    pub(crate) muted: bool,
    /// By whom it came to be so.
    pub(crate) by: Option<(CommandId, u8)>,
    /// When it was last muted, unmuted, and ceased to be.
    pub(crate) ceased: [Option<Order>; 2],
}

/// One that watches.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watcher {
    pub(crate) there: bool,
    pub(crate) since: u64,
    pub(crate) version: Option<Version>,
    pub(crate) holds: Option<u64>,
}

/// The success decided last, as long as nothing newer was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Success {
    pub(crate) action: Action,
    pub(crate) decided: Order,
}

/// What is known of a call.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that come one by one, in any order"
)]
pub(crate) struct Call {
    pub(crate) now: u64,
    pub(crate) order: Order,
    pub(crate) commands: BTreeMap<CommandId, Command>,
    pub(crate) open: usize,
    settled: VecDeque<CommandId>,
    /// The history tells of records.
    pub(crate) journal: bool,
    pub(crate) pending: VecDeque<Note>,
    /// The latest in the journal, and the latest that is durable there.
    pub(crate) epoch: u64,
    pub(crate) kept_epoch: u64,
    pub(crate) window: Option<u64>,
    pub(crate) disk_full: bool,
    pub(crate) was_full: bool,
    pub(crate) posts: VecDeque<Post>,
    pub(crate) in_flight: Option<(CommandId, u8)>,
    queries: VecDeque<(u32, Order)>,
    pub(crate) throttled_until: Option<u64>,
    /// When Graph last said no, or that an operation failed.
    pub(crate) refused: Option<Order>,
    pub(crate) truth: Option<Truth>,
    pub(crate) host_acted: bool,
    /// When somebody else last changed the own entry.
    pub(crate) host_at: Option<u64>,
    pub(crate) success: Option<Success>,
    pub(crate) roster: Option<u64>,
    pub(crate) changed_at: u64,
    pub(crate) learned: Option<(Order, u64)>,
    /// That is durable.
    closed: bool,
    pub(crate) graves: VecDeque<(u64, u64)>,
    pub(crate) up: bool,
    /// The latest recovery's digest, while no record was added since.
    pub(crate) digest: Option<u64>,
    pub(crate) up_since: u64,
    pub(crate) calm: Option<u64>,
    pub(crate) watchers: BTreeMap<u32, Watcher>,
}

/// Judges the history of one call.
#[derive(Debug)]
pub struct CallChecker {
    limits: Limits,
    call: Call,
}

impl CallChecker {
    /// For a call of which nothing is known.
    pub fn new(limits: Limits) -> Self {
        let call = Call {
            up: true,
            ..Call::default()
        };
        Self { limits, call }
    }

    /// Takes the next event, `at` microseconds of a clock that never jumps.
    ///
    /// # Errors
    /// [`Breach`] of the first invariant that does not hold any more.
    #[inline]
    pub fn take(&mut self, at: u64, what: &What) -> Result<(), Breach> {
        self.call.now = self.call.now.max(at);
        self.call.order += 1;
        judge(&self.call, &self.limits, what)?;
        self.call.fold(what);
        Ok(())
    }

    /// The history ends here. What takes time and had it must have come: everything since
    /// [`What::Calm`], when there was that.
    ///
    /// # Errors
    /// [`Breach`] of the first invariant that does not hold.
    pub fn finish(&self) -> Result<(), Breach> {
        at_the_end(&self.call, &self.limits)
    }

    /// Whether the command was accepted, as far as is remembered.
    pub fn is_accepted(&self, command: CommandId) -> bool {
        self.call.commands.contains_key(&command)
    }

    /// Commands without an end.
    pub fn open(&self) -> usize {
        self.call.open
    }

    /// The commands that were acknowledged and whose end nobody was told yet.
    pub fn acknowledged(&self) -> impl Iterator<Item = CommandId> + '_ {
        let waits = |command: &Command| command.acknowledged.is_some() && command.told.is_none();
        let commands = self.call.commands.iter();
        commands.filter_map(move |(id, command)| waits(command).then_some(*id))
    }
}

impl Call {
    pub(crate) fn post(&self, lead: CommandId, number: u8) -> Option<&Post> {
        let posts = self.posts.iter().rev();
        posts.into_iter().find(|post| post.is(lead, number))
    }

    fn post_mut(&mut self, lead: CommandId, number: u8) -> Option<&mut Post> {
        let posts = self.posts.iter_mut().rev();
        posts.into_iter().find(|post| post.is(lead, number))
    }

    /// Whether the opposite of `command` was sent since that was accepted. From outside its verdict
    /// is seen late, so what came of the newer POST may be seen before.
    pub(crate) fn overtaken(&self, command: &Command) -> bool {
        let mut posts = self.posts.iter();
        let newer = |post: &Post| post.action != command.action && post.sent > command.accepted;
        !self.journal && posts.any(newer)
    }

    /// When the attempt that a command of `action` joins now was first sent: the latest POSTs, as
    /// far back as they ask the same.
    fn under_way(&self, action: Action) -> Option<Order> {
        let posts = self.posts.iter().rev();
        let same = posts.take_while(|post| post.action == action);
        same.last().map(|post| post.sent)
    }

    fn fold(&mut self, what: &What) {
        match *what {
            What::Accepted {
                command,
                action,
                within,
            } => self.accepted(command, action, within),
            What::Acknowledged { command } => {
                let order = self.order;
                if let Some(command) = self.commands.get_mut(&command) {
                    command.acknowledged.get_or_insert(order);
                }
            }
            What::Told { command, end } => self.ends(command, |command| {
                let known = command.end();
                command.told = command.told.or(Some(end));
                known.is_none().then_some(end)
            }),
            What::Forgotten { .. } | What::Jumped(_) | What::Level { .. } => {}
            What::Sent {
                lead,
                number,
                action,
            } => self.sent(lead, number, action),
            What::Answered {
                lead,
                number,
                answer,
            } => self.answered(lead, number, answer),
            What::Operation {
                lead,
                number,
                completed,
            } => {
                if !completed {
                    self.refused = Some(self.order);
                }
                if let Some(post) = self.post_mut(lead, number) {
                    post.completed |= completed;
                    post.failed |= !completed;
                }
            }
            What::Asked { query } => {
                if self.queries.len() == QUERIES {
                    self.queries.pop_front();
                }
                self.queries.push_back((query, self.order));
            }
            What::Showed { query, muted } => self.showed(query, muted),
            What::Written(note) => {
                self.journal = true;
                self.digest = None;
                if let Note::Epoch(epoch) = note {
                    self.epoch = epoch;
                }
                if let Note::Verdict { command, end } = note {
                    self.ends(command, |command| {
                        let known = command.end();
                        command.written = Some(end);
                        known.is_none().then_some(end)
                    });
                }
                self.pending.push_back(note);
            }
            What::Durable { records } => self.durable(records),
            What::DiskFull(full) => {
                self.disk_full = full;
                self.was_full |= full;
            }
            What::Reached { lead, number, .. } => {
                if let Some(post) = self.post_mut(lead, number) {
                    post.reached = true;
                }
            }
            What::Lied { lead, number } => {
                if let Some(post) = self.post_mut(lead, number) {
                    post.lie = true;
                }
            }
            What::Took { by, muted } => self.took(by, muted),
            What::Roster { hash } => {
                if self.roster != Some(hash) {
                    self.roster = Some(hash);
                    self.changed_at = self.now;
                }
            }
            What::Ended => {
                self.learned = self.learned.or(Some((self.order, self.now)));
            }
            What::Shown {
                participant,
                number,
                there,
            } => self.shown(participant, number, there),
            What::Crashed { kept } => self.crashed(kept),
            What::Recovered { digest } => {
                self.up = true;
                self.up_since = self.now;
                self.digest = digest;
            }
            What::Calm => self.calm = Some(self.now),
            What::Joined { subscriber } => {
                let now = self.now;
                let watcher = self.watchers.entry(subscriber).or_default();
                watcher.there = true;
                watcher.since = now;
            }
            What::Frame {
                subscriber,
                version,
                holds,
                ..
            } => {
                let watcher = self.watchers.entry(subscriber).or_default();
                watcher.there = true;
                watcher.version = Some(version);
                watcher.holds = holds;
            }
            What::Left { subscriber } => {
                if let Some(watcher) = self.watchers.get_mut(&subscriber) {
                    watcher.there = false;
                }
            }
        }
    }

    fn accepted(&mut self, id: CommandId, action: Action, within: u64) {
        let command = Command {
            action,
            accepted: self.order,
            accepted_at: self.now,
            within: within.saturating_mul(1000),
            durable: false,
            acknowledged: None,
            joined: self.under_way(action),
            written: None,
            kept: None,
            told: None,
            crashed: false,
            intended: 0,
            sent: 0,
            reached: 0,
        };
        // Seen twice, as in two logs: the first counts.
        if let std::collections::btree_map::Entry::Vacant(free) = self.commands.entry(id) {
            free.insert(command);
            self.open += 1;
        }
    }

    /// Notes an end of a command. `note` returns it when it is the first.
    fn ends(&mut self, id: CommandId, note: impl FnOnce(&mut Command) -> Option<End>) {
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        let Some(end) = note(command) else { return };
        let action = command.action;
        self.open -= 1;
        let overtaken = self
            .commands
            .get(&id)
            .is_some_and(|one| self.overtaken(one));
        if matches!(end, End::Confirmed { .. } | End::Already) && !overtaken {
            self.success = Some(Success {
                action,
                decided: self.order,
            });
        }
        self.settled.push_back(id);
        if self.settled.len() > SETTLED
            && let Some(oldest) = self.settled.pop_front()
        {
            self.commands.remove(&oldest);
        }
    }

    fn sent(&mut self, lead: CommandId, number: u8, action: Action) {
        if let Some(command) = self.commands.get_mut(&lead) {
            command.sent = number;
            command.reached += 1;
        }
        if self.posts.len() == POSTS {
            self.posts.pop_front();
        }
        self.posts.push_back(Post {
            lead,
            number,
            action,
            sent: self.order,
            answer: None,
            completed: false,
            failed: false,
            reached: false,
            took: false,
            lie: false,
            fruitless: false,
        });
        self.in_flight = Some((lead, number));
        self.success = None;
    }

    fn answered(&mut self, lead: CommandId, number: u8, answer: Answer) {
        if self.in_flight == Some((lead, number)) {
            self.in_flight = None;
        }
        if answer.is_without_effect() {
            self.refused = Some(self.order);
            if let Some(command) = self.commands.get_mut(&lead) {
                command.reached = command.reached.saturating_sub(1);
            }
        }
        if let Answer::Throttled { after: Some(after) } = answer {
            let until = self.now.saturating_add(after.saturating_mul(1000));
            self.throttled_until = self.throttled_until.max(Some(until));
        }
        if let Some(post) = self.post_mut(lead, number) {
            post.answer = Some(answer);
            post.completed |= answer == Answer::Completed;
            post.failed |= answer == Answer::Failed;
        }
    }

    fn showed(&mut self, query: u32, muted: Option<bool>) {
        let Some(at) = self.queries.iter().position(|(asked, _)| *asked == query) else {
            return;
        };
        let Some((_, begun)) = self.queries.remove(at) else {
            return;
        };
        if let Some(post) = self.posts.back_mut()
            && begun > post.sent
            && muted.is_some_and(|muted| muted != post.action.wants_muted())
        {
            post.fruitless = true;
        }
    }

    fn durable(&mut self, records: u32) {
        for _ in 0..records {
            let Some(note) = self.pending.pop_front() else {
                return;
            };
            self.keep(note);
        }
    }

    fn keep(&mut self, note: Note) {
        match note {
            Note::Accepted { command } => {
                if let Some(command) = self.commands.get_mut(&command) {
                    command.durable = true;
                }
            }
            Note::Attempt { lead, number } => {
                if let Some(command) = self.commands.get_mut(&lead) {
                    command.intended = command.intended.max(number);
                }
            }
            Note::Verdict { command, end } => {
                if let Some(command) = self.commands.get_mut(&command) {
                    command.kept = Some(end);
                }
            }
            Note::Epoch(epoch) => self.kept_epoch = epoch,
            Note::Window { ends } => self.window = ends,
            Note::Closed => self.closed = true,
            Note::Other => {}
        }
    }

    fn took(&mut self, by: Option<(CommandId, u8)>, muted: bool) {
        if let Some((lead, number)) = by
            && let Some(post) = self.post_mut(lead, number)
        {
            post.took = true;
            post.reached = true;
        }
        let order = self.order;
        match &mut self.truth {
            Some(truth) if truth.muted == muted => {}
            Some(truth) => {
                truth.ceased[usize::from(truth.muted)] = Some(order);
                truth.muted = muted;
                truth.by = by;
                self.host_acted |= by.is_none();
                if by.is_none() {
                    self.host_at = Some(self.now);
                }
            }
            none => {
                *none = Some(Truth {
                    muted,
                    by,
                    ceased: [None; 2],
                });
            }
        }
    }

    fn shown(&mut self, participant: u64, number: Option<u64>, there: bool) {
        let (false, Some(number)) = (there, number) else {
            return;
        };
        let mut graves = self.graves.iter_mut();
        if let Some((_, at)) = graves.find(|(buried, _)| *buried == participant) {
            *at = number.max(*at);
            return;
        }
        if self.graves.len() == GRAVES {
            self.graves.pop_front();
        }
        self.graves.push_back((participant, number));
    }

    /// Whatever was not written down is gone, and with it what only the process knew.
    fn crashed(&mut self, kept: u32) {
        self.durable(kept);
        let lost = std::mem::take(&mut self.pending);
        for note in lost {
            match note {
                // Nobody knows of it any more.
                Note::Accepted { command } => {
                    let known = self.commands.remove(&command);
                    if known.is_some_and(|command| command.end().is_none()) {
                        self.open -= 1;
                    }
                }
                Note::Verdict { command, .. } => {
                    if let Some(command) = self.commands.get_mut(&command) {
                        command.written = None;
                        if command.end().is_none() {
                            self.open += 1;
                        }
                    }
                    self.settled.retain(|settled| *settled != command);
                    self.success = None;
                }
                _ => {}
            }
        }
        for command in self.commands.values_mut() {
            command.written = command.kept;
            command.crashed |= command.end().is_none();
        }
        self.epoch = self.kept_epoch;
        self.learned = self.learned.filter(|_| self.closed);
        self.up = false;
        self.in_flight = None;
        self.queries.clear();
        self.throttled_until = None;
        self.graves.clear();
        for watcher in self.watchers.values_mut() {
            watcher.there = false;
        }
    }
}

impl Post {
    fn is(&self, lead: CommandId, number: u8) -> bool {
        self.lead == lead && self.number == number
    }
}
