//! Graph's JSON twins of the model and the conversions between them.
//!
//! The only crate that knows `@odata.type` and Graph's member names. Both sides use it: the client
//! encodes requests and decodes answers and notifications, the local service does the reverse.
//!
//! Decoding is lenient, because what Graph sends differs from what it documents: enum words in any
//! case, ids in any spelling, missing ids, numbers as strings, `#` left out of types, members
//! nobody knows. It is bounded too: JSON nests at most 128 deep, an array holds at most
//! [`MAX_ITEMS`] entries, and the size of a body is for the caller to limit. Encoding is strict:
//! camelCase words, `#microsoft.graph.` types.
//!
//! ```
//! let body = br#"{"value":[{"changeType":"Deleted","resource":"/app/calls/0C1F5E00"}]}"#;
//! let batch = openmic_wire::notification::decode(body)?;
//! assert_eq!(batch.notifications.len(), 1);
//! # Ok::<(), openmic_wire::DecodeError>(())
//! ```

pub mod action;
pub mod answer;
pub mod call;
pub mod create;
pub mod errand;
pub mod error;
mod identity;
pub mod invite;
mod json;
pub mod notification;
pub mod operation;
pub mod participant;
pub mod resource;
mod result_info;

pub use json::{DecodeError, MAX_ITEMS};
