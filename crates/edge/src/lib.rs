//! The engine's HTTP surface: Graph-shaped API, webhook, roster WebSocket, admin.
