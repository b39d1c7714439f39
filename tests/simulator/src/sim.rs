//! One life of a call, from a seed.

use openmic_checker::{Breach, Limits, What};
use openmic_machine::{Event, Phase};
use openmic_model::{Action, CommandId, EndCause, OperationStatus, WallTime};

use crate::agenda::Millis;
use crate::coverage::Coverage;
use crate::disk::Disk;
use crate::faults::Fault;
use crate::graph::Graph;
use crate::hub::Hub;
use crate::process::{Around, Died, Plan, Process};
use crate::random::Random;
use crate::tally::Tally;
use crate::world::{Doing, World};

/// After the faults: by then a keepAlive's audit has found what lost notifications hid.
const CALM: Millis = 25 * 60_000;
/// The wall clock at the start: late in 2025.
const WALL: u64 = 1_764_000_000_000;
/// A day.
const DAY: i64 = 86_400_000;

/// What a seed came to.
#[derive(Debug)]
pub(crate) struct Lived {
    pub(crate) breach: Option<Breach>,
    pub(crate) story: Vec<String>,
}

/// Where lives are counted.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) tally: Tally,
    pub(crate) coverage: Coverage,
    pub(crate) faults: [u64; Fault::ALL.len()],
}

impl Books {
    pub(crate) fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.coverage.add(&other.coverage);
        for (sum, more) in self.faults.iter_mut().zip(other.faults) {
            *sum += more;
        }
    }
}

struct Sim<'a> {
    world: World,
    graph: Graph,
    hub: Hub,
    disk: Disk,
    books: &'a mut Books,
    process: Option<Process>,
    plan: Plan,
    /// What the wall clock is off by.
    skew: i64,
    frozen_until: Millis,
    fragile: u64,
    crashes_left: u32,
    storm: Millis,
    /// Faults stop at the end of the storm, and everything must settle.
    settles: bool,
}

/// Lives through `seed`. `told` keeps the story.
pub(crate) fn live(seed: u64, books: &mut Books, told: bool) -> Lived {
    let mut sim = Sim::new(seed, books, told);
    sim.books.tally.begin();
    sim.begin();
    sim.go();
    sim.finish()
}

fn limits() -> Limits {
    Limits {
        // Beyond a command's own time the disk may be slow, or the process frozen.
        settle: 60_000_000,
        end: 60_000_000,
        converge: 23 * 60_000_000,
        ..Limits::default()
    }
}

impl<'a> Sim<'a> {
    fn new(seed: u64, books: &'a mut Books, told: bool) -> Self {
        let mut world = World::new(seed, limits(), told);
        let plan = Plan {
            rings: world.random.percent(25),
            join_muted: world.random.percent(50),
        };
        let graph = Graph::new(&mut world, plan.rings);
        let subscribers = usize::try_from(world.random.below(3)).unwrap_or(0);
        let crashy = world.random.percent(40);
        let storm = world.random.between(30_000, 400_000);
        let settles = world.random.percent(60);
        let fragile = if crashy && world.random.percent(50) {
            world.random.between(1, 100)
        } else {
            0
        };
        let crashes_left = if crashy {
            u32::try_from(world.random.between(1, 6)).unwrap_or(1)
        } else {
            0
        };
        Self {
            hub: Hub::new(subscribers),
            disk: Disk::default(),
            process: None,
            skew: 0,
            frozen_until: 0,
            fragile,
            crashes_left,
            storm,
            settles,
            world,
            graph,
            books,
            plan,
        }
    }

