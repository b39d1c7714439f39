//! The local Graph-compatible calling service: meetings, participants, operations, signed
//! notifications, and audio that server mute really stops.
//!
//! A bot that talks to Microsoft Graph's cloud communications API talks to this service the same
//! way, with another base URL. Where Graph's documentation is silent, the service does what the
//! notes of this project propose and says so in an error's text. It shares no code with the
//! engine: a twin that shared it would share its misunderstandings.
//!
//! ```text
//! HTTP ─▶ http (routes, tokens, envelope) ─▶ world (calls, humans) ─▶ meeting (roster, one mutex)
//!                                              │                        │
//!                                  media (gate, fence, RTP)       outbox ─▶ deliver ─▶ the bot
//! ```
//!
//! What holds:
//! - A mute or unmute is one turn of its participant: gate, fence, roster, then the answer. After a
//!   mute's answer nothing of the bot's audio is forwarded.
//! - All calls of a meeting are told of its changes in the same order, each in its own queue.
//! - A slow bot keeps nobody waiting: its queue is bounded, rosters in it are merged.
//! - Notifications leave for the public internet only, or for loopback in the dev profile.
//! - Another app's call is as unknown as none.
//!
//! Deliberately absent so far: redirect, transfer, prompts, recording, lobby.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use openmic_local::{LocalConfig, LocalService};
//!
//! let registry = prometheus::Registry::new();
//! let service = LocalService::start(LocalConfig::ephemeral(), &registry).await?;
//! println!("Graph is at {}", service.graph_url());
//! service.stop().await;
//! # Ok(())
//! # }
//! ```

mod config;
mod create;
mod deliver;
mod error;
mod faults;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod keys;
mod leg;
mod meeting;
mod metrics;
mod sdp;
mod service;
#[cfg(test)]
mod tests;
mod truth;
mod wording;
mod world;

pub use config::{
    ALL_ROLES, App, ConfigError, DEV_APP, DEV_SECRET, DEV_TENANT, Limits, LocalConfig, Rules,
    SigningPem, Timing,
};
pub use faults::{Fault, FaultError, FaultPlan};
pub use keys::KeyError;
pub use service::{LocalService, StartError};
