use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::error::Validation;
use crate::keys::Fetch;

/// What this crate counts. Clones count into the same series.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    validations: IntCounterVec,
    fetches: IntCounterVec,
    by_validation: [IntCounter; Validation::ALL.len()],
    by_fetch: [IntCounter; Fetch::ALL.len()],
}

impl Metrics {
    /// All series at zero:
    ///
    /// - `openmic_token_validations_total{result}`: tokens looked at. `valid` ones passed every
    ///   check, `cached` ones had done so in the last 5 minutes; every other word is
    ///   [`TokenError::reason`](crate::TokenError::reason).
    /// - `openmic_signing_key_fetches_total{result}`: tries to read an issuer's keys; `ok`, or
    ///   why the last good keys were kept.
    pub fn new() -> Self {
        let counters = |name: &str, help: &str| {
            IntCounterVec::new(Opts::new(name, help), &["result"])
                .expect("name and label are constants that prometheus takes")
        };
        let validations = counters(
            "openmic_token_validations_total",
            "Bearer tokens looked at, by how it ended.",
        );
        let fetches = counters(
            "openmic_signing_key_fetches_total",
            "Tries to read an issuer's signing keys, by how it ended.",
        );
        let by_validation =
            Validation::ALL.map(|result| validations.with_label_values(&[result.label()]));
        let by_fetch = Fetch::ALL.map(|result| fetches.with_label_values(&[result.label()]));
        Self {
            inner: Arc::new(Inner {
                validations,
                fetches,
                by_validation,
                by_fetch,
            }),
        }
    }

    /// Makes the series part of `registry`.
    ///
    /// # Errors
    /// When the registry has series of these names.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.inner.validations.clone()))?;
        registry.register(Box::new(self.inner.fetches.clone()))
    }

    pub(crate) fn validated(&self, result: Validation) {
        self.inner.by_validation[result as usize].inc();
    }

    pub(crate) fn fetched(&self, result: Fetch) {
        self.inner.by_fetch[result as usize].inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
