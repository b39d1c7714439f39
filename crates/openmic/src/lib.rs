//! A meeting bot's microphone: join a call, unmute, know that it is heard.
//!
//! On Microsoft Graph an unmute is a POST, an operation and a webhook that may come early, late,
//! twice or never. [`Call::unmute`] resolves to one [`Verdict`].
//!
//! ```no_run
//! use openmic::{Bot, BotConfig, Join};
//! # async fn example(config: BotConfig, tenant: openmic::TenantId) -> anyhow::Result<()> {
//! let bot = Bot::new(config)?;
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
//! let routes = axum::Router::new().merge(bot.callback_routes()); // beside the bot's own
//! tokio::spawn(async { axum::serve(listener, routes).await });
//! let join = Join::meeting("19:meeting_abc@thread.v2", "the organizer's directory id", tenant);
//! let call = bot.join(join).await?; // muted until the bot says otherwise
//! println!("unmute: {}", call.unmute().await?);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/speak.rs` runs as it is, against the local calling service (feature `local`).
//!
//! Cargo features: `local` (default) brings `openmic::local`, the local Graph-compatible calling
//! service.

mod bot;

pub use bot::{Bot, BotConfig, BotError};
pub use openmic_engine::{
    Call, CommandError, CommandOptions, Created, EndCause, Ending, Engine, Join, JoinError, Media,
    Moments, OperationRecord, Outcome, Owner, Part, Pending, Phase, RosterEvent, RosterStream,
    Status, UpstreamError,
};
pub use openmic_graph::{Credential, GraphConfig};
pub use openmic_model::{
    Action, AppId, CallId, CallKind, CallState, Change, ClientContext, Evidence, Identity,
    IdentityKind, OperationId, Participant, ParticipantId, ResultInfo, Roster, RosterSeen,
    RosterVersion, TenantId, Verdict, Version,
};

#[cfg(feature = "local")]
pub use openmic_local as local;
