//! What a bot may ask of its calls.

use std::sync::Arc;

use openmic_auth::Claims;
use openmic_media::FenceError;
use openmic_model::{
    Action, AppId, CallId, CallKind, CallState, ClientContext, Identity, IdentityKind, Operation,
    OperationId, OperationStatus, Participant, ParticipantId, ResultInfo, TenantId,
};
use openmic_wire::call::Direction as Began;
use openmic_wire::create::CreateCall;
use tokio::time::Instant;
use uuid::Uuid;

use super::faults::Later;
use super::life::callee;
use super::{Cause, World};
use crate::create::{Created, Plan};
use crate::deliver::{CallNews, News, Outbox, Recipient, headers};
use crate::error::CallError;
use crate::faults::How;
use crate::leg::{MediaLeg, audio_stream};
use crate::meeting::{Call, Meeting, Member, Operations, Record, State};
use crate::sdp::Direction;
use crate::truth::{Act, By, Fact};
use crate::wording::CallNow;

/// A call that was just created.
#[derive(Debug)]
pub(crate) struct NewCall {
    pub(crate) id: CallId,
    pub(crate) now: CallNow,
    pub(crate) created: Arc<Created>,
}

/// An operation of a call.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) call: CallId,
    pub(crate) record: Record,
}

/// A mute or unmute as it was asked.
#[derive(Debug)]
pub(crate) struct SetMuted {
    /// Somebody else.
    pub(crate) whom: Option<String>,
    pub(crate) action: Action,
    pub(crate) context: Option<ClientContext>,
    pub(crate) request: Arc<str>,
    pub(crate) how: How,
}

/// Ended by the bot. Source: `contract.md` §5.3.
pub(super) const BY_BOT: (i32, i32) = (200, 7000);

impl World {
    /// Creates a call: it is there at once, and up after the time the config names.
    pub(crate) async fn create(
        self: &Arc<Self>,
        claims: &Claims,
        app: &AppId,
        body: CreateCall,
        scenario: Option<String>,
        request: &str,
    ) -> Result<NewCall, CallError> {
        let plan = Plan::new(body, claims)?;
        let id = new_id::<CallId>();
        let participant = new_id::<ParticipantId>();
        let media = match &plan.offer {
            None => None,
            Some(offer) => {
                let joined =
                    MediaLeg::join(&self.media, &plan.thread, &participant, offer, false).await;
                Some(Arc::new(joined.map_err(CallError::Media)?))
            }
        };
        let identity = plan.identity(Identity {
            kind: IdentityKind::Application,
            id: Some(app.as_str().to_owned()),
            display_name: self.app(app).map(|app| app.display_name.clone()),
        });
        let direction = media.as_ref().map_or(Direction::SendRecv, |m| m.direction);
        let member = Member {
            entry: Arc::new(Participant {
                id: participant.clone(),
                identity: identity.clone(),
                is_muted: false,
                in_lobby: false,
                roster_sequence_number: None,
                streams: vec![audio_stream(1, direction)],
            }),
            call: Some(id.clone()),
            media: media.clone(),
            turn: Arc::default(),
            simulated: false,
        };
        let created = Arc::new(Created {
            direction: Began::Outgoing,
            source: identity,
            chain: Uuid::new_v4().to_string(),
            delta_roster: plan.request.delta_roster(),
            media_answer: media.map(|media| media.answer.clone()),
            body: plan.body(),
        });
        let tenant = claims
            .tenant
            .clone()
            .or_else(|| self.app(app).map(|app| app.tenant.clone()))
            .unwrap_or_else(new_id::<TenantId>);
        let outbox = self.outbox();
        let faults = self.faults.begin(&plan.thread);
        let ends = self.ends.child_token();
        let call = Call {
            app: app.clone(),
            phase: CallState::Establishing,
            created: Arc::clone(&created),
            result: None,
            participant: participant.clone(),
            waiting: Some(member),
            ring: None,
            operations: Operations::default(),
            kept_alive: Instant::now(),
            outbox: Arc::clone(&outbox),
            faults: Arc::clone(&faults),
            ends: ends.clone(),
        };
        let first = News::Call(CallNews::of(CallState::Establishing));
        let place = (plan.kind, plan.thread.as_str());
        let cause = (Act::Create, Some(request));
        let meeting = self.admit(&id, call, first, place, plan.callees.len(), cause)?;
        let scenario = scenario.unwrap_or_else(|| Uuid::new_v4().to_string());
        self.deliver(
            Recipient {
                call: id.clone(),
                app: app.clone(),
                tenant,
                callback: plan.callback,
                headers: headers(&created.chain, &scenario),
                faults,
            },
            outbox,
        );
        let callees = plan.callees.into_iter();
        let callees = callees.map(|identity| callee(new_id(), identity)).collect();
        self.tasks
            .spawn(Arc::clone(self).look_after(meeting, id.clone(), callees, ends));
        Ok(NewCall {
            id,
            now: CallNow {
                state: CallState::Establishing,
                participant,
                result: None,
                audio_active: None,
            },
            created,
        })
    }

