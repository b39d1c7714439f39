//! The local Graph-compatible calling service: meetings, participants, operations, signed notifications.
