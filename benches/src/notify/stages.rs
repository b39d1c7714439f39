use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;
use openmic_auth::{KeySource, Metrics, Validator, ValidatorConfig};
use openmic_wire::notification;

use super::sender::body;
use super::signer::{Signer, public_key};
use super::{APP, ISSUER};

/// How often each is done; the median counts.
const TIMES: usize = 501;

/// What the steps of taking a notification take, each by itself on this thread.
#[derive(Debug, Clone, Copy)]
pub struct Stages {
    /// To find a token that was validated before.
    pub known_token: Duration,
    /// To validate one that is new.
    pub new_token: Duration,
    /// To read the body.
    pub decode: Duration,
}

impl Stages {
    /// Measures them.
    ///
    /// # Errors
    /// When a token or a body is not taken.
    pub fn measure(signer: &mut Signer) -> anyhow::Result<Self> {
        let accepted =
            ValidatorConfig::notifications(vec![ISSUER.to_owned()], vec![APP.to_owned()]);
        let keys = KeySource::fixed([public_key(&signer.public()?)?]);
        let validator = Arc::new(Validator::new(accepted, keys, Metrics::new())?);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let validate = |token: &str| {
            let begun = Instant::now();
            runtime.block_on(validator.validate(token, SystemTime::now()))?;
            anyhow::Ok(begun.elapsed())
        };
        let mut new = Vec::new();
        for _ in 0..TIMES {
            new.push(validate(&signer.token()?)?);
        }
        let known = signer.token()?;
        validate(&known)?;
        let known = (0..TIMES)
            .map(|_| validate(&known))
            .collect::<Result<_, _>>();
        let body = body("00000000-0000-4000-8000-000000000000", 1);
        let decode = || {
            let begun = Instant::now();
            let batch = notification::decode(black_box(body.as_bytes()))?;
            let took = begun.elapsed();
            ensure!(
                batch.notifications.len() == 1 && batch.faults.is_empty(),
                "one"
            );
            anyhow::Ok(took)
        };
        let decodes = (0..TIMES).map(|_| decode()).collect::<Result<_, _>>();
        Ok(Self {
            known_token: median(known?),
            new_token: median(new),
            decode: median(decodes?),
        })
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
