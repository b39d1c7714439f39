//! The whole shell on virtual time: real actors, registry, supervisor, journal and recovery on one
//! thread, against a Graph, a network and a disk of one seed. Processes end in the middle of
//! whatever they do and are started anew on the same disk; what happened is judged by the
//! checker that judges the simulator and the real program.
//!
//! It is what turmoil would be used for. That simulates TCP under hyper; our client is reqwest, which
//! brings its own connector, and the fan-out and the journal have threads of their own, none of which
//! runs inside of it. So the cut is above HTTP, where a request becomes the machine's words, and what
//! lies below is tested over real sockets.

mod disk;
mod line;
mod weather;
mod world;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use openmic_checker::{Breach, Checker, Entry, Limits, What};
use openmic_graph::{Credential, GraphClient, GraphConfig};
use openmic_hub::{Hub, HubConfig};
use openmic_journal::{Journal, Keeping, MemoryStore};
use openmic_machine::Phase;
use openmic_model::{Action, AppId, CallId, CommandId, OperationId, TenantId, Verdict};
use openmic_wire::notification::{self, Item};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use disk::Disk;
pub(crate) use line::Line;
use world::{Due, World};

use super::stage::{APP, TENANT, join};
use crate::{Call, CommandOptions, DeliverError, Engine, Owner, RosterEvent};

/// Seeds of one run without `OPENMIC_SHELL_SEEDS`.
const SEEDS: u64 = 250;
/// Where they begin without `OPENMIC_SHELL_SEED`.
const FIRST: u64 = 1;
/// Calls at a time.
const CALLS: usize = 3;
/// Processes of one seed.
const LIVES: u64 = 4;

/// A command as its bot knows it.
#[derive(Debug, Clone)]
struct Given {
    call: CallId,
    operation: OperationId,
    command: CommandId,
}

/// What outlives a process: the world, the disk, and the bots' memory.
struct Seed {
    number: u64,
    world: Arc<Mutex<World>>,
    store: MemoryStore,
    given: Arc<Mutex<Vec<Given>>>,
}

/// What a seed came to.
#[derive(Debug, Default)]
struct Sum {
    commands: usize,
    crashes: u64,
    drains: usize,
    unmutes: usize,
}

fn client() -> GraphClient {
    let nowhere = |path: &str| Url::parse(&format!("http://127.0.0.1:9{path}")).unwrap();
    let credential = Credential {
        tenant: TenantId::parse(TENANT).unwrap(),
        app: AppId::parse(APP).unwrap(),
        secret: "none".into(),
    };
    let config = GraphConfig::new(nowhere("/v1.0"), nowhere(""), credential);
    GraphClient::new(&config, &openmic_graph::Metrics::new()).unwrap()
}

/// One process.
struct Life {
    engine: Engine,
    journal: Journal,
    line: Line,
    given: Arc<Mutex<Vec<Given>>>,
    known: Arc<Mutex<HashSet<CallId>>>,
}

impl Life {
    fn begin(seed: &Seed) -> Self {
        seed.world.lock().begin();
        let disk = Disk {
            store: seed.store.clone(),
            world: Arc::clone(&seed.world),
        };
        let (journal, found) = Journal::by_hand(Box::new(disk), Keeping::default()).unwrap();
        let line = Line(Arc::clone(&seed.world));
        let hub = Hub::start(HubConfig {
            shards: 1,
            ..HubConfig::default()
        });
        let owner = Owner {
            app: AppId::parse(APP).unwrap(),
            tenant: TenantId::parse(TENANT).unwrap(),
        };
        let public = Url::parse("https://bot.example/").unwrap();
        let engine = Engine::builder(client(), owner, public)
            .hub(hub.unwrap())
            .journal(journal.clone(), found)
            .line(line.clone())
            .retention(Duration::from_mins(10))
            .build()
            .unwrap();
        seed.world.lock().engine = Some(engine.clone());
        let life = Self {
            engine,
            journal,
            line,
            given: Arc::clone(&seed.given),
            known: Arc::default(),
        };
        tokio::spawn(pump(life.line.clone()));
        tokio::spawn(life.disk());
        tokio::spawn(life.trouble());
        life
    }

    /// The disk has what was appended after a while, together.
    fn disk(&self) -> impl Future<Output = ()> + use<> {
        let (journal, world) = (self.journal.clone(), Arc::clone(&self.line.0));
        async move {
            loop {
                let pause = {
                    let mut world = world.lock();
                    let slow = if world.calm { 500 } else { world.weather.disk };
                    world.rng.millis(slow) + Duration::from_micros(300)
                };
                sleep(pause).await;
                journal.write_now();
            }
        }
    }

