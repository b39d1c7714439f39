use std::ops::AddAssign;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    exponential_buckets,
};

use crate::close::Reason;
use crate::frame::Kind;

/// What the hub counts.
#[derive(Debug)]
pub struct HubMetrics {
    pub(crate) subscribers: IntGauge,
    frames_sent: IntCounterVec,
    sent: [IntCounter; Kind::ALL.len()],
    pub(crate) bytes_sent: IntCounter,
    pub(crate) conflated: IntCounter,
    pub(crate) resyncs: IntCounter,
    subscribers_closed: IntCounterVec,
    closed: [IntCounter; Reason::ALL.len()],
    fanout: Histogram,
}

impl HubMetrics {
    pub(crate) fn new() -> Self {
        let valid = "names and labels are constants that prometheus accepts";
        let counter = |name, help| IntCounter::new(name, help).expect(valid);
        let family = |name: &str, help: &str, label: &str| {
            IntCounterVec::new(Opts::new(name, help), &[label]).expect(valid)
        };
        let frames_sent = family(
            "openmic_frames_sent_total",
            "Frames written to subscribers",
            "kind",
        );
        let subscribers_closed = family(
            "openmic_subscribers_closed_total",
            "Subscribers closed, by cause",
            "reason",
        );
        let buckets = exponential_buckets(0.0005, 2.0, 13).expect(valid);
        let fanout = HistogramOpts::new(
            "openmic_fanout_seconds",
            "From the publication of a roster version to its write to the last subscriber whose \
             socket takes bytes",
        );
        Self {
            subscribers: IntGauge::new("openmic_subscribers", "Subscribers connected")
                .expect(valid),
            sent: Kind::ALL.map(|kind| frames_sent.with_label_values(&[kind.as_str()])),
            frames_sent,
            bytes_sent: counter(
                "openmic_subscriber_sent_bytes_total",
                "Bytes written to subscribers' sockets, frame headers included",
            ),
            conflated: counter(
                "openmic_frames_conflated_total",
                "Deltas that a slow subscriber did not get because a snapshot took their place",
            ),
            resyncs: counter(
                "openmic_subscriber_resyncs_total",
                "Snapshots sent to subscribers that had a version already",
            ),
            closed: Reason::ALL
                .map(|reason| subscribers_closed.with_label_values(&[reason.as_str()])),
            subscribers_closed,
            fanout: Histogram::with_opts(fanout.buckets(buckets)).expect(valid),
        }
    }

    /// Makes all of them visible in `registry`.
    ///
    /// # Errors
    /// When one of the names is taken there.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 7] = [
            Box::new(self.subscribers.clone()),
            Box::new(self.frames_sent.clone()),
            Box::new(self.bytes_sent.clone()),
            Box::new(self.conflated.clone()),
            Box::new(self.resyncs.clone()),
            Box::new(self.subscribers_closed.clone()),
            Box::new(self.fanout.clone()),
        ];
        for collector in all {
            registry.register(collector)?;
        }
        Ok(())
    }

    pub(crate) fn closed(&self, reason: Reason) {
        self.closed[reason as usize].inc();
    }

    pub(crate) fn fanned_out(&self, took: Duration) {
        self.fanout.observe(took.as_secs_f64());
    }

    /// Adds up what one turn wrote.
    pub(crate) fn add(&self, tally: &mut Tally) {
        for (counter, count) in self.sent.iter().zip(tally.frames) {
            counter.inc_by(count);
        }
        self.bytes_sent.inc_by(tally.bytes);
        self.conflated.inc_by(tally.conflated);
        self.resyncs.inc_by(tally.resyncs);
        *tally = Tally::default();
    }
}

/// Counted plainly while writing, moved to the atomics once per turn.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) frames: [u64; Kind::ALL.len()],
    pub(crate) bytes: u64,
    pub(crate) conflated: u64,
    pub(crate) resyncs: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        for (sum, more) in self.frames.iter_mut().zip(more.frames) {
            *sum += more;
        }
        self.bytes += more.bytes;
        self.conflated += more.conflated;
        self.resyncs += more.resyncs;
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use prometheus::proto::MetricFamily;

    use super::HubMetrics;

    #[test]
    fn all_are_registered_once() {
        let registry = Registry::new();
        let metrics = HubMetrics::new();
        metrics.register(&registry).unwrap();
        let families = registry.gather();
        let mut names: Vec<_> = families.iter().map(MetricFamily::name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "openmic_fanout_seconds",
                "openmic_frames_conflated_total",
                "openmic_frames_sent_total",
                "openmic_subscriber_resyncs_total",
                "openmic_subscriber_sent_bytes_total",
                "openmic_subscribers",
                "openmic_subscribers_closed_total",
            ]
        );
        assert!(metrics.register(&registry).is_err());
    }
}
