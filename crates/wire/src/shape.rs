//! The members of a request that are looked at, with their types: one table for the check and for
//! the schema, so that what the contract documents refuse is refused.

use serde_json::Value;

use crate::json::{DecodeError, Object};

/// The type of a member. Every member may be null, which is as good as absent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// One of these, in any case.
    #[cfg(feature = "schema")]
    Words(&'static [&'static str]),
    Flag,
    /// With these members among others.
    Object(&'static [Member]),
    List(&'static Kind),
}

/// A member and its type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What it is, for the schema.
    #[cfg_attr(not(feature = "schema"), expect(dead_code, reason = "for the schema"))]
    pub(crate) about: &'static str,
}

/// Refuses a member of another type; what the table does not name may be anything.
pub(crate) fn check(object: &Object, members: &[Member]) -> Result<(), DecodeError> {
    for member in members {
        if let Some(value) = object.get(member.name)
            && !fits(value, member.kind)?
        {
            return Err(DecodeError::Missing(member.name));
        }
    }
    Ok(())
}

fn fits(value: &Value, kind: Kind) -> Result<bool, DecodeError> {
    Ok(match (value, kind) {
        (Value::Null, _) | (Value::String(_), Kind::Text) | (Value::Bool(_), Kind::Flag) => true,
        #[cfg(feature = "schema")]
        (Value::String(word), Kind::Words(words)) => {
            words.iter().any(|known| known.eq_ignore_ascii_case(word))
        }
        (Value::Object(object), Kind::Object(members)) => {
            check(object, members)?;
            true
        }
        (Value::Array(items), Kind::List(kind)) => {
            for item in items {
                if item.is_null() || !fits(item, *kind)? {
                    return Ok(false);
                }
            }
            true
        }
        _ => false,
    })
}
