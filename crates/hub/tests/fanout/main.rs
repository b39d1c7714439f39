//! The hub over real sockets.

mod closing;
mod delivery;
mod limits;
mod property;
mod resume;
mod support;
mod tls;
mod watcher;
