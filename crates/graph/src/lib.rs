//! Everything that speaks HTTP outward for a bot: tokens, retry, throttling, operations.
//!
//! [`GraphClient`] is one application's client of Graph, or of anything that answers as Graph
//! does: the base URL decides. It gets its own tokens, one request at a time, and renews them
//! before they end. All its requests keep quiet while Graph throttles one of them, leave a Graph
//! that does not answer alone for a while, and repeat no more than a share of what is sent.
//!
//! It knows nothing of calls' states. Above all it never decides to mute or unmute again: such a
//! POST leaves once (twice only when Graph turned the token down), and [`ActError`] says exactly
//! whether it can have taken effect.

mod act;
mod client;
mod config;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
mod pace;
pub mod relay;
mod retry;
mod scope;
mod token;
mod transport;

pub use act::ActError;
pub use client::{Created, GraphClient, Listing, Raw};
pub use config::{BuildError, Credential, GraphConfig};
pub use error::{Ambiguity, NotSent, Refusal, RequestError};
pub use metrics::Metrics;
pub use pace::Pace;
pub use token::{TokenError, repeats_secret};

#[cfg(test)]
mod tests;
