use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry, exponential_buckets};

/// What the journal counts.
#[derive(Debug)]
pub struct JournalMetrics {
    pub(crate) batch: Histogram,
    pub(crate) commit: Histogram,
    pub(crate) records: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) dropped: IntCounter,
    pub(crate) queued: IntGauge,
    pub(crate) free: IntGauge,
    pub(crate) size: IntGauge,
    pub(crate) full: IntGauge,
    pub(crate) failed: IntGauge,
    pub(crate) quarantined: IntGauge,
}

impl JournalMetrics {
    pub(crate) fn new() -> Self {
        let valid = "names and labels are constants that prometheus accepts";
        let counter = |name, help| IntCounter::new(name, help).expect(valid);
        let gauge = |name, help| IntGauge::new(name, help).expect(valid);
        let histogram = |name, help, first, count| {
            let buckets = exponential_buckets(first, 2.0, count).expect(valid);
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)).expect(valid)
        };
        Self {
            batch: histogram(
                "openmic_journal_batch_records",
                "Records that one commit of the journal made durable",
                1.0,
                10,
            ),
            commit: histogram(
                "openmic_journal_commit_seconds",
                "Duration of one commit of the journal, its sync included",
                0.000_05,
                18,
            ),
            records: counter(
                "openmic_journal_records_total",
                "Records the journal made durable",
            ),
            bytes: counter(
                "openmic_journal_bytes_total",
                "Bytes of the records and answers the journal made durable",
            ),
            dropped: counter(
                "openmic_journal_dropped_total",
                "Records, ended calls and answers deleted because they are kept no longer",
            ),
            queued: gauge(
                "openmic_journal_queued_records",
                "Records that wait for the disk",
            ),
            free: gauge(
                "openmic_journal_free_bytes",
                "Free space on the disk of the journal",
            ),
            size: gauge("openmic_journal_size_bytes", "Size of the journal"),
            full: gauge(
                "openmic_journal_full",
                "1 while commands and calls are refused because the disk has too little room",
            ),
            failed: gauge(
                "openmic_journal_failed",
                "1 once a write or a sync of the journal failed",
            ),
            quarantined: gauge(
                "openmic_journal_quarantined_calls",
                "Calls in the journal that could not be recovered, as found at the start",
            ),
        }
    }

    /// Makes all of them visible in `registry`.
    ///
    /// # Errors
    /// When one of the names is taken there.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 11] = [
            Box::new(self.batch.clone()),
            Box::new(self.commit.clone()),
            Box::new(self.records.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.dropped.clone()),
            Box::new(self.queued.clone()),
            Box::new(self.free.clone()),
            Box::new(self.size.clone()),
            Box::new(self.full.clone()),
            Box::new(self.failed.clone()),
            Box::new(self.quarantined.clone()),
        ];
        for one in all {
            registry.register(one)?;
        }
        Ok(())
    }
}
