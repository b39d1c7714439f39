//! Notifications as they came, edited where a relay must and left alone everywhere else.
//!
//! What [`crate::notification`] reads becomes values of the model and loses what openmic has no
//! use for. Here the JSON itself is kept, so that members nobody knows reach the bot.

mod roster;

use std::fmt;

use openmic_model::{CallId, ClientContext, OperationId};
use serde_json::{Map, Value};

use crate::json::{self, Object};
use crate::operation;
use crate::participant;
use crate::resource::{self, Resource};
use crate::tree::Borrowed;

pub use roster::{Gap, RawRoster};

/// Members that name the resource of an entry.
const RESOURCES: [&str; 3] = ["resource", "resourceUrl", "@odata.id"];

/// One entry of a notification POST as it came. Its `Debug` shows no content.
#[derive(Clone, PartialEq)]
pub struct RawEntry {
    object: Object,
    resource: Resource,
    /// The first `sequenceNumber` it stands for, where others were joined to it.
    since: Option<u64>,
}

impl fmt::Debug for RawEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEntry")
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

/// The entries of a notification POST while its body is there. Most are told to nobody, so copies
/// are made of those that are. Its `Debug` shows no content.
#[derive(Default)]
pub struct RawEntries<'a>(Vec<(Borrowed<'a>, Resource)>);

impl fmt::Debug for RawEntries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resources = self.0.iter().map(|(_, resource)| resource);
        f.debug_list().entries(resources).finish()
    }
}

impl<'a> RawEntries<'a> {
    pub(crate) fn push(&mut self, object: Borrowed<'a>, resource: Resource) {
        self.0.push((object, resource));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that `wanted` takes, told whose each is: `None` when its resource names no call.
    pub fn entries(&self, wanted: impl Fn(Option<&CallId>) -> bool) -> Vec<RawEntry> {
        let wanted = self
            .0
            .iter()
            .filter(|(_, resource)| wanted(resource.call()));
        wanted
            .map(|(object, resource)| RawEntry {
                object: object.into(),
                resource: resource.clone(),
                since: None,
            })
            .collect()
    }
}

impl RawEntry {
    /// Whose it is; `None` when the resource names no call.
    pub fn call(&self) -> Option<&CallId> {
        self.resource.call()
    }

    /// Whether it tells of the roster, whole or in part.
    pub fn is_roster(&self) -> bool {
        match self.resource {
            Resource::Participants(_) | Resource::Participant(..) => true,
            // The docs' multi-invite example names rosters so.
            Resource::Operation(..) => self.data().is_some_and(Value::is_array),
            _ => false,
        }
    }

    /// Whose operation it tells of: its context and its id, as far as stated. `None` when it tells
    /// of something else.
    pub fn operation(&self) -> Option<(Option<ClientContext>, Option<OperationId>)> {
        let Resource::Operation(_, named) = &self.resource else {
            return None;
        };
        let data = self.data().unwrap_or(&Value::Null);
        if data.is_array() {
            return None;
        }
        let read = data.as_object().map(operation::from_object);
        let (context, id) = read.map_or((None, None), |read| (read.client_context, read.id));
        Some((context, id.or_else(|| named.clone())))
    }

    /// The same about another operation: its id wherever it stood, its context where there is
    /// one. Status, result and everything else stay.
    #[must_use]
    pub fn about(&self, id: &OperationId, context: Option<&ClientContext>) -> Self {
        let mut entry = self.clone();
        let rename = |object: &mut Object| {
            for name in RESOURCES {
                if let Some(Value::String(raw)) = object.get_mut(name)
                    && let Some(renamed) = resource::with_operation(raw, id)
                {
                    *raw = renamed;
                }
            }
        };
        rename(&mut entry.object);
        if let Some(Value::Object(data)) = entry.object.get_mut("resourceData") {
            rename(data);
            if let Some(own) = data.get_mut("id") {
                *own = id.as_str().into();
            }
            let context = context.map_or(Value::Null, |context| context.as_str().into());
            data.insert("clientContext".into(), context);
        }
        if let Resource::Operation(_, named) = &mut entry.resource {
            *named = Some(id.clone());
        }
        entry
    }

