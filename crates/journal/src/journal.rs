use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use openmic_model::{CallId, CallKey, OperationId, Record, WallTime};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::codec::Draft;
use crate::config::{JournalConfig, Keeping};
use crate::error::{Full, LookupError, OpenError, StoreError};
use crate::log::{Log, Recovery};
use crate::lookup::{self, KeptAnswer, KeptCommand, Repeated};
use crate::metrics::JournalMetrics;
use crate::queue::{Queue, Work};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Reader, Space, Store};
use crate::ticket::Ticket;
use crate::writer::{Writer, wall_clock};

/// Lookups that may wait.
const LOOKUPS: usize = 1024;

/// How long a journal that is only in memory keeps what has ended.
const IN_MEMORY: Duration = Duration::from_hours(1);

/// The records of calls that outlive a crash. Clones are the same journal.
///
/// When the last clone goes, what was appended is still written; [`Journal::close`] waits for it.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    way: Way,
    /// True once the store is closed and its lock is free.
    ended: watch::Receiver<bool>,
}

/// Who writes.
enum Way {
    /// Threads of the journal's own.
    Threads {
        lookups: Mutex<Option<SyncSender<Lookup>>>,
    },
    /// Whoever appends.
    Inline(Box<Inline>),
}

struct Inline {
    /// An append writes at once; else [`Journal::write_now`] does.
    at_once: bool,
    writer: Mutex<Option<Writer>>,
    reader: Mutex<Box<dyn Reader>>,
    ended: watch::Sender<bool>,
}

/// What the journal's handles and its writer both see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) metrics: JournalMetrics,
    failed: watch::Sender<Option<String>>,
    has_room: watch::Sender<bool>,
    free: AtomicU64,
    min_free: u64,
}

impl Shared {
    fn new(keeping: &Keeping) -> Self {
        Self {
            queue: Queue::default(),
            metrics: JournalMetrics::new(),
            failed: watch::Sender::new(None),
            has_room: watch::Sender::new(true),
            free: AtomicU64::new(u64::MAX),
            min_free: keeping.min_free,
        }
    }

    pub(crate) fn fail(&self, error: &StoreError) {
        tracing::error!(
            %error,
            "the journal failed: nothing is acknowledged any more. Restart the process on the same \
             folder, it goes on with what is durable"
        );
        self.metrics.failed.set(1);
        self.failed.send_replace(Some(error.to_string()));
        self.queue.fail();
    }

    pub(crate) fn saw(&self, space: Space, has_room: bool) {
        let gauge = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.free.set(gauge(space.free));
        self.metrics.size.set(gauge(space.used));
        self.metrics.full.set(i64::from(!has_room));
        self.metrics.queued.set(gauge(self.queue.waiting() as u64));
        self.free.store(space.free, Ordering::Relaxed);
        let changed = |room: &mut bool| std::mem::replace(room, has_room) != has_room;
        if !self.has_room.send_if_modified(changed) {
            return;
        }
        if has_room {
            tracing::info!(free = space.free, "the disk of the journal has room again");
        } else {
            tracing::warn!(
                free = space.free,
                min_free = self.min_free,
                "the disk of the journal has too little room: new commands and calls are refused"
            );
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("shared", &self.0.shared)
            .finish_non_exhaustive()
    }
}

type Lookup = Box<dyn FnOnce(&mut dyn Reader) + Send>;

impl Journal {
    /// Opens the journal in a folder, or makes one, and reads what is in it.
    ///
    /// Blocks for as long as the reading takes. From then on one thread writes and one looks up.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &JournalConfig) -> Result<(Self, Recovery), OpenError> {
        let file = config.folder.join("journal.db");
        let store = SqliteStore::open(&config.folder, config.durability)?;
        Self::start(Box::new(store), config.keeping).map_err(|error| match error {
            StoreError::Damaged(cause) => OpenError::Damaged { file, cause },
            cause => OpenError::Store { file, cause },
        })
    }

    /// A journal that outlives nothing: for tests, and for whoever embeds the engine and does
    /// without. Whoever appends writes, so that tickets are ready at once.
    pub fn in_memory() -> Self {
        let keeping = Keeping {
            retention: IN_MEMORY,
            ..Keeping::default()
        };
        let (journal, _) =
            Self::inline(Box::new(MemoryStore::new()), keeping).expect("memory takes everything");
        journal
    }

