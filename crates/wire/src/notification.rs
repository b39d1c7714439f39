//! Notifications: what the service POSTs to a bot's callback.
//! Source: Graph `commsNotifications` and `commsNotification` resources.

use std::fmt;

use openmic_model::{
    CallFacts, CallId, CallKind, CallState, DeltaEntry, Identity, Operation, OperationId,
    OperationKind, Participant, RosterUpdate, TenantId,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::json::{self, DecodeError, Object};
use crate::operation::{self, Casing, OperationJson};
use crate::participant::{self, ParticipantJson};
use crate::raw::RawEntries;
use crate::resource::{self, Resource};
use crate::tree::{Borrowed, Json, Members, Node as _};
use crate::{MAX_ITEMS, call};

/// `changeType` of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeType {
    /// New; an incoming call.
    Created,
    /// Changed.
    Updated,
    /// Over: a call ended, an operation reached its final state.
    Deleted,
    /// A word we do not know.
    Other,
}

/// One entry of a notification POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Whose it is; `None` when the resource names no call.
    pub call: Option<CallId>,
    /// What happened to the resource.
    pub change: ChangeType,
    /// What it says.
    pub item: Item,
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Facts of a call; deleted ones are always terminated.
    Call(CallFacts),
    /// Somebody calls the bot.
    Incoming(Box<Incoming>),
    /// Facts of the roster.
    Roster(RosterUpdate),
    /// Facts of an operation; its id may be from the URL.
    Operation(Operation),
    /// Something openmic has no use for.
    Other,
}

/// A call offered to the bot. It may be answered for 15 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// What the offer states of the call.
    pub facts: CallFacts,
    /// Whether it is a meeting or one other side.
    pub kind: CallKind,
    /// Who calls.
    pub source: Option<Identity>,
    /// The caller's tenant.
    pub tenant: Option<TenantId>,
    /// The chat thread of the meeting.
    pub thread_id: Option<String>,
}

/// What one notification POST holds.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// What could be read, in the order sent.
    pub notifications: Vec<Notification>,
    /// What could not: entries of the batch, or participants in them.
    pub faults: Vec<Fault>,
    /// Every entry that is an object, readable or not, as it came.
    pub raw: RawEntries<'a>,
}

/// A part of a batch that could not be read and was left out.
#[derive(Debug, thiserror::Error)]
#[error("entry {entry} of the batch is not usable")]
pub struct Fault {
    /// Its place in `value`, from 0.
    pub entry: usize,
    /// What is wrong.
    #[source]
    pub source: DecodeError,
}

/// Reads a notification POST. One bad entry does not lose the others.
///
/// # Errors
/// [`DecodeError`] when the body is no JSON object with an array `value` within the limit;
/// [`DecodeError::OldFormat`] for an incoming call in the format before Graph.
pub fn decode(body: &[u8]) -> Result<Batch<'_>, DecodeError> {
    let mut envelope = json::borrowed(body, "the notification")?;
    if envelope.member("value").is_none() {
        return Err(if envelope.member("callState").is_some() {
            DecodeError::OldFormat
        } else {
            DecodeError::Missing("value")
        });
    }
    json::list(&envelope, "value")?;
    let Some(Json::Array(entries)) = envelope.take("value") else {
        return Ok(Batch::default());
    };
    let mut batch = Batch::default();
    for (at, value) in entries.into_iter().enumerate() {
        let mut reader = Reader {
            entry: at,
            batch: &mut batch,
        };
        let Json::Object(object) = value else {
            reader.faults([DecodeError::NotAnObject("a notification")]);
            continue;
        };
        let resource = resource::of_entry(&object);
        if let Err(source) = reader.entry(&object, &resource) {
            reader.faults([source]);
        }
        batch.raw.push(object, resource);
    }
    Ok(batch)
}

/// Reads one entry into the batch.
struct Reader<'a, 'b> {
    entry: usize,
    batch: &'a mut Batch<'b>,
}

impl Reader<'_, '_> {
    fn faults(&mut self, sources: impl IntoIterator<Item = DecodeError>) {
        // the first ones tell what is wrong; a POST may hold very many
        let room = MAX_ITEMS.saturating_sub(self.batch.faults.len());
        let entry = self.entry;
        let faults = sources.into_iter().map(|source| Fault { entry, source });
        self.batch.faults.extend(faults.take(room));
    }

