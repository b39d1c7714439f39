//! An engine on a journal that survives it: a scripted Graph, a folder, and one engine after the
//! other, each on a runtime of its own that can be killed.

use std::time::Duration;

use openmic_graph::GraphConfig;
use openmic_hub::{Hub, HubConfig};
use openmic_journal::{
    CommitFault, Durability, Faults, FaultyStore, Journal, Keeping, MemoryStore, Recovery,
    SqliteStore, Store,
};
use openmic_machine::{Config, Phase};
use openmic_model::{Action, CallId, OperationId, Verdict};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::graph::{Graph, Route, Seen};
use super::stage::{Stage, call_state, join, patient, within};
use crate::{Call, CommandOptions, Engine, EngineBuilder, Pending, Recovered};

/// What outlives an engine.
pub(crate) struct House {
    pub(crate) graph: Graph,
    disk: Disk,
}

enum Disk {
    Folder(TempDir),
    Memory(MemoryStore),
}

/// An engine that can be killed.
pub(crate) struct Life {
    pub(crate) stage: Stage,
    pub(crate) faults: Faults,
    journal: Journal,
    runtime: Option<Runtime>,
}

/// Grace times short enough for a test, long enough that nothing is asked for by the way.
pub(crate) fn brisk(config: &mut Config) {
    patient(config);
    config.settle_time = Duration::from_millis(50);
    config.orphan_patience = Duration::from_millis(300);
}

impl House {
    pub(crate) async fn new() -> Self {
        Self {
            graph: Graph::start().await,
            disk: Disk::Folder(TempDir::new().unwrap()),
        }
    }

    /// On a disk that is none.
    pub(crate) async fn in_memory() -> Self {
        Self {
            graph: Graph::start().await,
            disk: Disk::Memory(MemoryStore::new()),
        }
    }

    /// What is on the disk.
    pub(crate) fn journal(&self, faults: &Faults) -> (Journal, Recovery) {
        let store: Box<dyn Store> = match &self.disk {
            Disk::Folder(folder) => {
                let store = SqliteStore::open(folder.path(), Durability::ProcessCrash).unwrap();
                Box::new(FaultyStore::new(store, faults.clone()))
            }
            Disk::Memory(store) => Box::new(FaultyStore::new(store.clone(), faults.clone())),
        };
        let (journal, found) = Journal::start(store, Keeping::default()).unwrap();
        (journal, found)
    }

    /// Opens the folder and starts an engine on what is in it.
    pub(crate) fn open(&self, tune: fn(&mut Config)) -> Life {
        self.open_with(|builder| builder.tune(tune), |_| ())
    }

    pub(crate) fn open_with(
        &self,
        build: impl FnOnce(EngineBuilder) -> EngineBuilder,
        client: impl FnOnce(&mut GraphConfig),
    ) -> Life {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let faults = Faults::new();
        let (journal, found) = self.journal(&faults);
        let hub = Hub::start(HubConfig {
            shards: 1,
            ..HubConfig::default()
        })
        .unwrap();
        let _entered = runtime.enter();
        let build =
            |builder: EngineBuilder, _: &_| build(builder.hub(hub).journal(journal.clone(), found));
        let stage = Stage::on(self.graph.clone(), build, client).unwrap();
        Life {
            stage,
            faults,
            journal,
            runtime: Some(runtime),
        }
    }
}

impl Life {
    pub(crate) fn engine(&self) -> &Engine {
        &self.stage.engine
    }

