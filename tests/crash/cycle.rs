//! Cycles of work, kill and restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use openmic_model::Action;
use openmic_tests::Random;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::bot::{Command, Reply, create, established};
use crate::history::{Judge, Nameless, Truth};
use crate::house::{Furnishing, House};
use crate::road::Point;
use crate::watcher::Watcher;

/// Calls open at a time.
const CALLS: usize = 5;
/// Commands to each of them in a cycle.
const COMMANDS: usize = 4;
/// Subscribers of each of them.
const WATCHERS: u32 = 4;
/// How long subscribers may take to hold what is true.
const CONVERGE: Duration = Duration::from_secs(20);

/// What was counted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) cycles: u32,
    pub(crate) commands: u64,
    pub(crate) calls: u64,
    pub(crate) points: BTreeMap<String, u32>,
    pub(crate) verdicts: BTreeMap<String, u64>,
    /// From the start of the process to `/readyz`, in milliseconds.
    pub(crate) ready: Vec<u64>,
    /// From the start of the process to the last verdict, in milliseconds.
    pub(crate) settled: Vec<u64>,
    pub(crate) posts: u64,
    pub(crate) effects: u64,
    pub(crate) entries: u64,
    pub(crate) connections: u64,
    pub(crate) deltas: u64,
    pub(crate) snapshots: u64,
}

struct Call {
    id: String,
    watchers: Vec<Watcher>,
}

