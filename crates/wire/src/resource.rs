//! Paths of calls and what belongs to them, as they stand in notifications, `Location` and
//! `@odata.nextLink`.

use std::borrow::Cow;

use openmic_model::{CallId, OperationId, ParticipantId};

use crate::json;
use crate::tree::Members;

/// Where calls are, below the service's root and version.
const CALLS: &str = "/communications/calls/";

/// What a `resourceUrl` names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// One call.
    Call(CallId),
    /// The roster of a call.
    Participants(CallId),
    /// One entry of a roster.
    Participant(CallId, ParticipantId),
    /// An operation; the docs' multi-invite example has no id of one.
    Operation(CallId, Option<OperationId>),
    /// Something else of a call.
    OfCall(CallId),
    /// Nothing we know.
    Other,
}

impl Resource {
    /// Reads a path or a URL: `/communications/calls/..` and `/app/calls/..`, with or without
    /// host and version, keys as `/{id}` and as `('{id}')`, in any case.
    pub fn parse(raw: &str) -> Self {
        Self::find(raw).unwrap_or(Self::Other)
    }

    fn find(raw: &str) -> Option<Self> {
        let path = raw.split('?').next()?.split('#').next()?;
        let address = (!path.starts_with('/')).then(|| path.split_once("://"));
        let path = match address.flatten() {
            // a scheme has no slash; behind one it is a part of a path like any other
            Some((scheme, rest)) if !scheme.contains('/') => rest.split_once('/')?.1,
            _ => path,
        };
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        let version = |part: &str| {
            ["v1.0", "beta"]
                .iter()
                .any(|v| part.eq_ignore_ascii_case(v))
        };
        if parts.peek().is_some_and(|part| version(part)) {
            parts.next();
        }
        let root = parts.next()?;
        if !["communications", "app"]
            .iter()
            .any(|name| root.eq_ignore_ascii_case(name))
        {
            return None;
        }
        let Some(Key::One(id)) = key(&mut parts, "calls") else {
            return None;
        };
        let call = CallId::parse(&id).ok()?;
        if parts.peek().is_none() {
            return Some(Self::Call(call));
        }
        match key(&mut parts, "participants") {
            Some(Key::All) => return Some(Self::Participants(call)),
            Some(Key::One(id)) => {
                let id = ParticipantId::parse(&id).ok();
                return Some(match id {
                    Some(id) => Self::Participant(call, id),
                    None => Self::OfCall(call),
                });
            }
            None => {}
        }
        Some(match key(&mut parts, "operations") {
            Some(Key::One(id)) if !id.eq_ignore_ascii_case("participants") => {
                Self::Operation(call, OperationId::parse(&id).ok())
            }
            Some(_) => Self::Operation(call, None),
            None => Self::OfCall(call),
        })
    }

    /// The call it belongs to.
    pub fn call(&self) -> Option<&CallId> {
        match self {
            Self::Call(call)
            | Self::Participants(call)
            | Self::Participant(call, _)
            | Self::Operation(call, _)
            | Self::OfCall(call) => Some(call),
            Self::Other => None,
        }
    }

    /// The path below the service's root and version: `/communications/calls/..`.
    ///
    /// `None` for what we do not know how to name.
    pub fn path(&self) -> Option<String> {
        Some(match self {
            Self::Call(call) => [CALLS, call.as_str()].concat(),
            Self::Participants(call) => [CALLS, call.as_str(), "/participants"].concat(),
            Self::Participant(call, id) => {
                [CALLS, call.as_str(), "/participants/", id.as_str()].concat()
            }
            Self::Operation(call, Some(id)) => {
                [CALLS, call.as_str(), "/operations/", id.as_str()].concat()
            }
            Self::Operation(_, None) | Self::OfCall(_) | Self::Other => return None,
        })
    }
}

/// The resource of an entry: the newer member, else the older, else what the data is.
pub(crate) fn of_entry(entry: &impl Members) -> Resource {
    let named = ["resourceUrl", "resource"]
        .iter()
        .filter_map(|name| json::text(entry, name))
        .map(Resource::parse)
        .find(|resource| *resource != Resource::Other);
    if let Some(resource) = named {
        return resource;
    }
    let own = json::member(entry, "resourceData").and_then(|data| {
        let call = json::is_type(data, "call");
        let id = json::text(data, "id").filter(|_| call)?;
        CallId::parse(id).ok()
    });
    own.map_or(Resource::Other, Resource::Call)
}

/// A path or URL of an operation with another id in its place; `None` when it names no operation.
pub(crate) fn with_operation(raw: &str, id: &OperationId) -> Option<String> {
    const NAME: &str = "/operations";
    let Resource::Operation(call, Some(_)) = Resource::parse(raw) else {
        return None;
    };
    let wanted = Resource::Operation(call, Some(id.clone()));
    let renamed = |name: usize| {
        let rest = raw.get(name..)?;
        let (from, to) = if rest.starts_with("('") {
            (2, rest.find("')")?)
        } else {
            let end = rest.get(1..)?.find(['/', '?', '#']);
            (1, end.map_or(rest.len(), |end| end + 1))
        };
        let (head, tail) = (raw.get(..name + from)?, rest.get(to..)?);
        Some(format!("{head}{id}{tail}"))
    };
    // ASCII only, so that places in it are places in `raw`. A host or a call may have the name too.
    let lower = raw.to_ascii_lowercase();
    lower
        .match_indices(NAME)
        .filter_map(|(at, name)| renamed(at + name.len()))
        .find(|renamed| Resource::parse(renamed) == wanted)
}

/// What stands behind the name of a collection.
enum Key<'a> {
    /// Nothing: the collection itself.
    All,
    /// The key of one member.
    One(Cow<'a, str>),
}

/// Takes the collection `name` and its key, if one follows. `None` when another part comes.
fn key<'a>(
    parts: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    name: &str,
) -> Option<Key<'a>> {
    let part = parts.peek()?;
    let head = part.get(..name.len())?;
    if !head.eq_ignore_ascii_case(name) {
        return None;
    }
    let tail = &part[name.len()..];
    if tail.is_empty() {
        parts.next();
        return Some(parts.next().map_or(Key::All, |id| Key::One(unescape(id))));
    }
    let inner = tail.strip_prefix("('")?.strip_suffix("')")?;
    let id = unescape(inner);
    parts.next();
    Some(Key::One(id))
}

/// Undoes percent-encoding (RFC 3986 section 2.1); what is no escape stays as it is.
fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') {
        return raw.into();
    }
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .filter(|pair| bytes[at] == b'%' && pair.iter().all(u8::is_ascii_hexdigit))
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if let Some(byte) = escape {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

#[cfg(test)]
mod tests;