    /// A journal over any store, with threads of its own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn start(store: Box<dyn Store>, keeping: Keeping) -> Result<(Self, Recovery), StoreError> {
        let (mut log, recovery) = Log::open(store, keeping)?;
        let mut reader = log.reader()?;
        let shared = Arc::new(Shared::new(&keeping));
        shared.expect(&recovery);
        let writer = Writer::new(log, Arc::clone(&shared));
        let of_writer = Arc::clone(&shared);
        let (done, ended) = watch::channel(false);
        let failed = |error: std::io::Error| StoreError::Failed(error.to_string());
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                // Else whoever waits for a ticket would wait for ever.
                if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                    of_writer.fail(&StoreError::Failed("its writer panicked".to_owned()));
                }
                done.send_replace(true);
            })
            .map_err(failed)?;
        let (lookups, asked) = sync_channel::<Lookup>(LOOKUPS);
        thread::Builder::new()
            .name("journal-lookup".to_owned())
            .spawn(move || {
                for lookup in asked {
                    lookup(&mut *reader);
                }
            })
            .map_err(failed)?;
        let lookups = Mutex::new(Some(lookups));
        let journal = Self(Arc::new(Inner {
            shared,
            way: Way::Threads { lookups },
            ended,
        }));
        Ok((journal, recovery))
    }

    /// A journal over any store, without threads: whoever appends writes, and waits for it. For
    /// tests that must be the same each time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn inline(store: Box<dyn Store>, keeping: Keeping) -> Result<(Self, Recovery), StoreError> {
        Self::without_threads(store, keeping, true)
    }

    /// The same, but nothing is written before [`Journal::write_now`]: for tests that say
    /// themselves how slow the disk is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn by_hand(
        store: Box<dyn Store>,
        keeping: Keeping,
    ) -> Result<(Self, Recovery), StoreError> {
        Self::without_threads(store, keeping, false)
    }

    /// Writes what was appended to a journal by hand, in one commit. Of no effect on others.
    pub fn write_now(&self) {
        if let Way::Inline(inline) = &self.0.way
            && let Some(writer) = &mut *inline.writer.lock()
        {
            writer.write(self.0.shared.queue.take_now());
        }
    }

    fn without_threads(
        store: Box<dyn Store>,
        keeping: Keeping,
        at_once: bool,
    ) -> Result<(Self, Recovery), StoreError> {
        let (mut log, recovery) = Log::open(store, keeping)?;
        let reader = Mutex::new(log.reader()?);
        let shared = Arc::new(Shared::new(&keeping));
        shared.expect(&recovery);
        let writer = Mutex::new(Some(Writer::new(log, Arc::clone(&shared))));
        let (done, ended) = watch::channel(false);
        let journal = Self(Arc::new(Inner {
            shared,
            way: Way::Inline(Box::new(Inline {
                at_once,
                writer,
                reader,
                ended: done,
            })),
            ended,
        }));
        Ok((journal, recovery))
    }

    /// Writes records of a call, in order and together. Never waits for a disk.
    ///
    /// Ask [`Journal::admits`] before something new is accepted: what was accepted then finds room
    /// for all it may bring. An append is lost only once the journal failed or was closed.
    pub fn append(&self, call: CallKey, records: &[(WallTime, Record)]) -> Ticket {
        self.push(call, records, true)
    }

    /// As [`Journal::append`], for what nobody waits for: it spares the disk a sync of its own and
    /// goes with the next append, within the fifth of a second at the latest.
    pub fn append_in_passing(&self, call: CallKey, records: &[(WallTime, Record)]) -> Ticket {
        self.push(call, records, false)
    }

    fn push(&self, call: CallKey, records: &[(WallTime, Record)], awaited: bool) -> Ticket {
        let drafts = records.iter().map(|(at, record)| Draft::of(*at, record));
        let work = Work::Records(call, drafts.collect());
        let ticket = self.0.shared.queue.push(work, awaited);
        self.write_inline(records.last().map(|(at, _)| *at));
        ticket
    }

    /// Keeps a whole answer, to be repeated to whoever asks again within the retention.
    pub fn keep_answer(
        &self,
        at: WallTime,
        scope: [u8; 32],
        print: [u8; 32],
        body: Vec<u8>,
    ) -> Ticket {
        let work = Work::Answer {
            at,
            scope,
            print,
            body,
        };
        let ticket = self.0.shared.queue.push(work, true);
        self.write_inline(Some(at));
        ticket
    }

    fn write_inline(&self, now: Option<WallTime>) {
        let Way::Inline(inline) = &self.0.way else {
            return;
        };
        if !inline.at_once {
            return;
        }
        let mut writer = inline.writer.lock();
        let Some(writer) = &mut *writer else { return };
        let batch = self.0.shared.queue.take_now();
        writer.write(batch);
        if let Some(now) = now {
            writer.keep_house(now, false);
        }
    }

    /// Whether a new command or call may be accepted: there is room for all it may bring.
    ///
    /// # Errors
    /// [`Full`], with what it lacks.
    pub fn admits(&self) -> Result<(), Full> {
        let shared = &self.0.shared;
        if shared.failed.borrow().is_some() {
            return Err(Full::Failed);
        }
        if !*shared.has_room.borrow() {
            return Err(Full::Disk {
                free: shared.free.load(Ordering::Relaxed),
                min: shared.min_free,
            });
        }
        shared.queue.admits()
    }

    /// Whether its disk has room for something new, now and whenever that changes. What waits for a
    /// slow disk is not in it: that passes by itself.
    pub fn room(&self) -> watch::Receiver<bool> {
        self.0.shared.has_room.subscribe()
    }

    /// Resolves once a write or a sync failed, with what the disk said. Nothing that was not
    /// durable before will be; end the process and start it anew on the same folder.
    pub async fn failed(&self) -> String {
        let mut failed = self.0.shared.failed.subscribe();
        loop {
            if let Some(why) = &*failed.borrow_and_update() {
                return why.clone();
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes nothing in any more and returns once all that was appended is durable and the folder
    /// is free for another.
    pub async fn close(&self) {
        self.0.shared.queue.close();
        match &self.0.way {
            Way::Threads { lookups } => drop(lookups.lock().take()),
            Way::Inline(inline) => {
                let writer = inline.writer.lock().take();
                if let Some(mut writer) = writer {
                    let rest = self.0.shared.queue.take_now();
                    writer.write(rest);
                }
                inline.ended.send_replace(true);
            }
        }
        let mut ended = self.0.ended.clone();
        // the sender is gone only with the writer
        drop(ended.wait_for(|ended| *ended).await);
    }

    /// The command behind an operation of `call`, for as long as it is kept.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn operation(
        &self,
        call: &CallId,
        operation: &OperationId,
    ) -> Result<Option<KeptCommand>, LookupError> {
        let (call, operation) = (call.clone(), operation.clone());
        self.look_up(move |reader| lookup::operation(reader, &call, &operation))
            .await
    }

    /// The latest command or call that came under this scope, for as long as it is kept.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn repeated(&self, scope: [u8; 32]) -> Result<Option<Repeated>, LookupError> {
        self.look_up(move |reader| lookup::repeated(reader, &scope))
            .await
    }

    /// The answer kept under this scope.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn answer(&self, scope: [u8; 32]) -> Result<Option<KeptAnswer>, LookupError> {
        self.look_up(move |reader| lookup::answer(reader, &scope))
            .await
    }

    async fn look_up<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, LookupError> {
        let receiver = match &self.0.way {
            Way::Inline(inline) => return Ok(ask(&mut **inline.reader.lock())?),
            Way::Threads { lookups } => {
                let (sender, receiver) = oneshot::channel();
                let lookup: Lookup = Box::new(move |reader| drop(sender.send(ask(reader))));
                let lookups = lookups.lock();
                let Some(lookups) = &*lookups else {
                    return Err(LookupError::Closed);
                };
                match lookups.try_send(lookup) {
                    Ok(()) => receiver,
                    Err(TrySendError::Full(_)) => return Err(LookupError::Busy),
                    Err(TrySendError::Disconnected(_)) => return Err(LookupError::Closed),
                }
            }
        };
        Ok(receiver.await.map_err(|_| LookupError::Closed)??)
    }

    /// What it counts.
    pub fn metrics(&self) -> &JournalMetrics {
        &self.0.shared.metrics
    }

    /// The wall clock, in the journal's milliseconds.
    pub fn now() -> WallTime {
        wall_clock()
    }
}

impl Shared {
    fn expect(&self, recovery: &Recovery) {
        let commands = recovery.calls.iter().map(|call| call.book.open().len());
        self.queue.expect(recovery.calls.len(), commands.sum());
        let quarantined = i64::try_from(recovery.quarantined.len());
        self.metrics
            .quarantined
            .set(quarantined.unwrap_or(i64::MAX));
        for (key, why) in &recovery.quarantined {
            let mut ids = recovery.adrift.iter().filter(|(of, _)| of == key);
            let call = ids.next().map(|(_, id)| id.as_str());
            tracing::error!(
                call,
                %why,
                "a call in the journal cannot be recovered; its records stay"
            );
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}
