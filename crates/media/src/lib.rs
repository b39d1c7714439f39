//! RTP, the mute gate and the forwarder, on threads of their own.
//!
//! A meeting's participants each have a [`Leg`]: one UDP port they send RTP to and hear the others
//! from. Each leg has a *gate*, one atomic word that is read once for every packet that arrives.
//! While it is closed nothing the participant says leaves; the others see what they would see of a
//! sender that pauses on its own (discontinuous transmission): contiguous sequence numbers, a
//! running timestamp, a marker on the first packet after the pause.
//!
//! ```text
//! participant ──UDP──▶ transport ─▶ parse ─▶ track ─▶ GATE ─▶ one route per receiver ──UDP──▶
//!                      (latched)                      ▲
//! tokio ── open(), close() ───────────────────────────┘   close() then waits for a fence
//!       ── join, leave, stats ──▶ bounded queue ──▶ the thread of the meeting
//! ```
//!
//! What holds:
//! - Once [`Leg::close`] has answered, no payload that arrives is forwarded until the next
//!   [`Leg::open`]; what arrived before that open and was still unread is dropped as well, unless
//!   the thread was too slow to answer the open.
//! - The first payload that arrives after [`Leg::open`] has answered is forwarded.
//! - Packets lost on the way to us while the gate is open stay visible as gaps; packets we dropped
//!   never do.
//! - Nothing is ever sent to an address that was neither declared nor latched.
//! - The path of a packet takes no lock and allocates nothing; a meeting lives on one thread.
//!
//! Deliberately absent: jitter buffers, transcoding (a receiver hears the sources that speak its
//! codec), SDP and HTTP (they are `openmic-local`'s), sent RTCP.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use openmic_media::{Codec, JoinSpec, Media, MediaConfig, Receive};
//! use openmic_model::ParticipantId;
//!
//! let media = Media::start(MediaConfig::default())?;
//! let mut spec = JoinSpec::new(ParticipantId::parse("bot")?, Codec::Pcmu);
//! spec.receive = Receive::None;
//! let joined = media.join("19:meeting@thread.v2", spec).await?;
//! println!("send PCMU to {}", joined.local_addr);
//! joined.leg.open().await?;
//! joined.leg.close().await?;
//! # Ok(())
//! # }
//! ```

mod gate;
mod handle;
mod metrics;
pub mod pcmu;
mod route;
pub mod rtcp;
pub mod rtp;
mod shard;
/// What the gate is made of. `tests/loom` puts its own in this place to try every interleaving.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
}
mod track;
mod transport;

pub use gate::{Counters, Evidence};
pub use handle::{
    Codec, FenceError, JoinError, JoinSpec, Joined, Leg, LegGone, LegStats, Media, MediaConfig,
    OpenError, Receive, SourceStats,
};
pub use metrics::MediaMetrics;
