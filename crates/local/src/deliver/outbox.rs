use std::collections::VecDeque;
use std::sync::Arc;

use openmic_model::{CallState, DeltaEntry, Participant, ResultInfo};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use crate::metrics::{Delivery, Metrics};

use super::Callback;
use crate::meeting::Record;

/// Everybody in a meeting at one moment, in the order they came; shared by all who are told.
pub(crate) type Everybody = Arc<[Arc<Participant>]>;

/// What a call is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News {
    /// Somebody rings it: the whole call.
    Offer(Map<String, Value>),
    /// Nothing; what follows goes to another address.
    Moved(Callback),
    /// Its own state changed.
    Call(CallNews),
    /// One of its operations ended.
    Operation(Box<Record>),
    /// Its meeting's roster changed, told whole.
    Full(Everybody),
    /// Its meeting's roster changed, told by what changed; shared by all who are told.
    Delta(Vec<Arc<DeltaEntry>>),
}

impl News {
    fn is_roster(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Delta(_))
    }
}

/// A change of a call's state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallNews {
    pub(crate) state: CallState,
    pub(crate) audio_active: Option<bool>,
    pub(crate) result: Option<ResultInfo>,
}

impl CallNews {
    /// A new state and nothing else.
    pub(crate) fn of(state: CallState) -> Self {
        Self {
            state,
            audio_active: None,
            result: None,
        }
    }
}

/// The notifications one call is yet to get, in order.
///
/// Bounded: a call's own states are few by nature, of operations no more begin than may wait, and
/// rosters wait up to the capacity. Beyond it the
/// newest roster takes the place of the last one waiting (full) or is merged into it (delta), so
/// that a slow bot sees fewer steps and still the right end.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// How many of those put in have been dealt with.
    dealt: watch::Sender<u64>,
    capacity: usize,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Waiting {
    news: VecDeque<News>,
    rosters: usize,
    /// How many were put in.
    put: u64,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(capacity: usize, metrics: Metrics) -> Self {
        Self {
            waiting: Mutex::default(),
            wake: Notify::new(),
            dealt: watch::Sender::new(0),
            capacity: capacity.max(1),
            metrics,
        }
    }

    /// Appends; never waits. After [`Outbox::close`] it does nothing.
    pub(crate) fn push(&self, news: News) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        if let News::Operation(record) = &news {
            self.metrics.ended(record);
        }
        if !news.is_roster() {
            waiting.put += 1;
            waiting.news.push_back(news);
        } else if waiting.rosters < self.capacity {
            waiting.rosters += 1;
            waiting.put += 1;
            waiting.news.push_back(news);
        } else {
            self.metrics.notification(Delivery::Conflated).inc();
            let last = waiting
                .news
                .iter_mut()
                .rfind(|waiting| waiting.is_roster())
                .expect("the capacity is at least one and is reached by rosters");
            conflate(last, news);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Nothing more will come; what waits is still handed out.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_one();
    }

    /// The next one, or `None` once it is closed and empty. For one taker.
    pub(crate) async fn pop(&self) -> Option<News> {
        loop {
            let notified = self.wake.notified();
            {
                let mut waiting = self.waiting.lock();
                if let Some(news) = waiting.news.pop_front() {
                    if news.is_roster() {
                        waiting.rosters -= 1;
                    }
                    return Some(news);
                }
                if waiting.closed {
                    return None;
                }
            }
            notified.await;
        }
    }

    /// One that was handed out is dealt with.
    pub(crate) fn deal(&self) {
        self.dealt.send_modify(|dealt| *dealt += 1);
    }

    /// Waits until all that is in it now has been dealt with.
    pub(crate) async fn settled(&self) {
        let put = self.waiting.lock().put;
        let mut dealt = self.dealt.subscribe();
        let settled = dealt.wait_for(|dealt| *dealt >= put).await;
        debug_assert!(
            settled.is_ok(),
            "the other end is here as long as `self` is"
        );
    }

    /// How many operations' ends wait.
    pub(crate) fn operations(&self) -> usize {
        let waiting = self.waiting.lock();
        let ends = waiting.news.iter();
        ends.filter(|news| matches!(news, News::Operation(_)))
            .count()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().news.len()
    }
}

fn conflate(last: &mut News, newest: News) {
    match (last, newest) {
        (News::Delta(held), News::Delta(entries)) => {
            for entry in entries {
                match held
                    .iter_mut()
                    .find(|old| old.participant.id == entry.participant.id)
                {
                    Some(old) => *old = entry,
                    None => held.push(entry),
                }
            }
        }
        (last, newest) => *last = newest,
    }
}

#[cfg(test)]
mod tests {
    use openmic_model::{Identity, IdentityKind, ParticipantId};

    use super::*;

    fn somebody(id: &str, seq: u64) -> Participant {
        Participant {
            id: ParticipantId::parse(id).unwrap(),
            identity: Identity {
                kind: IdentityKind::User,
                id: None,
                display_name: None,
            },
            is_muted: false,
            in_lobby: false,
            roster_sequence_number: Some(seq),
            streams: Vec::new(),
        }
    }

    fn full(seq: u64) -> News {
        News::Full(vec![Arc::new(somebody("a", seq))].into())
    }

    fn entry(id: &str, seq: u64) -> Arc<DeltaEntry> {
        Arc::new(DeltaEntry {
            participant: somebody(id, seq),
            removed: false,
        })
    }

    fn delta(id: &str, seq: u64) -> News {
        News::Delta(vec![entry(id, seq)])
    }

    fn state(state: CallState) -> News {
        News::Call(CallNews {
            state,
            audio_active: None,
            result: None,
        })
    }

    async fn drain(outbox: &Outbox) -> Vec<News> {
        outbox.close();
        let mut all = Vec::new();
        while let Some(news) = outbox.pop().await {
            all.push(news);
        }
        all
    }

    #[tokio::test]
    async fn a_full_box_keeps_the_latest_roster_and_every_state() {
        let metrics = Metrics::new();
        let outbox = Outbox::new(2, metrics.clone());
        for news in [
            full(1),
            full(2),
            state(CallState::Terminating),
            full(3),
            state(CallState::Terminated),
            full(4),
        ] {
            outbox.push(news);
        }
        assert_eq!(
            drain(&outbox).await,
            [
                full(1),
                full(4),
                state(CallState::Terminating),
                state(CallState::Terminated)
            ]
        );
        assert_eq!(metrics.notification(Delivery::Conflated).get(), 2);
    }

    #[tokio::test]
    async fn waiting_deltas_merge_by_entry() {
        let outbox = Outbox::new(1, Metrics::new());
        for news in [delta("a", 1), delta("b", 2), delta("a", 3)] {
            outbox.push(news);
        }
        let expected = News::Delta(vec![entry("a", 3), entry("b", 2)]);
        assert_eq!(drain(&outbox).await, [expected]);
    }

    #[tokio::test]
    async fn after_the_end_nothing_is_taken() {
        let outbox = Outbox::new(1, Metrics::new());
        outbox.close();
        outbox.push(full(1));
        assert_eq!(outbox.len(), 0);
        assert_eq!(outbox.pop().await, None);
    }
}
