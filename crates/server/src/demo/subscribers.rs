//! The watching crowd: WebSocket clients that follow the call's roster as any client would.

use std::collections::BTreeMap;
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
    /// How many subscribers saw the verdict of each operation, and how often.
    verdicts: BTreeMap<String, usize>,
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
    closed: bool,
}

impl Board {
    fn note(&mut self, frame: &Value, follows: bool, at: Instant) {
        self.frames += 1;
        self.out_of_order += usize::from(!follows);
        if frame["type"] == "operation"
            && !frame["verdict"].is_null()
            && let Some(id) = frame["id"].as_str()
        {
            *self.verdicts.entry(id.to_owned()).or_default() += 1;
        }
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
        let board = self.board.lock();
        let once = |id: &&String| board.verdicts.get(*id) == Some(&self.states.len());
        operations.iter().filter(once).count()
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
        board.lock().note(&frame, follows, at);
        state.send_replace(now);
    }
    state.send_modify(|follower| follower.closed = true);
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
    fn a_snapshot_may_skip_but_not_go_back() {
        let mut follower = Follower::default();
        let snapshot = |seq| json!({"type":"snapshot","epoch":1,"seq":seq,"participants":[]});
        assert!(follower.apply(&snapshot(3)));
        assert!(follower.apply(&snapshot(9)));
        assert!(!follower.apply(&snapshot(9)));
        assert!(!follower.apply(&snapshot(8)));
    }
}
