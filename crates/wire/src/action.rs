//! Bodies of the actions mute and unmute. Source: Graph `call: mute`, `call: unmute`.

use openmic_model::{ClientContext, IdError};
use serde::Serialize;

use crate::json::{self, Object};
use crate::strict;
use crate::tree::{Borrowed, Json, Members, Node as _};

/// Why the body of an action is refused; Graph's surface answers it 400.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// Not JSON, nested too deep, or with a member named twice.
    #[error("the body is not readable JSON; send {{\"clientContext\": \"...\"}} or nothing")]
    Json(#[source] serde_json::Error),
    /// JSON, but no object.
    #[error("the body is not a JSON object; send {{\"clientContext\": \"...\"}} or nothing")]
    NotAnObject,
    /// A context of another type.
    #[error("clientContext is not a string; send a string of at most 256 characters")]
    NotAString,
    /// A context over the limit.
    #[error("clientContext is too long; send a string of at most 256 characters (UTF-16 units)")]
    Context(#[source] IdError),
}

/// Reads `{"clientContext": "..."}`. No body is `{}`; an absent or null context is `None`.
///
/// # Errors
/// [`ActionError`] for anything else; the message may be shown to the caller.
pub fn decode(body: &[u8]) -> Result<Option<ClientContext>, ActionError> {
    context(&borrowed(body)?)
}

/// Reads the body of any action: one object, or nothing.
pub(crate) fn object(body: &[u8]) -> Result<Object, ActionError> {
    borrowed(body).map(|object| Object::from(&object))
}

fn borrowed(body: &[u8]) -> Result<Borrowed<'_>, ActionError> {
    if body.is_empty() {
        return Ok(Borrowed::default());
    }
    match strict::value(body).map_err(ActionError::Json)? {
        Json::Object(object) => Ok(object),
        _ => Err(ActionError::NotAnObject),
    }
}

/// The context in the body of any action.
pub(crate) fn context(object: &impl Members) -> Result<Option<ClientContext>, ActionError> {
    let stated = object.member("clientContext");
    let Some(stated) = stated.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let raw = stated.as_str().ok_or(ActionError::NotAString)?;
    ClientContext::parse(raw)
        .map(Some)
        .map_err(ActionError::Context)
}

/// What an action may be told. No body is `{}`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Action))]
pub(crate) struct Twin<'a> {
    /// The bot's own mark, at most 256 UTF-16 units; the operation repeats it.
    #[serde(rename = "clientContext")]
    #[cfg_attr(
        feature = "schema",
        schema(value_type = Option<String>, max_length = 256, examples("attempt-1"))
    )]
    client_context: &'a str,
}

/// Writes the body of a mute or unmute.
pub fn encode(context: &ClientContext) -> Vec<u8> {
    json::bytes(&Twin {
        client_context: context.as_str(),
    })
}

#[cfg(test)]
mod tests;
