//! What a test may do as the humans of a meeting. Not Graph: the lab.

use std::sync::Arc;

use openmic_model::{
    Action, CallKind, Identity, IdentityKind, Participant, ParticipantId, ResultInfo,
};

use super::calls::new_id;
use super::{Cause, World};
use crate::error::CallError;
use crate::leg::{MediaLeg, audio_stream};
use crate::meeting::{Meeting, Member};
use crate::sdp::{Direction, Offer};
use crate::truth::By;

/// Removed by the host. Source: `contract.md` §5.3.
const BY_HOST: (i32, i32) = (200, 5000);

impl World {
    /// A human comes in, unmuted; with an offer, also with sound.
    pub(crate) async fn join_human(
        &self,
        thread: &str,
        name: Option<String>,
        offer: Option<Offer>,
    ) -> Result<(Arc<Participant>, Option<Arc<MediaLeg>>), CallError> {
        if thread.is_empty() || thread.len() > 1024 {
            return Err(CallError::Argument(
                "the meeting's thread id is empty or longer than 1024 bytes",
            ));
        }
        let id = new_id::<ParticipantId>();
        let media = match &offer {
            None => None,
            Some(offer) => {
                let joined = MediaLeg::join(&self.media, thread, &id, offer, true).await;
                Some(Arc::new(joined.map_err(CallError::Media)?))
            }
        };
        let direction = media.as_ref().map_or(Direction::Inactive, |m| m.direction);
        let entry = Arc::new(Participant {
            identity: Identity {
                kind: IdentityKind::User,
                id: Some(id.as_str().to_owned()),
                display_name: Some(name.unwrap_or_else(|| "Human".to_owned())),
            },
            id,
            is_muted: false,
            in_lobby: false,
            roster_sequence_number: None,
            streams: vec![audio_stream(1, direction)],
        });
        let member = Member {
            entry: Arc::clone(&entry),
            call: None,
            media: media.clone(),
            turn: Arc::default(),
            simulated: false,
        };
        let limits = &self.config.limits;
        let mut registry = self.registry.lock();
        let meeting = registry.meet(thread, limits.meetings)?;
        let mut state = meeting.state.lock();
        if state.size() >= limits.participants {
            drop(state);
            registry.tidy(&meeting);
            return Err(CallError::Limit {
                what: "participants in this meeting",
                limit: limits.participants,
            });
        }
        state.join(member);
        drop(state);
        self.metrics.humans.inc();
        self.count(&registry);
        Ok((entry, media))
    }

    /// A human leaves. A bot is removed by the host: its call ends.
    pub(crate) async fn remove(&self, thread: &str, id: &str) -> Result<(), CallError> {
        let (meeting, id) = self.place(thread, id)?;
        self.expel(&meeting, &id).await
    }

    pub(super) async fn expel(
        &self,
        meeting: &Arc<Meeting>,
        id: &ParticipantId,
    ) -> Result<(), CallError> {
        let call = {
            let state = meeting.state.lock();
            let member = state.member(id).ok_or(CallError::NoParticipant)?;
            member.call.clone()
        };
        if let Some(call) = call {
            let (code, subcode) = BY_HOST;
            let result = ResultInfo {
                code,
                subcode,
                message: Some("The host removed the bot.".to_owned()),
            };
            self.end_call(meeting, &call, result).await;
            return Ok(());
        }
        let gone = {
            let mut registry = self.registry.lock();
            let mut state = meeting.state.lock();
            let gone = state.leave(id).ok_or(CallError::NoParticipant)?;
            drop(state);
            registry.tidy(meeting);
            self.metrics.humans.dec();
            self.count(&registry);
            gone
        };
        self.after_leave(meeting);
        if let Some(media) = gone.media {
            media.leave().await;
        }
        Ok(())
    }

    /// Mutes or unmutes anybody, as the host would.
    pub(crate) async fn host_switch(
        &self,
        thread: &str,
        id: &str,
        action: Action,
    ) -> Result<Arc<Participant>, CallError> {
        let (meeting, id) = self.place(thread, id)?;
        let cause = Cause {
            by: By::Host,
            request: None,
            operation: None,
            context: None,
        };
        let fence = self
            .switch(&meeting, &id, action, cause, |_| Ok(()))
            .await?;
        if let Err(error) = fence {
            tracing::error!(%error, "a mute by the host was not confirmed by the media");
            return Err(CallError::Unconfirmed(error));
        }
        let state = meeting.state.lock();
        let member = state.member(&id).ok_or(CallError::NoParticipant)?;
        Ok(Arc::clone(&member.entry))
    }

    /// A participant's entry and media.
    pub(crate) fn someone(
        &self,
        thread: &str,
        id: &str,
    ) -> Result<(Arc<Participant>, Option<Arc<MediaLeg>>), CallError> {
        let (meeting, id) = self.place(thread, id)?;
        let state = meeting.state.lock();
        let member = state.member(&id).ok_or(CallError::NoParticipant)?;
        Ok((Arc::clone(&member.entry), member.media.clone()))
    }

    fn place(&self, thread: &str, id: &str) -> Result<(Arc<Meeting>, ParticipantId), CallError> {
        let id = ParticipantId::parse(id).map_err(|_| CallError::NoParticipant)?;
        let meeting = self.registry.lock().meeting(thread);
        let meeting = meeting.filter(|meeting| meeting.kind() == CallKind::Group);
        Ok((meeting.ok_or(CallError::NoMeeting)?, id))
    }
}
