//! Notifications on their way to a bot: one task per call, in order, with retries, guarded.

mod outbox;
mod parcel;
mod sender;

pub(crate) use outbox::{CallNews, Everybody, News, Outbox};
pub(crate) use parcel::leave_out;
pub(crate) use sender::{Callback, Recipient, headers, run};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use openmic_model::{AppId, TenantId};
use openmic_outbound::{Outbound, OutboundConfig};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::LocalConfig;
use crate::keys::SigningKey;
use crate::metrics::Metrics;
use crate::truth::Truth;

/// A token is used for so long of its life of 65 minutes, so that it holds while a notification is
/// retried.
const TOKEN_USED_FOR: Duration = Duration::from_hours(1);

/// A tenant that no app is of.
const FOREIGN_TENANT: &str = "99999999-9999-4999-8999-999999999999";

/// What all senders share: connections, tokens, the rules of trying again.
pub(crate) struct Courier {
    keys: Arc<SigningKey>,
    /// One token per app and tenant, at most two for each registered app.
    tokens: Mutex<BTreeMap<(AppId, TenantId), (Instant, HeaderValue)>>,
    outbound: Outbound,
    retries: Vec<Duration>,
    metrics: Metrics,
    truth: Arc<Truth>,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

impl Courier {
    pub(crate) fn new(
        keys: Arc<SigningKey>,
        config: &LocalConfig,
        metrics: Metrics,
        truth: Arc<Truth>,
    ) -> Result<Self, reqwest::Error> {
        let outbound = Outbound::new(OutboundConfig {
            dev: config.dev,
            ports: config.callback_ports.clone(),
            timeout: config.timing.delivery,
            roots: config.callback_roots.clone(),
            user_agent: "Microsoft-Skype/3.0,(Calling/1.0)".to_owned(),
            ..OutboundConfig::default()
        })?;
        Ok(Self {
            keys,
            tokens: Mutex::default(),
            outbound,
            retries: config.timing.redelivery.clone(),
            metrics,
            truth,
        })
    }

    /// `Bearer <token>` for a bot, the same one as long as it lives.
    fn authorization(
        &self,
        app: &AppId,
        tenant: &TenantId,
    ) -> Result<HeaderValue, jsonwebtoken::errors::Error> {
        let now = Instant::now();
        let mut tokens = self.tokens.lock();
        let key = (app.clone(), tenant.clone());
        if let Some((until, held)) = tokens.get(&key)
            && now < *until
        {
            return Ok(held.clone());
        }
        let token = self.keys.notification(app, tenant)?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .expect("base64url and dots stand in a header as they are");
        value.set_sensitive(true);
        tokens.insert(key, (now + TOKEN_USED_FOR, value.clone()));
        Ok(value)
    }

    /// The same with a signature that does not hold.
    fn forged(
        &self,
        app: &AppId,
        tenant: &TenantId,
    ) -> Result<HeaderValue, jsonwebtoken::errors::Error> {
        let good = self.authorization(app, tenant)?;
        let mut bytes = good.as_bytes().to_vec();
        let signature = bytes
            .iter()
            .rposition(|byte| *byte == b'.')
            .map(|at| at + 1);
        if let Some(first) = signature.and_then(|at| bytes.get_mut(at)) {
            *first = if *first == b'A' { b'B' } else { b'A' };
        }
        let mut value = HeaderValue::from_bytes(&bytes).expect("one letter became another");
        value.set_sensitive(true);
        Ok(value)
    }

    /// A token for the bot that another tenant's notifications would carry.
    fn foreign(&self, app: &AppId) -> Result<HeaderValue, jsonwebtoken::errors::Error> {
        let tenant = TenantId::parse(FOREIGN_TENANT).expect("the constant is a GUID");
        self.authorization(app, &tenant)
    }
}
