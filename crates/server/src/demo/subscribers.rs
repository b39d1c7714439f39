//! The watching crowd: WebSocket clients that follow the call's roster as any client would.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openmic_model::Version;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, http};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Handshakes under way at one time: more would overflow the listener's queue.
const AT_ONCE: usize = 64;

/// When one roster version reached the crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
    pub(crate) subscribers: usize,
}

#[derive(Debug, Default)]
struct Board {
    versions: BTreeMap<Version, Reach>,
    /// Frames that did not follow what the subscriber had.
    out_of_order: usize,
    frames: usize,
    /// By operation.
    verdicts: BTreeMap<String, Told>,
}

/// Who saw the verdict of one operation.
#[derive(Debug, Default)]
struct Told {
    subscribers: usize,
    /// Frames with it beyond the first of each subscriber.
    again: usize,
}

/// All subscribers.
#[derive(Debug)]
pub(crate) struct Crowd {
    board: Arc<Mutex<Board>>,
    states: Vec<watch::Receiver<Follower>>,
    tasks: JoinSet<()>,
}

/// What one subscriber holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Follower {
    version: Option<Version>,
    roster: BTreeMap<String, Value>,
    /// Operations whose verdict it saw.
    verdicts: usize,
    closed: bool,
}

impl Board {
    fn note(&mut self, frame: &Value, follows: bool, at: Instant) {
        self.frames += 1;
        self.out_of_order += usize::from(!follows);
        if let Some(version) = version(frame) {
            let reach = Reach {
                first: at,
                last: at,
                subscribers: 0,
            };
            let reach = self.versions.entry(version).or_insert(reach);
            reach.last = reach.last.max(at);
            reach.subscribers += 1;
        }
    }

    /// A subscriber was told the verdict of `operation`, for the `first` time or once more.
    fn told(&mut self, operation: &str, first: bool) {
        let told = self.verdicts.entry(operation.to_owned()).or_default();
        told.subscribers += usize::from(first);
        told.again += usize::from(!first);
    }

    /// Of `operations`, those whose verdict each of `subscribers` saw exactly once.
    fn told_once(&self, operations: &[String], subscribers: usize) -> usize {
        let once = |id: &&String| {
            let told = self.verdicts.get(*id);
            told.is_some_and(|told| told.subscribers == subscribers && told.again == 0)
        };
        operations.iter().filter(once).count()
    }
}

impl Crowd {
    /// Connects `count` subscribers and waits until each has its snapshot.
    pub(crate) async fn gather(url: &str, token: &str, count: usize) -> anyhow::Result<Self> {
        let mut crowd = Self {
            board: Arc::default(),
            states: Vec::with_capacity(count),
            tasks: JoinSet::new(),
        };
        let mut arriving = FuturesUnordered::new();
        let mut begun = 0;
        while begun < count || !arriving.is_empty() {
            while begun < count && arriving.len() < AT_ONCE {
                arriving.push(connect(url, token));
                begun += 1;
            }
            let Some(socket) = arriving.next().await else {
                break;
            };
            let (state, seen) = watch::channel(Follower::default());
            crowd.states.push(seen);
            crowd
                .tasks
                .spawn(follow(socket?, state, Arc::clone(&crowd.board)));
        }
        let snapshots = async {
            for state in &mut crowd.states {
                state
                    .wait_for(|follower| follower.version.is_some())
                    .await?;
            }
            Ok::<_, watch::error::RecvError>(())
        };
        tokio::time::timeout(Duration::from_secs(15), snapshots)
            .await
            .context("some subscribers had no snapshot after 15 s")?
            .context("a subscriber was closed before its snapshot")?;
        Ok(crowd)
    }

    /// Waits until every subscriber is at `version` or above and says how it spread.
    pub(crate) async fn reach(&mut self, version: Version) -> anyhow::Result<Option<Reach>> {
        let all = async {
            for state in &mut self.states {
                let there =
                    |follower: &Follower| follower.closed || follower.version >= Some(version);
                state.wait_for(there).await?;
            }
            Ok::<_, watch::error::RecvError>(())
        };
        tokio::time::timeout(Duration::from_secs(10), all)
            .await
            .with_context(|| format!("not every subscriber reached version {version} in 10 s"))?
            .context("a subscriber's task ended early")?;
        Ok(self.board.lock().versions.get(&version).copied())
    }

    /// How many subscribers hold exactly `version` and the same roster as everybody else.
    pub(crate) fn agreeing(&self, version: Version) -> usize {
        let mut states = self.states.iter().map(|state| state.borrow().clone());
        let Some(first) = states.next() else { return 0 };
        let same = |follower: &Follower| {
            !follower.closed && follower.version == Some(version) && follower.roster == first.roster
        };
        std::iter::once(first.clone())
            .chain(states)
            .filter(same)
            .count()
    }

    /// Frames that did not follow what the subscriber had; must be 0.
    pub(crate) fn out_of_order(&self) -> usize {
        self.board.lock().out_of_order
    }

    /// Of `operations`, those whose verdict every subscriber saw exactly once.
    pub(crate) fn verdicts_seen_once(&self, operations: &[String]) -> usize {
        let subscribers = self.states.len();
        self.board.lock().told_once(operations, subscribers)
    }