    /// Takes a call in, within the limits. Registry and meeting are locked together, so that no
    /// meeting is forgotten between being found and being joined.
    pub(super) fn admit(
        &self,
        id: &CallId,
        call: Call,
        first: News,
        (kind, thread): (CallKind, &str),
        callees: usize,
        (act, request): (Act, Option<&str>),
    ) -> Result<Arc<Meeting>, CallError> {
        let limits = &self.config.limits;
        let app = call.app.clone();
        let mut registry = self.registry.lock();
        if registry.calls() >= limits.calls {
            return Err(CallError::Limit {
                what: "calls",
                limit: limits.calls,
            });
        }
        let meeting = match kind {
            CallKind::Group => registry.meet(thread, limits.meetings)?,
            CallKind::PeerToPeer => Arc::new(Meeting::new(thread.to_owned(), kind)),
        };
        let mut state = meeting.state.lock();
        if state.size() + 1 + callees > limits.participants {
            drop(state);
            registry.tidy(&meeting);
            return Err(CallError::Limit {
                what: "participants in this meeting",
                limit: limits.participants,
            });
        }
        self.truth.write(&Fact::Life {
            act,
            call: id,
            participant: Some(&call.participant),
            request,
            code: None,
            subcode: None,
        });
        state.admit(id.clone(), call, first);
        drop(state);
        registry.add(id.clone(), Arc::clone(&meeting), app);
        self.metrics.calls.inc();
        self.metrics.bots.inc();
        self.count(&registry);
        Ok(meeting)
    }

    pub(super) fn outbox(&self) -> Arc<Outbox> {
        let waiting = self.config.limits.waiting;
        Arc::new(Outbox::new(waiting, self.metrics.clone()))
    }

    /// Sends what is put into `outbox`, to its end.
    pub(super) fn deliver(&self, to: Recipient, outbox: Arc<Outbox>) {
        let (courier, kill) = (Arc::clone(&self.courier), self.kill.clone());
        let ends = self.ends.clone();
        self.tasks
            .spawn(crate::deliver::run(to, outbox, courier, (ends, kill)));
    }

    pub(super) fn find(&self, app: &AppId, id: &str) -> Result<(CallId, Arc<Meeting>), CallError> {
        let id = CallId::parse(id).map_err(|_| CallError::NoCall)?;
        let meeting = self.registry.lock().call(&id, app)?;
        Ok((id, meeting))
    }

    pub(crate) fn get(&self, app: &AppId, id: &str) -> Result<NewCall, CallError> {
        let (id, meeting) = self.find(app, id)?;
        let state = meeting.state.lock();
        let call = state.call(&id).ok_or(CallError::NoCall)?;
        let now = CallNow {
            state: call.phase,
            participant: call.participant.clone(),
            result: call.result.clone(),
            audio_active: (call.phase == CallState::Established).then_some(true),
        };
        let created = Arc::clone(&call.created);
        drop(state);
        Ok(NewCall { id, now, created })
    }

    /// Hangs up. Harmless on a call that is ending.
    pub(crate) async fn hang_up(&self, app: &AppId, id: &str) -> Result<(), CallError> {
        let (id, meeting) = self.find(app, id)?;
        let (code, subcode) = BY_BOT;
        self.end_call(
            &meeting,
            &id,
            ResultInfo {
                code,
                subcode,
                message: Some("Call ended by the bot.".to_owned()),
            },
        )
        .await;
        Ok(())
    }

    pub(crate) fn keep_alive(&self, app: &AppId, id: &str) -> Result<(), CallError> {
        let (id, meeting) = self.find(app, id)?;
        let mut state = meeting.state.lock();
        let call = state.call_mut(&id).ok_or(CallError::NoCall)?;
        if call.is_ending() {
            return Err(CallError::NoCall);
        }
        call.kept_alive = Instant::now();
        Ok(())
    }

    /// Everybody the call sees: nobody in a 1:1 call and before it is established. Of a roster that
    /// is stale (`before`), everybody before its last change.
    pub(crate) fn participants(
        &self,
        app: &AppId,
        id: &str,
        before: bool,
    ) -> Result<(CallId, Vec<Arc<Participant>>), CallError> {
        let (id, meeting) = self.find(app, id)?;
        let mut state = meeting.state.lock();
        let call = state.call(&id).ok_or(CallError::NoCall)?;
        let everybody = if call.phase == CallState::Established {
            let everybody = if before {
                state.everybody_before()
            } else {
                state.everybody()
            };
            everybody.to_vec()
        } else {
            Vec::new()
        };
        drop(state);
        Ok((id, everybody))
    }

