use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request_with_state};
use axum::routing::MethodRouter;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{StatusCode, Uri};
use openmic_auth::{ApiKeys, Validator};
use openmic_contract::document_at;
use openmic_engine::Engine;
use openmic_listen::Scheme;
use url::Url;

use crate::account::{Accounts, CallerLimits};
use crate::answer::{Answer, Refusal};
use crate::attend::attended;
use crate::caller::{Gate, authorize};
use crate::metrics::EdgeMetrics;
use crate::replay::{Bounds, Durable, Replays};
use crate::table::TABLE;
use crate::ticket::Tickets;
use crate::{contract, path, webhook};

/// What the public listener serves.
#[derive(Debug, Clone)]
pub struct Surface {
    /// The engine behind it.
    pub engine: Engine,
    /// Checks the tokens of those who call: bots and watchers.
    pub callers: Arc<Validator>,
    /// Checks the tokens of notifications.
    pub notifiers: Arc<Validator>,
    /// Choices.
    pub config: SurfaceConfig,
    /// Where it counts.
    pub metrics: EdgeMetrics,
}

/// Choices for the public listener.
#[derive(Debug, Clone)]
pub struct SurfaceConfig {
    /// Under which address callers reach it, for `Location` and `@odata.context`. Default: none,
    /// then `http://` or `https://`, as the request came, and its `Host`. Set it behind a proxy that
    /// terminates TLS.
    pub public_url: Option<Url>,
    /// Mute a call created by HTTP as its first act. Default false: as Graph would start it.
    pub join_muted: bool,
    /// Web origins whose pages may open a roster WebSocket, such as `https://ops.example`.
    /// Default: none.
    pub origins: Vec<String>,
    /// Take the origins of pages served from loopback too. Default true.
    pub loopback_origins: bool,
    /// Keys that callers may send in the place of a JWT. Default: none.
    pub api_keys: ApiKeys,
    /// How much one caller may take.
    pub limits: CallerLimits,
}

impl Default for SurfaceConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            join_muted: false,
            origins: Vec::new(),
            loopback_origins: true,
            api_keys: ApiKeys::default(),
            limits: CallerLimits::default(),
        }
    }
}

/// What the handlers share.
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) callers: Arc<Validator>,
    pub(crate) config: SurfaceConfig,
    pub(crate) metrics: EdgeMetrics,
    pub(crate) replays: Arc<Replays>,
    pub(crate) accounts: Accounts,
    pub(crate) tickets: Tickets,
}

/// Root of the Graph surface as the caller addressed it, such as `http://127.0.0.1:7080/v1.0`.
#[derive(Debug, Clone)]
pub(crate) struct Base(pub(crate) Arc<str>);

impl Base {
    /// Whether the caller addressed that version.
    pub(crate) fn is_beta(&self) -> bool {
        self.0.ends_with("/beta")
    }
}

/// Everything the public listener answers: the Graph surface, the own API, the webhook, and
/// errors for the rest. It has a fallback, so it cannot be merged into another router: nest it,
/// or mount [`callback_routes`](crate::callback_routes) alone.
pub fn routes(surface: Surface) -> Router {
    let Surface {
        engine,
        callers,
        notifiers,
        config,
        metrics,
    } = surface;
    let webhook = webhook::routes(engine.clone(), notifiers, &metrics);
    let durable = Durable::of(&engine);
    let api = Arc::new(Api {
        engine,
        callers,
        accounts: Accounts::new(config.limits, metrics.clone()),
        tickets: Tickets::default(),
        config,
        replays: Replays::new(Bounds::default(), metrics.clone(), durable),
        metrics,
    });
    let mut router = Router::new();
    for rule in TABLE {
        let gate = Gate {
            api: Arc::clone(&api),
            who: rule.who,
            replayed: rule.is_replayed(),
            ticketed: rule.takes_ticket(),
        };
        let handler = (rule.handler)(rule.method);
        let guarded = handler.route_layer(from_fn_with_state(gate, authorize));
        router = router.route(rule.path, guarded);
    }
    let router = router
        // Graph's schema has this collection, and SDKs offer it; no API reads or writes it.
        .route(
            "/v1.0/communications/calls/{call}/operations",
            MethodRouter::new(),
        )
        .with_state(Arc::clone(&api))
        .merge(webhook)
        .merge(openmic_contract::routes(contract::OPENAPI.clone()))
        .route("/asyncapi.json", document_at(contract::ASYNCAPI.clone()))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(well_encoded));
    // Layers of a router run after its routing; a path can be rewritten only in front of it.
    Router::new()
        .fallback_service(attended(router, &api.metrics))
        .layer(map_request_with_state(api, one_spelling))
}

/// Gives a Graph path the one spelling of the table, and remembers how it was addressed.
async fn one_spelling(State(api): State<Arc<Api>>, mut request: Request) -> Request {
    let Some(graph) = path::graph(request.uri().path()) else {
        return request;
    };
    let root = match &api.config.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => host(&request).map_or_else(String::new, |host| {
            // Without one it did not come over `openmic-listen`; whoever serves knows no TLS then.
            let scheme = request.extensions().get().copied().unwrap_or(Scheme::Http);
            format!("{}://{host}", scheme.as_str())
        }),
    };
    let base = Base(format!("{root}/{}", graph.version).into());
    let mut target = graph.canonical;
    if let Some(query) = request.uri().query() {
        target.push('?');
        target.push_str(query);
    }
    let mut parts = request.uri().clone().into_parts();
    // A path that was one and lost brackets and prefixes still is one; if not, it is unknown.
    if let Ok(target) = target.parse::<PathAndQuery>() {
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request.extensions_mut().insert(base);
    request
}

fn host(request: &Request) -> Option<Authority> {
    let host = request.headers().get(HOST)?;
    Authority::try_from(host.as_bytes()).ok()
}

/// A path that cannot be decoded is nobody's.
async fn well_encoded(request: Request, next: Next) -> Answer {
    if path::is_well_encoded(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    Err(Refusal::bad_request(
        "The path cannot be decoded. Percent-encode it as UTF-8, and a percent sign itself as %25.",
    ))
}

async fn unknown() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "itemNotFound",
        "Nothing is at this path. Calls are at /v1.0/communications/calls, the engine's own view \
         of them at /v1/calls.",
    )
}

async fn wrong_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "notAllowed",
        "This path does not take this method. Use one that the Allow header lists.",
    )
}
