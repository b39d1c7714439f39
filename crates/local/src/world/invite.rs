//! What a bot may do to the others of its meeting: invite, remove, mute several.

use std::sync::Arc;

use openmic_auth::Claims;
use openmic_model::{
    Action, AppId, CallKind, IdentityKind, Operation, OperationId, OperationKind, OperationStatus,
    ParticipantId,
};
use openmic_wire::invite::{InviteParticipants, MuteAll, only_target};
use serde_json::Value;
use tokio::time::sleep;

use super::calls::{Done, by, established, finished, new_id, own_participant};
use super::life::callee;
use super::{Cause, World};
use crate::create::Created;
use crate::error::CallError;
use crate::meeting::{Invite, Meeting, Record, State};

/// Adding people is beginning a group call. Source: `contract.md` §6.2.
const GROUP: &[&str] = &[
    "Calls.InitiateGroupCall.All",
    "Calls.InitiateGroupCalls.All",
];

impl World {
    /// Invites participants: the operation runs, and they come in after the time the config names.
    pub(crate) fn invite(
        self: &Arc<Self>,
        claims: &Claims,
        app: &AppId,
        id: &str,
        invite: InviteParticipants,
    ) -> Result<Done, CallError> {
        if !claims.has_any_role(GROUP) {
            return Err(CallError::Role(GROUP[0]));
        }
        let (call, meeting) = self.find(app, id)?;
        let bot = |kind| kind == IdentityKind::Application;
        if invite.invitations.iter().any(|one| bot(one.identity.kind)) {
            return Err(CallError::Argument(
                "a bot cannot be invited by a bot; let it join the meeting itself",
            ));
        }
        let operation = new_id::<OperationId>();
        let mut record = Record::new(
            OperationKind::InviteParticipants,
            Operation {
                id: Some(operation.clone()),
                status: OperationStatus::Running,
                client_context: invite.context,
                result: None,
            },
        );
        let (mut shown, mut members) = (Vec::new(), Vec::new());
        for one in invite.invitations {
            let id = one.participant.clone().unwrap_or_else(new_id);
            shown.push(one.to_json(&id));
            members.push(callee(id, one.identity));
        }
        record
            .extra
            .insert("participants".to_owned(), Value::Array(shown));
        let mut state = meeting.state.lock();
        established(&state, &call)?;
        if meeting.kind() == CallKind::PeerToPeer && members.len() > 1 {
            return Err(CallError::OneAtFirst);
        }
        let taken = |id: &ParticipantId| state.member(id).is_some() || state.is_invited(id);
        if members.iter().any(|member| taken(&member.entry.id)) {
            return Err(CallError::Argument(
                "a participantId is taken; leave it out to have one made",
            ));
        }
        let limits = &self.config.limits;
        if state.open_invites(&call) >= limits.waiting {
            return Err(CallError::Limit {
                what: "invites whose end the bot has not been told",
                limit: limits.waiting,
            });
        }
        if state.size() + members.len() > limits.participants {
            return Err(CallError::Limit {
                what: "participants in this meeting",
                limit: limits.participants,
            });
        }
        let begun = Invite {
            call: call.clone(),
            record: record.clone(),
            members,
        };
        state.invite(begun, limits.operations);
        drop(state);
        let world = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = world.ends.cancelled() => {}
                () = sleep(world.config.timing.invite) => world.come_in(&meeting, &operation),
            }
        });
        Ok(Done { call, record })
    }

    /// Those who were invited come in. A 1:1 call becomes a group call by it.
    fn come_in(&self, meeting: &Arc<Meeting>, operation: &OperationId) {
        let mut registry = self.registry.lock();
        let mut state = meeting.state.lock();
        let Some((call, mut members)) = state.complete_invite(operation) else {
            return;
        };
        if meeting.kind() == CallKind::PeerToPeer {
            members.splice(0..0, peer(&mut state, &call, &meeting.thread));
            meeting.open_up();
            registry.adopt(meeting);
            state.open_up(&call);
        }
        for member in members {
            // Who is in already is not there twice.
            let id = &member.entry.identity.id;
            let everybody = state.everybody();
            let known = id.is_some() && everybody.iter().any(|entry| entry.identity.id == *id);
            if !known {
                state.join(member);
                self.metrics.humans.inc();
            }
        }
        drop(state);
        self.count(&registry);
    }

    /// Removes a participant, or takes its invitation back. A bot's own call ends by it.
    pub(crate) async fn remove_participant(
        &self,
        app: &AppId,
        id: &str,
        participant: &str,
    ) -> Result<(), CallError> {
        let whom = ParticipantId::parse(participant).map_err(|_| CallError::NoParticipant)?;
        let (call, meeting) = self.find(app, id)?;
        {
            let mut state = meeting.state.lock();
            established(&state, &call)?;
            if state.cancel_invited(&whom) {
                return Ok(());
            }
        }
        if meeting.kind() == CallKind::PeerToPeer {
            return Err(CallError::NotGroup);
        }
        self.expel(&meeting, &whom).await
    }

    /// Mutes several at a stroke: all of them, or none when one is not there.
    pub(crate) async fn mute_all(
        &self,
        app: &AppId,
        id: &str,
        whom: MuteAll,
        request: &str,
    ) -> Result<Done, CallError> {
        let (call, meeting) = self.find(app, id)?;
        if meeting.kind() == CallKind::PeerToPeer {
            return Err(CallError::NotGroup);
        }
        {
            let state = meeting.state.lock();
            established(&state, &call)?;
            if whom
                .participants
                .iter()
                .any(|id| state.member(id).is_none())
            {
                return Err(CallError::NoParticipant);
            }
        }
        let own = own_participant(&meeting.state.lock(), &call)?;
        let operation = new_id::<OperationId>();
        let mut fence = Ok(());
        for participant in &whom.participants {
            let allowed = |state: &State| established(state, &call);
            let cause = Cause {
                by: by(participant, &own),
                request: Some(request),
                operation: Some(&operation),
                context: whom.context.as_ref(),
            };
            match self
                .switch(&meeting, participant, Action::Mute, cause, allowed)
                .await
            {
                Ok(muted) => fence = fence.and(muted),
                // It left meanwhile, and is not heard either.
                Err(CallError::NoParticipant) => {}
                Err(error) => return Err(error),
            }
        }
        let operation = finished(operation, whom.context, fence);
        let mut record = Record::new(OperationKind::MuteParticipants, operation);
        let ids = whom.participants.iter().map(|id| Value::from(id.as_str()));
        record
            .extra
            .insert("participants".to_owned(), ids.collect());
        Ok(self.done(&meeting, call, record))
    }
}

/// The other side of a 1:1 call that becomes a group call, which then has a chat thread too.
fn peer(
    state: &mut State,
    call: &openmic_model::CallId,
    thread: &str,
) -> Option<crate::meeting::Member> {
    let call = state.call_mut(call)?;
    let mut created = Created::clone(&call.created);
    let other = match &call.ring {
        Some(ring) => Some((ring.caller.clone(), created.source.clone())),
        None => only_target(&created.body).map(|identity| (new_id(), identity)),
    };
    created.meet(thread);
    call.created = Arc::new(created);
    other.map(|(id, identity)| callee(id, identity))
}
