//! Bodies of the actions mute and unmute. Source: Graph `call: mute`, `call: unmute`.

use openmic_model::{ClientContext, IdError};
use serde::Serialize;
use serde_json::Value;

use crate::json::{self, Object};
use crate::strict;

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
    context(&object(body)?)
}

/// Reads the body of any action: one object, or nothing.
pub(crate) fn object(body: &[u8]) -> Result<Object, ActionError> {
    if body.trim_ascii().is_empty() {
        return Ok(Object::new());
    }
    match strict::value(body).map_err(ActionError::Json)? {
        Value::Object(object) => Ok(object),
        _ => Err(ActionError::NotAnObject),
    }
}

/// The context in the body of any action.
pub(crate) fn context(object: &Object) -> Result<Option<ClientContext>, ActionError> {
    match object.get("clientContext") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(raw)) => ClientContext::parse(raw)
            .map(Some)
            .map_err(ActionError::Context),
        Some(_) => Err(ActionError::NotAString),
    }
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
