//! The parts that the `OpenAPI` documents of both HTTP surfaces are made of, and where they are
//! served: `/openapi.json`, and with the feature `viewer` Swagger UI at `/docs/`.
//!
//! It knows no route. A server lists a [`Route`] for each line of its table, and a test of its own
//! compares the two with [`Contract::missing`].

mod answers;
mod document;
mod route;
mod serve;

pub use answers::{Failure, envelope};
pub use document::{Contract, Named, committed, dangling, document_schema};
pub use route::{Body, Route, delete, get, patch, post, put};
pub use serve::{VIEWER, document_at, routes};
