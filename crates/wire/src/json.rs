//! Reading JSON members without trusting their types.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::strict;
use crate::tree::{Borrowed, Json, Members, Node};

/// Most entries one array of a body may hold: participants of a roster, notifications of a batch.
pub const MAX_ITEMS: usize = 5000;

/// Longest text for people that is kept from outside, in bytes.
const MAX_TEXT: usize = 1024;

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not JSON, cut off, nested too deep, or with a member named twice.
    #[error("the body is not readable JSON; send one JSON object")]
    Json(#[source] serde_json::Error),
    /// JSON of another shape.
    #[error("{0} is not a JSON object; send one in braces")]
    NotAnObject(&'static str),
    /// A member that must be there is not, or has another type.
    #[error("{0} is missing or has the wrong type; give it as Graph documents it")]
    Missing(&'static str),
    /// A member that names something does not.
    #[error("{member} is no usable id; give it as Graph gave it")]
    Id {
        /// Which member.
        member: &'static str,
        /// What is wrong with it.
        #[source]
        source: openmic_model::IdError,
    },
    /// More entries than [`MAX_ITEMS`].
    #[error("{0} holds more than {MAX_ITEMS} entries; send fewer")]
    TooMany(&'static str),
    /// The incoming-call notice of before Graph. Source: Teams docs, call notifications: answer it
    /// 204 and it is sent again in Graph's format.
    #[error("an incoming call in the format before Graph; answer 204 to have it sent again")]
    OldFormat,
}

/// Parses a body that must be one object; `what` names it in errors.
pub(crate) fn borrowed<'a>(
    body: &'a [u8],
    what: &'static str,
) -> Result<Borrowed<'a>, DecodeError> {
    match strict::value(body).map_err(DecodeError::Json)? {
        Json::Object(object) => Ok(object),
        _ => Err(DecodeError::NotAnObject(what)),
    }
}

/// The same, to be kept.
pub(crate) fn object(body: &[u8], what: &'static str) -> Result<Object, DecodeError> {
    borrowed(body, what).map(|object| Object::from(&object))
}

/// Writes a twin.
pub(crate) fn bytes(twin: &impl Serialize) -> Vec<u8> {
    bytes_of(twin, 128)
}

/// The same, of which is known about how long it will be.
pub(crate) fn bytes_of(twin: &impl Serialize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    let written = serde_json::to_writer(&mut bytes, twin);
    written.expect("twins hold string keys and finite numbers only");
    bytes
}

/// A member that is a string.
pub(crate) fn text<'a>(object: &'a impl Members, name: &str) -> Option<&'a str> {
    object.member(name)?.as_str()
}

/// A member that is an object.
pub(crate) fn member<'a, O: Members>(object: &'a O, name: &str) -> Option<&'a O> {
    object.member(name)?.as_members()
}

/// A member that is a truth value, also spelt as a string.
pub(crate) fn flag(object: &impl Members, name: &str) -> Option<bool> {
    let value = object.member(name)?;
    value.as_bool().or_else(|| match value.as_str()? {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    })
}

/// A member that is a whole number, also spelt as a string.
pub(crate) fn number(object: &impl Members, name: &str) -> Option<i64> {
    let value = object.member(name)?;
    match value.as_number() {
        Some(number) => number.as_i64(),
        None => value.as_str()?.trim().parse().ok(),
    }
}

/// A member that is an array within the limit; absent or null is empty.
pub(crate) fn list<'a, O: Members>(
    object: &'a O,
    name: &'static str,
) -> Result<&'a [O::Node], DecodeError> {
    match object.member(name) {
        None => Ok(&[]),
        Some(value) if value.is_null() => Ok(&[]),
        Some(value) => bounded(value.as_items().ok_or(DecodeError::Missing(name))?, name),
    }
}

/// Refuses an array over the limit.
pub(crate) fn bounded<'a, T>(items: &'a [T], name: &'static str) -> Result<&'a [T], DecodeError> {
    if items.len() > MAX_ITEMS {
        return Err(DecodeError::TooMany(name));
    }
    Ok(items)
}

/// Whether `@odata.type` names `kind`. `#` and the namespace may be missing, case does not count.
pub(crate) fn is_type(object: &impl Members, kind: &str) -> bool {
    text(object, "@odata.type").is_some_and(|raw| {
        let name = raw.trim_start_matches('#');
        let name = name.rsplit('.').next().unwrap_or(name);
        name.eq_ignore_ascii_case(kind)
    })
}

/// Text for people, cut to a bounded length at a character.
pub(crate) fn prose(raw: &str) -> String {
    let mut end = raw.len().min(MAX_TEXT);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    raw[..end].to_owned()
}

/// The entry of `words` that `raw` is in any case.
pub(crate) fn word<T: Copy>(words: &[(&str, T)], raw: &str) -> Option<T> {
    words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(raw))
        .map(|(_, value)| *value)
}
