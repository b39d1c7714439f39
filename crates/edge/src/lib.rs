//! The engine's HTTP surface: Graph-shaped API, webhook, roster WebSocket, admin.
//!
//! ```text
//!  Graph ──POST /callbacks/{key}──▶ callback_routes ─▶ Engine::deliver
//!  bot ────/v1.0/communications/..─▶ routes ─▶ table ─▶ who may? ─▶ Engine, Call
//!  watcher ─GET /v1/calls/{id}/roster─▶ seat in the hub, 101, the socket is the hub's
//! ```
//!
//! [`routes`] is everything the engine's public listener answers, [`callback_routes`] the webhook
//! alone, to be mounted into a bot's own server, [`admin_routes`] what belongs on the admin
//! listener. Every failed request is answered in Graph's error envelope, says what to do next, and
//! carries the `request-id` that the log has.
//!
//! Who may do what is one table (`table.rs`); what is not in it does not exist. A token is looked
//! at before a byte of the body is read. A caller sees the calls of its own app and tenant, any
//! other is 404 as if unknown; in the own API an operator, who has the role `openmic.operator`,
//! sees all.
//!
//! A POST that an SDK's middleware repeats, or that names itself by `Idempotency-Key`, gets the
//! first answer and `Idempotent-Replay: true` (`replay.rs`).
//!
//! What the engine has no part in is an errand (`errand.rs`): passed on with the engine's own
//! token and passed back, its operation tracked.
//!
//! Once a POST of mute, unmute or create may have reached Graph, the answer is never 429, 503 or
//! 504: SDK middlewares repeat a POST on those.
//!
//! It has no accept loop; the WebSocket handshake wants the socket back, and its TLS where it has
//! one, as `openmic-listen` and `axum::serve` give it.

mod account;
mod admin;
mod answer;
mod attend;
mod body;
mod caller;
mod calls;
mod command;
mod contract;
mod errand;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod graph;
mod log;
mod metrics;
mod path;
mod prefer;
mod replay;
mod ring;
mod surface;
mod table;
mod ticket;
mod upgrade;
mod webhook;

pub use account::CallerLimits;
pub use admin::{Readiness, admin_routes};
pub use metrics::EdgeMetrics;
pub use surface::{Surface, SurfaceConfig, routes};
pub use webhook::callback_routes;