    /// What the bot, the host, the others and bad luck will do.
    fn begin(&mut self) {
        self.plan_commands();
        let storm = self.storm;
        let world = &mut self.world;
        let at = |random: &mut Random| random.below(storm);
        for _ in 0..world.random.below(10) {
            let at = at(&mut world.random);
            world.agenda.put(at, Doing::SomebodyComesOrGoes);
        }
        if world.random.percent(25) {
            for _ in 0..world.random.between(1, 10) {
                let at = at(&mut world.random);
                let muted = world.random.percent(60);
                world.agenda.put(at, Doing::HostSets(muted));
            }
        }
        if world.random.percent(18) {
            let at = at(&mut world.random);
            world.agenda.put(at, Doing::RemoteEnd);
        }
        if world.random.percent(6) {
            let at = at(&mut world.random);
            world.agenda.put(at, Doing::HangUp);
            if world.random.percent(30) {
                let again = at + world.random.below(3000);
                world.agenda.put(again, Doing::HangUp);
            }
        }
        for _ in 0..world.random.below(4) {
            let at = at(&mut world.random);
            world.agenda.put(at, Doing::Forge);
        }
        for _ in 0..self.crashes_left {
            let at = at(&mut world.random);
            world.agenda.put(at, Doing::Crash);
        }
        if world.random.percent(10) {
            let at = at(&mut world.random);
            let pause = world.random.between(500, 45_000);
            world.agenda.put(at, Doing::Freeze(pause));
        }
        if world.random.percent(25) {
            for _ in 0..world.random.between(1, 3) {
                let at = at(&mut world.random);
                let bound = u64::try_from(2 * DAY).unwrap_or(0);
                let jump = i64::try_from(world.random.below(bound)).unwrap_or(0) - DAY;
                world.agenda.put(at, Doing::ClockJumps(jump));
            }
        }
        if world.random.percent(10) {
            let from = at(&mut world.random);
            let to = from + world.random.between(1000, 60_000);
            world.agenda.put(from, Doing::DiskFull(true));
            world.agenda.put(to.min(storm), Doing::DiskFull(false));
        }
        for at in 0..self.hub.len() {
            let first = world.random.below(5000);
            world.agenda.put(first, Doing::Subscribe(at));
            for _ in 0..world.random.below(4) {
                let when = world.random.below(storm);
                world.agenda.put(when, Doing::Cut(at));
            }
        }
        if self.settles {
            world.agenda.put(storm, Doing::Calm);
        }
        world.agenda.put(0, Doing::Boot);
    }

    /// Bots that speak in turns, bots in a hurry, bots that change their mind.
    fn plan_commands(&mut self) {
        let random = &mut self.world.random;
        let count = random.between(4, 60);
        let turns = random.percent(60);
        let hurried = random.percent(30);
        let patient = random.percent(50);
        let windows = if random.percent(40) { 50 } else { 0 };
        let words = random.below(101);
        let pause = self.storm / count;
        let mut at = random.below(3000);
        for number in 0..count {
            let unmute = if turns {
                number % 2 == 0
            } else {
                random.percent(60)
            };
            let action = if unmute { Action::Unmute } else { Action::Mute };
            let within = if patient {
                30_000
            } else if random.percent(40) {
                random.between(1000, 3000)
            } else {
                random.between(1000, 40_000)
            };
            let speak = unmute && random.percent(windows);
            let speak_for = speak.then(|| random.between(1000, 30_000));
            let acknowledged = random.percent(words);
            let doing = Doing::Ask {
                action,
                within,
                speak_for,
                acknowledged,
            };
            self.world.agenda.put(at, doing);
            at += if hurried && random.percent(50) {
                random.below(300)
            } else {
                random.below(2 * pause + 1)
            };
        }
    }

    fn go(&mut self) {
        let end = if self.settles {
            self.storm + CALM
        } else {
            self.storm
        };
        while self.world.judge.breach.is_none() {
            let planned = self.world.agenda.next_at();
            let timer = self.process.as_ref().and_then(Process::next_at);
            let timer = timer.map(|at| at.max(self.frozen_until));
            let next = match (planned, timer) {
                (Some(planned), Some(timer)) => planned.min(timer),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => break,
            };
            if next > end {
                break;
            }
            self.world.now = self.world.now.max(next);
            // Time first, as the actor does.
            let due = timer.is_some_and(|at| at <= self.world.now);
            self.books.tally.events += 1;
            if due {
                self.alive(Process::tick);
            } else if let Some(doing) = self.world.agenda.pop() {
                self.happens(doing);
            }
        }
        self.world.now = end.max(self.world.now);
    }

    /// Lets the process do something, when there is one; it may die of it.
    fn alive(&mut self, act: impl FnOnce(&mut Process, &mut Around<'_>) -> Result<(), Died>) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        match act(&mut process, &mut self.around()) {
            Ok(()) => self.process = Some(process),
            Err(Died) => self.crash(),
        }
    }