    fn entry(&mut self, entry: &Borrowed<'_>, resource: &Resource) -> Result<(), DecodeError> {
        let words = [
            ("created", ChangeType::Created),
            ("updated", ChangeType::Updated),
            ("deleted", ChangeType::Deleted),
        ];
        let change = json::text(entry, "changeType").ok_or(DecodeError::Missing("changeType"))?;
        let change = json::word(&words, change).unwrap_or(ChangeType::Other);
        let data = entry.member("resourceData").unwrap_or(&Json::Null);
        let call = resource.call().cloned();
        let mut push = |item| {
            self.batch.notifications.push(Notification {
                call: call.clone(),
                change,
                item,
            });
        };
        let item = match (resource, data) {
            (Resource::Participants(_) | Resource::Operation(..), Json::Array(items)) => {
                let (updates, faults) = rosters(json::bounded(items, "resourceData")?, true)?;
                updates.into_iter().map(Item::Roster).for_each(push);
                self.faults(faults);
                return Ok(());
            }
            (Resource::Participants(_), Json::Object(_)) => {
                let (updates, faults) = rosters(std::slice::from_ref(data), false)?;
                updates.into_iter().map(Item::Roster).for_each(push);
                self.faults(faults);
                return Ok(());
            }
            (Resource::Participant(..), Json::Object(_)) => {
                let mut entry = participant::delta_entry(data)?;
                entry.removed |= change == ChangeType::Deleted;
                Item::Roster(RosterUpdate::Delta {
                    sequence_number: None,
                    entries: vec![entry],
                })
            }
            (Resource::Operation(_, id), data) => {
                let mut operation = data
                    .as_members()
                    .map_or_else(operation::pending, operation::read);
                operation.id = operation.id.or_else(|| id.clone());
                Item::Operation(operation)
            }
            (Resource::Call(_), data) => call_item(change, data.as_members()),
            _ => Item::Other,
        };
        push(item);
        Ok(())
    }
}

fn call_item(change: ChangeType, data: Option<&Borrowed<'_>>) -> Item {
    let empty = Borrowed::default();
    let data = data.unwrap_or(&empty);
    let mut facts = call::facts(data);
    if change == ChangeType::Deleted {
        facts.state = Some(CallState::Terminated);
    }
    let offered = matches!(facts.state, None | Some(CallState::Incoming));
    if change == ChangeType::Created && offered {
        facts.state = Some(CallState::Incoming);
        return Item::Incoming(Box::new(Incoming {
            facts,
            kind: call::kind(data),
            source: call::identity_of(data, "source"),
            tenant: call::tenant(data),
            thread_id: call::thread_id(data),
        }));
    }
    Item::Call(facts)
}

/// Reads a roster: deltas one by one, else an array of participants that is the whole roster.
///
/// What came outside an `array`, or in one of which an entry cannot be read, is not the whole
/// roster: it becomes a delta without a number, so that nobody is taken for gone.
fn rosters(
    items: &[Json<'_>],
    array: bool,
) -> Result<(Vec<RosterUpdate>, Vec<DecodeError>), DecodeError> {
    let mut updates = Vec::new();
    let mut faults = Vec::new();
    let deltas = items.iter().filter_map(Json::as_members);
    for delta in deltas.filter(|item| is_delta(*item)) {
        let mut entries = Vec::new();
        for item in json::list(delta, "participants")? {
            match participant::delta_entry(item) {
                Ok(entry) => entries.push(entry),
                Err(fault) => faults.push(fault),
            }
        }
        let sequence = json::number(delta, "sequenceNumber");
        updates.push(RosterUpdate::Delta {
            sequence_number: sequence.and_then(|number| u64::try_from(number).ok()),
            entries,
        });
    }
    if !updates.is_empty() {
        return Ok((updates, faults));
    }
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        match participant::delta_entry(item) {
            Ok(entry) => entries.push(entry),
            Err(fault) => faults.push(fault),
        }
    }
    let whole = array && faults.is_empty() && entries.iter().all(|entry| !entry.removed);
    updates.push(if whole {
        let all = entries.into_iter().map(|entry| entry.participant).collect();
        RosterUpdate::Full(all)
    } else {
        RosterUpdate::Delta {
            sequence_number: None,
            entries,
        }
    });
    Ok((updates, faults))
}

/// Whether an item of a roster is a delta of it, and no participant.
pub(crate) fn is_delta(item: &impl Members) -> bool {
    json::is_type(item, "deltaParticipants") || holds_entries(item)
}

