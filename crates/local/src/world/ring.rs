//! Calls that somebody else begins: the lab rings a bot, which answers or rejects.

use std::sync::Arc;

use openmic_auth::Claims;
use openmic_model::{
    AppId, CallId, CallKind, CallState, Identity, IdentityKind, Participant, ParticipantId,
    ResultInfo,
};
use openmic_wire::answer::{AnswerCall, RejectCall};
use openmic_wire::call::Direction as Began;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::World;
use super::calls::{BY_BOT, new_id};
use super::life::callee;
use crate::create::{self, Created};
use crate::deliver::{News, Recipient, headers};
use crate::error::CallError;
use crate::leg::{MediaLeg, audio_stream};
use crate::meeting::{Answered, Call, Meeting, Member, Operations, Ring};
use crate::sdp::Direction;
use crate::truth::Act;
use crate::wording;

/// The other side hung up: of a 1:1 call, of a group call. Source: `contract.md` §5.3.
const BY_CALLER: [(i32, i32); 2] = [(200, 4521), (200, 4097)];

/// What the lab asks: whom to ring, and how.
#[derive(Debug)]
pub(crate) struct RingAsked {
    pub(crate) app: AppId,
    /// The bot's app-level webhook.
    pub(crate) callback_uri: String,
    /// The meeting that the bot is called into; `None` for a 1:1 call.
    pub(crate) thread: Option<String>,
    /// Who calls.
    pub(crate) name: Option<String>,
}

/// A ring as the lab sees it.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) id: CallId,
    pub(crate) app: AppId,
    pub(crate) state: CallState,
    pub(crate) kind: CallKind,
    pub(crate) thread: String,
    pub(crate) caller: ParticipantId,
}

impl World {
    /// Rings a bot. The call is there at once, and it rings until it is answered, rejected, given
    /// up, or out of time.
    pub(crate) fn ring(self: &Arc<Self>, asked: RingAsked) -> Result<Lab, CallError> {
        let callback = create::callback(&asked.callback_uri)?;
        let app = self.app(&asked.app).ok_or(CallError::NoApp)?;
        let bot = Identity {
            kind: IdentityKind::Application,
            id: Some(app.id.as_str().to_owned()),
            display_name: Some(app.display_name.clone()),
        };
        let (kind, thread) = match asked.thread {
            Some(thread) => (CallKind::Group, thread),
            None => (
                CallKind::PeerToPeer,
                format!("1:1:{}", Uuid::new_v4().simple()),
            ),
        };
        let caller = new_id::<ParticipantId>();
        let source = Identity {
            kind: IdentityKind::User,
            id: Some(caller.as_str().to_owned()),
            display_name: Some(asked.name.unwrap_or_else(|| "Caller".to_owned())),
        };
        let id = new_id::<CallId>();
        let participant = new_id::<ParticipantId>();
        let created = Arc::new(Created {
            body: offered(&callback.uri, app.tenant.as_str(), &bot, kind, &thread),
            direction: Began::Incoming,
            source,
            chain: Uuid::new_v4().to_string(),
            delta_roster: false,
            media_answer: None,
        });
        let outbox = self.outbox();
        let faults = self.faults.begin(&thread);
        let ends = self.ends.child_token();
        let answered = CancellationToken::new();
        let call = Call {
            app: app.id.clone(),
            phase: CallState::Incoming,
            created: Arc::clone(&created),
            result: None,
            participant: participant.clone(),
            waiting: Some(Member {
                entry: Arc::new(Participant {
                    id: participant.clone(),
                    identity: bot,
                    is_muted: false,
                    in_lobby: false,
                    roster_sequence_number: None,
                    streams: vec![audio_stream(1, Direction::SendRecv)],
                }),
                call: Some(id.clone()),
                media: None,
                turn: Arc::default(),
                simulated: false,
            }),
            ring: Some(Ring {
                caller: caller.clone(),
                answered: answered.clone(),
            }),
            operations: Operations::default(),
            kept_alive: Instant::now(),
            outbox: Arc::clone(&outbox),
            faults: Arc::clone(&faults),
            ends: ends.clone(),
        };
        let first = News::Offer(wording::offer(&id, &participant, &created));
        let callers = usize::from(kind == CallKind::Group);
        let meeting = self.admit(
            &id,
            call,
            first,
            (kind, &thread),
            callers,
            (Act::Ring, None),
        )?;
        self.deliver(
            Recipient {
                call: id.clone(),
                app: app.id.clone(),
                tenant: app.tenant.clone(),
                callback,
                headers: headers(&created.chain, &Uuid::new_v4().to_string()),
                faults,
            },
            outbox,
        );
        self.tasks
            .spawn(Arc::clone(self).look_after_ring(meeting, id.clone(), answered, ends));
        Ok(Lab {
            id,
            app: app.id.clone(),
            state: CallState::Incoming,
            kind,
            thread,
            caller,
        })
    }