    /// Runs `future` where the engine lives.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        within(self.spawn(future)).await.unwrap()
    }

    /// The same in the background.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.as_ref().unwrap().spawn(future)
    }

    /// Takes up what the journal has, and waits until everything was looked at.
    pub(crate) async fn recovered(&self) -> Recovered {
        let mut progress = self.recovering();
        *within(progress.wait_for(Recovered::is_done)).await.unwrap()
    }

    pub(crate) fn recovering(&self) -> tokio::sync::watch::Receiver<Recovered> {
        let _entered = self.runtime.as_ref().unwrap().enter();
        self.engine().recover()
    }

    /// A call that is established, and muted or not.
    pub(crate) async fn established(&self, muted: bool) -> Call {
        self.stage.graph.set_muted(muted);
        let number = self.stage.graph.count(Route::Create) + 1;
        let engine = self.engine().clone();
        let call = self
            .run(async move { engine.join(join(Some(false))).await })
            .await
            .unwrap();
        let key = self.stage.key(number).await;
        self.tell(&key, &call_state(call.id().as_str(), "established"));
        self.tell(&key, &roster(call.id(), 1, muted));
        let wanted = if muted { Phase::Muted } else { Phase::Unmuted };
        let status = within(call.until(|status| status.phase == wanted)).await;
        assert_eq!(status.phase, wanted);
        call
    }

    /// Delivers one entry.
    pub(crate) fn tell(&self, key: &str, entry: &serde_json::Value) {
        let _entered = self.runtime.as_ref().unwrap().enter();
        let delivered = self.stage.deliver(key, std::slice::from_ref(entry));
        assert_eq!(delivered.unwrap().queued, 1);
    }

    /// A command that is accepted for good.
    pub(crate) async fn accepted(&self, call: &Call, action: Action) -> (OperationId, Pending) {
        let mut pending = call.command(action, CommandOptions::default()).unwrap();
        within(pending.accepted()).await.unwrap();
        (pending.operation().clone(), pending)
    }

    /// Waits until no call is left.
    pub(crate) async fn all_over(&self) {
        for call in self.engine().inner.registry.live() {
            let mut status = call.status.subscribe();
            let over = status.wait_for(|status| status.phase == Phase::Terminated);
            drop(within(over).await);
        }
    }

    /// The call as this engine knows it.
    pub(crate) fn call(&self, id: &CallId) -> Call {
        self.engine().call(id).expect("the call is known")
    }

    /// The verdict of an operation, which must come soon.
    pub(crate) async fn verdict(&self, call: &CallId, operation: &OperationId) -> Verdict {
        let call = self.call(call);
        let mut status = call.shared.status.subscribe();
        let found = async {
            loop {
                let record = call.operation(operation).expect("the operation is known");
                if let Some(verdict) = record.verdict {
                    return verdict;
                }
                // A verdict comes with a change of the state.
                status.changed().await.unwrap();
            }
        };
        within(found).await
    }

    /// Dies as by `kill -9`: what is not durable by now is lost.
    pub(crate) async fn crash(mut self) {
        self.faults.stall();
        self.runtime.take().unwrap().shutdown_background();
        self.faults.next_commit(CommitFault::Torn);
        self.faults.resume();
        let journal = self.journal.clone();
        drop(self);
        within(journal.close()).await;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A delta roster of the bot and one human.
pub(crate) fn roster(call: &CallId, number: u64, muted: bool) -> serde_json::Value {
    let entries = [
        super::stage::participant("me", muted, Some(100 + number)),
        super::stage::participant("human", false, Some(100 + number)),
    ];
    let data = serde_json::json!([{"@odata.type": "#microsoft.graph.deltaParticipants",
        "sequenceNumber": number, "participants": entries}]);
    super::stage::entry(call.as_str(), "/participants", "updated", &data)
}

/// No client context twice, and before every POST but the first a look that began after the one
/// before.
pub(crate) fn no_blind_post(graph: &Graph) {
    let mut posts: Vec<Seen> = [Route::Mute, Route::Unmute]
        .iter()
        .flat_map(|route| graph.seen(*route))
        .collect();
    posts.sort_by_key(|post| post.received);
    let looks: Vec<Seen> = [Route::Entry, Route::List]
        .iter()
        .flat_map(|route| graph.seen(*route))
        .collect();
    for pair in posts.windows(2) {
        let [before, after] = pair else { continue };
        assert_ne!(before.context(), after.context(), "a context is used once");
        if before.route == after.route && before.call == after.call {
            let between = |look: &Seen| {
                look.received > before.received
                    && look.answered.is_some_and(|at| at < after.received)
            };
            assert!(looks.iter().any(between), "a blind second POST: {after:?}");
        }
    }
}