    fn around(&mut self) -> Around<'_> {
        let wall = WALL.saturating_add_signed(self.skew) + self.world.now;
        let fragile = if self.crashes_left > 0 {
            self.fragile
        } else {
            0
        };
        Around {
            wall: WallTime(wall),
            world: &mut self.world,
            graph: &mut self.graph,
            hub: &mut self.hub,
            disk: &mut self.disk,
            coverage: &mut self.books.coverage,
            tally: &mut self.books.tally,
            fragile,
        }
    }

    fn happens(&mut self, doing: Doing) {
        let now = self.world.now;
        if now < self.frozen_until && Self::needs_the_process(&doing) {
            self.world.agenda.put(self.frozen_until, doing);
            return;
        }
        let world = &mut self.world;
        match doing {
            Doing::Reply(life, event) => {
                if life == world.life {
                    self.alive(|process, around| process.step(around, &event));
                }
            }
            Doing::Hook(event) => self.letter(Doing::Hook(event)),
            Doing::Ask { .. } | Doing::HangUp => self.letter(doing),
            Doing::Establish(life) => self.graph.establish(world, life),
            Doing::Up => self.graph.up(world),
            Doing::Act(at) => self
                .graph
                .end_operation(world, at, OperationStatus::Completed),
            Doing::Fail(at) => self.graph.end_operation(world, at, OperationStatus::Failed),
            Doing::ServeSelf(life, query) => self.graph.serve_self(world, life, query),
            Doing::ServeRoster(life, query) => self.graph.serve_roster(world, life, query),
            Doing::ServeCall(life, query) => self.graph.serve_call(world, life, query),
            Doing::ServeOperation(life, query, id) => {
                self.graph.serve_operation(world, life, query, &id);
            }
            Doing::ServeKeepAlive(life) => self.graph.serve_keep_alive(world, life),
            Doing::ServeHangUp(life) => self.graph.serve_hang_up(world, life),
            Doing::HostSets(muted) => self.graph.host_sets(world, muted),
            Doing::SomebodyComesOrGoes => self.graph.somebody_comes_or_goes(world),
            Doing::RemoteEnd => self.graph.end(world),
            Doing::Forge => self.graph.forge(world),
            Doing::Synced(life) => {
                if life == world.life {
                    self.synced();
                }
            }
            Doing::DiskFull(full) => {
                self.disk.full = full;
                world.note(&What::DiskFull(full));
            }
            Doing::Crash => {
                if self.process.is_some() && self.crashes_left > 0 {
                    self.crash();
                }
            }
            Doing::Boot => self.boot(),
            Doing::Freeze(pause) => {
                world.say(|| format!("the process freezes for {pause} ms"));
                self.frozen_until = now + pause;
            }
            Doing::ClockJumps(by) => {
                self.skew += by;
                world.note(&What::Jumped(by));
            }
            Doing::Subscribe(at) => {
                if self.process.is_some() {
                    self.hub.subscribe(world, at);
                    self.alive(Process::watched);
                }
            }
            Doing::Write(at) => self.hub.write(world, at),
            Doing::Cut(at) => {
                self.hub.cut(world, at);
                self.alive(Process::watched);
            }
            Doing::Calm => {
                world.rates.calm();
                self.graph.strict_host = false;
                self.crashes_left = 0;
                world.note(&What::Calm);
            }
        }
    }

    const fn needs_the_process(doing: &Doing) -> bool {
        matches!(
            doing,
            Doing::Reply(..)
                | Doing::Hook(_)
                | Doing::Ask { .. }
                | Doing::HangUp
                | Doing::Synced(_)
                | Doing::Write(_)
                | Doing::Subscribe(_)
        )
    }

    /// Something for the mailbox: while the outbox is full it waits there.
    fn letter(&mut self, doing: Doing) {
        if self.process.as_ref().is_some_and(Process::is_full) {
            return self.world.later(20, doing);
        }
        let event = match doing {
            Doing::Hook(event) => event,
            Doing::HangUp => Event::HangUp,
            Doing::Ask {
                action,
                within,
                speak_for,
                acknowledged,
            } => {
                // Below the bytes that must be free no command is accepted.
                if self.process.is_none() || self.disk.full {
                    return;
                }
                let id = CommandId::new(self.world.random.wide());
                if acknowledged {
                    self.books.tally.promise(id);
                }
                Event::Command {
                    id,
                    action,
                    within: std::time::Duration::from_millis(within),
                    speak_for: speak_for.map(std::time::Duration::from_millis),
                }
            }
            _ => return,
        };
        self.alive(|process, around| process.step(around, &event));
    }

    /// The commit under way ended.
    fn synced(&mut self) {
        if self.world.strikes(Fault::DiskError) {
            // Poisoned: the process exits, and what it wrote last may be there or not.
            self.world
                .say(|| "the disk fails; the process exits".to_owned());
            return self.crash();
        }
        let records = u32::try_from(self.disk.commit()).unwrap_or(u32::MAX);
        self.world.note(&What::Durable { records });
        self.around().commit();
        self.alive(Process::durable);
    }

    fn crash(&mut self) {
        self.process = None;
        self.crashes_left = self.crashes_left.saturating_sub(1);
        self.books.tally.crashes += 1;
        let kept = self.world.random.percent(50);
        let kept = u32::try_from(self.disk.crash(kept)).unwrap_or(u32::MAX);
        self.world.life += 1;
        self.frozen_until = 0;
        self.world.note(&What::Crashed { kept });
        self.hub.crash();
        let pause = match self.world.random.below(10) {
            0 => self.world.random.between(10_000, 90_000),
            1..4 => self.world.random.between(1000, 10_000),
            _ => self.world.random.between(20, 1000),
        };
        self.world.later(pause, Doing::Boot);
    }

    fn boot(&mut self) {
        let plan = self.plan;
        let first = self.world.life == 0;
        let began = if first {
            Process::start(&mut self.around(), plan).map(Some)
        } else {
            Process::recover(&mut self.around())
        };
        match began {
            Ok(process) => self.process = process,
            Err(Died) => return self.crash(),
        }
        if !first {
            for at in 0..self.hub.len() {
                let pause = self.world.random.between(1, 3000);
                self.world.later(pause, Doing::Subscribe(at));
            }
        }
    }

    fn finish(mut self) -> Lived {
        for (sum, hits) in self.books.faults.iter_mut().zip(self.world.rates.hits) {
            *sum += u64::from(hits);
        }
        if self.world.judge.breach.is_none() {
            self.world.note(&What::Jumped(0));
            let last = self.world.judge.checker.finish();
            if let Err(breach) = last {
                self.world.judge.breach.get_or_insert(breach);
            }
            if self.settles {
                self.knows_the_truth();
            }
        }
        Lived {
            breach: self.world.judge.breach,
            story: self.world.judge.story.unwrap_or_default(),
        }
    }

    /// In the end the machine knows what is so.
    fn knows_the_truth(&mut self) {
        let Some(process) = &self.process else { return };
        let phase = process.machine.phase();
        if !self.graph.exists() {
            if !process.machine.is_over() {
                self.world.broken("I-14", || {
                    format!("the call is gone, and for the engine {phase}")
                });
            }
            return;
        }
        let Some(muted) = self.graph.muted() else {
            return;
        };
        if let Some(ending) = process.machine.ending() {
            // A hang-up that Graph never answered is given up; a create of which nothing was ever
            // heard cannot be looked for.
            if matches!(ending.cause, EndCause::Remote | EndCause::Gone) {
                self.world.broken("I-14", || {
                    "for the engine the call is over, and it is not".to_owned()
                });
            }
            return;
        }
        let right = if muted { Phase::Muted } else { Phase::Unmuted };
        if phase != right {
            self.world.broken("I-14", || {
                format!("in the end it is {right}, and for the engine {phase}")
            });
        }
        let roster = process.machine.roster().iter();
        let held = roster
            .map(|entry| crate::graph::hash_of(entry.id.as_str(), entry.is_muted))
            .fold(0, u64::wrapping_add);
        if held != self.graph.hash() {
            self.world.broken("I-14", || {
                "in the end the engine's roster is not the true one".to_owned()
            });
        }
    }
}
