//! Everything the service holds, and what happens to it.

mod calls;
mod faults;
mod humans;
mod invite;
mod life;
mod registry;
mod ring;

pub(crate) use calls::{Done, SetMuted};
pub(crate) use registry::Registry;
pub(crate) use ring::{Lab, RingAsked};

use std::sync::Arc;

use openmic_auth::Validator;
use openmic_media::Media;
use openmic_model::{Action, CallId, ClientContext, OperationId, ParticipantId, ResultInfo};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{App, LocalConfig};
use crate::deliver::Courier;
use crate::error::CallError;
use crate::faults::Defaults;
use crate::keys::SigningKey;
use crate::meeting::{Meeting, Member, State};
use crate::metrics::Metrics;
use crate::truth::{By, Fact, Truth};
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
    pub(crate) truth: Arc<Truth>,
    pub(crate) faults: Defaults,
    pub(crate) courier: Arc<Courier>,
    pub(crate) registry: Mutex<Registry>,
    /// Everything that was spawned: a request's work, calls' lives, senders.
    pub(crate) tasks: TaskTracker,
    /// The service is going down: calls are no longer looked after.
    pub(crate) ends: CancellationToken,
    /// Its time is over: senders drop what waits. Also ends `ends`.
    pub(crate) kill: CancellationToken,
}

/// On whose word somebody is muted or unmuted, for the truth log.
#[derive(Debug, Clone, Copy)]
struct Cause<'a> {
    by: By,
    request: Option<&'a str>,
    operation: Option<&'a OperationId>,
    context: Option<&'a ClientContext>,
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
        cause: Cause<'_>,
        allowed: impl Fn(&State) -> Result<(), CallError>,
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
        let Some(member) = state.member(who) else {
            return Err(CallError::NoParticipant);
        };
        self.truth.write(&Fact::Effect {
            act: action.into(),
            by: cause.by,
            call: member.call.as_ref(),
            participant: who,
            changed: member.entry.is_muted != action.wants_muted(),
            request: cause.request,
            operation: cause.operation,
            client_context: cause.context,
        });
        state.set_muted(who, action.wants_muted(), announce);
        Ok(fence)
    }

    /// A call begins to end. Who was in it is given back; `None` when it is ending already, or
    /// there is no such call.
    fn terminate(&self, state: &mut State, id: &CallId, result: ResultInfo) -> Option<Member> {
        if state.call(id)?.is_ending() {
            return None;
        }
        // Before the notification that follows from it can be.
        self.truth.write(&Fact::end(id, &result));
        state.terminate(id, result)
    }
}
