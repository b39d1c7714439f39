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
//! Who the bot is, on Microsoft Graph:
//!
//! ```
//! use openmic::{BotConfig, Credential};
//! # fn example() -> anyhow::Result<()> {
//! let credential = Credential {
//!     tenant: "00000000-0000-4000-8000-000000000001".parse()?, // directory (tenant) id
//!     app: "00000000-0000-4000-8000-000000000002".parse()?,    // application (client) id
//!     secret: std::env::var("BOT_SECRET")?.into(),
//! };
//! // Graph reaches the bot's server there, by https; `/callbacks/{key}` is added.
//! let config = BotConfig::public_cloud(credential, "https://bot.example.com".parse()?);
//! # Ok(())
//! # }
//! ```
//!
//! A bot that is called takes the calls that ring; each is to be answered within 15 s:
//!
//! ```no_run
//! # async fn example(bot: openmic::Bot) -> anyhow::Result<()> {
//! use openmic::{Answer, Phase};
//! println!("the calling webhook of the bot's registration: {}", bot.incoming_callback());
//! let mut rings = bot.incoming();
//! while let Some(ring) = rings.next().await {
//!     let call = ring.answer(Answer::default()).await?; // or ring.reject(..)
//!     call.until(|status| status.phase == Phase::Muted).await;
//!     println!("unmute: {}", call.unmute().await?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A bot that speaks for a while says for how long, and is muted again whatever becomes of it:
//!
//! ```no_run
//! # async fn example(call: openmic::Call) -> anyhow::Result<()> {
//! let verdict = call.unmute_for(std::time::Duration::from_secs(20)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! With a journal that holds over a crash too, as does the one verdict of every command. What was
//! open when the process died is taken up by the next one on the same folder:
//!
//! ```no_run
//! use openmic::{Bot, BotConfig, Journal, JournalConfig};
//! # async fn example(config: BotConfig) -> anyhow::Result<()> {
//! let (journal, found) = Journal::open(&JournalConfig::new("openmic-data"))?; // before the runtime is busy
//! let bot = Bot::with(config, |engine| engine.journal(journal.clone(), found))?;
//! // Serve `bot.callback_routes()`, then look at the calls that are open:
//! let mut progress = bot.recover();
//! progress.wait_for(|recovered| recovered.is_done()).await?;
//! for call in bot.calls() {
//!     println!("{} goes on: {}", call.id(), call.state().phase);
//! }
//! // A disk that fails cannot be worked with: end, and start anew on the same folder.
//! tokio::spawn(async move {
//!     eprintln!("the journal failed: {}", journal.failed().await);
//!     std::process::exit(74);
//! });
//! # Ok(())
//! # }
//! ```
//!
//! A bot that goes down should call [`Engine::drain`] first: dropping a [`Bot`] or a [`Call`] hangs
//! nothing up.
//!
//! `examples/speak.rs` and `examples/answer.rs` run as they are, against the local calling service
//! (feature `local`).
//!
//! Cargo features: `local` (default) brings `openmic::local`, the local Graph-compatible calling
//! service.

mod bot;

pub use bot::{Bot, BotConfig, BotError};
pub use openmic_engine::{
    Answer, AnswerError, Call, CommandError, CommandOptions, Created, EndCause, Ending, Engine,
    EngineBuilder, Incoming, IncomingStream, Join, JoinError, Media, Moments, OperationRecord,
    Outcome, Owner, Part, Pending, Phase, Recovered, RejectReason, RingEnd, RosterEvent,
    RosterStream, Status, UpstreamError,
};
pub use openmic_graph::{Credential, GraphConfig};
pub use openmic_journal::{Durability, Journal, JournalConfig, Recovery};
pub use openmic_model::{
    Action, AppId, CallId, CallKind, CallState, Change, ClientContext, Evidence, IdError, Identity,
    IdentityKind, OperationId, Participant, ParticipantId, ResultInfo, Roster, RosterSeen,
    RosterVersion, TenantId, Verdict, Version,
};

#[cfg(feature = "local")]
pub use openmic_local as local;
