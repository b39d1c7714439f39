//! Everything the service holds, and what happens to it.

mod calls;
mod humans;
mod invite;
mod life;
mod registry;
mod ring;

pub(crate) use calls::Done;
pub(crate) use registry::Registry;
pub(crate) use ring::{Lab, RingAsked};

use std::sync::Arc;

use openmic_auth::Validator;
use openmic_media::Media;
use openmic_model::{Action, ParticipantId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{App, LocalConfig};
use crate::deliver::Courier;
use crate::error::CallError;
use crate::keys::SigningKey;
use crate::meeting::Meeting;
use crate::metrics::Metrics;
use openmic_media::FenceError;

/// The state behind every request. Lock order: registry, then one meeting, then one outbox.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: LocalConfig,
    /// `http://host:port`, https with TLS, without a slash at the end.
    pub(crate) base_url: String,
    pub(crate) keys: Arc<SigningKey>,
    pub(crate) validator: Validator,
    pub(crate) media: Media,
    pub(crate) metrics: Metrics,
    pub(crate) courier: Arc<Courier>,
    pub(crate) registry: Mutex<Registry>,
    /// Everything that was spawned: a request's work, calls' lives, senders.
    pub(crate) tasks: TaskTracker,
    /// The service is going down: calls are no longer looked after.
    pub(crate) ends: CancellationToken,
    /// Its time is over: senders drop what waits. Also ends `ends`.
    pub(crate) kill: CancellationToken,
}

impl World {
    pub(crate) fn app(&self, id: &openmic_model::AppId) -> Option<&App> {
        self.config.apps.iter().find(|app| app.id == *id)
    }

    /// `iss` of access tokens of a tenant.
    pub(crate) fn issuer(&self, tenant: &openmic_model::TenantId) -> String {
        format!("{}/{tenant}/v2.0", self.base_url)
    }

    /// Mutes or unmutes one participant: gate, fence, roster, in this order and alone.
    ///
    /// `Ok(Err(_))`: the gate is closed and the roster says so, but the media did not confirm it.
    async fn switch(
        &self,
        meeting: &Meeting,
        who: &ParticipantId,
        action: Action,
        allowed: impl Fn(&crate::meeting::State) -> Result<(), CallError>,
    ) -> Result<Result<(), FenceError>, CallError> {
        let (turn, media) = {
            let state = meeting.state.lock();
            allowed(&state)?;
            let member = state.member(who).ok_or(CallError::NoParticipant)?;
            (Arc::clone(&member.turn), member.media.clone())
        };
        let _turn = turn.lock().await;
        // Somebody may have ended the call while we waited; then nothing is touched.
        allowed(&meeting.state.lock())?;
        let fence = match (&media, action) {
            (None, _) => Ok(()),
            (Some(media), Action::Unmute) => {
                media.open().await;
                Ok(())
            }
            (Some(media), Action::Mute) => media.close().await,
        };
        let mut state = meeting.state.lock();
        let announce = self.config.rules.announce_unchanged;
        if state.set_muted(who, action.wants_muted(), announce) {
            Ok(fence)
        } else {
            Err(CallError::NoParticipant)
        }
    }
}