/// A house with its calls.
pub(crate) struct World {
    pub(crate) house: Arc<House>,
    judge: Judge,
    truth: Truth,
    /// Commands of this cycle that were told 404 and no name.
    nameless: Vec<Nameless>,
    calls: Vec<Call>,
    random: Random,
    watchers: u32,
    keys: u64,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) async fn begin(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let house = House::build(&mut random, Furnishing::default()).await;
        let truth = house.truth();
        house.start();
        house.ready().await;
        Self {
            house: Arc::new(house),
            judge: Judge::new(),
            truth,
            nameless: Vec::new(),
            calls: Vec::new(),
            random,
            watchers: 0,
            keys: 0,
            tally: Tally::default(),
        }
    }

    fn key(&mut self, what: &str) -> String {
        self.keys += 1;
        format!("{what}-{}", self.keys)
    }

    /// Asks for a call until there is one.
    async fn join(&mut self) -> Result<(), String> {
        let id = loop {
            let key = self.key("create");
            match create(&self.house, "19:meeting_crash@thread.v2", &key).await? {
                Some(id) => break id,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        self.take_on(id).await
    }

    async fn take_on(&mut self, id: String) -> Result<(), String> {
        established(&self.house, &id).await?;
        self.tally.calls += 1;
        let watchers = (0..WATCHERS)
            .map(|_| {
                self.watchers += 1;
                let seed = self.random.below(u64::MAX);
                Watcher::watch(&self.house, &id, self.watchers, seed)
            })
            .collect();
        self.calls.push(Call { id, watchers });
        Ok(())
    }

    /// One cycle.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) async fn cycle(&mut self, point: Point) -> Result<(), String> {
        while self.calls.len() < CALLS {
            self.join().await?;
        }
        let killer = self.arm(point);
        let mut work = Vec::new();
        for call in 0..CALLS {
            let commands = self.commands(call);
            let (burst, seed) = (self.random.below(4) == 0, self.random.below(u64::MAX));
            work.push(give(Arc::clone(&self.house), commands, burst, seed));
        }
        let newcomer = matches!(point, Point::Create | Point::Created).then(|| self.key("create"));
        let creating = async {
            match &newcomer {
                Some(key) => create(&self.house, "19:meeting_crash@thread.v2", key).await,
                None => Ok(None),
            }
        };
        let (given, created) = tokio::join!(join_all(work), creating);
        if let Some(killer) = killer {
            killer.await.map_err(|error| error.to_string())?;
        }
        // a cycle without its point ends all the same
        self.house.trap.kill();
        let mut commands = Vec::new();
        for given in given {
            commands.extend(given?);
        }
        let born = self.restart(point).await?;
        self.settle(&mut commands, born).await?;
        if let Some(key) = newcomer {
            self.create_again(created?, key).await?;
        }
        // a drain ends every command before it hangs up, and is killed in between
        if point != Point::Drain {
            self.gone_are_over(&commands).await?;
        }
        self.nameless = commands.iter().filter_map(Command::nameless).collect();
        self.bury().await?;
        self.converge().await?;
        self.judge()?;
        if !self.calls.is_empty() && self.random.below(3) == 0 {
            self.hang_up().await?;
        }
        self.tally.cycles += 1;
        *self.tally.points.entry(format!("{point:?}")).or_default() += 1;
        Ok(())
    }

    /// Sets the trap of `point`, or begins what kills at no point of the protocol.
    fn arm(&mut self, point: Point) -> Option<JoinHandle<()>> {
        let trap = Arc::clone(&self.house.trap);
        let wait = Duration::from_millis(self.random.below(150));
        let last = Duration::from_millis(self.random.below(60));
        match point {
            Point::Random | Point::Startup => Some(tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                trap.kill();
            })),
            Point::Drain => Some(tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                trap.ask_to_end();
                tokio::time::sleep(last).await;
                trap.kill();
            })),
            Point::Create | Point::Created => {
                trap.set(point, 0);
                None
            }
            _ => {
                trap.set(point, self.random.below(8));
                None
            }
        }
    }

    fn commands(&mut self, call: usize) -> Vec<Command> {
        let id = self.calls[call].id.clone();
        (0..COMMANDS)
            .map(|_| {
                let actions = [Action::Unmute, Action::Mute];
                let action = *self.random.pick(&actions);
                let key = self.key("command");
                Command::new(&id, action, key)
            })
            .collect()
    }

    /// Starts the engine again, perhaps more than once.
    async fn restart(&mut self, point: Point) -> Result<Instant, String> {
        if point == Point::Startup {
            for _ in 0..=self.random.below(2) {
                self.house.start();
                let wait = Duration::from_millis(self.random.below(150));
                tokio::time::sleep(wait).await;
                self.house.trap.kill();
            }
        }
        let born = Instant::now();
        self.house.start();
        Ok(born)
    }

    /// Every command gets its one verdict, and keeps it.
    async fn settle(&mut self, commands: &mut [Command], born: Instant) -> Result<(), String> {
        let house = Arc::clone(&self.house);
        let settling = async {
            let settled = commands.iter_mut().map(|command| command.settle(&house));
            join_all(settled)
                .await
                .into_iter()
                .collect::<Result<(), _>>()?;
            Ok::<_, String>(born.elapsed())
        };
        let ready = async {
            house.ready().await;
            born.elapsed()
        };
        let (settled, ready) = tokio::join!(settling, ready);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.tally.settled.push(millis(settled?));
        self.tally.ready.push(millis(ready));
        for command in commands.iter_mut() {
            if command.end.is_some() {
                command.read_again(&self.house).await?;
            }
            let Some(end) = command.end else {
                *self
                    .tally
                    .verdicts
                    .entry("call gone".to_owned())
                    .or_default() += 1;
                continue;
            };
            self.tally.commands += 1;
            let word = serde_json::to_value(end).expect("a word");
            let word = word
                .as_str()
                .map_or_else(|| word.to_string(), str::to_owned);
            *self.tally.verdicts.entry(word).or_default() += 1;
        }
        Ok(())
    }

    /// A call that is said to be gone is.
    async fn gone_are_over(&mut self, commands: &[Command]) -> Result<(), String> {
        let start = Instant::now();
        loop {
            self.truth.poll(&self.house.seen);
            let open = |call: &str| self.truth.open.contains_key(call);
            let said = commands.iter().find(|one| one.gone && open(&one.call));
            match said {
                None => return Ok(()),
                Some(one) if start.elapsed() > CONVERGE => {
                    return Err(format!("{one:?} was told 404 and its call is open"));
                }
                Some(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Takes leave of the calls that are over, as those that a drain hung up.
    async fn bury(&mut self) -> Result<(), String> {
        self.truth.poll(&self.house.seen);
        let (open, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.calls)
            .into_iter()
            .partition(|call| self.truth.open.contains_key(&call.id));
        self.calls = open;
        self.judge()?;
        for call in over {
            told_over(&call).await?;
            self.count(&call);
            self.judge.close(&call.id)?;
        }
        Ok(())
    }

    /// The create that the kill may have hit is asked for again.
    async fn create_again(&mut self, created: Option<String>, key: String) -> Result<(), String> {
        let again = create(&self.house, "19:meeting_crash@thread.v2", &key).await?;
        match (created, again) {
            (Some(told), Some(again)) if told != again => {
                Err(format!("{key} created {told}, and {again} when repeated"))
            }
            (Some(id), _) | (None, Some(id)) => self.take_on(id).await,
            (None, None) => Ok(()),
        }
    }

    /// Every subscriber comes to hold what is true.
    async fn converge(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            self.truth.poll(&self.house.seen);
            let wrong = self.wrong().await?;
            let Some(wrong) = wrong else { return Ok(()) };
            if start.elapsed() > CONVERGE {
                return Err(format!("I-14: {wrong}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn wrong(&self) -> Result<Option<String>, String> {
        for call in &self.calls {
            let path = format!("/v1/calls/{}/roster", call.id);
            let Some((status, roster)) = self.house.ask(Method::GET, &path, &[], None).await else {
                return Ok(Some("no answer".to_owned()));
            };
            let mut hash = None;
            if status == 200 {
                let entries = roster["participants"].as_array().into_iter().flatten();
                let entries: BTreeMap<_, _> = entries
                    .map(|entry| (entry["id"].as_str().unwrap_or_default(), &entry["isMuted"]))
                    .collect();
                for (open, (participant, muted)) in &self.truth.open {
                    if entries.get(participant.as_str()) != Some(&&json!(muted)) {
                        return Ok(Some(format!(
                            "{}: {participant} of {open} is muted: {muted}, and not in {roster}",
                            call.id
                        )));
                    }
                }
                let text = roster["hash"].as_str().unwrap_or_default();
                hash = u64::from_str_radix(text, 16).ok();
            } else if status != 503 {
                return Err(format!("{path} was answered {status} {roster}"));
            }
            for watcher in &call.watchers {
                let held = watcher.held.borrow().clone();
                if let Some(said) = held.unknown {
                    return Err(format!("a subscriber of {} was told 404: {said}", call.id));
                }
                if Some(held.hash) != hash {
                    return Ok(Some(format!(
                        "a subscriber of {} at {:?} holds another roster",
                        call.id, held.version
                    )));
                }
            }
        }
        Ok(None)
    }

    fn judge(&mut self) -> Result<(), String> {
        self.truth.poll(&self.house.seen);
        let nameless = std::mem::take(&mut self.nameless);
        self.judge.judge(&self.house.seen, nameless)?;
        self.tally.posts = self.truth.posts;
        self.tally.effects = self.truth.effects;
        self.tally.entries = self.judge.entries;
        Ok(())
    }

    /// One call ends; its subscribers are told.
    async fn hang_up(&mut self) -> Result<(), String> {
        let at = usize::try_from(self.random.below(self.calls.len() as u64)).expect("an index");
        let call = self.calls.swap_remove(at);
        let path = format!("/v1.0/communications/calls/{}", call.id);
        let answer = self.house.ask(Method::DELETE, &path, &[], None).await;
        if !matches!(answer, Some((204, _))) {
            return Err(format!("a hang-up was answered {answer:?}"));
        }
        told_over(&call).await?;
        self.count(&call);
        self.judge()?;
        self.judge.close(&call.id)
    }

    fn count(&mut self, call: &Call) {
        for watcher in &call.watchers {
            let held = watcher.held.borrow();
            self.tally.connections += u64::from(held.connections);
            self.tally.deltas += held.deltas;
            self.tally.snapshots += held.snapshots;
        }
    }

    /// The end of a run.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) async fn finish(&mut self) -> Result<(), String> {
        self.house.seen.note("*", openmic_checker::What::Calm);
        self.converge().await?;
        self.judge()?;
        self.judge.finish()?;
        for call in std::mem::take(&mut self.calls) {
            self.count(&call);
        }
        let sprung = self.house.trap.sprung.load(Ordering::Relaxed);
        self.tally.points.insert("sprung".to_owned(), sprung);
        Ok(())
    }
}

/// Waits until every subscriber of a call knows that it is over.
async fn told_over(call: &Call) -> Result<(), String> {
    for watcher in &call.watchers {
        let mut held = watcher.held.clone();
        // one that is just coming back finds no roster any more
        let over = held.wait_for(|held| held.over || held.unknown.is_some());
        let told = tokio::time::timeout(CONVERGE, over).await;
        if !matches!(told, Ok(Ok(_))) {
            return Err(format!("a subscriber of {} is not told its end", call.id));
        }
    }
    Ok(())
}

/// Gives a call its commands, one after another or all at once.
async fn give(
    house: Arc<House>,
    mut commands: Vec<Command>,
    burst: bool,
    seed: u64,
) -> Result<Vec<Command>, String> {
    let mut random = Random::new(seed);
    let preferences = ["wait=60", "respond-async", "wait=1"];
    if burst {
        let sent = commands
            .iter_mut()
            .map(|command| command.send(&house, preferences[1]));
        join_all(sent)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(commands);
    }
    for command in &mut commands {
        let prefer = *random.pick::<&str>(&preferences);
        if command.send(&house, prefer).await? == Reply::Nothing {
            break;
        }
    }
    Ok(commands)
}

/// A run as JSON.
pub(crate) fn report(seed: u64, worlds: &[Tally], took: Duration, failed: &[String]) -> Value {
    let sum = |of: fn(&Tally) -> u64| worlds.iter().map(of).sum::<u64>();
    let mut points: BTreeMap<&str, u64> = BTreeMap::new();
    let mut verdicts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut ready, mut settled) = (Vec::new(), Vec::new());
    for world in worlds {
        for (point, count) in &world.points {
            *points.entry(point).or_default() += u64::from(*count);
        }
        for (verdict, count) in &world.verdicts {
            *verdicts.entry(verdict).or_default() += count;
        }
        ready.extend(&world.ready);
        settled.extend(&world.settled);
    }
    json!({
        "seed": seed,
        "version": env!("CARGO_PKG_VERSION"),
        "machine": {"os": std::env::consts::OS, "processors": std::thread::available_parallelism().map_or(0, usize::from)},
        "seconds": took.as_secs_f64(),
        "cycles": sum(|world| u64::from(world.cycles)),
        "calls": sum(|world| world.calls),
        "commands": sum(|world| world.commands),
        "verdicts": verdicts,
        "points": points,
        "posts_that_reached_the_service": sum(|world| world.posts),
        "effects": sum(|world| world.effects),
        "subscriptions": sum(|world| world.connections),
        "deltas": sum(|world| world.deltas),
        "snapshots": sum(|world| world.snapshots),
        "entries_judged": sum(|world| world.entries),
        "ready_ms": quantiles(ready),
        "settled_ms": quantiles(settled),
        "violations": failed,
    })
}

fn quantiles(mut all: Vec<u64>) -> Value {
    all.sort_unstable();
    let at = |part: usize| all.get((all.len().saturating_sub(1)) * part / 100).copied();
    json!({"p50": at(50), "p90": at(90), "p99": at(99), "max": all.last()})
}
