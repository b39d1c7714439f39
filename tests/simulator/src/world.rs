//! What all parts of a simulated life share: time, chance, faults, and the judge.

use openmic_checker::{Breach, CallChecker, Limits, What};
use openmic_machine::{Event, QueryId};
use openmic_model::{Action, OperationId};

use crate::agenda::{Agenda, Millis};
use crate::faults::{Fault, Rates};
use crate::random::Random;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Doing {
    /// An answer reaches the process that asked, if it is still that one.
    Reply(u32, Event),
    /// A notification reaches the process, if there is one.
    Hook(Event),
    /// Graph has the create, or the answer to a ring.
    Establish(u32),
    /// Graph says that the call is up.
    Up,
    /// A POST takes effect.
    Act(usize),
    /// A POST's operation fails.
    Fail(usize),
    /// A GET is served.
    ServeSelf(u32, QueryId),
    ServeRoster(u32, QueryId),
    ServeCall(u32, QueryId),
    ServeOperation(u32, QueryId, OperationId),
    ServeKeepAlive(u32),
    ServeHangUp(u32),
    HostSets(bool),
    SomebodyComesOrGoes,
    RemoteEnd,
    Forge,
    /// The bot asks.
    Ask {
        action: Action,
        within: Millis,
        speak_for: Option<Millis>,
        /// It wants to be told at once that the command is accepted.
        acknowledged: bool,
    },
    HangUp,
    /// The commit under way ends.
    Synced(u32),
    DiskFull(bool),
    Crash,
    Boot,
    Freeze(Millis),
    ClockJumps(i64),
    Subscribe(usize),
    Write(usize),
    Cut(usize),
    Calm,
}

/// The judge, and what it was told.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) checker: CallChecker,
    pub(crate) breach: Option<Breach>,
    /// Everything that happened, in words; `None` when nobody reads it.
    pub(crate) story: Option<Vec<String>>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Millis,
    pub(crate) agenda: Agenda<Doing>,
    pub(crate) random: Random,
    pub(crate) rates: Rates,
    pub(crate) judge: Judge,
    /// The process counts its starts; what an older one asked for reaches nobody.
    pub(crate) life: u32,
}

impl World {
    pub(crate) fn new(seed: u64, limits: Limits, told: bool) -> Self {
        let mut random = Random::new(seed);
        let rates = Rates::swarm(&mut random);
        Self {
            now: 0,
            agenda: Agenda::default(),
            random,
            rates,
            judge: Judge {
                checker: CallChecker::new(limits),
                breach: None,
                story: told.then(Vec::new),
            },
            life: 0,
        }
    }

    /// So much later.
    pub(crate) fn later(&mut self, pause: Millis, doing: Doing) {
        self.agenda.put(self.now + pause, doing);
    }

    #[inline]
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        self.rates.strikes(fault, &mut self.random)
    }

    /// How long something takes on the network.
    pub(crate) fn delay(&mut self) -> Millis {
        if self.strikes(Fault::Slow) {
            self.random.between(100, 6000)
        } else {
            self.random.between(1, 80)
        }
    }

    /// Tells the judge.
    #[inline]
    pub(crate) fn note(&mut self, what: &What) {
        if self.judge.story.is_some() {
            self.say(|| format!("    {what:?}"));
        }
        if let Err(breach) = self.judge.checker.take(self.now * 1000, what) {
            self.judge.breach.get_or_insert(breach);
        }
    }

    /// Adds to the story, when somebody reads it.
    #[inline]
    pub(crate) fn say(&mut self, words: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.judge.story {
            story.push(format!("{:>9.3} s  {}", Seconds(now).whole(), words()));
        }
    }

    /// What the simulator itself finds wrong.
    pub(crate) fn broken(&mut self, invariant: &'static str, why: impl FnOnce() -> String) {
        if self.judge.breach.is_none() {
            self.judge.breach = Some(Breach {
                invariant,
                why: why(),
                call: None,
            });
        }
    }
}

struct Seconds(Millis);

impl Seconds {
    fn whole(&self) -> f64 {
        std::time::Duration::from_millis(self.0).as_secs_f64()
    }
}
