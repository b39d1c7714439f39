//! What the service says, in Graph's words: model values in, bytes of the wire crate out.

use openmic_model::{CallFacts, CallId, CallState, Participant, ParticipantId, ResultInfo};
use openmic_wire::call::{CallResource, state_word};
use openmic_wire::notification::{self, ChangeType, Data, Outgoing};
use openmic_wire::operation::{Casing, status_word};
use serde_json::{Map, Value};

use crate::create::Created;
use crate::deliver::{News, Recipient};
use crate::truth::Told;

/// One notification POST. `deltas` is the number of this delta among the call's, from 1.
pub(crate) fn notification(to: &Recipient, news: &News, deltas: u64) -> Vec<u8> {
    let facts;
    let (change, data) = match news {
        News::Offer(call) => (ChangeType::Created, Data::Call(call.clone())),
        // The sender goes elsewhere and tells nobody.
        News::Moved(_) => return Vec::new(),
        News::Call(call) => {
            facts = CallFacts {
                state: Some(call.state),
                my_participant: None,
                result: call.result.clone(),
                audio_active: call.audio_active,
            };
            let change = if call.state == CallState::Terminated {
                ChangeType::Deleted
            } else {
                ChangeType::Updated
            };
            (change, Data::Facts(&facts))
        }
        News::Operation(record) => {
            let (operation, extra) = (&record.operation, &record.extra);
            // The word for whatever is final, also when it failed.
            (
                ChangeType::Deleted,
                Data::Operation(record.kind, operation, extra),
            )
        }
        News::Full(everybody) => {
            let everybody: Vec<&Participant> = everybody.iter().map(AsRef::as_ref).collect();
            (ChangeType::Updated, Data::Full(everybody))
        }
        News::Delta(entries) => {
            let data = Data::Delta {
                sequence_number: deltas,
                entries: entries.iter().map(AsRef::as_ref).collect(),
            };
            (ChangeType::Updated, data)
        }
    };
    notification::encode(&[Outgoing {
        call: &to.call,
        callback_uri: &to.callback.uri,
        change,
        data,
    }])
}

/// The same for the truth log.
pub(crate) fn told(news: &News, deltas: u64) -> Told<'_> {
    match news {
        News::Offer(_) => Told::Call {
            state: state_word(CallState::Incoming),
        },
        News::Moved(_) => Told::Call { state: "moved" },
        News::Call(call) => Told::Call {
            state: state_word(call.state),
        },
        News::Operation(record) => Told::Operation {
            operation: record.operation.id.as_ref(),
            status: status_word(record.operation.status, Casing::Camel),
            client_context: record.operation.client_context.as_ref(),
        },
        News::Full(everybody) => {
            let muted = everybody.iter().filter(|entry| entry.is_muted);
            Told::Roster {
                sequence_number: None,
                entries: everybody.len(),
                muted: muted.map(|entry| &entry.id).collect(),
            }
        }
        News::Delta(entries) => {
            let people = entries.iter().map(|entry| &entry.participant);
            let muted = people.filter(|entry| entry.is_muted);
            Told::Roster {
                sequence_number: Some(deltas),
                entries: entries.len(),
                muted: muted.map(|entry| &entry.id).collect(),
            }
        }
    }
}

/// What of a call changes while it lives.
#[derive(Debug, Clone)]
pub(crate) struct CallNow {
    pub(crate) state: CallState,
    pub(crate) participant: ParticipantId,
    pub(crate) result: Option<ResultInfo>,
    pub(crate) audio_active: Option<bool>,
}

/// A call that rings, as its bot is told of it.
pub(crate) fn offer(
    id: &CallId,
    participant: &ParticipantId,
    created: &Created,
) -> Map<String, Value> {
    let now = CallNow {
        state: CallState::Incoming,
        participant: participant.clone(),
        result: None,
        audio_active: None,
    };
    resource(id, &now, created).to_object()
}

/// The answer to create and GET; `entity` is what stands behind `$metadata#`.
pub(crate) fn call(
    id: &CallId,
    now: &CallNow,
    created: &Created,
    graph_url: &str,
    entity: &str,
) -> Vec<u8> {
    resource(id, now, created).answer((graph_url, entity))
}

fn resource<'a>(id: &'a CallId, now: &'a CallNow, created: &'a Created) -> CallResource<'a> {
    CallResource {
        id,
        state: now.state,
        direction: created.direction,
        chain_id: &created.chain,
        my_participant: Some(&now.participant),
        source: Some(&created.source),
        result: now.result.as_ref(),
        audio_active: now.audio_active,
        media_blob: created.media_answer.as_deref(),
        request: Some(&created.body),
    }
}
