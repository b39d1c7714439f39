use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use openmic_outbound::{Answer, PostError};
use openmic_wire::raw::{self, Gap, Named, RawEntry, RawRoster};
use tokio::time::Instant;
use url::Url;

use super::Inner;
use super::metrics::Fate;
use super::parcel::Parcel;
use super::queue::Queue;
use crate::retry::retry_after;

/// Longest `Retry-After` of a bot that is heeded.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the GET of a roster may take, its repeats included, while notifications wait.
const REPAIR: Duration = Duration::from_secs(5);

/// The task of one lane.
pub(super) struct Sender {
    pub(super) relay: Arc<Inner>,
    pub(super) queue: Arc<Queue>,
    /// `None` when it is no URL: the guard's word for it is that it names no host.
    pub(super) callback: Option<Url>,
    pub(super) ours: String,
    pub(super) named: Named,
}

/// How one attempt ended.
enum Attempt {
    Ended(Fate),
    Again(Option<Duration>),
}

impl Sender {
    /// Sends until the lane is closed and empty, or its time is over.
    pub(super) async fn run(self) {
        let metrics = &self.relay.metrics;
        metrics.lanes.inc();
        let under_way = AtomicUsize::new(0);
        let expired = async {
            tokio::select! {
                () = self.relay.kill.cancelled() => {}
                () = async {
                    self.queue.closing().await;
                    tokio::time::sleep(self.relay.config.drain).await;
                } => {}
            }
        };
        tokio::select! {
            biased;
            () = self.work(&under_way) => {}
            () = expired => {
                self.queue.sent(Fate::Abandoned, under_way.load(Ordering::Relaxed));
                self.queue.abandon();
            }
        }
        metrics.lanes.dec();
    }

    async fn work(&self, under_way: &AtomicUsize) {
        // Only a bot that wants no deltas needs the roster kept.
        let mut roster = (!self.named.delta_roster()).then(RawRoster::default);
        while let Some(parcel) = self.queue.pop().await {
            let entries = parcel.items.len();
            under_way.store(entries, Ordering::Relaxed);
            let Parcel { headers, items } = parcel;
            let mut told = Vec::with_capacity(entries);
            for item in items {
                let mut entry = match &mut roster {
                    Some(roster) if item.entry.is_roster() => self.whole(roster, &item.entry).await,
                    _ => item.entry,
                };
                entry.readdress(&self.ours, &self.named);
                told.push(entry);
            }
            let fate = self.deliver(headers, Bytes::from(raw::encode(&told))).await;
            under_way.store(0, Ordering::Relaxed);
            self.queue.sent(fate, entries);
        }
    }

    /// The whole roster after `entry`, read from upstream where a delta before it is missing.
    async fn whole(&self, roster: &mut RawRoster, entry: &RawEntry) -> RawEntry {
        let gap = roster.apply(entry);
        if let (Gap::Hole, Some(call)) = (gap, entry.call()) {
            let read = self
                .relay
                .graph
                .participants_raw(call, Instant::now() + REPAIR);
            match read.await {
                Ok(listing) => {
                    roster.read(listing);
                    self.relay.metrics.repair(true);
                }
                Err(error) => {
                    roster.doubt();
                    self.relay.metrics.repair(false);
                    tracing::debug!(
                        call = %call,
                        error = %error,
                        "a relayed roster could not be repaired; the next one is tried again"
                    );
                }
            }
        }
        roster.whole(entry)
    }

    async fn deliver(&self, headers: HeaderMap, body: Bytes) -> Fate {
        let Some(url) = &self.callback else {
            return Fate::Refused;
        };
        let mut waits = self.relay.config.retries.iter();
        loop {
            let attempt = {
                let _timer = self.relay.metrics.attempt_seconds.start_timer();
                let posted = self.relay.outbound.post(url, headers.clone(), body.clone());
                outcome(posted.await)
            };
            let pause = match attempt {
                Attempt::Ended(fate) => return fate,
                Attempt::Again(pause) => pause,
            };
            let Some(wait) = waits.next() else {
                tracing::warn!("notifications for a bot were given up: its callback fails");
                return Fate::Failed;
            };
            self.relay.metrics.retries.inc();
            tokio::time::sleep(pause.unwrap_or_default().max(*wait)).await;
        }
    }
}

fn outcome(posted: Result<Answer, PostError>) -> Attempt {
    match posted {
        Ok(answer) if answer.status.is_success() => Attempt::Ended(Fate::Delivered),
        Ok(answer) if comes_again(answer.status) => Attempt::Again(pause(&answer)),
        Ok(answer) => {
            let status = answer.status.as_u16();
            tracing::warn!(status, "a bot did not take notifications");
            Attempt::Ended(Fate::Rejected)
        }
        Err(PostError::Refused(reason)) => {
            tracing::warn!(
                reason = reason.as_str(),
                "notifications were not sent: {reason}"
            );
            Attempt::Ended(Fate::Refused)
        }
        Err(error) => {
            tracing::debug!(%error, "notifications did not reach a bot; trying again");
            Attempt::Again(None)
        }
    }
}

fn comes_again(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}

fn pause(answer: &Answer) -> Option<Duration> {
    let header = |name| answer.headers.get(name)?.to_str().ok();
    let pause = retry_after(header(RETRY_AFTER)?, header(DATE), SystemTime::now())?;
    Some(pause.min(LONGEST_PAUSE))
}
