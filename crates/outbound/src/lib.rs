//! POSTs to addresses that somebody else chose: the guard against being sent into our own network.
//!
//! A bot names its `callbackUri`, and we send to it. [`Outbound`] sees to it that nothing is
//! reached that way which a stranger on the internet could not reach as well (threat T-8):
//!
//! - `https` only, port 443 unless the configuration allows others, no user name or password;
//! - a host is resolved once per connection, every address that is refused is left out, and the
//!   connection is made to one of those that were checked: a name that answers differently the
//!   second time changes nothing;
//! - no redirect is followed, no proxy asked: both would connect where nobody looked;
//! - one time limit for all of it, and at most [`MAX_ANSWER`] bytes of the answer are read.
//!
//! The dev profile lets `http` and any port through besides, to loopback only.
//!
//! It knows no retries, no order and no queue; those are its callers'. It cannot know which
//! public addresses are the operator's own: what must not be reached from this machine belongs
//! behind a firewall as well.
//!
//! ```
//! # async fn example(callback: &url::Url) -> Result<(), Box<dyn std::error::Error>> {
//! use openmic_outbound::{Outbound, OutboundConfig};
//!
//! let outbound = Outbound::new(OutboundConfig::default())?;
//! let answer = outbound.post(callback, http::HeaderMap::new(), "{}".into()).await?;
//! println!("{}", answer.status);
//! # Ok(())
//! # }
//! ```

mod address;
mod client;
mod lookup;
mod rules;
#[cfg(test)]
mod tests;

pub use client::{Answer, MAX_ANSWER, Outbound, OutboundConfig, PostError};
pub use lookup::Lookup;
pub use reqwest::Certificate;
pub use rules::{Refused, check};