    /// Shows the callback `theirs` and the call options of whoever is told, wherever `ours` or our
    /// options stand.
    pub fn readdress(&mut self, ours: &str, theirs: &Named) {
        let mut object = Value::Object(std::mem::take(&mut self.object));
        replace(&mut object, ours, &theirs.callback_uri);
        if let Value::Object(mut object) = object {
            // The entry's own address is ours however it is spelt.
            if let Some(own) = object.get_mut("callbackUri") {
                *own = theirs.callback_uri.as_str().into();
            }
            if let (Resource::Call(_), Some(Value::Object(data))) =
                (&self.resource, object.get_mut("resourceData"))
            {
                theirs.show_in(data);
            }
            self.object = object;
        }
    }

    /// Its length on the wire, in bytes.
    pub fn size(&self) -> usize {
        json::bytes(&self.object).len()
    }

    fn data(&self) -> Option<&Value> {
        self.object.get("resourceData")
    }

    fn with_data(&self, data: Value) -> Self {
        let mut entry = self.clone();
        entry.object.insert("resourceData".into(), data);
        entry
    }
}

/// What a bot said of its own call, and what it is to be shown instead of what we said for it. Its
/// `Debug` shows no address, which may hold a secret.
#[derive(Clone, PartialEq)]
pub struct Named {
    /// Its `callbackUri`, as spelt.
    pub callback_uri: String,
    /// Its `callOptions`, `None` without any.
    pub call_options: Option<Map<String, Value>>,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named")
            .field("call_options", &self.call_options)
            .finish_non_exhaustive()
    }
}

impl Named {
    /// Whether it asked for rosters as deltas.
    pub fn delta_roster(&self) -> bool {
        let options = self.call_options.as_ref();
        options.and_then(|options| json::flag(options, "isDeltaRosterEnabled")) == Some(true)
    }

    /// Puts both in a call resource, where it states anything of the kind.
    pub fn show_in(&self, call: &mut Map<String, Value>) {
        if let Some(shown) = call.get_mut("callbackUri") {
            *shown = self.callback_uri.as_str().into();
        }
        let Some(named) = &self.call_options else {
            // Only because we sent some.
            call.remove("callOptions");
            return;
        };
        if let Some(Value::Object(shown)) = call.get_mut("callOptions") {
            // What upstream adds of its own stays; the one we changed goes back.
            match named.get("isDeltaRosterEnabled") {
                Some(delta) => {
                    shown.insert("isDeltaRosterEnabled".into(), delta.clone());
                }
                None => {
                    shown.remove("isDeltaRosterEnabled");
                }
            }
        }
    }
}

/// Replaces `old` in every string, however deep.
fn replace(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::String(text) if text.contains(old) => *text = text.replace(old, new),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, old, new)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| replace(member, old, new)),
        _ => {}
    }
}

/// A notification POST of these entries.
pub fn encode<'a>(entries: impl IntoIterator<Item = &'a RawEntry>) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Envelope<'a> {
        #[serde(rename = "@odata.type")]
        odata_type: &'static str,
        value: Vec<&'a Object>,
    }
    json::bytes(&Envelope {
        odata_type: "#microsoft.graph.commsNotifications",
        value: entries.into_iter().map(|entry| &entry.object).collect(),
    })
}

/// One page of `GET participants` as it came.
#[derive(Debug, Default)]
pub struct RawPage {
    /// The entries.
    pub participants: Vec<Value>,
    /// `@odata.nextLink`: where the next page is. It comes from outside; check its host.
    pub next: Option<String>,
}

/// Reads the answer to `GET participants` and keeps its entries as they are.
///
/// # Errors
/// [`crate::DecodeError`] when it is no JSON object with an array `value` within the limit.
pub fn decode_page(body: &[u8]) -> Result<RawPage, crate::DecodeError> {
    let mut object = json::object(body, "the list of participants")?;
    if !object.contains_key("value") {
        return Err(crate::DecodeError::Missing("value"));
    }
    json::list(&object, "value")?;
    let next = json::text(&object, "@odata.nextLink").map(str::to_owned);
    let participants = match object.remove("value") {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    Ok(RawPage { participants, next })
}

/// Whether an entry of a delta tells of somebody who left.
fn is_removed(entry: &Value) -> bool {
    entry.as_object().is_some_and(participant::is_removed)
}

#[cfg(test)]
mod tests;