    /// Waits until every subscriber saw `count` verdicts, for at most 10 s: they come after the roster
    /// they belong to. Who did not is found by [`Crowd::verdicts_seen_once`].
    pub(crate) async fn told(&mut self, count: usize) {
        let all = async {
            for state in &mut self.states {
                let told = |follower: &Follower| follower.closed || follower.verdicts >= count;
                if state.wait_for(told).await.is_err() {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), all).await;
        if in_time.is_err() {
            tracing::debug!(count, "not every subscriber saw that many verdicts");
        }
    }

    /// Operations with a verdict that anybody saw.
    pub(crate) fn verdicts_seen(&self) -> usize {
        self.board.lock().verdicts.len()
    }

    /// Frames received by all together.
    pub(crate) fn frames(&self) -> usize {
        self.board.lock().frames
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }
}

async fn connect(url: &str, token: &str) -> anyhow::Result<Socket> {
    let mut request = url.into_client_request().context("the roster's URL")?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
    bearer.set_sensitive(true);
    request
        .headers_mut()
        .insert(http::header::AUTHORIZATION, bearer);
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    match tokio::time::timeout(Duration::from_secs(15), connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(error).context("a subscriber was refused"),
        Err(_) => bail!("a subscriber's handshake was not answered in 15 s"),
    }
}

async fn follow(mut socket: Socket, state: watch::Sender<Follower>, board: Arc<Mutex<Board>>) {
    let mut verdicts = HashSet::new();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        let at = Instant::now();
        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
            board.lock().out_of_order += 1;
            continue;
        };
        // The board first: whoever waits for the follower reads the board next.
        let mut now = state.borrow().clone();
        let follows = now.apply(&frame);
        {
            let mut board = board.lock();
            board.note(&frame, follows, at);
            if let Some(operation) = decided(&frame) {
                board.told(operation, verdicts.insert(operation.to_owned()));
            }
        }
        now.verdicts = verdicts.len();
        state.send_replace(now);
    }
    state.send_modify(|follower| follower.closed = true);
}

/// The operation whose verdict a frame tells.
fn decided(frame: &Value) -> Option<&str> {
    let verdict = frame["type"] == "operation" && !frame["verdict"].is_null();
    frame["id"].as_str().filter(|_| verdict)
}

fn version(frame: &Value) -> Option<Version> {
    Some(Version {
        epoch: frame["epoch"].as_u64()?,
        seq: frame["seq"].as_u64()?,
    })
}

impl Follower {
    /// Takes a frame in; false when it does not follow.
    fn apply(&mut self, frame: &Value) -> bool {
        let kind = frame["type"].as_str();
        let Some(version) = version(frame) else {
            return matches!(kind, Some("call" | "operation"));
        };
        let newer = self.version.is_none_or(|held| version > held);
        let next = self
            .version
            .is_some_and(|held| held.epoch == version.epoch && held.seq + 1 == version.seq);
        let follows = match kind {
            Some("snapshot") => {
                self.roster.clear();
                newer
            }
            Some("delta") => next,
            _ => return true,
        };
        for member in ["participants", "changed"] {
            for entry in frame[member].as_array().into_iter().flatten() {
                if let Some(id) = entry["id"].as_str() {
                    self.roster.insert(id.to_owned(), entry.clone());
                }
            }
        }
        for id in frame["removed"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            self.roster.remove(id);
        }
        self.version = Some(version);
        follows
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_delta_that_skips_is_noticed() {
        let mut follower = Follower::default();
        let snapshot = json!({"type":"snapshot","epoch":1,"seq":3,"participants":[{"id":"a"}]});
        assert!(follower.apply(&snapshot));
        let delta = |seq| json!({"type":"delta","epoch":1,"seq":seq,"changed":[{"id":"b"}]});
        assert!(follower.apply(&delta(4)));
        assert!(!follower.apply(&delta(6)));
        assert!(!follower.apply(&delta(6)));
        assert_eq!(follower.roster.len(), 2);
    }

    #[test]
    fn a_verdict_told_twice_to_one_does_not_stand_for_one_that_was_not_told() {
        let operations = ["a".to_owned(), "b".to_owned()];
        let mut board = Board::default();
        board.told("a", true);
        board.told("a", true);
        board.told("b", true);
        board.told("b", false);
        assert_eq!(board.told_once(&operations, 2), 1);
        assert_eq!(board.told_once(&operations, 1), 0);
    }

    #[test]
    fn only_an_operation_with_a_verdict_is_decided() {
        let frame = json!({"type":"operation","id":"a","verdict":"confirmed"});
        assert_eq!(decided(&frame), Some("a"));
        let running = json!({"type":"operation","id":"a","verdict":null});
        assert_eq!(decided(&running), None);
        assert_eq!(decided(&json!({"type":"call","id":"a","verdict":1})), None);
    }

    #[test]
    fn a_snapshot_may_skip_but_not_go_back() {
        let mut follower = Follower::default();
        let snapshot = |seq| json!({"type":"snapshot","epoch":1,"seq":seq,"participants":[]});
        assert!(follower.apply(&snapshot(3)));
        assert!(follower.apply(&snapshot(9)));
        assert!(!follower.apply(&snapshot(9)));
        assert!(!follower.apply(&snapshot(8)));
    }
}
