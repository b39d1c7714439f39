use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http_body_util::BodyExt as _;
use openmic_auth::{Discovery, KeySource, Validator, ValidatorConfig};
use openmic_edge::{EdgeMetrics, Readiness, Surface, SurfaceConfig, admin_routes, routes};
use openmic_engine::{Call, Engine, Owner, Phase};
use openmic_graph::{Credential, GraphClient, GraphConfig};
use openmic_hub::{Hub, HubConfig};
use openmic_journal::{Journal, JournalConfig};
use openmic_listen::{Limits, Listener, Running};
use openmic_local::{App, DEV_APP, DEV_SECRET, DEV_TENANT, LocalConfig, LocalService};
use openmic_model::{AppId, CallId, TenantId};
use prometheus::Registry;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

pub(crate) const CALLBACK: &str = "https://bot.example/callbacks/7f3a";
pub(crate) const OTHER_TENANT: &str = "99999999-9999-4999-8999-999999999999";
const OTHER_APP: &str = "33333333-3333-4333-8333-333333333333";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Between = Box<dyn FnOnce(String) -> (Url, Running)>;

/// What a test may change before it starts.
pub(crate) struct Plan {
    pub(crate) local: LocalConfig,
    pub(crate) config: SurfaceConfig,
    pub(crate) hub: HubConfig,
    pub(crate) deadline: Duration,
    pub(crate) retention: Duration,
    /// Bytes of the flight recorder.
    pub(crate) recorder: usize,
    /// Of the engine's owner.
    pub(crate) tenant: &'static str,
    /// The bot's own webhook for incoming calls.
    pub(crate) incoming: Option<&'static str>,
    /// The folder of its journal.
    pub(crate) journal: Option<PathBuf>,
    /// Stands between the engine and the local service; given the latter's `/v1.0` address.
    pub(crate) between: Option<Between>,
}

impl Default for Plan {
    fn default() -> Self {
        let mut local = LocalConfig::ephemeral();
        local.apps.push(App {
            id: AppId::parse(OTHER_APP).unwrap(),
            ..App::dev()
        });
        Self {
            local,
            config: SurfaceConfig::default(),
            hub: HubConfig {
                shards: 1,
                ..HubConfig::default()
            },
            deadline: Duration::from_secs(10),
            retention: Duration::from_mins(1),
            recorder: 1024 * 1024,
            tenant: DEV_TENANT,
            incoming: None,
            journal: None,
            between: None,
        }
    }
}

/// A local service, an engine over it, and both listeners.
pub(crate) struct Rig {
    pub(crate) local: LocalService,
    pub(crate) engine: Engine,
    pub(crate) readiness: Readiness,
    pub(crate) http: reqwest::Client,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
    pub(crate) admin: String,
    pub(crate) token: String,
    site: Site,
    _between: Option<Running>,
    running: Vec<Running>,
}

/// What an engine is made of, to be made again after a crash.
struct Site {
    upstream: Url,
    config: SurfaceConfig,
    hub: HubConfig,
    deadline: Duration,
    retention: Duration,
    recorder: usize,
    tenant: &'static str,
    incoming: Option<&'static str>,
    journal: Option<PathBuf>,
}

/// An engine and its listeners.
struct Served {
    engine: Engine,
    readiness: Readiness,
    base: String,
    admin: String,
    running: Vec<Running>,
}

impl Site {
    fn serve(&self, local: &LocalService) -> Served {
        let registry = Registry::new();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(loopback).unwrap();
        let base = format!("http://{}", listener.local_addr());
        let owner = Owner {
            app: AppId::parse(DEV_APP).unwrap(),
            tenant: TenantId::parse(self.tenant).unwrap(),
        };
        let credential = Credential {
            tenant: TenantId::parse(DEV_TENANT).unwrap(),
            app: owner.app.clone(),
            secret: DEV_SECRET.into(),
        };
        let authority = Url::parse(local.authority()).unwrap();
        let graph = GraphConfig::new(self.upstream.clone(), authority, credential);
        let graph = GraphClient::new(&graph, &openmic_graph::Metrics::new()).unwrap();
        let mut builder = Engine::builder(graph, owner, Url::parse(&base).unwrap())
            .hub(Hub::start(self.hub.clone()).unwrap())
            .command_deadline(self.deadline)
            .retention(self.retention)
            .recorder(self.recorder);
        if let Some(callback) = self.incoming {
            builder = builder.relay_incoming(callback);
        }
        if let Some(folder) = &self.journal {
            let (journal, found) = Journal::open(&JournalConfig::new(folder)).unwrap();
            builder = builder.journal(journal, found);
        }
        let engine = builder.build().unwrap();
        drop(engine.recover());
        let auth = openmic_auth::Metrics::new();
        let mut discovery = Discovery::new(local.openid_configuration_url());
        discovery.allow_loopback_http = true;
        let keys = KeySource::discover(discovery, auth.clone()).unwrap();
        let issuers = vec![local.issuer(&TenantId::parse(DEV_TENANT).unwrap())];
        let graph_audience = vec!["https://graph.microsoft.com".to_owned()];
        let callers = ValidatorConfig::callers(issuers, graph_audience);
        let notifiers = ValidatorConfig::notifications(
            vec!["https://api.botframework.com".to_owned()],
            vec![DEV_APP.to_owned()],
        );
        let metrics = EdgeMetrics::new();
        metrics.register(&registry).unwrap();
        auth.register(&registry).unwrap();
        engine.metrics().register(&registry).unwrap();
        engine.hub().metrics().register(&registry).unwrap();
        let surface = routes(Surface {
            engine: engine.clone(),
            callers: Arc::new(Validator::new(callers, keys.clone(), auth.clone()).unwrap()),
            notifiers: Arc::new(Validator::new(notifiers, keys, auth).unwrap()),
            config: self.config.clone(),
            metrics: metrics.clone(),
        });
        let mut running = vec![listener.serve(surface, Limits::default())];
        let readiness = Readiness::new();
        let listener = Listener::bind(loopback).unwrap();
        let admin = format!("http://{}", listener.local_addr());
        let admin_router = admin_routes(registry, readiness.clone(), &metrics);
        running.push(listener.serve(admin_router, Limits::default()));
        Served {
            engine,
            readiness,
            base,
            admin,
            running,
        }
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(Plan::default()).await
    }