    /// The bot takes the call: it is set up, and up after the time the config names. Roles are
    /// checked here, as for a call that a bot creates.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        claims: &Claims,
        app: &AppId,
        id: &str,
        answer: AnswerCall,
    ) -> Result<(), CallError> {
        let (id, meeting) = self.find(app, id)?;
        let participant = meeting.state.lock().ringing(&id)?.participant.clone();
        create::authorize_answer(meeting.kind(), answer.media(), claims)?;
        let callback = answer.callback_uri().map(create::callback).transpose()?;
        let media = match create::offer(answer.media())? {
            None => None,
            Some(offer) => {
                let thread = &meeting.thread;
                let joined = MediaLeg::join(&self.media, thread, &participant, &offer, false).await;
                Some(Arc::new(joined.map_err(CallError::Media)?))
            }
        };
        let (callers, ends) = {
            let mut state = meeting.state.lock();
            // It may have ended, or been answered, while its media was set up; that goes with
            // its last handle then.
            let call = state.ringing(&id)?;
            let mut created = Created::clone(&call.created);
            created.delta_roster = answer.delta_roster();
            created.media_answer = media.as_ref().map(|media| media.answer.clone());
            agreed(&mut created.body, &answer);
            let ends = call.ends.clone();
            let ring = call
                .ring
                .as_ref()
                .filter(|_| meeting.kind() == CallKind::Group);
            let callers = ring.map(|ring| callee(ring.caller.clone(), created.source.clone()));
            let answered = Answered {
                created: Arc::new(created),
                direction: media.as_ref().map_or(Direction::SendRecv, |m| m.direction),
                media,
                callback,
            };
            state.answer(&id, answered)?;
            (callers.into_iter().collect(), ends)
        };
        self.tasks
            .spawn(Arc::clone(self).look_after(meeting, id, callers, ends));
        Ok(())
    }

    /// The bot does not take the call.
    pub(crate) fn reject(&self, app: &AppId, id: &str, how: &RejectCall) -> Result<(), CallError> {
        let (id, meeting) = self.find(app, id)?;
        let callback = how.callback_uri.as_deref().map(create::callback);
        let callback = callback.transpose()?;
        let mut state = meeting.state.lock();
        let call = state.ringing(&id)?;
        if let Some(callback) = callback {
            call.outbox.push(News::Moved(callback));
        }
        let (code, subcode) = BY_BOT;
        let result = ResultInfo {
            code,
            subcode,
            message: Some(format!("Rejected by the bot: {}.", how.reason.as_str())),
        };
        drop(self.terminate(&mut state, &id, result));
        Ok(())
    }

    /// The caller hangs up: a ringing or a 1:1 call ends; of a group call the caller leaves the
    /// meeting, and the bot stays.
    pub(crate) async fn give_up(&self, id: &str) -> Result<(), CallError> {
        let (id, meeting, lab) = self.rung(id)?;
        if meeting.kind() == CallKind::Group && lab.state != CallState::Incoming {
            return self.remove(&meeting.thread, lab.caller.as_str()).await;
        }
        let (code, subcode) = BY_CALLER[usize::from(meeting.kind() == CallKind::Group)];
        let result = ResultInfo {
            code,
            subcode,
            message: Some("The caller hung up.".to_owned()),
        };
        self.end_call(&meeting, &id, result).await;
        Ok(())
    }

    /// The ring as it stands, for as long as its call is there.
    pub(crate) fn look_at_ring(&self, id: &str) -> Result<Lab, CallError> {
        self.rung(id).map(|(_, _, lab)| lab)
    }

    fn rung(&self, id: &str) -> Result<(CallId, Arc<Meeting>, Lab), CallError> {
        let id = CallId::parse(id).map_err(|_| CallError::NoCall)?;
        let meeting = self.registry.lock().any_call(&id)?;
        let lab = {
            let state = meeting.state.lock();
            let call = state.call(&id).ok_or(CallError::NoCall)?;
            let ring = call.ring.as_ref().ok_or(CallError::NoCall)?;
            Lab {
                id: id.clone(),
                app: call.app.clone(),
                state: call.phase,
                kind: meeting.kind(),
                thread: meeting.thread.clone(),
                caller: ring.caller.clone(),
            }
        };
        Ok((id, meeting, lab))
    }
}

/// What the caller asked. Source: `contract.md` §4.4.
fn offered(
    callback_uri: &str,
    tenant: &str,
    bot: &Identity,
    kind: CallKind,
    thread: &str,
) -> Map<String, Value> {
    let mut body = json!({
        "callbackUri": callback_uri,
        "requestedModalities": ["audio"],
        "tenantId": tenant,
        "targets": [{
            "@odata.type": "#microsoft.graph.invitationParticipantInfo",
            "identity": {
                "@odata.type": "#microsoft.graph.identitySet",
                "application": {
                    "@odata.type": "#microsoft.graph.identity",
                    "id": bot.id,
                    "displayName": bot.display_name,
                },
            },
        }],
    });
    if kind == CallKind::Group {
        body["chatInfo"] = json!({
            "@odata.type": "#microsoft.graph.chatInfo",
            "threadId": thread,
            "messageId": "0",
            "replyChainMessageId": null,
        });
    }
    match body {
        Value::Object(body) => body,
        _ => unreachable!("the literal above is an object"),
    }
}

/// What the answer changes of the call, as GET shows it.
fn agreed(body: &mut Map<String, Value>, answer: &AnswerCall) {
    for (theirs, ours) in [
        ("callbackUri", "callbackUri"),
        ("acceptedModalities", "requestedModalities"),
        ("callOptions", "callOptions"),
    ] {
        if let Some(value) = answer.body().get(theirs).filter(|value| !value.is_null()) {
            body.insert(ours.to_owned(), value.clone());
        }
    }
}