    /// Networks are cut, hosts mute, humans act, calls end.
    fn trouble(&self) -> impl Future<Output = ()> + use<> {
        let world = Arc::clone(&self.line.0);
        async move {
            loop {
                let pause = world.lock().rng.millis(2_000);
                sleep(pause).await;
                let mut world = world.lock();
                if world.calm {
                    continue;
                }
                let storms = world.weather.storms;
                let until = world.now() + 1_000 * world.rng.below(20_000);
                if world.rng.chance(storms) {
                    world.graph_cut = until;
                }
                if world.rng.chance(storms) {
                    world.hooks_cut = until;
                }
                world.somebody_acts();
            }
        }
    }

    /// Makes calls while there are fewer than there should be.
    async fn join(&self) {
        while self.line.0.lock().up() < CALLS {
            let muted = self.line.0.lock().rng.chance(500);
            let joined = self.engine.join(join(Some(muted)));
            match timeout(Duration::from_mins(1), joined).await {
                Ok(Ok(call)) => self.attend(&call),
                Ok(Err(_)) => sleep(Duration::from_secs(1)).await,
                Err(elapsed) => panic!("a create has no end: {elapsed}"),
            }
        }
    }

    /// A bot and a watcher for a call, once.
    fn attend(&self, call: &Call) {
        if !self.known.lock().insert(call.id().clone()) {
            return;
        }
        tokio::spawn(watch(self.line.clone(), call.clone()));
        tokio::spawn(bot(
            self.line.clone(),
            call.clone(),
            Arc::clone(&self.given),
        ));
    }

    fn attend_all(&self) {
        for call in self.engine.calls() {
            self.attend(&call);
        }
    }

    /// Asks for the verdict of everything that was ever asked: each must be known, and the same.
    async fn look_back(&self) {
        let given = self.given.lock().clone();
        for Given {
            call,
            operation,
            command,
        } in given
        {
            let live = self.engine.call(&call);
            let record = live.as_ref().and_then(|live| live.operation(&operation));
            let told = if let Some(record) = record {
                Some(record.verdict)
            } else {
                let kept = self.journal.operation(&call, &operation).await.unwrap();
                kept.map(|kept| kept.verdict.map(|(_, verdict)| verdict))
            };
            let what = match told {
                Some(Some(verdict)) => What::Told {
                    command,
                    end: (&verdict).into(),
                },
                // It runs.
                Some(None) => continue,
                None => What::Forgotten { command },
            };
            self.line.note(&call, what);
        }
    }
}

/// Brings what is due: effects to the world, notifications to the engine.
async fn pump(line: Line) {
    let woken = Arc::clone(&line.0.lock().woken);
    loop {
        let next = line.0.lock().next_due();
        match next {
            Ok(Due::Effect(effect)) => effect(&mut line.0.lock()),
            Ok(Due::Notice { key, entry, tries }) => {
                let engine = line.0.lock().engine.clone();
                let body = json!({"value": [&entry]}).to_string();
                let batch = notification::decode(body.as_bytes()).unwrap();
                let operations = batch.notifications.clone();
                let tenant = TenantId::parse(TENANT).unwrap();
                let engine = engine.expect("the pump ends with its process");
                match engine.deliver(&key, Some(&tenant), batch.notifications) {
                    Ok(_) => {
                        for told in operations {
                            if let (Some(id), Item::Operation(operation)) = (told.call, told.item) {
                                line.0.lock().told_of(id.as_str(), &operation);
                            }
                        }
                    }
                    // Not taken: it comes again.
                    Err(DeliverError::Busy) if tries < 5 => {
                        let tries = tries + 1;
                        let again = Due::Notice { key, entry, tries };
                        line.0.lock().schedule(Duration::from_millis(250), again);
                    }
                    Err(_) => {}
                }
            }
            Err(None) => woken.notified().await,
            Err(Some(wait)) => {
                // Sooner, if something sooner comes up.
                drop(timeout(wait, woken.notified()).await);
            }
        }
    }
}

/// A subscriber: writes down each version it is shown.
async fn watch(line: Line, call: Call) {
    let subscriber = 1;
    line.note(call.id(), What::Joined { subscriber });
    let mut roster = call.roster();
    while let Some(event) = roster.next().await {
        let (version, whole) = match &event {
            RosterEvent::Snapshot(version) => (version.version, true),
            RosterEvent::Delta(version) => (version.version, false),
        };
        let frame = What::Frame {
            subscriber,
            version,
            whole,
            stated: None,
            holds: None,
        };
        line.note(call.id(), frame);
    }
}