    pub(crate) async fn with(plan: Plan) -> Self {
        let registry = Registry::new();
        let local = LocalService::start(plan.local, &registry);
        let local = local.await.unwrap();
        let (upstream, between) = match plan.between {
            None => (Url::parse(&local.graph_url()).unwrap(), None),
            Some(between) => {
                let (url, proxy) = between(local.graph_url());
                (url, Some(proxy))
            }
        };
        let site = Site {
            upstream,
            config: plan.config,
            hub: plan.hub,
            deadline: plan.deadline,
            retention: plan.retention,
            recorder: plan.recorder,
            tenant: plan.tenant,
            incoming: plan.incoming,
            journal: plan.journal,
        };
        let served = site.serve(&local);
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let token = token(&http, &local, DEV_APP).await;
        Self {
            local,
            engine: served.engine,
            readiness: served.readiness,
            http,
            base: served.base,
            admin: served.admin,
            token,
            site,
            _between: between,
            running: served.running,
        }
    }

    /// Takes the engine's journal away from it, which ends all it may do, as a crash would, and
    /// makes another engine on the same folder, at another address.
    pub(crate) async fn crash(&mut self) {
        self.engine.journal().unwrap().close().await;
        let served = self.site.serve(&self.local);
        self.engine = served.engine;
        self.readiness = served.readiness;
        self.base = served.base;
        self.admin = served.admin;
        drop(std::mem::replace(&mut self.running, served.running));
    }

    /// A token of another application of the same tenant.
    pub(crate) async fn other_app(&self) -> String {
        token(&self.http, &self.local, OTHER_APP).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        self.http.request(method, url).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        read(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        read(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        read(self.request(Method::DELETE, path)).await
    }

    /// Creates a call by HTTP and waits until it is up and its own roster entry is known.
    pub(crate) async fn established(&self, thread: &str) -> Call {
        let created = self
            .post("/v1.0/communications/calls", meeting(thread))
            .await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        let id = CallId::parse(created.body["id"].as_str().unwrap()).unwrap();
        let call = self.engine.call(&id).unwrap();
        let up = call.until(|status| status.own_entry_seen && status.phase == Phase::Unmuted);
        let status = tokio::time::timeout(PATIENCE, up).await.unwrap();
        assert_eq!(status.phase, Phase::Unmuted);
        call
    }
}

pub(crate) async fn read(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    Answer {
        status,
        headers,
        body,
    }
}

async fn token(http: &reqwest::Client, local: &LocalService, app: &str) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", app),
        ("client_secret", DEV_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let url = format!("{}/{DEV_TENANT}/oauth2/v2.0/token", local.authority());
    let answer = read(http.post(url).form(&form)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["access_token"].as_str().unwrap().to_owned()
}

/// The body of a create that joins a meeting.
pub(crate) fn meeting(thread: &str) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": CALLBACK,
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "chatInfo": {"threadId": thread, "messageId": "0"},
        "meetingInfo": {
            "@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {"user": {"id": "organizer-1", "tenantId": DEV_TENANT}},
        },
        "tenantId": DEV_TENANT,
        "memberWeDoNotKnow": {"kept": true},
    })
}

/// The body of a create that calls one other side.
pub(crate) fn one_to_one() -> Value {
    json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": CALLBACK,
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
        "targets": [{"identity": {"user": {"id": "user-1", "displayName": "Ann"}}}],
        "tenantId": DEV_TENANT,
    })
}

/// Sends the head of a POST whose body never comes, and returns the status line and headers of
/// the answer.
pub(crate) async fn head_only(url: &str, authorization: Option<&str>) -> String {
    let url = Url::parse(url).unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap());
    let mut socket = TcpStream::connect(address).await.unwrap();
    let authorization = authorization.map(|value| format!("authorization: {value}\r\n"));
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000\r\n\
         content-type: application/json\r\n{}\r\n",
        url.path(),
        url.authority(),
        authorization.unwrap_or_default(),
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let whole = async {
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// What a proxy does with a request that it does not answer by itself; `to` is the local
/// service's `/v1.0` address.
pub(crate) async fn pass_on(http: &reqwest::Client, to: &str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path().strip_prefix("/v1.0").unwrap();
    let query = parts.uri.query().map(|query| format!("?{query}"));
    let url = format!("{to}{path}{}", query.unwrap_or_default());
    let mut headers = parts.headers;
    headers.remove("host");
    let request = http.request(parts.method, url).headers(headers);
    let answer = request.body(body).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    let bytes = answer.bytes().await.unwrap();
    response.body(Body::from(bytes)).unwrap()
}
