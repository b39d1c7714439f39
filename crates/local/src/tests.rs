//! The service over real sockets: HTTP by a stock client, notifications to a listener that checks
//! their tokens, RTP by plain UDP.

mod calls;
mod errors;
mod faults;
mod harness;
mod incoming;
mod life;
mod notifications;
mod others;
mod rosters;
mod sound;
mod tokens;
mod truth;