/// A bot that wants this and that, waits or does not, and leaves.
async fn bot(line: Line, call: Call, given: Arc<Mutex<Vec<Given>>>) {
    loop {
        let (pause, action, within, patient, calm) = {
            let mut world = line.0.lock();
            let pause = match world.rng.below(10) {
                0..3 => Duration::ZERO,
                3..9 => world.rng.millis(3_000),
                _ => world.rng.millis(20_000),
            };
            let unmute = world.rng.chance(600);
            let action = if unmute { Action::Unmute } else { Action::Mute };
            let within = match world.rng.below(4) {
                0 => 1_000,
                1 => 3_000,
                2 => 10_000,
                _ => 30_000,
            };
            (pause, action, within, world.rng.chance(600), world.calm)
        };
        sleep(pause).await;
        let phase = call.state().phase;
        if phase == Phase::Terminated || calm {
            return;
        }
        if phase == Phase::Establishing || phase == Phase::Terminating {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let options = CommandOptions {
            within: Some(Duration::from_millis(within)),
            ..CommandOptions::default()
        };
        let Ok(pending) = call.command(action, options) else {
            continue;
        };
        let operation = pending.operation().clone();
        let command = openmic_checker::command_of(&operation).unwrap();
        let accepted = What::Accepted {
            command,
            action,
            within,
        };
        line.note(call.id(), accepted);
        line.0.lock().known.insert(command);
        let told = tokio::spawn(told(line.clone(), call.id().clone(), command, pending, {
            let given = Arc::clone(&given);
            let call = call.id().clone();
            move || {
                given.lock().push(Given {
                    call,
                    operation,
                    command,
                });
            }
        }));
        if patient {
            told.await.unwrap();
        }
    }
}

/// Waits for the acceptance and for the verdict of a command, which has its time and no more.
async fn told(
    line: Line,
    call: CallId,
    command: CommandId,
    mut pending: crate::Pending,
    acknowledged: impl FnOnce(),
) {
    pending.accepted().await.unwrap();
    if line.0.lock().journaled.contains(&command) {
        line.note(&call, What::Acknowledged { command });
        acknowledged();
    }
    let outcome = timeout(Duration::from_mins(10), pending.outcome()).await;
    let verdict = outcome.expect("a verdict has no end").unwrap().verdict;
    let at_once = matches!(verdict, Verdict::Refused { .. } | Verdict::CallEnded { .. });
    if line.0.lock().journaled.contains(&command) || !at_once {
        let end = (&verdict).into();
        line.note(&call, What::Told { command, end });
    }
}

impl Seed {
    fn new(number: u64) -> Self {
        Self {
            number,
            world: Arc::new(Mutex::new(World::new(number))),
            store: MemoryStore::new(),
            given: Arc::default(),
        }
    }

    fn run(&self) -> Result<Sum, String> {
        let lives = 1 + self.world.lock().rng.below(LIVES);
        let mut sum = Sum::default();
        for number in 1..=lives {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let last = number == lives;
            let (elapsed, found) = runtime.block_on(async {
                let begun = Instant::now();
                let found = self.live(number, last, &mut sum).await;
                (begun.elapsed(), found)
            });
            found?;
            // kill -9: every task is gone wherever it stands.
            drop(runtime);
            if !last {
                self.world.lock().gone(elapsed);
                sum.crashes += 1;
            }
        }
        let world = self.world.lock();
        sum.commands = world.journaled.len();
        let unmute = |entry: &&Entry| {
            matches!(
                entry.what,
                What::Accepted {
                    action: Action::Unmute,
                    ..
                }
            )
        };
        sum.unmutes = world.history.iter().filter(unmute).count();
        drop(world);
        self.judge().map_err(|breach| breach.to_string())?;
        Ok(sum)
    }

    async fn live(&self, number: u64, last: bool, sum: &mut Sum) -> Result<(), String> {
        let life = Life::begin(self);
        let mut recovery = life.engine.recover();
        if number > 1 {
            self.world.lock().note_all(What::Recovered { digest: None });
        }
        life.attend_all();
        let span = {
            let mut world = self.world.lock();
            let long = world.rng.chance(700);
            world.rng.millis(if long { 60_000 } else { 4_000 })
        };
        let busy = async {
            life.join().await;
            life.attend_all();
            sleep(Duration::from_hours(1)).await;
        };
        drop(timeout(span, busy).await);
        if !last {
            if self.world.lock().rng.chance(300) {
                // It is killed while it drains.
                let soon = self.world.lock().rng.millis(3_000);
                drop(timeout(soon, life.engine.drain(Duration::from_secs(10))).await);
            }
            return Ok(());
        }
        {
            let mut world = self.world.lock();
            world.calm = true;
            (world.graph_cut, world.hooks_cut) = (0, 0);
            world.note_all(What::Calm);
        }
        let recovered = recovery.wait_for(crate::Recovered::is_done);
        let recovered = timeout(Duration::from_mins(5), recovered).await;
        if !recovered.is_ok_and(|done| done.is_ok()) {
            let stand = |call: Call| (call.id().clone(), call.state());
            let calls: Vec<_> = life.engine.calls().into_iter().map(stand).collect();
            let far = *life.engine.recovery().borrow();
            return Err(format!("the recovery has no end: {far:?} {calls:?}"));
        }
        // Everything has had its time, a roster that nobody told of too.
        sleep(Duration::from_mins(12)).await;
        life.look_back().await;
        for call in life.engine.calls() {
            let (phase, muted) = (call.state().phase, self.world.lock().muted(call.id()));
            let agrees = match phase {
                Phase::Muted => muted == Some(true),
                Phase::Unmuted => muted == Some(false),
                _ => false,
            };
            if !agrees {
                return Err(format!(
                    "{} is {phase:?}, in truth {muted:?}: {:?}",
                    call.id(),
                    call.state()
                ));
            }
        }
        // A hang-up that found no Graph in five tries is given up: that call is the engine's no more.
        let calls = life.engine.calls();
        let calls: Vec<_> = calls.iter().map(|call| call.id().clone()).collect();
        let began = Instant::now();
        let left = life.engine.drain(Duration::from_mins(1)).await;
        if left > 0 || began.elapsed() > Duration::from_secs(30) {
            return Err(format!(
                "the drain leaves {left} calls after {:?}",
                began.elapsed()
            ));
        }
        sum.drains += 1;
        life.journal.close().await;
        let up = self.world.lock().left_up(&calls);
        if up > 0 {
            return Err(format!("{up} calls are up after the drain"));
        }
        Ok(())
    }

    /// Judges the history. A command that was turned away at once was never accepted.
    fn judge(&self) -> Result<(), Breach> {
        let world = self.world.lock();
        let limits = Limits {
            // The wall clock stands still here, so a restart gives a command its whole time again.
            settle: 60_000_000,
            ..Limits::default()
        };
        let mut checker = Checker::new(limits);
        for entry in &world.history {
            let unknown = match &entry.what {
                What::Accepted { command, .. } => !world.journaled.contains(command),
                _ => false,
            };
            if !unknown {
                checker.take(entry)?;
            }
        }
        checker.finish()
    }

    /// The history around the end, for who looks for what went wrong.
    fn tail(&self) -> String {
        let world = self.world.lock();
        let shown = number("OPENMIC_SHELL_TAIL", 60);
        let from = world
            .history
            .len()
            .saturating_sub(usize::try_from(shown).unwrap());
        let lines = world.history[from..].iter();
        lines.map(|entry| entry.to_line() + "\n").collect()
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

#[test]
fn processes_that_die_anywhere_keep_every_promise() {
    let first = number("OPENMIC_SHELL_SEED", FIRST);
    let seeds = number("OPENMIC_SHELL_SEEDS", SEEDS);
    let begun = std::time::Instant::now();
    let mut all = Sum::default();
    for seed in first..first + seeds {
        let seed = Seed::new(seed);
        match seed.run() {
            Ok(sum) => {
                all.commands += sum.commands;
                all.unmutes += sum.unmutes;
                all.crashes += sum.crashes;
                all.drains += sum.drains;
            }
            Err(why) => panic!(
                "seed {number}: {why}\n{tail}again: OPENMIC_SHELL_SEED={number} \
                 OPENMIC_SHELL_SEEDS=1 cargo test -p openmic-engine --lib keep_every_promise",
                number = seed.number,
                tail = seed.tail()
            ),
        }
    }
    println!(
        "shell: {seeds} seeds from {first}, {all:?}, {:?}",
        begun.elapsed()
    );
    assert!(
        all.unmutes as u64 > seeds,
        "hardly anything happened: {all:?}"
    );
}
