//! The state machine of one call: events in, effects out; no tokio, no clock.
