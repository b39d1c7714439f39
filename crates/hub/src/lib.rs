//! Roster fan-out to WebSocket subscribers on threads of its own.
