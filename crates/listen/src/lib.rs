//! The accept loop under both HTTP servers: header timeout, connection cap, graceful end.