/// A delta whose type was left out: a list of participants and no id.
fn holds_entries(item: &impl Members) -> bool {
    item.member("participants").is_some() && item.member("isMuted").is_none()
}

/// A notification to be written. Its `Debug` shows no address, which may hold a secret.
pub struct Outgoing<'a> {
    /// Whose it is.
    pub call: &'a CallId,
    /// Where it goes; repeated in the entry.
    pub callback_uri: &'a str,
    /// What happened.
    pub change: ChangeType,
    /// What it says.
    pub data: Data<'a>,
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("call", &self.call)
            .field("change", &self.change)
            .finish_non_exhaustive()
    }
}

/// What a notification to be written says.
#[derive(Debug)]
pub enum Data<'a> {
    /// These facts of the call and no others.
    Facts(&'a CallFacts),
    /// A whole call resource, as an offer needs it.
    Call(Map<String, Value>),
    /// Everybody.
    Full(Vec<&'a Participant>),
    /// What changed.
    Delta {
        /// +1 per delta of a call, from 1.
        sequence_number: u64,
        /// What changed.
        entries: Vec<&'a DeltaEntry>,
    },
    /// An operation, which must have its id, and the members that its kind has besides.
    Operation(OperationKind, &'a Operation, &'a Map<String, Value>),
}

/// Bytes of most notifications: one participant changed.
const USUAL: usize = 1280;

/// Writes a notification POST of one or more entries, `resource` and `resourceUrl` both given.
pub fn encode(notifications: &[Outgoing<'_>]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        #[serde(rename = "@odata.type")]
        odata_type: &'static str,
        value: Vec<Entry<'a>>,
    }
    let envelope = Envelope {
        odata_type: "#microsoft.graph.commsNotifications",
        value: notifications.iter().map(Entry::from).collect(),
    };
    json::bytes_of(&envelope, USUAL * notifications.len())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    change_type: &'static str,
    resource: String,
    resource_url: String,
    callback_uri: &'a str,
    resource_data: DataJson<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum DataJson<'a> {
    Facts(Object),
    Call(&'a Object),
    Full(Vec<ParticipantJson<'a>>),
    Delta([DeltaJson<'a>; 1]),
    Operation(OperationJson<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeltaJson<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    sequence_number: u64,
    participants: Vec<ParticipantJson<'a>>,
}

impl<'a> From<&'a Outgoing<'_>> for Entry<'a> {
    fn from(outgoing: &'a Outgoing<'_>) -> Self {
        let call = outgoing.call;
        let tail = match &outgoing.data {
            Data::Facts(_) | Data::Call(_) => ["", ""],
            Data::Full(_) | Data::Delta { .. } => ["/participants", ""],
            Data::Operation(_, operation, _) => {
                let id = operation.id.as_ref().map_or("", OperationId::as_str);
                ["/operations/", id]
            }
        };
        let path = |root| [root, call.as_str(), tail[0], tail[1]].concat();
        Self {
            odata_type: "#microsoft.graph.commsNotification",
            change_type: match outgoing.change {
                ChangeType::Created => "created",
                ChangeType::Updated => "updated",
                ChangeType::Deleted => "deleted",
                ChangeType::Other => "unknownFutureValue",
            },
            resource: path("/app/calls/"),
            resource_url: path("/communications/calls/"),
            callback_uri: outgoing.callback_uri,
            resource_data: DataJson::new(call, &outgoing.data),
        }
    }
}

impl<'a> DataJson<'a> {
    fn new(call: &CallId, data: &'a Data<'_>) -> Self {
        match data {
            Data::Facts(facts) => Self::Facts(call::facts_object(call, facts)),
            Data::Call(whole) => Self::Call(whole),
            Data::Full(everybody) => Self::Full(
                everybody
                    .iter()
                    .map(|participant| ParticipantJson::new(participant, None))
                    .collect(),
            ),
            Data::Delta {
                sequence_number,
                entries,
            } => Self::Delta([DeltaJson {
                odata_type: "#microsoft.graph.deltaParticipants",
                sequence_number: *sequence_number,
                participants: entries
                    .iter()
                    .map(|entry| {
                        let reason = entry.removed.then_some("removed");
                        ParticipantJson::new(&entry.participant, reason)
                    })
                    .collect(),
            }]),
            Data::Operation(kind, operation, extra) => {
                Self::Operation(OperationJson::new(*kind, operation, extra, Casing::Camel))
            }
        }
    }
}

#[cfg(test)]
mod tests;