    pub(crate) fn participant(
        &self,
        app: &AppId,
        id: &str,
        participant: &str,
        before: bool,
    ) -> Result<(CallId, Arc<Participant>), CallError> {
        let wanted = ParticipantId::parse(participant).map_err(|_| CallError::NoParticipant)?;
        let (id, everybody) = self.participants(app, id, before)?;
        let found = everybody.into_iter().find(|entry| entry.id == wanted);
        Ok((id, found.ok_or(CallError::NoParticipant)?))
    }

    /// Mutes or unmutes the bot itself, or as a host (`whom`) mutes another participant.
    pub(crate) async fn set_muted(
        self: &Arc<Self>,
        app: &AppId,
        id: &str,
        asked: SetMuted,
    ) -> Result<Done, CallError> {
        let SetMuted {
            whom,
            action,
            context,
            request,
            how,
        } = asked;
        let (id, meeting) = self.find(app, id)?;
        if meeting.kind() == CallKind::PeerToPeer {
            return Err(CallError::NotGroup);
        }
        let other = whom.as_deref().map(ParticipantId::parse).transpose();
        let other = other.map_err(|_| CallError::NoParticipant)?;
        let own = own_participant(&meeting.state.lock(), &id)?;
        match how {
            How::Now => {}
            How::Not => {
                let record = Record::new(action.into(), finished(new_id(), context, Ok(())));
                return Ok(self.done(&meeting, id, record));
            }
            How::Later { after, effect, end } => {
                let later = Later {
                    call: id,
                    meeting,
                    action,
                    request,
                    after,
                    effect,
                    end,
                };
                return self.switch_later(later, context);
            }
        }
        let who = other.unwrap_or_else(|| own.clone());
        let operation = OperationId::of_guid(Uuid::new_v4().as_u128());
        let cause = Cause {
            by: by(&who, &own),
            request: Some(&request),
            operation: Some(&operation),
            context: context.as_ref(),
        };
        let allowed = |state: &State| established(state, &id);
        let fence = self.switch(&meeting, &who, action, cause, allowed).await?;
        let record = Record::new(action.into(), finished(operation, context, fence));
        Ok(self.done(&meeting, id, record))
    }

    /// Keeps an operation that ended with its answer.
    pub(super) fn done(&self, meeting: &Meeting, call: CallId, record: Record) -> Done {
        let most = self.config.limits.operations;
        if let Some(held) = meeting.state.lock().call_mut(&call) {
            held.operations.keep(record.clone(), most);
        }
        self.metrics.ended(&record);
        Done { call, record }
    }

    /// An operation, for as long as its call lives and some time longer.
    pub(crate) fn operation(&self, app: &AppId, call: &str, id: &str) -> Result<Done, CallError> {
        let call = CallId::parse(call).map_err(|_| CallError::NoCall)?;
        let mut registry = self.registry.lock();
        registry.forget(self.config.timing.operations_kept);
        let found = match registry.call(&call, app) {
            Ok(meeting) => {
                drop(registry);
                let state = meeting.state.lock();
                let live = state.call(&call).ok_or(CallError::NoCall)?;
                live.operations.get(id)
            }
            Err(unknown) => match registry.operation(&call, app, id) {
                None => return Err(unknown),
                found => found,
            },
        };
        let record = found.ok_or(CallError::NoOperation)?;
        Ok(Done { call, record })
    }
}

pub(super) fn own_participant(state: &State, id: &CallId) -> Result<ParticipantId, CallError> {
    established(state, id)?;
    let call = state.call(id).ok_or(CallError::NoCall)?;
    Ok(call.participant.clone())
}

/// Mute and unmute are for established calls only.
pub(super) fn established(state: &State, id: &CallId) -> Result<(), CallError> {
    match state.call(id).map(|call| call.phase) {
        None => Err(CallError::NoCall),
        Some(CallState::Established) => Ok(()),
        Some(phase) if phase.rank() < CallState::Established.rank() => {
            Err(CallError::NotEstablished)
        }
        Some(_) => Err(CallError::Terminating),
    }
}

/// Who it is that mutes `who` by the call whose bot is `own`.
pub(super) fn by(who: &ParticipantId, own: &ParticipantId) -> By {
    if who == own { By::Bot } else { By::Other }
}

pub(super) fn finished(
    id: OperationId,
    context: Option<ClientContext>,
    fence: Result<(), FenceError>,
) -> Operation {
    let (status, result) = match fence {
        Ok(()) => (OperationStatus::Completed, None),
        Err(error) => {
            tracing::error!(%error, "a mute was not confirmed by the media");
            let result = ResultInfo {
                code: 500,
                subcode: 9002,
                message: Some(error.to_string()),
            };
            (OperationStatus::Failed, Some(result))
        }
    };
    Operation {
        id: Some(id),
        status,
        client_context: context,
        result,
    }
}

/// A random GUID as an id of any kind.
pub(super) fn new_id<T: std::str::FromStr<Err = openmic_model::IdError>>() -> T {
    Uuid::new_v4()
        .to_string()
        .parse()
        .expect("a GUID is an id of every kind")
}
